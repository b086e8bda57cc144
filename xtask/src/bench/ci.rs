//! `landfall ci` beside the same commands in a shell: what it costs to know the event, keep a record and show the log.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Result, ensure};

use super::server::release_binary;
use super::stats::median;

const ROUNDS: usize = 25;

/// What is run, the manifest's steps, and the same for `sh`.
const FLOWS: [(&str, &str, &str); 3] = [
    ("no rule matches", "", ":"),
    ("one step, `true`", "        - test: [\"true\"]\n", "sh -c true"),
    (
        "three steps of `true`, each after the one before, and changed paths asked of git",
        "        - test: [\"true\"]\n        - test: [\"true\"]\n          name: b\n          needs: [test]\n        \
         - test: [\"true\"]\n          name: c\n          needs: [b]\n",
        "git diff --name-only HEAD^ HEAD >/dev/null; sh -c true; sh -c true; sh -c true",
    ),
];

pub(crate) fn run() -> Result<()> {
    let landfall = release_binary()?;
    let home = tempfile::tempdir()?;
    git(home.path(), &["init", "-q"])?;
    for message in ["one", "two"] {
        std::fs::write(home.path().join("file"), message)?;
        git(home.path(), &["add", "file"])?;
        git(home.path(), &["commit", "-q", "-m", message])?;
    }
    println!("| medians of {ROUNDS} interleaved rounds, ms | `landfall ci` | `sh` | overhead |");
    println!("|---|---|---|---|");
    for (at, (name, steps, shell)) in FLOWS.into_iter().enumerate() {
        std::fs::write(home.path().join("landfall.yml"), manifest(steps, at == 2))?;
        let (mut own, mut theirs) = (Vec::new(), Vec::new());
        for round in 0..=ROUNDS {
            // Found by its variables, as in a job.
            let mut ci = Command::new(&landfall);
            ci.arg("ci").env("LANDFALL_STATE", home.path().join("state")).envs([
                ("GITLAB_CI", "true"),
                ("CI_PROJECT_PATH", "acme/shop"),
                ("CI_COMMIT_SHA", "c1"),
                ("CI_COMMIT_BRANCH", "master"),
            ]);
            let (a, b) = (timed(&mut ci, home.path())?, timed(Command::new("sh").args(["-ec", shell]), home.path())?);
            if round > 0 {
                own.push(a);
                theirs.push(b);
            }
        }
        let overhead: Vec<f64> = own.iter().zip(&theirs).map(|(own, theirs)| own - theirs).collect();
        println!("| {name} | {:.1} | {:.1} | {:.1} |", median(&own), median(&theirs), median(&overhead));
    }
    Ok(())
}

fn manifest(steps: &str, paths: bool) -> String {
    let (branches, steps) = match steps {
        "" => ("other", "        - test: [\"true\"]\n"),
        steps => ("master", steps),
    };
    let paths = if paths { "      paths: [\"**\"]\n" } else { "" };
    format!(
        "project: shop\nservices: {{ web: {{ containers: {{ app: {{ image: nginx }} }} }} }}\nci:\n  rules:\n    all:\n      \
         branches: [{branches}]\n{paths}      steps:\n{steps}"
    )
}

fn git(directory: &Path, words: &[&str]) -> Result<()> {
    let mut command = Command::new("git");
    command.args(["-c", "user.name=bench", "-c", "user.email=bench@example.com"]).args(words).current_dir(directory);
    ensure!(command.status()?.success(), "git {words:?} failed");
    Ok(())
}

fn timed(command: &mut Command, directory: &Path) -> Result<f64> {
    command.current_dir(directory).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let began = Instant::now();
    let status = command.status()?;
    let took = began.elapsed().as_secs_f64() * 1e3;
    ensure!(status.success(), "{command:?} failed");
    Ok(took)
}
