//! Commands from a chat, sleep and CircleCI's pipelines: what is taken, and what is refused and why.

use landfall_model::app::{ChatOps, HookAction, SlackCommands, Sleep};
use landfall_model::task::SecretRef;
use serde_json::json;

use crate::{codes_of, loaded, rendered};

const WEB: &str =
    "project: shop\nservices: {web: {load_balancer: {}, containers: {app: {image: nginx, ports: [80]}}}}\n";

#[test]
fn slack_is_taken_with_either_secret() {
    let text = format!(
        "{WEB}previews: {{}}\nchatops:\n  slack:\n    signing_secret: {{env: SLACK_SIGNING_SECRET}}\n    \
         outgoing_token: {{file: slack-token}}\n    channels: ['#deploys', C0123ABCD]\n    users: [U0123ABCD]\n"
    );
    let slack = SlackCommands {
        signing_secret: Some(SecretRef::Env("SLACK_SIGNING_SECRET".into())),
        outgoing_token: Some(SecretRef::File("slack-token".into())),
        channels: vec!["#deploys".into(), "C0123ABCD".into()],
        users: vec!["U0123ABCD".into()],
    };
    assert_eq!(loaded(&text).app.chatops, Some(ChatOps { slack: Some(slack) }));
}

#[test]
fn slack_without_proof_or_with_names_of_users_is_refused() {
    insta::assert_snapshot!(rendered(&format!(
        "{WEB}previews: {{}}\nchatops:\n  slack:\n    channels: ['#', deploys]\n    users: [steve]\n"
    )));
    assert_eq!(codes_of(&format!("{WEB}previews: {{}}\nchatops: {{}}\n")), ["LF-M008"]);
    let never = format!("{WEB}chatops: {{slack: {{signing_secret: {{env: S}}}}}}\n");
    assert_eq!(codes_of(&never), ["LF-M034"], "nothing that a command could be about");
}

#[test]
fn what_is_idle_sleeps_where_the_manifest_says_so() {
    let sleep = |text: &str| loaded(&format!("{WEB}previews: {{{text}}}\n")).app.previews.unwrap().sleep;
    assert_eq!(sleep(""), None);
    assert_eq!(sleep("sleep: {after: 30m}"), Some(Sleep { after: 1_800, hold: 60 }));
    assert_eq!(sleep("sleep: {after: 5s, hold: 2m}"), Some(Sleep { after: 5, hold: 120 }));
    for wrong in ["{after: 4s}", "{after: 1500ms}", "{after: 1h, hold: 0s}", "{after: 1h, hold: 11m}"] {
        assert_eq!(codes_of(&format!("{WEB}previews: {{sleep: {wrong}}}\n")), ["LF-M032"], "{wrong}");
    }
    assert_eq!(codes_of(&format!("{WEB}previews: {{sleep: {{}}}}\n")), ["LF-M008"]);
}

#[test]
fn on_aws_nobody_knows_what_is_idle() {
    let text = "project: shop\naws: {dev: {cluster: dev, load_balancer: dev, execution_role: exec, \
                network: {subnets: [subnet-0123456789abcdef0]}}}\n\
                services: {web: {cpu: 256, memory: 512, load_balancer: {}, containers: {app: {image: nginx, ports: [80]}}}}\n\
                previews: {on: dev, routing: {ports: {range: 8000-8049}}, sleep: {after: 1h}}\n";
    insta::assert_snapshot!(rendered(text));
}

#[test]
fn a_pipeline_keeps_the_types_of_its_parameters() {
    let text = format!(
        "{WEB}previews:\n  hooks:\n    e2e:\n      when: after_create\n      run:\n        circleci:\n          \
         project: gh/acme/shop\n          token: {{env: CIRCLE_TOKEN}}\n          wait: true\n          \
         parameters: {{url: '{{url}}', smoke: true, shards: 4, tag: '1', words: on}}\n"
    );
    let hooks = loaded(&text).app.previews.unwrap().hooks;
    let HookAction::CircleCi(hook) = &hooks[0].run else { panic!("{hooks:?}") };
    assert_eq!((hook.host.as_str(), hook.project.as_str()), ("https://circleci.com", "gh/acme/shop"));
    assert_eq!((hook.branch.as_str(), hook.wait), ("{branch}", true));
    let parameters = json!({"url": "{url}", "smoke": true, "shards": 4, "tag": "1", "words": "on"});
    assert_eq!(json!(hook.parameters), parameters);
}

#[test]
fn a_pipeline_that_cannot_be_is_refused() {
    insta::assert_snapshot!(rendered(&format!(
        "{WEB}previews:\n  hooks:\n    e2e:\n      when: after_create\n      run:\n        circleci:\n          \
         project: acme/shop\n          host: circleci.com\n          token: {{env: 'Circle Token'}}\n          \
         parameters: {{URL: x, a: 1, ok: [1]}}\n    bare: {{when: after_create, run: {{circleci: {{}}}}}}\n"
    )));
}
