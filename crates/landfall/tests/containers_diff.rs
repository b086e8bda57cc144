//! `plan`, `diff` and `drift` of an environment on this machine, with real containers.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

mod common;

use common::{Sandbox, ends, engine};
use serde_json::Value;

fn manifest(sandbox: &Sandbox, mode: &str) {
    let image = engine::base_image(&sandbox.state);
    let manifest = format!(
        r#"project: my-project
services:
  web:
    launch_type: local
    containers:
      app:
        image: {image}
        command: [demo-app, web, --listen, "0.0.0.0:8080"]
        ports: [8080]
        stop_timeout: 2s
        environment: {{ MODE: {mode} }}
    load_balancer:
      health_check: {{ path: /health, interval: 1s, timeout: 900ms, unhealthy_threshold: 5 }}
      deregistration_delay: 1s
environments:
  prod:
    routing: {{ host: {{ name: prod.my-project.localhost, port: {port} }} }}
"#,
        port = sandbox.router.port(),
    );
    std::fs::write(&sandbox.manifest, manifest).unwrap();
}

#[test]
fn what_was_deployed_here_is_compared_too() {
    let sandbox = Sandbox::new();
    manifest(&sandbox, "one");
    ends(&sandbox.run(&["diff", "prod"]), 2, &[]);
    ends(&sandbox.run(&["deploy", "prod", "--timeout", "90"]), 0, &[]);
    for command in ["plan", "diff", "drift"] {
        ends(&sandbox.run(&[command, "prod"]), 0, &[]);
    }
    ends(&sandbox.run(&["verify", "prod"]), 0, &[]);
    manifest(&sandbox, "two");
    let stdout = ends(&sandbox.run(&["plan", "prod"]), 2, &[]);
    assert!(stdout.contains("~ containerDefinitions[app].environment[MODE]  one → two\n"), "{stdout}");
    assert!(stdout.contains("Deploy service my-project-prod-web"), "{stdout}");
    ends(&sandbox.run(&["drift", "prod"]), 0, &[]);

    // Somebody edits what the platform keeps.
    let revisions = sandbox.state.join("local").join("task-definitions");
    for file in std::fs::read_dir(revisions).unwrap() {
        let path = file.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, text.replace("\"one\"", "\"three\"")).unwrap();
    }
    let report: Value =
        serde_json::from_str(&ends(&sandbox.run(&["drift", "prod", "--output", "json"]), 2, &[])).unwrap();
    let changes = report["services"][0]["task_definition"].as_array().unwrap();
    assert_eq!(changes.len(), 1, "{report}");
    assert_eq!(
        changes[0],
        serde_json::json!({"path": "containerDefinitions[app].environment[MODE]", "from": "three", "to": "one"})
    );
}
