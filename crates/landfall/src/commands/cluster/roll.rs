//! `cluster deploy|activate|deactivate|destroy`: looked at and acted on until it is done. Nothing is kept here: called again after any death,
//! it goes on from where the cluster is.

use std::time::{Duration, Instant};

use landfall_cluster::roll::{Compute, Facts, Failure, Goal, Next, Patience, Wait, next};
use landfall_cluster::{Around, Part, Standing, Version, stack_name};
use landfall_model::Timestamp;
use landfall_ports::stacks::Back;
use landfall_stack::live::{Causes, of_operation, told};
use landfall_steps::cluster::{Cluster, Did};
use serde::Serialize;

use super::infra::Open;
use super::reach::Reach;
use crate::cli::cluster::{ClusterDeployArgs, ClusterDestroyArgs, ClusterVersionArgs};
use crate::commands::port_error;
use crate::error::{CliError, CliResult, not_found};
use crate::exit::ExitCode;
use crate::printer::Printer;
use crate::progress::{Mark, Progress};

const FIRST: Duration = Duration::from_millis(200);
/// A change set is being made.
const SOON: Duration = Duration::from_millis(400);
const LONGEST: Duration = Duration::from_secs(4);

/// As printed with `--output json`.
#[derive(Debug, Serialize)]
struct Rolled {
    cluster: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<String>,
    outcome: &'static str,
    exit_code: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
    /// What was done, in order.
    did: Vec<Next>,
}

pub(super) async fn deploy(args: &ClusterDeployArgs, printer: &Printer) -> CliResult<ExitCode> {
    let open = Open::of(&args.what.version.values, printer)?;
    let version = open.version(&args.what.version)?;
    let reach = Reach::of(&open.infra, printer).await?;
    let around = reach.around(&open, printer).await?;
    // Here, and not when CloudFormation refuses it.
    super::template::instances(&open, &version, &around)?;
    let image = reach.image(&open.infra, args.what.ami.as_ref()).await?;
    let cluster = Cluster::new(&open.infra, around, Some(image), &*reach.stacks, &*reach.instances);
    let goal = Goal::Deploy { version: version.clone(), fresh: true };
    let again = format!("landfall cluster deploy --version {version}");
    let mut roll = Roll::new(cluster, &reach, &open.infra.name, again, printer);
    roll.patience.stays = args.prove.into();
    roll.patience.registers = args.register.into();
    roll.to(goal, args.patience.timeout, Some(&version)).await
}

pub(super) async fn activate(args: &ClusterVersionArgs, printer: &Printer) -> CliResult<ExitCode> {
    stand(args, Standing::Active, printer).await
}

pub(super) async fn deactivate(args: &ClusterVersionArgs, printer: &Printer) -> CliResult<ExitCode> {
    stand(args, Standing::Inactive, printer).await
}

async fn stand(args: &ClusterVersionArgs, standing: Standing, printer: &Printer) -> CliResult<ExitCode> {
    let open = Open::of(&args.values, printer)?;
    let name = &open.infra.name;
    let reach = Reach::of(&open.infra, printer).await?;
    let mut cluster = Cluster::new(&open.infra, Around::default(), None, &*reach.stacks, &*reach.instances);
    let facts = cluster.look(&Goal::Settle, now()).await.map_err(port_error)?;
    let Some(own) = facts.computes.iter().find(|one| one.version.as_str() == args.version) else {
        let known: Vec<&str> = facts.computes.iter().map(|one| one.version.as_str()).collect();
        return Err(not_found("version", &args.version, known.iter().copied()));
    };
    let version = own.version.clone();
    let used = |one: &&Compute| one.version != version && one.standing.status() == "active";
    if standing == Standing::Inactive && !facts.computes.iter().any(|one| used(&one)) {
        let message =
            format!("{version} is the only version of cluster {name} that is used: its tasks would have nowhere to go");
        return Err(
            CliError::new(ExitCode::Conflict, message).hint("deploy another one first, or `landfall cluster destroy`")
        );
    }
    let verb = if standing == Standing::Active { "activate" } else { "deactivate" };
    let again = format!("landfall cluster {verb} {version}");
    let goal = if standing == Standing::Active { Goal::Keep(version.clone()) } else { Goal::Settle };
    let same = own.standing == standing;
    let mut roll = Roll::new(cluster, &reach, name, again, printer);
    if !same {
        let first = Next::Stand { version: version.clone(), standing, why: None };
        roll.until_done(&first, &Goal::Settle, args.patience.timeout).await?;
    }
    roll.to(goal, args.patience.timeout, Some(&version)).await
}

pub(super) async fn destroy(args: &ClusterDestroyArgs, printer: &Printer) -> CliResult<ExitCode> {
    let open = Open::of(&args.values, printer)?;
    let name = &open.infra.name;
    let reach = Reach::of(&open.infra, printer).await?;
    let mut cluster = Cluster::new(&open.infra, Around::default(), None, &*reach.stacks, &*reach.instances);
    let facts = cluster.look(&Goal::Destroy, now()).await.map_err(port_error)?;
    let services = reach.instances.services().await.map_err(port_error)?;
    if !services.is_empty() {
        let names: Vec<&str> = services.iter().map(|one| one.name.as_str()).collect();
        let message = format!("services run on cluster {name}: {}", names.join(", "));
        return Err(CliError::new(ExitCode::Conflict, message).hint("nothing was deleted; delete the services first"));
    }
    let tasks: u32 = facts.instances.iter().map(|one| one.tasks).sum();
    printer.note(format_args!(
        "cluster {name}: {} versions, {} instances with {tasks} tasks",
        facts.computes.len(),
        facts.instances.len()
    ));
    if !(args.yes || printer.interactive() && crate::commands::stack::asked("delete all of it?")) {
        return Err(
            CliError::new(ExitCode::Usage, "nothing was deleted").hint("--yes says so where nobody can be asked")
        );
    }
    let again = "landfall cluster destroy --yes".to_owned();
    let mut roll = Roll::new(cluster, &reach, name, again, printer);
    roll.to(Goal::Destroy, args.patience.timeout, None).await
}

pub(super) fn now() -> i64 {
    Timestamp::now().as_second()
}

struct Roll<'a> {
    cluster: Cluster<'a>,
    reach: &'a Reach,
    name: &'a str,
    /// The command that goes on.
    again: String,
    printer: &'a Printer,
    patience: Patience,
    progress: Progress,
    did: Vec<Next>,
    why: Option<String>,
}

impl<'a> Roll<'a> {
    fn new(cluster: Cluster<'a>, reach: &'a Reach, name: &'a str, again: String, printer: &'a Printer) -> Self {
        let progress = Progress::new(*printer);
        Self {
            cluster,
            reach,
            name,
            again,
            printer,
            patience: Patience::default(),
            progress,
            did: Vec::new(),
            why: None,
        }
    }

    async fn to(&mut self, mut goal: Goal, timeout: u64, version: Option<&Version>) -> CliResult<ExitCode> {
        let mut interrupted = std::pin::pin!(tokio::signal::ctrl_c());
        let _ = futures_util::poll!(interrupted.as_mut());
        let deadline = Instant::now() + Duration::from_secs(timeout);
        let mut pause = FIRST;
        let code = loop {
            let facts = match self.cluster.look(&goal, now()).await {
                Ok(facts) => facts,
                // Whoever waits for an hour has to expect that AWS is away for a moment.
                Err(error) if error.passes() && Instant::now() < deadline => {
                    self.progress.running(&error.to_string());
                    tokio::time::sleep(LONGEST).await;
                    continue;
                }
                Err(error) => return Err(port_error(error)),
            };
            let decided = next(&goal, &facts, self.patience);
            match &decided {
                Next::Done => break ExitCode::Ok,
                Next::Failed { why } => {
                    self.failed(why, &facts).await?;
                    break ExitCode::Failed;
                }
                Next::Wait { on } => self.progress.running(&waiting(on)),
                doing => {
                    if self.does(doing, &facts).await? {
                        pause = FIRST;
                        if let Goal::Deploy { fresh, .. } = &mut goal {
                            *fresh = false;
                        }
                    } else {
                        pause = pause.min(SOON);
                    }
                }
            }
            if Instant::now() > deadline {
                self.progress.finish();
                let what = if let Next::Wait { on } = &decided { waiting(on) } else { "it is not done".to_owned() };
                let message = format!("cluster {} is not done after {timeout} s: {what}", self.name);
                return Err(CliError::new(ExitCode::TimedOut, message).hint(format!("`{}` goes on", self.again)));
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => pause = (pause * 2).min(LONGEST),
                _ = &mut interrupted => {
                    self.progress.finish();
                    let message = format!("interrupted; cluster {} stays as it is now", self.name);
                    return Err(CliError::new(ExitCode::Interrupted, message).hint(format!("`{}` goes on", self.again)));
                }
            }
        };
        self.progress.finish();
        self.end(code, &goal, version)?;
        Ok(code)
    }

    /// One thing, until it is begun.
    async fn until_done(&mut self, doing: &Next, goal: &Goal, timeout: u64) -> CliResult<()> {
        let deadline = Instant::now() + Duration::from_secs(timeout);
        loop {
            let facts = self.cluster.look(goal, now()).await.map_err(port_error)?;
            if self.does(doing, &facts).await? {
                return Ok(());
            }
            if Instant::now() > deadline {
                let message = format!("cluster {} is not changed after {timeout} s", self.name);
                return Err(CliError::new(ExitCode::TimedOut, message).hint(format!("`{}` tries again", self.again)));
            }
            tokio::time::sleep(FIRST).await;
        }
    }

    /// Whether it is begun.
    async fn does(&mut self, doing: &Next, facts: &Facts) -> CliResult<bool> {
        let did = match self.cluster.act(doing, facts).await {
            Err(error) if error.passes() => {
                self.progress.running(&error.to_string());
                return Ok(false);
            }
            did => did.map_err(port_error)?,
        };
        match did {
            Did::It => {
                if let Next::Stand { why: Some(why), .. } = doing {
                    self.why = Some(why.clone());
                }
                let (mark, text) = said(doing, self.name);
                self.progress.line(mark, &text, None);
                self.did.push(doing.clone());
                Ok(true)
            }
            Did::Pending => {
                self.progress.running(&said(doing, self.name).1);
                Ok(false)
            }
            Did::Held { stack, before } => {
                let message = before.said(&stack, &format!("cluster {}", self.name));
                let hint = "another name of the cluster, or another version, is another stack";
                Err(CliError::new(ExitCode::Conflict, message).hint(hint))
            }
            Did::Refused { stack, why } => {
                let message = format!("CloudFormation refuses the change of {stack}: {}", told(&why));
                Err(CliError::new(ExitCode::Failed, message).hint("what is there was left as it is"))
            }
        }
    }

    /// What CloudFormation tells of a stack that failed, besides.
    async fn failed(&mut self, why: &Failure, facts: &Facts) -> CliResult<()> {
        self.progress.finish();
        let said = match (why, self.why.take()) {
            (Failure::Unproven { version }, Some(reason)) => format!("version {version} does not work: {reason}"),
            (why, _) => why.to_string(),
        };
        self.printer.failure(&said);
        self.why = Some(said);
        let stack = match why {
            Failure::Stuck { stack, .. } | Failure::Undone { stack } | Failure::NeverCame { stack } => stack,
            Failure::Other { .. } => {
                self.printer.hint("an infra.yml that has changed is another version: --version, or VERSION");
                return Ok(());
            }
            Failure::Unproven { .. } => {
                self.printer
                    .hint("what was used before is used still; its instances are gone, and the next deploy cleans up");
                return Ok(());
            }
            Failure::Foreign { .. } | Failure::Overtaken { .. } => return Ok(()),
        };
        let of_version = facts.computes.iter().find(|one| one.stack == *stack).map(|one| one.id.clone());
        let id = of_version.unwrap_or_else(|| stack.clone());
        let events = self.reach.stacks.events(&id, Back::Operation).await.map_err(port_error)?;
        let causes = Causes::of(of_operation(&events, &id), &id);
        for cause in causes.root.iter().chain(&causes.blocking) {
            self.printer.failure(format_args!("{} ({}): {}", cause.resource, cause.kind, cause.reason));
        }
        self.printer.hint(match why {
            Failure::Undone { .. } => format!("mend it and call this again: {stack} is as it was before"),
            Failure::NeverCame { .. } => format!("mend it and deploy again: what is left of {stack} is deleted first"),
            _ => format!("CloudFormation's console leads {stack} out of it; what is used is left as it is"),
        });
        Ok(())
    }

    fn end(&self, code: ExitCode, goal: &Goal, version: Option<&Version>) -> CliResult<()> {
        let name = self.name;
        if code == ExitCode::Ok {
            self.printer.note(match (goal, version) {
                (Goal::Deploy { version, .. }, _) => {
                    format!("cluster {name} runs version {version}; `landfall cluster status` shows it")
                }
                (Goal::Destroy, _) => format!("cluster {name} is gone"),
                (Goal::Keep(version), _) => format!("version {version} of cluster {name} is used"),
                (Goal::Settle, Some(version)) => format!("version {version} of cluster {name} is gone"),
                (Goal::Settle, None) => format!("cluster {name} is settled"),
            });
        }
        if self.printer.json() {
            self.printer.json_data(&Rolled {
                cluster: name.to_owned(),
                version: version.map(Version::to_string),
                outcome: code.word(),
                exit_code: code as u8,
                why: self.why.clone(),
                did: self.did.clone(),
            })?;
        }
        Ok(())
    }
}

fn said(doing: &Next, cluster: &str) -> (Mark, String) {
    let short = |version: &Version| version.as_str().get(..12).unwrap_or(version.as_str()).to_owned();
    match doing {
        Next::Apply { part } => (Mark::Done, format!("stack {}", stack_name(cluster, *part, None))),
        Next::Create { version } => {
            (Mark::Done, format!("stack {}", stack_name(cluster, Part::Compute, Some(version))))
        }
        Next::Stand { version, standing, why } => {
            let version = short(version);
            match standing {
                Standing::Testing => (Mark::Done, format!("version {version} is tested again")),
                Standing::Replacing => (Mark::Done, format!("version {version} works")),
                Standing::Active => (Mark::Done, format!("version {version} is used")),
                Standing::Inactive => (Mark::Done, format!("version {version} is not used any more")),
                Standing::Failed => {
                    let why = why.as_deref().unwrap_or("it does not work");
                    (Mark::Failed, format!("version {version}: {why}; its instances go"))
                }
            }
        }
        Next::Prove { version } => (Mark::Done, format!("a task on instances of version {}", short(version))),
        Next::StopProof { .. } => (Mark::Done, "the task that proves it is stopped".to_owned()),
        Next::Drain { version, instances } => {
            (Mark::Done, format!("{} of version {} take no more tasks", counted(instances.len()), short(version)))
        }
        Next::Undrain { version, instances } => {
            (Mark::Done, format!("{} of version {} take tasks again", counted(instances.len()), short(version)))
        }
        Next::Delete { stack, .. } => (Mark::Done, format!("stack {stack} goes")),
        Next::Leave { part } => (Mark::Done, format!("stack {} goes", stack_name(cluster, *part, None))),
        Next::Wait { on } => (Mark::Done, waiting(on)),
        Next::Done | Next::Failed { .. } => (Mark::Done, String::new()),
    }
}

fn counted(instances: usize) -> String {
    crate::commands::manifest::plural(instances, "instance")
}

fn waiting(on: &Wait) -> String {
    match on {
        Wait::Stack { stack } => format!("CloudFormation is at work on {stack}"),
        Wait::Register { version } => format!("no instance of version {version} is registered yet"),
        Wait::Start { .. } => "the task is placed, and does not run yet".to_owned(),
        Wait::Stay { seconds, .. } => format!("the task runs, for {seconds} s"),
        Wait::Move { instances, tasks, version } => {
            format!("{tasks} tasks move away from {} of version {version}", counted(*instances))
        }
        Wait::Steady { services } => format!("services have fewer tasks than they should: {}", services.join(", ")),
    }
}
