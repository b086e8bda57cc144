//! `cargo xtask dist`: what a release consists of, for this machine's architecture: one static binary in an archive, the same in an
//! image (an OCI layout, made without a container engine), and their checksums.
//!
//! Packing is deterministic: the same binary and commit give the same bytes. Names, owners, times and order come from here and from
//! the commit, never from the file system. gzip and sha256sum do the heavy work: this program is not optimised.

mod archive;
mod elf;
mod image;
pub(crate) mod link;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::bench::target_directory;
use archive::{Entry, gzip, sha256, tar};
use image::{Image, write};
use link::Linker;

const USAGE: &str = "usage: cargo xtask dist [--target TRIPLE] [--binary FILE] [--out DIRECTORY]";

/// What is released.
struct Release {
    version: String,
    commit: String,
    /// The commit's, in seconds; every packed file has it.
    time: u64,
    /// `x86_64`
    architecture: String,
}

impl Release {
    /// `landfall-0.1.0-x86_64-linux`
    fn name(&self) -> String {
        format!("landfall-{}-{}-linux", self.version, self.architecture)
    }
}

pub(crate) fn run(args: &[String]) -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask has a parent")?;
    let (mut target, mut binary, mut out) = (host()?, None, target_directory()?.join("dist"));
    let mut args = args.iter();
    while let Some(option) = args.next() {
        let value = args.next().with_context(|| USAGE.to_owned())?;
        match option.as_str() {
            "--target" => target.clone_from(value),
            "--binary" => binary = Some(PathBuf::from(value)),
            "--out" => out = PathBuf::from(value),
            _ => bail!("{USAGE}"),
        }
    }
    let binary = match binary {
        Some(binary) => binary,
        None => build(root, &target)?,
    };
    let release = Release {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        commit: git(root, &["rev-parse", "HEAD"])?,
        time: git(root, &["show", "--no-patch", "--format=%ct", "HEAD"])?.parse().context("the commit's time")?,
        architecture: target.split('-').next().unwrap_or_default().to_owned(),
    };
    if !git(root, &["status", "--porcelain", "--untracked-files=no"])?.is_empty() {
        eprintln!("warning: files differ from commit {}", release.commit);
    }
    pack(root, &release, &binary, &out)
}

/// Everything below `out`; what is there of the same name is replaced.
fn pack(root: &Path, release: &Release, binary: &Path, out: &Path) -> Result<()> {
    let program = std::fs::read(binary).with_context(|| binary.display().to_string())?;
    elf::is_static(&program).with_context(|| binary.display().to_string())?;
    std::fs::create_dir_all(out)?;
    let name = release.name();

    let mut entries = vec![Entry::file("landfall", 0o755, program.clone())];
    for file in ["CHANGELOG.md", "LICENSE", "LICENSE-APACHE", "README.md"] {
        entries.push(Entry::file(file, 0o644, std::fs::read(root.join(file)).with_context(|| file.to_owned())?));
    }
    let packed = out.join(format!("{name}.tar.gz"));
    std::fs::write(&packed, gzip(&tar(entries, release.time)?)?)?;

    let layout = out.join(format!("{name}.oci"));
    if layout.exists() {
        std::fs::remove_dir_all(&layout)?;
    }
    let image = Image {
        program,
        architecture: &release.architecture,
        labels: &image::labels(&release.version, &release.commit, release.time)?,
        time: release.time,
    };
    let digest = write(&image, &layout)?;

    let sums = format!("{}  {name}.tar.gz\n", sha256(&std::fs::read(&packed)?)?);
    std::fs::write(out.join(format!("{name}.sha256")), &sums)?;
    println!("{}  {:.1} MB", packed.display(), std::fs::metadata(&packed)?.len() as f64 / 1e6);
    println!("{}  {digest}", layout.display());
    print!("{sums}");
    Ok(())
}

/// What people get, built for this machine.
pub(crate) fn released() -> Result<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask has a parent")?;
    build(root, &host()?)
}

/// The release build, with the C library inside.
fn build(root: &Path, target: &str) -> Result<PathBuf> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let registry = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let registry = registry.or_else(|| Some(Path::new(&std::env::var_os("HOME")?).join(".cargo")));
    // At a fixed address: else each start relocates eighty thousand places, which was half of what it took and most of its memory.
    let flags = ["-Ctarget-feature=+crt-static", "-Crelocation-model=static"];
    let mut flags: Vec<String> = flags.map(str::to_owned).into();
    // Where it was built is nobody's business.
    flags.push(format!("--remap-path-prefix={}=/landfall", root.display()));
    flags.extend(registry.map(|path| format!("--remap-path-prefix={}=/cargo", path.display())));
    // Another machine's program cannot be tried here.
    let linker = if target == host()? { Linker::new(&target_directory()?)? } else { None };
    flags.extend(linker.as_ref().map(Linker::flag));
    let status = Command::new(cargo)
        .args(["build", "--release", "--locked", "-p", "landfall", "--target", target])
        // With a target given, flags are for what is shipped and not for what runs while it is built.
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}"))
        .env_remove("RUSTFLAGS")
        // As .cargo/config.toml has it, wherever this is run from.
        .env("AWS_LC_SYS_NO_JITTER_ENTROPY", "1")
        .envs(linker.iter().flat_map(Linker::environment))
        .current_dir(root)
        .status()?;
    ensure!(status.success(), "cargo build failed");
    if let Some(linker) = &linker {
        eprintln!("{}", linker.report());
    }
    Ok(target_directory()?.join(target).join("release/landfall"))
}

/// The triple that this machine's compiler builds for.
fn host() -> Result<String> {
    let output = Command::new("rustc").arg("-vV").output().context("rustc")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("rustc -vV names no host")?.to_owned())
}

fn git(root: &Path, words: &[&str]) -> Result<String> {
    let output = Command::new("git").args(words).current_dir(root).output().context("git")?;
    ensure!(output.status.success(), "git {}: {}", words.join(" "), String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn the_same_binary_gives_the_same_bytes_and_the_checksum_fits() {
        let dir = tempfile::tempdir().unwrap();
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let binary = dir.path().join("built");
        let release = Release {
            version: "1.2.3".to_owned(),
            commit: "c1".to_owned(),
            time: 1_700_000_000,
            architecture: "x86_64".to_owned(),
        };
        let mut made = Vec::new();
        for (out, mode) in [("a", 0o700), ("b", 0o755)] {
            std::fs::write(&binary, elf::tests::program(false)).unwrap();
            std::fs::set_permissions(&binary, std::fs::Permissions::from_mode(mode)).unwrap();
            let out = dir.path().join(out);
            pack(root, &release, &binary, &out).unwrap();
            // Again over what is there.
            pack(root, &release, &binary, &out).unwrap();
            let checked =
                Command::new("sha256sum").args(["-c", "landfall-1.2.3-x86_64-linux.sha256"]).current_dir(&out).output();
            assert!(checked.unwrap().status.success());
            let archive = out.join("landfall-1.2.3-x86_64-linux.tar.gz");
            let index = std::fs::read(out.join("landfall-1.2.3-x86_64-linux.oci/index.json")).unwrap();
            // As the jobs that `landfall ci init` writes take it.
            let taken = out.join("bin");
            std::fs::create_dir(&taken).unwrap();
            let tar = Command::new("tar").arg("-xzf").arg(&archive).arg("-C").arg(&taken).arg("landfall").status();
            assert!(tar.unwrap().success());
            let mode = std::fs::metadata(taken.join("landfall")).unwrap().permissions().mode();
            assert_eq!(mode & 0o7777, 0o755);
            made.push((std::fs::read(archive).unwrap(), index));
        }
        assert!(made[0] == made[1], "two packings differ");
        std::fs::write(&binary, elf::tests::program(true)).unwrap();
        let refused = pack(root, &release, &binary, &dir.path().join("c")).unwrap_err();
        assert!(format!("{refused:#}").contains("is not static"), "{refused:#}");
    }
}
