//! Crashes: of Landfall, of the engine, of a pause container.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use landfall_ports::orchestrator::Orchestrator;

use crate::between::Between;
use crate::support::{container, web, with_own_engine, with_world};

/// What the pause image is called while a test has taken its name away.
const KEPT_PAUSE: &str = "localhost/landfall-test-pause";

#[test]
fn a_new_process_adopts_running_tasks_without_restarting_them() {
    with_world(|mut world| async move {
        let definition =
            world.register(vec![web("x"), container("side", "while :; do /bin/busybox sleep 1; done")]).await;
        let request = world.web_service(&definition, 2).await;
        let deployment = world.put(&request).await;
        world.completed(&deployment).await;
        let before = world.containers().await;
        assert_eq!(before.len(), 6);
        world.restart().await;
        let service = world.until_service("running", |service| service.running == 2).await;
        assert_eq!(service.deployments[0].id, deployment);
        assert_eq!(world.put(&request).await, deployment);
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert_eq!(world.containers().await, before);
        // Adopted tasks are watched as before.
        let (_, id) = before.iter().find(|(name, _)| name.ends_with("-side")).unwrap();
        world.docker().kill_container(id).await.unwrap();
        world.until_service("failure seen", |service| service.deployments[0].failed_tasks == 1).await;
        world.until_service("replaced", |service| service.running == 2 && service.pending == 0).await;
        world
    });
}

#[test]
fn a_crash_at_any_moment_of_the_start_is_finished_by_the_next_process() {
    with_world(|mut world| async move {
        let definition =
            world.register(vec![web("x"), container("side", "while :; do /bin/busybox sleep 1; done")]).await;
        let request = world.web_service(&definition, 1).await;
        let deployment = world.put(&request).await;
        for wait in [5, 25, 60, 110, 170] {
            tokio::time::sleep(Duration::from_millis(wait)).await;
            world.restart().await;
        }
        world.completed(&deployment).await;
        let service = world.until_service("running", |service| service.running == 1).await;
        assert_eq!(service.deployments[0].failed_tasks, 0, "{service:#?}");
        assert_eq!(world.containers().await.len(), 3, "{:?}", world.containers().await);
        // And of the stop.
        world.platform.delete_service(&world.name()).await.unwrap();
        for wait in [5, 100, 300] {
            tokio::time::sleep(Duration::from_millis(wait)).await;
            world.restart().await;
        }
        let deadline = Instant::now() + Duration::from_secs(30);
        while world.platform.describe_service(&world.name()).await.unwrap().is_some() {
            assert!(Instant::now() < deadline, "never deleted");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        world
    });
}

#[test]
fn a_killed_pause_container_takes_the_whole_task_with_it() {
    with_world(|world| async move {
        let definition =
            world.register(vec![web("x"), container("side", "while :; do /bin/busybox sleep 1; done")]).await;
        let request = world.web_service(&definition, 1).await;
        let deployment = world.put(&request).await;
        world.completed(&deployment).await;
        let before = world.containers().await;
        // The shortest name is that of the pause container.
        let (_, pause) = before.iter().min_by_key(|(name, _)| name.len()).unwrap();
        world.docker().kill_container(pause).await.unwrap();
        let service = world.until_service("failure told", |service| !service.deployments[0].failures.is_empty()).await;
        let reason = service.deployments[0].failures[0].stopped_reason.clone().unwrap();
        assert!(reason.contains("pause container"), "{reason}");
        world.until_service("replaced", |service| service.running == 1 && service.pending == 0).await;
        let now = world.containers().await;
        assert_eq!(now.len(), 3);
        assert!(now.iter().all(|container| !before.contains(container)), "{now:?}");
        world
    });
}

#[test]
fn the_engine_may_go_and_come_back() {
    with_own_engine(|world| async move {
        if !world.platform.engine().is_ours() {
            return world;
        }
        let definition = world.register(vec![web("x")]).await;
        let request = world.web_service(&definition, 1).await;
        let deployment = world.put(&request).await;
        world.completed(&deployment).await;
        let before = world.containers().await;
        landfall_local::engine::stop_service(&world.options.state_dir.join("engine")).unwrap();
        // In the middle of a start, too: it is retried until the engine is back.
        world.platform.scale_service(&world.name(), 2).await.unwrap();
        let service = world.until_service("two", |service| service.running == 2).await;
        assert_eq!(service.deployments[0].failed_tasks, 0);
        let now = world.containers().await;
        assert!(before.iter().all(|container| now.contains(container)), "containers did not outlive the engine");
        world
    });
}

/// A machine that is too busy to answer for seconds. Killed, the engine would leave what it was removing half there.
#[test]
fn an_engine_that_is_slow_is_waited_for_and_not_ended() {
    with_own_engine(|world| async move {
        if !world.platform.engine().is_ours() {
            return world;
        }
        let service = || std::fs::read(world.options.state_dir.join("engine/service.json")).unwrap();
        let before = service();
        let pid = serde_json::from_slice::<serde_json::Value>(&before).unwrap()["pid"].to_string();
        let signal = |name: &str| assert!(Command::new("kill").args([name, &pid]).status().unwrap().success());
        signal("-STOP");
        let ((), ()) = tokio::join!(world.platform.engine().heal(), async {
            // A ping has three seconds, and there may be two of them.
            tokio::time::sleep(Duration::from_secs(10)).await;
            signal("-CONT");
        });
        assert_eq!(service(), before, "another one was started");
        world.docker().ping().await.unwrap();
        world
    });
}

#[test]
fn a_pruned_pause_image_is_made_anew() {
    with_world(|world| async move {
        let run = async |code: i64| {
            let id = world.run(vec![container("app", &format!("exit {code}"))]).await;
            let task = world.stopped(&id).await;
            assert_eq!(task.containers[0].exit_code, Some(code), "{task:?}");
        };
        run(0).await;
        let (repository, tag) =
            ("localhost/landfall-pause", if cfg!(target_arch = "aarch64") { "1-arm64" } else { "1-amd64" });
        // Under a second name the image stays for tasks of other tests that run on it now; what goes is the name.
        world.docker().tag_image(&format!("{repository}:{tag}"), KEPT_PAUSE, tag).await.unwrap();
        world.docker().remove_image(&format!("{repository}:{tag}")).await.unwrap();
        run(7).await;
        // While another test uses it, it stays; the next run takes the same name.
        let _ = world.docker().remove_image(&format!("{KEPT_PAUSE}:{tag}")).await;
        world
    });
}

/// With the environment's last service goes its network, perhaps just now. Podman keeps it for a container that is only made;
/// Docker removes it, and says so when the container is started.
#[test]
fn a_network_that_goes_between_making_and_starting_is_made_anew() {
    with_world(|mut world| async move {
        let (docker, label) = (world.docker().clone(), format!("landfall.instance={}", world.options.instance));
        let done = Arc::new(AtomicBool::new(false));
        let between = Between::start(world.docker().socket(), move |head: &str| {
            let starts = head.starts_with("POST") && head.lines().next().is_some_and(|line| line.contains("/start "));
            let (docker, label) = (docker.clone(), label.clone());
            let first = starts && !done.swap(true, Ordering::Relaxed);
            Box::pin(async move {
                if first {
                    for network in docker.list_networks(&[label]).await.unwrap() {
                        // Podman refuses.
                        let _ = docker.remove_network(&network.id).await;
                    }
                }
            })
        });
        world.options.engine.socket = Some(between.socket.clone());
        world.restart().await;
        let task = world.run(vec![container("app", "exit 7"), container("side", "exit 0")]).await;
        let stopped = world.stopped(&task).await;
        assert_eq!(stopped.containers[0].exit_code, Some(7), "{stopped:#?}");
        world.options.engine.socket = None;
        world.restart().await;
        world
    });
}
