//! Services: coming up, updates, the circuit breaker, health, deletion.

use std::time::{Duration, Instant};

use landfall_model::inventory::TAG_ENVIRONMENT;
use landfall_model::task::HealthCheck;
use landfall_ports::PortError;
use landfall_ports::load_balancer::TargetState;
use landfall_ports::orchestrator::{LogStream, Orchestrator, RolloutState, ServiceSettings};

use crate::support::{container, of, web, with_world};

#[test]
fn an_update_never_has_fewer_healthy_targets_than_the_minimum() {
    with_world(|world| async move {
        let first = world.register(vec![web("one")]).await;
        let request = world.web_service(&first, 2).await;
        let began = Instant::now();
        let deployment = world.put(&request).await;
        world.completed(&deployment).await;
        eprintln!("two tasks healthy after {:?}", began.elapsed());
        assert_eq!(world.put(&request).await, deployment, "the same request is no new deployment");

        let group = request.target.clone().unwrap().target_group;
        let (balancer, watched) = (world.platform.ports().load_balancer, group.clone());
        let watch = tokio::spawn(async move {
            let mut least = usize::MAX;
            loop {
                let health = balancer.target_health(&watched).await.unwrap();
                least = least.min(health.iter().filter(|target| target.state == TargetState::Healthy).count());
                if health.iter().all(|target| target.state == TargetState::Draining) && !health.is_empty() {
                    return least;
                }
                if least < 2 {
                    return least;
                }
                tokio::time::sleep(Duration::from_millis(3)).await;
            }
        });
        let second = world.register(vec![web("two")]).await;
        assert_ne!(first, second);
        let mut update = request.clone();
        update.task_definition = second.clone();
        let outcome = world.platform.put_service(&update).await.unwrap();
        let service = world.completed(&outcome.deployment).await;
        assert_eq!((service.running, service.task_definition), (2, second));
        assert!(!watch.is_finished(), "fewer than two healthy targets during the update");
        watch.abort();
        world
    });
}

#[test]
fn a_bad_update_is_rolled_back_and_the_old_one_keeps_serving() {
    with_world(|world| async move {
        let good = world.register(vec![web("good")]).await;
        let request = world.web_service(&good, 1).await;
        let first = world.put(&request).await;
        world.completed(&first).await;
        let before = world.containers().await;
        let bad = world.register(vec![container("app", "echo cannot find database; exit 3")]).await;
        let mut update = request.clone();
        update.task_definition = bad;
        let deployment = world.put(&update).await;
        let service = world
            .until_service("rolled back", |service| of(service, &deployment).rollout == RolloutState::RolledBack)
            .await;
        let failed = of(&service, &deployment);
        assert_eq!(failed.failed_tasks, 3);
        let cause = &failed.failures[0];
        assert_eq!(cause.stopped_reason.as_deref(), Some("Essential container in task exited"));
        assert_eq!(
            (cause.containers[0].exit_code, cause.containers[0].tail.clone()),
            (Some(3), vec!["cannot find database".to_owned()])
        );
        assert_eq!(service.task_definition, good);
        assert_eq!(world.containers().await, before, "the good task was never touched");
        world
    });
}

#[test]
fn without_a_former_deployment_it_fails() {
    with_world(|world| async move {
        let bad = world.register(vec![container("app", "exit 1")]).await;
        let deployment = world.put(&world.service(&bad, 1)).await;
        let service =
            world.until_service("failed", |service| of(service, &deployment).rollout == RolloutState::Failed).await;
        assert!(of(&service, &deployment).reason.as_ref().unwrap().contains("circuit breaker"));
        world
    });
}

#[test]
fn a_health_check_that_never_passes_replaces_tasks_until_the_breaker_trips() {
    with_world(|world| async move {
        let mut sick = web("x");
        sick.settings.health_check = Some(HealthCheck {
            command: vec!["CMD".to_owned(), "/bin/busybox".to_owned(), "false".to_owned()],
            interval: 1,
            timeout: 1,
            retries: 1,
            start_period: 0,
        });
        let definition = world.register(vec![sick]).await;
        let mut request = world.service(&definition, 1);
        request.deployment.circuit_breaker.threshold = Some(2);
        let deployment = world.put(&request).await;
        let service =
            world.until_service("failed", |service| of(service, &deployment).rollout == RolloutState::Failed).await;
        let reasons: Vec<_> =
            of(&service, &deployment).failures.iter().map(|task| task.stopped_reason.clone().unwrap()).collect();
        assert_eq!(reasons, ["Task failed container health checks", "Task failed container health checks"]);
        world
    });
}

#[test]
fn health_checks_have_their_own_time_limit() {
    with_world(|world| async move {
        let mut app = web("x");
        app.settings.health_check = Some(HealthCheck {
            command: vec!["CMD".to_owned(), "/bin/busybox".to_owned(), "sleep".to_owned(), "4711".to_owned()],
            interval: 1,
            timeout: 1,
            retries: 1,
            start_period: 0,
        });
        let task = world.run(vec![app]).await;
        let unhealthy = world.until_task(&task, "unhealthy", |task| task.health == "UNHEALTHY").await;
        assert_eq!(unhealthy.last_status, "RUNNING", "a task of no service is not stopped for it");
        let deadline = Instant::now() + Duration::from_secs(10);
        world.platform.stop_task(&task, "seen").await.unwrap();
        world.stopped(&task).await;
        // Nothing of the checks is left running once the task is gone.
        let sleeping = || {
            std::fs::read_dir("/proc").unwrap().flatten().any(|entry| {
                // The whole of it: some port or path of another process has these digits too.
                std::fs::read(entry.path().join("cmdline")).is_ok_and(|line| line.ends_with(b"\x00sleep\x004711\x00"))
            })
        };
        while sleeping() {
            assert!(Instant::now() < deadline, "a timed-out check still runs");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        world
    });
}

#[test]
fn a_dead_task_is_replaced_and_scaling_and_deleting_work() {
    with_world(|world| async move {
        let definition = world.register(vec![web("x")]).await;
        let request = world.web_service(&definition, 1).await;
        let deployment = world.put(&request).await;
        world.completed(&deployment).await;
        let before = world.containers().await;
        let (name, id) = before.iter().find(|(name, _)| name.ends_with("-app")).unwrap();
        world.docker().kill_container(id).await.unwrap();
        world.until_service("failure seen", |service| service.deployments[0].failed_tasks == 1).await;
        world.until_service("replaced", |service| service.running == 1 && service.pending == 0).await;
        assert!(world.containers().await.iter().all(|(other, _)| other != name));

        world.platform.scale_service(&world.name(), 2).await.unwrap();
        world.until_service("two", |service| service.running == 2).await;
        let foreign = {
            let mut foreign = request.clone();
            foreign.tags.insert("landfall".to_owned(), "somebody-else".to_owned());
            world.platform.put_service(&foreign).await.unwrap_err()
        };
        assert!(matches!(foreign, PortError::Conflict(_)), "{foreign}");
        world.platform.delete_service(&world.name()).await.unwrap();
        let deadline = Instant::now() + Duration::from_secs(30);
        while world.platform.describe_service(&world.name()).await.unwrap().is_some() {
            assert!(Instant::now() < deadline, "never deleted");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert_eq!(world.containers().await, []);
        world
    });
}

#[test]
fn logs_are_followed_across_tasks() {
    with_world(|world| async move {
        let script = "echo before; echo first; echo second; while :; do /bin/busybox sleep 1; done";
        let definition = world.register(vec![container("app", script)]).await;
        let mut lines = Orchestrator::follow_logs(&world.platform, &world.environment, &[], 100).await.unwrap();
        let told = async |lines: &mut Box<dyn LogStream>, expected: &[&str]| {
            for expected in expected {
                let line = tokio::time::timeout(Duration::from_secs(90), lines.next()).await.unwrap().unwrap();
                assert_eq!((line.container.as_str(), line.line.as_str()), ("app", *expected));
            }
        };
        world.put(&world.service(&definition, 1)).await;
        told(&mut lines, &["before", "first", "second"]).await;
        // Also of a task that is there for a moment only.
        for n in 0..5 {
            let text = format!("gone {n}");
            let task = world.run(vec![container("app", &format!("echo {text}"))]).await;
            told(&mut lines, &[&text]).await;
            world.stopped(&task).await;
        }
        // Who comes later is told as much of what was as was asked for.
        let mut later = Orchestrator::follow_logs(&world.platform, &world.environment, &[], 2).await.unwrap();
        told(&mut later, &["first", "second"]).await;

        // Over the engine's API, for those who cannot read its files: ends with the container.
        let (member, _) = world.containers().await.into_iter().find(|(name, _)| name.ends_with("-app")).unwrap();
        let mut frames = world.docker().logs(&member, Some(2), true).await.unwrap();
        let mut text = String::new();
        while !text.contains("second") {
            let frame = tokio::time::timeout(Duration::from_secs(90), frames.next()).await.unwrap().unwrap().unwrap();
            text.push_str(std::str::from_utf8(&frame.bytes).unwrap());
        }
        assert!(text.contains("first") && !text.contains("before"), "{text}");
        world.docker().kill_container(&member).await.unwrap();
        let end = tokio::time::timeout(Duration::from_secs(90), frames.next()).await;
        assert_eq!(end.unwrap().unwrap(), None);
        world
    });
}

/// What the undo of a failed update works from.
#[test]
fn former_settings_are_told_and_can_be_set_again() {
    with_world(|world| async move {
        let definition = world.register(vec![web("one")]).await;
        let first = world.web_service(&definition, 1).await;
        let deployment = world.put(&first).await;
        world.completed(&deployment).await;
        let settings = |service: &landfall_ports::orchestrator::PutService| {
            Some(ServiceSettings { deployment: service.deployment.clone(), target: service.target.clone() })
        };
        assert_eq!(world.describe().await.settings, settings(&first));
        let mut update = first.clone();
        update.deployment.health_check_grace_period = 77;
        assert_eq!(world.put(&update).await, deployment, "the configuration alone starts no deployment");
        assert_eq!(world.describe().await.settings, settings(&update));
        assert_eq!(world.put(&first).await, deployment);
        assert_eq!(world.describe().await.settings, settings(&first));

        let balancer = world.platform.ports().load_balancer;
        let group = first.target.unwrap().target_group;
        let described = balancer.describe_target_group(&group).await.unwrap().unwrap();
        assert_eq!((described.settings.deregistration_delay, described.settings.idle_timeout), (1, 30));
        assert_eq!(described.settings.health_check.matcher, "200-404");
        assert_eq!(described.tags.get(TAG_ENVIRONMENT), first.tags.get(TAG_ENVIRONMENT));
        assert_eq!(balancer.describe_target_group("nobody-tg").await.unwrap(), None);
        world
    });
}
