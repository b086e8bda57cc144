//! The linker of a release: links, sees which functions commands use, and links again with these beside each other.
//!
//! The kernel maps sixteen pages around each one that is touched, and a command touches a tenth of the program, here and there: most of
//! what it had in memory was code that it never ran.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

use crate::bench::aws::{self, Fake};
use crate::bench::synth::application;

/// Where the fake of AWS listens that commands are tried on.
const FAKE: &str = "LANDFALL_LAYOUT_AWS";
/// A file for what came of it: nobody sees what a linker says.
const REPORT: &str = "LANDFALL_LAYOUT_REPORT";
const REGION: &str = "eu-central-1";

/// What has to be there while cargo links.
pub(crate) struct Linker {
    /// Ends with the build.
    fake: Fake,
    script: PathBuf,
    report: PathBuf,
}

impl Linker {
    /// `None`: nothing here sees which functions are used.
    pub(crate) fn new(target: &Path) -> Result<Option<Self>> {
        if Command::new("valgrind").arg("--version").output().is_err() {
            eprintln!(
                "warning: valgrind is not installed (apt-get install valgrind): functions stay where the compiler puts them, and \
                 commands take two to three times the memory"
            );
            return Ok(None);
        }
        let fake = Fake::built("dev")?;
        fake.pace(0.0)?;
        fake.cluster(REGION)?;
        std::fs::create_dir_all(target)?;
        // A linker is a program without arguments of its own.
        let script = target.join("landfall-cc");
        let own = std::env::current_exe()?;
        std::fs::write(&script, format!("#!/bin/sh\nexec '{}' link \"$@\"\n", own.display()))?;
        std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
        let report = target.join("landfall-layout");
        if report.exists() {
            std::fs::remove_file(&report)?;
        }
        Ok(Some(Self { fake, script, report }))
    }

    pub(crate) fn flag(&self) -> String {
        format!("-Clinker={}", self.script.display())
    }

    pub(crate) fn environment(&self) -> [(&'static str, String); 2] {
        [(FAKE, self.fake.url.clone()), (REPORT, self.report.display().to_string())]
    }

    /// How the link went.
    pub(crate) fn report(&self) -> String {
        let none = "not linked anew: functions lie as they did (`touch crates/landfall/src/main.rs` has it linked)";
        std::fs::read_to_string(&self.report).unwrap_or_else(|_| none.to_owned())
    }
}

/// As rustc calls its linker.
pub(crate) fn run(args: &[String]) -> Result<()> {
    let at = args.iter().position(|arg| arg == "-o").context("no -o")? + 1;
    let output = Path::new(args.get(at).context("nothing after -o")?);
    let (Ok(url), Ok(report)) = (std::env::var(FAKE), std::env::var(REPORT)) else { return cc(args) };
    let (tried, order) = (output.with_extension("tried"), output.with_extension("order"));
    let mut first: Vec<String> = args.to_vec();
    first[at] = tried.display().to_string();
    // Functions are told by their names.
    first.retain(|arg| arg != "-Wl,--strip-all");
    cc(&first)?;
    let names = used(&tried, &url);
    std::fs::remove_file(&tried)?;
    let laid_out = names.and_then(|names| {
        std::fs::write(&order, names.join("\n"))?;
        // lld's options; another linker refuses them.
        let ordered = format!("-Wl,--symbol-ordering-file={}", order.display());
        cc(&[args, &[ordered, "-Wl,--no-warn-symbol-ordering".to_owned()]].concat())?;
        Ok(names.len())
    });
    match laid_out {
        Ok(count) => {
            std::fs::write(&report, format!("layout: {count} functions that commands call lie beside each other"))?;
            Ok(())
        }
        // A release without it is a good one.
        Err(error) => {
            std::fs::write(&report, format!("warning: functions stay where the compiler puts them: {error:#}"))?;
            cc(args)
        }
    }
}

fn cc(args: &[String]) -> Result<()> {
    ensure!(Command::new("cc").args(args).status()?.success(), "cc failed");
    Ok(())
}

/// The functions that commands call: those of most commands first, and those of the same ones beside each other.
fn used(program: &Path, url: &str) -> Result<Vec<String>> {
    let dir = tempfile::tempdir()?;
    let (stack, place) = (dir.path().join("stack"), dir.path().join("place"));
    let flow = "ci:\n  rules:\n    all:\n      branches: [master]\n      steps:\n        - test: [\"true\"]\n";
    let manifests = [(&stack, application::application(1) + flow), (&place, aws::manifest(url, REGION, 1))];
    for (directory, text) in manifests {
        std::fs::create_dir_all(directory)?;
        std::fs::write(directory.join("landfall.yml"), text)?;
    }
    aws::succeed(alone(program, &["deploy", "prod"], &place, url))?;
    // None that writes its journal: it takes the time from the kernel's page of code (vDSO), which valgrind hides.
    let commands: [(&Path, &[&str]); 8] = [
        (&stack, &["--version"]),
        (&stack, &["check"]),
        (&stack, &["template", "prod", "--output", "json"]),
        (&stack, &["ci"]),
        (&place, &["plan", "prod"]),
        (&place, &["releases", "prod"]),
        (&place, &["status", "prod"]),
        (&place, &["status", "prod", "--output", "json"]),
    ];
    let mut by: BTreeMap<String, u64> = BTreeMap::new();
    for (at, (directory, args)) in commands.into_iter().enumerate() {
        for name in called(program, args, directory, url)? {
            *by.entry(name).or_default() |= 1 << at;
        }
    }
    let mut all: Vec<(String, u64)> = by.into_iter().collect();
    all.sort_by_key(|(_, commands)| (std::cmp::Reverse(commands.count_ones()), *commands));
    Ok(all.into_iter().map(|(name, _)| name).collect())
}

/// A host's, for `ci`.
const JOB: [(&str, &str); 4] =
    [("GITLAB_CI", "true"), ("CI_PROJECT_PATH", "acme/shop"), ("CI_COMMIT_SHA", "c1"), ("CI_COMMIT_BRANCH", "master")];

/// A command that sees nothing of this machine's settings and of the job that builds; two minutes at most.
fn alone(program: &Path, args: &[&str], directory: &Path, url: &str) -> Command {
    let known = aws::tool(program, args, directory, url, REGION);
    let mut command = Command::new("timeout");
    command.arg("120").arg(program).args(args).current_dir(directory).env_clear();
    command.envs(known.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.envs(std::env::var_os("PATH").map(|path| ("PATH", path))).env("HOME", directory);
    command.stdin(Stdio::null()).stdout(Stdio::null());
    command
}

/// The functions that one command calls, as cachegrind sees them.
fn called(program: &Path, args: &[&str], directory: &Path, url: &str) -> Result<Vec<String>> {
    let out = directory.join("cachegrind");
    let file = format!("--cachegrind-out-file={}", out.display());
    let program = program.to_str().context("a path that is no text")?;
    let watched = ["--tool=cachegrind", "--cache-sim=no", "--demangle=no", &file, program];
    let mut command = alone(Path::new("valgrind"), &[&watched[..], args].concat(), directory, url);
    let ended = command.envs(JOB).stderr(Stdio::piped()).output()?;
    if !ended.status.success() {
        bail!("landfall {}: {}", args.join(" "), String::from_utf8_lossy(&ended.stderr));
    }
    Ok(names(&std::fs::read_to_string(&out)?))
}

/// From lines `fn=NAME`.
fn names(text: &str) -> Vec<String> {
    let mut names: Vec<String> = text.lines().filter_map(|line| Some(line.strip_prefix("fn=")?.to_owned())).collect();
    names.sort_unstable();
    names.dedup();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_a_profile() {
        assert_eq!(
            names("events: Ir\nfl=a\nfn=main\n16 3\nfn=_ZN4coreE\n0 1\nfl=b\nfn=main\n9 9\n"),
            ["_ZN4coreE", "main"]
        );
    }
}
