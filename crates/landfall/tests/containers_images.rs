//! Images that Podman and Docker really build, on their way into a registry: `landfall build`, `push`, and a job of `landfall ci` that does it all.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

mod common;

use std::path::Path;
use std::process::Command;

use common::fake::FakeAws;
use common::registry::{World, layout};
use common::{ends, fake, git, text};
use landfall_testkit::registry::Registry;
use serde_json::{Value, json};

/// What builds here: Podman, or on a daemon of its own (`scripts/dockerd`) Docker.
fn builder() -> &'static str {
    if std::env::var_os("DOCKER_HOST").is_some() { "docker" } else { "podman" }
}

/// Whatever a build left in the builder's store.
struct Sweep(Vec<String>);

impl Drop for Sweep {
    fn drop(&mut self) {
        let _ = Command::new(builder()).arg("rmi").args(&self.0).output();
    }
}

#[test]
fn the_manifests_images_are_built_once_and_pushed_where_they_are_awaited() {
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
    let text_of_manifest = manifest;
    write("landfall.yml", &text_of_manifest);
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
    let built = ends(&run(&["build", "--builder", builder()]), 0, &["✓ Build base/app", "✓ Build web/app"]);
    assert_eq!(built.lines().count(), 2, "{built}");
    let unchanged = run(&["build", "--builder", builder()]);
    assert_eq!(ends(&unchanged, 0, &["web/app  unchanged", "base/app  unchanged"]), built);

    let web = format!("shop/{project}-web");
    ends(&run(&["push", "--tag", "feature/x"]), 64, &["\"feature/x\" is no tag"]);
    assert_eq!(world.tag(&web, &commit), None, "nothing is tagged by half");
    let pushed = ends(&run(&["push"]), 0, &["tag v-{tag} is left out", "Push web/app", "Push base/app"]);
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
    let again = ends(&run(&["build", "web", "--builder", builder()]), 0, &["web/app  unchanged, in 127.0.0.1"]);
    assert_eq!(again.trim(), format!("web/app {digest}"));
    ends(&run(&["build", "--builder", builder()]), 0, &["web/app  unchanged"]);
    ends(&run(&["push"]), 0, &["was there, tagged"]);
    assert_eq!(world.tag(&web, &second), Some(digest.clone()));
    let told = |commit: &str| world.landfall(&["push"]).env("LANDFALL_COMMIT", commit).output().unwrap();
    ends(&told(&commit), 73, &[&format!("{second} is checked out"), &format!("git checkout {commit}")]);
    git(&work, &["commit", "--allow-empty", "-qm", "the same files"]);
    ends(&told(&second), 0, &["Push web/app", "was there"]);

    // What is known of an image in a registry holds as long as that registry has it, and for no other.
    write("landfall.yml", &text_of_manifest.replace("/shop/", "/else/"));
    ends(&run(&["push"]), 73, &["web/app was found in", "landfall build"]);
    write("landfall.yml", &text_of_manifest);
    let tags = world.tag_file(&web, "x");
    for tag in std::fs::read_dir(tags.parent().unwrap()).unwrap().map(Result::unwrap) {
        if tag.file_name().to_string_lossy().starts_with("landfall-") {
            std::fs::remove_dir_all(tag.path()).unwrap();
        }
    }
    ends(&run(&["build", "web", "--builder", builder()]), 0, &["✓ Build web/app"]);

    // In one command; what cannot be pushed is told before anything is built.
    ends(&run(&["build", "--tag", "x"]), 64, &["needs --push"]);
    std::fs::write(work.join("web/page"), "two\n").unwrap();
    let both = ["build", "web", "--push", "--builder", builder(), "--tag"];
    let illegal = ends(&run(&[&both[..], &["feature/x"]].concat()), 64, &["web/app: \"feature/x\" is no tag"]);
    assert_eq!(illegal, "");
    ends(&run(&["push"]), 73, &["has changed since it was"]);
    let pushed = ends(&run(&[&both[..], &["two"]].concat()), 0, &["✓ Build web/app", "✓ Push web/app"]);
    let two = world.tag(&web, "two").expect("under the tag that was told");
    assert!(pushed.trim().ends_with(&two) && pushed.lines().count() == 1 && two != digest, "{pushed}");
    let same = ends(&run(&[&both[..], &["again"]].concat()), 0, &["web/app  unchanged", "✓ Push web/app"]);
    assert_eq!((same, world.tag(&web, "again")), (pushed, Some(two)));

    // Files that change while their image is built: nobody knows which of them it has.
    std::fs::write(work.join("web/page"), "three\n").unwrap();
    let wrapped = world.path("bin").join(builder());
    std::fs::create_dir_all(wrapped.parent().unwrap()).unwrap();
    let path = std::env::var("PATH").unwrap();
    let script =
        format!("#!/bin/sh\ndate >> '{}'\nPATH='{path}' exec {} \"$@\"\n", work.join("web/page").display(), builder());
    std::fs::write(&wrapped, script).unwrap();
    std::fs::set_permissions(&wrapped, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let moving = format!("{}:{path}", wrapped.parent().unwrap().display());
    let output = world.landfall(&[&both[..], &["three"]].concat()).env("PATH", moving).output().unwrap();
    ends(&output, 73, &["web/app has changed while it was built"]);
    assert_eq!(world.tag(&web, "three"), None);

    // A base that changes changes what is based on it.
    std::fs::write(work.join("base/greeting"), "good day\n").unwrap();
    ends(&run(&["push"]), 73, &["has changed since it was"]);
    let all = ["build", "--push", "--builder", builder(), "--output", "json", "--tag", "third"];
    let third = ends(&run(&all), 0, &["✓ Build base/app", "✓ Build web/app", "✓ Push base/app", "✓ Push web/app"]);
    let third: Value = serde_json::from_str(&third).unwrap();
    assert_eq!(third.as_array().map(Vec::len), Some(2), "{third}");
    for one in third.as_array().unwrap() {
        let repository = format!("shop/{project}-{}", one["name"].as_str().unwrap().trim_end_matches("/app"));
        let tag = world.tag(&repository, "third").expect("under the tag that was told");
        assert!(one["image"].as_str().unwrap().ends_with(&tag) && tag != digest, "{one}");
    }

    std::fs::write(work.join("web/Dockerfile"), "FROM scratch\nCOPY nothing /here\n").unwrap();
    ends(&run(&["build", "--builder", builder()]), 1, &["LF-IMAGE-BUILD-FAILED", "web/app", "build.log", "nothing"]);
    ends(&run(&["build", "worker"]), 66, &["no image called `worker`"]);
}

#[test]
fn arguments_targets_and_secrets_reach_the_builder() {
    a_dockerfile_gets_what_it_asks_for(builder());
}

#[test]
fn arguments_targets_and_secrets_reach_buildah() {
    // It has Podman's store, and Docker's daemon nothing to do with either.
    if builder() == "podman" {
        a_dockerfile_gets_what_it_asks_for("buildah");
    }
}

/// What a Dockerfile asks of whatever builds it, two side by side; the secret is in no layer.
fn a_dockerfile_gets_what_it_asks_for(builder: &str) {
    let world = World::new();
    let project = format!("lfargs-{builder}-{}", std::process::id());
    let names = ["one", "two"];
    let _sweep = Sweep(names.map(|name| format!("localhost/{project}-{name}-app:latest")).to_vec());
    let work = world.path("work");
    let busybox = ["/bin/busybox", "/usr/bin/busybox"].into_iter().find(|path| Path::new(path).exists()).unwrap();
    let dockerfile = r#"FROM scratch AS tools
COPY busybox /bin/busybox
ARG GREETING
RUN --mount=type=secret,id=npm ["/bin/busybox", "sh", "-c", "/bin/busybox wc -c < /run/secrets/npm > /size; echo $GREETING > /greeting"]
FROM scratch AS prod
ARG GREETING
LABEL greeting=$GREETING
COPY --from=tools /size /greeting /
COPY page /page
FROM scratch AS debug
COPY --from=tools /bin/busybox /debug
"#;
    let mut manifest = format!("project: {project}\nservices:\n");
    for name in names {
        let build = format!("{{ context: {name}, target: prod, args: {{ GREETING: \"hello, {name}\" }} }}");
        manifest.push_str(&format!("  {name}: {{ containers: {{ app: {{ build: {build} }} }} }}\n"));
        std::fs::create_dir(work.join(name)).unwrap();
        std::fs::copy(busybox, work.join(name).join("busybox")).unwrap();
        std::fs::write(work.join(name).join("Dockerfile"), dockerfile).unwrap();
        std::fs::write(work.join(name).join("page"), "1").unwrap();
    }
    std::fs::write(work.join("landfall.yml"), manifest).unwrap();
    std::fs::write(work.join(".npmrc"), "open sesame").unwrap();
    let build = |more: &[&str], environment: &[(&str, &str)]| {
        let all = [&["build", "--builder", builder, "--secret", "id=npm,src=.npmrc"], more].concat();
        world.landfall(&all).envs(environment.iter().copied()).output().unwrap()
    };
    let built = ends(&build(&[], &[]), 0, &["✓ Build one/app", "✓ Build two/app"]);
    for name in names {
        let blobs = world.path(&format!("state/images/{name}-app/layout/blobs/sha256"));
        let (mut holds, mut config) = (std::collections::BTreeMap::new(), Value::Null);
        for blob in std::fs::read_dir(blobs).unwrap() {
            let path = blob.unwrap().path();
            let listed = Command::new("tar").arg("-tf").arg(&path).output().unwrap();
            for file in text(&listed.stdout).lines().filter(|line| !line.ends_with('/')) {
                let content = Command::new("tar").args(["-xOf"]).arg(&path).arg(file).output().unwrap();
                holds.insert(file.trim_start_matches("./").to_owned(), text(&content.stdout));
            }
            let json: Value =
                std::fs::read(&path).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
            if json.get("rootfs").is_some() {
                config = json;
            }
        }
        let hello = format!("hello, {name}");
        let expected = [("greeting", format!("{hello}\n")), ("page", "1".to_owned()), ("size", "11\n".to_owned())];
        assert_eq!(holds, expected.map(|(name, content)| (name.to_owned(), content)).into());
        assert_eq!(config["config"]["Labels"]["greeting"], hello, "{config}");
        assert!(!config.to_string().contains("sesame"), "{config}");
        let record = std::fs::read_to_string(world.path(&format!("state/images/{name}-app/image.json"))).unwrap();
        let record: Value = serde_json::from_str(&record).unwrap();
        assert!(built.contains(&format!("{name}/app {}", record["digest"].as_str().unwrap())), "{built}");
    }

    // What did not change comes from the builder's cache.
    std::fs::write(work.join("one/page"), "2").unwrap();
    let again = ends(&build(&[], &[]), 0, &["✓ Build one/app", "two/app  unchanged"]);
    assert_ne!(again, built);
    let log = std::fs::read_to_string(world.path("state/images/one-app/build.log")).unwrap();
    let cached = if builder == "docker" { "CACHED" } else { "Using cache" };
    assert!(log.contains(cached), "{log}");

    if builder == "docker" {
        let refused = build(&["--fresh"], &[("DOCKER_BUILDKIT", "0")]);
        ends(&refused, 69, &["docker without BuildKit hands no secrets to a build", "docker-buildx"]);
        for name in names {
            std::fs::write(
                work.join(name).join("Dockerfile"),
                "FROM scratch\nCOPY page /page\nFROM scratch AS prod\nCOPY page /p\n",
            )
            .unwrap();
        }
        let mut plain = world.landfall(&["build", "--builder", "docker"]);
        ends(&plain.env("DOCKER_BUILDKIT", "0").output().unwrap(), 0, &["✓ Build one/app  docker without BuildKit"]);
    }
}

/// As `landfall ci init` has it: the state is in the checkout, which is the build context.
#[test]
fn a_state_directory_in_the_context_neither_changes_the_image_nor_is_in_it() {
    let world = World::new();
    let project = format!("lfstate{}", std::process::id());
    let _sweep = Sweep(vec![format!("localhost/{project}-web-app:latest")]);
    let work = world.path("work");
    let target = world.image("shop/inside");
    let container = format!("{{ await: {{ image: \"{target}:v1\", build: {{ context: . }} }} }}");
    let manifest = format!("project: {project}\nservices: {{ web: {{ containers: {{ app: {container} }} }} }}\n");
    std::fs::create_dir(work.join("bin")).unwrap();
    for (name, text) in
        [("landfall.yml", manifest.as_str()), ("Dockerfile", "FROM scratch\nCOPY . /app\n"), ("bin/page", "one")]
    {
        std::fs::write(work.join(name), text).unwrap();
    }
    let run = |arguments: &[&str]| {
        let mut command = world.landfall(arguments);
        command.env_remove("LANDFALL_STATE").env("XDG_STATE_HOME", work.join(".landfall"));
        command.output().unwrap()
    };
    let built = ends(&run(&["build", "--builder", "podman"]), 0, &["✓ Build web/app"]);
    assert_eq!(ends(&run(&["build"]), 0, &["web/app  unchanged"]), built);
    let pushed = ends(&run(&["push"]), 0, &["Push web/app"]);
    let digest = world.tag("shop/inside", "v1").unwrap();
    assert!(built.contains(&digest) && pushed.contains(&digest), "{built} {pushed}");

    let room = work.join(".landfall/landfall/images/web-app");
    assert!(!room.join("context").exists());
    let mut held = String::new();
    for blob in std::fs::read_dir(room.join("layout/blobs/sha256")).unwrap() {
        let listed = Command::new("tar").arg("-tf").arg(blob.unwrap().path()).output().unwrap();
        held.push_str(&text(&listed.stdout));
    }
    assert!(held.contains("app/bin/page") && held.contains("app/Dockerfile"), "{held}");
    assert!(!held.contains(".landfall"), "{held}");
}

/// A machine that has built nothing takes the steps of one that has, though its inputs differ and the image has to be built.
#[test]
fn steps_of_another_machine_come_from_the_registry() {
    let world = World::new();
    let project = format!("lfcache{}", std::process::id());
    let local = format!("localhost/{project}-web-app:latest");
    let cache = world.image("shop/cache");
    let forget = || {
        let _ = Command::new("podman").args(["rmi", "--force", &local]).output();
        let named =
            Command::new("podman").args(["images", "--quiet", "--filter"]).arg(format!("reference={cache}")).output();
        let ids = text(&named.unwrap().stdout);
        let _ = Command::new("podman").arg("rmi").args(ids.lines()).output();
    };
    let work = world.path("work");
    let container = "{ build: { context: . } }";
    let manifest = format!("project: {project}\nservices: {{ web: {{ containers: {{ app: {container} }} }} }}\n");
    for (name, text) in [
        ("landfall.yml", manifest.as_str()),
        ("Dockerfile", "FROM scratch\nCOPY slow /slow\nCOPY page /page\n"),
        ("slow", &project),
        ("page", "one"),
        (".dockerignore", "landfall.yml\n"),
    ] {
        std::fs::write(work.join(name), text).unwrap();
    }
    let build = |more: &[&str]| {
        let output = world.landfall(&[&["build", "--builder", "podman"], more].concat()).output().unwrap();
        ends(&output, 0, &["✓ Build web/app"]);
        std::fs::read_to_string(world.path("state/images/web-app/build.log")).unwrap()
    };
    build(&["--cache-to", &cache]);
    forget();
    std::fs::remove_dir_all(world.path("state")).unwrap();
    std::fs::write(work.join("page"), "two").unwrap();
    let log = build(&["--cache-from", &cache]);
    assert_eq!(log.matches("Cache pulled from remote").count(), 1, "{log}");
    forget();
    let tagged = world.landfall(&["build", "--cache-to", &format!("{cache}:v1")]).output().unwrap();
    ends(&tagged, 64, &["a cache is kept in a repository"]);
}

#[test]
fn an_image_of_the_engine_is_pushed_by_its_name() {
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
    // Somebody's directory of the same name is no image.
    std::fs::create_dir_all(world.path("work").join(&name)).unwrap();
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

/// The block of variables of `travis-ecs-deploy`, no manifest, and whatever engine is here.
#[test]
fn the_variables_of_the_travis_scripts_are_enough() {
    let (aws, registry) = (FakeAws::new(), Registry::start());
    let image = format!("lftravis{}", std::process::id());
    let _sweep = Sweep(vec![image.clone()]);
    aws.write("Dockerfile", "FROM scratch\nCOPY Dockerfile /Dockerfile\n");
    aws.write(".dockerignore", "state\n.local\n");
    let ask = |operation: &str, input: Value| aws.fake.call("ecs", operation, input).unwrap();
    let container = json!({"name": "web", "image": format!("{}:master", registry.image("simple-todo"))});
    ask("CreateCluster", json!({"clusterName": "todo"}));
    let definition = json!({"family": "todo", "networkMode": "awsvpc", "cpu": "256", "memory": "512",
        "requiresCompatibilities": ["FARGATE"], "executionRoleArn": "arn:aws:iam::123456789012:role/exec",
        "containerDefinitions": [container]});
    ask("RegisterTaskDefinition", definition);
    let network = json!({"awsvpcConfiguration": {"subnets": ["subnet-1"]}});
    ask(
        "CreateService",
        json!({"cluster": "todo", "serviceName": "todo", "taskDefinition": "todo", "desiredCount": 1,
            "launchType": "FARGATE", "networkConfiguration": network}),
    );
    let variables = [
        ("TRAVIS", "true"),
        ("TRAVIS_JOB_NUMBER", "4.1"),
        ("TRAVIS_PULL_REQUEST", "false"),
        ("TRAVIS_BRANCH", "master"),
        ("TRAVIS_COMMIT", "1a2b3c4d"),
        ("IMAGE_NAME", &*image),
        ("DEPLOY_BRANCHES", "master"),
        ("AWS_REGION", "us-east-1"),
        ("ECS_CLUSTER_MASTER", "todo"),
        ("ECS_SERVICE_MASTER", "todo"),
    ];
    let mut command = aws.landfall(&["shim", "travis-ecs-deploy"]);
    command
        .envs(variables)
        .env("REMOTE_IMAGE_URL", registry.image("simple-todo"))
        .env("AWS_ENDPOINT_URL", aws.fake.url())
        .env_remove("LANDFALL_ENGINE");
    ends(&command.output().unwrap(), 0, &["done in", "build, push, deploy"]);
    let found = ask("DescribeServices", json!({"cluster": "todo", "services": ["todo"]}));
    let made = ask("DescribeTaskDefinition", json!({"taskDefinition": found["services"][0]["taskDefinition"]}));
    let runs = made["taskDefinition"]["containerDefinitions"][0]["image"].as_str().unwrap().to_owned();
    let digest = std::fs::read_to_string(registry.tag_file("simple-todo", "master").join("current/link"))
        .expect("it is pushed under its branch");
    assert_eq!(runs, format!("{}@{digest}", registry.image("simple-todo")));
}

/// Master: built, pushed, deployed, asked. The tag: the same image, without a build. A killed job's second try repeats nothing.
#[test]
fn master_is_built_pushed_deployed_and_asked_and_a_tag_promotes_its_image() {
    let (aws, registry) = (FakeAws::new(), Registry::start());
    let project = format!("lfci{}", std::process::id());
    let _sweep = Sweep(vec![format!("localhost/{project}-web-app:latest")]);
    let repository = registry.image("shop");
    let verify =
        format!("verify: {{ url: \"http://127.0.0.1:{}/\", probes: {{ home: {{ body: ok }} }} }}", fake::visitor());
    let manifest = format!(
        "project: {project}\n{place}    execution_role: execution\nservices:\n  web:\n    cpu: 256\n    memory: 512\n    containers:\n      \
         app: {{ await: {{ image: \"{repository}:{{commit}}\", deadline: 5s, build: {{ context: . }} }} }}\nenvironments:\n  \
         dev: {{ on: cloud, {verify} }}\n  prod: {{ on: cloud, {verify} }}\nci:\n  rules:\n    \
         master: {{ branches: [master], steps: [{{ build: }}, {{ push: }}, {{ deploy: dev }}, {{ verify: dev }}] }}\n    \
         prod: {{ tags: [\"*-prod\"], steps: [{{ promote: prod }}, {{ verify: prod }}] }}\n",
        place = aws.place(),
    );
    aws.write("landfall.yml", &manifest);
    aws.write("Dockerfile", "FROM scratch\nCOPY page /page\n");
    aws.write("page", "one\n");
    aws.write(".gitignore", "state\n.local\n");
    aws.write(".dockerignore", "state\n.local\n");
    git(aws.path(), &["init", "-q", "-b", "master"]);
    git(aws.path(), &["add", "."]);
    git(aws.path(), &["commit", "-qm", "one"]);
    let commit = git(aws.path(), &["rev-parse", "HEAD"]);
    let run = |words: &[&str], refs: (&str, &str), commit: &str, code: i32| {
        let mut command = aws.landfall(words);
        command.envs([("GITLAB_CI", "true"), ("CI_PROJECT_PATH", "acme/shop"), ("CI_COMMIT_SHA", commit), refs]);
        let output = command.output().unwrap();
        ends(&output, code, &[]) + &text(&output.stderr)
    };
    let runs = |environment: &str| {
        let service = json!({"cluster": "main", "services": [format!("{project}-{environment}-web")]});
        let arn = aws.fake.call("ecs", "DescribeServices", service).unwrap()["services"][0]["taskDefinition"].clone();
        let found = aws.fake.call("ecs", "DescribeTaskDefinition", json!({"taskDefinition": arn})).unwrap();
        found["taskDefinition"]["containerDefinitions"][0]["image"].as_str().unwrap().to_owned()
    };
    let branch = ("CI_COMMIT_BRANCH", "master");
    let said = run(&["ci"], branch, &commit, 0);
    assert!(said.trim_end().ends_with("build, push, deploy dev, verify dev"), "{said}");
    let image = runs("dev");
    assert!(image.starts_with(&format!("{repository}@sha256:")), "{image}");
    assert!(said.contains(image.split_once('@').unwrap().1), "the digest is the push's: {said}");
    let again = run(&["ci", "resume"], branch, &commit, 0);
    assert!(
        again.contains("unchanged") && again.trim_end().ends_with("build, push, deploy dev, verify dev"),
        "{again}"
    );
    assert_eq!(runs("dev"), image);
    let shown = aws.landfall(&["release", "show", "--output", "json"]).output().unwrap();
    let shown: Value = serde_json::from_str(&ends(&shown, 0, &[])).unwrap();
    assert_eq!((&shown["commit"], &shown["branch"]), (&json!(commit), &json!("master")));
    assert_eq!(shown["services"]["web"]["containers"]["app"]["image"], json!(image));
    assert_eq!(
        (&shown["provenance"]["ci"]["host"], &shown["provenance"]["dirty"]),
        (&json!("GitLab CI"), &Value::Null)
    );

    // Somebody moves the commit's tag: what was released for it is what is promoted.
    layout(&aws.path().join("state/moved"), "moved");
    ends(
        &aws.landfall(&["push", "--from", "state/moved", &format!("{repository}:{commit}")]).output().unwrap(),
        0,
        &[],
    );
    let tagged = run(&["ci"], ("CI_COMMIT_TAG", "v1-prod"), &commit, 0);
    assert!(tagged.contains("release sha256:"), "{tagged}");
    assert!(tagged.trim_end().ends_with("promote prod, verify prod"), "{tagged}");
    assert_eq!(runs("prod"), image);

    // A commit that was never pushed has no image to promote: nothing is changed.
    let other = "b".repeat(40);
    let refused = run(&["ci"], ("CI_COMMIT_TAG", "v2-prod"), &other, 3);
    assert!(refused.contains("has no release") && refused.contains("not run: verify prod"), "{refused}");
    assert_eq!(runs("prod"), image);
}

/// The state directory is all of a disk of its own, of so many bytes until `$GROW` is run.
fn cramped(world: &World, size: &str, script: &str) -> std::process::Output {
    let mut command = Command::new("unshare");
    let mounted = format!("mount -t tmpfs -o size={size} none \"$LANDFALL_STATE\" && {script}");
    command.args(["--mount", "--propagation", "private", "sh", "-c", &mounted]);
    let known = world.landfall(&[]);
    command.current_dir(known.get_current_dir().unwrap()).stdin(std::process::Stdio::null());
    for (name, value) in known.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    std::fs::create_dir_all(world.path("state")).unwrap();
    command.env("LANDFALL", common::landfall()).env("GROW", "mount -o remount,size=64m none").output().unwrap()
}

#[test]
fn a_full_disk_is_named_and_leaves_nothing_half_built_or_half_tagged() {
    let world = World::new();
    let probe = cramped(&world, "1m", "true");
    if !probe.status.success() && std::env::var("LANDFALL_TESTS_WITHOUT_ENGINE").is_ok_and(|value| value == "1") {
        eprintln!("skipped: nothing can be mounted here: {}", text(&probe.stderr));
        return;
    }
    let project = format!("lffull{}", std::process::id());
    let name = format!("localhost/{project}-web-app:latest");
    let _sweep = Sweep(vec![name.clone()]);
    let work = world.path("work");
    let noise: Vec<u8> = {
        use std::io::Read as _;
        let mut noise = vec![0; 3 << 20];
        std::fs::File::open("/dev/urandom").unwrap().read_exact(&mut noise).unwrap();
        noise
    };
    std::fs::write(work.join("noise"), noise).unwrap();
    std::fs::write(work.join("Dockerfile"), "FROM scratch\nCOPY noise /noise\n").unwrap();
    let target = world.image("shop/web");
    let manifest = format!(
        "project: {project}\nservices:\n  web:\n    containers:\n      app: {{await: {{image: \"{target}:{{commit}}\", build: {{}}}}}}\n"
    );
    std::fs::write(work.join("landfall.yml"), manifest).unwrap();
    git(&work, &["init", "-q"]);
    git(&work, &["add", "."]);
    git(&work, &["commit", "-qm", "one"]);
    let commit = git(&work, &["rev-parse", "HEAD"]);
    let builder = builder();
    let script = format!(
        "\"$LANDFALL\" build --builder {builder}; echo \"build $?\"; \"$LANDFALL\" push; echo \"push $?\"; $GROW \"$LANDFALL_STATE\"; \
         \"$LANDFALL\" build --builder {builder}; echo \"again $?\"; \"$LANDFALL\" push; echo \"pushed $?\""
    );
    let output = cramped(&world, "1m", &script);
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    let codes: Vec<&str> = stdout.lines().filter(|line| !line.contains("sha256:")).collect();
    assert_eq!(codes, ["build 1", "push 73", "again 0", "pushed 0"], "{stderr}");
    let tries: Vec<&str> = stderr.split("web/app is not built").collect();
    assert!(tries[0].contains("no space left on device") && tries[0].contains("state/images/web-app"), "{stderr}");
    assert!(tries.len() == 2 && tries[1].contains("2 of 2 blobs sent"), "{stderr}");
    assert!(world.tag("shop/web", &commit).is_some());

    // Layers of an engine's archive are compressed before they are sent.
    let saved =
        Command::new(builder).args(["save", "--output", "noise.tar", &name]).current_dir(&work).output().unwrap();
    assert!(saved.status.success(), "{}", text(&saved.stderr));
    let push = format!("\"$LANDFALL\" push --from noise.tar {target}:full");
    ends(&cramped(&world, "1m", &push), 69, &["LF-IMAGE-DISK", "state/layers", "No space left on device"]);
    assert_eq!(world.tag("shop/web", "full"), None, "nothing is half tagged");
    ends(&cramped(&world, "64m", &push), 0, &["shop/web:full"]);
    assert!(world.tag("shop/web", "full").is_some());
}
