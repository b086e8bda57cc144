//! `landfall build` and `landfall push` against a real registry, as a person and a CI job call them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

mod common;

use std::net::TcpListener;
use std::process::Stdio;

use common::ends;
use common::registry::{World, layout};
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

/// Ctrl-C, a host of CI that cancels its job, a terminal that is closed.
#[test]
fn whoever_breaks_a_push_off_is_told_what_is_there() {
    let world = World::new();
    layout(&world.path("work/out"), "one");
    for name in ["INT", "TERM", "HUP"] {
        // It answers nothing.
        let registry = TcpListener::bind("127.0.0.1:0").unwrap();
        let target = format!("{}/app:v1", registry.local_addr().unwrap());
        let mut command = world.landfall(&["push", "--from", "out", &target]);
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let _asked = registry.accept().unwrap();
        common::signal(child.id(), name);
        ends(
            &child.wait_with_output().unwrap(),
            130,
            &["nothing was tagged; what has arrived is found by the next push"],
        );
    }
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
