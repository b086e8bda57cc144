//! A pipeline: a push begins a run, two images are built once, dev and staging get them, a person says yes, and prod runs the same
//! ones; the next commit is rejected, and prod stays as it is. The application and its manifest are those of examples/pipeline.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use landfall_pipeline::{RunState, RunView, Signal, Via};
use landfall_server::control::{Control, ControlError, ControlRequest, ControlResponse};
use landfall_server::pipelines::{PipelineRequest, PipelineResponse};

use super::github::GitHub;
use super::image::archive;
use super::repo::Repo;
use super::stages::Stages;
use super::world::{World, alive, answers, now, prepare, serve};
use crate::error::{CliError, CliResult};
use crate::exit::ExitCode;
use crate::http::{Ask, send};
use crate::printer::Printer;

const MANIFEST: &str = include_str!("../../../../examples/pipeline/landfall.yml");
const TEXT: &str = include_str!("../../../../examples/pipeline/app/text.txt");
const APP: &str = include_str!("../../../../examples/pipeline/app/Dockerfile");
const PROXY: &str = include_str!("../../../../examples/pipeline/proxy/Dockerfile");
const NO_COMMIT: &str = "0000000000000000000000000000000000000000";
const PIPELINE: &str = "main";
const ENVIRONMENTS: [&str; 3] = ["dev", "staging", "prod"];
/// A stage that `--keep` leaves out.
const REJECTED: &str = "anna's no: prod stays as it was";
/// Who pushes, and who may approve.
const PUSHER: &str = "github:octocat";
const APPROVER: &str = "cli:anna";

/// With `keep` up to the question.
pub(super) async fn story(world: &mut World, stages: &mut Stages, keep: bool) -> CliResult<()> {
    prepare(world, stages).await?;

    stages.begin("Making a git repository");
    let repo = Repo::init(world.directory.path().join("shop"))?;
    for (file, text) in [("app/Dockerfile", APP), ("app/text.txt", TEXT), ("proxy/Dockerfile", PROXY)] {
        repo.write(file, text)?;
    }
    let first = repo.commit("The example application")?;
    stages.end("Git repository shop, as in examples/pipeline", true, None);

    let secret = ulid::Ulid::generate().to_string();
    let images = world.base_image.replacen("base:", "shop-", 1);
    let me = crate::commands::link::actor();
    let me = me.rsplit(':').next().unwrap_or("ben").to_owned();
    let variables = [("PORT", world.router_addr.port().to_string()), ("IMAGES", images.clone()), ("APPROVER", me)];
    serve(world, stages, MANIFEST, &secret, &variables).await?;
    let github = GitHub { server: world.server_addr, secret, project: "shop", branch: "main".to_owned() };

    stages.begin("Delivering GitHub's signed `push`");
    github.push(NO_COMMIT, &first, now()).await?;
    let run = until(world, 1, |run| run.state == RunState::Queued && !run.message.is_empty()).await?;
    stages.end("Signed `push` to main begins a run", true, Some(format!("{}: {}", run.title, run.message)));

    stages.begin("Building two images");
    build(world, &repo, &images, &first).await?;
    stages.end("Two images built, once", true, None);

    stages.begin("Waiting for dev and staging");
    let run = until(world, 1, |run| run.state == RunState::AwaitingApproval).await?;
    let mut seen = Vec::new();
    for environment in ["dev", "staging"] {
        seen.push(says(world, environment, TEXT.trim()).await?);
    }
    stages.end("dev and staging run them", true, Some(seen.join("\n    ")));

    stages.begin("Looking at what is asked");
    let prod = send(world.router_addr, Ask::get("/").host(&host("prod")), Duration::from_secs(5)).await;
    let untouched = prod.is_ok_and(|answer| answer.status == 404);
    let asked = asked(&run)?;
    let question = format!("{}; a yes is bound to them: {}", short(&run).join(", "), cut(&asked));
    stages.end("prod is untouched and waits for a yes to these images", untouched, Some(question));
    if keep {
        stages.finish();
        return Ok(());
    }

    stages.begin("Approving as who pushed");
    let refused = match signal(world, &run, yes(PUSHER, &asked)).await {
        Err(ControlError::Conflict(why)) => why,
        Err(other) => return Err(unexpected(&other)),
        Ok(()) => return Err(CliError::new(ExitCode::Failed, "who pushed could approve")),
    };
    stages.end("A yes of who pushed counts for nothing", true, Some(refused));

    stages.begin("Approving as anna");
    signal(world, &run, yes(APPROVER, &asked)).await.map_err(|error| unexpected(&error))?;
    until(world, 1, |run| run.state == RunState::Passed).await?;
    let answer = says(world, "prod", TEXT.trim()).await?;
    let mut released = BTreeSet::new();
    for environment in ENVIRONMENTS {
        released.insert(digests(world, environment).await?);
    }
    stages.end("anna's yes: prod runs the same images by digest", released.len() == 1, Some(answer));

    stages.begin("Pushing the next commit");
    repo.write("app/text.txt", "hello from the second commit\n")?;
    let second = repo.commit("Say something else")?;
    github.push(&first, &second, now()).await?;
    build(world, &repo, &images, &second).await?;
    let run = until(world, 2, |run| run.state == RunState::AwaitingApproval).await?;
    let answer = says(world, "staging", "hello from the second commit").await?;
    stages.end("The next commit is in staging and waits", true, Some(answer));

    stages.begin("Rejecting it");
    let asked = self::asked(&run)?;
    let no = Signal::Reject {
        by: APPROVER.to_owned(),
        via: Via::Command,
        fingerprint: asked,
        comment: Some("not on a Friday".to_owned()),
        nonce: None,
    };
    signal(world, &run, no).await.map_err(|error| unexpected(&error))?;
    let run = until(world, 2, |run| run.state == RunState::Rejected).await?;
    says(world, "prod", TEXT.trim()).await?;
    stages.end(REJECTED, true, Some(run.message));
    Ok(())
}

pub(super) fn summary(stages: &Stages) -> String {
    let told = if stages.done.iter().any(|stage| stage.what == REJECTED) {
        "One release went through dev and staging, waited for a yes, and is the same in prod; the next was rejected."
    } else {
        "One release went through dev and staging and waited for a yes."
    };
    format!(
        "{told} Nothing of it is left.\n\
         Next: examples/pipeline/landfall.yml is what was run, docs/pipelines.md explains it, `landfall demo pipeline --keep` waits at \
         the question."
    )
}

pub(super) fn keep(world: &World, printer: &Printer) {
    let exe = std::env::current_exe().unwrap_or_else(|_| "landfall".into());
    let exe = exe.display();
    let (directory, port) = (world.directory.path().display(), world.router_addr.port());
    printer.note(format_args!(
        "\nIt waits for a yes until Ctrl-C. To give it, in another terminal:\n\n  \
         export LANDFALL_STATE={state}\n  \
         cd {directory}\n  \
         curl http://staging.shop.localhost:{port}/\n  \
         {exe} pipeline show {PIPELINE}\n  \
         {exe} pipeline open {PIPELINE}       a link to its page\n  \
         {exe} pipeline approve {PIPELINE}\n  \
         curl http://prod.shop.localhost:{port}/\n",
        state = world.state().display(),
    ));
}

fn host(environment: &str) -> String {
    format!("{environment}.shop.localhost")
}

/// Both images of a commit, as `landfall push` would have left them.
async fn build(world: &mut World, repo: &Repo, images: &str, commit: &str) -> CliResult<()> {
    let base = world.base_image.clone();
    for part in ["app", "proxy"] {
        let context =
            archive(&repo.path.join(part)).map_err(|error| CliError::io(format!("cannot read {part}"), &error))?;
        world.build(&format!("{images}-{part}:{commit}"), context, &[("BASE", &base)]).await?;
    }
    Ok(())
}

async fn says(world: &mut World, environment: &str, text: &str) -> CliResult<String> {
    let host = host(environment);
    let answer = answers(world, &host, |said| said == text, async |_| Ok(())).await?;
    Ok(format!("curl http://{host}:{}/ → {answer}", world.router_addr.port()))
}

async fn ask(world: &World, request: ControlRequest) -> Result<ControlResponse, ControlError> {
    match crate::commands::link::server(&world.state()).await {
        Some(client) => client.call(request).await,
        None => Err(ControlError::Unavailable("the server is not there".to_owned())),
    }
}

/// The pipeline's run of this number, as soon as it is as wanted. An error where it never will be.
async fn until(world: &mut World, number: u64, wanted: impl Fn(&RunView) -> bool) -> CliResult<RunView> {
    let deadline = Instant::now() + world.timeout;
    let mut last = "it has not begun".to_owned();
    while Instant::now() < deadline {
        let show = PipelineRequest::Show { run: format!("{PIPELINE}#{number}") };
        if let Ok(ControlResponse::Pipeline(PipelineResponse::Run(run))) =
            ask(world, ControlRequest::Pipeline(show)).await
        {
            if wanted(&run) {
                return Ok(*run);
            }
            if run.state.is_finished() {
                return Err(CliError::new(ExitCode::Failed, format!("{}: {}", run.title, run.message)));
            }
            last = format!("{}: {}", run.state.word(), run.message);
        }
        alive(world)?;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let message = format!("{PIPELINE} #{number} is not as far after {} s", world.timeout.as_secs());
    Err(CliError::new(ExitCode::Failed, message).cause(&std::io::Error::other(last)))
}

/// The fingerprint that an answer must name.
fn asked(run: &RunView) -> CliResult<String> {
    let asked = run.stages.iter().filter_map(|stage| stage.approval.as_ref()?.asked.as_ref()).next_back();
    asked.map(|asked| asked.fingerprint.clone()).ok_or_else(|| CliError::internal("nobody was asked"))
}

fn yes(by: &str, fingerprint: &str) -> Signal {
    let (by, fingerprint) = (by.to_owned(), fingerprint.to_owned());
    Signal::Approve { by, via: Via::Command, fingerprint, comment: None, nonce: None }
}

async fn signal(world: &World, run: &RunView, signal: Signal) -> Result<(), ControlError> {
    let request = PipelineRequest::Signal { run: run.id.to_string(), signal };
    ask(world, ControlRequest::Pipeline(request)).await.map(drop)
}

fn unexpected(error: &ControlError) -> CliError {
    CliError::new(ExitCode::Failed, "the approval was not taken").cause(error)
}

/// `app 1a2b3c4d5e6f`
fn short(run: &RunView) -> Vec<String> {
    let images = run.release.images.values().flatten();
    images.map(|(container, image)| format!("{container} {}", cut(image))).collect()
}

/// Enough of a digest to tell it by.
fn cut(digest: &str) -> &str {
    let hex = digest.rsplit_once("sha256:").map_or(digest, |(_, hex)| hex);
    hex.get(..12).unwrap_or(hex)
}

/// What the environment runs, as its last release says.
async fn digests(world: &World, environment: &str) -> CliResult<Vec<String>> {
    let request = ControlRequest::Releases { environment: environment.to_owned(), limit: 1, all: false };
    match ask(world, request).await {
        Ok(ControlResponse::Releases(releases)) => Ok(releases
            .iter()
            .flat_map(|release| release.services.values())
            .flat_map(|service| service.images.values().cloned())
            .collect()),
        other => Err(CliError::internal(format!("releases of {environment}: {other:?}"))),
    }
}
