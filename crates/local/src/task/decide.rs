//! What a task does next, from what its containers do now. Pure: the actor in `run.rs` observes and obeys.

use std::collections::BTreeMap;

use landfall_model::task::{ContainerDefinition, DependencyCondition, TaskDefinition};

use super::record::Stop;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Health {
    /// No check, or none has passed or failed often enough yet.
    Unknown,
    Healthy,
    Unhealthy,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Made, or about to be.
    Waiting,
    Running(Health),
    Exited(i64),
    /// The engine refused to make or start it; the reason in ECS's words.
    Refused(String),
}

impl Phase {
    fn started(&self) -> bool {
        matches!(self, Phase::Running(_) | Phase::Exited(_))
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Decision {
    pub start: Vec<String>,
    pub stop: Option<Stop>,
    /// Every container has been started: the task is RUNNING.
    pub all_started: bool,
    /// HEALTHY when every essential container with a check is, UNHEALTHY when one is not.
    pub health: Option<Health>,
}

/// `service`: whether the task belongs to a service; ECS replaces unhealthy tasks of services only.
pub(crate) fn decide(definition: &TaskDefinition, phases: &BTreeMap<String, Phase>, service: bool) -> Decision {
    let phase = |name: &str| phases.get(name).unwrap_or(&Phase::Waiting);
    let mut decision = Decision {
        all_started: definition.containers.iter().all(|container| phase(&container.name).started()),
        health: Some(overall_health(definition, phases)),
        ..Decision::default()
    };
    decision.stop = definition.containers.iter().find_map(|container| match phase(&container.name) {
        Phase::Refused(reason) => Some(Stop::failed("TaskFailedToStart", reason)),
        _ => None,
    });
    if decision.stop.is_some() {
        return decision;
    }
    let exited = |container: &ContainerDefinition| matches!(phase(&container.name), Phase::Exited(_));
    let essential_exited =
        definition.containers.iter().any(|container| container.settings.essential && exited(container));
    if essential_exited || definition.containers.iter().all(exited) {
        decision.stop = Some(Stop::failed("EssentialContainerExited", "Essential container in task exited"));
        return decision;
    }
    if service && decision.health == Some(Health::Unhealthy) {
        decision.stop = Some(Stop::failed("ServiceSchedulerInitiated", "Task failed container health checks"));
        return decision;
    }
    for container in &definition.containers {
        if *phase(&container.name) != Phase::Waiting {
            continue;
        }
        match dependencies(container, &phase) {
            Dependencies::Met => decision.start.push(container.name.clone()),
            Dependencies::Open => {}
            Dependencies::Never(why) => {
                decision.start.clear();
                decision.stop = Some(Stop::failed("TaskFailedToStart", &why));
                return decision;
            }
        }
    }
    decision
}

fn overall_health(definition: &TaskDefinition, phases: &BTreeMap<String, Phase>) -> Health {
    let mut checked = definition
        .containers
        .iter()
        .filter(|container| container.settings.essential && container.settings.health_check.is_some())
        .map(|container| match phases.get(&container.name) {
            Some(Phase::Running(health)) => *health,
            _ => Health::Unknown,
        })
        .peekable();
    if checked.peek().is_none() {
        return Health::Unknown;
    }
    checked.fold(Health::Healthy, |all, one| match (all, one) {
        (Health::Unhealthy, _) | (_, Health::Unhealthy) => Health::Unhealthy,
        (Health::Unknown, _) | (_, Health::Unknown) => Health::Unknown,
        _ => Health::Healthy,
    })
}

enum Dependencies {
    Met,
    Open,
    Never(String),
}

fn dependencies<'a>(container: &ContainerDefinition, phase: &impl Fn(&str) -> &'a Phase) -> Dependencies {
    let mut open = false;
    for dependency in &container.settings.depends_on {
        let other = phase(&dependency.container);
        let never = |what: &str| {
            Dependencies::Never(format!(
                "Task failed to start: container {} depends on {}, which {what}",
                container.name, dependency.container
            ))
        };
        match (dependency.condition, other) {
            (DependencyCondition::Start, other) if other.started() => {}
            (DependencyCondition::Complete, Phase::Exited(_)) | (DependencyCondition::Success, Phase::Exited(0)) => {}
            (DependencyCondition::Success, Phase::Exited(code)) => return never(&format!("exited with code {code}")),
            (DependencyCondition::Healthy, Phase::Running(Health::Healthy)) => {}
            (DependencyCondition::Healthy, Phase::Running(Health::Unhealthy)) => return never("is unhealthy"),
            (DependencyCondition::Healthy, Phase::Exited(code)) => {
                return never(&format!("exited with code {code} before it was healthy"));
            }
            _ => open = true,
        }
    }
    if open { Dependencies::Open } else { Dependencies::Met }
}

/// The containers in the order of stopping: dependants before what they depend on; those of one group stop together.
pub(crate) fn stop_order(definition: &TaskDefinition) -> Vec<Vec<String>> {
    let mut left: Vec<&ContainerDefinition> = definition.containers.iter().collect();
    let mut groups = Vec::new();
    while !left.is_empty() {
        let needed = |name: &str, among: &[&ContainerDefinition]| {
            among.iter().any(|other| other.settings.depends_on.iter().any(|dependency| dependency.container == name))
        };
        let (group, rest): (Vec<&ContainerDefinition>, Vec<&ContainerDefinition>) =
            left.iter().partition(|container| !needed(&container.name, &left));
        // A cycle is refused at registration; should one get here, its members stop together.
        let (group, rest) = if group.is_empty() { (rest, Vec::new()) } else { (group, rest) };
        groups.push(group.into_iter().map(|container| container.name.clone()).collect());
        left = rest;
    }
    groups
}

/// What ECS refuses to register: no containers, none essential, doubled names, unknown or circular dependencies, HEALTHY
/// on a container without a check.
pub(crate) fn validate(definition: &TaskDefinition) -> Result<(), String> {
    let containers = &definition.containers;
    if containers.is_empty() {
        return Err("a task definition needs at least one container".to_owned());
    }
    if !containers.iter().any(|container| container.settings.essential) {
        return Err("at least one container must be essential".to_owned());
    }
    for (at, container) in containers.iter().enumerate() {
        let legal = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if container.name.is_empty() || container.name.len() > 255 || !container.name.chars().all(legal) {
            return Err(format!("container name {:?}: letters, digits, hyphens and underscores only", container.name));
        }
        if containers[..at].iter().any(|other| other.name == container.name) {
            return Err(format!("two containers are named {}", container.name));
        }
        for dependency in &container.settings.depends_on {
            let Some(other) = containers.iter().find(|other| other.name == dependency.container) else {
                return Err(format!("{} depends on {}, which does not exist", container.name, dependency.container));
            };
            if dependency.condition == DependencyCondition::Healthy && other.settings.health_check.is_none() {
                return Err(format!(
                    "{} waits for {} to be HEALTHY, which has no health check",
                    container.name, other.name
                ));
            }
        }
        if container.settings.health_check.as_ref().is_some_and(|check| super::health::argv(check).is_none()) {
            return Err(format!("health check of {}: [\"CMD\", …] or [\"CMD-SHELL\", line]", container.name));
        }
    }
    let mut started: Vec<&str> = Vec::new();
    loop {
        let next = containers.iter().find(|container| {
            !started.contains(&container.name.as_str())
                && container.settings.depends_on.iter().all(|d| started.contains(&d.container.as_str()))
        });
        match next {
            Some(container) => started.push(&container.name),
            None if started.len() == containers.len() => return Ok(()),
            None => return Err("the containers' dependencies form a circle".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use landfall_model::task::{ContainerSettings, Dependency, HealthCheck};

    use super::*;

    fn container(name: &str, essential: bool, depends_on: &[(&str, DependencyCondition)]) -> ContainerDefinition {
        let depends_on = depends_on
            .iter()
            .map(|(container, condition)| Dependency { container: (*container).to_owned(), condition: *condition })
            .collect();
        ContainerDefinition {
            name: name.to_owned(),
            image: "i".to_owned(),
            settings: ContainerSettings { essential, depends_on, ..ContainerSettings::default() },
        }
    }

    fn checked(mut container: ContainerDefinition) -> ContainerDefinition {
        let command = vec!["CMD".to_owned(), "true".to_owned()];
        container.settings.health_check =
            Some(HealthCheck { command, interval: 5, timeout: 2, retries: 3, start_period: 0 });
        container
    }

    fn definition(containers: Vec<ContainerDefinition>) -> TaskDefinition {
        TaskDefinition { family: "f".to_owned(), containers, ..TaskDefinition::default() }
    }

    fn phases(list: &[(&str, Phase)]) -> BTreeMap<String, Phase> {
        list.iter().map(|(name, phase)| ((*name).to_owned(), phase.clone())).collect()
    }

    use DependencyCondition::{Complete, Healthy, Start, Success};

    #[test]
    fn dependencies_open_one_by_one() {
        let cases = [
            (Start, Phase::Waiting, false),
            (Start, Phase::Running(Health::Unknown), true),
            (Start, Phase::Exited(1), true),
            (Complete, Phase::Running(Health::Unknown), false),
            (Complete, Phase::Exited(1), true),
            (Success, Phase::Running(Health::Unknown), false),
            (Success, Phase::Exited(0), true),
            (Healthy, Phase::Running(Health::Unknown), false),
            (Healthy, Phase::Running(Health::Healthy), true),
        ];
        for (condition, other, starts) in cases {
            let task = definition(vec![checked(container("a", false, &[])), container("b", true, &[("a", condition)])]);
            let decision = decide(&task, &phases(&[("a", other.clone())]), true);
            assert_eq!(decision.stop, None, "{condition:?} {other:?}");
            assert_eq!(decision.start.contains(&"b".to_owned()), starts, "{condition:?} {other:?}");
        }
    }

    #[test]
    fn a_dependency_that_can_never_be_met_stops_the_task() {
        for (condition, other) in
            [(Success, Phase::Exited(3)), (Healthy, Phase::Exited(0)), (Healthy, Phase::Running(Health::Unhealthy))]
        {
            let task = definition(vec![checked(container("a", false, &[])), container("b", true, &[("a", condition)])]);
            let stop = decide(&task, &phases(&[("a", other)]), true).stop.unwrap();
            assert_eq!(stop.code, "TaskFailedToStart");
            assert!(stop.reason.contains("b depends on a"), "{}", stop.reason);
        }
    }

    #[test]
    fn essential_exit_ends_the_task_and_others_do_not() {
        let task = definition(vec![container("init", false, &[]), container("app", true, &[])]);
        let running = Phase::Running(Health::Unknown);
        let decision = decide(&task, &phases(&[("init", Phase::Exited(1)), ("app", running.clone())]), true);
        assert_eq!((decision.stop, decision.all_started), (None, true));
        let decision = decide(&task, &phases(&[("init", running), ("app", Phase::Exited(0))]), true);
        assert_eq!(decision.stop.unwrap().reason, "Essential container in task exited");
    }

    #[test]
    fn refusal_comes_first() {
        let task = definition(vec![container("a", true, &[]), container("b", true, &[])]);
        let refused = Phase::Refused("CannotPullContainerError: gone".to_owned());
        let stop = decide(&task, &phases(&[("a", Phase::Exited(1)), ("b", refused)]), true).stop.unwrap();
        assert_eq!(stop.reason, "CannotPullContainerError: gone");
    }

    #[test]
    fn unhealthy_ends_tasks_of_services_only() {
        let task = definition(vec![checked(container("a", true, &[]))]);
        let phases = phases(&[("a", Phase::Running(Health::Unhealthy))]);
        assert_eq!(decide(&task, &phases, true).stop.unwrap().reason, "Task failed container health checks");
        assert_eq!(decide(&task, &phases, false).stop, None);
        assert_eq!(decide(&task, &phases, false).health, Some(Health::Unhealthy));
    }

    #[test]
    fn dependants_stop_first() {
        let task = definition(vec![
            container("db", true, &[]),
            container("app", true, &[("db", Start)]),
            container("proxy", true, &[("app", Start)]),
            container("log", false, &[]),
        ]);
        assert_eq!(stop_order(&task), [vec!["proxy", "log"], vec!["app"], vec!["db"]]);
    }

    #[test]
    fn refuses_what_cannot_run() {
        let of = |containers| validate(&definition(containers)).unwrap_err();
        assert!(of(vec![]).contains("at least one container"));
        assert!(of(vec![container("a", false, &[])]).contains("essential"));
        assert!(of(vec![container("a", true, &[]), container("a", true, &[])]).contains("two containers"));
        assert!(of(vec![container("a", true, &[("b", Start)])]).contains("does not exist"));
        assert!(
            of(vec![container("a", true, &[("b", Start)]), container("b", true, &[("a", Start)])]).contains("circle")
        );
        assert!(
            of(vec![container("a", true, &[("b", Healthy)]), container("b", true, &[])]).contains("no health check")
        );
        assert!(of(vec![container("a b", true, &[])]).contains("letters"));
        assert_eq!(validate(&definition(vec![container("a", true, &[])])), Ok(()));
    }
}
