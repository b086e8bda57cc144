//! Stacks: every default, and what CloudFormation would refuse only after half of it was made.

use landfall_model::stack::{Cluster, Nat, Network};
use landfall_model::step::RouteTarget;

use crate::{codes_of, loaded, rendered};

/// Two services behind a load balancer and a worker on EC2, and this under `stack`.
fn manifest(services: &str, stack: &str) -> String {
    format!(
        "project: shop\naws: {{prod: {{cluster: main}}}}\n\
         services:\n  web:\n    cpu: 256\n    memory: 512\n    containers:\n      app: {{image: nginx, ports: [3000]}}\n      nginx: \
         {{image: nginx, ports: [80]}}\n    load_balancer: {{container: nginx}}\n  api:\n    cpu: 256\n    memory: 512\n    containers: \
         {{app: {{image: nginx, ports: [80]}}}}\n    load_balancer: {{}}\n  worker:\n    launch_type: ec2\n    memory: 64\n    \
         containers: {{app: {{image: nginx}}}}\n\
         environments:\n  prod:\n    on: prod\n    services: [{services}]\n    stack: {stack}\n"
    )
}

fn codes(stack: &str) -> Vec<&'static str> {
    codes_of(&manifest("web", stack))
}

#[test]
fn nothing_need_be_said() {
    let app = loaded(&manifest("web", "")).app;
    let stack = app.environments["prod"].stack.as_ref().unwrap();
    assert_eq!(stack.network, Network::New { cidr: "10.0.0.0/16".to_owned(), nat: Nat::PerZone });
    assert_eq!(stack.cluster, Cluster::New { instances: None });
    assert_eq!((stack.log_retention, stack.internal), (30, false));
}

#[test]
fn a_pipeline_applies_it_and_runs_its_tasks() {
    let run = "[{task: {service: web, command: [migrate]}}, {stack: {}}]";
    let pipelines = format!("pipelines: {{main: {{stages: [{{environment: prod, run: {run}}}]}}}}\n");
    let app = loaded(&(manifest("web", "{}") + &pipelines)).app;
    let titles: Vec<String> = app.pipelines["main"].stages[0].run.iter().map(|work| work.title()).collect();
    assert_eq!(titles, ["task web: migrate", "apply the stack"]);
}

#[test]
fn long_templates_have_a_place() {
    let of =
        |stack: &str| loaded(&manifest("web", stack)).app.environments["prod"].stack.clone().unwrap().template_bucket;
    assert_eq!(of("{template_bucket: acme-artifacts/landfall/}").as_deref(), Some("acme-artifacts/landfall"));
    assert_eq!(of("{template_bucket: acme}").as_deref(), Some("acme"));
    assert_eq!(of("{}"), None);
}

#[test]
fn containers_that_are_not_named_are_the_only_one_or_the_one_behind_the_load_balancer() {
    let text = manifest(
        "web, api",
        "{zone: Z0123456789ABC, rules: {api: {hosts: [API.Example.com.]}}}\n    \
         schedules: {a: {service: web, cron: \"0 1 * * *\"}, b: {service: api, cron: \"0 1 * * *\"}}\n    routing: {host: {name: \
         shop.example.com}}",
    );
    let app = loaded(&text).app;
    let prod = &app.environments["prod"];
    let stack = prod.stack.as_ref().unwrap();
    assert_eq!((prod.schedules["a"].container.as_str(), prod.schedules["b"].container.as_str()), ("nginx", "app"));
    assert_eq!(stack.rules["api"].hosts, ["api.example.com"]);
    // The zone makes a certificate.
    let route = RouteTarget::Host { host: "shop.example.com".to_owned(), port: 443 };
    assert_eq!(prod.routing, Some(route));
}

#[test]
fn what_cannot_be_made_is_said_before() {
    for (stack, code) in [
        ("{network: {new: {cidr: 10.0.0.0/8}}}", "LF-M009"),
        ("{network: {existing: {}}}", "LF-M042"),
        ("{network: {new: {}, existing: {}}}", "LF-M022"),
        ("{cluster: {new: {instances: {type: small, max: 1}}}}", "LF-M009"),
        ("{cluster: {new: {instances: {type: t3.small, min: 2, max: 1}}}}", "LF-M032"),
        ("{zone: example.com}", "LF-M040"),
        ("{zone: Z0123456789ABC}", "LF-M051"),
        ("{rules: {api: {paths: [/api]}}}", "LF-M026"),
        ("{rules: {web: {}}}", "LF-M032"),
        ("{rules: {web: {paths: [api]}}}", "LF-M009"),
        ("{rules: {web: {hosts: [\"a b\"]}}}", "LF-M024"),
        ("{rules: {web: {paths: [/a], priority: 0}}}", "LF-M032"),
        ("{scaling: {web: {min: 3, max: 2}}}", "LF-M032"),
        ("{scaling: {web: {max: 2, cpu: 101}}}", "LF-M032"),
        ("{scaling: {web: {}}}", "LF-M008"),
        ("{scaling: {web: {max: 2, schedules: {x: {cron: \"0 0 * *\", min: 1}}}}}", "LF-M009"),
        ("{scaling: {web: {max: 2, schedules: {x: {cron: \"0 0 * * *\"}}}}}", "LF-M008"),
        ("{}\n    schedules: {x: {service: web, cron: \"0 0 * * *\", time_zone: Berlin}}", "LF-M009"),
        ("{}\n    schedules: {x: {service: wbe, cron: \"0 0 * * *\"}}", "LF-M026"),
        ("{}\n    schedules: {x: {service: web, container: nginks, cron: \"0 0 * * *\"}}", "LF-M026"),
        ("{volumes: {x: {mounts: [{service: web, path: data}]}}}", "LF-M036"),
        ("{volumes: {x: {mounts: []}}}", "LF-M008"),
        ("{volumes: {x: {file_system: efs, mounts: [{service: web, path: /data}]}}}", "LF-M040"),
        ("{permissions: {web: [{actions: [read], resources: [\"*\"]}]}}", "LF-M040"),
        ("{permissions: {web: [{actions: [\"s3:Get*\"], resources: [bucket]}]}}", "LF-M040"),
        ("{log_retention: 10}", "LF-M032"),
        ("{template_bucket: \"s3://acme\"}", "LF-M040"),
        ("{template_bucket: acme//templates}", "LF-M040"),
    ] {
        let mut found = codes(stack);
        found.dedup();
        assert_eq!(found, [code], "{stack}");
    }
    assert_eq!(codes_of(&manifest("web, api", "{}")), ["LF-M051"], "both would get every request");
    assert_eq!(codes_of(&manifest("worker", "{}")), ["LF-M042"], "nowhere to run");
    assert_eq!(
        codes_of(&manifest("worker", "{cluster: {new: {instances: {type: t3.small, max: 2}}}}")),
        [] as [&str; 0]
    );
    assert_eq!(
        codes_of(&manifest(
            "worker",
            "{cluster: {existing: {}}, volumes: {x: {mounts: [{service: worker, path: /data}]}}}"
        )),
        ["LF-M051"]
    );
}

#[test]
fn what_contradicts_is_shown_in_both_places() {
    let text = manifest("web", "{}") + "  test:\n    on: prod\n    services: [web]\n    stack: {}\n";
    let shown = rendered(&text);
    assert!(shown.contains("environments `prod` and `test` would both make one cluster"), "{shown}");
    assert!(shown.contains("made here") && shown.contains("again here"), "{shown}");
    let here = manifest("web", "{}").replace("    on: prod\n", "");
    assert_eq!(codes_of(&here), ["LF-M044"]);
    let canary = manifest("web", "{}").replace(
        "    load_balancer: {container: nginx}",
        "    load_balancer: {container: nginx}\n    deployment: {strategy: blue_green}",
    );
    assert!(codes_of(&canary).contains(&"LF-M051"), "{}", rendered(&canary));
}
