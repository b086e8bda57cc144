//! A flow from its first step to its last line.

use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use landfall_ci::command::Command;
use landfall_ci::record::{Outcome, Record};
use landfall_ci::tail::Tail;
use landfall_ci::weave::{Shown, Weave};
use landfall_ci::{Group, Host};
use landfall_model::Timestamp;
use serde::Serialize;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::Job;
use super::child::{Child, End, Said, start};
use super::keep::Keep;
use crate::cli::Global;
use crate::error::CliResult;
use crate::exit::ExitCode;
use crate::printer::Printer;
use crate::progress::duration;
use crate::stop::Stop;

/// With `--output json`: the one document on stdout; the log goes to stderr then.
#[derive(Serialize)]
struct Report<'a> {
    flow: &'a landfall_ci::plan::Flow,
    steps: &'a std::collections::BTreeMap<String, landfall_ci::record::Ended>,
    exit_code: u8,
}

pub(super) async fn to_end(job: &Job, resume: bool, global: &Global, printer: &Printer) -> CliResult<u8> {
    let flow = &job.flow;
    let mut keep = Keep::of(job, global, printer).await?;
    let before = if resume { keep.load().await } else { None };
    if resume && before.is_none() && !flow.steps.is_empty() {
        printer.note("no record of this flow for this commit is here: all of it runs");
    }
    let since = Instant::now();
    let mut running = Running {
        job,
        global,
        printer,
        record: Record::resumed(flow, before),
        weave: Weave::default(),
        began: vec![None; flow.steps.len()],
        titles: vec![String::new(); flow.steps.len()],
        tails: vec![Tail::default(); flow.steps.len()],
        alive: 0,
        children: JoinSet::new(),
    };
    for one in &flow.left_out {
        printer.note(format_args!("{}: left out, {}", one.step, one.why));
    }
    if flow.steps.is_empty() {
        printer.note(format_args!(
            "{}: no rule has anything to do; `landfall ci plan` says why",
            flow.context.event.title()
        ));
    } else {
        keep.tidy();
        keep.save(&running.record);
        running.masks();
        running.steps(&mut keep).await?;
    }
    let Running { record, .. } = running;
    let code = record.exit_code(flow, ExitCode::TimedOut as u8, ExitCode::Interrupted as u8);
    if printer.json() {
        printer.json_data(&Report { flow, steps: &record.steps, exit_code: code })?;
    }
    if !flow.steps.is_empty() {
        keep.close(code == 0).await;
        summarise(job, &record, code == 0, printer).await;
        let line = record.last_line(flow, &duration(since.elapsed()));
        if code == 0 { printer.note(line) } else { printer.failure(line) }
    }
    Ok(code)
}

struct Running<'a> {
    job: &'a Job,
    global: &'a Global,
    printer: &'a Printer,
    record: Record,
    weave: Weave,
    began: Vec<Option<Instant>>,
    titles: Vec<String>,
    tails: Vec<Tail>,
    /// Begun and not ended.
    alive: usize,
    children: JoinSet<()>,
}

impl Running<'_> {
    fn host(&self) -> Host {
        self.job.flow.context.host
    }

    /// Values that the manifest names, for the steps of the job that come after us.
    fn masks(&self) {
        let commands: String = self.job.masks.named().iter().filter_map(|value| self.host().mask(value)).collect();
        self.printer.log(&commands);
    }

    async fn steps(&mut self, keep: &mut Keep) -> CliResult<()> {
        let (said, mut heard) = unbounded_channel();
        let (stopper, stop) = watch::channel(false);
        let mut signals = Stop::listen()?;
        loop {
            if !*stopper.borrow() {
                self.begin(&said, &stop);
            }
            if self.alive == 0 {
                break;
            }
            tokio::select! {
                next = heard.recv() => self.heard(next, &mut heard, keep),
                () = signals.asked() => { stopper.send_replace(true); }
            }
        }
        if *stopper.borrow() {
            self.record.stop(&self.job.flow);
        }
        self.record.give_up(&self.job.flow);
        keep.save(&self.record);
        Ok(())
    }

    /// Everything that can run now. A step that cannot even be started has failed, and others may wait for it.
    fn begin(&mut self, said: &UnboundedSender<Said>, stop: &watch::Receiver<bool>) {
        let flow = &self.job.flow;
        for at in self.record.ready(flow) {
            if self.began[at].is_some() {
                continue;
            }
            self.began[at] = Some(Instant::now());
            self.alive += 1;
            let step = &flow.steps[at];
            let started = Command::of(&step.run, &step.args, &flow.context).and_then(|command| {
                self.titles[at] = self.job.masks.apply(&command.title()).into_owned();
                let color = self.printer.color();
                start(&command, &flow.context, &self.job.directory, self.global, color)
                    .map_err(|error| format!("it cannot be started: {error}"))
            });
            let shown = self.weave.started(at);
            self.show(shown);
            match started {
                Ok(process) => {
                    let timeout = step.timeout.map(|seconds| Duration::from_secs(seconds.into()));
                    let child = Child { step: at, timeout, process };
                    self.children.spawn(child.follow(said.clone(), stop.clone()));
                }
                Err(why) => {
                    // Through the same door as the others' ends.
                    let _ = said.send(Said::Line(at, why));
                    let _ = said.send(Said::Ended(at, End::Code(ExitCode::Usage as u8)));
                }
            }
        }
    }

    /// One message and all that wait behind it, shown at once.
    fn heard(&mut self, first: Option<Said>, more: &mut UnboundedReceiver<Said>, keep: &mut Keep) {
        let mut shown = Vec::new();
        let mut next = first;
        while let Some(said) = next {
            match said {
                Said::Line(at, line) => {
                    let plain = anstream::adapter::strip_str(&line).to_string();
                    self.tails[at].push(&self.job.masks.apply(&plain));
                    shown.extend(self.weave.line(at, line));
                }
                Said::Ended(at, end) => {
                    self.ended(at, end);
                    keep.save(&self.record);
                    shown.extend(self.weave.ended(at));
                }
            }
            next = more.try_recv().ok();
        }
        // Their tasks have nothing left to do.
        while self.children.try_join_next().is_some() {}
        self.show(shown);
    }

    fn ended(&mut self, at: usize, end: End) {
        self.alive -= 1;
        let outcome = match end {
            End::Code(0) => Outcome::Done,
            End::Code(code) => Outcome::Failed { code },
            End::TimedOut => Outcome::TimedOut,
            End::Stopped => Outcome::Stopped,
        };
        let took = self.began[at].map(|began| began.elapsed()).unwrap_or_default();
        let milliseconds = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        let name = &self.job.flow.steps[at].name;
        let failed = outcome != Outcome::Done;
        self.record.end(name, outcome, milliseconds);
        if failed {
            self.record.explain(name, self.tails[at].cause());
        }
    }

    fn show(&self, shown: Vec<Shown>) {
        let mut text = String::new();
        let second = Timestamp::now().as_second();
        for one in shown {
            match one {
                Shown::Open(at) => text.push_str(&self.host().open(self.group(at), second)),
                Shown::Line(_, line) => {
                    text.push_str(&self.job.masks.apply(&line));
                    text.push('\n');
                }
                Shown::Close(at) => self.close(at, second, &mut text),
            }
        }
        self.printer.log(&text);
    }

    fn group(&self, at: usize) -> Group<'_> {
        Group { name: &self.job.flow.steps[at].name, title: &self.titles[at] }
    }

    /// The end of a group, then the step's own line, which shows while the group is folded.
    fn close(&self, at: usize, second: i64, text: &mut String) {
        let name = &self.job.flow.steps[at].name;
        let Some(ended) = self.record.steps.get(name) else { return };
        let ok = ended.outcome == Outcome::Done;
        text.push_str(&self.host().close(self.group(at), second, ok));
        let took = duration(Duration::from_millis(ended.milliseconds));
        let (symbol, what) = match &ended.outcome {
            Outcome::Failed { code } => ("✗", format!(": exit code {code}")),
            Outcome::TimedOut => ("✗", ": took too long, and was stopped".to_owned()),
            Outcome::Stopped => ("✗", ": stopped".to_owned()),
            _ => ("✓", String::new()),
        };
        text.push_str(&format!("{symbol} {name}{what}  {took}\n"));
        let message = [format!("{name}{what}"), ended.cause.clone()].join("\n");
        if !ok && let Some(said) = self.host().annotation(&format!("landfall: {name}"), message.trim_end()) {
            text.push_str(&said);
        }
    }
}

/// To the host's file, or through its program; a job does not fail for its summary.
async fn summarise(job: &Job, record: &Record, ok: bool, printer: &Printer) {
    let text = || record.markdown(&job.flow, |milliseconds| duration(Duration::from_millis(milliseconds)));
    if let Some(file) = &job.summary
        && let Err(error) = append(file, &text())
    {
        printer.warn(format_args!("{}: {error}: the job has no summary", file.display()));
    }
    if let Some([program, arguments @ ..]) = job.flow.context.host.annotate(ok)
        && let Err(error) = annotate(program, &arguments, &text()).await
    {
        printer.warn(format_args!("{program}: {error}: the build has no annotation"));
    }
}

fn append(file: &Path, text: &str) -> std::io::Result<()> {
    std::fs::OpenOptions::new().create(true).append(true).open(file)?.write_all(text.as_bytes())
}

async fn annotate(program: &str, arguments: &[&str], text: &str) -> std::io::Result<()> {
    use tokio::io::AsyncWriteExt as _;

    let mut process = tokio::process::Command::new(program);
    let mut child = process.args(arguments).stdin(std::process::Stdio::piped()).spawn()?;
    if let Some(mut pipe) = child.stdin.take() {
        pipe.write_all(text.as_bytes()).await?;
    }
    let status = child.wait().await?;
    if status.success() { Ok(()) } else { Err(std::io::Error::other(status.to_string())) }
}
