use std::sync::{Arc, Mutex};
use std::time::Instant;

use landfall_model::task::SecretRef;
use landfall_ports::steps::HookRunner;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use crate::hooks::LocalHooks;

/// CircleCI, as far as a hook needs it: what was asked, and what is answered.
#[derive(Default)]
struct Circle {
    /// Status and body for every request to trigger, the last one again and again; status 0 closes without an answer.
    triggers: Vec<(u16, Value)>,
    state: String,
    errors: Value,
    /// A list per look; the last one again and again.
    workflows: Vec<Value>,
    asked: Vec<String>,
    triggered: usize,
}

fn workflow(name: &str, status: &str) -> Value {
    json!({"id": name, "name": name, "status": status, "created_at": "2026-11-21T10:00:00Z"})
}

async fn serve(circle: Circle) -> (String, Arc<Mutex<Circle>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = format!("http://{}", listener.local_addr().unwrap());
    let circle = Arc::new(Mutex::new(circle));
    let shared = circle.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let circle = shared.clone();
            tokio::spawn(async move {
                let (mut request, mut buffer) = (String::new(), [0; 4096]);
                loop {
                    let count = stream.read(&mut buffer).await.unwrap_or(0);
                    if count == 0 {
                        return;
                    }
                    request.push_str(&String::from_utf8_lossy(&buffer[..count]));
                    let Some((head, body)) = request.split_once("\r\n\r\n") else { continue };
                    let length = head
                        .to_lowercase()
                        .lines()
                        .find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
                    if body.len() >= length.unwrap_or(0) {
                        break;
                    }
                }
                let (status, body) = answer(&mut circle.lock().unwrap(), &request);
                if status != 0 {
                    let text = body.to_string();
                    let head =
                        format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", text.len());
                    let _ = stream.write_all((head + &text).as_bytes()).await;
                }
            });
        }
    });
    (host, circle)
}

fn answer(circle: &mut Circle, request: &str) -> (u16, Value) {
    circle.asked.push(request.to_owned());
    if !request.to_lowercase().contains("circle-token: t0ken") {
        return (401, json!({"message": "You must log in first."}));
    }
    let first = request.lines().next().unwrap();
    if first.starts_with("POST /api/v2/project/gh/acme/shop/pipeline ") {
        circle.triggered += 1;
        let at = (circle.triggered - 1).min(circle.triggers.len() - 1);
        return circle.triggers[at].clone();
    }
    if first.starts_with("GET /api/v2/pipeline/p-1 ") {
        return (200, json!({"id": "p-1", "number": 12, "state": circle.state, "errors": circle.errors}));
    }
    if first.starts_with("GET /api/v2/pipeline/p-1/workflow") {
        let looks = circle.asked.iter().filter(|asked| asked.contains("/workflow")).count();
        let at = (looks - 1).min(circle.workflows.len().saturating_sub(1));
        return (
            200,
            json!({"items": circle.workflows.get(at).cloned().unwrap_or(json!([])), "next_page_token": null}),
        );
    }
    (404, json!({"message": "Project not found"}))
}

fn accepted() -> Vec<(u16, Value)> {
    vec![(201, json!({"id": "p-1", "number": 12, "state": "pending", "created_at": "2026-11-21T10:00:00Z"}))]
}

fn hook(dir: &Path, host: &str, wait: bool) -> RunHook {
    let token = dir.join("token");
    std::fs::write(&token, "t0ken\n").unwrap();
    let told = [
        ("LANDFALL_BRANCH", "feature/x"),
        ("LANDFALL_COMMIT", "c0ffee"),
        ("LANDFALL_URL", "http://x.localhost:8080/"),
        ("LANDFALL_ENVIRONMENT", "shop-x"),
        ("LANDFALL_PROJECT", "shop"),
        ("LANDFALL_HOOK", "e2e"),
    ];
    let parameters = [("url", json!("{url}?at={commit}")), ("smoke", json!(true)), ("shards", json!(4))];
    let action = HookAction::CircleCi(CircleCi {
        host: host.to_owned(),
        project: "gh/acme/shop".to_owned(),
        branch: "{branch}".to_owned(),
        parameters: parameters.map(|(name, value)| (name.to_owned(), value)).into(),
        token: SecretRef::File(token.display().to_string()),
        wait,
    });
    let environment = told.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    RunHook { name: "e2e".to_owned(), action, environment, timeout: 20, rerunnable: false }
}

fn hooks(dir: &Path) -> LocalHooks {
    LocalHooks::new(crate::http::http(), Arc::new(crate::secrets::LocalSecrets::new(dir)), dir).unwrap()
}

async fn finish(hooks: &LocalHooks, key: &str) -> HookState {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let state = hooks.poll(key).await.unwrap();
        if state != HookState::Running {
            return state;
        }
        assert!(Instant::now() < deadline, "the hook does not end");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn run_once(circle: Circle, wait: bool) -> (HookState, Vec<String>) {
    let dir = tempfile::tempdir().unwrap();
    let (host, circle) = serve(circle).await;
    let hooks = hooks(dir.path());
    hooks.start("k", &hook(dir.path(), &host, wait)).await.unwrap();
    let state = finish(&hooks, "k").await;
    let asked = circle.lock().unwrap().asked.clone();
    (state, asked)
}

fn message(state: &HookState) -> &str {
    match state {
        HookState::Failed { message, .. } => message,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_pipeline_is_triggered_with_what_is_known_of_the_preview() {
    let (state, asked) = run_once(Circle { triggers: accepted(), ..Circle::default() }, false).await;
    let HookState::Succeeded { tail, .. } = state else { panic!("{state:?}") };
    assert_eq!(tail, ["pipeline 12 of gh/acme/shop: p-1"]);
    assert_eq!(asked.len(), 1, "done when it was accepted");
    let body: Value = serde_json::from_str(asked[0].split("\r\n\r\n").nth(1).unwrap()).unwrap();
    let parameters = json!({"url": "http://x.localhost:8080/?at=c0ffee", "smoke": true, "shards": 4});
    assert_eq!(body, json!({"branch": "feature/x", "parameters": parameters}));
}

#[tokio::test]
async fn with_wait_it_ends_as_its_workflows_do() {
    let circle = |states: &[&str]| Circle {
        triggers: accepted(),
        state: "created".to_owned(),
        workflows: states.iter().map(|status| json!([workflow("build", "success"), workflow("e2e", status)])).collect(),
        ..Circle::default()
    };
    let (state, asked) = run_once(circle(&["running", "failing", "success"]), true).await;
    let HookState::Succeeded { tail, .. } = state else { panic!("{state:?}") };
    assert_eq!(tail[1..], ["workflow build: success", "workflow e2e: success"]);
    assert_eq!(asked.iter().filter(|asked| asked.contains("/workflow")).count(), 3);
    for status in ["failed", "error", "canceled", "unauthorized"] {
        let (state, _) = run_once(circle(&[status]), true).await;
        assert_eq!(message(&state), format!("hook e2e: pipeline 12 of gh/acme/shop: p-1: workflow e2e: {status}"));
    }
}

#[tokio::test]
async fn a_pipeline_without_a_configuration_that_works_is_a_failure() {
    let errored = Circle {
        triggers: accepted(),
        state: "errored".to_owned(),
        errors: json!([{"type": "config", "message": "Cannot find job e2e"}]),
        ..Circle::default()
    };
    assert!(message(&run_once(errored, true).await.0).contains("its configuration is in error: Cannot find job e2e"));
    for (code, hint) in [(404, "slug"), (400, "declared"), (403, "personal API token")] {
        let refused = Circle { triggers: vec![(code, json!({"message": "no"}))], ..Circle::default() };
        let (state, asked) = run_once(refused, true).await;
        assert!(message(&state).contains("refused it: no") && message(&state).contains(hint), "{state:?}");
        assert_eq!(asked.len(), 1);
        assert!(!message(&state).contains("t0ken"));
    }
}

#[tokio::test]
async fn only_what_certainly_triggered_nothing_is_tried_again() {
    let mut triggers = vec![(429, json!({"message": "slow down"})); 2];
    triggers.extend(accepted());
    let (state, asked) = run_once(Circle { triggers, ..Circle::default() }, false).await;
    assert!(matches!(state, HookState::Succeeded { .. }), "{state:?}");
    assert_eq!(asked.len(), 3);
    for (status, body) in [(502, json!({"message": "bad gateway"})), (0, Value::Null)] {
        let (state, asked) = run_once(Circle { triggers: vec![(status, body)], ..Circle::default() }, false).await;
        assert!(message(&state).contains("may have been triggered"), "{state:?}");
        assert_eq!(asked.len(), 1, "nobody knows whether it runs: not again");
    }
}

#[tokio::test]
async fn after_a_restart_the_pipeline_is_followed_on_and_not_triggered_again() {
    let dir = tempfile::tempdir().unwrap();
    let running = Circle {
        triggers: accepted(),
        state: "created".to_owned(),
        workflows: vec![json!([workflow("e2e", "running")])],
        ..Circle::default()
    };
    let (host, circle) = serve(running).await;
    let first = hooks(dir.path());
    first.start("k", &hook(dir.path(), &host, true)).await.unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    while !circle.lock().unwrap().asked.iter().any(|asked| asked.contains("/workflow")) {
        assert!(Instant::now() < deadline, "it is not followed");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // The next process knows of the key only what is on disk.
    let second = hooks(dir.path());
    assert_eq!(second.poll("other").await.unwrap(), HookState::Unknown);
    assert_eq!(second.poll("k").await.unwrap(), HookState::Running);
    circle.lock().unwrap().workflows = vec![json!([workflow("e2e", "success")])];
    assert!(matches!(finish(&second, "k").await, HookState::Succeeded { .. }));
    assert_eq!(circle.lock().unwrap().triggered, 1);
    let kept = std::fs::read_dir(dir.path().join("hooks")).unwrap().map(|entry| entry.unwrap().path());
    for path in kept.filter(|path| path.is_file()) {
        assert!(!std::fs::read_to_string(&path).unwrap().contains("t0ken"), "{}", path.display());
    }
}

#[tokio::test]
async fn a_restart_before_the_answer_leaves_it_unknown() {
    let dir = tempfile::tempdir().unwrap();
    let hook = hook(dir.path(), "http://127.0.0.1:1", true);
    let hooks = hooks(dir.path());
    let base = hooks.base("k");
    state::write_json(&record_path(&base), &Record { hook, pipeline: None }).unwrap();
    assert_eq!(hooks.poll("k").await.unwrap(), HookState::Unknown, "the step pauses, or runs it again where it may");
}

#[test]
fn a_workflow_that_was_run_again_counts_as_it_ended_last() {
    let created = json!({"state": "created"});
    let at = |status: &str, time: &str| Workflow {
        name: "e2e".to_owned(),
        status: status.to_owned(),
        created_at: format!("2026-11-21T{time}Z"),
    };
    assert!(ended(&created, &[at("failed", "10:00:00"), at("success", "11:00:00")]).unwrap().is_ok());
    assert!(ended(&created, &[at("success", "11:00:00"), at("failed", "10:00:00")]).unwrap().is_ok());
    assert!(ended(&created, &[at("failed", "11:00:00"), at("success", "10:00:00")]).unwrap().is_err());
    assert!(ended(&created, &[at("not_run", "10:00:00")]).is_none(), "nothing has ended well");
    assert!(ended(&created, &[]).is_none());
    assert!(ended(&json!({"state": "setup"}), &[at("success", "10:00:00")]).is_none(), "more workflows are to come");
}
