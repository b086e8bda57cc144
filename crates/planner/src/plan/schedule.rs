//! A scheduled task of a lasting environment: one step, which nothing takes back.

use landfall_model::app::LongLivedEnvironment;
use landfall_model::cron::Schedule;
use landfall_model::ids::ExecutionId;
use landfall_model::step::{Input, RunTask, StepParams};
use landfall_workflow::{FailurePolicy, Plan};

use super::environment::GENERATION;
use super::step::Builder;
use super::{SCHEMA, tags_of};

const SCHEDULED: &str = "schedule.run";
/// A task that runs longer is stopped, in seconds.
const DAY: u32 = 24 * 3_600;

/// `task_definition`: of the service that runs now. Under an id of its own: it supersedes no deployment of the environment, and no
/// deployment supersedes it.
pub fn scheduled(
    project: &str,
    environment: &LongLivedEnvironment,
    (name, schedule): (&str, &Schedule),
    task_definition: String,
    instance: &str,
    execution: &ExecutionId,
) -> Plan {
    let id = environment.id(project);
    let params = RunTask {
        task_definition: Input::Value(task_definition),
        container: Some(schedule.container.clone()).filter(|name| !name.is_empty()),
        command: schedule.command.clone(),
        environment: std::collections::BTreeMap::new(),
        timeout: DAY,
        service: None,
        tags: tags_of(&id, GENERATION, instance, execution, None),
    };
    let mut builder = Builder::new(FailurePolicy::FailForward);
    let title = format!("Run {name} as a task of service {}", schedule.service);
    builder.add("task", title, &[], StepParams::RunTask(params));
    builder.timeout_s(DAY + 600);
    builder.last(|step| step.undo = false);
    Plan {
        schema: SCHEMA,
        kind: SCHEDULED.to_owned(),
        environment: id.schedule(name),
        generation: GENERATION,
        parent: None,
        title: "Scheduled task".to_owned(),
        steps: builder.steps,
        max_parallel: 1,
        last_try: false,
        quiet: false,
        again: false,
        fallback: std::collections::BTreeMap::new(),
    }
}
