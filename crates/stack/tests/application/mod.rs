//! A manifest of an application on Fargate: VPC in two zones, load balancer, two containers, autoscaling; and of many services of it.
//! For templates' tests, and for their benchmark (`xtask/src/bench/synth.rs`).

pub(crate) fn application(services: usize) -> String {
    let mut text = "project: penguin\naws: {main: {cluster: penguin}}\nservices:\n".to_owned();
    let mut rules = String::new();
    let mut scaling = String::new();
    for number in 1..=services {
        text += &format!(
            "  web{number}:\n    cpu: 256\n    memory: 512\n    containers:\n      app: {{image: \"docker.io/penguin/app:1\", ports: \
             [3000]}}\n      nginx: {{image: \"docker.io/penguin/nginx:1\", ports: [80]}}\n    load_balancer: {{container: nginx}}\n"
        );
        scaling += &format!(
            "        web{number}: {{max: 4, cpu: 50, schedules: {{up: {{cron: \"0 0/2 * * *\", min: 2}}, down: {{cron: \"0 1/2 * * \
             *\", min: 1}}}}}}\n"
        );
        if number > 1 {
            rules += &format!("        web{number}: {{paths: [\"/web{number}/*\"]}}\n");
        }
    }
    let rules = if rules.is_empty() { String::new() } else { format!("      rules:\n{rules}") };
    text + &format!("environments:\n  prod:\n    on: main\n    stack:\n      scaling:\n{scaling}{rules}")
}
