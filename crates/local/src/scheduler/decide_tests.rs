//! The scheduler against a simulated clock and simulated tasks: `World` obeys every action and lets time pass.

use landfall_model::Timestamp;
use landfall_model::app::{CircuitBreaker, DeploymentConfiguration};
use landfall_ports::orchestrator::{PutService, RolloutState, ServiceStatus, StopDeployment, TargetBinding};

use super::decide::{Action, Elb, TaskView, decide, stop};
use super::service::ServiceState;
use crate::task::decide::Health;
use crate::task::record::Stop;

pub(super) fn at(ms: i64) -> Timestamp {
    Timestamp::from_millisecond(1_700_000_000_000 + ms).unwrap()
}

pub(super) fn request(definition: &str, desired: u32) -> PutService {
    PutService {
        launch_type: landfall_model::task::LaunchType::Local,
        name: "web".to_owned(),
        task_definition: definition.to_owned(),
        desired_count: desired,
        keep_count: false,
        deployment: DeploymentConfiguration {
            minimum_healthy_percent: 100,
            maximum_percent: 200,
            circuit_breaker: CircuitBreaker { enable: true, rollback: true, threshold: None },
            health_check_grace_period: 0,
            timeout: 600,
            strategy: Default::default(),
            alarms: None,
        },
        target: None,
        tags: [("landfall".to_owned(), "env".to_owned())].into(),
        adopt: false,
        replace: None,
        document: None,
    }
}

pub(super) fn targeted(mut request: PutService) -> PutService {
    request.target = Some(TargetBinding { target_group: "tg".to_owned(), container: "app".to_owned(), port: 80 });
    request
}

/// How tasks of a definition fare: ms until RUNNING, and what happens then.
#[derive(Clone, Copy)]
pub(super) enum Fate {
    Runs,
    /// Stops this long after it started.
    Dies(i64),
    NeverHealthy,
}

pub(super) struct World {
    pub(super) state: ServiceState,
    pub(super) tasks: Vec<(TaskView, i64, Fate)>,
    pub(super) now: i64,
    pub(super) fates: Vec<(&'static str, Fate)>,
    pub(super) removed: bool,
    pub(super) started: usize,
    /// Fewest healthy tasks seen since it was last set back.
    pub(super) least: usize,
    pub(super) most: usize,
}

impl World {
    pub(super) fn new(request: &PutService, fates: Vec<(&'static str, Fate)>) -> Self {
        let state = ServiceState::new(request, at(0));
        Self { state, tasks: Vec::new(), now: 0, fates, removed: false, started: 0, least: usize::MAX, most: 0 }
    }

    pub(super) fn views(&self) -> Vec<TaskView> {
        self.tasks.iter().map(|(view, ..)| view.clone()).collect()
    }

    pub(super) fn decide(&mut self) {
        let verdict = decide(&self.state, &self.views(), at(self.now));
        assert_eq!(verdict, decide(&self.state, &self.views(), at(self.now)), "not deterministic");
        self.state = verdict.state;
        for action in verdict.actions {
            match action {
                Action::Start { task, deployment, task_definition } => {
                    let fate = self.fates.iter().find(|(name, _)| *name == task_definition).map_or(Fate::Runs, |f| f.1);
                    let elb = if self.state.target.is_some() { Elb::Initial } else { Elb::None };
                    let view = TaskView {
                        id: task,
                        deployment,
                        started_at: None,
                        checked: false,
                        health: Health::Unknown,
                        elb,
                        elb_reason: None,
                        stopping: false,
                        failing: false,
                        stopped: None,
                        description: None,
                    };
                    assert!(self.tasks.iter().all(|(other, ..)| other.id != view.id), "task id given twice");
                    self.started += 1;
                    self.tasks.push((view, self.now, fate));
                }
                Action::Stop { task, stop } => {
                    let found = self.tasks.iter_mut().find(|(view, ..)| view.id == task);
                    let view = &mut found.expect("stop of an unknown task").0;
                    view.stopping = true;
                    view.failing = stop.failed;
                    view.stopped = Some(stop);
                }
                Action::Forget { task } => self.tasks.retain(|(view, ..)| view.id != task),
                Action::Remove => self.removed = true,
            }
        }
    }

    /// Ten milliseconds of world: tasks run after 100 ms, targets are healthy after 200.
    pub(super) fn tick(&mut self) {
        self.now += 10;
        for (view, since, fate) in &mut self.tasks {
            let age = self.now - *since;
            if view.stopped.is_some() {
                continue;
            }
            if age >= 100 && view.started_at.is_none() {
                view.started_at = Some(at(self.now));
            }
            match fate {
                Fate::Runs if age >= 200 && view.elb != Elb::None => view.elb = Elb::Healthy,
                Fate::Dies(after) if age >= *after && !view.failing => {
                    view.stopping = true;
                    view.failing = true;
                }
                // Stopping takes its time, and replacements must not use it.
                Fate::Dies(after) if age >= *after + 300 => {
                    view.stopped = Some(Stop::failed("EssentialContainerExited", "Essential container in task exited"));
                }
                Fate::NeverHealthy if age >= 300 && view.elb != Elb::None => view.elb = Elb::Unhealthy,
                _ => {}
            }
        }
        self.decide();
        let live = self.tasks.iter().filter(|(view, ..)| !view.stopping && view.stopped.is_none());
        self.most = self.most.max(live.clone().count());
        let healthy =
            live.filter(|(view, ..)| view.started_at.is_some() && matches!(view.elb, Elb::None | Elb::Healthy));
        self.least = self.least.min(healthy.count());
    }

    pub(super) fn run(&mut self, ms: i64) {
        let end = self.now + ms;
        while self.now < end {
            self.tick();
        }
    }

    pub(super) fn until(&mut self, what: &str, done: impl Fn(&World) -> bool) {
        let deadline = self.now + 2_000_000;
        while !done(self) {
            assert!(self.now < deadline, "never: {what}; events: {:#?}", self.state.events);
            self.tick();
        }
    }

    pub(super) fn dies(&mut self, task: usize) {
        self.tasks[task].0.failing = true;
        self.tasks[task].0.stopped = Some(Stop::failed("EssentialContainerExited", "x"));
    }

    /// Healthy tasks of a deployment.
    pub(super) fn serving(&self, deployment: &str) -> usize {
        self.tasks.iter().filter(|(view, ..)| view.healthy() && view.deployment == deployment).count()
    }

    pub(super) fn rollout(&self, at: usize) -> RolloutState {
        self.state.deployments[at].rollout
    }

    pub(super) fn update(&mut self, request: &PutService) {
        self.state.update(request, at(self.now));
        self.least = usize::MAX;
        self.most = 0;
    }

    pub(super) fn said(&self, text: &str) -> bool {
        self.state.events.iter().any(|event| event.message.contains(text))
    }
}

#[test]
fn comes_up_and_says_so_once() {
    let mut world = World::new(&targeted(request("a:1", 3)), vec![]);
    world.until("completed", |world| world.rollout(0) == RolloutState::Completed);
    assert_eq!(world.tasks.len(), 3);
    world.run(60_000);
    assert_eq!(world.started, 3);
    let steady = world.state.events.iter().filter(|event| event.message.contains("steady state")).count();
    assert_eq!(steady, 1);
}

#[test]
fn not_complete_before_the_target_is_healthy() {
    let mut world = World::new(&targeted(request("a:1", 1)), vec![]);
    world.run(190);
    assert_eq!(world.rollout(0), RolloutState::InProgress);
    world.run(50);
    assert_eq!(world.rollout(0), RolloutState::Completed);
}

#[test]
fn a_task_without_checks_must_last_a_moment() {
    let mut world = World::new(&request("a:1", 1), vec![]);
    world.run(1_000);
    assert_eq!(world.rollout(0), RolloutState::InProgress);
    world.run(200);
    assert_eq!(world.rollout(0), RolloutState::Completed);
}

#[test]
fn rolling_update_keeps_within_both_percentages() {
    for (minimum, maximum, desired, least, most) in
        [(100, 200, 4, 4, 8), (50, 100, 4, 2, 4), (100, 150, 4, 4, 6), (0, 100, 1, 0, 1)]
    {
        let configure = |mut request: PutService| {
            request.deployment.minimum_healthy_percent = minimum;
            request.deployment.maximum_percent = maximum;
            request
        };
        let mut world = World::new(&configure(targeted(request("a:1", desired))), vec![]);
        world.until("first", |world| world.rollout(0) == RolloutState::Completed);
        world.update(&configure(targeted(request("a:2", desired))));
        world.until("second", |world| world.rollout(0) == RolloutState::Completed);
        assert!(world.least >= least, "{minimum}/{maximum}: only {} healthy", world.least);
        assert!(world.most <= most, "{minimum}/{maximum}: {} at once", world.most);
        let newest = world.state.deployments[0].id.clone();
        assert!(world.tasks.iter().all(|(view, ..)| view.stopping || view.deployment == newest));
    }
}

#[test]
fn breaker_trips_at_its_threshold_and_rolls_back() {
    let mut world = World::new(&targeted(request("a:1", 2)), vec![("a:2", Fate::Dies(150))]);
    world.until("first", |world| world.rollout(0) == RolloutState::Completed);
    world.update(&targeted(request("a:2", 2)));
    world.until("rolled back", |world| world.state.deployments.iter().any(|d| d.rollout == RolloutState::RolledBack));
    assert!(world.least >= 2, "the old tasks served all the while");
    let [back, failed, ..] = &world.state.deployments[..] else { panic!("deployments missing") };
    assert_eq!((back.task_definition.as_str(), back.rollout), ("a:1", RolloutState::Completed));
    assert_eq!(failed.task_definition, "a:2");
    assert!((3..=4).contains(&failed.failed_tasks), "{}", failed.failed_tasks);
    assert!(world.said("deployment failed: ECS deployment circuit breaker: tasks failed to start."));
    assert!(world.said("rolling back to deployment"));
}

#[test]
fn breaker_without_anything_to_go_back_to_fails_and_stops_starting() {
    let mut world = World::new(&request("a:1", 1), vec![("a:1", Fate::Dies(50))]);
    world.until("failed", |world| world.rollout(0) == RolloutState::Failed);
    assert_eq!(world.started, 3);
    world.run(300_000);
    assert_eq!(world.started, 3);
    assert!(world.tasks.is_empty());
}

#[test]
fn threshold_is_that_of_ecs_or_the_configured_one() {
    for (desired, configured, expected) in
        [(1, None, 3), (10, None, 5), (9, None, 5), (1000, None, 200), (10, Some(1), 1)]
    {
        let mut request = request("a:1", desired);
        request.deployment.circuit_breaker.threshold = configured;
        let state = ServiceState::new(&request, at(0));
        assert_eq!(super::decide::breaker_threshold(&state), expected);
    }
}

#[test]
fn without_breaker_dying_tasks_restart_ever_more_slowly() {
    let mut request = request("a:1", 1);
    request.deployment.circuit_breaker.enable = false;
    request.deployment.timeout = 0;
    let mut world = World::new(&request, vec![("a:1", Fate::Dies(50))]);
    world.run(10_000);
    let early = world.started;
    assert!((5..=7).contains(&early), "{early}");
    world.run(600_000);
    let delays_capped = world.started - early;
    assert!((10..=17).contains(&delays_capped), "{delays_capped}");
}

#[test]
fn a_task_that_dies_after_a_long_life_is_replaced_quickly() {
    let mut world = World::new(&targeted(request("a:1", 1)), vec![]);
    world.until("up", |world| world.rollout(0) == RolloutState::Completed);
    world.run(40_000);
    world.dies(0);
    world.run(500);
    assert_eq!(world.started, 2);
    assert_eq!(world.rollout(0), RolloutState::Completed, "a finished deployment is not failed by a later death");
    world.run(1_000);
    let steady = world.state.events.iter().filter(|event| event.message.contains("steady state")).count();
    assert_eq!(steady, 2);
}

#[test]
fn unhealthy_targets_are_replaced_after_the_grace_period() {
    let mut slow = targeted(request("a:1", 1));
    slow.deployment.health_check_grace_period = 5;
    slow.deployment.circuit_breaker.enable = false;
    let mut world = World::new(&slow, vec![("a:1", Fate::NeverHealthy)]);
    world.run(5_000);
    assert_eq!(world.started, 1);
    world.run(1_000);
    assert_eq!(world.started, 2);
    assert!(world.said("is unhealthy in (target-group tg)"), "{:#?}", world.state.events);
}

#[test]
fn a_deployment_that_takes_too_long_times_out() {
    let mut request = request("a:1", 1);
    request.deployment.timeout = 10;
    let mut world = World::new(&request, vec![]);
    world.decide();
    world.tasks[0].2 = Fate::Dies(i64::MAX / 2);
    world.tasks[0].0.checked = true;
    world.run(9_900);
    assert_eq!(world.rollout(0), RolloutState::InProgress);
    world.run(200);
    assert_eq!(world.rollout(0), RolloutState::Failed);
    assert!(world.state.deployments[0].reason.as_ref().unwrap().contains("timed out after 10 s"));
}

#[test]
fn scaling_down_takes_the_unready_ones_first() {
    let mut world = World::new(&targeted(request("a:1", 2)), vec![]);
    world.until("up", |world| world.rollout(0) == RolloutState::Completed);
    world.state.desired = 3;
    world.run(50);
    assert_eq!(world.tasks.len(), 3);
    let newcomer = world.tasks[2].0.id.clone();
    world.state.desired = 2;
    world.decide();
    world.run(20);
    assert!(world.tasks.iter().all(|(view, ..)| view.id != newcomer));
    world.state.desired = 0;
    world.run(100);
    assert!(world.tasks.is_empty());
}

#[test]
fn a_count_that_somebody_else_sets_is_kept() {
    let mut world = World::new(&targeted(request("a:1", 2)), vec![]);
    world.until("up", |world| world.rollout(0) == RolloutState::Completed);
    world.state.desired = 3;
    let keeping = PutService { keep_count: true, ..targeted(request("a:2", 1)) };
    world.update(&keeping);
    world.until("updated", |world| world.rollout(0) == RolloutState::Completed && world.tasks.len() == 3);
    assert_eq!(world.state.desired, 3);
    let before = world.state.clone();
    world.update(&keeping);
    assert_eq!(world.state, before, "nothing is left to do");
    world.update(&targeted(request("a:2", 1)));
    assert_eq!(world.state.desired, 1);
}

#[test]
fn failures_count_once_however_often_they_are_seen() {
    let mut world = World::new(&targeted(request("a:1", 1)), vec![]);
    world.decide();
    world.tasks[0].0.failing = true;
    world.tasks[0].0.stopped = Some(Stop::failed("TaskFailedToStart", "x"));
    let views = world.views();
    let mut state = world.state.clone();
    for _ in 0..5 {
        state = decide(&state, &views, at(100)).state;
    }
    assert_eq!(state.deployments[0].failed_tasks, 1);
}

#[test]
fn deletion_stops_everything_then_goes() {
    let mut world = World::new(&targeted(request("a:1", 2)), vec![]);
    world.until("up", |world| world.rollout(0) == RolloutState::Completed);
    world.state.status = ServiceStatus::Draining;
    world.decide();
    assert!(!world.removed);
    world.run(30);
    assert!(world.removed && world.tasks.is_empty());
}

#[test]
fn the_same_request_again_changes_nothing_and_a_failed_one_tries_again() {
    let first = targeted(request("a:1", 1));
    let mut state = ServiceState::new(&first, at(0));
    let outcome = state.last_outcome.clone();
    assert!(outcome.created);
    let before = state.clone();
    assert_eq!(state.update(&first, at(5)), outcome);
    assert_eq!(state, before);
    let update = targeted(request("a:2", 1));
    let updated = state.update(&update, at(10));
    assert!(!updated.created);
    assert_eq!(state.update(&update, at(20)), updated);
    assert_eq!(state.deployments.len(), 2);
    let scaled = targeted(request("a:2", 5));
    assert_eq!(state.update(&scaled, at(30)).deployment, updated.deployment, "scaling is no deployment");
    state.deployments[0].given_up = true;
    assert_ne!(state.update(&scaled, at(40)).deployment, updated.deployment);
}

#[test]
fn a_deployment_is_replaced_once_though_nothing_differs() {
    let first = targeted(request("a:1", 1));
    let mut state = ServiceState::new(&first, at(0));
    let begun = state.last_outcome.deployment.clone();
    let again = PutService { replace: Some(begun.clone()), ..first };
    let replaced = state.update(&again, at(5));
    assert_ne!(replaced.deployment, begun);
    assert_eq!(state.deployments[0].id, replaced.deployment);
    assert_eq!(state.update(&again, at(6)).deployment, replaced.deployment, "it is not PRIMARY any more");
    assert_eq!(state.deployments.len(), 2);
}

#[test]
fn a_deployment_that_is_stopped_goes_back_or_ends_as_it_is() {
    for how in [StopDeployment::Rollback, StopDeployment::Abort] {
        let mut world = World::new(&targeted(request("a:1", 1)), vec![]);
        world.until("up", |world| world.rollout(0) == RolloutState::Completed);
        let good = world.state.deployments[0].id.clone();
        assert!(!stop(&mut world.state, how, at(world.now)), "nothing is under way");
        let begun = world.state.update(&targeted(request("a:2", 1)), at(world.now)).deployment;
        assert!(stop(&mut world.state, how, at(world.now)));
        assert!(!stop(&mut world.state, how, at(world.now)), "once");
        world.run(30);
        let stopped = world.state.deployments.iter().find(|deployment| deployment.id == begun).unwrap();
        assert!(stopped.reason.as_ref().unwrap().contains("stopped by somebody"));
        match how {
            StopDeployment::Rollback => {
                assert_eq!(stopped.rollout, RolloutState::RolledBack);
                assert_eq!(world.state.deployments[0].id, good);
            }
            StopDeployment::Abort => assert_eq!(stopped.rollout, RolloutState::Stopped),
        }
    }
}
