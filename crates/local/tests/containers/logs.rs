//! Log lines for readers that stand still, and over an engine whose files cannot be read.

use std::time::{Duration, Instant};

use landfall_ports::orchestrator::{LogStream, Orchestrator};

use crate::between::Between;
use crate::support::{World, container, with_world};

async fn next(lines: &mut Box<dyn LogStream>) -> (String, String) {
    let line = tokio::time::timeout(Duration::from_secs(90), lines.next()).await.expect("nothing comes").unwrap();
    (line.container, line.line)
}

fn of(container: &str, line: &str) -> (String, String) {
    (container.to_owned(), line.to_owned())
}

async fn member(world: &World, container: &str) -> String {
    let ending = format!("-{container}");
    world.containers().await.into_iter().find(|(name, _)| name.ends_with(&ending)).expect("no such container").0
}

async fn write(world: &World, member: &str, line: &str) {
    let script = format!("echo '{line}' > /proc/1/fd/1");
    let command = ["/bin/busybox", "sh", "-c", &script].map(str::to_owned);
    let done = world.docker().exec(member, &command, Duration::from_secs(20)).await.unwrap();
    assert_eq!(done.exit_code, Some(0), "{}", done.output);
}

#[test]
fn logs_are_told_over_the_engine_when_its_files_cannot_be_read() {
    with_world(|mut world| async move {
        let between = Between::start(world.docker().socket(), |_| Box::pin(async {}));
        world.options.engine.socket = Some(between.socket.clone());
        world.restart().await;
        let mut init = container("init", "echo i1; echo i2; echo i3");
        init.settings.essential = false;
        let app = container("app", "echo a1; echo a2; trap 'exit 0' TERM; while :; do /bin/busybox sleep 0.1; done");
        let task = world.run(vec![init, app]).await;
        world.until_task(&task, "running", |task| task.last_status == "RUNNING").await;
        let ended = member(&world, "init").await;
        let deadline = Instant::now() + Duration::from_secs(90);
        while !world.docker().inspect_container(&ended).await.unwrap().state.exited() {
            assert!(Instant::now() < deadline, "never ends");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }

        // Of the container that has ended, too, as much of what was as was asked for.
        let mut lines = Orchestrator::follow_logs(&world.platform, &world.environment, &[], 2).await.unwrap();
        let mut history = Vec::new();
        for _ in 0..4 {
            history.push(next(&mut lines).await);
        }
        history.sort();
        assert_eq!(history, [of("app", "a1"), of("app", "a2"), of("init", "i2"), of("init", "i3")]);

        // A stream that breaks is opened again, where it was.
        let app = member(&world, "app").await;
        for n in 3..6 {
            write(&world, &app, &format!("a{n}")).await;
            assert_eq!(next(&mut lines).await, of("app", &format!("a{n}")));
            assert!(between.cut_streams() > 0, "none of the container that runs");
            write(&world, &app, &format!("meanwhile {n}")).await;
            assert_eq!(next(&mut lines).await, of("app", &format!("meanwhile {n}")));
        }

        // What was told is not told again when the task stops.
        world.platform.stop_task(&task, "enough").await.unwrap();
        world.stopped(&task).await;
        let after = world.run(vec![container("app", "echo after")]).await;
        assert_eq!(next(&mut lines).await, of("app", "after"));
        world.stopped(&after).await;
        world.options.engine.socket = None;
        world.restart().await;
        world
    });
}

#[test]
fn a_reader_that_stands_still_misses_nothing() {
    with_world(|world| async move {
        const LINES: usize = 100_000;
        let script = format!(
            "/bin/busybox seq 1 {LINES}; /bin/busybox touch /done; trap 'exit 0' TERM; \
             while :; do /bin/busybox sleep 0.1; done"
        );
        let mut lines = Orchestrator::follow_logs(&world.platform, &world.environment, &[], 10).await.unwrap();
        let task = world.run(vec![container("app", &script)]).await;
        assert_eq!(next(&mut lines).await, of("app", "1"));
        let app = member(&world, "app").await;
        let written = ["/bin/busybox", "test", "-e", "/done"].map(str::to_owned);
        let deadline = Instant::now() + Duration::from_secs(60);
        while world.docker().exec(&app, &written, Duration::from_secs(20)).await.unwrap().exit_code != Some(0) {
            assert!(Instant::now() < deadline, "never written");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        // Its log, too, is removed from the disk.
        world.platform.stop_task(&task, "enough").await.unwrap();
        world.stopped(&task).await;
        for n in 2..=LINES {
            assert_eq!(next(&mut lines).await, of("app", &n.to_string()));
        }
        let after = world.run(vec![container("app", "echo after")]).await;
        assert_eq!(next(&mut lines).await, of("app", "after"), "nothing twice");
        world.stopped(&after).await;
        world
    });
}
