//! An image that has not changed, built and pushed again: `landfall build --push`, and both commands, beside `podman build` and `podman push`.
//! Both find that nothing is to be done; the context is that of a small application, 2,000 files of 20 MB together.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Result, ensure};

use super::registry::{Registry, quiet};
use super::server::release_binary;
use super::stats::{median, paired_ratio};

const ROUNDS: usize = 7;
const FILES: usize = 2_000;
const BYTES: usize = 10_000;
const ONE: &[&[&str]] = &[&["build", "--push"]];
const TWO: &[&[&str]] = &[&["build"], &["push"]];

pub(crate) fn run() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let registry = Registry::start(dir.path(), false)?;
    let world = World {
        landfall: release_binary()?,
        work: dir.path().join("work"),
        state: dir.path().join("state"),
        port: registry.port,
        name: format!("localhost/landfall-bench-rebuild-{}", std::process::id()),
    };
    world.prepare()?;
    let first = [world.landfall(ONE, &world.state)?, world.podman()?];
    let (mut one, mut two, mut elsewhere, mut podman) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for round in 0..=ROUNDS {
        let once = world.landfall(ONE, &world.state)?;
        let twice = world.landfall(TWO, &world.state)?;
        // A machine that has never built it: what it needs to know, the registry knows.
        let other = world.landfall(ONE, &dir.path().join(format!("other{round}")))?;
        let theirs = world.podman()?;
        if round > 0 {
            one.push(once);
            two.push(twice);
            elsewhere.push(other);
            podman.push(theirs);
        }
    }
    println!(
        "Context: {FILES} files, {} MB. First build and push: landfall {:.0} ms (Podman builds), podman {:.0} ms.\n",
        FILES * BYTES / 1_000_000,
        first[0],
        first[1]
    );
    println!(
        "| unchanged rebuild and push, medians of {ROUNDS} interleaved rounds | wall ms | ÷ podman |\n|---|---|---|"
    );
    let row = |name: &str, all: &[f64]| println!("| {name} | {:.1} | {:.3} |", median(all), paired_ratio(all, &podman));
    row("`landfall build --push`", &one);
    row("the same on a machine that has never built it", &elsewhere);
    row("`landfall build`, `landfall push`", &two);
    row("`podman build`, `podman push`", &podman);
    Ok(())
}

struct World {
    landfall: PathBuf,
    work: PathBuf,
    state: PathBuf,
    port: u16,
    /// Of podman's own image.
    name: String,
}

impl Drop for World {
    fn drop(&mut self) {
        let of_landfall = format!("localhost/bench{}-web-app", std::process::id());
        let _ = quiet(Command::new("podman").args(["rmi", "-f", &self.name, &of_landfall]));
    }
}

impl World {
    fn prepare(&self) -> Result<()> {
        for directory in 0..20 {
            let directory = self.work.join(format!("src/{directory}"));
            std::fs::create_dir_all(&directory)?;
            for file in 0..FILES / 20 {
                let line = format!("{} {file} of a source\n", directory.display());
                std::fs::write(directory.join(format!("file{file}")), &line.repeat(BYTES / line.len() + 1)[..BYTES])?;
            }
        }
        std::fs::write(self.work.join("Dockerfile"), "FROM scratch\nCOPY src/0 /base\nCOPY src /app\nLABEL a=b\n")?;
        std::fs::write(
            self.work.join("landfall.yml"),
            format!(
                "project: bench{}\nservices:\n  web:\n    containers:\n      app: {{ await: {{ image: \"127.0.0.1:{}/bench/landfall:{{commit}}\", \
                 build: {{ context: . }} }} }}\n",
                std::process::id(),
                self.port
            ),
        )?;
        std::fs::write(self.work.join(".dockerignore"), "landfall.yml\n")?;
        Ok(())
    }

    fn landfall(&self, commands: &[&[&str]], state: &Path) -> Result<f64> {
        let began = Instant::now();
        for command in commands {
            let mut landfall = Command::new(&self.landfall);
            landfall.args(*command).arg("--quiet").env("LANDFALL_STATE", state).env("LANDFALL_COMMIT", "c1");
            ended(landfall.current_dir(&self.work))?;
        }
        Ok(began.elapsed().as_secs_f64() * 1e3)
    }

    fn podman(&self) -> Result<f64> {
        let began = Instant::now();
        ended(Command::new("podman").args(["build", "-q", "-t", &self.name, "."]).current_dir(&self.work))?;
        let target = format!("127.0.0.1:{}/bench/podman:c1", self.port);
        ended(Command::new("podman").args(["push", "-q", "--tls-verify=false", &self.name, &target]))?;
        Ok(began.elapsed().as_secs_f64() * 1e3)
    }
}

fn ended(command: &mut Command) -> Result<()> {
    let output = command.stdin(Stdio::null()).output()?;
    ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}
