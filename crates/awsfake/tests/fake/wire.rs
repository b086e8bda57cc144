//! The handle and the script side over HTTP.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use landfall_awsfake::faults::{Fault, FaultError};
use landfall_awsfake::{Fake, ImageRule};
use serde_json::{Value, json};

fn http(url: &str, method: &str, path: &str, body: &str) -> (u16, Value) {
    let mut stream = TcpStream::connect(url.trim_start_matches("http://")).unwrap();
    let length = body.len();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), serde_json::from_str(body).unwrap())
}

async fn with_service() -> (String, landfall_awsfake::Handle) {
    let (url, fake) = Fake::start_frozen().await.unwrap();
    fake.call("ecs", "CreateCluster", json!({"clusterName": "c"})).unwrap();
    let containers = json!([{"name": "web", "image": "web:1", "memory": 64}]);
    fake.call("ecs", "RegisterTaskDefinition", json!({"family": "web", "containerDefinitions": containers})).unwrap();
    fake.call(
        "ecs",
        "CreateService",
        json!({"cluster": "c", "serviceName": "web", "taskDefinition": "web", "desiredCount": 1}),
    )
    .unwrap();
    (url, fake)
}

fn status(fake: &landfall_awsfake::Handle) -> String {
    let rows = fake.call("ecs", "ListServiceDeployments", json!({"cluster": "c", "service": "web"})).unwrap();
    rows["serviceDeployments"][0]["status"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn time_stands_until_it_is_advanced() {
    let (url, fake) = with_service().await;
    assert_eq!(status(&fake), "PENDING");
    std::thread::sleep(std::time::Duration::from_millis(60));
    assert_eq!(status(&fake), "PENDING");
    fake.advance(20);
    assert_eq!(status(&fake), "IN_PROGRESS");
    let (code, now) = http(&url, "POST", "/_fake/clock", r#"{"until_idle": 60000}"#);
    assert_eq!(code, 200);
    assert_eq!(status(&fake), "SUCCESSFUL");
    assert_eq!(now["now"], fake.now());
    let state = fake.state();
    let rollout = &state["123456789012/us-east-1"]["services"][0]["rollouts"][0];
    assert!(rollout["finished"].as_u64().unwrap() <= fake.now(), "{rollout}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_script_that_is_wrong_says_so() {
    let (url, _fake) = Fake::start().await.unwrap();
    for (path, body, word) in [
        ("images", r#"{"imagee": "x"}"#, "unknown field"),
        ("rules", r#"{"timing": {"pending": "soon"}}"#, "invalid type"),
        ("force", r#"{"cluster": "c", "service": "web", "event": "x"}"#, "Cluster not found"),
        ("faults", "{", "EOF"),
        ("nothing", "{}", "no POST /_fake/nothing"),
    ] {
        let (code, answer) = http(&url, "POST", &format!("/_fake/{path}"), body);
        assert!(code >= 400, "{path}: {answer}");
        assert!(answer["message"].as_str().unwrap().contains(word), "{path}: {answer}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn reset_keeps_the_rules_of_the_start_and_nothing_else() {
    let (url, fake) = with_service().await;
    fake.image(ImageRule { image: "web".to_owned(), exits: Some(1), ..ImageRule::default() });
    fake.fault(Fault {
        error: Some(FaultError { code: "X".to_owned(), message: String::new(), status: 400 }),
        ..Fault::default()
    });
    assert_eq!(fake.wire_call("ecs", "ListClusters", json!({})).unwrap_err().code, "X");
    http(&url, "POST", "/_fake/reset", "");
    let clusters = fake.wire_call("ecs", "ListClusters", json!({})).unwrap();
    assert_eq!(clusters["clusterArns"], json!([]));
    assert_eq!(fake.calls().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn lagging_reads_never_see_more_than_was() {
    let (url, fake) = with_service().await;
    fake.settle(60_000);
    http(&url, "POST", "/_fake/consistency", r#"{"lag_ms": 5000}"#);
    let count = |fake: &landfall_awsfake::Handle| {
        let input = json!({"cluster": "c", "services": ["web"]});
        fake.wire_call("ecs", "DescribeServices", input).unwrap()["services"][0]["desiredCount"].as_u64().unwrap()
    };
    fake.wire_call("ecs", "UpdateService", json!({"cluster": "c", "service": "web", "desiredCount": 2})).unwrap();
    fake.advance(2_000);
    fake.wire_call("ecs", "UpdateService", json!({"cluster": "c", "service": "web", "desiredCount": 3})).unwrap();
    let mut seen = vec![count(&fake)];
    for _ in 0..8 {
        fake.advance(1_000);
        seen.push(count(&fake));
    }
    assert_eq!(seen, [1, 1, 1, 2, 2, 3, 3, 3, 3]);
    // The copy is the same world, ids included.
    let input = json!({"cluster": "c"});
    fake.advance(10_000);
    let late = fake.wire_call("ecs", "ListTasks", input.clone()).unwrap();
    assert_eq!(late, fake.call("ecs", "ListTasks", input).unwrap());
    assert_eq!(late["taskArns"].as_array().unwrap().len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn calls_are_throttled_as_documented_and_counted_by_family() {
    let (_url, fake) = with_service().await;
    fake.throttle_as_documented();
    let register = || {
        let containers = json!([{"name": "web", "image": "web:2", "memory": 64}]);
        fake.wire_call("ecs", "RegisterTaskDefinition", json!({"family": "web", "containerDefinitions": containers}))
    };
    let done = (0..30).filter(|_| register().is_ok()).count();
    assert_eq!(done, 20);
    assert_eq!(register().unwrap_err().code, "ThrottlingException");
    fake.advance(1_000);
    assert!(register().is_ok());
    let calls = fake.script("GET", "calls", &Value::Null).unwrap();
    assert_eq!(calls["summary"]["families"]["ecs task definition modify"], 32);
    assert_eq!(calls["summary"]["errors"]["ThrottlingException"], 11);
    assert_eq!(calls["calls"][0]["actions"][0]["action"], "ecs:RegisterTaskDefinition");
}

struct Process(std::process::Child);

impl Drop for Process {
    fn drop(&mut self) {
        // Gone already is as good.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn the_binary_takes_rules_and_a_scale_and_prints_its_url() {
    let rules = std::env::temp_dir().join(format!("awsfake-{}.json", std::process::id()));
    std::fs::write(&rules, r#"{"timing": {"pending": 12345}, "images": [{"image": "bad", "exits": 1}]}"#).unwrap();
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_awsfake"));
    command.args(["--scale", "0", "--rules"]).arg(&rules).stdout(std::process::Stdio::piped());
    let mut process = Process(command.spawn().unwrap());
    let mut url = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(process.0.stdout.take().unwrap()), &mut url).unwrap();
    std::fs::remove_file(&rules).unwrap();
    let (code, now) = http(url.trim(), "GET", "/_fake/now", "");
    assert_eq!((code, now["scale"].as_f64()), (200, Some(0.0)));
    let (_, later) = http(url.trim(), "POST", "/_fake/clock", r#"{"advance": 60000}"#);
    assert_eq!(later["now"].as_u64().unwrap() - now["now"].as_u64().unwrap(), 60_000);
    let wrong = std::process::Command::new(env!("CARGO_BIN_EXE_awsfake")).arg("--speed").output().unwrap();
    assert!(!wrong.status.success());
    assert!(String::from_utf8_lossy(&wrong.stderr).contains("no option --speed"), "{wrong:?}");
}
