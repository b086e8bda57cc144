//! Log lines for readers that stand still, and over an engine whose files cannot be read.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use landfall_ports::orchestrator::{LogStream, Orchestrator};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinSet;

use crate::support::{World, container, with_world};

/// Between the platform and its engine: files of logs seem to be where nobody can read them, and streams of logs can be cut.
struct Between {
    socket: PathBuf,
    streams: Arc<Mutex<JoinSet<()>>>,
    _directory: TempDir,
}

impl Between {
    fn start(engine: &Path) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("engine.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let streams: Arc<Mutex<JoinSet<()>>> = Arc::default();
        let (engine, cut) = (engine.to_owned(), Arc::clone(&streams));
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let (engine, cut) = (engine.clone(), Arc::clone(&cut));
                tokio::spawn(async move {
                    let mut head = vec![0; 64 * 1024];
                    let count = client.read(&mut head).await.unwrap_or(0);
                    head.truncate(count);
                    let of_logs = String::from_utf8_lossy(&head).contains("/logs?");
                    let carried = carry(client, head, engine);
                    if of_logs {
                        cut.lock().unwrap().spawn(carried);
                    } else {
                        carried.await;
                    }
                });
            }
        });
        Self { socket, streams, _directory: directory }
    }

    /// How many streams that were.
    fn cut_streams(&self) -> usize {
        let mut streams = self.streams.lock().unwrap();
        while streams.try_join_next().is_some() {}
        let open = streams.len();
        streams.abort_all();
        open
    }
}

async fn carry(client: UnixStream, head: Vec<u8>, engine: PathBuf) {
    const THERE: &[u8] = b"\"LogPath\":\"/";
    let Ok(mut engine) = UnixStream::connect(engine).await else { return };
    if engine.write_all(&head).await.is_err() {
        return;
    }
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_engine, mut to_engine) = engine.into_split();
    let back = async {
        let mut waiting = Vec::new();
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(count @ 1..) = from_engine.read(&mut buffer).await {
            waiting.extend_from_slice(&buffer[..count]);
            while let Some(at) = waiting.windows(THERE.len()).position(|window| window == THERE) {
                waiting[at + THERE.len() - 1] = b'!';
            }
            // What may be the beginning of it waits for the rest.
            let held = (0..THERE.len()).rev().find(|n| waiting.ends_with(&THERE[..*n])).unwrap_or(0);
            let told: Vec<u8> = waiting.drain(..waiting.len() - held).collect();
            if to_client.write_all(&told).await.is_err() {
                return;
            }
        }
        let _ = to_client.write_all(&waiting).await;
    };
    tokio::select! {
        () = back => {}
        _ = copy(&mut from_client, &mut to_engine) => {}
    }
}

async fn next(lines: &mut Box<dyn LogStream>) -> (String, String) {
    let line = tokio::time::timeout(Duration::from_secs(20), lines.next()).await.expect("nothing comes").unwrap();
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
        let between = Between::start(world.docker().socket());
        world.options.engine.socket = Some(between.socket.clone());
        world.restart().await;
        let mut init = container("init", "echo i1; echo i2; echo i3");
        init.settings.essential = false;
        let app = container("app", "echo a1; echo a2; trap 'exit 0' TERM; while :; do /bin/busybox sleep 0.1; done");
        let task = world.run(vec![init, app]).await;
        world.until_task(&task, "running", |task| task.last_status == "RUNNING").await;
        let ended = member(&world, "init").await;
        let deadline = Instant::now() + Duration::from_secs(20);
        while !world.docker().inspect_container(&ended).await.unwrap().state.exited() {
            assert!(Instant::now() < deadline, "never ends");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }

        // Of the container that has ended, too, as much of what was as was asked for.
        let mut lines = Orchestrator::follow_logs(&world.platform, &world.environment, 2).await.unwrap();
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
        let mut lines = Orchestrator::follow_logs(&world.platform, &world.environment, 10).await.unwrap();
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
