//! One statement for each purpose. What a manifest cannot do has none.
//!
//! How far a right reaches: ECS's resources are held to their names, Elastic Load Balancing's to the load balancer and, since
//! names of rules and listeners say nothing, to the tag `landfall`, whose value is the environment. Creating asks for the
//! tag in the request, changing and deleting for the tag on the thing.

use std::collections::BTreeSet;

use landfall_model::app::{HookAction, ImageSource, Notification, NotificationTarget, Routing, Service, UrlOrSecret};
use landfall_model::inventory::{TAG_ENVIRONMENT, TAG_EXECUTION};
use landfall_model::pipeline::Work;
use landfall_model::secret::PREVIEW;
use landfall_model::step::RouteTarget;
use landfall_model::strategy::LifecycleAction;
use landfall_model::task::SecretRef;

use crate::least::{Ask, Place};
use crate::names::Names;
use crate::policy::Statement;
use crate::push::repository;
use crate::stock::{FOLLOW, is_named};
use crate::{secrets, stack};

/// On listeners of host rules, which are no environment's (`crates/aws`, elb/routes).
const TAG_SHARED: (&str, &str) = ("landfall.shared", "host-rules");

/// What is asked of ECS itself where the environment is a stack: by `status`, `logs` and `run`.
const OF_STACKS: &[&str] =
    &["ListServicesAndTasks", "ReadServicesAndTasks", "ReadTaskDefinitions", "RunTasks", "StopTasks", "TagTasks"];
/// Besides, by tasks of its pipelines' stages, which run the release's images.
const OF_TASKS: &[&str] = &["RegisterTaskDefinitions", "TagTaskDefinitions"];

pub(crate) fn all(ask: &Ask<'_>, place: &Place<'_>, names: &Names) -> Vec<Statement> {
    let mut all = Vec::new();
    task_definitions(ask, place, names, &mut all);
    services_and_tasks(ask, place, names, &mut all);
    let environment = ask.environment.and_then(|name| ask.app.environments.get(name));
    match environment.and_then(|environment| Some((&environment.name, environment.stack.as_ref()?))) {
        // CloudFormation changes it; here it is only looked at, and its tasks are run.
        Some((name, own)) => {
            let tasks = work(ask).any(|work| matches!(work, Work::Task(_)));
            let is_kept = |sid: &str| OF_STACKS.contains(&sid) || (tasks && OF_TASKS.contains(&sid));
            all.retain(|statement| is_kept(statement.sid.as_str()));
            stack::all(ask, place, names, name, own, &mut all);
        }
        None if place.target.load_balancer.is_some() => load_balancing(ask, place, names, &mut all),
        None => {}
    }
    around(ask, place, &mut all);
    if ask.checks {
        checks(ask, place, &mut all);
    }
    if ask.secrets {
        secrets::manage(ask, place, &mut all);
    }
    all
}

pub(crate) fn services<'a>(ask: &Ask<'a>) -> Vec<&'a Service> {
    let of = |names: &'a [String]| names.iter().filter_map(|name| ask.app.services.get(name)).collect();
    match (ask.environment, &ask.app.previews) {
        (None, Some(previews)) => of(&previews.services),
        (Some(name), _) => ask.app.environments.get(name).map(|found| of(&found.services)).unwrap_or_default(),
        (None, None) => Vec::new(),
    }
}

fn hooks<'a>(ask: &Ask<'a>) -> Vec<&'a HookAction> {
    let previews = ask.app.previews.as_ref().filter(|_| ask.environment.is_none());
    previews.map(|previews| previews.hooks.iter().map(|hook| &hook.run).collect()).unwrap_or_default()
}

fn requests_tag(names: &Names) -> (String, Vec<String>) {
    (format!("aws:RequestTag/{TAG_ENVIRONMENT}"), names.environments.clone())
}

fn carries_tag(names: &Names) -> (String, Vec<String>) {
    (format!("aws:ResourceTag/{TAG_ENVIRONMENT}"), names.environments.clone())
}

impl Statement {
    fn tagged(self, (key, values): (String, Vec<String>)) -> Self {
        self.when("StringLike", &key, values)
    }

    fn in_cluster(self, place: &Place<'_>) -> Self {
        self.when("ArnLike", "ecs:cluster", [place.arn("ecs", &format!("cluster/{}", place.cluster))])
    }
}

fn everything() -> [String; 1] {
    ["*".to_owned()]
}

fn task_definitions(ask: &Ask<'_>, place: &Place<'_>, names: &Names, all: &mut Vec<Statement>) {
    let previews = ask.environment.is_none();
    let families = || names.families.iter().map(|family| place.arn("ecs", &format!("task-definition/{family}:*")));
    // None of these takes anything but `*`.
    let mut read = vec!["ecs:DescribeTaskDefinition"];
    if previews {
        read.extend(["ecs:ListTaskDefinitionFamilies", "ecs:ListTaskDefinitions"]);
    }
    all.push(Statement::allow("ReadTaskDefinitions", &read, everything()));
    all.push(
        Statement::allow("RegisterTaskDefinitions", &["ecs:RegisterTaskDefinition"], families())
            .tagged(requests_tag(names)),
    );
    if previews {
        all.push(Statement::allow("DeregisterTaskDefinitions", &["ecs:DeregisterTaskDefinition"], everything()));
    }
    let pass = |sid: &str, to: &str, roles: Vec<String>| {
        let domain = if place.partition == "aws-cn" { ".cn" } else { "" };
        let statement = Statement::allow(sid, &["iam:PassRole"], roles);
        statement.when("StringEquals", "iam:PassedToService", [format!("{to}.amazonaws.com{domain}")])
    };
    let roles = roles_of_tasks(ask, place);
    if !roles.is_empty() {
        all.push(pass("GiveTasksTheirRoles", "ecs-tasks", roles));
    }
    let roles = roles_of_services(ask);
    if !roles.is_empty() {
        all.push(pass("GiveServicesTheirRoles", "ecs", roles));
    }
}

/// By name or ARN, as ECS takes them.
fn roles_of_tasks(ask: &Ask<'_>, place: &Place<'_>) -> Vec<String> {
    let target = place.target;
    let given = target.execution_role.iter().chain(&target.task_role).chain(ask.pass_roles);
    let mut roles: Vec<&str> = given.map(String::as_str).collect();
    for documents in services(ask).into_iter().filter_map(|service| service.documents.as_ref()) {
        roles.extend(
            ["executionRoleArn", "taskRoleArn"].iter().filter_map(|key| documents.task_definition[*key].as_str()),
        );
    }
    let arn = |role: &str| match role.starts_with("arn:") {
        true => role.to_owned(),
        false => place.global("iam", &format!("role/{role}")),
    };
    roles.into_iter().map(arn).collect()
}

/// For the second target group and the functions of blue/green, linear and canary deployments.
fn roles_of_services(ask: &Ask<'_>) -> Vec<String> {
    let mut roles = Vec::new();
    for service in services(ask) {
        let strategy = &service.deployment.strategy;
        roles.extend(strategy.alternate.iter().map(|alternate| alternate.role.clone()));
        roles.extend(strategy.hooks.iter().filter_map(|hook| match &hook.action {
            LifecycleAction::Function { role, .. } => Some(role.clone()),
            LifecycleAction::Pause { .. } => None,
        }));
        let documents = service.documents.as_ref().map(|documents| &documents.service);
        let lists = [("loadBalancers", "/advancedConfiguration/roleArn"), ("deploymentConfiguration", "/roleArn")];
        for (key, at) in lists {
            let Some(found) = documents.map(|document| &document[key]) else { continue };
            let items = found.as_array().or_else(|| found["lifecycleHooks"].as_array());
            let named = items.into_iter().flatten().filter_map(|item| item.pointer(at)?.as_str());
            roles.extend(named.map(str::to_owned));
        }
    }
    roles
}

fn services_and_tasks(ask: &Ask<'_>, place: &Place<'_>, names: &Names, all: &mut Vec<Statement>) {
    let previews = ask.environment.is_none();
    let cluster = &place.cluster;
    let of = |kind: &str, more: &str| -> Vec<String> {
        let one = |name: &String| place.arn("ecs", &format!("{kind}/{cluster}/{name}{more}"));
        names.services.iter().map(one).collect()
    };
    // A listing by tag looks at every service and task of the cluster.
    let every = place.arn("ecs", &format!("service/{cluster}/*"));
    let tasks = place.arn("ecs", &format!("task/{cluster}/*"));
    let families = || names.families.iter().map(|family| place.arn("ecs", &format!("task-definition/{family}:*")));
    // Which services a lasting environment has is known.
    let list = if previews { &["ecs:ListServices", "ecs:ListTasks"][..] } else { &["ecs:ListTasks"] };
    all.push(Statement::allow("ListServicesAndTasks", list, everything()).in_cluster(place));
    all.push(Statement::allow(
        "ReadServicesAndTasks",
        &["ecs:DescribeServices", "ecs:DescribeTasks"],
        [every, tasks.clone()],
    ));
    all.push(Statement::allow(
        "FollowDeployments",
        &["ecs:ListServiceDeployments", "ecs:DescribeServiceDeployments", "ecs:DescribeServiceRevisions"],
        [of("service", ""), of("service-deployment", "/*"), of("service-revision", "/*")].concat(),
    ));
    all.push(Statement::allow("CreateServices", &["ecs:CreateService"], of("service", "")).tagged(requests_tag(names)));
    let mut change = vec!["ecs:UpdateService"];
    if previews {
        change.push("ecs:DeleteService");
    }
    all.push(Statement::allow("ChangeServices", &change, of("service", "")));
    if !previews {
        // A first deployment that fails leaves nothing. What was taken over has no such tag, and is never deleted.
        all.push(
            Statement::allow("DeleteNewServices", &["ecs:DeleteService"], of("service", ""))
                .tagged(carries_tag(names))
                .tagged((format!("aws:ResourceTag/{TAG_EXECUTION}"), vec!["exe_*".to_owned()])),
        );
        // `landfall abort` and `landfall continue`.
        let pauses = |service: &&Service| {
            service.documents.is_some()
                || service
                    .deployment
                    .strategy
                    .hooks
                    .iter()
                    .any(|hook| matches!(hook.action, LifecycleAction::Pause { .. }))
        };
        let mut steer = vec!["ecs:StopServiceDeployment"];
        if services(ask).iter().any(pauses) {
            steer.push("ecs:ContinueServiceDeployment");
        }
        let deployments = [of("service", ""), of("service-deployment", "/*")].concat();
        all.push(Statement::allow("SteerDeployments", &steer, deployments));
        // Where something scales a service, its count is no difference.
        all.push(Statement::allow("SeeScaling", &["application-autoscaling:DescribeScalableTargets"], everything()));
    }
    // Also later: the time that a deployment may take stands in a tag.
    all.push(Statement::allow("TagServices", &["ecs:TagResource"], of("service", "")));
    all.push(Statement::allow("TagTaskDefinitions", &["ecs:TagResource"], families()).when(
        "StringEquals",
        "ecs:CreateAction",
        ["RegisterTaskDefinition".to_owned()],
    ));
    if !previews || hooks(ask).iter().any(|hook| matches!(hook, HookAction::Task { .. })) {
        all.push(
            Statement::allow("RunTasks", &["ecs:RunTask"], families()).tagged(requests_tag(names)).in_cluster(place),
        );
        all.push(Statement::allow("TagTasks", &["ecs:TagResource"], [tasks.clone()]).when(
            "StringEquals",
            "ecs:CreateAction",
            ["RunTask".to_owned()],
        ));
    }
    all.push(Statement::allow("StopTasks", &["ecs:StopTask"], [tasks]).tagged(carries_tag(names)));
}

fn load_balancing(ask: &Ask<'_>, place: &Place<'_>, names: &Names, all: &mut Vec<Statement>) {
    let bound = services(ask).iter().any(|service| service.load_balancer.is_some());
    let mut read = vec![
        "elasticloadbalancing:DescribeListeners",
        "elasticloadbalancing:DescribeLoadBalancers",
        "elasticloadbalancing:DescribeTags",
        "elasticloadbalancing:DescribeTargetGroups",
    ];
    let route = route(ask);
    if route == Some(Route::Host) {
        read.push("elasticloadbalancing:DescribeRules");
    }
    if bound {
        read.extend([
            "elasticloadbalancing:DescribeLoadBalancerAttributes",
            "elasticloadbalancing:DescribeTargetGroupAttributes",
            "elasticloadbalancing:DescribeTargetHealth",
        ]);
    }
    // Elastic Load Balancing knows no resources for what only reads.
    all.push(Statement::allow("ReadLoadBalancing", &read, everything()));
    let Some(route) = route else { return };
    let groups = || {
        let one = |name: &String| place.arn("elasticloadbalancing", &format!("targetgroup/{name}/*"));
        names.target_groups.iter().map(one)
    };
    all.push(
        Statement::allow("CreateTargetGroups", &["elasticloadbalancing:CreateTargetGroup"], groups())
            .tagged(requests_tag(names)),
    );
    all.push(
        Statement::allow(
            "ChangeTargetGroups",
            &[
                "elasticloadbalancing:DeleteTargetGroup",
                "elasticloadbalancing:ModifyTargetGroup",
                "elasticloadbalancing:ModifyTargetGroupAttributes",
            ],
            groups(),
        )
        .tagged(carries_tag(names)),
    );
    let mut tagged: Vec<String> = groups().collect();
    let mut makers = vec!["CreateTargetGroup".to_owned()];
    let balancer = place.on_balancer("loadbalancer", "");
    let listeners = place.on_balancer("listener", "/*");
    let rules = place.on_balancer("listener-rule", "/*/*");
    if route == Route::Host {
        let (key, value) = TAG_SHARED;
        all.push(
            Statement::allow("CreateSharedListeners", &["elasticloadbalancing:CreateListener"], balancer.clone()).when(
                "StringEquals",
                &format!("aws:RequestTag/{key}"),
                [value.to_owned()],
            ),
        );
        all.push(
            Statement::allow("CreateRules", &["elasticloadbalancing:CreateRule"], listeners.clone())
                .tagged(requests_tag(names)),
        );
        let change = ["elasticloadbalancing:DeleteRule", "elasticloadbalancing:ModifyRule"];
        all.push(Statement::allow("ChangeRules", &change, rules.clone()).tagged(carries_tag(names)));
        tagged.extend(rules);
        makers.push("CreateRule".to_owned());
    } else {
        all.push(
            Statement::allow("CreateListeners", &["elasticloadbalancing:CreateListener"], balancer)
                .tagged(requests_tag(names)),
        );
        let change = ["elasticloadbalancing:DeleteListener", "elasticloadbalancing:ModifyListener"];
        all.push(Statement::allow("ChangeListeners", &change, listeners.clone()).tagged(carries_tag(names)));
    }
    tagged.extend(listeners);
    makers.push("CreateListener".to_owned());
    all.push(Statement::allow("TagLoadBalancing", &["elasticloadbalancing:AddTags"], tagged).when(
        "StringEquals",
        "elasticloadbalancing:CreateAction",
        makers,
    ));
}

/// Whether a target group and a route are made, and of which kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Route {
    Host,
    Port,
}

fn route(ask: &Ask<'_>) -> Option<Route> {
    let primary = services(ask).into_iter().find(|service| service.load_balancer.is_some())?;
    let Some(name) = ask.environment else {
        return match ask.app.previews.as_ref()?.routing {
            Routing::Host { .. } => Some(Route::Host),
            Routing::Ports { .. } => Some(Route::Port),
        };
    };
    let environment = ask.app.environments.get(name)?;
    if environment.target_groups.contains_key(&primary.name) || primary.documents.is_some() {
        return None;
    }
    match environment.routing.as_ref()? {
        RouteTarget::Host { .. } => Some(Route::Host),
        RouteTarget::Port { .. } => Some(Route::Port),
    }
}

/// What stages of pipelines do there.
fn work<'a>(ask: &Ask<'a>) -> impl Iterator<Item = &'a Work> {
    let (app, environment) = (ask.app, ask.environment);
    let stages = app.pipelines.values().flat_map(|pipeline| &pipeline.stages);
    stages.filter(move |stage| Some(stage.environment.as_str()) == environment).flat_map(|stage| &stage.run)
}

/// Parameters that a pipeline writes once the environment's stage has come out well.
fn image_tags(ask: &Ask<'_>) -> BTreeSet<String> {
    let environment = ask.environment.and_then(|name| ask.app.environments.get(name));
    let services = environment.map(|environment| environment.services.as_slice()).unwrap_or_default();
    work(ask).flat_map(|work| work.parameters(services)).map(|(name, _)| name).collect()
}

/// Whether a stage of a pipeline waits for alarms of the environment.
fn is_watched(ask: &Ask<'_>) -> bool {
    let Some(name) = ask.environment else { return false };
    let mut stages = ask.app.pipelines.values().flat_map(|pipeline| &pipeline.stages);
    stages.any(|stage| stage.requires.quiet.contains_key(name))
}

/// Images, logs, secrets, functions, topics, the state.
fn around(ask: &Ask<'_>, place: &Place<'_>, all: &mut Vec<Statement>) {
    let containers = || services(ask).into_iter().flat_map(|service| &service.containers);
    let awaited = containers().filter_map(|container| match &container.image {
        ImageSource::Await(image) => repository(&image.image, &ask.app.project),
        _ => None,
    });
    push(all, "FindImages", "ecr:DescribeImages", awaited.collect());
    let secrets = secrets::of_containers(ask);
    let named = secrets.iter().filter_map(|secret| match secret {
        // By name: ECS takes ARNs only.
        SecretRef::SecretsManager(text) if !text.starts_with("arn:") => Some(secret_arn(place, text)),
        _ => None,
    });
    push(all, "FindSecrets", "secretsmanager:DescribeSecret", named.collect());
    let tags = image_tags(ask);
    if !secrets::paths(ask).is_empty() || !tags.is_empty() {
        all.push(Statement::allow("FindParameters", &["ssm:DescribeParameters"], everything()));
    }
    if !tags.is_empty() {
        let tags = tags.iter().map(|name| parameter_arn(place, name));
        all.push(Statement::allow("PublishImageTags", &["ssm:GetParameter", "ssm:PutParameter"], tags));
    }
    if is_watched(ask) {
        all.push(Statement::allow("LookAtAlarms", &["cloudwatch:DescribeAlarms"], everything()));
    }
    let groups = place.target.log_group.iter().map(|group| place.arn("logs", &format!("log-group:{group}:*")));
    push(all, "ReadLogs", "logs:GetLogEvents", groups.collect());
    let functions = hooks(ask).into_iter().filter_map(|hook| match hook {
        HookAction::Lambda { function } if function.starts_with("arn:") => Some(function.clone()),
        HookAction::Lambda { function } => Some(place.arn("lambda", &format!("function:{function}"))),
        _ => None,
    });
    push(all, "InvokeHooks", "lambda:InvokeFunction", functions.collect());
    push(all, "PublishNotices", "sns:Publish", topics(ask, place));
    // A run of a pipeline says whom its question reached.
    let stages = ask.app.pipelines.values().flat_map(|pipeline| &pipeline.stages);
    if stages.into_iter().any(|stage| stage.approval.is_some()) {
        push(all, "SeeWhoIsAsked", "sns:ListSubscriptionsByTopic", topics(ask, place));
    }
    let own = if is_home(ask, place) { own_secrets(ask) } else { Vec::new() };
    let values = own.iter().filter_map(|secret| match secret {
        SecretRef::SecretsManager(text) => Some(secret_arn(place, text)),
        _ => None,
    });
    push(all, "ReadOwnSecrets", "secretsmanager:GetSecretValue", values.collect());
    let parameters = own.iter().filter_map(|secret| match secret {
        SecretRef::Ssm(name) => Some(parameter_arn(place, name)),
        _ => None,
    });
    push(all, "ReadOwnParameters", "ssm:GetParameter", parameters.collect());
    state(ask, place.partition, all);
}

pub(crate) fn state(ask: &Ask<'_>, partition: &str, all: &mut Vec<Statement>) {
    let Some(state) = &ask.state else { return };
    let bucket = format!("arn:{partition}:s3:::{}", state.bucket);
    let keys = if state.prefix.is_empty() { "*".to_owned() } else { format!("{}/*", state.prefix) };
    let list = Statement::allow("ListState", &["s3:ListBucket"], [bucket.clone()]);
    all.push(match state.prefix.is_empty() {
        true => list,
        false => list.when("StringLike", "s3:prefix", [keys.clone()]),
    });
    let actions = ["s3:DeleteObject", "s3:GetObject", "s3:PutObject"];
    all.push(Statement::allow("KeepState", &actions, [format!("{bucket}/{keys}")]));
}

fn topics(ask: &Ask<'_>, place: &Place<'_>) -> Vec<String> {
    let topic = |notification: &Notification| match &notification.to {
        NotificationTarget::Sns { topic, on, .. } if *on == place.target.name => Some(topic.clone()),
        _ => None,
    };
    ask.app.notifications.iter().filter_map(topic).collect()
}

fn push(all: &mut Vec<Statement>, sid: &str, action: &str, resources: Vec<String>) {
    if !resources.is_empty() {
        all.push(Statement::allow(sid, &[action], resources));
    }
}

/// Whether Landfall's own secrets are read here: where the previews run, else the only place there is.
fn is_home(ask: &Ask<'_>, place: &Place<'_>) -> bool {
    match ask.app.preview_target() {
        Some(previews) => previews.name == place.target.name,
        None => ask.app.aws.len() == 1,
    }
}

/// Of notifications, and of what only the server of previews needs: webhooks, hooks and commands from a chat.
fn own_secrets(ask: &Ask<'_>) -> Vec<SecretRef> {
    let mut own: Vec<SecretRef> = Vec::new();
    for notification in &ask.app.notifications {
        match &notification.to {
            NotificationTarget::Webhook { secret: Some(secret), .. }
            | NotificationTarget::Slack { url: UrlOrSecret::Secret(secret), .. } => own.push(secret.clone()),
            _ => {}
        }
    }
    if ask.environment.is_none() {
        own.extend(ask.app.webhook_secrets.iter().cloned());
        own.extend(hooks(ask).into_iter().flat_map(HookAction::secrets).map(|secret| secret.in_environment(PREVIEW)));
        let slack = ask.app.chatops.as_ref().and_then(|chatops| chatops.slack.as_ref());
        let slack = slack.into_iter().flat_map(|slack| [&slack.signing_secret, &slack.outgoing_token]);
        own.extend(slack.flatten().cloned());
    }
    own
}

/// `ID[:JSON-KEY[:STAGE[:VERSION]]]`; an ARN has seven parts of its own. Secrets Manager ends a secret's ARN with a hyphen and six
/// characters of its choice.
pub(crate) fn secret_arn(place: &Place<'_>, text: &str) -> String {
    let own = if text.starts_with("arn:") { 7 } else { 1 };
    let id = text.splitn(own + 1, ':').take(own).collect::<Vec<_>>().join(":");
    if own == 7 { id } else { place.arn("secretsmanager", &format!("secret:{id}-??????")) }
}

pub(crate) fn parameter_arn(place: &Place<'_>, name: &str) -> String {
    match name.starts_with("arn:") {
        true => name.to_owned(),
        false => place.arn("ssm", &format!("parameter/{}", name.trim_start_matches('/'))),
    }
}

/// What is only looked at before a deployment: nothing fails for want of it, it is just not checked.
fn checks(ask: &Ask<'_>, place: &Place<'_>, all: &mut Vec<Statement>) {
    let target = place.target;
    let mut unscoped = Vec::new();
    if !target.subnets.is_empty() {
        unscoped.push("ec2:DescribeSubnets");
    }
    if !target.security_groups.is_empty() {
        unscoped.push("ec2:DescribeSecurityGroups");
    }
    if target.load_balancer.is_some() {
        unscoped.push("elasticloadbalancing:DescribeAccountLimits");
        if route(ask) != Some(Route::Host) {
            unscoped.push("elasticloadbalancing:DescribeRules");
        }
    }
    // Where its service is reached that no name leads to.
    let environment = ask.environment.and_then(|name| ask.app.environments.get(name)).filter(|own| own.stack.is_some());
    if environment.is_some_and(|own| !is_named(own)) {
        unscoped.extend(FOLLOW);
    }
    if target.log_group.is_some() {
        unscoped.push("logs:DescribeLogGroups");
    }
    let containers = || services(ask).into_iter().flat_map(|service| &service.containers);
    let secrets = secrets::of_containers(ask);
    if secrets.iter().any(|secret| matches!(secret, SecretRef::Ssm(_))) {
        unscoped.push("ssm:DescribeParameters");
    }
    let named = secrets.iter().filter_map(|secret| match secret {
        SecretRef::SecretsManager(text) if text.starts_with("arn:") => Some(secret_arn(place, text)),
        _ => None,
    });
    push(all, "CheckSecrets", "secretsmanager:DescribeSecret", named.collect());
    let images = containers().filter_map(|container| match &container.image {
        ImageSource::Reference(image) => repository(image, &ask.app.project),
        _ => None,
    });
    push(all, "CheckImages", "ecr:DescribeImages", images.collect());
    push(all, "CheckTopics", "sns:ListSubscriptionsByTopic", topics(ask, place));
    if !unscoped.is_empty() {
        all.push(Statement::allow("CheckSurroundings", &unscoped, everything()));
    }
    let cluster = place.arn("ecs", &format!("cluster/{}", place.cluster));
    push(all, "CheckCluster", "ecs:DescribeClusters", vec![cluster]);
    push(all, "CheckCertificate", "acm:DescribeCertificate", target.certificate.iter().cloned().collect());
    push(all, "CheckRoles", "iam:GetRole", roles_of_tasks(ask, place));
    let own = match &target.role {
        Some(role) => vec![role.arn.clone()],
        None => vec![place.global("iam", "role/*"), place.global("iam", "user/*")],
    };
    push(all, "CheckRights", "iam:SimulatePrincipalPolicy", own);
}
