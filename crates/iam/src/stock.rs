//! What reading releases and `landfall images prune` need. Neither is an environment's: whoever deploys need not delete images, and
//! goes without releases by a commit's tags.

use std::collections::BTreeSet;

use crate::least::{Ask, Least, Place, Unfit, notes_of_place};
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
