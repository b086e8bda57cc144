//! `landfall build` and `landfall push` against a real registry, as a person and a CI job call them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

mod common;

use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

use common::registry::{World, have, layout};
use common::{ends, git};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

#[test]
fn the_digest_is_on_stdout_and_all_else_on_stderr() {
    let world = World::new();
    let digest = layout(&world.path("work/out"), "one");
    let target = world.image("team/app:v1");
    let stdout =
        ends(&world.landfall(&["push", "--from", "out", &target]).output().unwrap(), 0, &["2 of 2 blobs sent"]);
    assert_eq!(stdout, format!("{}@{digest}\n", world.image("team/app")));
    assert_eq!(world.tag("team/app", "v1").as_deref(), Some(digest.as_str()));
    ends(&world.landfall(&["push", "--from", "out", &target]).output().unwrap(), 0, &["was there"]);
    let more = ["push", "--from", "out", "--tag", "v2", "--tag", "latest", "--output", "json", &target];
    let answer: Value =
        serde_json::from_str(&ends(&world.landfall(&more).output().unwrap(), 0, &["was there, tagged"])).unwrap();
    assert_eq!((&answer["tagged"], &answer["digest"]), (&json!(["v2", "latest"]), &json!(digest)));
    let quiet = world.landfall(&["push", "--quiet", "--from", "out", &target]).output().unwrap();
    assert_eq!(
        (ends(&quiet, 0, &[]).trim(), quiet.stderr.len()),
        (format!("{}@{digest}", world.image("team/app")).as_str(), 0)
    );
}

#[test]
fn images_are_listed_tagged_and_copied() {
    let (world, other) = (World::new(), World::new());
    let digest = layout(&world.path("work/out"), "one");
    let run = |arguments: &[&str]| world.landfall(arguments).output().unwrap();
    let image = world.image("team/app:v1");
    ends(&run(&["push", "--from", "out", &image]), 0, &[]);
    let tagged = ends(&run(&["images", "retag", &image, "v2", "latest"]), 0, &["was there, tagged"]);
    assert_eq!(tagged.trim(), format!("{}@{digest}", world.image("team/app")));
    let rows = ["latest", "v1    ", "v2    "].map(|tag| format!("{tag}  {digest}\n")).concat();
    assert_eq!(ends(&run(&["images", "list", &world.image("team/app")]), 0, &[]), rows);
    ends(&run(&["images", "copy", &image, &other.image("mirror/app")]), 0, &["2 of 2 blobs sent"]);
    assert_eq!(other.tag("mirror/app", "v1").as_deref(), Some(digest.as_str()));
    ends(&run(&["images", "copy", &image, &world.image("kept/app:x")]), 0, &["0 of 2 blobs sent", "2 taken over"]);
    ends(&run(&["images", "copy", &world.image("team/app:none"), &other.image("mirror/app")]), 66, &["no such image"]);
    ends(&run(&["images", "list", &world.image("none")]), 66, &["NAME_UNKNOWN"]);
    ends(&run(&["images", "list", &image]), 64, &["names an image"]);
}

#[test]
fn what_cannot_be_pushed_says_so_with_a_code() {
    let world = World::new();
    layout(&world.path("work/out"), "one");
    layout(&world.path("work/other"), "two");
    let target = world.image("app:v1");
    let run = |arguments: &[&str]| world.landfall(arguments).output().unwrap();
    ends(&run(&["push", "--from", "out", &target]), 0, &[]);
    ends(
        &run(&["push", "--from", "other", "--immutable", &target]),
        73,
        &["LF-REGISTRY-TAG-IMMUTABLE", "nothing was sent"],
    );
    let damaged = world.path("work/other/blobs/sha256").join(hex::encode(Sha256::digest("two")));
    std::fs::write(damaged, "owt").unwrap();
    let fresh = world.image("app:v2");
    ends(&run(&["push", "--from", "other", &fresh]), 1, &["LF-REGISTRY-DIGEST", "it is damaged"]);
    assert_eq!(world.tag("app", "v2"), None);
    ends(&run(&["push", "--from", "./nothing", &target]), 66, &["./nothing: there is no such"]);
    ends(&run(&["push", "--from", "/etc", &target]), 64, &["LF-IMAGE-SOURCE", "no OCI layout"]);
    ends(&run(&["push", "--from", "out", "not a name"]), 64, &["is not an image reference"]);
    ends(&run(&["push", "--from", "out", "--tag", "-x", &target]), 64, &[]);
    ends(&run(&["push", &target]), 64, &["--from and a target belong together"]);
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let nobody = format!("127.0.0.1:{port}/app:v1");
    ends(&run(&["push", "--from", "out", &nobody]), 69, &["LF-REGISTRY-UNAVAILABLE", "again in"]);
}

#[test]
fn logins_are_those_of_docker_and_of_its_helpers_and_are_never_shown() {
    const PASSWORD: &str = "canary-5f3a";
    let file = tempfile::NamedTempFile::new().unwrap();
    // htpasswd -Bbn somebody canary-5f3a
    std::fs::write(file.path(), "somebody:$2b$04$64Hr9dq0fZYpgEUOOsy4S.Euy19GN6Pm/.HnfKmyqp./bb.zwaal2\n").unwrap();
    let world = World::with(&format!("auth:\n  htpasswd: {{realm: test, path: {}}}\n", file.path().display()));
    layout(&world.path("work/out"), "one");
    let target = world.image("app:v1");
    let push = |variables: &[(&str, &String)]| {
        let mut command = world.landfall(&["push", "--from", "out", &target]);
        let output = command.env("LANDFALL_LOG", "trace").envs(variables.iter().copied()).output().unwrap();
        let all = format!("{}{}", common::text(&output.stdout), common::text(&output.stderr));
        assert!(!all.contains("canary") && !all.contains("Y2FuYXJ5"), "{all}");
        output
    };
    ends(&push(&[]), 77, &["LF-REGISTRY-DENIED", ".docker/config.json"]);
    let helpers = world.path("helpers");
    std::fs::create_dir(&helpers).unwrap();
    let helper = helpers.join("docker-credential-lf");
    let script = format!(
        "#!/bin/sh\n[ \"$1\" = get ] && server=$(cat) && [ \"$server\" = 127.0.0.1:{} ] && echo '{{\"Username\":\"somebody\",\"Secret\":\"{PASSWORD}\"}}'\n",
        world.port
    );
    std::fs::write(&helper, script).unwrap();
    std::fs::set_permissions(&helper, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let docker = world.path("home/.docker");
    std::fs::create_dir(&docker).unwrap();
    std::fs::write(
        docker.join("config.json"),
        json!({"credHelpers": {format!("127.0.0.1:{}", world.port): "lf"}}).to_string(),
    )
    .unwrap();
    let path = format!("{}:{}", helpers.display(), std::env::var("PATH").unwrap());
    ends(&push(&[("PATH", &path)]), 0, &[]);
    let wrong =
        json!({"auths": {format!("127.0.0.1:{}", world.port): {"username": "somebody", "password": "wrong-canary"}}})
            .to_string();
    ends(&push(&[("DOCKER_AUTH_CONFIG", &wrong)]), 77, &["LF-REGISTRY-DENIED"]);
}

/// Whatever a build left in podman's store.
struct Sweep(Vec<String>);

impl Drop for Sweep {
    fn drop(&mut self) {
        let _ = Command::new("podman").args(["rmi", "--force"]).args(&self.0).output();
    }
}

#[test]
fn the_manifests_images_are_built_once_and_pushed_where_they_are_awaited() {
    if !have("podman") {
        eprintln!("no podman: nothing is built here");
        return;
    }
    let world = World::new();
    let project = format!("lfpush{}", std::process::id());
    let _sweep = Sweep(["base-app", "web-app"].map(|name| format!("localhost/{project}-{name}:latest")).to_vec());
    let write = |path: &str, text: &str| {
        let path = world.path("work").join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    let target = world.image("shop/{project}");
    let container = |name: &str, context: &str, tags: &str| {
        format!(
            "  {name}:\n    containers:\n      app:\n        await:\n          image: \"{target}-{name}:{{commit}}\"\n          \
             tags: [{tags}]\n          build: {{context: {context}, args: {{GREETING: hello}}}}\n"
        )
    };
    let manifest = format!(
        "project: {project}\nservices:\n{}{}",
        container("web", "web", "\"{branch}\", \"v-{tag}\""),
        container("base", "base", "")
    );
    write("landfall.yml", &manifest);
    write("base/Dockerfile", "FROM scratch\nCOPY greeting /greeting\n");
    write("base/greeting", "hello\n");
    write(
        "web/Dockerfile",
        &format!("FROM localhost/{project}-base-app\nARG GREETING\nLABEL greeting=$GREETING\nCOPY page /page\n"),
    );
    write("web/page", "one\n");
    write("web/notes.log", "left out\n");
    write("web/.dockerignore", "*.log\n");
    let work = world.path("work");
    git(&work, &["init", "-q", "-b", "feature/one"]);
    git(&work, &["add", "."]);
    git(&work, &["commit", "-qm", "one"]);
    let commit = git(&work, &["rev-parse", "HEAD"]);
    let run = |arguments: &[&str]| world.landfall(arguments).output().unwrap();

    ends(&run(&["push"]), 73, &["is not built", "landfall build"]);
    let built = ends(&run(&["build", "--builder", "podman"]), 0, &["✓ Build base/app", "✓ Build web/app"]);
    assert_eq!(built.lines().count(), 2, "{built}");
    let unchanged = run(&["build", "--builder", "podman"]);
    assert_eq!(ends(&unchanged, 0, &["web/app  unchanged", "base/app  unchanged"]), built);

    let pushed = ends(&run(&["push"]), 0, &["tag v-{tag} is left out", "Push web/app", "Push base/app"]);
    let web = format!("shop/{project}-web");
    let digest = world.tag(&web, &commit).expect("under its commit");
    assert!(
        built.contains(&digest) && pushed.contains(&digest),
        "the builder's digest is the registry's: {built} {pushed}"
    );
    assert_eq!(world.tag(&web, "feature-one"), Some(digest.clone()));
    let (_, _, body) = world.get(&format!("/v2/{web}/manifests/{commit}"));
    let manifest: Value = serde_json::from_str(&body).unwrap();
    let config = manifest["config"]["digest"].as_str().unwrap();
    let config: Value = serde_json::from_str(&world.get(&format!("/v2/{web}/blobs/{config}")).2).unwrap();
    let labels = &config["config"]["Labels"];
    assert_eq!((&labels["org.opencontainers.image.revision"], &labels["greeting"]), (&json!(commit), &json!("hello")));

    // Another machine: nothing in its state, and nothing to build, because the registry has it. The new commit gets its tag.
    std::fs::remove_dir_all(world.path("state")).unwrap();
    std::fs::write(work.join("web/notes.log"), "left out, and changed\n").unwrap();
    git(&work, &["commit", "-qam", "two"]);
    let second = git(&work, &["rev-parse", "HEAD"]);
    let again = ends(&run(&["build", "web", "--builder", "podman"]), 0, &["web/app  unchanged, in 127.0.0.1"]);
    assert_eq!(again.trim(), format!("web/app {digest}"));
    ends(&run(&["build", "--builder", "podman"]), 0, &["web/app  unchanged"]);
    ends(&run(&["push"]), 0, &["was there, tagged"]);
    assert_eq!(world.tag(&web, &second), Some(digest.clone()));

    // A base that changes changes what is based on it.
    std::fs::write(work.join("base/greeting"), "good day\n").unwrap();
    ends(&run(&["push"]), 73, &["has changed since it was"]);
    let third = ends(&run(&["build", "--builder", "podman"]), 0, &["✓ Build base/app", "✓ Build web/app"]);
    assert!(!third.contains(&digest), "{third}");

    std::fs::write(work.join("web/Dockerfile"), "FROM scratch\nCOPY nothing /here\n").unwrap();
    ends(&run(&["build", "--builder", "podman"]), 1, &["LF-IMAGE-BUILD-FAILED", "web/app", "build.log", "nothing"]);
    ends(&run(&["build", "worker"]), 66, &["no image called `worker`"]);
}

#[test]
fn an_image_of_the_engine_is_pushed_by_its_name() {
    if !have("podman") {
        eprintln!("no podman: there is no engine to take an image from");
        return;
    }
    let world = World::new();
    let name = format!("localhost/lfpush-engine-{}", std::process::id());
    let _sweep = Sweep(vec![format!("{name}:v1")]);
    std::fs::write(world.path("work/Dockerfile"), "FROM scratch\nCOPY Dockerfile /Dockerfile\n").unwrap();
    let podman = |arguments: &[&str]| {
        let output = Command::new("podman").args(arguments).current_dir(world.path("work")).output().unwrap();
        assert!(output.status.success(), "{}", common::text(&output.stderr));
    };
    podman(&["build", "--quiet", "--tag", &format!("{name}:v1"), "."]);
    podman(&["save", "--quiet", "--output", "docker.tar", &format!("{name}:v1")]);
    podman(&["save", "--quiet", "--format", "oci-archive", "--output", "oci.tar", &format!("{name}:v1")]);
    // Podman's own store, and not that of an engine that this machine may have besides.
    let run = |from: &str, target: &str| {
        let mut command = world.landfall(&["push", "--from", from, target]);
        command.env("HOME", std::env::var_os("HOME").unwrap_or_default());
        command.output().unwrap()
    };
    ends(&run("docker.tar", &world.image("app:docker")), 0, &["blobs sent"]);
    ends(&run("oci.tar", &world.image("app:oci")), 0, &["blobs sent"]);
    if std::env::var_os("DOCKER_HOST").is_none()
        && !Path::new("/run/podman/podman.sock").exists()
        && !Path::new("/var/run/docker.sock").exists()
    {
        ends(&run(&format!("{name}:v1"), &world.image("app:engine")), 0, &["was there, tagged"]);
        assert_eq!(world.tag("app", "engine"), world.tag("app", "docker"), "the same layers give the same image");
    }
    assert!(world.tag("app", "docker").is_some() && world.tag("app", "oci").is_some());
}
