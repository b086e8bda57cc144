//! The variables of `travis-ecs-deploy`, understood: whether this job deploys, what is missing, and what is deployed where. Gates and
//! names are those of that script; what it got wrong is not repeated (docs/travis.md lists it).

use serde::Serialize;
use serde_json::{Value, json};

use crate::detect::Variables;

/// What the job comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// A gate is closed: nothing to do, and all is well.
    Skip {
        why: String,
    },
    /// Before anything is built: every variable that is missing, with what it is for.
    Missing(Vec<(String, &'static str)>),
    /// Two branches would be deployed to one service.
    Ambiguous(String),
    Go(Deployment),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Deployment {
    pub branch: String,
    /// What `docker build` calls the image.
    pub image_name: String,
    /// The repository that it is pushed to, without a tag.
    pub repository: String,
    /// The branch as a tag can have it.
    pub tag: String,
    pub region: String,
    pub cluster: String,
    pub service: String,
    /// `DRYRUN`: say what would be done.
    pub dry_run: bool,
}

impl Deployment {
    pub fn reference(&self) -> String {
        format!("{}:{}", self.repository, self.tag)
    }

    /// A manifest for the service as it is described, and its task definition: what it runs now stays, except for what `deploy` is
    /// given. JSON is YAML.
    pub fn manifest(&self, endpoint: Option<&str>, described: &Value, definition: &Value) -> Value {
        let mut place = json!({ "region": self.region, "cluster": self.cluster });
        if let Some(endpoint) = endpoint {
            place["endpoint"] = endpoint.into();
        }
        let network = &described["networkConfiguration"]["awsvpcConfiguration"];
        if network["subnets"].is_array() {
            let is_public = network["assignPublicIp"] == "ENABLED";
            place["network"] = json!({ "subnets": network["subnets"], "public_ip": is_public });
            if network["securityGroups"].as_array().is_some_and(|groups| !groups.is_empty()) {
                place["network"]["security_groups"] = network["securityGroups"].clone();
            }
        }
        let launch_type = if is_fargate(described, definition) { "fargate" } else { "ec2" };
        let service = name(&self.service, 40);
        json!({
            "project": name(&self.service, 40),
            "aws": { "cluster": place },
            // The task definition is given whole, in ECS's own words: this one only names what there is.
            "services": { &service: {
                "launch_type": launch_type,
                "base_task_definition": definition["family"].as_str().unwrap_or(&self.service),
                "containers": { "app": {} },
            } },
            "environments": { name(&self.branch, 40): {
                "on": "cluster",
                "services": [&service],
                "names": { &service: self.service },
            } },
        })
    }

    /// The environment's name in that manifest.
    pub fn environment(&self) -> String {
        name(&self.branch, 40)
    }
}

/// A service with a capacity provider has no launch type; one with neither runs where its definition says.
fn is_fargate(service: &Value, definition: &Value) -> bool {
    if let Some(kind) = service["launchType"].as_str() {
        return kind == "FARGATE";
    }
    let providers = service["capacityProviderStrategy"].as_array().into_iter().flatten();
    let mut providers = providers.filter_map(|one| one["capacityProvider"].as_str()).peekable();
    if providers.peek().is_some() {
        return providers.any(|name| name.starts_with("FARGATE"));
    }
    definition["requiresCompatibilities"].as_array().is_some_and(|all| all.iter().any(|one| one == "FARGATE"))
}

/// By the variables alone.
pub fn decide(variables: &Variables) -> Decision {
    let get = |name: &str| variables.get(name).map(|value| value.trim()).filter(|value| !value.is_empty());
    let skip = |why: String| Decision::Skip { why };
    // The first of several jobs of a build deploys.
    match get("TRAVIS_JOB_NUMBER") {
        Some(number) if number.ends_with(".1") => {}
        Some(number) => return skip(format!("job {number} is not the build's first: only that one deploys")),
        None => return skip("TRAVIS_JOB_NUMBER is not set: only a build's first job deploys".to_owned()),
    }
    if let Some(number) = get("TRAVIS_PULL_REQUEST").filter(|number| *number != "false") {
        return skip(format!("pull request #{number} is not deployed"));
    }
    let branches: Vec<&str> = get("DEPLOY_BRANCHES").unwrap_or_default().split_whitespace().collect();
    let Some(branch) = get("TRAVIS_BRANCH") else { return skip("TRAVIS_BRANCH is not set".to_owned()) };
    if !branches.contains(&branch) {
        let listed = if branches.is_empty() { "nothing".to_owned() } else { branches.join(" ") };
        return skip(format!("branch {branch} is not deployed: DEPLOY_BRANCHES lists {listed}"));
    }
    if let Some(other) = branches.iter().find(|other| **other != branch && suffix(other) == suffix(branch)) {
        let suffix = suffix(branch);
        return Decision::Ambiguous(format!(
            "branches {branch} and {other} of DEPLOY_BRANCHES share ECS_CLUSTER_{suffix} and ECS_SERVICE_{suffix}"
        ));
    }
    let of_branch = |prefix: &str| names(prefix, branch).iter().find_map(|name| get(name));
    let wanted = [
        ("IMAGE_NAME".to_owned(), "the image that is built", get("IMAGE_NAME")),
        ("REMOTE_IMAGE_URL".to_owned(), "the repository that it is pushed to", get("REMOTE_IMAGE_URL")),
        ("AWS_REGION".to_owned(), "where the service is", get("AWS_REGION")),
        (names("ECS_CLUSTER", branch)[0].clone(), "the cluster of this branch", of_branch("ECS_CLUSTER")),
        (names("ECS_SERVICE", branch)[0].clone(), "the service of this branch", of_branch("ECS_SERVICE")),
    ];
    let mut missing: Vec<(String, &'static str)> =
        wanted.iter().filter(|(.., value)| value.is_none()).map(|(name, what, _)| (name.clone(), *what)).collect();
    missing.extend(credentials(&get));
    let [Some(image_name), Some(repository), Some(region), Some(cluster), Some(service)] =
        wanted.each_ref().map(|(.., value)| *value)
    else {
        return Decision::Missing(missing);
    };
    if !missing.is_empty() {
        return Decision::Missing(missing);
    }
    Decision::Go(Deployment {
        branch: branch.to_owned(),
        image_name: image_name.to_owned(),
        repository: repository.to_owned(),
        tag: tag(branch),
        region: region.to_owned(),
        cluster: cluster.to_owned(),
        service: service.to_owned(),
        dry_run: get("DRYRUN").is_some_and(|value| !matches!(value, "0" | "false")),
    })
}

/// The documented keys, unless another way to credentials is open.
fn credentials<'v>(get: &impl Fn(&str) -> Option<&'v str>) -> Vec<(String, &'static str)> {
    let others = [
        "AWS_PROFILE",
        "AWS_WEB_IDENTITY_TOKEN_FILE",
        "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
        "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    ];
    if others.iter().any(|name| get(name).is_some()) {
        return Vec::new();
    }
    let keys = [("AWS_ACCESS_KEY_ID", "credentials"), ("AWS_SECRET_ACCESS_KEY", "credentials")];
    keys.iter().filter(|(name, _)| get(name).is_none()).map(|(name, what)| ((*name).to_owned(), *what)).collect()
}

/// What stands after `ECS_CLUSTER_`: upper case, and `_` for everything that a variable's name cannot have.
pub fn suffix(branch: &str) -> String {
    branch.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' }).collect()
}

/// In which order names are tried: in upper case, then as the branch is written.
fn names(prefix: &str, branch: &str) -> [String; 2] {
    let written: String = branch.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    [format!("{prefix}_{}", suffix(branch)), format!("{prefix}_{written}")]
}

/// A tag has letters, digits, `_`, `.` and `-`, does not begin with the latter two, and has 128 characters at most.
/// <https://github.com/opencontainers/distribution-spec/blob/main/spec.md#pulling-manifests>
pub fn tag(branch: &str) -> String {
    let legal = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-') { c } else { '-' };
    let text: String = branch.chars().map(legal).take(128).collect();
    let text = text.trim_start_matches(['.', '-']);
    if text.is_empty() { "branch".to_owned() } else { text.to_owned() }
}

/// A legal name for a manifest, the branch's or service's own where it is one.
fn name(text: &str, longest: usize) -> String {
    let mut out = String::new();
    for c in text.chars().map(|c| c.to_ascii_lowercase()) {
        match c {
            c if c.is_ascii_lowercase() || (c.is_ascii_digit() && !out.is_empty()) => out.push(c),
            _ if !out.is_empty() && !out.ends_with('-') => out.push('-'),
            _ => {}
        }
    }
    out.truncate(longest);
    let out = out.trim_end_matches('-');
    if out.is_empty() { "app".to_owned() } else { out.to_owned() }
}

/// A task definition as ECS describes it, with every image of `repository` replaced. `Err` where there is none: registering a copy
/// would deploy nothing.
///
/// # Errors
/// The images that are there.
pub fn with_image(mut definition: Value, repository: &str, image: &str) -> Result<(Value, Vec<String>), Vec<String>> {
    let mut replaced = Vec::new();
    let mut seen = Vec::new();
    for container in definition["containerDefinitions"].as_array_mut().into_iter().flatten() {
        let Some(old) = container["image"].as_str().map(str::to_owned) else { continue };
        if without_tag(&old) == repository {
            container["image"] = image.into();
            replaced.push(container["name"].as_str().unwrap_or_default().to_owned());
        } else {
            seen.push(old);
        }
    }
    if replaced.is_empty() { Err(seen) } else { Ok((definition, replaced)) }
}

/// `registry:5000/a/b:tag@sha256:…` → `registry:5000/a/b`
fn without_tag(reference: &str) -> &str {
    let name = reference.split_once('@').map_or(reference, |(name, _)| name);
    match name.rsplit_once(':') {
        Some((rest, tag)) if !tag.contains('/') => rest,
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]

    use super::*;

    /// The block of the original's own test, with credentials.
    const BLOCK: &str = "IMAGE_NAME=test|DEPLOY_BRANCHES=master production|AWS_REGION=eu-central-1|\
        REMOTE_IMAGE_URL=123123123123.dkr.ecr.eu-central-1.amazonaws.com/test|ECS_CLUSTER_MASTER=test-master|\
        ECS_SERVICE_MASTER=test-master-service|ECS_CLUSTER_PRODUCTION=test-prod|ECS_SERVICE_PRODUCTION=test-prod-service|\
        TRAVIS_JOB_NUMBER=1.1|TRAVIS_PULL_REQUEST=false|TRAVIS_BRANCH=master|AWS_ACCESS_KEY_ID=a|AWS_SECRET_ACCESS_KEY=b|DRYRUN=1";

    fn of(changes: &[(&str, &str)]) -> Decision {
        let mut variables: Variables = BLOCK
            .split('|')
            .map(|pair| pair.split_once('=').unwrap())
            .map(|(n, v)| (n.to_owned(), v.to_owned()))
            .collect();
        for (name, value) in changes {
            variables.insert((*name).to_owned(), (*value).to_owned());
        }
        decide(&variables)
    }

    fn go(changes: &[(&str, &str)]) -> Deployment {
        match of(changes) {
            Decision::Go(deployment) => deployment,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_originals_block_deploys_masters_service() {
        let master = go(&[]);
        assert_eq!((master.cluster.as_str(), master.service.as_str()), ("test-master", "test-master-service"));
        assert_eq!(master.reference(), "123123123123.dkr.ecr.eu-central-1.amazonaws.com/test:master");
        assert!(master.dry_run);
        let production = go(&[("TRAVIS_BRANCH", "production"), ("DRYRUN", "")]);
        assert_eq!((production.service.as_str(), production.dry_run), ("test-prod-service", false));
    }

    #[test]
    fn gates_close_as_the_originals() {
        for (name, value) in [
            ("TRAVIS_JOB_NUMBER", "1.2"),
            ("TRAVIS_JOB_NUMBER", "1.11"),
            ("TRAVIS_JOB_NUMBER", ""),
            ("TRAVIS_PULL_REQUEST", "7"),
            ("TRAVIS_BRANCH", "mast"),
            ("TRAVIS_BRANCH", "other"),
            ("DEPLOY_BRANCHES", ""),
        ] {
            assert!(
                matches!(of(&[(name, value)]), Decision::Skip { .. }),
                "{name}={value}: {:?}",
                of(&[(name, value)])
            );
        }
        assert!(matches!(of(&[("TRAVIS_PULL_REQUEST", "")]), Decision::Go(_)));
        // A closed gate says nothing of what is missing.
        assert!(matches!(of(&[("TRAVIS_PULL_REQUEST", "7"), ("IMAGE_NAME", "")]), Decision::Skip { .. }));
    }

    #[test]
    fn everything_that_is_missing_is_named_at_once() {
        let changes = [("REMOTE_IMAGE_URL", ""), ("ECS_SERVICE_MASTER", " "), ("AWS_SECRET_ACCESS_KEY", "")];
        let Decision::Missing(missing) = of(&changes) else { panic!() };
        let names: Vec<&str> = missing.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["REMOTE_IMAGE_URL", "ECS_SERVICE_MASTER", "AWS_SECRET_ACCESS_KEY"]);
        let other = [("AWS_SECRET_ACCESS_KEY", ""), ("AWS_WEB_IDENTITY_TOKEN_FILE", "/token")];
        assert!(matches!(of(&other), Decision::Go(_)));
    }

    #[test]
    fn any_branch_finds_its_variables() {
        let branches = ("DEPLOY_BRANCHES", "feature/my-App v1.x");
        let of_branch = |name| {
            go(&[branches, ("TRAVIS_BRANCH", "feature/my-App"), (name, "c"), ("ECS_SERVICE_FEATURE_MY_APP", "s")])
        };
        assert_eq!(of_branch("ECS_CLUSTER_FEATURE_MY_APP").cluster, "c");
        let written = of_branch("ECS_CLUSTER_feature_my_App");
        assert_eq!((written.cluster.as_str(), written.tag.as_str()), ("c", "feature-my-App"));
        let two = of(&[("DEPLOY_BRANCHES", "a-b a/b"), ("TRAVIS_BRANCH", "a-b")]);
        assert!(matches!(&two, Decision::Ambiguous(why) if why.contains("ECS_CLUSTER_A_B")), "{two:?}");
    }

    #[test]
    fn tags_are_legal() {
        for (branch, expected) in
            [("master", "master"), ("a/b c", "a-b-c"), ("-x", "x"), ("ä", "branch"), ("v1.2_3", "v1.2_3")]
        {
            assert_eq!(tag(branch), expected, "{branch}");
        }
        assert_eq!(tag(&"x".repeat(200)).len(), 128);
    }

    #[test]
    fn the_manifest_is_the_service_as_it_is() {
        let service = json!({"launchType": "FARGATE", "networkConfiguration": {"awsvpcConfiguration": {
            "subnets": ["subnet-1"], "securityGroups": [], "assignPublicIp": "ENABLED"}}});
        let made = go(&[]).manifest(None, &service, &json!({"family": "f"}));
        assert_eq!(made["aws"]["cluster"]["network"], json!({"subnets": ["subnet-1"], "public_ip": true}));
        let own = &made["services"]["test-master-service"];
        assert_eq!((&own["launch_type"], &own["base_task_definition"]), (&json!("fargate"), &json!("f")));
        assert_eq!(made["environments"]["master"]["names"]["test-master-service"], "test-master-service");
        let providers = json!({"capacityProviderStrategy": [{"capacityProvider": "FARGATE_SPOT"}]});
        assert!(is_fargate(&providers, &Value::Null) && !is_fargate(&json!({"launchType": "EC2"}), &Value::Null));
        assert!(is_fargate(&json!({}), &json!({"requiresCompatibilities": ["FARGATE"]})));
        assert!(!is_fargate(&json!({"capacityProviderStrategy": [{"capacityProvider": "own"}]}), &Value::Null));
    }

    #[test]
    fn only_images_of_the_repository_are_replaced_and_none_is_an_error() {
        let definition = json!({
            "family": "f", "cpu": "256", "executionRoleArn": "role",
            "containerDefinitions": [
                {"name": "app", "image": "r:5000/team/app:old@sha256:ab"},
                {"name": "proxy", "image": "r:5000/team/app-proxy:old"},
                {"name": "db", "image": "mariadb"},
            ],
        });
        let (changed, names) = with_image(definition.clone(), "r:5000/team/app", "r:5000/team/app:new").unwrap();
        assert_eq!(names, ["app"]);
        assert_eq!(changed["containerDefinitions"][0]["image"], "r:5000/team/app:new");
        assert_eq!((&changed["cpu"], &changed["executionRoleArn"]), (&json!("256"), &json!("role")));
        assert_eq!(changed["containerDefinitions"][1], definition["containerDefinitions"][1]);
        let seen = with_image(definition.clone(), "other", "other:new").unwrap_err();
        assert_eq!(seen, ["r:5000/team/app:old@sha256:ab", "r:5000/team/app-proxy:old", "mariadb"]);
        assert_eq!(with_image(definition, "mariadb", "mariadb:11").unwrap().1, ["db"]);
    }
}
