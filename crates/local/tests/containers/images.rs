//! Builds from commits, and look-ups.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use landfall_local::docker::BuildOptions;
use landfall_local::engine::EngineKind;
use landfall_model::app::BuildSource;
use landfall_model::step::{AwaitImage, BuildImage};
use landfall_ports::images::{BuildState, Images};

use crate::support::{IMAGE, World, container, with_world};

fn git(dir: &Path, arguments: &[&str]) -> String {
    let output = Command::new("git").args(arguments).current_dir(dir).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

fn commit(dir: &Path, dockerfile: &str) -> String {
    std::fs::write(dir.join("Dockerfile"), dockerfile).unwrap();
    git(dir, &["add", "."]);
    git(dir, &["-c", "user.name=t", "-c", "user.email=t@t", "commit", "-q", "-m", "c"]);
    git(dir, &["rev-parse", "HEAD"])
}

fn request(world: &World, dir: &Path, commit: &str) -> BuildImage {
    BuildImage {
        source: dir.to_string_lossy().into_owned(),
        commit: commit.to_owned(),
        build: BuildSource {
            context: ".".to_owned(),
            dockerfile: "Dockerfile".to_owned(),
            args: [("WHAT".to_owned(), "built".to_owned())].into(),
            target: None,
            timeout: 300,
        },
        tag: format!("{}-app:{}", world.environment, &commit[..8]),
        tags: world.tags(),
    }
}

async fn finish(images: &dyn Images, key: &str) -> BuildState {
    let deadline = Instant::now() + Duration::from_secs(180);
    loop {
        match images.poll_build(key).await.unwrap() {
            BuildState::Queued | BuildState::Running { .. } => {}
            done => return done,
        }
        assert!(Instant::now() < deadline, "build {key} does not end");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[test]
fn builds_the_exact_commit_and_runs_it() {
    with_world(|mut world| async move {
        let dir = tempfile::tempdir().unwrap();
        git(dir.path(), &["init", "-q", "-b", "main", "."]);
        // A mount: of Docker's two builders only BuildKit takes it. Not from the cache of a run that was killed.
        let step = format!("RUN --mount=type=cache,target=/cache echo \"a step says $WHAT in {}\"", world.environment);
        let first = commit(dir.path(), &format!("FROM {IMAGE}\nARG WHAT\nENV WHAT=$WHAT VERSION=1\n{step}\n"));
        commit(dir.path(), &format!("FROM {IMAGE}\nENV WHAT=other\n"));
        let build = request(&world, dir.path(), &first);
        let images = world.platform.ports().images;
        assert_eq!(images.poll_build("k1").await.unwrap(), BuildState::Unknown);
        images.start_build("k1", &build).await.unwrap();
        let BuildState::Done { image, cached: false } = finish(&*images, "k1").await else { panic!("not built") };
        assert!(image.starts_with("sha256:") && image.len() == 71, "{image}");
        let log = std::fs::read_to_string(world.platform.build_log("k1")).unwrap();
        assert!(log.contains("a step says built") && log.contains("RUN --mount"), "{log}");

        let mut app = container("app", "echo $WHAT $VERSION");
        app.image = image.clone();
        let task = world.run(vec![app]).await;
        assert_eq!(world.stopped(&task).await.containers[0].exit_code, Some(0));
        let lines = landfall_ports::orchestrator::Orchestrator::task_log_tail(&world.platform, &task, 5).await.unwrap();
        assert_eq!(lines, ["app | built 1"]);

        // Also after a restart, the image answers for the build.
        world.restart().await;
        let again = world.platform.ports().images.start_build("k2", &build).await.unwrap();
        assert_eq!(again, BuildState::Done { image: image.clone(), cached: true });
        let wanted = AwaitImage { image: build.tag.clone(), label: None };
        assert_eq!(world.platform.ports().images.resolve(&wanted).await.unwrap(), Some(image.clone()));
        let label = Some(("org.opencontainers.image.revision".to_owned(), first.clone()));
        let name = build.tag.split(':').next().unwrap().to_owned();
        let by_label = AwaitImage { image: name, label };
        assert_eq!(world.platform.ports().images.resolve(&by_label).await.unwrap(), Some(image));
        let missing = AwaitImage { image: "localhost/landfall-never-built:1".to_owned(), label: None };
        assert_eq!(world.platform.ports().images.resolve(&missing).await.unwrap(), None);
        world
    });
}

#[test]
fn two_builds_of_one_commit_give_one_image() {
    with_world(|world| async move {
        let dir = tempfile::tempdir().unwrap();
        git(dir.path(), &["init", "-q", "-b", "main", "."]);
        let commit = commit(dir.path(), &format!("FROM {IMAGE}\nRUN cat /proc/sys/kernel/random/uuid > /id\n"));
        let build = request(&world, dir.path(), &commit);
        let images = world.platform.ports().images;
        let begun = [images.start_build("first", &build).await, images.start_build("second", &build).await];
        let mut built = Vec::new();
        for (key, begun) in ["first", "second"].into_iter().zip(begun) {
            let done = match begun.unwrap() {
                // The first was faster than the question.
                done @ BuildState::Done { .. } => done,
                _ => finish(&*images, key).await,
            };
            let BuildState::Done { image, cached } = done else { panic!("not built") };
            built.push((cached, image));
        }
        built.sort();
        let left = images.list_owned(Some(&world.environment)).await.unwrap().items;
        assert_eq!(left.len(), 1, "{left:?}");
        assert_eq!(built, [(false, left[0].id.clone()), (true, left[0].id.clone())]);
        world
    });
}

/// As where a server was killed in the middle of a build that its engine brings to an end, and the next server builds it again.
#[test]
fn what_a_killed_servers_build_leaves_goes_with_the_next() {
    with_world(|world| async move {
        // BuildKit keeps what a step made, and would be done before the other.
        if world.platform.engine().kind == EngineKind::Docker {
            return world;
        }
        let dir = tempfile::tempdir().unwrap();
        git(dir.path(), &["init", "-q", "-b", "main", "."]);
        let slow = commit(dir.path(), &format!("FROM {IMAGE}\nRUN sleep 15; cat /proc/sys/kernel/random/uuid > /id\n"));
        let build = request(&world, dir.path(), &slow);
        let images = world.platform.ports().images;
        let built = async |key: &str| match finish(&*images, key).await {
            BuildState::Done { image, cached: false } => image,
            other => panic!("{other:?}"),
        };
        images.start_build("before", &build).await.unwrap();
        let before = built("before").await;
        let owned = images.list_owned(Some(&world.environment)).await.unwrap().items.remove(0);
        assert_eq!(owned.id, before);
        images.delete_owned(&owned).await.unwrap();

        // With the labels of what is built now, and the name given to another one.
        images.start_build("now", &build).await.unwrap();
        for (text, labels) in [("killed", owned.tags), ("other", BTreeMap::new())] {
            let tag = format!("localhost/{}-killed:1", world.environment);
            let options = BuildOptions { tag, dockerfile: "Dockerfile".to_owned(), labels, ..BuildOptions::default() };
            let context = context(&format!("FROM {IMAGE}\nENV WHAT={text}\n"));
            world.docker().build(context.into(), &options, |_| ()).await.unwrap();
        }
        let now = built("now").await;
        world.docker().remove_image(&format!("localhost/{}-killed:1", world.environment)).await.unwrap();
        let left = images.list_owned(Some(&world.environment)).await.unwrap().items;
        assert_eq!(left.iter().map(|image| &image.id).collect::<Vec<_>>(), [&now], "{left:?}");
        world
    });
}

/// Of a build, with nothing but how it is done.
fn context(dockerfile: &str) -> Vec<u8> {
    let mut header = tar::Header::new_gnu();
    header.set_size(dockerfile.len() as u64);
    header.set_mode(0o644);
    let mut archive = tar::Builder::new(Vec::new());
    archive.append_data(&mut header, "Dockerfile", dockerfile.as_bytes()).unwrap();
    archive.into_inner().unwrap()
}

#[test]
fn a_failed_build_tells_why() {
    with_world(|world| async move {
        let dir = tempfile::tempdir().unwrap();
        git(dir.path(), &["init", "-q", "-b", "main", "."]);
        let broken = commit(dir.path(), &format!("FROM {IMAGE}\nCOPY missing.txt /x\n"));
        let images = world.platform.ports().images;
        images.start_build("bad", &request(&world, dir.path(), &broken)).await.unwrap();
        let BuildState::Failed { message, tail } = finish(&*images, "bad").await else { panic!("not failed") };
        assert!(message.contains("missing.txt"), "{message}");
        assert!(tail.iter().any(|line| line.contains("COPY missing.txt")), "{tail:?}");

        let unknown = request(&world, dir.path(), &"0".repeat(40));
        images.start_build("gone", &unknown).await.unwrap();
        let BuildState::Failed { message, .. } = finish(&*images, "gone").await else { panic!("not failed") };
        assert!(message.contains("is not in"), "{message}");
        world
    });
}

#[test]
fn no_more_builds_at_once_than_allowed() {
    with_world(|world| async move {
        let dir = tempfile::tempdir().unwrap();
        git(dir.path(), &["init", "-q", "-b", "main", "."]);
        let images = world.platform.ports().images;
        let mut keys = Vec::new();
        for n in 0..5 {
            // Not from the layer cache: a step of its own for each.
            let step =
                format!("FROM {IMAGE}\nENV N={}-{n}\nRUN [\"/bin/busybox\", \"sleep\", \"1\"]\n", world.environment);
            let build = request(&world, dir.path(), &commit(dir.path(), &step));
            let key = format!("build-{n}");
            images.start_build(&key, &build).await.unwrap();
            keys.push(key);
        }
        let (mut most, mut queued_beside) = (0, false);
        let deadline = Instant::now() + Duration::from_secs(120);
        loop {
            let mut states = Vec::new();
            for key in &keys {
                states.push(images.poll_build(key).await.unwrap());
            }
            let count = |wanted: fn(&BuildState) -> bool| states.iter().filter(|state| wanted(state)).count();
            let running = count(|state| matches!(state, BuildState::Running { .. }));
            assert!(running <= 2, "{states:?}");
            assert!(!states.iter().any(|state| matches!(state, BuildState::Failed { .. })), "{states:?}");
            most = most.max(running);
            queued_beside |= running == 2 && count(|state| matches!(state, BuildState::Queued)) > 0;
            if count(|state| matches!(state, BuildState::Done { .. })) == keys.len() {
                break;
            }
            assert!(Instant::now() < deadline, "{states:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert!(most == 2 && queued_beside, "as many as allowed, and the others waited: {most}");
        world
    });
}
