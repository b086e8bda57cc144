//! What policies grant, and that every statement is one that IAM takes as it is meant.

use landfall_model::app::App;
use landfall_model::pipeline::{OnFailure, Pipeline, Requires, Stage, Trigger, Work};
use serde_json::{Value, json};

use crate::{Ask, Least, Level, StateBucket, Statement, Unfit, action, least, prune, push, releases};

mod clusters;
mod stacks;

fn hook(name: &str, run: &Value) -> Value {
    json!({"name": name, "when": "after_create", "run": run, "timeout": 60, "on_failure": "fail", "rerunnable": true})
}

/// With everything that asks for a right. `change` makes something less of it.
fn app(change: impl FnOnce(&mut Value)) -> App {
    let health = json!({
        "path": "/", "port": null, "interval_ms": 5000, "timeout_ms": 2000, "healthy_threshold": 2, "unhealthy_threshold": 2,
        "matcher": "200"
    });
    let build = json!({"context": ".", "dockerfile": "Dockerfile", "args": {}, "target": null, "timeout": 60});
    let image = "111122223333.dkr.ecr.eu-west-1.amazonaws.com/team/{project}-web:{short_commit}";
    let mut app = json!({
        "project": "shop",
        "repositories": {"shop": {"key": "shop", "github": "acme/shop", "github_id": null, "source": null, "omit": null}},
        "services": {"web": {
            "name": "web", "cpu": 256, "memory": 512, "desired_count": 1,
            "containers": [{
                "name": "app",
                "image": {"await": {"image": image, "label": null, "deadline": 60, "build": build}},
                "settings": {
                    "essential": true, "stop_timeout": 30,
                    "secrets": {
                        "DB": {"secrets_manager": "shop/db:password"}, "KEY": {"ssm": "/shop/key"},
                        "TOKEN": {"secrets_manager": "arn:aws:secretsmanager:eu-west-1:111122223333:secret:token-AbCdEf"},
                    },
                },
            }],
            "deployment": {
                "minimum_healthy_percent": 100, "maximum_percent": 200, "health_check_grace_period": 0, "timeout": 600,
                "circuit_breaker": {"enable": true, "rollback": true, "threshold": null},
                "strategy": {"kind": "canary", "hooks": [
                    {"stages": ["post_scale_up"], "action": {"pause": {"timeout": null, "on_timeout": "rollback"}}},
                ]},
            },
            "load_balancer": {
                "container": "app", "port": 80, "health_check": health, "deregistration_delay": 5,
                "algorithm": "round_robin", "idle_timeout": 60
            },
        }},
        "environments": {
            "prod": {
                "name": "prod", "on": "main", "services": ["web"], "variables": {},
                "routing": {"host": {"host": "shop.example.com", "port": 443}},
            },
            "here": {"name": "here", "services": ["web"], "variables": {}},
        },
        "previews": {
            "on": "main", "branches": ["feature/*"], "ignore": [], "pull_requests": false, "services": ["web"], "variables": {},
            "routing": {"host": {"domain": "p.example.com", "port": 443}},
            "hooks": [
                hook("migrate", &json!({"task": {"service": "web", "container": null, "command": ["migrate"]}})),
                hook("seed", &json!({"lambda": {"function": "seed-previews"}})),
            ],
            "limits": {"concurrent_builds": 1, "concurrent_executions": 1}
        },
        "notifications": [
            {"name": "ops", "to": {"sns": {"topic": "arn:aws:sns:eu-west-1:111122223333:ops", "on": "main", "envelope": null}},
             "on": []},
            {"name": "elsewhere", "to": {"sns": {"topic": "arn:aws:sns:eu-west-1:444455556666:x", "on": "other",
             "envelope": null}}, "on": []},
            {"name": "chat", "to": {"slack": {"url": {"secret": {"ssm": "/shop/slack"}}, "channel": null}}, "on": []},
        ],
        "webhook_secrets": [{"secrets_manager": "shop/webhook"}],
        "chatops": {"slack": {
            "signing_secret": {"ssm": "/shop/signing"}, "outgoing_token": null, "channels": [], "users": []
        }},
        "aws": {"main": {
            "name": "main", "region": "eu-west-1", "account": "111122223333", "cluster": "previews",
            "load_balancer": "arn:aws:elasticloadbalancing:eu-west-1:111122223333:loadbalancer/app/front/50dc6c495c0c9188",
            "subnets": ["subnet-1"], "security_groups": ["sg-1"], "public_ip": false,
            "execution_role": "arn:aws:iam::111122223333:role/execution", "task_role": "arn:aws:iam::111122223333:role/task",
            "log_group": "/shop/previews", "certificate": "arn:aws:acm:eu-west-1:111122223333:certificate/c-1",
        }},
    });
    change(&mut app);
    serde_json::from_value(app).unwrap()
}

fn ask(app: &App) -> Ask<'_> {
    Ask {
        app,
        environment: None,
        account: None,
        region: None,
        pass_roles: &[],
        checks: false,
        secrets: false,
        state: None,
    }
}

fn previews(change: impl FnOnce(&mut Value)) -> Least {
    least(&ask(&app(change))).unwrap()
}

fn sids(least: &Least) -> Vec<&str> {
    least.policy.statement.iter().map(|statement| statement.sid.as_str()).collect()
}

fn find<'a>(least: &'a Least, sid: &str) -> &'a Statement {
    least.policy.statement.iter().find(|statement| statement.sid == sid).unwrap_or_else(|| panic!("no {sid}"))
}

/// Actions that we make no call of have no right; resources are of the actions' types; conditions are known to all actions. IAM
/// ignores what does not fit, in silence, and denies.
fn takes(statement: &Statement) {
    let sid = &statement.sid;
    assert!(!sid.is_empty() && sid.bytes().all(|c| c.is_ascii_alphanumeric()), "{sid}");
    assert!(!statement.action.is_empty() && !statement.resource.is_empty(), "{sid}");
    for name in &statement.action {
        let row = action(name).unwrap_or_else(|| panic!("{sid}: {name} is not in the table"));
        if statement.resource != ["*"] {
            let rests = statement.resource.iter().map(|arn| arn.splitn(6, ':').nth(5).unwrap());
            let fits = |rest: &str| row.resources.iter().any(|kind| rest.starts_with(kind));
            assert!(rests.clone().any(fits), "{sid}: no resource for {name} in {:?}", statement.resource);
        } else if !row.resources.is_empty() && name != "ecs:ListTasks" {
            panic!("{sid}: {name} can be held to resources");
        }
        for key in statement.condition.values().flat_map(|keys| keys.keys()) {
            let key = key.split('/').next().unwrap();
            assert!(row.conditions.contains(&key), "{sid}: {name} does not know {key}");
        }
    }
    for arn in statement.resource.iter().filter(|arn| *arn != "*") {
        let rest = arn.splitn(6, ':').nth(5).unwrap();
        let kinds = statement.action.iter().flat_map(|name| action(name).unwrap().resources);
        assert!(kinds.clone().any(|kind| rest.starts_with(kind)), "{sid}: {arn} is of none of its actions");
    }
}

fn stack() -> Value {
    let role = "arn:aws:iam::111122223333:role/cloudformation";
    json!({"network": {"existing": {"load_balancer_subnets": []}}, "cluster": "existing", "log_retention": 30, "role": role})
}

#[test]
fn every_statement_is_one_that_iam_takes() {
    let ports = json!({"ports": {"first": 8001, "last": 8050}});
    let (hosts, ports) = (app(|_| {}), app(|app| app["previews"]["routing"] = ports));
    let stacks = app(|app| app["environments"]["prod"]["stack"] = stack());
    let mut all = Vec::new();
    for app in [&hosts, &ports, &stacks] {
        for environment in [None, Some("prod")] {
            let state = StateBucket::parse("s3://bucket/some/where/");
            let roles = ["arn:aws:iam::111122223333:role/base".to_owned()];
            let whole = Ask { environment, checks: true, secrets: true, state, pass_roles: &roles, ..ask(app) };
            let least = least(&whole).unwrap();
            let mut sids = sids(&least);
            sids.sort_unstable();
            assert!(sids.is_sorted_by(|a, b| a < b), "{sids:?}");
            all.extend(least.policy.statement);
        }
    }
    let others = [push(&hosts, true), prune(&ask(&hosts)), releases(&ask(&hosts))];
    all.extend(others.into_iter().flat_map(|least| least.unwrap().policy.statement));
    for policy in clusters::policies() {
        let mut sids: Vec<&str> = policy.statement.iter().map(|one| one.sid.as_str()).collect();
        sids.sort_unstable();
        assert!(sids.is_sorted_by(|a, b| a < b), "{sids:?}");
        all.extend(policy.statement);
    }
    all.iter().for_each(takes);
    // No row of the table is without use, but for what nobody is denied, and what belongs to another principal.
    let used: Vec<&String> = all.iter().flat_map(|statement| &statement.action).collect();
    let unused: Vec<&str> =
        crate::ACTIONS.iter().map(|row| row.name).filter(|name| !used.iter().any(|used| used == name)).collect();
    assert_eq!(unused, UNUSED);
}

/// CloudFormation is asked for exports that an ecspresso project's templates name: no manifest has any. Alarms by pipelines alone (below);
/// somebody is subscribed by hand, with the rights of whoever does it (`landfall notifications subscribe`).
const UNUSED: [&str; 5] = [
    "cloudformation:ListExports",
    "cloudwatch:DescribeAlarms",
    "sns:Subscribe",
    "sts:AssumeRole",
    "sts:GetCallerIdentity",
];

#[test]
fn the_policy_of_previews_by_host() {
    let least = previews(|_| {});
    assert_eq!(
        sids(&least),
        [
            "ReadTaskDefinitions",
            "RegisterTaskDefinitions",
            "DeregisterTaskDefinitions",
            "GiveTasksTheirRoles",
            "ListServicesAndTasks",
            "ReadServicesAndTasks",
            "FollowDeployments",
            "CreateServices",
            "ChangeServices",
            "TagServices",
            "TagTaskDefinitions",
            "RunTasks",
            "TagTasks",
            "StopTasks",
            "ReadLoadBalancing",
            "CreateTargetGroups",
            "ChangeTargetGroups",
            "CreateSharedListeners",
            "CreateRules",
            "ChangeRules",
            "TagLoadBalancing",
            "FindImages",
            "FindSecrets",
            "ReadLogs",
            "InvokeHooks",
            "PublishNotices",
            "ReadOwnSecrets",
            "ReadOwnParameters",
        ]
    );
    let json = |sid| serde_json::to_value(find(&least, sid)).unwrap();
    assert_eq!(
        json("CreateServices"),
        json!({
            "Sid": "CreateServices", "Effect": "Allow", "Action": "ecs:CreateService",
            "Resource": "arn:aws:ecs:eu-west-1:111122223333:service/previews/shop-*-service",
            "Condition": {"StringLike": {"aws:RequestTag/landfall": "shop-*"}},
        })
    );
    assert_eq!(
        json("GiveTasksTheirRoles"),
        json!({
            "Sid": "GiveTasksTheirRoles", "Effect": "Allow", "Action": "iam:PassRole",
            "Resource": ["arn:aws:iam::111122223333:role/execution", "arn:aws:iam::111122223333:role/task"],
            "Condition": {"StringEquals": {"iam:PassedToService": "ecs-tasks.amazonaws.com"}},
        })
    );
    assert_eq!(
        json("ChangeRules"),
        json!({
            "Sid": "ChangeRules", "Effect": "Allow",
            "Action": ["elasticloadbalancing:DeleteRule", "elasticloadbalancing:ModifyRule"],
            "Resource":
                "arn:aws:elasticloadbalancing:eu-west-1:111122223333:listener-rule/app/front/50dc6c495c0c9188/*/*",
            "Condition": {"StringLike": {"aws:ResourceTag/landfall": "shop-*"}},
        })
    );
    let only = |sid, resource: &str| assert_eq!(find(&least, sid).resource, [resource], "{sid}");
    only("FindImages", "arn:aws:ecr:eu-west-1:111122223333:repository/team/shop-web");
    only("FindSecrets", "arn:aws:secretsmanager:eu-west-1:111122223333:secret:shop/db-??????");
    only("ReadLogs", "arn:aws:logs:eu-west-1:111122223333:log-group:/shop/previews:*");
    only("InvokeHooks", "arn:aws:lambda:eu-west-1:111122223333:function:seed-previews");
    only("PublishNotices", "arn:aws:sns:eu-west-1:111122223333:ops");
    only("ReadOwnSecrets", "arn:aws:secretsmanager:eu-west-1:111122223333:secret:shop/webhook-??????");
    let parameters = &find(&least, "ReadOwnParameters").resource;
    assert_eq!(
        *parameters,
        ["signing", "slack"].map(|name| format!("arn:aws:ssm:eu-west-1:111122223333:parameter/shop/{name}"))
    );
    assert_eq!(
        least.notes,
        [format!(
            "it has {} characters: more than the 6,144 of a managed policy; an inline policy of a role takes 10,240",
            least.policy.size()
        )]
    );
}

#[test]
fn what_a_manifest_cannot_do_is_not_granted() {
    let without = |change: &dyn Fn(&mut Value), gone: &[&str]| {
        let (all, least) = (previews(|_| {}), previews(change));
        let expected: Vec<&str> = sids(&all).into_iter().filter(|sid| !gone.contains(sid)).collect();
        assert_eq!(sids(&least), expected);
    };
    without(&|app| app["previews"]["hooks"] = json!([]), &["InvokeHooks", "RunTasks", "TagTasks"]);
    without(&|app| app["notifications"] = json!([]), &["PublishNotices"]);
    without(
        &|app| {
            app["notifications"] = json!([]);
            app["chatops"] = Value::Null;
        },
        &["PublishNotices", "ReadOwnParameters"],
    );
    without(&|app| app["webhook_secrets"] = json!([{"env": "SECRET"}]), &["ReadOwnSecrets"]);
    without(&|app| app["aws"]["main"]["log_group"] = Value::Null, &["ReadLogs"]);
    without(&|app| app["services"]["web"]["containers"][0]["settings"]["secrets"] = json!({}), &["FindSecrets"]);
    without(&|app| app["services"]["web"]["containers"][0]["image"] = json!({"reference": "nginx:1"}), &["FindImages"]);
    let routing = [
        "CreateTargetGroups",
        "ChangeTargetGroups",
        "CreateSharedListeners",
        "CreateRules",
        "ChangeRules",
        "TagLoadBalancing",
    ];
    without(&|app| app["services"]["web"]["load_balancer"] = Value::Null, &routing);
    let whole = [&routing[..], &["ReadLoadBalancing"]].concat();
    without(&|app| app["aws"]["main"]["load_balancer"] = Value::Null, &whole);
    without(
        &|app| {
            app["aws"]["main"]["execution_role"] = Value::Null;
            app["aws"]["main"]["task_role"] = Value::Null;
        },
        &["GiveTasksTheirRoles"],
    );
}

#[test]
fn ports_need_listeners_and_no_rules() {
    let least = previews(|app| app["previews"]["routing"] = json!({"ports": {"first": 8001, "last": 8050}}));
    let sids = sids(&least);
    assert!(sids.contains(&"CreateListeners") && sids.contains(&"ChangeListeners"), "{sids:?}");
    assert!(!sids.iter().any(|sid| sid.contains("Rules") || sid.contains("Shared")), "{sids:?}");
    let tag = find(&least, "TagLoadBalancing");
    assert_eq!(
        tag.condition["StringEquals"]["elasticloadbalancing:CreateAction"],
        ["CreateListener", "CreateTargetGroup"]
    );
    assert!(!tag.resource.iter().any(|arn| arn.contains("listener-rule")), "{tag:?}");
}

#[test]
fn a_long_lived_environment_deletes_what_it_has_made_at_most_and_is_held_to_its_names() {
    let app = app(|_| {});
    let least = least(&Ask { environment: Some("prod"), ..ask(&app) }).unwrap();
    let actions: Vec<&String> = least.policy.statement.iter().flat_map(|statement| &statement.action).collect();
    assert!(!actions.iter().any(|action| action.contains("Deregister")), "{actions:?}");
    // But what its own first deployment made, when that fails.
    let delete = find(&least, "DeleteNewServices");
    assert_eq!(delete.resource, ["arn:aws:ecs:eu-west-1:111122223333:service/previews/shop-prod-web"]);
    let tags = &delete.condition["StringLike"];
    assert_eq!(tags["aws:ResourceTag/landfall"], ["shop@prod"]);
    assert_eq!(tags["aws:ResourceTag/landfall.execution"], ["exe_*"]);
    let create = find(&least, "CreateServices");
    assert_eq!(create.resource, ["arn:aws:ecs:eu-west-1:111122223333:service/previews/shop-prod-web"]);
    assert_eq!(create.condition["StringLike"]["aws:RequestTag/landfall"], ["shop@prod"]);
    assert!(!sids(&least).contains(&"InvokeHooks") && !sids(&least).contains(&"ReadOwnSecrets"));
    assert_eq!(find(&least, "SteerDeployments").action, ["ecs:ContinueServiceDeployment", "ecs:StopServiceDeployment"]);
    assert_eq!(
        find(&least, "CreateTargetGroups").resource,
        ["arn:aws:elasticloadbalancing:eu-west-1:111122223333:targetgroup/shop-prod-web/*"]
    );
    // Where the target group is there already, Landfall makes neither group nor route.
    let app = self::app(|app| app["environments"]["prod"]["target_groups"] = json!({"web": "arn:tg"}));
    let least = self::least(&Ask { environment: Some("prod"), ..ask(&app) }).unwrap();
    assert!(!sids(&least).iter().any(|sid| sid.contains("Groups") || sid.contains("Rules")), "{:?}", sids(&least));
}

#[test]
fn what_is_not_known_is_said() {
    let app = app(|app| {
        app["services"]["web"]["base_task_definition"] = json!("shop-base");
        let place = &mut app["aws"]["main"];
        place["region"] = Value::Null;
        place["account"] = Value::Null;
        place["load_balancer"] = json!("front");
        place["role"] = json!({"arn": "arn:aws:iam::444455556666:role/deploy", "external_id": null});
    });
    let found = least(&ask(&app)).unwrap();
    assert_eq!(
        find(&found, "CreateSharedListeners").resource,
        ["arn:aws:elasticloadbalancing:*:444455556666:loadbalancer/app/front/*"]
    );
    let notes = found.notes.join("\n");
    assert!(
        notes.contains("region is not known") && notes.contains("sts:AssumeRole") && notes.contains("--pass-role"),
        "{notes}"
    );
    let roles = ["arn:aws:iam::444455556666:role/base".to_owned()];
    let told = Ask { region: Some("cn-north-1"), account: Some("777788889999"), pass_roles: &roles, ..ask(&app) };
    let found = least(&told).unwrap();
    assert_eq!(
        find(&found, "CreateSharedListeners").resource,
        ["arn:aws-cn:elasticloadbalancing:cn-north-1:777788889999:loadbalancer/app/front/*"]
    );
    assert!(find(&found, "GiveTasksTheirRoles").resource.contains(&roles[0]));
    assert!(!found.notes.join("\n").contains("--pass-role"));
}

#[test]
fn the_state_in_a_bucket_is_held_to_its_prefix() {
    let app = app(|_| {});
    let of = |state| least(&Ask { state: StateBucket::parse(state), ..ask(&app) }).unwrap();
    let found = of("s3://bucket/some/where/");
    assert_eq!(find(&found, "KeepState").resource, ["arn:aws:s3:::bucket/some/where/*"]);
    assert_eq!(find(&found, "ListState").condition["StringLike"]["s3:prefix"], ["some/where/*"]);
    let found = of("s3://bucket");
    assert_eq!(find(&found, "KeepState").resource, ["arn:aws:s3:::bucket/*"]);
    assert!(find(&found, "ListState").condition.is_empty());
    assert!(!sids(&of("/var/lib/landfall")).contains(&"KeepState"));
}

#[test]
fn the_statement_that_grants_a_right_is_found() {
    let least = previews(|_| {});
    let sid = |action: &str, resource: Option<&str>| {
        least.policy.granting(action, resource).map(|statement| statement.sid.as_str())
    };
    let [ours, other] =
        ["shop-x-service", "other"].map(|name| format!("arn:aws:ecs:eu-west-1:111122223333:service/previews/{name}"));
    assert_eq!(sid("ecs:TagResource", Some(&ours)), Some("TagServices"));
    assert_eq!(sid("ecs:TagResource", Some("arn:aws:ecs:eu-west-1:111122223333:task/previews/1")), Some("TagTasks"));
    assert_eq!(sid("ecs:UpdateService", Some(&other)), None);
    assert_eq!(sid("ecs:UpdateService", None), Some("ChangeServices"));
}

#[test]
fn roles_of_documents_and_strategies_are_passed_to_whom_they_are_for() {
    let role = |name: &str| format!("arn:aws:iam::111122223333:role/{name}");
    let app = app(|app| {
        let service = &mut app["services"]["web"];
        service["deployment"]["strategy"] = json!({
            "kind": "blue_green",
            "alternate": {"target_group": "arn:tg", "production_listener_rule": "arn:rule", "role": role("balancer")},
            "hooks": [{"stages": ["post_scale_up"], "action": {"function": {"arn": "arn:f", "role": role("hook")}}}],
        });
        service["documents"] = json!({
            "task_definition": {"family": "old-web", "taskRoleArn": role("document"), "executionRoleArn": "plain"},
            "service": {"loadBalancers": [{"advancedConfiguration": {"roleArn": role("other")}}]},
        });
    });
    let least = least(&Ask { environment: Some("prod"), ..ask(&app) }).unwrap();
    let tasks = find(&least, "GiveTasksTheirRoles");
    assert_eq!(tasks.resource, ["document", "execution", "plain", "task"].map(role));
    let services = find(&least, "GiveServicesTheirRoles");
    assert_eq!(services.resource, ["balancer", "hook", "other"].map(role));
    assert_eq!(services.condition["StringEquals"]["iam:PassedToService"], ["ecs.amazonaws.com"]);
    assert_eq!(
        find(&least, "RegisterTaskDefinitions").resource,
        ["arn:aws:ecs:eu-west-1:111122223333:task-definition/old-web:*"]
    );
    least.policy.statement.iter().for_each(takes);
}

#[test]
fn what_runs_here_needs_nothing() {
    let app = app(|_| {});
    let of = |environment| least(&Ask { environment, ..ask(&app) }).unwrap_err();
    assert_eq!(of(Some("here")), Unfit::Here("here runs".to_owned()));
    assert_eq!(of(Some("x")), Unfit::NoEnvironment("x".to_owned()));
}

#[test]
fn who_pushes_has_what_a_push_takes_and_who_deploys_has_none_of_it() {
    let all = app(|_| {});
    let least = push(&all, false).unwrap();
    assert_eq!(sids(&least), ["LogInToRegistries", "PushImages"]);
    assert_eq!(find(&least, "PushImages").resource, ["arn:aws:ecr:eu-west-1:111122223333:repository/team/shop-web"]);
    assert_eq!(sids(&push(&all, true).unwrap()), ["LogInToRegistries", "PushImages", "CreateRepositories"]);
    let deploys = previews(|_| {}).policy.statement.into_iter().flat_map(|statement| statement.action);
    assert_eq!(deploys.filter(|action| action.starts_with("ecr:")).collect::<Vec<_>>(), ["ecr:DescribeImages"]);
    // What somebody else builds, or what goes elsewhere, is not pushed here.
    let image = "/services/web/containers/0/image/await";
    let found = app(|app| app.pointer_mut(image).unwrap()["build"] = Value::Null);
    assert_eq!(push(&found, false), Err(Unfit::NothingPushed));
    let elsewhere = app(|app| app.pointer_mut(image).unwrap()["image"] = json!("ghcr.io/acme/shop"));
    assert_eq!(push(&elsewhere, false), Err(Unfit::NothingPushed));
}

#[test]
fn who_prunes_sees_every_cluster_and_deletes_images_only() {
    let all = app(|app| {
        app["environments"]["other"] = json!({"name": "other", "on": "second", "services": [], "variables": {}})
    });
    assert_eq!(prune(&ask(&all)), Err(Unfit::NoPlace("an environment runs".to_owned(), "second".to_owned())));
    let all = app(|app| {
        app["environments"]["other"] = json!({"name": "other", "on": "second", "services": [], "variables": {}});
        let mut second = app["aws"]["main"].clone();
        (second["name"], second["region"], second["account"], second["cluster"]) =
            (json!("second"), json!("us-east-1"), json!("444455556666"), json!("two"));
        app["aws"]["second"] = second;
    });
    let found = prune(&Ask { state: StateBucket::parse("s3://bucket"), ..ask(&all) }).unwrap();
    let repository = ["arn:aws:ecr:eu-west-1:111122223333:repository/team/shop-web"];
    assert_eq!(
        (&find(&found, "SeeImages").resource[..], &find(&found, "DeleteImages").resource[..]),
        (&repository.map(str::to_owned)[..], &repository.map(str::to_owned)[..])
    );
    let clusters = ["eu-west-1:111122223333:cluster/previews", "us-east-1:444455556666:cluster/two"];
    assert_eq!(
        find(&found, "ListServicesAndTasks").condition["ArnLike"]["ecs:cluster"],
        clusters.map(|rest| format!("arn:aws:ecs:{rest}"))
    );
    let writes = found
        .policy
        .statement
        .iter()
        .flat_map(|one| &one.action)
        .filter(|name| action(name).unwrap().level == Level::Write);
    assert_eq!(writes.collect::<Vec<_>>(), ["ecr:BatchDeleteImage", "s3:DeleteObject", "s3:PutObject"]);
    found.policy.statement.iter().for_each(takes);

    let found = releases(&ask(&all)).unwrap();
    assert_eq!(find(&found, "ReadReleases").resource, repository);
    found.policy.statement.iter().for_each(takes);
    let nowhere = app(|app| {
        app.pointer_mut("/services/web/containers/0/image/await").unwrap()["image"] = json!("ghcr.io/acme/shop")
    });
    assert_eq!(
        (prune(&ask(&nowhere)), releases(&ask(&nowhere))),
        (Err(Unfit::NothingAwaited), Err(Unfit::NothingAwaited))
    );
}

fn stage(name: &str, run: Vec<Work>) -> Stage {
    let (environment, requires) = (name.to_owned(), Requires::default());
    Stage { environment, requires, approval: None, run, on_failure: OnFailure::Stop }
}

fn pipeline(app: &mut App, stages: Vec<Stage>) {
    let pipeline = Pipeline { name: "main".to_owned(), on: Trigger::default(), stages };
    app.pipelines.insert("main".to_owned(), pipeline);
}

#[test]
fn a_pipeline_writes_the_image_tags_of_its_stages() {
    let stage = |name: &str, parameters: &[&str]| {
        let parameters = parameters.iter().map(|name| (*name).to_owned()).collect();
        stage(name, vec![Work::Deploy {}, Work::Publish { parameters }])
    };
    let mut app = app(|_| {});
    let mut stages = vec![stage("prod", &["/shop/prod/{service}", "shop-imagetag"]), stage("other", &["/other"])];
    stages[1].requires.quiet.insert("prod".to_owned(), vec!["shop-errors".to_owned()]);
    pipeline(&mut app, stages);
    let found = least(&Ask { environment: Some("prod"), ..ask(&app) }).unwrap();
    let services = &app.environments["prod"].services;
    let names = services.iter().map(|service| format!("/shop/prod/{service}")).chain(["/shop-imagetag".to_owned()]);
    let mut wanted: Vec<String> =
        names.map(|name| format!("arn:aws:ssm:eu-west-1:111122223333:parameter{name}")).collect();
    wanted.sort();
    assert_eq!(find(&found, "PublishImageTags").resource, wanted);
    assert_eq!(find(&found, "FindParameters").action, ["ssm:DescribeParameters"]);
    assert!(!sids(&found).contains(&"SeeWhoIsAsked"), "nobody is asked");
    // Another stage waits for its alarms to be quiet.
    assert_eq!(find(&found, "LookAtAlarms").action, ["cloudwatch:DescribeAlarms"]);
    found.policy.statement.iter().for_each(takes);

    // Whom a question for approval reaches is said with it.
    let approval = json!({"by": ["anna"], "count": 1, "self_approval": false, "deadline": null, "on_deadline": "reject", "notify": []});
    app.pipelines.get_mut("main").unwrap().stages[0].approval = Some(serde_json::from_value(approval).unwrap());
    let asks = least(&Ask { environment: Some("prod"), ..ask(&app) }).unwrap();
    let sees = find(&asks, "SeeWhoIsAsked");
    assert_eq!(sees.action, ["sns:ListSubscriptionsByTopic"]);
    assert_eq!(sees.resource, find(&asks, "PublishNotices").resource);
    asks.policy.statement.iter().for_each(takes);
}

#[test]
fn secrets_are_read_and_written_only_where_that_is_asked_for() {
    let app = app(|app| {
        let settings = app.pointer_mut("/services/web/containers/0/settings").unwrap();
        settings["secrets"]["KEY"] = json!({"ssm": "/shop/{environment}/key"});
        settings["secret_paths"] = json!(["/shop/{environment}/all/"]);
    });
    let whole = least(&Ask { environment: Some("prod"), secrets: true, ..ask(&app) }).unwrap();
    let parameter = |name: &str| format!("arn:aws:ssm:eu-west-1:111122223333:parameter/{name}");
    assert_eq!(find(&whole, "SetParameters").resource, ["shop/prod/all/*", "shop/prod/key"].map(parameter));
    assert_eq!(find(&whole, "FindParameters").action, ["ssm:DescribeParameters"]);
    let secret = |name: &str| format!("arn:aws:secretsmanager:eu-west-1:111122223333:secret:{name}");
    assert_eq!(find(&whole, "SetSecrets").resource, ["shop/db-??????", "token-AbCdEf"].map(secret));
    let create = find(&whole, "CreateSecrets");
    assert_eq!(create.condition["StringEquals"]["secretsmanager:Name"], ["shop/db"]);
    let deploys = least(&Ask { environment: Some("prod"), ..ask(&app) }).unwrap();
    let values =
        ["ssm:GetParameter", "ssm:PutParameter", "secretsmanager:GetSecretValue", "secretsmanager:PutSecretValue"];
    // Landfall's own, of hooks and notices, are no container's.
    let others = deploys.policy.statement.iter().filter(|statement| !statement.sid.starts_with("ReadOwn"));
    let granted: Vec<&String> = others.flat_map(|statement| &statement.action).collect();
    assert!(!granted.iter().any(|action| values.contains(&action.as_str())), "{granted:?}");
    whole.policy.statement.iter().for_each(takes);
}
