//! The architecture as a check: which of our crates may depend on which, and how long a file may be.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

/// crate, what it may depend on. Development dependencies may also name anything listed in `TEST_ONLY`.
const ARROWS: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("manifest", &["model"]),
    ("import", &["manifest", "model"]),
    ("iam", &["model"]),
    ("deploy", &["model"]),
    ("stack", &["iam", "model"]),
    ("cluster", &["iam", "manifest", "model", "scaler", "stack"]),
    ("ci", &["model"]),
    ("pipeline", &["model"]),
    ("scaler", &[]),
    ("pages", &["model", "pipeline"]),
    ("workflow", &["model"]),
    ("planner", &["model", "workflow"]),
    ("ports", &["model", "workflow"]),
    ("steps", &["model", "workflow", "ports", "deploy", "scaler", "stack", "cluster"]),
    ("engine", &["model", "workflow", "ports"]),
    ("testkit", &["model", "workflow", "ports"]),
    ("sqlite", &["model", "workflow", "ports"]),
    ("s3", &["model", "workflow", "ports"]),
    ("router", &["model"]),
    ("registry", &["ports"]),
    ("local", &["model", "ports", "registry", "router"]),
    ("aws", &["model", "ports", "deploy"]),
    ("github", &["model", "ports"]),
    ("notify", &["model", "ports"]),
    (
        "server",
        &["model", "workflow", "deploy", "pipeline", "planner", "ports", "engine", "github", "pages", "stack", "steps"],
    ),
    ("telemetry", &[]),
    ("awsfake", &[]),
    (
        "landfall",
        &[
            "model",
            "manifest",
            "import",
            "iam",
            "deploy",
            "stack",
            "cluster",
            "ci",
            "workflow",
            "planner",
            "pipeline",
            "scaler",
            "ports",
            "steps",
            "engine",
            "sqlite",
            "s3",
            "local",
            "aws",
            "registry",
            "router",
            "github",
            "notify",
            "server",
            "telemetry",
        ],
    ),
];
const TEST_ONLY: &[&str] =
    &["model", "manifest", "testkit", "awsfake", "deploy", "engine", "steps", "planner", "workflow"];

const LONG: usize = 300;
const TOO_LONG: usize = 600;

pub(crate) fn run() -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask has a parent")?;
    let mut faults = arrows(root)?;
    faults.extend(sizes(root)?);
    if !faults.is_empty() {
        bail!("the architecture does not hold:\n  {}", faults.join("\n  "));
    }
    Ok(())
}

fn short(name: &str) -> &str {
    name.strip_prefix("landfall-").unwrap_or(name)
}

fn arrows(root: &Path) -> Result<Vec<String>> {
    let output = Command::new("cargo")
        .args(["metadata", "--no-deps", "--format-version", "1", "--offline"])
        .current_dir(root)
        .output()
        .context("cargo metadata")?;
    let metadata: serde_json::Value =
        serde_json::from_slice(&output.stdout).context("cargo metadata printed no JSON")?;
    let mut faults = Vec::new();
    let mut seen = 0;
    for package in metadata["packages"].as_array().context("no packages")? {
        let name = short(package["name"].as_str().unwrap_or_default());
        if name == "xtask" {
            continue;
        }
        let Some((_, allowed)) = ARROWS.iter().find(|(n, _)| *n == name) else {
            faults.push(format!("crate {name} is not on the map (xtask/src/arch.rs, ARCHITECTURE.md)"));
            continue;
        };
        seen += 1;
        let mut unused = allowed.to_vec();
        for dependency in package["dependencies"].as_array().into_iter().flatten() {
            let target = dependency["name"].as_str().unwrap_or_default();
            if !target.starts_with("landfall") {
                continue;
            }
            let target = short(target);
            let development = dependency["kind"].as_str() == Some("dev");
            if !development {
                unused.retain(|arrow| *arrow != target);
            }
            if !(allowed.contains(&target) || development && TEST_ONLY.contains(&target)) {
                faults.push(format!("{name} must not depend on {target}"));
            }
        }
        faults.extend(
            unused.iter().map(|target| format!("{name} has no need of {target} any more: take it off the map")),
        );
    }
    println!("{seen} crates, every arrow on the map");
    Ok(faults)
}

fn sizes(root: &Path) -> Result<Vec<String>> {
    let output = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard", "*.rs"])
        .current_dir(root)
        .output()
        .context("git ls-files")?;
    let (mut files, mut long, mut total) = (0, Vec::new(), 0);
    let mut faults = Vec::new();
    for file in String::from_utf8_lossy(&output.stdout).lines() {
        let Ok(text) = std::fs::read_to_string(root.join(file)) else { continue };
        let lines = text.lines().count();
        files += 1;
        total += lines;
        if lines > TOO_LONG {
            faults.push(format!("{file} has {lines} lines; over {TOO_LONG} needs splitting"));
        } else if lines > LONG + LONG / 3 {
            long.push(format!("{file} ({lines})"));
        }
    }
    println!("{files} Rust files, {total} lines; {} over 400: {}", long.len(), long.join(", "));
    Ok(faults)
}
