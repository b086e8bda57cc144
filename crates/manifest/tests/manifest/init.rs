//! `init` on repositories as they are found; every proposal must pass `load`.

use landfall_manifest::init::{RepoFiles, propose, scan};
use landfall_model::app::{App, ImageSource};
use landfall_model::task::DependencyCondition;
use proptest::prelude::*;

use crate::loaded;

const NODE: &str = "\
FROM node:22 AS build
RUN npm ci
FROM node:22-slim
ENV PORT=3000
EXPOSE 3000
HEALTHCHECK --interval=10s --timeout=3s CMD curl -fs http://localhost:${PORT}/health || exit 1
CMD [\"node\", \"server.js\"]
";

const COMPOSE: &str = "\
services:
  app:
    build: {context: ., target: runtime}
    command: npm run start
    environment:
      DATABASE_URL: postgres://db:5432/app
      API_TOKEN: ${API_TOKEN}
      MODE: ${MODE}
      LEVEL: ${LEVEL:-info}
    depends_on:
      db: {condition: service_healthy}
      migrate: {condition: service_completed_successfully}
  proxy:
    image: nginx:1.29
    ports: [\"8080:80\", \"127.0.0.1:8443:443/tcp\"]
    depends_on: [app]
  db:
    image: postgres:17
    environment: [POSTGRES_PASSWORD=hunter2, POSTGRES_DB=app]
    expose: [\"5432\"]
    healthcheck:
      test: [CMD-SHELL, pg_isready -U $$POSTGRES_USER]
      interval: 1m30s
      timeout: 5s
      retries: 5
  migrate:
    build: .
    command: sh -c \"bin/migrate && echo done\"
    depends_on: {db: {condition: service_healthy}}
volumes: {data: {}}
";

fn repo(files: &[(&str, &str)]) -> RepoFiles {
    RepoFiles {
        files: files.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect(),
        directory: "My Shop".to_owned(),
        remote: None,
        repository: None,
    }
}

fn proposed(files: &RepoFiles) -> (String, App) {
    let text = propose(files);
    let app = loaded(&text).app;
    (text, app)
}

#[test]
fn what_is_built_goes_to_a_repository() {
    let pushed = |files: &[(&str, &str)]| {
        let (_, app) = proposed(&RepoFiles { repository: Some("ghcr.io/acme/shop".to_owned()), ..repo(files) });
        let image = |container: &landfall_model::app::ContainerTemplate| match &container.image {
            ImageSource::Await(awaited) => {
                assert!(awaited.build.is_some());
                awaited.image.clone()
            }
            other => format!("{other:?}"),
        };
        app.services["web"].containers.iter().map(image).collect::<Vec<_>>()
    };
    assert_eq!(pushed(&[("Dockerfile", NODE)]), ["ghcr.io/acme/shop:{commit}"]);
    assert_eq!(
        pushed(&[("api/Dockerfile", "FROM scratch\n"), ("web/Dockerfile", NODE)]),
        ["ghcr.io/acme/shop-api:{commit}", "ghcr.io/acme/shop-web:{commit}"]
    );
}

#[test]
fn a_dockerfile_alone() {
    let (text, app) = proposed(&repo(&[("Dockerfile", NODE), ("Dockerfile.dev", "FROM scratch")]));
    insta::assert_snapshot!(text);
    let web = &app.services["web"];
    assert_eq!(web.containers.len(), 1);
    assert_eq!(web.load_balancer.as_ref().unwrap().port, 3000);
    // The shell's variable survives our own interpolation.
    let health = web.containers[0].settings.health_check.as_ref().unwrap();
    assert_eq!(health.command[1], "curl -fs http://localhost:${PORT}/health || exit 1");
    assert_eq!((health.interval, health.timeout), (10, 3));
}

#[test]
fn a_compose_file() {
    let mut files = repo(&[("compose.yaml", COMPOSE), ("Dockerfile", NODE)]);
    files.remote = Some("git@github.com:acme/Shop.git".to_owned());
    let (text, app) = proposed(&files);
    insta::assert_snapshot!(text);
    assert_eq!(app.project, "shop");
    assert_eq!(app.repositories[&"shop".into()].github.as_deref(), Some("acme/Shop"));
    let web = &app.services["web"];
    let names: Vec<_> = web.containers.iter().map(|container| container.name.as_str()).collect();
    assert_eq!(names, ["app", "proxy", "db", "migrate"]);
    let balancer = web.load_balancer.as_ref().unwrap();
    assert_eq!((balancer.container.as_str(), balancer.port), ("proxy", 80));
    let conditions: Vec<_> = web.containers[0].settings.depends_on.iter().map(|d| d.condition).collect();
    assert_eq!(conditions, [DependencyCondition::Healthy, DependencyCondition::Success]);
    assert!(!web.containers[3].settings.essential);
    assert!(!text.contains("hunter2"), "a password was copied");
    let health = web.containers[2].settings.health_check.as_ref().unwrap();
    assert_eq!(health.command, ["CMD-SHELL", "pg_isready -U $POSTGRES_USER"]);
}

#[test]
fn nothing_to_go_by() {
    let (text, app) = proposed(&RepoFiles::default());
    assert_eq!(app.project, "my-project");
    assert!(text.contains("put your own image here"));
}

#[test]
fn awkward_repositories_still_give_a_manifest_that_passes() {
    for files in [
        repo(&[("compose.yml", "services: {a: {image: x, depends_on: [b]}, b: {image: x, depends_on: [a]}}")]),
        repo(&[("compose.yml", "services: {a b: {image: 'UPPER'}}"), ("Dockerfile", "EXPOSE 80")]),
        repo(&[("compose.yml", "services: [1, 2]")]),
        repo(&[("compose.yml", "{{{")]),
        repo(&[("docker-compose.yml", "services: {a: {image: x, ports: [80]}, b: {image: x, ports: ['81:80']}}")]),
        repo(&[("api/Dockerfile", "FROM x\nEXPOSE 80"), ("web/Dockerfile", "FROM x\nEXPOSE 80")]),
        repo(&[("compose.yml", "services: {a: {image: '${IMG}', environment: {X: '${Y:?no}', 'a=b': c}}}")]),
    ] {
        proposed(&files);
    }
}

#[test]
fn a_directory_is_scanned() {
    let dir = tempfile::tempdir().unwrap();
    let write = |path: &str, text: &str| {
        let path = dir.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    write("Dockerfile", NODE);
    write("api/Dockerfile.prod", "FROM x");
    write("node_modules/x/Dockerfile", "FROM x");
    write("sub/compose.yml", "services: {}");
    write(
        ".git/config",
        "[core]\n[remote \"origin\"]\n\turl = https://me:token@github.com/acme/shop.git\n[branch \"x\"]\n",
    );
    let found = scan(dir.path()).unwrap();
    assert_eq!(found.files.keys().collect::<Vec<_>>(), ["Dockerfile", "api/Dockerfile.prod"]);
    assert_eq!(found.remote.as_deref(), Some("https://github.com/acme/shop.git"));
    proposed(&found);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_found_the_proposal_passes(
        compose in "(services:\n)?( {2}[a-z]{1,3}:\n {4}(image|ports|command|build|depends_on|healthcheck|environment): \\PC{0,20}\n){0,4}",
        dockerfile in "(FROM \\PC{0,10}\n)?((EXPOSE|HEALTHCHECK|ENV|HEALTHCHECK CMD) \\PC{0,20}\n){0,4}",
        directory in "\\PC{0,20}",
        remote in proptest::option::of("\\PC{0,30}"),
        repository in proptest::option::of("[a-z]{1,9}\\.io/[a-z]{1,9}"),
    ) {
        let files = [("compose.yml".to_owned(), compose), ("Dockerfile".to_owned(), dockerfile)].into();
        proposed(&RepoFiles { files, directory, remote, repository });
    }
}
