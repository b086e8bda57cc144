//! `cluster ami build`: looked at and acted on until there is an image. Nothing is kept here: called again after any death, it goes on from
//! where the builder is.

mod list;

use std::time::Duration;

use landfall_cluster::Image;
use landfall_cluster::ami::{Failure, LONGEST_SCRIPT, Next, Order, Patience, Wait, recipe, user_data};
use landfall_ports::PortError;
use landfall_steps::machine_image::{Launch, Machine, Making};
use serde::Serialize;

pub(super) use self::list::list;

use super::infra::Open;
use super::pauses::{Paused, Pauses};
use super::reach::Reach;
use super::roll::now;
use crate::cli::cluster::{AmiArgs, AmiBuildArgs};
use crate::commands::port_error;
use crate::error::{CliError, CliResult};
use crate::exit::ExitCode;
use crate::printer::Printer;
use crate::progress::{Mark, Progress};

/// Beside the file, what makes an image: as ecs-cluster-deployer calls it.
pub(super) const SCRIPT: &str = "ecs_userdata.sh";
/// Of ecs-cluster-deployer too, and Packer's to read.
const PACKER: &str = "packer.json";
const LONGEST: Duration = Duration::from_secs(10);
/// Lines of a script's output.
const SHOWN: usize = 20;

/// What there is to build, and where.
struct Site {
    open: Open,
    reach: Reach,
    order: Order,
    /// The script's text.
    script: Option<String>,
    /// Packer's file is there, which is its own to run.
    packer: bool,
}

impl Site {
    async fn of(args: &AmiArgs, printer: &Printer) -> CliResult<Self> {
        let open = Open::of(&args.values, printer)?;
        let script = script(args, &open)?;
        if open.infra.image == Image::Bottlerocket {
            let message = "Bottlerocket runs no scripts: there is nothing that could be built into its image";
            return Err(CliError::new(ExitCode::InvalidManifest, message)
                .hint("`image: amazon-linux-2023`; `landfall cluster deploy` takes Bottlerocket's image by itself"));
        }
        let reach = Reach::of(&open.infra, printer).await?;
        let source = reach.image(&open.infra, None).await?;
        let order = Order { source, recipe: script.as_deref().map(recipe) };
        let packer = open.beside(PACKER).exists();
        Ok(Self { open, reach, order, script, packer })
    }
}

/// The one that is named must be there.
fn script(args: &AmiArgs, open: &Open) -> CliResult<Option<String>> {
    let path = match &args.script {
        Some(path) => path.clone(),
        None => match open.beside(SCRIPT) {
            path if path.exists() => path,
            _ => return Ok(None),
        },
    };
    let text = landfall_manifest::read_text(&path)
        .map_err(|error| CliError::io(format!("the script {} cannot be read", path.display()), &error))?;
    // Here, and not after minutes on an instance.
    user_data(&text, LONGEST_SCRIPT).map_err(|why| {
        CliError::new(ExitCode::InvalidManifest, format!("the script {}: {why}", path.display()))
            .hint("a script that fetches more of it, from S3 for instance, can be short")
    })?;
    Ok(Some(text))
}

/// As printed with `--output json`.
#[derive(Debug, Serialize)]
struct Built<'a> {
    image: &'a str,
    /// `built` or `reused`.
    how: &'static str,
    source_ami: &'a str,
    recipe: Option<&'a str>,
    /// What was done, in order.
    did: &'a [Next],
}

pub(super) async fn build(args: &AmiBuildArgs, printer: &Printer) -> CliResult<ExitCode> {
    let site = Site::of(&args.what, printer).await?;
    if site.packer && site.script.is_some() {
        printer.warn(format_args!("{PACKER} is not run; the script is, on an instance of {}", site.order.source));
    }
    let patience = Patience { script: args.limit, ..Patience::default() };
    let making = Making::new(&*site.reach.images, &site.order, &site.open.infra.name, patience);
    let mut build = Build { site: &site, making, args, progress: Progress::new(*printer), did: Vec::new() };
    let image = build.run().await;
    build.progress.finish();
    let (image, did) = (image?, build.did);
    let how = if did.iter().any(|one| matches!(one, Next::Create { .. })) { "built" } else { "reused" };
    let Order { source, recipe } = &site.order;
    printer.note(format_args!("image {image} of {source} {}", if how == "built" { "is made" } else { "is there" }));
    printer.emit(&Built { image: &image, how, source_ami: source, recipe: recipe.as_deref(), did: &did }, |built| {
        built.image.to_owned()
    })?;
    Ok(ExitCode::Ok)
}

struct Build<'a> {
    site: &'a Site,
    making: Making<'a>,
    args: &'a AmiBuildArgs,
    progress: Progress,
    did: Vec<Next>,
}

impl Build<'_> {
    /// Until there is an image: its id.
    async fn run(&mut self) -> CliResult<String> {
        let timeout = self.args.patience.timeout;
        let mut pauses = Pauses::within(timeout, LONGEST).await;
        loop {
            let said = match self.step().await {
                Ok(Step::Made(image)) => return Ok(image),
                Ok(Step::Did) => {
                    pauses.soon();
                    "it is not done".to_owned()
                }
                Ok(Step::Waits(on)) => on,
                // Whoever waits for minutes has to expect that AWS is away for a moment.
                Err(Stop::Port(error)) if error.passes() => error.to_string(),
                Err(Stop::Port(error)) => return Err(self.abandoned(error).await),
                Err(Stop::Cli(error)) => return Err(error),
            };
            self.progress.running(&said);
            let error = match pauses.pass().await {
                Paused::Over => continue,
                Paused::Late => CliError::new(ExitCode::TimedOut, format!("no image after {timeout} s: {said}")),
                Paused::Interrupted => {
                    CliError::new(ExitCode::Interrupted, format!("interrupted; what is there stays: {said}"))
                }
            };
            return Err(
                error.hint("`landfall cluster ami build` goes on; a builder stops by itself when its script ends")
            );
        }
    }

    async fn abandoned(&self, error: PortError) -> CliError {
        let error = port_error(error);
        match self.making.abandon().await {
            None => error,
            Some((builder, Ok(()))) => error.hint(format!("builder {builder} is terminated; nothing is left of it")),
            Some((builder, Err(left))) => error.hint(format!("builder {builder} is left: {left}")),
        }
    }

    /// One look, and what follows from it.
    async fn step(&mut self) -> Result<Step, Stop> {
        let facts = self.making.look(now()).await?;
        let decided = self.making.next(&facts);
        let said = match &decided {
            Next::Done { image } => return Ok(Step::Made(image.clone())),
            Next::Wait { on } => return Ok(Step::Waits(waiting(on))),
            Next::Launch => format!("builder {} runs the script", self.launch().await?),
            Next::Create { builder } => format!("the script ended well; {builder} becomes an image"),
            Next::Terminate { builder } => format!("builder {builder} goes"),
            Next::Failed { why, .. } => why.to_string(),
        };
        let left = self.making.act(&decided).await?;
        if let Next::Failed { why, .. } = &decided {
            let told = |error: CliError, (what, why): (String, PortError)| error.hint(format!("{what} is left: {why}"));
            return Err(left.into_iter().fold(self.failed(why), told).into());
        }
        // Done again, as EC2 shows it a moment later only, it is no news.
        if self.did.last() != Some(&decided) {
            self.progress.line(Mark::Done, &said, None);
            self.did.push(decided);
        }
        Ok(Step::Did)
    }

    async fn launch(&mut self) -> Result<String, Stop> {
        let Site { order, reach, open, script, .. } = self.site;
        let machine = Machine {
            instance_type: self.args.instance_type.clone(),
            profile: self.args.instance_profile.clone(),
            script: script.clone().unwrap_or_default(),
        };
        match self.making.launch(&machine, &reach.places(&open.infra).await?).await? {
            Launch::It(builder) => Ok(builder),
            Launch::NoSource => {
                let message = format!("image {} is not there, or nobody may use it", order.source);
                let error = CliError::new(ExitCode::NotFound, message);
                Err(error.hint("`image` in infra.yml names another one").into())
            }
            Launch::NoRoom { instance_type, why } => {
                let message = format!("no {instance_type} can be had to build on: {why}");
                Err(CliError::new(ExitCode::Unavailable, message).hint("another type: --instance-type").into())
            }
        }
    }

    fn failed(&self, why: &Failure) -> CliError {
        let code = if let Failure::NoScript { .. } = why { ExitCode::NotFound } else { ExitCode::Failed };
        let error = CliError::new(code, why.to_string());
        let source = &self.site.order.source;
        match why {
            Failure::NoScript { .. } if self.site.packer => error
                .hint(format!("{PACKER} is Packer's to run: tag its image source_ami={source}, and it is found here"))
                .hint(format!("or put what it does into {SCRIPT}, and Landfall runs it")),
            Failure::NoScript { .. } => error
                .hint(format!(
                    "write what is to be in the image into {SCRIPT} beside the file, or name another: --script"
                ))
                .hint(
                    "without an image of its own the cluster has AWS's: `landfall cluster deploy` takes it by itself",
                ),
            Failure::Script { lines, code, .. } => {
                let mut error = error.hint(match code {
                    124 => "it is given more time by --limit",
                    _ => "mend the script, and call this again",
                });
                if !lines.is_empty() {
                    let last = lines[lines.len().saturating_sub(SHOWN)..].join("\n    ");
                    error.causes.push(format!("the last that it wrote:\n    {last}"));
                }
                error
            }
            Failure::Hung { .. } => error.hint("call this again; what takes longer is given more time by --limit"),
            Failure::Silent { .. } => {
                error.hint("a script that halts the machine itself, or an image without cloud-init, cannot be followed")
            }
            Failure::Gone { .. } => {
                error.hint("EC2 ends an instance whose volume it cannot encrypt, or when a limit is reached")
            }
            Failure::Image { .. } => error.hint("call this again"),
        }
    }
}

enum Step {
    Did,
    Waits(String),
    Made(String),
}

enum Stop {
    Port(PortError),
    Cli(CliError),
}

impl From<PortError> for Stop {
    fn from(error: PortError) -> Self {
        Self::Port(error)
    }
}

impl From<CliError> for Stop {
    fn from(error: CliError) -> Self {
        Self::Cli(error)
    }
}

fn waiting(on: &Wait) -> String {
    match on {
        Wait::Script { builder, seconds } => format!("builder {builder} runs the script, {seconds} s after its launch"),
        Wait::Console { builder } => format!("builder {builder} has stopped; EC2 does not have its console yet"),
        Wait::Image { image } => format!("image {image} is being made"),
    }
}
