//! Pipelines, authored → resolved.

use landfall_model::pipeline::{Approval, Check, Pipeline, Requires, Stage, TaskWork, Trigger, Work};
use landfall_model::probe::Probe;

use super::{secs, texts};
use crate::authored;
use crate::scalar::{Duration, Text};
use crate::tree::At;

const TASK_TIMEOUT: u32 = 900;

pub(super) fn pipeline(name: String, pipeline: authored::Pipeline, project: &str, at: At<'_>) -> Pipeline {
    let on = pipeline.on.unwrap_or_default();
    let stages_at = at.get("stages");
    let stages = pipeline.stages.into_iter().enumerate();
    Pipeline {
        name,
        on: Trigger { branches: on.branches, ignore: on.ignore, after: on.after },
        stages: stages.map(|(index, one)| stage(one, project, stages_at.item(index))).collect(),
    }
}

fn stage(stage: authored::PipelineStage, project: &str, at: At<'_>) -> Stage {
    let authored::PipelineStage { environment, requires, approval, run, on_failure, copy, image_tag } = stage;
    let mut work = Vec::new();
    if !copy.is_empty() {
        work.push(Work::Copy { repositories: texts(copy) });
    }
    match run {
        Some(run) => work.extend(run.into_iter().filter_map(one)),
        None => work.extend([Work::Deploy {}, Work::Verify {}]),
    }
    if !image_tag.is_empty() {
        let named = |text: Text| text.0.replace("{environment}", &environment).replace("{project}", project);
        work.push(Work::Publish { parameters: image_tag.into_iter().map(named).collect() });
    }
    Stage {
        requires: required(requires.unwrap_or_default(), at.get("requires")),
        approval: approval.map(asked),
        environment,
        run: work,
        on_failure: on_failure.unwrap_or_default(),
    }
}

fn required(requires: authored::StageRequires, at: At<'_>) -> Requires {
    let checks_at = at.get("checks");
    let mut checks: Vec<Check> = requires.checks.into_iter().map(|(name, one)| check(name, one)).collect();
    checks.sort_by_key(|check| checks_at.position(&check.probe.name));
    let plain = |texts: Vec<Text>| texts.into_iter().map(|text| text.0).collect();
    Requires {
        passed: requires.passed,
        bake: whole(requires.bake).unwrap_or_default(),
        checks,
        quiet: requires.quiet.into_iter().map(|(name, alarms)| (name, plain(alarms))).collect(),
    }
}

fn check(name: String, check: authored::StageCheck) -> Check {
    let usual = Probe::default();
    let status = check.status.map_or(usual.status.clone(), |status| status.0.replace(' ', ""));
    Check { url: check.url, probe: Probe { name, status, body: check.body.map(|body| body.0), ..usual } }
}

fn asked(approval: authored::StageApproval) -> Approval {
    let plain = |texts: Vec<Text>| texts.into_iter().map(|text| text.0).collect();
    Approval {
        by: plain(approval.by),
        count: approval.count.unwrap_or(1),
        deadline: whole(approval.deadline),
        on_deadline: approval.on_deadline.unwrap_or_default(),
        self_approval: approval.self_approval,
        notify: plain(approval.notify),
    }
}

/// `None` for what a check refused.
fn one(work: authored::StageWork) -> Option<Work> {
    Some(if let Some(authored::StageStack { allow_replacement, allow_deletion }) = work.stack {
        Work::Stack { allow_replacement, allow_deletion }
    } else if let Some(task) = work.task {
        Work::Task(TaskWork {
            service: task.service,
            container: task.container,
            command: task.command.into_iter().map(|text| text.0).collect(),
            timeout: secs(task.timeout, TASK_TIMEOUT),
        })
    } else if work.deploy.is_some() {
        Work::Deploy {}
    } else {
        work.verify.map(|_| Work::Verify {})?
    })
}

fn whole(duration: Option<Duration>) -> Option<u64> {
    duration.map(|duration| duration.0 / 1_000)
}
