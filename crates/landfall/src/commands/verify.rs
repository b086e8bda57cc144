//! `landfall verify ENV --probes`: whether what is deployed answers as it should, asked from here until it does or its time is over.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use landfall_ci::probe::{Answer, judge, pause, shown, target};
use landfall_model::app::{App, LongLivedEnvironment, route_url};
use landfall_model::aws::AwsTarget;
use landfall_model::probe::{Probe, Verify};
use landfall_model::step::RouteTarget;
use landfall_ports::chain;
use serde::Serialize;

use crate::cli::Global;
use crate::cli::diff::VerifyArgs;
use crate::commands::diff::direct::environment;
use crate::commands::manifest;
use crate::error::{CliError, CliResult};
use crate::exit::ExitCode;
use crate::printer::Printer;
use crate::progress::{Mark, Progress};

/// One try; what takes longer has not answered.
const TRY: Duration = Duration::from_secs(10);
/// Of a body that is looked at.
const LARGEST: usize = 1024 * 1024;

#[derive(Serialize)]
struct Report {
    environment: String,
    url: String,
    ok: bool,
    exit_code: u8,
    probes: Vec<Outcome>,
}

#[derive(Serialize)]
struct Outcome {
    probe: String,
    url: String,
    ok: bool,
    tries: u32,
    duration_ms: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    wrong: Vec<String>,
    /// What came back at last, or why nothing did.
    #[serde(skip_serializing_if = "String::is_empty")]
    answer: String,
}

pub(crate) async fn probes(args: &VerifyArgs, global: &Global, printer: &Printer) -> CliResult<ExitCode> {
    let app = manifest::load(&global.config, printer)?;
    let environment = environment(&app, args.what.environment.as_deref().unwrap_or_default())?;
    let verify = environment.verify.clone().unwrap_or_default();
    let place = environment.on.as_ref().and_then(|on| app.aws.get(on));
    let url = match args.url.clone().or_else(|| verify.url.clone()) {
        Some(url) => url,
        None => deployed(&app, environment, place).await?,
    };
    // A URL that somebody gave is meant as it is.
    let through =
        place.filter(|_| args.url.is_none() && verify.url.is_none()).and_then(|place| place.probe_through.clone());
    let through = through.or_else(|| crate::outside::here(&url));
    let deadline = Duration::from_secs(args.deadline.map_or(u64::from(verify.deadline), u64::from));
    let client = client()?;
    let progress = Progress::new(*printer);
    progress.running(&format!("asking {url}"));
    let all = ask_all(&client, &verify, &url, through.as_deref(), deadline, &progress).await;
    progress.finish();
    let ok = all.iter().all(|one| one.ok);
    let code = if ok { ExitCode::Ok } else { ExitCode::Failed };
    let name = environment.name.clone();
    let report = Report { environment: name, url, ok, exit_code: code as u8, probes: all };
    printer.emit(&report, text)?;
    let failed: Vec<&str> = report.probes.iter().filter(|one| !one.ok).map(|one| one.probe.as_str()).collect();
    if ok {
        printer.note(format_args!("{} answers at {}", report.environment, report.url));
    } else {
        let seconds = deadline.as_secs();
        printer.failure(format_args!(
            "{} does not answer as it should within {seconds} s: {}",
            report.environment,
            failed.join(", ")
        ));
    }
    Ok(code)
}

async fn ask_all(
    client: &reqwest::Client,
    verify: &Verify,
    url: &str,
    through: Option<&str>,
    deadline: Duration,
    progress: &Progress,
) -> Vec<Outcome> {
    let until = Instant::now() + deadline;
    join_all(verify.probes.iter().map(async |probe| {
        let outcome = until_right(client, probe, url, through, until).await;
        let mark = if outcome.ok { Mark::Done } else { Mark::Failed };
        let took = Duration::from_millis(outcome.duration_ms);
        progress.line(mark, &format!("{}: GET {}", outcome.probe, outcome.url), Some(took));
        outcome
    }))
    .await
}

/// Tries until the answer is right, or the next try would come too late.
async fn until_right(
    client: &reqwest::Client,
    probe: &Probe,
    base: &str,
    through: Option<&str>,
    until: Instant,
) -> Outcome {
    let began = Instant::now();
    let (url, host) = target(base, &probe.path, through);
    let mut tries = 0;
    let (wrong, answer) = loop {
        let left = until.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        let (wrong, answer) = match get(client, &url, host.as_deref(), TRY.min(left)).await {
            Ok(answer) => match judge(probe, &answer) {
                Ok(()) => break (Vec::new(), String::new()),
                Err(wrong) => (wrong, shown(&answer)),
            },
            Err(why) => (vec!["no answer".to_owned()], why),
        };
        let pause = pause(tries);
        tries += 1;
        if Instant::now() + pause >= until {
            break (wrong, answer);
        }
        tokio::time::sleep(pause).await;
    };
    let ok = wrong.is_empty();
    let duration_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    let tries = if ok { tries + 1 } else { tries };
    Outcome { probe: probe.name.clone(), url: target(base, &probe.path, None).0, ok, tries, duration_ms, wrong, answer }
}

pub(crate) async fn get(
    client: &reqwest::Client,
    url: &str,
    host: Option<&str>,
    timeout: Duration,
) -> Result<Answer, String> {
    let said = |error: reqwest::Error| chain(&error);
    let began = Instant::now();
    let mut request = client.get(url).timeout(timeout);
    if let Some(host) = host {
        request = request.header("host", host);
    }
    let mut response = request.send().await.map_err(said)?;
    let mut body = Vec::new();
    while body.len() < LARGEST
        && let Some(chunk) = response.chunk().await.map_err(said)?
    {
        body.extend_from_slice(&chunk);
    }
    let headers = response
        .headers()
        .iter()
        .map(|(name, value)| (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned()));
    Ok(Answer {
        status: response.status().as_u16(),
        headers: headers.collect(),
        body: String::from_utf8_lossy(&body).into_owned(),
        took: began.elapsed(),
    })
}

/// Redirects are answers like any other.
pub(crate) fn client() -> CliResult<reqwest::Client> {
    reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .map_err(|error| CliError::internal("an HTTP client cannot be made").cause(&error))
}

fn text(report: &Report) -> String {
    let mut out = String::new();
    for one in report.probes.iter().filter(|one| !one.ok) {
        out.push_str(&format!("{}: GET {}\n", one.probe, one.url));
        for wrong in &one.wrong {
            out.push_str(&format!("  {wrong}\n"));
        }
        out.push_str(&format!("  what came back ({} tries):\n", one.tries));
        for line in one.answer.lines() {
            out.push_str(&format!("    {line}\n"));
        }
    }
    out
}

/// Where the environment is reached: by its route, else by its service's own load balancer.
async fn deployed(app: &App, environment: &LongLivedEnvironment, place: Option<&AwsTarget>) -> CliResult<String> {
    match (&environment.routing, place) {
        (Some(route @ RouteTarget::Host { .. }), place) => return Ok(route_url(place, route)),
        (Some(route), None) => return Ok(route.url()),
        (Some(route), Some(place)) if place.address.is_some() => return Ok(route_url(Some(place), route)),
        _ => {}
    }
    let Some(place) = place else { return Err(nowhere(environment)) };
    on_aws(app, environment, place).await
}

fn nowhere(environment: &LongLivedEnvironment) -> CliError {
    let message = format!("where {} is reached is not known", environment.name);
    CliError::new(ExitCode::NotFound, message).hint("give `routing` or `verify: {url: …}` to the environment, or --url")
}

#[cfg(feature = "aws")]
async fn on_aws(app: &App, environment: &LongLivedEnvironment, place: &AwsTarget) -> CliResult<String> {
    use landfall_aws::{AwsOptions, AwsPlatform};

    let port_error = crate::commands::port_error;
    let platform = AwsPlatform::connect(place, AwsOptions { instance: String::new() }).await.map_err(port_error)?;
    if let Some(route @ RouteTarget::Port { .. }) = &environment.routing {
        let address = platform.load_balancer_address().await.map_err(port_error)?;
        let place = AwsTarget { address: Some(address), ..place.clone() };
        return Ok(route_url(Some(&place), route));
    }
    // Those behind a target group that exists come first: they are the ones that somebody reaches.
    let behind = |name: &&String| environment.target_groups.contains_key(*name);
    let (first, rest): (Vec<&String>, Vec<&String>) = environment.services.iter().partition(behind);
    for name in first.into_iter().chain(rest) {
        let usual = || format!("{}-{}-{name}", app.project, environment.name);
        let service = environment.names.get(name).cloned().unwrap_or_else(usual);
        if let Some(url) = platform.service_url(&service).await.map_err(port_error)? {
            return Ok(url);
        }
    }
    Err(nowhere(environment))
}

#[cfg(not(feature = "aws"))]
async fn on_aws(_: &App, environment: &LongLivedEnvironment, place: &AwsTarget) -> CliResult<String> {
    Err(crate::places::without(&place.name, &environment.name))
}
