//! Topics, functions, secrets and images: calls that are signed by hand, and look-ups.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_smithy_types::base64;
use landfall_aws::{AwsOptions, AwsPlatform};
use landfall_model::app::HookAction;
use landfall_model::aws::AwsTarget;
use landfall_model::step::{AwaitImage, RunHook};
use landfall_model::task::SecretRef;
use landfall_ports::steps::{HookRunner, HookState};
use landfall_ports::topic::{TopicBody, TopicMessage};
use landfall_ports::{PortError, PortResult};
use serde_json::{Value, json};

use crate::emulator;
use crate::place::Place;
use crate::raw::{Raw, element, zip};

async fn until<T, F: Future<Output = Option<T>>>(what: &str, ask: impl Fn() -> F) -> T {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        if let Some(found) = ask().await {
            return found;
        }
        assert!(Instant::now() < deadline, "no {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn sns(place: &Place, fields: &[(&str, &str)]) -> String {
    place.raw.query("sns", &[fields, &[("Version", "2010-03-31")]].concat()).await
}

/// What a subscriber by SQS gets.
async fn delivered(place: &Place, queue: &str) -> Value {
    until("message in the queue", || async {
        let body = json!({"QueueUrl": queue, "MaxNumberOfMessages": 1});
        let answer = place.raw.json("sqs", "AmazonSQS.ReceiveMessage", body).await;
        let message = answer["Messages"][0]["Body"].as_str()?.to_owned();
        let receipt = json!({"QueueUrl": queue, "ReceiptHandle": answer["Messages"][0]["ReceiptHandle"]});
        place.raw.json("sqs", "AmazonSQS.DeleteMessage", receipt).await;
        serde_json::from_str(&message).ok()
    })
    .await
}

async fn topics_deliver_text_and_envelopes(place: Place) {
    let arn = element(&sns(&place, &[("Action", "CreateTopic"), ("Name", "slack")]).await, "TopicArn");
    let queue = place.raw.json("sqs", "AmazonSQS.CreateQueue", json!({"QueueName": "chat"})).await;
    let queue = queue["QueueUrl"].as_str().unwrap().to_owned();
    let attributes = json!({"QueueUrl": queue, "AttributeNames": ["QueueArn"]});
    let attributes = place.raw.json("sqs", "AmazonSQS.GetQueueAttributes", attributes).await;
    let endpoint = attributes["Attributes"]["QueueArn"].as_str().unwrap();
    let subscribe = [("Action", "Subscribe"), ("TopicArn", &*arn), ("Protocol", "sqs"), ("Endpoint", endpoint)];
    sns(&place, &subscribe).await;

    let topic = place.platform.topic(&arn).unwrap();
    let message = |body| TopicMessage {
        id: "exe_1/7".to_owned(),
        group: "app-x".to_owned(),
        subject: Some("app-x is up".to_owned()),
        body,
    };
    let text = "app-x is up & running = ☺\nhttp://x.example/";
    topic.publish(&message(TopicBody::Text(text.to_owned()))).await.unwrap();
    let got = delivered(&place, &queue).await;
    assert_eq!((got["Message"].as_str(), got["Subject"].as_str()), (Some(text), Some("app-x is up")));
    assert_eq!(got["TopicArn"], json!(arn));

    // As the forwarder behind the original's topic reads it: the message is the JSON text itself.
    let chat =
        json!({"channel": "#test", "username": "ecs deity", "icon_url": "http://h/i.png", "text": ":rocket: *up*"});
    let body = json!({"default": chat.to_string()}).to_string();
    topic.publish(&message(TopicBody::ByProtocol(body))).await.unwrap();
    let got = delivered(&place, &queue).await;
    assert_eq!(serde_json::from_str::<Value>(got["Message"].as_str().unwrap()).unwrap(), chat);

    let anna = "anna@example.com";
    for _ in 0..2 {
        place.platform.subscribe(&arn, anna).await.unwrap();
    }
    let subscribers = place.platform.subscribers(&arn).await.unwrap();
    let of = |protocol: &str| subscribers.iter().filter(|one| one.protocol == protocol).collect::<Vec<_>>();
    assert_eq!(of("sqs").iter().map(|one| one.confirmed).collect::<Vec<_>>(), [true]);
    // Both take the yes of whoever is mailed for given; our fake does not (crates/landfall/tests/iam.rs).
    let [mail] = of("email")[..] else { panic!("{subscribers:?}") };
    assert_eq!((mail.endpoint.as_str(), mail.confirmed), (anna, true));
    assert!(matches!(place.platform.subscribers(&format!("{arn}-gone")).await, Err(PortError::NotFound(_))));

    let gone = place.platform.topic(&format!("{arn}-gone")).unwrap();
    let error = gone.publish(&message(TopicBody::Text("x".to_owned()))).await.unwrap_err();
    assert!(matches!(&error, PortError::NotFound(text) if text.starts_with("sns:Publish on topic arn:")), "{error}");
    assert!(matches!(place.platform.topic("slack"), Err(PortError::Invalid(_))));
}

async fn secrets_are_read_with_their_key(place: Place) {
    for (name, kind, value) in [("/app/plain", "String", "p1"), ("/app/secret", "SecureString", "p2")] {
        let body = json!({"Name": name, "Value": value, "Type": kind});
        place.raw.json("ssm", "AmazonSSM.PutParameter", body).await;
    }
    for (name, value) in [("plain", "s1".to_owned()), ("object", json!({"url": "s2", "port": 8}).to_string())] {
        let body =
            json!({"Name": name, "SecretString": value, "ClientRequestToken": "11111111-2222-3333-4444-555555555555"});
        place.raw.json("secretsmanager", "secretsmanager.CreateSecret", body).await;
    }
    let bytes =
        json!({"Name": "bytes", "SecretBinary": "AAE=", "ClientRequestToken": "11111111-2222-3333-4444-555555555555"});
    let bytes = place.raw.json("secretsmanager", "secretsmanager.CreateSecret", bytes).await;
    let platform = &place.platform;
    let ssm = |name: &str| SecretRef::Ssm(name.to_owned());
    let manager = |name: &str| SecretRef::SecretsManager(name.to_owned());
    for (reference, expected) in [
        (ssm("/app/plain"), "p1"),
        (ssm("/app/secret"), "p2"),
        (manager("plain"), "s1"),
        (manager("object:url"), "s2"),
        (manager("object:port"), "8"),
    ] {
        assert_eq!(platform.secret(&reference).await.unwrap(), expected, "{reference:?}");
    }
    let by_arn = format!("{}::AWSCURRENT:", bytes["ARN"].as_str().unwrap());
    for (reference, part) in [
        (ssm("/app/none"), "ssm:GetParameter on parameter /app/none"),
        (manager("none"), "secretsmanager:GetSecretValue on secret none"),
        (manager("object:none"), "the key none"),
        (manager("plain:url"), "no JSON object"),
        (manager(&by_arn), "holds bytes"),
        (SecretRef::Env("X".to_owned()), "on this machine"),
    ] {
        let error = platform.secret(&reference).await.unwrap_err();
        assert!(error.to_string().contains(part) && !error.to_string().contains("s2"), "{error}");
    }
    assert!(matches!(platform.secret(&ssm("/app/none")).await, Err(PortError::NotFound(_))));
}

async fn images_are_pinned(place: Place) {
    let account = place.platform.account().await.unwrap();
    let target = "AmazonEC2ContainerRegistry_V20150921";
    place.raw.json("ecr", &format!("{target}.CreateRepository"), json!({"repositoryName": "team/app"})).await;
    let digest = |byte: &str| format!("sha256:{}", byte.repeat(32));
    let layer = |byte: &str| json!({"mediaType": "application/vnd.oci.image.config.v1+json", "size": 2, "digest": digest(byte)});
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": layer("ab"),
        "layers": [layer("cd")],
    });
    let put = json!({"repositoryName": "team/app", "imageTag": "1a2b3c4", "imageManifest": manifest.to_string()});
    let put = place.raw.json("ecr", &format!("{target}.PutImage"), put).await;
    let digest = put["image"]["imageId"]["imageDigest"].as_str().unwrap();

    let registry = format!("{account}.dkr.ecr.{}.amazonaws.com", place.raw.region);
    let images = place.platform.images(None);
    let resolve = |image: String, label: Option<(&str, &str)>| {
        let label = label.map(|(key, value)| (key.to_owned(), value.to_owned()));
        let images = Arc::clone(&images);
        async move { images.resolve(&AwaitImage { image, label }).await }
    };
    let pinned = format!("{registry}/team/app@{digest}");
    assert_eq!(resolve(format!("{registry}/team/app:1a2b3c4"), None).await.unwrap().as_deref(), Some(pinned.as_str()));
    assert_eq!(resolve(pinned.clone(), None).await.unwrap().as_deref(), Some(pinned.as_str()));
    // What is not there yet is waited for.
    assert_eq!(resolve(format!("{registry}/team/app:later"), None).await.unwrap(), None);
    assert_eq!(resolve(format!("{registry}/team/none:1"), None).await.unwrap(), None);
    let label = resolve(format!("{registry}/team/app"), Some(("a", "b"))).await;
    assert!(matches!(label, Err(PortError::Invalid(text)) if text.contains("by label")));
    assert!(matches!(resolve("nginx:1".to_owned(), None).await, Err(PortError::Invalid(_))));
}

async fn registries_are_logged_in_to_and_repositories_made(place: Place) {
    let account = place.platform.account().await.unwrap();
    let host = format!("{account}.dkr.ecr.{}.amazonaws.com", place.raw.region);
    let registry = place.platform.registry();
    assert!(registry.serves(&host));
    let login = registry.login(&host).await.unwrap();
    assert!(login.user == "AWS" && !login.password.is_empty());
    assert!(login.lifetime > Duration::from_secs(3600), "{:?}", login.lifetime);
    assert_eq!(registry.repository(&host, "pushed/app").await.unwrap(), None);
    for _ in 0..2 {
        registry.create_repository(&host, "pushed/app").await.unwrap();
    }
    assert!(registry.repository(&host, "pushed/app").await.unwrap().unwrap().may_move("v1"));
    let fixed = json!({"repositoryName": "pushed/fixed", "imageTagMutability": "IMMUTABLE"});
    place.raw.json("ecr", "AmazonEC2ContainerRegistry_V20150921.CreateRepository", fixed).await;
    assert!(!registry.repository(&host, "pushed/fixed").await.unwrap().unwrap().may_move("v1"));
}

on!(
    moto: topics_deliver_text_and_envelopes,
    secrets_are_read_with_their_key,
    images_are_pinned,
    registries_are_logged_in_to_and_repositories_made,
    alarms_are_told_apart_and_one_that_is_missing_is_named,
);
async fn alarms_are_told_apart_and_one_that_is_missing_is_named(place: Place) {
    let made = [("shop-errors", "ALARM"), ("shop latency (ü) +1=", "OK"), ("shop-idle", "INSUFFICIENT_DATA")];
    for (name, state) in made {
        let common = [("Version", "2010-08-01"), ("AlarmName", name)];
        let put = [
            ("Action", "PutMetricAlarm"),
            ("MetricName", "Errors"),
            ("Namespace", "shop"),
            ("Statistic", "Sum"),
            ("Period", "60"),
            ("EvaluationPeriods", "1"),
            ("Threshold", "1"),
            ("ComparisonOperator", "GreaterThanThreshold"),
        ];
        place.raw.query("monitoring", &[&common[..], &put].concat()).await;
        let set = [("Action", "SetAlarmState"), ("StateValue", state), ("StateReason", "told")];
        place.raw.query("monitoring", &[&common[..], &set].concat()).await;
    }
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let loud = place.platform.loud_alarms(&names(&["shop-idle", "shop latency (ü) +1=", "shop-errors"])).await.unwrap();
    assert_eq!(loud, ["shop-errors"]);
    assert_eq!(place.platform.loud_alarms(&names(&["shop latency (ü) +1="])).await.unwrap(), [""; 0]);
    let missing = place.platform.loud_alarms(&names(&["shop-errors", "shop-erors"])).await.unwrap_err();
    assert_eq!(missing.to_string(), "not found: there is no alarm shop-erors");
}

on!(
    ministack: topics_deliver_text_and_envelopes,
    secrets_are_read_with_their_key,
    images_are_pinned,
    registries_are_logged_in_to_and_repositories_made,
    alarms_are_told_apart_and_one_that_is_missing_is_named,
);

/// A signature that is wrong anywhere (path, scope, headers, body) would be refused before anything is looked up.
#[tokio::test]
async fn what_is_signed_by_hand_is_signed_right() {
    let target = AwsTarget {
        region: Some("us-east-1".to_owned()),
        endpoint: Some(emulator::checking_ministack()),
        cluster: "main".to_owned(),
        ..AwsTarget::default()
    };
    let options = || AwsOptions { instance: "tests".to_owned() };
    let root = Raw::new(&emulator::checking_ministack(), "us-east-1");
    let iam = async |fields: &[(&str, &str)]| {
        root.query("iam", &[fields, &[("UserName", "ci"), ("Version", "2010-05-08")]].concat()).await
    };
    iam(&[("Action", "CreateUser")]).await;
    let all = json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]});
    let all = all.to_string();
    iam(&[("Action", "PutUserPolicy"), ("PolicyName", "all"), ("PolicyDocument", &all)]).await;
    let key = iam(&[("Action", "CreateAccessKey")]).await;
    let (key, secret) = (element(&key, "AccessKeyId"), element(&key, "SecretAccessKey"));
    let connect = |secret: &str| {
        let credentials = Credentials::new(&key, secret, None, None, "tests");
        AwsPlatform::connect_as(&target, options(), SharedCredentialsProvider::new(credentials))
    };
    let ask = |platform: AwsPlatform| async move {
        let parameter = platform.secret(&SecretRef::Ssm("/a b/ü".to_owned())).await.unwrap_err();
        let message = TopicMessage {
            id: "1".to_owned(),
            group: "x".to_owned(),
            subject: None,
            body: TopicBody::Text("a+b=c & ü/~*".to_owned()),
        };
        let topic = platform.topic("arn:aws:sns:eu-west-1:000000000000:none").unwrap();
        let topic = topic.publish(&message).await.unwrap_err();
        let hooks = platform.hooks(Arc::new(Others));
        let function = "arn:aws:lambda:us-east-1:000000000000:function:no-such:live".to_owned();
        let hook = RunHook {
            name: "migrate".to_owned(),
            action: HookAction::Lambda { function },
            environment: BTreeMap::from([("A".to_owned(), "ü".to_owned())]),
            timeout: 60,
            rerunnable: false,
        };
        hooks.start("key", &hook).await.unwrap();
        let state = until("end of the hook", || async {
            Some(hooks.poll("key").await.unwrap()).filter(|state| *state != HookState::Running)
        });
        let HookState::Failed { message, .. } = state.await else { panic!("not failed") };
        [parameter.to_string(), topic.to_string(), message]
    };
    let right = ask(connect(&secret).await.unwrap()).await;
    assert!(right.iter().all(|error| error.contains("NotFound")), "{right:?}");
    let wrong = ask(connect("wrong").await.unwrap()).await;
    assert!(wrong.iter().all(|error| error.contains("secret access key is not this key's")), "{wrong:?}");
}

/// Stands for this machine's runner.
struct Others;

#[async_trait::async_trait]
impl HookRunner for Others {
    async fn start(&self, _key: &str, _hook: &RunHook) -> PortResult<HookState> {
        Ok(HookState::Succeeded { code: 0, tail: vec!["others".to_owned()] })
    }

    async fn poll(&self, _key: &str) -> PortResult<HookState> {
        Ok(HookState::Unknown)
    }

    async fn cancel(&self, _key: &str) -> PortResult<()> {
        Ok(())
    }
}

const FUNCTION: &str = r#"
import json, time
def handler(event, context):
    print("got " + json.dumps(event, sort_keys=True))
    if event.get("LANDFALL_MODE") == "fail":
        raise ValueError("no such branch")
    if event.get("LANDFALL_MODE") == "slow":
        time.sleep(60)
    return {"ok": True}
"#;

/// A real Python function, run by ministack.
#[tokio::test]
async fn functions_run_as_hooks() {
    let place = Place::ministack().await;
    let function = json!({
        "FunctionName": "ci-deploy",
        "Runtime": "python3.11",
        "Handler": "index.handler",
        "Role": "arn:aws:iam::000000000000:role/lambda",
        "Timeout": 120,
        "Code": {"ZipFile": base64::encode(zip("index.py", FUNCTION.as_bytes()))},
    });
    let function = place.raw.post("lambda", "/2015-03-31/functions", function).await;
    let arn = function["FunctionArn"].as_str().unwrap();

    let hooks = place.platform.hooks(Arc::new(Others));
    let hook = |function: &str, mode: &str, timeout| RunHook {
        name: "migrate".to_owned(),
        action: HookAction::Lambda { function: function.to_owned() },
        environment: BTreeMap::from([("LANDFALL_MODE".to_owned(), mode.to_owned())]),
        timeout,
        rerunnable: false,
    };
    let run = |key: &'static str, hook: RunHook| {
        let hooks = Arc::clone(&hooks);
        async move {
            assert_eq!(hooks.start(key, &hook).await.unwrap(), HookState::Running);
            until("end of the hook", || async {
                Some(hooks.poll(key).await.unwrap()).filter(|state| *state != HookState::Running)
            })
            .await
        }
    };
    // By name and by ARN; the payload is the environment, and the end of the log is kept.
    for (key, function) in [("name", "ci-deploy"), ("arn", arn)] {
        let state = run(key, hook(function, "create", 60)).await;
        let HookState::Succeeded { code: 200, tail } = &state else { panic!("{state:?}") };
        assert!(tail.iter().any(|line| line.contains(r#"got {"LANDFALL_MODE": "create"}"#)), "{tail:?}");
        // The same key again is the same run.
        assert_eq!(hooks.start(key, &hook(function, "fail", 60)).await.unwrap(), state);
    }
    let state = run("fail", hook("ci-deploy", "fail", 60)).await;
    let HookState::Failed { code: Some(200), message, tail } = state else { panic!("{state:?}") };
    assert!(message.starts_with("hook migrate: function ci-deploy failed (Unhandled): "), "{message}");
    assert!(message.contains("no such branch"), "{message}");
    assert!(tail.iter().any(|line| line.contains("got ")), "{tail:?}");
    let state = run("missing", hook("no-such", "x", 60)).await;
    let HookState::Failed { code: None, message, .. } = state else { panic!("{state:?}") };
    assert!(message.contains("lambda:InvokeFunction on function no-such: ResourceNotFoundException"), "{message}");
    let state = run("slow", hook("ci-deploy", "slow", 1)).await;
    let HookState::Failed { code: None, message, .. } = state else { panic!("{state:?}") };
    assert!(message.contains("no answer in time"), "{message}");

    assert_eq!(hooks.start("cancelled", &hook("ci-deploy", "slow", 60)).await.unwrap(), HookState::Running);
    hooks.cancel("cancelled").await.unwrap();
    let state = until("cancelled hook", || async {
        Some(hooks.poll("cancelled").await.unwrap()).filter(|state| *state != HookState::Running)
    });
    assert!(matches!(state.await, HookState::Failed { message, .. } if message.contains("may still run")));
    // Everything else is for this machine.
    let command = HookAction::Command { argv: vec!["true".to_owned()], directory: None };
    let others = hooks.start("command", &RunHook { action: command, ..hook("", "", 1) }).await.unwrap();
    assert!(matches!(others, HookState::Succeeded { tail, .. } if tail == ["others"]));
    assert_eq!(hooks.poll("nobody").await.unwrap(), HookState::Unknown);
}
