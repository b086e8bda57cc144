//! What went wrong with ECS Deity, asked of this server the way it happened there. docs/why-not-deity.md lists all of it.

use landfall_model::environment::Phase;
use landfall_ports::store::{DeliveryOutcome, Store};
use landfall_server::chat::{Chat, sign};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::conversation::{BRANCH, becomes, commit, deleted, rig, say};
use crate::rig::{Rig, SECRET, Server, created};

const ENVIRONMENT: &str = "my-project-test123";

async fn raw(server: &Server, head: &[&str], body: &[u8]) -> String {
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let head =
        format!("{}\r\nHost: test\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", head.join("\r\n"), body.len());
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(body).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

async fn command(server: &Server, text: &str) -> String {
    let body =
        format!("team_id=T1&channel_id=C1&user_id=U1&trigger_id={}&text={}", text.len(), text.replace('/', "%2F"));
    let at = jiff::Timestamp::now().as_second();
    let (time, signature) = (format!("X-Slack-Request-Timestamp: {at}"), sign(b"s", at, body.as_bytes()));
    let head = ["POST /webhooks/slack/command HTTP/1.1", &time, &format!("X-Slack-Signature: {signature}")];
    raw(server, &head, body.as_bytes()).await
}

fn with_chat() -> Rig {
    let mut rig = rig();
    rig.chat = Some(Chat { signing_secret: Some(b"s".to_vec()), ..Chat::default() });
    rig
}

/// There a chat's environments were named after the stage, and no deletion on GitHub ever found them.
#[tokio::test]
async fn what_a_chat_made_goes_with_its_branch() {
    let rig = with_chat();
    let server = rig.start().await;
    assert!(command(&server, "create feature/test123").await.contains("Going to create my-project env"));
    becomes(&server, ENVIRONMENT, Phase::Ready).await;
    say(&server, "delete", "d-1", &deleted(BRANCH)).await;
    becomes(&server, ENVIRONMENT, Phase::Destroyed).await;
    assert!(rig.world.view().is_empty(), "{:?}", rig.world.view());
    // There a message of one word was an IndexError.
    for word in ["create", "destroy", "dev", "status"] {
        assert!(command(&server, word).await.starts_with("HTTP/1.1 200"), "{word}");
    }
    server.stop().await;
}

/// There `feature/a/x` and `feature/b/x` were one, and deleting either destroyed the other.
#[tokio::test]
async fn two_branches_with_one_leaf_are_two_previews() {
    let mut rig = rig();
    rig.app.previews.as_mut().unwrap().branches = vec!["feature/**".to_owned()];
    let branches = ["feature/a/x", "feature/b/x"];
    *rig.forge.0.lock().unwrap() = Some(branches.map(|branch| (branch.to_owned(), commit('a'))).into());
    let server = rig.start().await;
    let mut ids = Vec::new();
    for branch in branches {
        say(&server, "create", &branch.replace('/', "-"), &created(branch)).await;
        assert!(matches!(server.outcome(&branch.replace('/', "-")).await, DeliveryOutcome::Applied { .. }));
        let all = server.store.environments().await.unwrap();
        let id = all.into_iter().find(|record| record.key.source.to_string() == branch).unwrap().id;
        becomes(&server, id.as_str(), Phase::Ready).await;
        ids.push(id.to_string());
    }
    assert_eq!(rig.world.view().services.len(), 2);
    say(&server, "delete", "d-1", &deleted(branches[0])).await;
    becomes(&server, &ids[0], Phase::Destroyed).await;
    assert_eq!(becomes(&server, &ids[1], Phase::Ready).await.key.source.to_string(), branches[1]);
    assert_eq!(rig.world.view().services.len(), 1, "the other one serves on");
    server.stop().await;
}

/// There it was an alarm in the channel.
#[tokio::test]
async fn the_deletion_of_what_never_was_is_nobodys_concern() {
    let rig = rig();
    let server = rig.start().await;
    say(&server, "delete", "d-1", &deleted("feature/never")).await;
    assert!(matches!(server.outcome("d-1").await, DeliveryOutcome::Ignored { .. }));
    assert!(server.store.notices().is_empty());
    assert!(rig.world.effects().is_empty(), "{:?}", rig.world.effects());
    server.stop().await;
}

/// There headers were looked up in one spelling, and a body was JSON or nothing.
#[tokio::test]
async fn headers_are_read_in_any_case_and_types_with_their_parameters() {
    let server = rig().start().await;
    let body = created(BRANCH).to_string().into_bytes();
    let signature = format!("X-HUB-signature-256: {}", landfall_github::webhook::sign(SECRET, &body));
    let head = [
        "POST /webhooks/github HTTP/1.1",
        "x-GitHub-eVENT: create",
        "X-GITHUB-DELIVERY: d-1",
        "content-TYPE: Application/JSON; charset=utf-8",
        &signature,
    ];
    let answer = raw(&server, &head, &body).await;
    assert!(answer.starts_with("HTTP/1.1 202"), "{answer}");
    becomes(&server, ENVIRONMENT, Phase::Ready).await;
    // Tags and pings are understood and are no errors.
    for (event, body) in [
        ("create", json!({"ref": "v1", "ref_type": "tag", "repository": {"name": "my-project"}})),
        ("ping", json!({"zen": "x"})),
    ] {
        say(&server, event, &format!("d-{event}-2"), &body).await;
        assert!(matches!(server.outcome(&format!("d-{event}-2")).await, DeliveryOutcome::Ignored { .. }));
    }
    server.stop().await;
}
