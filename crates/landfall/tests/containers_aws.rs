//! The real binary against an AWS of real containers: a branch comes up on ECS behind a host rule of a shared load balancer,
//! is updated in place, survives a crash, and goes without a trace. Judged with boto3.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

mod common;

use std::collections::BTreeMap;
use std::time::Duration;

use common::aws::{Cloud, installation};
use common::{DESTROY, Random, Sandbox, github};

const BRANCH: &str = "feature/test123";
const HOST: &str = "test123.previews.example.com";

const PREVIEWS: &str = r#"previews:
  on: emulator
  branches: ["feature/*"]
  routing: { host: { domain: previews.example.com, port: 80 } }
"#;

const TEXT: &str = "hello from ECS";

fn configured() -> (Sandbox, Cloud) {
    let (sandbox, cloud) = installation();
    cloud.manifest(&sandbox, TEXT, PREVIEWS);
    (sandbox, cloud)
}

fn wait_phase(sandbox: &Sandbox, phase: &str) -> serde_json::Value {
    sandbox.eventually(&format!("{BRANCH} is {phase}"), || {
        let shown = sandbox.json(&["preview", "show", BRANCH]);
        if shown["record"]["phase"] == phase && shown["record"]["live"].is_null() {
            Ok(shown)
        } else {
            Err(shown.to_string())
        }
    })
}

/// The shared listener stays: it is nobody's.
fn nothing_left(cloud: &Cloud) -> Result<(), String> {
    match cloud.list() {
        left if left.is_empty() || left == ["listener 80"] => Ok(()),
        left => Err(left.join(", ")),
    }
}

fn wait_nothing_left(sandbox: &Sandbox, cloud: &Cloud) {
    sandbox.eventually("nothing left on AWS", || nothing_left(cloud));
}

#[test]
fn a_branch_comes_up_on_ecs_and_goes_without_a_trace() {
    let (mut sandbox, cloud) = configured();
    sandbox.start();
    assert_eq!(sandbox.deliver("create", &github::create(BRANCH)), 202);
    cloud.wait_text(&sandbox, HOST, TEXT);
    let shown = wait_phase(&sandbox, "ready");
    assert_eq!(shown["record"]["names"]["service"], "my-project-test123-service");
    assert_eq!(shown["url"].as_str().or(shown["record"]["url"].as_str()), Some(&*format!("http://{HOST}/")), "{shown}");
    let list = cloud.list();
    for expected in
        ["service my-project-test123-service 1", "target group my-project-test123-tg", &format!("rule {HOST}")]
    {
        assert!(list.iter().any(|line| line == expected), "{expected} is not in {list:?}");
    }
    // The base's own words stay, and ours are laid over them.
    let described = cloud.ask(&["service", "my-project-test123-service"]);
    let environment = &described["definition"]["containerDefinitions"][0]["environment"];
    let value = |name: &str| {
        environment
            .as_array()
            .unwrap()
            .iter()
            .find(|v| v["name"] == name)
            .and_then(|v| v["value"].as_str().map(str::to_owned))
    };
    assert_eq!(value("KEPT").as_deref(), Some("from the base"));
    assert_eq!(value("DEMO_TEXT").as_deref(), Some(TEXT));
    assert_eq!(described["service"]["launchType"], "FARGATE");

    // A push updates in place: another revision of the same service, and the former one is taken back.
    let commit = "c".repeat(40);
    assert_eq!(sandbox.deliver("push", &github::push(BRANCH, &"b".repeat(40), &commit)), 202);
    sandbox.eventually("the pushed commit runs", || {
        let now = cloud.ask(&["service", "my-project-test123-service"]);
        let list = cloud.list();
        let definitions = list.iter().filter(|line| line.starts_with("task definition ")).count();
        match now["definition"].to_string() {
            text if text.contains(&commit) && definitions == 1 => Ok(()),
            text => Err(format!("{list:?} {text}")),
        }
    });
    wait_phase(&sandbox, "ready");
    cloud.wait_text(&sandbox, HOST, TEXT);

    assert_eq!(sandbox.deliver("delete", &github::delete(BRANCH)), 202);
    wait_nothing_left(&sandbox, &cloud);
    wait_phase(&sandbox, "destroyed");
    assert!(sandbox.stop().success());
}

#[test]
fn a_port_of_its_own_is_announced_and_given_back() {
    let (mut sandbox, cloud) = configured();
    let manifest = std::fs::read_to_string(&sandbox.manifest).unwrap();
    let (head, _) = manifest.split_once("  routing:").unwrap();
    std::fs::write(&sandbox.manifest, format!("{head}  routing: {{ ports: {{ range: 8001-8003 }} }}\n")).unwrap();
    sandbox.start();
    assert_eq!(sandbox.deliver("create", &github::create(BRANCH)), 202);
    wait_phase(&sandbox, "ready");
    let list = cloud.list();
    let port = list.iter().find_map(|line| line.strip_prefix("listener ")).unwrap_or_else(|| panic!("{list:?}"));
    let open = sandbox.run(&["preview", "open", "--print", BRANCH]);
    let announced = format!("http://{}:{port}/", cloud.text("dns"));
    assert_eq!(String::from_utf8_lossy(&open.stdout).trim(), announced);
    let answer = common::http::get(cloud.address, "/", Some(&format!("{}:{port}", cloud.text("dns")))).unwrap();
    assert_eq!((answer.status, answer.body.trim()), (200, TEXT));

    // Elsewhere "destroyed" would be said of what still runs here.
    assert!(sandbox.stop().success());
    let manifest = std::fs::read_to_string(&sandbox.manifest).unwrap();
    std::fs::write(&sandbox.manifest, manifest.replace("cluster: previews", "cluster: others")).unwrap();
    let listen = sandbox.listen.to_string();
    let elsewhere = sandbox.run(&["serve", "--listen", &listen]);
    let said = String::from_utf8_lossy(&elsewhere.stderr);
    assert!(!elsewhere.status.success() && said.contains("destroy them first: my-project-test123"), "{elsewhere:?}");
    std::fs::write(&sandbox.manifest, manifest).unwrap();
    sandbox.start();

    assert_eq!(sandbox.deliver("delete", &github::delete(BRANCH)), 202);
    sandbox.eventually("nothing left on AWS", || match cloud.list() {
        left if left.is_empty() => Ok(()),
        left => Err(left.join(", ")),
    });
    assert!(sandbox.stop().success());
}

/// Nobody sees requests there, so people put it to sleep and wake it.
#[test]
fn a_preview_on_ecs_is_put_to_sleep_and_woken_by_hand() {
    let (mut sandbox, cloud) = configured();
    sandbox.start();
    assert_eq!(sandbox.deliver("create", &github::create(BRANCH)), 202);
    cloud.wait_text(&sandbox, HOST, TEXT);
    wait_phase(&sandbox, "ready");
    let service = |count: u32| {
        let list = cloud.list();
        assert!(list.contains(&format!("service my-project-test123-service {count}")), "{list:?}");
    };
    let slept = sandbox.run(&["preview", "sleep", BRANCH]);
    assert!(slept.status.success(), "{slept:?}");
    service(0);
    wait_phase(&sandbox, "asleep");
    let woken = sandbox.run(&["preview", "wake", BRANCH]);
    assert!(woken.status.success(), "{woken:?}");
    service(1);
    cloud.wait_text(&sandbox, HOST, TEXT);
    assert_eq!(sandbox.deliver("delete", &github::delete(BRANCH)), 202);
    wait_nothing_left(&sandbox, &cloud);
    assert!(sandbox.stop().success());
}

/// In the order in which a plan needs them; what may be done side by side is in a row of its own. Beside each what the destroy
/// after it is killed at.
const ROWS: [(&[&str], &[&str]); 2] = [
    (
        &["task_definition.register", "service.deploy", "targets.healthy", "url.probe"],
        &["service.stop", "service.delete", "resources.sweep"],
    ),
    (&["target_group.ensure", "route.ensure"], &["route.delete", "target_group.delete", "resources.verify_gone"]),
];

/// Nothing is unfinished, and there is exactly one of each, or nothing.
fn converged(sandbox: &Sandbox, cloud: &Cloud, up: bool) {
    let what = if up { "the branch is up" } else { "the branch is gone" };
    sandbox.eventually(what, || {
        let unfinished = sandbox.json(&["executions", "list", "--unfinished"]);
        let shown = sandbox.json(&["preview", "show", BRANCH]);
        let phase = if up { "ready" } else { "destroyed" };
        if unfinished.as_array().is_none_or(|list| !list.is_empty()) || shown["record"]["phase"] != phase {
            return Err(format!("unfinished: {unfinished}, {shown}"));
        }
        if !up {
            return nothing_left(cloud);
        }
        let list = cloud.list();
        let mut kinds: Vec<&str> = list.iter().map(|line| line.rsplit_once(' ').map_or("", |(kind, _)| kind)).collect();
        kinds.sort_unstable();
        let wanted =
            ["listener", "rule", "service my-project-test123-service", "target group", "task", "task definition"];
        match cloud.get(HOST, "/") {
            Ok(answer) if kinds == wanted && answer.status == 200 && answer.body.trim() == TEXT => Ok(()),
            answer => Err(format!("{list:?} {answer:?}")),
        }
    });
}

/// Each kind of step is killed between its effect on AWS and the record of it, up and down; then four times at any moment.
#[test]
fn killed_after_every_effect_on_aws_and_at_random_moments() {
    let (mut sandbox, cloud) = configured();
    let mut up = false;
    let mut histogram: BTreeMap<String, u32> = BTreeMap::new();
    let ask = |sandbox: &Sandbox, up: &mut bool| {
        *up = !*up;
        let (event, payload) =
            if *up { ("create", github::create(BRANCH)) } else { ("delete", github::delete(BRANCH)) };
        assert_eq!(sandbox.deliver(event, &payload), 202);
    };
    for kinds in ROWS.into_iter().flat_map(|(create, destroy)| [create, destroy]) {
        for (index, kind) in kinds.iter().enumerate() {
            let place = format!("{kind}:after");
            sandbox.start_held_at(&place);
            if index == 0 {
                ask(&sandbox, &mut up);
            }
            sandbox.kill_when_held(&place);
            *histogram.entry(place).or_default() += 1;
        }
        sandbox.start();
        converged(&sandbox, &cloud, up);
        assert!(sandbox.stop().success());
    }
    eprintln!("killed after {histogram:?}");
    let mut random = Random::seeded();
    sandbox.start();
    for _ in 0..4 {
        ask(&sandbox, &mut up);
        std::thread::sleep(Duration::from_secs(3).mul_f64(random.unit()));
        sandbox.kill();
        sandbox.start();
        converged(&sandbox, &cloud, up);
    }
    assert!(sandbox.stop().success());
    assert!(DESTROY.iter().all(|kind| histogram.contains_key(&format!("{kind}:after"))), "{histogram:?}");
    assert!(histogram.values().all(|count| *count == 1), "{histogram:?}");
}

/// More than one call in ten to AWS is throttled, fails, is cut off, or loses its answer after the effect. Every create and
/// destroy ends as asked all the same, and leaves nothing.
#[test]
fn with_one_call_in_ten_failing_every_workflow_ends_right() {
    let (mut sandbox, mut cloud) = installation();
    cloud.put_faults_between();
    cloud.manifest(&sandbox, TEXT, PREVIEWS);
    sandbox.start();
    cloud.fail_one_in_ten();
    for round in 0..2 {
        assert_eq!(sandbox.deliver("create", &github::create(BRANCH)), 202);
        converged(&sandbox, &cloud, true);
        assert_eq!(sandbox.deliver("delete", &github::delete(BRANCH)), 202);
        converged(&sandbox, &cloud, false);
        for one in sandbox.json(&["executions", "list", "--limit", "2"]).as_array().unwrap() {
            let shown = sandbox.json(&["executions", "show", one["id"].as_str().unwrap()]);
            assert_eq!(shown["view"]["outcome"], "succeeded", "round {round}: {shown}");
        }
    }
    cloud.calls().one_in_ten("previews created and destroyed");
}
