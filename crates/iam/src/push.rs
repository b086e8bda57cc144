//! What `landfall build` and `landfall push` need in ECR: a login, and of each repository that the manifest's images go to what its
//! registry asks a push for. No environment has these rights: whoever deploys need not push.

use std::collections::BTreeSet;

use landfall_model::app::{App, AwaitSource, ImageSource};

use crate::least::{Least, Unfit};
use crate::policy::{Policy, Statement};

/// A push, as ECR's guide has it
/// (<https://docs.aws.amazon.com/AmazonECR/latest/userguide/image-push-iam.html>); the rules for tags, which are read before anything is
/// sent (without that right ECR keeps them all the same); and the release that the commit has already.
const PUSH: &[&str] = &[
    "ecr:BatchCheckLayerAvailability",
    "ecr:BatchGetImage",
    "ecr:CompleteLayerUpload",
    "ecr:DescribeRepositories",
    "ecr:GetDownloadUrlForLayer",
    "ecr:InitiateLayerUpload",
    "ecr:PutImage",
    "ecr:UploadLayerPart",
];

/// ARNs of the repositories in ECR that images of the manifest are pushed to, sorted.
pub fn pushed(app: &App) -> Vec<String> {
    repositories(app, |image| image.build.is_some())
}

/// Of all that are awaited, whoever pushes them.
pub(crate) fn awaited(app: &App) -> Vec<String> {
    repositories(app, |_| true)
}

fn repositories(app: &App, of: impl Fn(&AwaitSource) -> bool) -> Vec<String> {
    let containers = app.services.values().flat_map(|service| &service.containers);
    let images = containers.filter_map(|container| match &container.image {
        ImageSource::Await(awaited) if of(awaited) => repository(&awaited.image, &app.project),
        _ => None,
    });
    let all: BTreeSet<String> = images.collect();
    all.into_iter().collect()
}

/// The policy of whoever pushes. `create`: also what `landfall push --create-repository` needs.
///
/// # Errors
/// Nothing of the manifest is pushed to ECR.
pub fn push(app: &App, create: bool) -> Result<Least, Unfit> {
    let repositories = pushed(app);
    if repositories.is_empty() {
        return Err(Unfit::NothingPushed);
    }
    let mut all = vec![
        // It takes no resource.
        Statement::allow("LogInToRegistries", &["ecr:GetAuthorizationToken"], ["*".to_owned()]),
        Statement::allow("PushImages", PUSH, repositories.clone()),
    ];
    if create {
        all.push(Statement::allow("CreateRepositories", &["ecr:CreateRepository"], repositories));
    }
    Ok(Least { policy: Policy::new(all), notes: Vec::new() })
}

/// Of an image in ECR. What stands for a branch or commit may be anything.
pub(crate) fn repository(image: &str, project: &str) -> Option<String> {
    let (registry, path) = image.split_once('/')?;
    let mut parts = registry.splitn(5, '.');
    let (account, dkr, ecr, region) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    if dkr != "dkr" || !ecr.starts_with("ecr") {
        return None;
    }
    let partition = match parts.next()? {
        "amazonaws.com.cn" => "aws-cn",
        "amazonaws.eu" => "aws-eusc",
        _ if region.starts_with("us-gov-") => "aws-us-gov",
        _ => "aws",
    };
    let path = path.split(['@', ':']).next()?.replace("{project}", project);
    let mut name = String::new();
    let mut rest = path.as_str();
    while let Some((before, after)) = rest.split_once('{') {
        name.push_str(before);
        name.push('*');
        rest = after.split_once('}').map_or("", |(_, after)| after);
    }
    name.push_str(rest);
    Some(format!("arn:{partition}:ecr:{region}:{account}:repository/{name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repositories_are_those_of_the_host() {
        let of = |image: &str| repository(image, "shop");
        let arn = |rest: &str| Some(format!("arn:{rest}"));
        assert_eq!(
            of("1.dkr.ecr.eu-west-1.amazonaws.com/team/{project}-web:{commit}"),
            arn("aws:ecr:eu-west-1:1:repository/team/shop-web")
        );
        assert_eq!(of("1.dkr.ecr.r.amazonaws.com/{branch}/web@sha256:0"), arn("aws:ecr:r:1:repository/*/web"));
        assert_eq!(of("1.dkr.ecr.cn-north-1.amazonaws.com.cn/a"), arn("aws-cn:ecr:cn-north-1:1:repository/a"));
        assert_eq!(
            of("1.dkr.ecr-fips.us-gov-west-1.amazonaws.com/a"),
            arn("aws-us-gov:ecr:us-gov-west-1:1:repository/a")
        );
        assert_eq!(of("ghcr.io/acme/shop:v1"), None);
        assert_eq!(of("nginx"), None);
    }
}
