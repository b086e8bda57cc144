//! What reading releases, `landfall images prune` and `landfall verify --probes` need. None is an environment's: whoever deploys need not delete
//! images, goes without releases by a commit's tags, and without probes.

use std::collections::BTreeSet;

use landfall_model::app::LongLivedEnvironment;
use landfall_model::step::RouteTarget;

use crate::least::{Ask, Least, Place, StateBucket, Unfit, notes_of_place, partition};
use crate::names::Names;
use crate::policy::{Policy, Statement};
use crate::push::awaited;
use crate::statements;

/// Of a registry, as its HTTP API asks for it: manifests, their documents, and lists of tags.
const READ: &[&str] = &["ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer", "ecr:ListImages"];

/// The policy of whoever reads releases: `landfall release show` and `list`, `--release`, promotions.
///
/// # Errors
/// No image of the manifest is awaited in ECR.
pub fn releases(ask: &Ask<'_>) -> Result<Least, Unfit> {
    let all = vec![
        // It takes no resource.
        Statement::allow("LogInToRegistries", &["ecr:GetAuthorizationToken"], ["*".to_owned()]),
        Statement::allow("ReadReleases", READ, repositories(ask)?),
    ];
    Ok(Least { policy: Policy::new(all), notes: Vec::new() })
}

/// The policy of whoever prunes: what the repositories have, what every cluster of the manifest runs, and deleting.
///
/// # Errors
/// No image of the manifest is awaited in ECR, or an environment's place is not there.
pub fn prune(ask: &Ask<'_>) -> Result<Least, Unfit> {
    let repositories = repositories(ask)?;
    let places = places(ask)?;
    let mut all = vec![
        Statement::allow("SeeImages", &["ecr:BatchGetImage", "ecr:DescribeImages"], repositories.clone()),
        Statement::allow("DeleteImages", &["ecr:BatchDeleteImage"], repositories),
    ];
    if !places.is_empty() {
        let of =
            |kind: &'static str| places.iter().map(move |place| place.arn("ecs", &format!("{kind}/{}", place.cluster)));
        let everything = || ["*".to_owned()];
        let list = Statement::allow("ListServicesAndTasks", &["ecs:ListServices", "ecs:ListTasks"], everything());
        all.push(list.when("ArnLike", "ecs:cluster", of("cluster")));
        let running = of("service").chain(of("task")).map(|arn| format!("{arn}/*"));
        all.push(Statement::allow("ReadServicesAndTasks", &["ecs:DescribeServices", "ecs:DescribeTasks"], running));
        all.push(Statement::allow("ReadTaskDefinitions", &["ecs:DescribeTaskDefinition"], everything()));
    }
    statements::state(ask, places.first().map_or("aws", |place| place.partition), &mut all);
    let mut notes: Vec<String> = places.iter().flat_map(notes_of_place).collect();
    notes.dedup();
    Ok(Least { policy: Policy::new(all), notes })
}

/// The policy of jobs that change nothing on AWS and keep their record on a state there.
pub fn records(state: &StateBucket, ask: &Ask<'_>) -> Policy {
    let mut all = Vec::new();
    let partition = match places(ask).ok().and_then(|places| places.first().map(|place| place.partition)) {
        Some(partition) => partition,
        None => partition(ask.region.unwrap_or_default()),
    };
    statements::state(&Ask { state: Some(state.clone()), ..ask.clone() }, partition, &mut all);
    Policy::new(all)
}

/// From a service to its target group, its load balancer, and that one's listeners and rules.
pub(crate) const FOLLOW: &[&str] = &[
    "elasticloadbalancing:DescribeListeners",
    "elasticloadbalancing:DescribeLoadBalancers",
    "elasticloadbalancing:DescribeRules",
    "elasticloadbalancing:DescribeTargetGroups",
];

/// The policy of whoever runs the probes of environments whose URLs are found on AWS: of those that `of` takes.
///
/// # Errors
/// Every URL is named, or an environment's place is not there.
pub fn probes(ask: &Ask<'_>, of: impl Fn(&str) -> bool) -> Result<Least, Unfit> {
    let (mut services, mut follow, mut notes) = (BTreeSet::new(), BTreeSet::new(), Vec::new());
    for environment in ask.app.environments.values().filter(|environment| of(&environment.name)) {
        let Some(on) = environment.on.as_deref().filter(|_| !is_named(environment)) else { continue };
        let missing = || Unfit::NoPlace(format!("{} runs", environment.name), on.to_owned());
        let place = Place::new(ask, ask.app.aws.get(on).ok_or_else(missing)?);
        match environment.routing {
            // The load balancer's name, and a port that is known.
            Some(RouteTarget::Port { .. }) if place.target.address.is_some() => continue,
            Some(RouteTarget::Port { .. }) => follow.extend(["elasticloadbalancing:DescribeLoadBalancers"]),
            _ => {
                let names = Names::of_environment(ask.app, environment).services;
                services
                    .extend(names.iter().map(|name| place.arn("ecs", &format!("service/{}/{name}", place.cluster))));
                follow.extend(FOLLOW);
            }
        }
        notes.extend(notes_of_place(&place));
    }
    if follow.is_empty() {
        return Err(Unfit::NothingSought);
    }
    let follow: Vec<&str> = follow.into_iter().collect();
    let mut all = vec![Statement::allow("FollowRoutes", &follow, ["*".to_owned()])];
    if !services.is_empty() {
        all.push(Statement::allow("FindServices", &["ecs:DescribeServices"], services));
    }
    notes.dedup();
    Ok(Least { policy: Policy::new(all), notes })
}

/// Whether its probes ask a URL that the manifest says.
pub(crate) fn is_named(environment: &LongLivedEnvironment) -> bool {
    let given = environment.verify.as_ref().is_some_and(|verify| verify.url.is_some());
    given || matches!(environment.routing, Some(RouteTarget::Host { .. }))
}

fn repositories(ask: &Ask<'_>) -> Result<Vec<String>, Unfit> {
    Some(awaited(ask.app)).filter(|all| !all.is_empty()).ok_or(Unfit::NothingAwaited)
}

/// Where environments and previews run, each once.
fn places<'a>(ask: &Ask<'a>) -> Result<Vec<Place<'a>>, Unfit> {
    let environments = ask.app.environments.values().filter_map(|environment| environment.on.as_deref());
    let previews = ask.app.previews.as_ref().and_then(|previews| previews.on.as_deref());
    let names: BTreeSet<&str> = environments.chain(previews).collect();
    let place = |name: &str| {
        let target = ask.app.aws.get(name);
        let missing = || Unfit::NoPlace("an environment runs".to_owned(), name.to_owned());
        target.map(|target| Place::new(ask, target)).ok_or_else(missing)
    };
    names.into_iter().map(place).collect()
}
