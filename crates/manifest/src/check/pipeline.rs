//! Pipelines: environments that exist and can be promoted to, people who can approve, work that can be done.

use super::{Checker, known, shown_at, syntax};
use crate::authored::{Container, Manifest, Pipeline, PipelineStage, StageApproval, StageTask};
use crate::codes;
use crate::diagnostic::{Diagnostic, did_you_mean};
use crate::tree::{At, shorten};

const KINDS: [&str; 4] = ["stack", "task", "deploy", "verify"];
const NAME: usize = 40;
const LONGEST: u64 = 30 * 86_400;

impl<'t> Checker<'_, 't> {
    pub(super) fn pipelines(&mut self, manifest: &Manifest) {
        let at = self.root.get("pipelines");
        for (name, pipeline) in &manifest.pipelines {
            let at = at.get(name);
            self.name("pipeline", name, NAME, at);
            self.trigger(manifest, name, pipeline, at.get("on"));
            let stages_at = at.get("stages");
            if pipeline.stages.is_empty() && stages_at.is_given() {
                self.error(codes::BAD_VALUE, stages_at, "a pipeline without stages", "empty");
            }
            for (index, stage) in pipeline.stages.iter().enumerate() {
                self.stage(manifest, pipeline, index, stage, stages_at.item(index));
            }
        }
        self.after_each_other(manifest);
    }

    fn trigger(&mut self, manifest: &Manifest, name: &str, pipeline: &Pipeline, at: At<'t>) {
        let Some(on) = &pipeline.on else { return };
        self.patterns("branches", &on.branches, "branch", Some("refs/heads/"), at);
        self.patterns("ignore", &on.ignore, "branch", Some("refs/heads/"), at);
        let Some(after) = &on.after else { return };
        let at = at.get("after");
        if !manifest.pipelines.contains_key(after) {
            let all = || manifest.pipelines.keys().map(String::as_str).filter(|other| *other != name);
            let error = Diagnostic::error(codes::BAD_VALUE, format!("there is no pipeline {}", shown_at(at)))
                .label(at.span(), "not defined under `pipelines`")
                .help(known("pipeline", all()))
                .maybe_help(did_you_mean(after, all()));
            self.push(error);
        }
    }

    /// None that begins itself, however far around.
    fn after_each_other(&mut self, manifest: &Manifest) {
        let after = |name: &str| manifest.pipelines.get(name)?.on.as_ref()?.after.as_deref();
        for name in manifest.pipelines.keys() {
            let mut circle = vec![name.as_str()];
            let mut at = after(name);
            while let Some(next) = at {
                if next == name {
                    let place = self.root.get("pipelines").get(name).get("on").get("after");
                    let message = format!("these pipelines begin each other for ever: {}", circle.join(", "));
                    self.error(codes::CYCLE, place, message, "closes the circle");
                    return;
                }
                if circle.contains(&next) {
                    break;
                }
                circle.push(next);
                at = after(next);
            }
        }
    }

    fn stage(&mut self, manifest: &Manifest, pipeline: &Pipeline, index: usize, stage: &PipelineStage, at: At<'t>) {
        let name = &stage.environment;
        if at.get("environment").is_given() {
            self.environment_ref(manifest, name, at.get("environment"));
        }
        if pipeline.stages[..index].iter().any(|other| other.environment == *name) && !name.is_empty() {
            let message = format!("environment `{}` is in this pipeline twice", shorten(name));
            self.error(codes::BAD_VALUE, at.get("environment"), message, "again here");
        }
        if let Some(requires) = &stage.requires {
            let at = at.get("requires");
            for (index, other) in requires.passed.iter().enumerate() {
                self.environment_ref(manifest, other, at.get("passed").item(index));
            }
            self.seconds(requires.bake, at.get("bake"), 0, LONGEST);
            if index == 0 && requires.bake.is_some_and(|bake| bake.0 > 0) {
                let warning = Diagnostic::warning(codes::NO_EFFECT, "nothing bakes before the first stage")
                    .label(at.get("bake").key_span(), "counts from when the images are known")
                    .help("put it on the stage after the one that bakes");
                self.push(warning);
            }
            for (name, check) in &requires.checks {
                let at = at.get("checks").get(name);
                self.name("check", name, NAME, at);
                self.url(&check.url, at.get("url"));
                if let Some(status) = &check.status {
                    self.statuses(&status.0, at.get("status"));
                }
            }
            for name in requires.quiet.keys() {
                let at = at.get("quiet").get(name);
                let own = manifest.environments.get(name);
                match own {
                    None => {
                        let all = || manifest.environments.keys().map(String::as_str);
                        let message = format!("there is no environment `{}`", shorten(name));
                        let error = Diagnostic::error(codes::UNKNOWN_ENVIRONMENT, message)
                            .label(at.key_span(), "not defined under `environments`")
                            .help(known("environment", all()))
                            .maybe_help(did_you_mean(name, all()));
                        self.push(error);
                    }
                    Some(own) if own.on.is_none() => {
                        let error = Diagnostic::error(codes::ONLY_ON_AWS, "alarms of CloudWatch are on AWS")
                            .label(at.key_span(), "the environment is on this machine, without `on`");
                        self.push(error);
                    }
                    Some(_) => {}
                }
            }
        }
        if let Some(approval) = &stage.approval {
            self.approval(manifest, approval, at.get("approval"));
        }
        self.stage_work(manifest, stage, at);
        for (from, to) in &stage.copy {
            let at = at.get("copy").get(from);
            for (text, span) in [(from.as_str(), at.key_span()), (to.0.as_str(), at.span())] {
                if text.is_empty() || text.contains(['@', ' ']) || syntax::image(text, false).is_err() {
                    let message = format!("`{}` is no repository", shorten(text));
                    self.push(Diagnostic::error(codes::IMAGE, message).label(span, "`REGISTRY/NAME`, without a tag"));
                }
            }
        }
        for (index, parameter) in stage.image_tag.iter().enumerate() {
            let at = at.get("image_tag").item(index);
            let bare = parameter.0.replace("{environment}", "e").replace("{service}", "s").replace("{project}", "p");
            let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-/".contains(&byte);
            // <https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_PutParameter.html>
            if bare.is_empty() || bare.len() > 1011 || !bare.bytes().all(legal) {
                let error = Diagnostic::error(codes::AWS_ID, format!("{} is no parameter of SSM", shown_at(at)))
                    .label(at.span(), "letters, digits, `_`, `.`, `-` and `/`")
                    .help("`{environment}`, `{service}` and `{project}` are replaced");
                self.push(error);
            }
        }
        if let Some(environment) = manifest.environments.get(name) {
            self.can_be_promoted(manifest, environment.services.as_ref(), at.get("environment"));
        }
    }

    fn approval(&mut self, manifest: &Manifest, approval: &StageApproval, at: At<'t>) {
        let by_at = at.get("by");
        if approval.by.is_empty() && by_at.is_given() {
            self.error(codes::BAD_VALUE, by_at, "nobody may approve", "empty");
        }
        for (index, name) in approval.by.iter().enumerate() {
            let at = by_at.item(index);
            if name.0.is_empty() || name.0.len() > 100 || name.0.contains(|c: char| c.is_whitespace() || c == ':') {
                let error = Diagnostic::error(codes::NAME, format!("{} is nobody's name", shown_at(at)))
                    .label(at.span(), "one word, without `:`")
                    .help("`anna` is whoever the account, GitHub or the link calls so");
                self.push(error);
            } else if approval.by[..index].iter().any(|other| other.0.eq_ignore_ascii_case(&name.0)) {
                self.error(codes::BAD_VALUE, at, format!("`{}` is listed twice", shorten(&name.0)), "again here");
            }
        }
        self.number(approval.count, at.get("count"), 1, 100);
        let people = u32::try_from(approval.by.len()).unwrap_or(u32::MAX);
        if people > 0
            && let Some(count) = approval.count.filter(|count| *count > people)
        {
            let message = format!("{count} approvals are needed, and {people} may give one");
            let error = Diagnostic::error(codes::OUT_OF_RANGE, message).label(at.get("count").span(), "never reached");
            self.push(error.label(by_at.key_span(), "these may"));
        }
        self.seconds(approval.deadline, at.get("deadline"), 1, LONGEST);
        for (index, name) in approval.notify.iter().enumerate() {
            if !manifest.notifications.contains_key(&name.0) {
                let at = at.get("notify").item(index);
                let all = || manifest.notifications.keys().map(String::as_str);
                let error = Diagnostic::error(codes::BAD_VALUE, format!("there is no notification {}", shown_at(at)))
                    .label(at.span(), "not defined under `notifications`")
                    .help(known("notification", all()))
                    .maybe_help(did_you_mean(&name.0, all()));
                self.push(error);
            }
        }
    }

    fn stage_work(&mut self, manifest: &Manifest, stage: &PipelineStage, at: At<'t>) {
        let environment = manifest.environments.get(&stage.environment);
        let run_at = at.get("run");
        let has_stack = environment.is_some_and(|environment| environment.stack.is_some());
        let Some(run) = &stage.run else { return };
        if run.is_empty() && run_at.is_given() {
            self.error(codes::BAD_VALUE, run_at, "a stage that does nothing", "empty");
        }
        for (index, work) in run.iter().enumerate() {
            let at = run_at.item(index);
            if !self.exactly_one("an item of `run`", at, &KINDS) {
                continue;
            }
            if work.stack.is_some() && environment.is_some() && !has_stack {
                let name = shorten(&stage.environment);
                let error = Diagnostic::error(codes::STACK, format!("environment `{name}` has no `stack`"))
                    .label(at.get("stack").key_span(), "nothing to apply")
                    .help("`deploy: {}` deploys its services");
                self.push(error);
            }
            if let (Some(task), Some(environment)) = (&work.task, environment) {
                self.stage_task(manifest, environment, task, at.get("task"));
            }
        }
    }

    fn stage_task(
        &mut self,
        manifest: &Manifest,
        environment: &crate::authored::Environment,
        task: &StageTask,
        at: At<'t>,
    ) {
        self.seconds(task.timeout, at.get("timeout"), 1, 86_400);
        if task.command.is_empty() && at.get("command").is_given() {
            self.error(codes::BAD_VALUE, at.get("command"), "a task without a command", "empty");
        }
        let at_service = at.get("service");
        let here = environment.runs(&task.service);
        let Some(service) = manifest.services.get(&task.service).filter(|_| here) else {
            if at_service.is_given() {
                let there = || {
                    let all = manifest.services.keys();
                    all.filter(|name| environment.runs(name)).map(String::as_str)
                };
                let message = format!("no service {} there", shown_at(at_service));
                let error = Diagnostic::error(codes::UNKNOWN_SERVICE, message)
                    .label(at_service.span(), "not one of the environment's services")
                    .help(known("service", there()))
                    .maybe_help(did_you_mean(&task.service, there()));
                self.push(error);
            }
            return;
        };
        if let Some(container) = task.container.as_ref().filter(|name| !service.containers.contains_key(*name)) {
            let at = at.get("container");
            let all = || service.containers.keys().map(String::as_str);
            let error = Diagnostic::error(codes::UNKNOWN_SERVICE, format!("no container {} there", shown_at(at)))
                .label(at.span(), "not one of the service's containers")
                .help(known("container", all()))
                .maybe_help(did_you_mean(container, all()));
            self.push(error);
        }
    }

    /// What the deployment itself builds has no digest that another environment could be given.
    fn can_be_promoted(&mut self, manifest: &Manifest, services: Option<&Vec<String>>, at: At<'t>) {
        for (name, service) in &manifest.services {
            if services.is_some_and(|own| !own.contains(name)) {
                continue;
            }
            let built = |container: &Container| container.build.is_some() && container.r#await.is_none();
            for container in service.containers.iter().filter(|(_, one)| built(one)).map(|(name, _)| name) {
                let which = format!("{}/{}", shorten(name), shorten(container));
                let message =
                    format!("image of {which} is built by the deployment: a pipeline promotes what was pushed");
                let own = self.root.get("services").get(name).get("containers").get(container).get("build");
                let error = Diagnostic::error(codes::IMAGE, message)
                    .label(at.span(), "nothing to promote to here")
                    .label(own.key_span(), "built anew for every environment")
                    .help("`await: {image: …, build: …}` lets `landfall build` and `landfall push` make it once");
                self.push(error);
            }
        }
    }
}
