//! `cluster deploy|activate|deactivate|destroy`: looked at and acted on until it is done. Nothing is kept here: called again after any death,
//! it goes on from where the cluster is.

use std::collections::BTreeSet;
use std::time::Duration;

use landfall_cluster::roll::{Facts, Failure, Goal, Next, Patience, Short, Wait, next};
use landfall_cluster::{Around, Part, Standing, Version, stack_name};
use landfall_model::Timestamp;
use landfall_ports::stacks::Back;
use landfall_stack::live::{Before, Causes, of_operation, told};
use landfall_steps::cluster::{Cluster, Did};
use landfall_steps::scale::unlaunched;
use serde::Serialize;

use super::infra::Open;
use super::pauses::{FIRST, Paused, Pauses};
use super::reach::Reach;
use crate::cli::cluster::{ClusterDeployArgs, ClusterDestroyArgs, ClusterVersionArgs};
use crate::commands::manifest::plural;
use crate::commands::port_error;
use crate::commands::stack::meant;
use crate::error::{CliError, CliResult, not_found};
use crate::exit::ExitCode;
use crate::printer::Printer;
use crate::progress::{Mark, Progress};

pub(super) const OTHER: &str = "an infra.yml that has changed is another version: --version, or VERSION";
/// A change set takes seconds: so many times it is asked for, twice as long after each, before all is looked at again.
const SOON: u32 = 6;
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
    roll.patience.recovers = args.recover.into();
    roll.to(goal, args.patience.timeout).await
}

pub(super) async fn activate(args: &ClusterVersionArgs, printer: &Printer) -> CliResult<ExitCode> {
    stand(args, "activate", |version| Goal::Keep { version, fresh: true }, printer).await
}

pub(super) async fn deactivate(args: &ClusterVersionArgs, printer: &Printer) -> CliResult<ExitCode> {
    stand(args, "deactivate", |version| Goal::Retire { version, fresh: true }, printer).await
}

async fn stand(
    args: &ClusterVersionArgs,
    verb: &str,
    goal: fn(Version) -> Goal,
    printer: &Printer,
) -> CliResult<ExitCode> {
    let open = Open::of(&args.values, printer)?;
    let reach = Reach::of(&open.infra, printer).await?;
    let mut cluster = Cluster::new(&open.infra, Around::default(), None, &*reach.stacks, &*reach.instances);
    let facts = cluster.look(&Goal::Settle, now()).await.map_err(port_error)?;
    let Some(own) = facts.computes.iter().find(|one| one.version.as_str() == args.version) else {
        let known = facts.computes.iter().map(|one| one.version.as_str());
        return Err(not_found("version", &args.version, known));
    };
    let again = format!("landfall cluster {verb} {}", own.version);
    let mut roll = Roll::new(cluster, &reach, &open.infra.name, again, printer);
    roll.to(goal(own.version.clone()), args.patience.timeout).await
}

pub(super) async fn destroy(args: &ClusterDestroyArgs, printer: &Printer) -> CliResult<ExitCode> {
    let open = Open::of(&args.values, printer)?;
    let name = &open.infra.name;
    let reach = Reach::of(&open.infra, printer).await?;
    let mut cluster = Cluster::new(&open.infra, Around::default(), None, &*reach.stacks, &*reach.instances);
    let facts = cluster.look(&Goal::Destroy, now()).await.map_err(port_error)?;
    if !facts.services.is_empty() {
        let message = format!("services run on cluster {name}: {}", facts.services.join(", "));
        return Err(CliError::new(ExitCode::Conflict, message).hint("nothing was deleted; delete the services first"));
    }
    let (versions, instances) = (plural(facts.computes.len(), "version"), counted(facts.instances.len()));
    let tasks: u32 = facts.instances.iter().map(|one| one.tasks).sum();
    let what = format!("cluster {name} is deleted: {versions}, {instances}, {tasks} tasks on them");
    meant(args.yes, &what, printer)?;
    let again = "landfall cluster destroy --yes".to_owned();
    let mut roll = Roll::new(cluster, &reach, name, again, printer);
    roll.to(Goal::Destroy, args.patience.timeout).await
}

pub(super) fn now() -> i64 {
    Timestamp::now().as_second()
}

/// What a look led to.
enum Step {
    Ends(ExitCode),
    Did,
    /// On this.
    Waits(String),
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
    /// Services that hold drains no more, which was told.
    given_up: BTreeSet<String>,
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
            given_up: BTreeSet::new(),
        }
    }

    async fn to(&mut self, mut goal: Goal, timeout: u64) -> CliResult<ExitCode> {
        let mut pauses = Pauses::within(timeout, LONGEST).await;
        let code = loop {
            let what = match self.cluster.look(&goal, now()).await {
                Ok(facts) => match self.goes_on(&mut goal, &facts).await? {
                    Step::Ends(code) => break code,
                    Step::Did => {
                        pauses.soon();
                        "it is not done".to_owned()
                    }
                    Step::Waits(on) => {
                        self.progress.running(&on);
                        on
                    }
                },
                // Whoever waits for an hour has to expect that AWS is away for a moment.
                Err(error) if error.passes() => {
                    self.progress.running(&error.to_string());
                    pauses.long();
                    error.to_string()
                }
                Err(error) => return Err(port_error(error)),
            };
            let name = self.name;
            let error = match pauses.pass().await {
                Paused::Over => continue,
                Paused::Late => {
                    let message = format!("cluster {name} is not done after {timeout} s: {what}");
                    CliError::new(ExitCode::TimedOut, message)
                }
                Paused::Interrupted => {
                    let message = format!("interrupted; cluster {name} stays as it is now");
                    CliError::new(ExitCode::Interrupted, message)
                }
            };
            self.progress.finish();
            return Err(error.hint(format!("`{}` goes on", self.again)));
        };
        self.progress.finish();
        self.end(code, &goal)?;
        Ok(code)
    }

    /// What follows from one look.
    async fn goes_on(&mut self, goal: &mut Goal, facts: &Facts) -> CliResult<Step> {
        let mut decided = next(goal, facts, self.patience);
        self.explain(&mut decided, facts).await;
        self.give_up(&decided, facts);
        Ok(match &decided {
            Next::Done => Step::Ends(ExitCode::Ok),
            Next::Failed { why } => {
                self.failed(why, facts).await?;
                Step::Ends(ExitCode::Failed)
            }
            Next::Wait { on } => Step::Waits(waiting(on)),
            doing => match self.does(doing, facts).await? {
                None => {
                    goal.did(doing);
                    Step::Did
                }
                Some(why) => Step::Waits(why),
            },
        })
    }

    /// Of a version that fails because no instance of it, or of one of its fleets, came: why AWS launched none. Once it has failed there are to be none, and nobody
    /// could tell any more. Whatever goes wrong leaves it out.
    async fn explain(&self, decided: &mut Next, facts: &Facts) {
        let Next::Stand { version, standing: Standing::Failed, why: Some(why) } = decided else { return };
        let has = |fleet: &String| facts.of_version(version).any(|one| one.fleet.as_ref() == Some(fleet));
        let Some(own) = facts.compute(version).filter(|_| !facts.tested.iter().all(has)) else { return };
        let Reach { stacks, fleets, .. } = self.reach;
        let failed = unlaunched(self.cluster.infra, &**stacks, &**fleets, &own.id).await;
        for (fleet, cause) in failed.unwrap_or_default() {
            why.push_str(&format!("; {fleet}: {}", told(&cause)));
        }
    }

    /// Tells of services that have too few tasks, and for which nothing waits any more.
    fn give_up(&mut self, decided: &Next, facts: &Facts) {
        let Next::Drain { version, .. } = decided else { return };
        // One that is tested, and does not work, waits for none.
        if facts.compute(version).is_none_or(|one| one.standing == Standing::Testing) {
            return;
        }
        for Short { name, running, desired, least, .. } in facts.given_up(self.patience) {
            if self.given_up.insert(name.clone()) {
                let text = format!(
                    "service {name} has {running} of {desired} tasks running, {least} is the least that ECS keeps of it, and it has had no \
                     more for {} s: instances are drained all the same, and none of these is stopped before another one runs",
                    self.patience.recovers
                );
                self.progress.line(Mark::Warned, &text, None);
            }
        }
    }

    /// Why it is not begun yet; `None`: it is.
    async fn does(&mut self, doing: &Next, facts: &Facts) -> CliResult<Option<String>> {
        // Also where the answer is lost: the next look finds it done, and nobody else knows why.
        if let Next::Stand { why: Some(why), .. } = doing {
            self.why = Some(why.clone());
        }
        let mut tried = 0;
        let did = loop {
            match self.cluster.act(doing, facts).await {
                Err(error) if error.passes() => return Ok(Some(error.to_string())),
                Ok(Did::Soon) if tried < SOON => {
                    self.progress.running(&said(doing, self.name).1);
                    tokio::time::sleep(FIRST * 2_u32.pow(tried)).await;
                    tried += 1;
                }
                did => break did.map_err(port_error)?,
            }
        };
        match did {
            Did::It => {
                let (mark, text) = said(doing, self.name);
                self.progress.line(mark, &text, None);
                self.did.push(doing.clone());
                Ok(None)
            }
            Did::Soon | Did::Pending => Ok(Some(said(doing, self.name).1)),
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
        if let Failure::Last { .. } = why {
            let hint = "deploy another one first, or `landfall cluster destroy`";
            return Err(CliError::new(ExitCode::Conflict, why.to_string()).hint(hint));
        }
        let said = match (why, self.why.take()) {
            (Failure::Unproven { version }, Some(reason)) => format!("version {version} does not work: {reason}"),
            (why, _) => why.to_string(),
        };
        self.printer.failure(&said);
        self.why = Some(said);
        let stack = match why {
            Failure::Stuck { stack, .. } | Failure::Undone { stack } | Failure::NeverCame { stack } => stack,
            Failure::Other { .. } => {
                self.printer.hint(OTHER);
                return Ok(());
            }
            Failure::Unproven { .. } => {
                self.printer
                    .hint("what was used before is used still; its instances are gone, and the next deploy cleans up");
                return Ok(());
            }
            Failure::Unmoved { .. } => {
                self.printer.hint(
                    "what was used before is used still; its instances have no room: let them grow, and the next deploy empties this version",
                );
                return Ok(());
            }
            Failure::Foreign { .. } => {
                self.printer.hint(
                    "give the cluster another `name` in infra.yml, deploy it, move the services there, and delete the stacks of the old name",
                );
                return Ok(());
            }
            Failure::Nowhere { .. } => {
                self.printer.hint("nothing was drained; `landfall cluster deploy` of the version that is to stay gives the cluster its own");
                return Ok(());
            }
            Failure::Returned { service } => {
                self.printer.hint(format_args!(
                    "nothing was drained; `aws ecs describe-services --cluster {} --services {service}` has its events, and calling this again moves it once more",
                    self.name
                ));
                return Ok(());
            }
            Failure::Overtaken { .. } | Failure::Gone { .. } | Failure::Last { .. } => {
                return Ok(());
            }
        };
        let of_version = facts.computes.iter().find(|one| one.stack == *stack).map(|one| one.id.clone());
        let id = of_version.unwrap_or_else(|| stack.clone());
        // What was found out is told also where nobody can say why.
        let events = self.reach.stacks.events(&id, Back::Operation).await.unwrap_or_default();
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

    fn end(&self, code: ExitCode, goal: &Goal) -> CliResult<()> {
        let name = self.name;
        if code == ExitCode::Ok {
            self.printer.note(match goal {
                Goal::Deploy { version, .. } => {
                    format!("cluster {name} runs version {version}; `landfall cluster status` shows it")
                }
                Goal::Keep { version, .. } => format!("version {version} of cluster {name} is used"),
                Goal::Retire { version, .. } => format!("version {version} of cluster {name} is gone"),
                Goal::Settle => format!("cluster {name} is settled"),
                Goal::Destroy => format!("cluster {name} is gone"),
            });
            let infra = self.cluster.infra;
            let scales = infra.left_alone().is_none();
            if matches!(goal, Goal::Deploy { .. }) && scales && infra.bounds().values().any(|one| one.min < one.max) {
                self.printer.hint(
                    "its fleets grow and shrink where `landfall cluster scale` runs, or `landfall serve --scale`",
                );
            }
        }
        if self.printer.json() {
            self.printer.json_data(&Rolled {
                cluster: name.to_owned(),
                version: goal.version().map(Version::to_string),
                outcome: code.word(),
                exit_code: code as u8,
                why: self.why.clone(),
                did: self.did.clone(),
            })?;
        }
        Ok(())
    }
}

/// Why a stack cannot be changed.
pub(super) fn held(stack: &str, before: &Before) -> CliError {
    let hint = match before {
        Before::Foreign(_) => "another name of the cluster, or another version, is another stack",
        Before::Watch(_) => "try again when it is at rest",
        _ => "`landfall cluster status` shows how it is",
    };
    CliError::new(ExitCode::Conflict, before.said(stack, "this cluster")).hint(hint)
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
        Next::Prove { version, fleet } => {
            (Mark::Done, format!("a task on an instance of {fleet}, version {}", short(version)))
        }
        Next::StopProof { .. } => (Mark::Done, "the task that proves it is stopped".to_owned()),
        Next::Drain { version, instances } => {
            (Mark::Done, format!("{} of version {} take no more tasks", counted(instances.len()), short(version)))
        }
        Next::Undrain { version, instances } => {
            (Mark::Done, format!("{} of version {} take tasks again", counted(instances.len()), short(version)))
        }
        Next::Move { service, strategy } => {
            let providers: Vec<&str> = strategy.iter().map(|share| share.provider.as_str()).collect();
            (Mark::Done, format!("service {service} moves to {}", providers.join(", ")))
        }
        Next::Disassociate { providers } => {
            (Mark::Done, format!("taken from the cluster: capacity providers {}", providers.join(", ")))
        }
        Next::Delete { stack, .. } => (Mark::Done, format!("stack {stack} goes")),
        Next::Wait { on } => (Mark::Done, waiting(on)),
        Next::Done | Next::Failed { .. } => (Mark::Done, String::new()),
    }
}

fn counted(instances: usize) -> String {
    plural(instances, "instance")
}

fn waiting(on: &Wait) -> String {
    match on {
        Wait::Stack { stack } => format!("CloudFormation is at work on {stack}"),
        Wait::Rival { version } => format!("version {version} is about to take the place of all others"),
        Wait::Register { version, fleet } => format!("no instance of {fleet}, version {version}, is registered yet"),
        Wait::Start { .. } => "the task is placed, and does not run yet".to_owned(),
        Wait::Stay { seconds, .. } => format!("the task runs, for {seconds} s"),
        Wait::Move { instances, tasks, version } => {
            format!("{tasks} tasks move away from {} of version {version}", counted(*instances))
        }
        Wait::Bound { services } => {
            format!("services leave capacity providers of a version that goes: {}", services.join(", "))
        }
        Wait::Steady { services } => {
            format!("services have fewer tasks than their minimum healthy percent: {}", services.join(", "))
        }
    }
}
