//! Where credentials and region come from: roles, and the SDK's chain in a process with an environment of its own.

use std::path::Path;
use std::process::Command;

use landfall_aws::{AwsOptions, AwsPlatform};
use landfall_awsfake::faults::{Fault, FaultError};
use landfall_awsfake::{ACCOUNT, Fake, Handle, REGION};
use landfall_model::aws::{AssumeRole, AwsTarget};
use landfall_ports::PortError;
use serde_json::json;

use crate::emulator;

const OTHER: &str = "222233334444";

fn options() -> AwsOptions {
    AwsOptions { instance: "aws tests".to_owned() }
}

fn target(url: &str) -> AwsTarget {
    AwsTarget {
        name: "test".to_owned(),
        region: Some(REGION.to_owned()),
        endpoint: Some(url.to_owned()),
        cluster: "main".to_owned(),
        ..AwsTarget::default()
    }
}

fn role() -> AssumeRole {
    AssumeRole { arn: format!("arn:aws:iam::{OTHER}:role/deploy"), external_id: Some("theirs".to_owned()) }
}

async fn connect(target: &AwsTarget) -> AwsPlatform {
    AwsPlatform::connect_as(target, options(), emulator::credentials("test")).await.unwrap()
}

#[tokio::test]
async fn a_role_in_another_account_is_assumed() {
    let (url, fake) = Fake::start().await.unwrap();
    fake.call_as(OTHER, REGION, "ecs", "CreateCluster", json!({"clusterName": "main"})).unwrap();
    let target = AwsTarget { role: Some(role()), account: Some(OTHER.to_owned()), ..target(&url) };
    let platform = connect(&target).await;
    assert_eq!(platform.account().await.unwrap(), OTHER);
    // There, and not here, is the cluster.
    assert!(platform.orchestrator().describe_service("web").await.unwrap().is_none());
    assert_eq!(fake.count("sts", "AssumeRole"), 1, "once for all calls");
}

#[tokio::test]
async fn a_role_that_may_not_be_assumed_is_a_denial() {
    let (url, fake) = Fake::start().await.unwrap();
    fake.script("POST", "roles", &json!({"roles": ["another"]})).unwrap();
    let platform = connect(&AwsTarget { role: Some(role()), ..target(&url) }).await;
    let error = platform.orchestrator().describe_service("web").await.unwrap_err();
    assert!(matches!(&error, PortError::Denied(text) if text.contains("sts:AssumeRole")), "{error:?}");
}

#[tokio::test]
async fn a_hiccup_of_sts_is_nobody_s_business_and_an_outage_passes() {
    let (url, fake) = Fake::start().await.unwrap();
    fake.call_as(OTHER, REGION, "ecs", "CreateCluster", json!({"clusterName": "main"})).unwrap();
    let target = AwsTarget { role: Some(role()), ..target(&url) };
    let down = |times: Option<u32>| Fault {
        operation: Some("AssumeRole".to_owned()),
        times,
        error: Some(FaultError { code: "InternalFailure".to_owned(), message: String::new(), status: 500 }),
        ..Fault::default()
    };
    fake.fault(down(Some(1)));
    assert!(connect(&target).await.orchestrator().describe_service("web").await.unwrap().is_none());
    assert_eq!(fake.count("sts", "AssumeRole"), 2);
    fake.fault(down(None));
    let platform = connect(&target).await;
    let error = platform.orchestrator().describe_service("web").await.unwrap_err();
    assert!(matches!(&error, PortError::Unavailable(text) if text.contains("credentials for now")), "{error:?}");
    fake.clear_faults();
    assert!(platform.orchestrator().describe_service("web").await.unwrap().is_none());
}

/// Not a test by itself: what `in_process` runs.
#[tokio::test]
#[ignore = "started by the tests below, with an environment"]
#[allow(clippy::print_stdout, reason = "read by the process that started this one")]
async fn what_the_chain_finds() {
    let target = AwsTarget {
        name: "test".to_owned(),
        profile: std::env::var("TEST_PROFILE").ok(),
        endpoint: std::env::var("TEST_ENDPOINT").ok(),
        ..AwsTarget::default()
    };
    let found = async {
        let platform = AwsPlatform::connect(&target, options()).await?;
        Ok::<_, PortError>(format!("{} in {}", platform.account().await?, platform.region()))
    };
    println!("FOUND {}", found.await.unwrap_or_else(|error| format!("{error:?}")));
}

/// What the chain finds in a process that has this environment and no other.
fn in_process(environment: &[(&str, &str)]) -> String {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "credentials::what_the_chain_finds", "--ignored", "--nocapture"]);
    command.env_clear().env("HOME", "/nonexistent").env("AWS_EC2_METADATA_DISABLED", "true");
    command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
    let output = command.envs(environment.iter().copied()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let (_, found) = text.split_once("FOUND ").unwrap_or_else(|| panic!("{text}"));
    found.lines().next().unwrap().to_owned()
}

async fn fake() -> (String, Handle) {
    Fake::start().await.unwrap()
}

async fn found(environment: Vec<(&'static str, String)>) -> String {
    let run = move || {
        let environment: Vec<(&str, &str)> = environment.iter().map(|(name, value)| (*name, value.as_str())).collect();
        in_process(&environment)
    };
    tokio::task::spawn_blocking(run).await.unwrap()
}

fn write(directory: &Path, name: &str, text: &str) -> String {
    let path = directory.join(name);
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

#[tokio::test]
async fn the_environment_and_profiles_and_credential_processes_are_used() {
    let (url, _fake) = fake().await;
    let key = |key: &str| ("AWS_ACCESS_KEY_ID", key.to_owned());
    let of_environment = found(vec![
        key("test"),
        ("AWS_SECRET_ACCESS_KEY", "test".to_owned()),
        ("AWS_REGION", "eu-west-3".to_owned()),
        ("TEST_ENDPOINT", url.clone()),
    ]);
    assert_eq!(of_environment.await, format!("{ACCOUNT} in eu-west-3"));

    let directory = tempfile::tempdir().unwrap();
    let process = json!({"Version": 1, "AccessKeyId": format!("ASIAFAKE{OTHER}"), "SecretAccessKey": "x"}).to_string();
    let process = write(directory.path(), "process.json", &process);
    let config =
        format!("[profile ci]\nregion = eu-north-1\nendpoint_url = {url}\ncredential_process = cat {process}\n");
    let config = write(directory.path(), "config", &config);
    let of_profile = found(vec![("AWS_CONFIG_FILE", config), ("TEST_PROFILE", "ci".to_owned())]);
    assert_eq!(of_profile.await, format!("{OTHER} in eu-north-1"));
}

#[tokio::test]
async fn a_web_identity_of_ci_is_used() {
    let (url, fake) = fake().await;
    let directory = tempfile::tempdir().unwrap();
    let token = write(directory.path(), "token", "header.claims.signature");
    let of_token = found(vec![
        ("AWS_WEB_IDENTITY_TOKEN_FILE", token),
        ("AWS_ROLE_ARN", role().arn),
        ("AWS_REGION", REGION.to_owned()),
        ("AWS_ENDPOINT_URL", url),
    ]);
    assert_eq!(of_token.await, format!("{OTHER} in {REGION}"));
    assert_eq!(fake.count("sts", "AssumeRoleWithWebIdentity"), 1);
}

#[tokio::test]
async fn what_is_missing_is_named() {
    let (url, _fake) = fake().await;
    let no_region = found(vec![("TEST_ENDPOINT", url.clone())]).await;
    assert!(no_region.starts_with("Invalid") && no_region.contains("AWS_REGION"), "{no_region}");
    let nobody = found(vec![("TEST_ENDPOINT", url), ("AWS_REGION", REGION.to_owned())]).await;
    assert!(nobody.starts_with("Denied") && nobody.contains("AWS_ACCESS_KEY_ID"), "{nobody}");
}
