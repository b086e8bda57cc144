//! The flow that most teams want, laid behind a first manifest: every branch is tested and built, master is deployed and tested where it
//! runs, `*-dev` is pushed, and tags promote to staging and prod the image that their commit has.

use std::collections::BTreeSet;

use landfall_model::app::ImageSource;

use crate::source::SourceFile;

/// The commands that a repository with these files at its root is usually tested by.
pub fn tests(files: &BTreeSet<String>) -> Vec<&'static str> {
    let has = |name: &str| files.contains(name);
    let npm = if has("package-lock.json") { "npm ci" } else { "npm install" };
    match () {
        () if has("test.sh") => vec!["./test.sh"],
        () if has("yarn.lock") => vec!["yarn install --frozen-lockfile", "yarn test"],
        () if has("package.json") => vec![npm, "npm test"],
        () if has("Cargo.toml") => vec!["cargo test --locked"],
        () if has("go.mod") => vec!["go test ./..."],
        () if has("pyproject.toml") || has("pytest.ini") => vec!["pytest"],
        () if has("Gemfile") => vec!["bundle install", "bundle exec rake test"],
        () if has("gradlew") => vec!["./gradlew test"],
        () if has("pom.xml") => vec!["mvn --batch-mode verify"],
        () if has("Makefile") => vec!["make test"],
        () => vec!["echo 'write here how this is tested'"],
    }
}

/// Where the host of a git remote keeps images of its repositories: of GitHub and GitLab, each of which has a registry beside the code.
pub fn repository(remote: &str) -> Option<String> {
    let (scheme, rest) = remote.split_once("://").map_or((false, remote), |(_, rest)| (true, rest));
    let rest = rest.split_once('@').map_or(rest, |(_, rest)| rest);
    let end = rest.find(['/', ':'])?;
    let (host, colon, path) = (&rest[..end], rest[end..].starts_with(':'), &rest[end + 1..]);
    let registry = match host {
        "github.com" => "ghcr.io",
        "gitlab.com" => "registry.gitlab.com",
        _ => return None,
    };
    // A port of a URL; without a scheme what follows `:` is the path.
    let port =
        path.split_once('/').filter(|(port, _)| scheme && colon && port.bytes().all(|byte| byte.is_ascii_digit()));
    let path = port.map_or(path, |(_, path)| path).trim_matches('/').trim_end_matches(".git").to_ascii_lowercase();
    Some(format!("{registry}/{path}")).filter(|name| path.contains('/') && legal(name).is_ok())
}

/// # Errors
/// Why images cannot go there: a rule of references, in words.
pub fn legal(repository: &str) -> Result<(), String> {
    let path = repository.split_once('/').map(|(_, path)| path).ok_or("HOST/NAME")?;
    if path.contains([':', '@']) {
        return Err("without a tag".to_owned());
    }
    crate::check::syntax::image(repository, false)
}

/// The sections `environments` and `ci` behind the proposal of a manifest. Where nothing of it answers requests nothing is asked, and where nothing is
/// built there is nothing to push.
pub fn flow(tests: &[&str], proposal: &str) -> String {
    let app = crate::load(&SourceFile::new("landfall.yml", proposal), &|_| None).ok().map(|loaded| loaded.app);
    let services = || app.iter().flat_map(|app| app.services.values());
    let answers = services().any(|service| service.load_balancer.is_some());
    let pushes =
        services().flat_map(|service| &service.containers).any(|one| matches!(one.image, ImageSource::Await(_)));
    let tests: Vec<String> = tests.iter().map(|line| serde_json::Value::from(*line).to_string()).collect();
    let mut out = "\n# Environments that stay. Each is on this machine until `on: NAME` names a place under `aws`.\nenvironments:\n".to_owned();
    out.push_str(match answers {
        true => "  dev:\n    verify: &answers\n      deadline: 2m\n      probes:\n        home: {path: /, status: \"200-399\"}\n  staging:\n    verify: *answers\n  prod:\n    verify: *answers\n",
        false => "  dev: {}\n  staging: {}\n  prod: {}\n",
    });
    out.push_str("\n# What `landfall ci` does in a CI job. Every rule that matches adds its steps; `landfall ci plan --tag v1-prod` shows what would run.\nci:\n  rules:\n");
    let mut rule = |name: &str, about: &str, events: &[&str], steps: &[(bool, String)]| {
        let mut steps = steps.iter().filter(|(wanted, _)| *wanted).peekable();
        if steps.peek().is_none() {
            return;
        }
        out.push_str(&format!("    # {about}\n    {name}:\n"));
        events.iter().for_each(|event| out.push_str(&format!("      {event}\n")));
        out.push_str("      steps:\n");
        steps.for_each(|(_, step)| out.push_str(&format!("        - {step}\n")));
    };
    let step = |text: &str| text.to_owned();
    let every = ["branches: [\"**\"]", "pull_requests: true"];
    let test = format!("test: [{}]", tests.join(", "));
    rule(
        "every-branch",
        if pushes { "Any branch: tested and built." } else { "Any branch: tested." },
        &every,
        &[(true, test), (pushes, step("build:"))],
    );
    let master = [(pushes, step("push:")), (true, step("deploy: dev")), (answers, step("verify: dev"))];
    let about = if pushes {
        "Master: pushed, deployed, and tested where it runs."
    } else {
        "Master: deployed, and tested where it runs."
    };
    rule("master", about, &["branches: [master, main]"], &master);
    rule(
        "dev",
        "What ends in -dev: up to the push.",
        &["branches: [\"*-dev\", \"**/*-dev\"]"],
        &[(pushes, step("push:"))],
    );
    let about =
        if pushes { "Tags: the image that this commit has already, without a rebuild." } else { "Tags: the commit." };
    for name in ["staging", "prod"] {
        let how = if pushes { "promote" } else { "deploy" };
        let steps = [(true, format!("{how}: {name}")), (answers, format!("verify: {name}"))];
        rule(name, about, &[&format!("tags: [\"*-{name}\"]")], &steps);
    }
    out
}

#[cfg(test)]
mod tests {
    #[test]
    fn images_go_where_the_code_is_kept() {
        for (remote, repository) in [
            ("https://github.com/Acme/Shop.git", Some("ghcr.io/acme/shop")),
            ("git@github.com:acme/shop.git", Some("ghcr.io/acme/shop")),
            ("ssh://git@gitlab.com/group/sub/shop", Some("registry.gitlab.com/group/sub/shop")),
            ("https://token@gitlab.com/group/shop/", Some("registry.gitlab.com/group/shop")),
            ("https://git.example.com/acme/shop.git", None),
            ("https://github.com/shop", None),
            ("ssh://git@github.com:22/acme/shop.git", Some("ghcr.io/acme/shop")),
            ("https://github.com/acme/.github", None),
            ("https://github.com/1234/shop", Some("ghcr.io/1234/shop")),
            ("https://gitlab.com/2024/team/shop.git", Some("registry.gitlab.com/2024/team/shop")),
            ("../shop", None),
            ("", None),
        ] {
            assert_eq!(super::repository(remote).as_deref(), repository, "{remote}");
        }
        for refused in
            ["shop", "ghcr.io/Acme/shop", "ghcr.io/acme/shop:v1", "ghcr.io/acme/shop@sha256:00", "https://ghcr.io/a/b"]
        {
            assert!(super::legal(refused).is_err(), "{refused}");
        }
        assert_eq!(super::legal("127.0.0.1:5000/team/shop"), Ok(()));
    }
}
