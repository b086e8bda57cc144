//! One-off tasks: namespaces, dependencies, exits, stops.

use std::time::{Duration, Instant};

use landfall_local::LocalSecrets;
use landfall_model::task::{Dependency, DependencyCondition, HealthCheck, SecretRef};
use landfall_ports::orchestrator::Orchestrator;
use landfall_ports::secrets::{SecretStore as _, SecretValue};

use crate::support::{container, web, with_world};

fn after(container: &str, condition: DependencyCondition) -> Vec<Dependency> {
    vec![Dependency { container: container.to_owned(), condition }]
}

#[test]
fn members_share_localhost_and_the_exit_code_and_log_outlive_the_container() {
    with_world(|world| async move {
        let mut server = web("hello");
        server.name = "server".to_owned();
        let script = "for i in 1 2 3 4 5 6 7 8 9 10; do /bin/busybox wget -qO- http://127.0.0.1:8080/ && exit 7; \
                      /bin/busybox usleep 200000; done; exit 1";
        let mut client = container("client", script);
        client.settings.depends_on = after("server", DependencyCondition::Start);
        let task = world.run(vec![server, client]).await;
        let stopped = world.stopped(&task).await;
        assert_eq!(stopped.stopped_reason.as_deref(), Some("Essential container in task exited"));
        assert_eq!(stopped.stop_code.as_deref(), Some("EssentialContainerExited"));
        let client = stopped.containers.iter().find(|container| container.name == "client").unwrap();
        assert_eq!(client.exit_code, Some(7));
        assert_eq!(client.tail, ["hello"]);
        assert_eq!(world.containers().await, []);
        assert_eq!(world.platform.task_log_tail(&task, 10).await.unwrap(), ["client | hello"]);
        world
    });
}

#[test]
fn dependencies_order_the_start() {
    with_world(|world| async move {
        let mut init = container("init", "/bin/busybox usleep 300000; echo done > /dev/null; exit 0");
        init.settings.essential = false;
        let mut base = web("x");
        base.name = "base".to_owned();
        base.settings.depends_on = after("init", DependencyCondition::Success);
        base.settings.health_check = Some(HealthCheck {
            command: vec![
                "CMD-SHELL".to_owned(),
                "/bin/busybox wget -qO- http://127.0.0.1:8080/ >/dev/null".to_owned(),
            ],
            interval: 5,
            timeout: 3,
            retries: 3,
            start_period: 0,
        });
        let mut last = container("last", "/bin/busybox wget -qO- http://127.0.0.1:8080/");
        last.settings.depends_on = after("base", DependencyCondition::Healthy);
        let task = world.run(vec![last, base, init]).await;
        // Without the order `last` finds no server and exits with 1.
        let stopped = world.stopped(&task).await;
        let codes: Vec<_> = stopped.containers.iter().map(|c| (c.name.as_str(), c.exit_code)).collect();
        assert_eq!(codes, [("last", Some(0)), ("base", Some(0)), ("init", Some(0))], "{stopped:#?}");
        world
    });
}

#[test]
fn a_failed_dependency_fails_the_task() {
    with_world(|world| async move {
        let mut init = container("init", "echo no good; exit 3");
        init.settings.essential = false;
        let mut app = web("x");
        app.settings.depends_on = after("init", DependencyCondition::Success);
        let task = world.run(vec![app, init]).await;
        let stopped = world.stopped(&task).await;
        assert_eq!(stopped.stop_code.as_deref(), Some("TaskFailedToStart"));
        assert!(stopped.stopped_reason.unwrap().contains("init, which exited with code 3"));
        assert_eq!(stopped.containers[1].tail, ["no good"]);
        world
    });
}

#[test]
fn sigterm_then_sigkill_after_the_stop_timeout() {
    with_world(|world| async move {
        let mut polite =
            container("polite", "trap 'exit 42' TERM; echo set; while :; do /bin/busybox usleep 50000; done");
        polite.settings.stop_timeout = 20;
        let stubborn = container("stubborn", "trap '' TERM; echo set; while :; do /bin/busybox usleep 50000; done");
        let task = world.run(vec![polite, stubborn]).await;
        world.until_task(&task, "running", |task| task.last_status == "RUNNING").await;
        // A trap is set a moment after the start.
        let deadline = Instant::now() + Duration::from_secs(60);
        while world.platform.task_log_tail(&task, 5).await.unwrap().len() < 2 {
            assert!(Instant::now() < deadline, "no traps");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let before = Instant::now();
        world.platform.stop_task(&task, "enough").await.unwrap();
        let stopped = world.stopped(&task).await;
        let codes: Vec<_> = stopped.containers.iter().map(|c| c.exit_code).collect();
        assert_eq!(codes, [Some(42), Some(137)]);
        assert_eq!(
            (stopped.stopped_reason.as_deref(), stopped.stop_code.as_deref()),
            (Some("enough"), Some("UserInitiated"))
        );
        assert!(before.elapsed() >= Duration::from_secs(2), "killed before its time");
        world
    });
}

#[test]
fn refusals_in_ecs_words() {
    with_world(|world| async move {
        let mut missing = container("app", "true");
        missing.image = "localhost/landfall-no-such-image:1".to_owned();
        let task = world.run(vec![missing]).await;
        let reason = world.stopped(&task).await.stopped_reason.unwrap();
        assert!(reason.starts_with("CannotPullContainerError: localhost/landfall-no-such-image:1"), "{reason}");

        let mut bad = container("app", "true");
        bad.settings.command = vec!["/no/such/program".to_owned()];
        let task = world.run(vec![bad]).await;
        let stopped = world.stopped(&task).await;
        let reason = stopped.stopped_reason.unwrap();
        assert!(reason.starts_with("CannotStartContainerError: app: "), "{reason}");
        assert_eq!(stopped.stop_code.as_deref(), Some("TaskFailedToStart"));

        let mut secret = container("app", "true");
        secret.settings.secrets.insert("KEY".to_owned(), SecretRef::File("/no/such/secret".to_owned()));
        let task = world.run(vec![secret]).await;
        let reason = world.stopped(&task).await.stopped_reason.unwrap();
        assert!(reason.contains("secret KEY") && reason.contains("/no/such/secret"), "{reason}");
        world
    });
}

#[test]
fn secrets_reach_the_container_and_nothing_else() {
    with_world(|world| async move {
        let file = world.options.state_dir.join("the-secret");
        std::fs::write(&file, "hush-4711\n").unwrap();
        // As `landfall secrets set` leaves them: by the references that mean SSM and Secrets Manager on AWS.
        let kept = LocalSecrets::new(&world.options.state_dir);
        let manager = SecretRef::SecretsManager("shop:key".to_owned());
        for (reference, value) in
            [(&manager, "kept-4712"), (&SecretRef::Ssm("/shop/all/api-key".to_owned()), "kept-4713")]
        {
            kept.write(reference, &SecretValue::new(value)).await.unwrap();
        }
        let mut app =
            container("app", "case $KEY$MANAGER$API_KEY in hush-47*1kept-47*2kept-47*3) exit 5;; esac; exit 1");
        app.settings.secrets.insert("KEY".to_owned(), SecretRef::File(file.to_string_lossy().into_owned()));
        app.settings.secrets.insert("MANAGER".to_owned(), manager);
        app.settings.secret_paths = vec!["/shop/all".to_owned()];
        let task = world.run(vec![app]).await;
        assert_eq!(world.stopped(&task).await.containers[0].exit_code, Some(5));
        let found = std::process::Command::new("grep")
            .args(["-r", "-l", "hush-4711"])
            .arg(&world.options.state_dir)
            .output()
            .unwrap();
        assert_eq!(String::from_utf8_lossy(&found.stdout).trim(), file.to_string_lossy());
        let found = std::process::Command::new("grep")
            .args(["-r", "-l", "kept-471"])
            .arg(&world.options.state_dir)
            .output()
            .unwrap();
        let store = world.options.state_dir.join("local/secrets.json");
        assert_eq!(String::from_utf8_lossy(&found.stdout).trim(), store.to_string_lossy());
        world
    });
}

#[test]
fn a_token_runs_once() {
    with_world(|world| async move {
        let first = world.run(vec![container("app", "echo ran; exit 0")]).await;
        let second = world.run(vec![container("app", "echo ran; exit 0")]).await;
        assert_eq!(first, second);
        world.stopped(&first).await;
        let third = world.run(vec![container("app", "echo ran; exit 0")]).await;
        assert_eq!(first, third);
        assert_eq!(world.platform.task_log_tail(&first, 10).await.unwrap(), ["app | ran"]);
        world
    });
}

#[test]
fn a_command_that_takes_too_long_is_ended_in_its_container() {
    with_world(|world| async move {
        let task = world.run(vec![container("app", "while :; do /bin/busybox sleep 1; done")]).await;
        world.until_task(&task, "running", |task| task.last_status == "RUNNING").await;
        let (member, _) = world.containers().await.into_iter().find(|(name, _)| name.ends_with("-app")).unwrap();
        let command = ["/bin/busybox", "sleep", "4812"].map(str::to_owned);
        let outcome = world.docker().exec(&member, &command, Duration::from_millis(500)).await.unwrap();
        assert_eq!(outcome.exit_code, None);
        let deadline = Instant::now() + Duration::from_secs(10);
        let sleeping = || {
            std::fs::read_dir("/proc").unwrap().flatten().any(|entry| {
                std::fs::read(entry.path().join("cmdline")).is_ok_and(|line| line.ends_with(b"sleep\x004812\0"))
            })
        };
        while sleeping() {
            assert!(Instant::now() < deadline, "it still runs");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert_eq!(world.task(&task).await.last_status, "RUNNING", "the container goes on");
        world
    });
}
