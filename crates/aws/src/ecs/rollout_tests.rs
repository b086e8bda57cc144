use aws_sdk_ecs::types as ecs;
use aws_sdk_ecs::types::{DeploymentRolloutState as Live, ServiceDeploymentStatus as Status};
use aws_smithy_types::DateTime;
use landfall_model::Timestamp;
use landfall_ports::orchestrator::{DeploymentDescription, RolloutState};

use super::super::change::TAG_TIMEOUT;
use super::*;

fn at(second: i64) -> DateTime {
    DateTime::from_secs(1_000_000 + second)
}

fn now(second: i64) -> Timestamp {
    Timestamp::from_second(1_000_000 + second).unwrap()
}

fn deployment(id: u32, status: &str, state: Live, reason: &str) -> ecs::Deployment {
    ecs::Deployment::builder()
        .id(format!("ecs-svc/{id}"))
        .status(status)
        .task_definition(format!("arn:aws:ecs:eu-west-1:1:task-definition/app:{id}"))
        .rollout_state(state)
        .rollout_state_reason(reason)
        .desired_count(2)
        .running_count(1)
        .created_at(at(i64::from(id)))
        .build()
}

struct World {
    rollback: bool,
    deployments: Vec<ecs::Deployment>,
    events: Vec<&'static str>,
    timeout: Option<u32>,
}

impl World {
    fn of(deployments: Vec<ecs::Deployment>) -> Self {
        Self { rollback: true, deployments, events: Vec::new(), timeout: None }
    }

    fn service(&self) -> ecs::Service {
        let breaker = ecs::DeploymentCircuitBreaker::builder().enable(true).rollback(self.rollback).build();
        let event = |(age, text): (usize, &&str)| {
            let age = i64::try_from(age).unwrap();
            ecs::ServiceEvent::builder().created_at(at(100 - age)).message(*text).build()
        };
        let tag = |seconds: u32| ecs::Tag::builder().key(TAG_TIMEOUT).value(seconds.to_string()).build();
        ecs::Service::builder()
            .service_name("web")
            .status("ACTIVE")
            .deployment_configuration(
                ecs::DeploymentConfiguration::builder().deployment_circuit_breaker(breaker).build(),
            )
            .set_deployments(Some(self.deployments.clone()))
            .set_events(Some(self.events.iter().enumerate().map(event).collect()))
            .set_tags(Some(self.timeout.map(tag).into_iter().collect()))
            .build()
    }

    fn told(&self, past: &[Past]) -> Vec<DeploymentDescription> {
        deployments(&self.service(), past, now(50))
    }

    fn rollout(&self, id: u32, past: &[Past]) -> Option<RolloutState> {
        self.told(past).into_iter().find(|found| found.id == format!("ecs-svc/{id}")).map(|found| found.rollout)
    }
}

fn past(id: u32, status: Status) -> Past {
    Past {
        arn: format!("arn:deployment/{id}"),
        id: format!("ecs-svc/{id}"),
        status,
        by_itself: true,
        first: false,
        reason: Some("Circuit breaker threshold met.".to_owned()),
        task_definition: format!("app:{id}"),
        desired: 2,
        running: 0,
        pending: 0,
        failed_tasks: 3,
        created_at: now(i64::from(id)),
        shift: None,
    }
}

const FAILED: &str = "ECS deployment circuit breaker: tasks failed to start.";
const BACK: &str = "ECS deployment circuit breaker: rolling back to deploymentId ecs-svc/1.";

#[test]
fn an_undisturbed_rollout_goes_on_and_completes() {
    let world = World::of(vec![
        deployment(1, "ACTIVE", Live::Completed, ""),
        deployment(2, "PRIMARY", Live::InProgress, "ECS deployment ecs-svc/2 in progress."),
    ]);
    let told = world.told(&[]);
    assert_eq!(told[0].id, "ecs-svc/2", "the PRIMARY one first, whatever ECS's order");
    assert_eq!((told[0].rollout, told[1].rollout), (RolloutState::InProgress, RolloutState::Completed));
    let done = World::of(vec![deployment(2, "PRIMARY", Live::Completed, "ECS deployment ecs-svc/2 completed.")]);
    assert_eq!(done.rollout(2, &[]), Some(RolloutState::Completed));
}

#[test]
fn a_failure_is_rolled_back_only_when_the_former_runs_again() {
    let under_way = World::of(vec![
        deployment(3, "PRIMARY", Live::InProgress, BACK),
        deployment(2, "ACTIVE", Live::Failed, FAILED),
    ]);
    assert_eq!(under_way.rollout(2, &[]), Some(RolloutState::InProgress));
    // ECS shows the failed one as IN_PROGRESS for a moment.
    let early = World::of(vec![
        deployment(3, "PRIMARY", Live::InProgress, BACK),
        deployment(2, "ACTIVE", Live::InProgress, "ECS deployment ecs-svc/2 in progress."),
    ]);
    assert_eq!(early.rollout(2, &[]), Some(RolloutState::InProgress));
    let done = World::of(vec![
        deployment(3, "PRIMARY", Live::Completed, "ECS deployment ecs-svc/3 completed."),
        deployment(2, "INACTIVE", Live::Failed, FAILED),
    ]);
    assert_eq!(done.rollout(2, &[]), Some(RolloutState::RolledBack));
    assert_eq!(done.told(&[])[1].reason.as_deref(), Some(FAILED));
    let failed_too = World::of(vec![
        deployment(3, "PRIMARY", Live::Failed, "no capacity"),
        deployment(2, "INACTIVE", Live::Failed, FAILED),
    ]);
    assert_eq!(failed_too.rollout(2, &[]), Some(RolloutState::RollbackFailed));
    assert!(failed_too.told(&[])[1].reason.as_ref().unwrap().contains("no capacity"));
}

#[test]
fn without_rollback_a_failure_is_a_failure() {
    let alone = World::of(vec![deployment(1, "PRIMARY", Live::Failed, FAILED)]);
    assert_eq!(alone.rollout(1, &[]), Some(RolloutState::Failed));
    let replaced = World {
        rollback: false,
        ..World::of(vec![deployment(3, "PRIMARY", Live::Completed, ""), deployment(2, "ACTIVE", Live::Failed, FAILED)])
    };
    assert_eq!(replaced.rollout(2, &[]), Some(RolloutState::Failed));
}

/// The defect of most tools: once the roll-back is over, nothing is left of the failed deployment but its name.
#[test]
fn a_rollback_is_told_after_the_failed_deployment_has_vanished() {
    let steady = World::of(vec![deployment(3, "PRIMARY", Live::Completed, "ECS deployment ecs-svc/3 completed.")]);
    assert_eq!(steady.rollout(2, &[]), None);
    assert_eq!(steady.rollout(2, &[past(2, Status::RollbackSuccessful)]), Some(RolloutState::RolledBack));
    assert_eq!(steady.rollout(2, &[past(2, Status::RollbackFailed)]), Some(RolloutState::RollbackFailed));
    let first = Past { first: true, ..past(2, Status::RollbackFailed) };
    assert_eq!(steady.rollout(2, &[first]), Some(RolloutState::Failed), "nothing to go back to");
    let stopped = Past { by_itself: false, created_at: now(60), ..past(2, Status::Stopped) };
    assert_eq!(steady.rollout(2, &[stopped]), Some(RolloutState::Stopped));
    assert_eq!(steady.rollout(2, &[past(2, Status::RollbackInProgress)]), Some(RolloutState::InProgress));
    // And without the API, by events.
    let told = World {
        events: vec![
            "(service web) has reached a steady state.",
            "(service web) (deployment ecs-svc/3) deployment completed.",
            "(service web) rolling back to deployment ecs-svc/1.",
            "(service web) (deployment ecs-svc/2) deployment failed: tasks failed to start.",
        ],
        ..steady
    };
    assert_eq!(told.rollout(2, &[]), Some(RolloutState::RolledBack));
    let reason = told.told(&[]).into_iter().find(|found| found.id == "ecs-svc/2").unwrap().reason;
    assert_eq!(reason.as_deref(), Some("deployment failed: tasks failed to start."));
}

/// ECS goes back to the former deployment under its old number, whose service deployment once ended well: neither does that
/// make the roll-back finished, nor the failed deployment good. The task definition may be the same all along.
#[test]
fn a_forced_deployment_that_is_rolled_back_is_not_taken_for_its_predecessor() {
    let mut back = deployment(1, "PRIMARY", Live::InProgress, BACK);
    let mut failed = deployment(2, "ACTIVE", Live::Failed, FAILED);
    for deployment in [&mut back, &mut failed] {
        deployment.task_definition = Some("app:7".to_owned());
    }
    let history = [past(2, Status::RollbackInProgress), past(1, Status::Successful)];
    let world = World::of(vec![back.clone(), failed]);
    assert_eq!(world.rollout(1, &history), Some(RolloutState::InProgress));
    assert_eq!(world.rollout(2, &history), Some(RolloutState::InProgress));
    back.rollout_state = Some(Live::Completed);
    let done = World::of(vec![back]);
    let history = [past(2, Status::RollbackSuccessful), past(1, Status::Successful)];
    assert_eq!(done.rollout(1, &history), Some(RolloutState::Completed));
    assert_eq!(done.rollout(2, &history), Some(RolloutState::RolledBack));
}

#[test]
fn one_that_a_newer_deployment_took_over_is_nobody_s() {
    let world = World::of(vec![
        deployment(3, "PRIMARY", Live::InProgress, "ECS deployment ecs-svc/3 in progress."),
        deployment(2, "ACTIVE", Live::InProgress, "ECS deployment ecs-svc/2 in progress."),
    ]);
    assert_eq!(world.rollout(2, &[]), None);
    let history = [past(3, Status::InProgress), past(2, Status::Stopped)];
    assert_eq!(World::of(vec![deployment(3, "PRIMARY", Live::InProgress, "")]).rollout(2, &history), None);
    // Stopped by somebody, with nothing after it.
    let stopped = World::of(vec![deployment(1, "PRIMARY", Live::Completed, "")]);
    assert_eq!(stopped.rollout(2, &[past(2, Status::Stopped)]), Some(RolloutState::Failed));
}

#[test]
fn what_the_api_knows_to_go_on_is_not_over() {
    let baking = World::of(vec![deployment(2, "PRIMARY", Live::Completed, "")]);
    assert_eq!(baking.rollout(2, &[past(2, Status::InProgress)]), Some(RolloutState::InProgress));
    assert_eq!(baking.rollout(2, &[past(2, Status::Successful)]), Some(RolloutState::Completed));
    assert_eq!(baking.rollout(2, &[past(2, Status::RollbackSuccessful)]), Some(RolloutState::RolledBack));
}

#[test]
fn a_deployment_that_takes_too_long_has_failed() {
    let slow =
        |timeout, reason| World { timeout, ..World::of(vec![deployment(2, "PRIMARY", Live::InProgress, reason)]) };
    assert_eq!(slow(Some(48), "").rollout(2, &[]), Some(RolloutState::Failed));
    assert_eq!(slow(Some(49), "").rollout(2, &[]), Some(RolloutState::InProgress));
    assert_eq!(slow(Some(0), "").rollout(2, &[]), Some(RolloutState::InProgress));
    assert_eq!(slow(None, "").rollout(2, &[]), Some(RolloutState::InProgress));
    assert_eq!(slow(Some(1), BACK).rollout(2, &[]), Some(RolloutState::InProgress), "a roll-back has its own time");
    let reason = slow(Some(48), "").told(&[])[0].reason.clone().unwrap();
    assert_eq!(reason, "deployment timed out after 48 s with 1 of 2 tasks running");
}

#[test]
fn endpoints_that_tell_no_rollout_state_are_counted() {
    let mut bare = deployment(1, "PRIMARY", Live::InProgress, "");
    bare.rollout_state = None;
    assert_eq!(World::of(vec![bare.clone()]).rollout(1, &[]), Some(RolloutState::InProgress));
    bare.running_count = 2;
    assert_eq!(World::of(vec![bare]).rollout(1, &[]), Some(RolloutState::Completed));
}

#[test]
fn the_api_is_asked_only_where_it_is_needed() {
    let watched = |id: u32| vec![format!("ecs-svc/{id}")];
    let plain = World::of(vec![deployment(2, "PRIMARY", Live::Completed, "")]).service();
    assert!(!needs_past(&plain, &watched(2)), "the watched deployment is shown");
    assert!(needs_past(&plain, &watched(1)), "it has vanished");
    assert!(needs_past(&plain, &[]), "nobody knows what is watched");
    let failed = World::of(vec![
        deployment(3, "PRIMARY", Live::InProgress, BACK),
        deployment(2, "ACTIVE", Live::Failed, FAILED),
    ]);
    assert!(needs_past(&failed.service(), &watched(2)));
    assert_ne!(signature(&failed.service()), signature(&plain));
    assert!(unsettled(&[past(2, Status::RollbackInProgress), past(1, Status::Successful)]));
    assert!(!unsettled(&[past(2, Status::RollbackSuccessful)]) && !unsettled(&[]));
}

#[test]
fn a_service_revision_bears_its_deployment_s_number() {
    let arn = "arn:aws:ecs:us-east-1:1:service-revision/cluster/service/3541978090126952138";
    assert_eq!(deployment_id(arn), "ecs-svc/3541978090126952138");
}
