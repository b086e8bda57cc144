//! Faults of a plan, found without knowing how it was made: nothing here is shared with what plans. A plan that passes may
//! run; one with an error is refused before its execution exists.

mod params;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use landfall_model::ids::StepId;
use landfall_model::inventory::ResourceKind;
use landfall_model::step::{Input, StepParams, WaitUntil};
use landfall_workflow::{FailurePolicy, Idempotency, Plan, Step};
use serde_json::Value;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    Error,
    Warning,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LintNote {
    pub severity: Severity,
    pub step: Option<StepId>,
    pub message: String,
}

/// Empty for a plan that may run. An `Error` must keep it from running.
pub fn lint(plan: &Plan) -> Vec<LintNote> {
    let mut lint = Lint::new(plan);
    lint.whole();
    for step in &plan.steps {
        lint.step(step);
    }
    if plan.kind == "preview.destroy" {
        lint.destroy();
    } else {
        lint.probes();
        lint.sweeps();
    }
    lint.notes
}

/// # Errors
/// Why it must not run.
pub fn check(plan: &Plan) -> Result<(), String> {
    let errors = lint(plan).into_iter().filter(|note| note.severity == Severity::Error);
    let told = errors.map(|note| note.step.map_or(note.message.clone(), |step| format!("{step}: {}", note.message)));
    let told: Vec<String> = told.collect();
    match told.is_empty() {
        true => Ok(()),
        false => Err(format!("the plan is faulty: {}", told.join("; "))),
    }
}

struct Lint<'a> {
    plan: &'a Plan,
    /// The parameters that could be read, in the order of the plan.
    typed: Vec<(&'a Step, StepParams)>,
    /// All that a step waits for, directly or not; itself, if there is a circle.
    above: BTreeMap<&'a StepId, BTreeSet<&'a StepId>>,
    notes: Vec<LintNote>,
}

impl<'a> Lint<'a> {
    fn new(plan: &'a Plan) -> Self {
        let typed = plan.steps.iter().filter_map(|step| Some((step, step.typed().ok()?))).collect();
        let above = plan.steps.iter().map(|step| (&step.id, above(plan, step))).collect();
        Self { plan, typed, above, notes: Vec::new() }
    }

    fn note(&mut self, severity: Severity, step: Option<&StepId>, message: impl Into<String>) {
        self.notes.push(LintNote { severity, step: step.cloned(), message: message.into() });
    }

    fn wrong(&mut self, step: &Step, message: impl Into<String>) {
        self.note(Severity::Error, Some(&step.id), message);
    }

    fn whole(&mut self) {
        if self.plan.steps.is_empty() {
            self.note(Severity::Error, None, "the plan has no steps");
        }
        if self.plan.max_parallel == 0 {
            self.note(Severity::Error, None, "max_parallel is 0: nothing would ever run");
        }
        if self.plan.environment.as_str().is_empty() {
            self.note(Severity::Error, None, "the plan names no environment");
        }
        if self.plan.title.is_empty() {
            self.note(Severity::Warning, None, "the plan has no title");
        }
        let mut seen = BTreeSet::new();
        for step in &self.plan.steps {
            if !seen.insert(&step.id) {
                self.wrong(step, "another step has the same id");
            }
        }
    }

    fn step(&mut self, step: &'a Step) {
        for need in &step.needs {
            if !self.above.contains_key(need) {
                self.wrong(step, format!("it needs `{need}`, which is not in the plan"));
            }
        }
        if self.above.get(&step.id).is_some_and(|above| above.contains(&step.id)) {
            self.wrong(step, "it waits for itself: its needs go in a circle");
        }
        if step.timeout_ms == 0 {
            self.wrong(step, "timeout_ms is 0: it would be over before it began");
        }
        if step.retry.attempts == 0 {
            self.wrong(step, "retry.attempts is 0; the first attempt counts");
        }
        if step.retry.initial_ms > step.retry.max_ms {
            self.note(Severity::Warning, Some(&step.id), "retry.initial_ms is more than retry.max_ms");
        }
        if step.title.is_empty() {
            self.note(Severity::Warning, Some(&step.id), "it has no title");
        }
        let mut references = Vec::new();
        collect(&step.params, &mut references);
        for reference in references {
            self.reference(step, reference);
        }
        match step.typed() {
            Ok(params) => {
                self.policy(step, &params);
                self.params(step, &params);
            }
            Err(error) => self.wrong(step, format!("its kind or its parameters cannot be read: {error}")),
        }
    }

    fn reference(&mut self, step: &Step, reference: &str) {
        let Some((from, field)) =
            reference.rsplit_once('/').filter(|(from, field)| !from.is_empty() && !field.is_empty())
        else {
            return self.wrong(step, format!("the reference `{reference}` is not of the form step/field"));
        };
        let plan = self.plan;
        let Some(source) = plan.steps.iter().find(|other| other.id.as_str() == from) else {
            return self.wrong(step, format!("it uses `{reference}`, and there is no step `{from}`"));
        };
        if !self.above.get(&step.id).is_some_and(|above| above.contains(&source.id)) {
            self.wrong(step, format!("it uses `{reference}` without needing `{from}`, directly or through others"));
        }
        if !params::outputs(source.kind()).contains(&field) {
            self.wrong(step, format!("it uses `{reference}`, and a step of kind {} gives no `{field}`", source.kind()));
        }
        if source.on_failure == FailurePolicy::Warn {
            self.wrong(step, format!("it uses `{reference}`, which is missing when `{from}` fails and is passed over"));
        }
    }

    /// What must hold so that it can be undone, and run again after a crash.
    fn policy(&mut self, step: &Step, params: &StepParams) {
        // Task definitions of what lasts are kept, to go back to.
        let kept = matches!(params, StepParams::RegisterTaskDefinition(_)) && self.plan.environment.is_long_lived();
        if let Some(kind) = params.creates()
            && !step.undo
            && !kept
            && !self.swept_by_an_undo(step, kind)
        {
            self.wrong(step, "it creates something and has no undo");
        }
        match params {
            StepParams::RunHook(hook) if !hook.rerunnable && step.idempotency != Idempotency::Unsafe => {
                self.wrong(step, "the hook may not be run twice, so its idempotency must be unsafe");
            }
            StepParams::RunTask(_) if !matches!(step.idempotency, Idempotency::Token | Idempotency::Unsafe) => {
                self.wrong(step, "a task that is run again is another task: its idempotency must be token or unsafe");
            }
            StepParams::RunHook(_) | StepParams::RunTask(_) => {}
            _ if step.idempotency == Idempotency::Unsafe => {
                self.note(Severity::Warning, Some(&step.id), "only hooks are unsafe to repeat; a crash pauses here");
            }
            _ => {}
        }
    }

    /// Whether a step that is undone after `step` takes away what it makes.
    fn swept_by_an_undo(&self, step: &Step, kind: ResourceKind) -> bool {
        let above = self.above.get(&step.id);
        self.typed.iter().any(|(sweep, params)| match params {
            StepParams::SweepResources(params) => {
                sweep.undo && params.undo_kinds.contains(&kind) && above.is_some_and(|above| above.contains(&sweep.id))
            }
            _ => false,
        })
    }

    /// A destroy says that all is gone only after it has looked, when everything else is done.
    fn destroy(&mut self) {
        let verify: Vec<&Step> = self.of_kind(|params| matches!(params, StepParams::VerifyGone(_)));
        let [verify] = verify[..] else {
            let message = format!("a destroy ends in one resources.verify_gone; this has {}", verify.len());
            return self.note(Severity::Error, None, message);
        };
        let plan = self.plan;
        for step in plan.steps.iter().filter(|step| step.id != verify.id) {
            if !self.above.get(&verify.id).is_some_and(|above| above.contains(&step.id)) {
                self.wrong(step, format!("`{}` does not wait for it", verify.id));
            }
        }
        if verify.on_failure == FailurePolicy::Warn {
            self.wrong(verify, "what is left would be passed over: on_failure must not be warn");
        }
    }

    /// A preview whose URL nobody asked is not known to answer.
    fn probes(&mut self) {
        let serves = self.typed.iter().any(
            |(_, params)| matches!(params, StepParams::DeployService(d) if d.target.is_some() && d.desired_count > 0 && d.wait_until != WaitUntil::Started),
        );
        let probed = |route: &Step| {
            self.typed.iter().any(|(_, params)| match params {
                StepParams::ProbeUrl(probe) => probe.url == Input::output(route.id.as_str(), "url"),
                _ => false,
            })
        };
        let routes: Vec<&Step> = self.of_kind(|params| matches!(params, StepParams::EnsureRoute(_)));
        for route in routes.into_iter().filter(|route| serves && !probed(route)).collect::<Vec<_>>() {
            self.wrong(route, "no url.probe asks whether the route answers");
        }
    }

    /// A sweep that may delete what the same plan makes must come before it, or keep it.
    fn sweeps(&mut self) {
        let mut faults = Vec::new();
        for (sweep, params) in &self.typed {
            let StepParams::SweepResources(params) = params else { continue };
            let kept = |maker: &Step| {
                params.keep.iter().any(|input| match input {
                    Input::Output { output } => {
                        output.rsplit_once('/').is_some_and(|(from, _)| from == maker.id.as_str())
                    }
                    Input::Value(_) => false,
                })
            };
            for (maker, made) in &self.typed {
                let swept = match made.creates() {
                    // Kept by name, which is known before.
                    Some(ResourceKind::Service) | None => false,
                    Some(kind) => params.kinds.contains(&kind),
                };
                let before = self.above.get(&maker.id).is_some_and(|above| above.contains(&sweep.id));
                if swept && !before && !kept(maker) {
                    faults.push((*sweep, format!("it would delete what `{}` makes", maker.id)));
                }
            }
        }
        for (step, message) in faults {
            self.wrong(step, message);
        }
    }

    fn of_kind(&self, wanted: impl Fn(&StepParams) -> bool) -> Vec<&'a Step> {
        self.typed.iter().filter(|(_, params)| wanted(params)).map(|(step, _)| *step).collect()
    }
}

fn above<'a>(plan: &'a Plan, step: &'a Step) -> BTreeSet<&'a StepId> {
    let mut found = BTreeSet::new();
    let mut left: Vec<&StepId> = step.needs.iter().collect();
    while let Some(id) = left.pop() {
        if found.insert(id) {
            left.extend(plan.steps.iter().filter(|other| other.id == *id).flat_map(|other| &other.needs));
        }
    }
    found
}

/// Every `{"$output": …}`, whatever it holds and wherever it is.
fn collect<'a>(value: &'a Value, into: &mut Vec<&'a str>) {
    match value {
        Value::Object(map) => {
            if let Some(Value::String(reference)) = map.get("$output") {
                into.push(reference);
            }
            map.values().for_each(|value| collect(value, into));
        }
        Value::Array(items) => items.iter().for_each(|value| collect(value, into)),
        _ => {}
    }
}
