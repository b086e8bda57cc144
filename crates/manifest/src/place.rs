//! Which service runs where: asked by the checks and by the defaults, so that both give the same answer.

use std::collections::BTreeSet;

use crate::authored::{AwsTarget, Manifest};

/// Previews or a lasting environment, and what runs there.
pub(crate) struct Placement<'m> {
    /// `None`: previews.
    pub environment: Option<&'m str>,
    /// The name under `aws` as written; `None`: this machine.
    pub on: Option<&'m str>,
    /// Those that are defined; default: all.
    pub services: BTreeSet<&'m str>,
    /// Made whole by CloudFormation: what the target does not give is made.
    pub stack: bool,
}

pub(crate) fn placements(manifest: &Manifest) -> Vec<Placement<'_>> {
    let chosen = |named: Option<&Vec<String>>| {
        let known = manifest.services.keys();
        known.filter(|name| named.is_none_or(|named| named.contains(name))).map(String::as_str).collect()
    };
    let previews = manifest.previews.iter().map(|previews| Placement {
        environment: None,
        on: previews.on.as_ref().map(|on| on.0.as_str()),
        services: chosen(previews.services.as_ref()),
        stack: false,
    });
    let environments = manifest.environments.iter().map(|(name, environment)| Placement {
        environment: Some(name),
        on: environment.on.as_ref().map(|on| on.0.as_str()),
        services: chosen(environment.services.as_ref()),
        stack: environment.stack.is_some(),
    });
    previews.chain(environments).collect()
}

/// Services that run on AWS somewhere: their defaults are ones that AWS takes.
pub(crate) fn on_aws(manifest: &Manifest) -> BTreeSet<String> {
    let placements = placements(manifest);
    placements
        .iter()
        .filter(|one| one.on.is_some())
        .flat_map(|one| &one.services)
        .map(|&name| name.to_owned())
        .collect()
}

/// Where previews run, if on AWS and defined.
pub(crate) fn preview_target(manifest: &Manifest) -> Option<&AwsTarget> {
    manifest.aws.get(&manifest.previews.as_ref()?.on.as_ref()?.0)
}

/// The target of what names none: where previews run, else the only one.
pub(crate) fn usual_target(manifest: &Manifest) -> Option<&str> {
    let previews = manifest.previews.as_ref().and_then(|previews| previews.on.as_ref()).map(|on| on.0.as_str());
    let mut all = manifest.aws.keys();
    let only = all.next().filter(|_| all.next().is_none()).map(String::as_str);
    previews.or(only)
}
