//! `cluster status` and `cluster plan`: what there is, and what deploying would do. Nothing is changed.

use landfall_cluster::roll::{Compute, Facts, Failure, Goal, State, anew, emptied};
use landfall_cluster::{Around, Part, Standing};
use landfall_steps::cluster::Cluster;
use serde::Serialize;

use super::infra::Open;
use super::reach::Reach;
use super::roll::{OTHER, held, now};
use crate::cli::cluster::{ClusterPlanArgs, ValuesArgs};
use crate::commands::manifest::plural;
use crate::commands::port_error;
use crate::commands::stack::looked;
use crate::error::{CliError, CliResult};
use crate::exit::ExitCode;
use crate::printer::Printer;

#[derive(Debug, Serialize)]
struct Status {
    cluster: String,
    exists: bool,
    versions: Vec<One>,
    /// Registered instances that are of no version of this cluster's.
    others: usize,
    /// Services with fewer tasks than they should have.
    unsteady: Vec<String>,
}

#[derive(Debug, Serialize)]
struct One {
    version: String,
    stack: String,
    standing: Standing,
    state: State,
    instances: usize,
    draining: usize,
    tasks: u32,
    created: i64,
}

impl One {
    fn of(compute: &Compute, facts: &Facts) -> Self {
        let own: Vec<_> = facts.of_version(&compute.version).collect();
        Self {
            version: compute.version.to_string(),
            stack: compute.stack.clone(),
            standing: compute.standing,
            state: compute.state.clone(),
            instances: own.len(),
            draining: own.iter().filter(|one| one.draining).count(),
            tasks: own.iter().map(|one| one.tasks).sum(),
            created: compute.created,
        }
    }

    fn line(&self) -> String {
        let standing = match (&self.state, self.standing) {
            (State::Busy, _) => "changing",
            (State::Stuck(status), _) => status.as_str(),
            (State::NeverCame, _) => "could not be made",
            (_, Standing::Testing) => "is tested",
            (_, Standing::Replacing) => "takes over",
            (_, Standing::Active) => "active",
            (_, Standing::Inactive) => "inactive",
            (_, Standing::Failed) => "failed",
        };
        let draining = if self.draining > 0 { format!(", {} draining", self.draining) } else { String::new() };
        let (instances, tasks) = (plural(self.instances, "instance"), self.tasks);
        format!(
            "{:<12}  {standing:<17}  {instances}{draining}, {tasks} tasks\n",
            self.version.get(..12).unwrap_or(&self.version)
        )
    }
}

pub(super) async fn status(args: &ValuesArgs, printer: &Printer) -> CliResult<ExitCode> {
    let open = Open::of(args, printer)?;
    let reach = Reach::of(&open.infra, printer).await?;
    let mut cluster = Cluster::new(&open.infra, Around::default(), None, &*reach.stacks, &*reach.instances);
    let facts = cluster.look(&Goal::Settle, now()).await.map_err(port_error)?;
    let exists = facts.cluster.state != State::Absent;
    let known = |version: &str| facts.computes.iter().any(|one| one.version.as_str() == version);
    let status = Status {
        cluster: open.infra.name.clone(),
        exists,
        versions: facts.computes.iter().map(|one| One::of(one, &facts)).collect(),
        others: facts.instances.iter().filter(|one| !one.version.as_deref().is_some_and(known)).count(),
        unsteady: facts.unsteady.iter().map(|one| one.name.clone()).collect(),
    };
    printer.emit(&status, |status| {
        if !status.exists && status.versions.is_empty() {
            return format!("cluster {} is not there\n", status.cluster);
        }
        let mut text = format!("cluster {}\n", status.cluster);
        status.versions.iter().for_each(|one| text.push_str(&format!("  {}", one.line())));
        if status.others > 0 {
            text.push_str(&format!("  {} of no version\n", plural(status.others, "instance")));
        }
        if !status.unsteady.is_empty() {
            text.push_str(&format!("  fewer tasks than they should have: {}\n", status.unsteady.join(", ")));
        }
        text
    })?;
    Ok(if exists { ExitCode::Ok } else { ExitCode::NotFound })
}

#[derive(Debug, Serialize)]
struct Plan {
    cluster: String,
    version: String,
    different: bool,
    exit_code: u8,
    stacks: Vec<Stack>,
    /// A task is to run on its instances first.
    proves: bool,
    /// Versions that are used now, or tested, and would not be.
    replaces: Vec<String>,
    /// Versions that are not used already.
    deletes: Vec<String>,
    /// Instances of both, which would be drained.
    drains: usize,
}

#[derive(Debug, Serialize)]
struct Stack {
    stack: String,
    new: bool,
    /// What is left of one that failed is deleted first.
    anew: bool,
    #[serde(flatten)]
    plan: landfall_stack::live::Plan,
}

pub(super) async fn plan(args: &ClusterPlanArgs, printer: &Printer) -> CliResult<ExitCode> {
    let open = Open::of(&args.version.values, printer)?;
    let version = open.version(&args.version)?;
    let reach = Reach::of(&open.infra, printer).await?;
    let around = reach.around(&open, printer).await?;
    super::template::instances(&open, &version, &around)?;
    let image = reach.image(&open.infra, args.ami.as_ref()).await?;
    let mut cluster = Cluster::new(&open.infra, around, Some(image), &*reach.stacks, &*reach.instances);
    let goal = Goal::Deploy { version: version.clone(), fresh: true };
    let facts = cluster.look(&goal, now()).await.map_err(port_error)?;
    let own = facts.compute(&version);
    if own.is_some_and(|own| own.state == State::Ready && !own.current) {
        let other = Failure::Other { version };
        return Err(CliError::new(ExitCode::Failed, other.to_string()).hint(OTHER));
    }
    let mut stacks = Vec::new();
    for part in [Part::Cluster, Part::Health, Part::Compute] {
        if part == Part::Compute && own.is_some_and(|own| own.current) {
            continue;
        }
        let wanted = cluster.wanted(part, &version, &facts).map_err(port_error)?;
        if part == Part::Compute && own.is_some_and(|own| anew(own, true, &facts)) {
            stacks.push(Stack { stack: wanted.stack, new: true, anew: true, plan: Default::default() });
            continue;
        }
        let held = |before: &_| held(&wanted.stack, before);
        if let Some(ready) = looked(&*reach.stacks, &wanted, held, printer).await? {
            stacks.push(Stack { stack: wanted.stack, new: ready.create, anew: false, plan: ready.plan });
        }
    }
    let replaced = facts.replaced_by(&version);
    let unused: Vec<&Compute> = emptied(&goal, &facts).filter(|one| one.version != version).collect();
    let names = |all: &[&Compute]| all.iter().map(|one| one.version.to_string()).collect();
    let gone = replaced.iter().chain(&unused);
    let used = own.is_some_and(|own| own.standing == Standing::Active);
    let different = !stacks.is_empty() || !used || gone.clone().count() > 0;
    let plan = Plan {
        cluster: open.infra.name.clone(),
        version: version.to_string(),
        different,
        exit_code: if different { ExitCode::Different } else { ExitCode::Ok } as u8,
        stacks,
        proves: own.is_none_or(|own| !own.used()),
        replaces: names(&replaced),
        deletes: names(&unused),
        drains: gone.map(|one| facts.of_version(&one.version).count()).sum(),
    };
    printer.emit(&plan, text)?;
    Ok(if plan.different { ExitCode::Different } else { ExitCode::Ok })
}

fn text(plan: &Plan) -> String {
    let mut text = format!("cluster {}, version {}\n", plan.cluster, plan.version);
    for stack in &plan.stacks {
        let how = match (stack.anew, stack.new) {
            (true, _) => " (new; what is left of it is deleted first)",
            (false, true) => " (new)",
            (false, false) => "",
        };
        text.push_str(&format!("stack {}{how}\n", stack.stack));
        let width = stack.plan.width();
        stack.plan.rows.iter().for_each(|row| text.push_str(&format!("  {}\n", row.line(width))));
    }
    if plan.proves {
        text.push_str("then a task must run and stay on the new instances, before anything else is touched\n");
    }
    if !plan.replaces.is_empty() {
        text.push_str(&format!("then {} is not used any more\n", plan.replaces.join(", ")));
    }
    let gone: Vec<&str> = plan.replaces.iter().chain(&plan.deletes).map(String::as_str).collect();
    if !gone.is_empty() {
        let (gone, drains) = (gone.join(", "), plural(plan.drains, "instance"));
        text.push_str(&format!("then what is not used is deleted: {gone}, with {drains} drained before\n"));
    }
    if !plan.different {
        text.push_str("nothing to change\n");
    }
    text
}
