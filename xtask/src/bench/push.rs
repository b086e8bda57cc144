//! `landfall push` beside skopeo and podman: a five-layer image of about 125 MB from an OCI layout (podman: from its store, as it ships)
//! into Debian's `docker-registry`, over plain HTTP and over TLS. Cold, with four layers there, with all there; and the requests alone.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::push_floor;
use super::registry::{Registry, quiet};
use super::server::release_binary;
use super::stats::{median, paired_ratio};

const ROUNDS: usize = 5;
const FLOOR: &str = "the requests alone";
const PODMAN_IMAGE: &str = "localhost/landfall-bench-push";

#[derive(Clone, Copy, PartialEq)]
enum Case {
    Cold,
    FourThere,
    AllThere,
}

impl Case {
    const ALL: [(Case, &str); 3] =
        [(Case::Cold, "cold"), (Case::FourThere, "four layers there"), (Case::AllThere, "all there")];
}

#[derive(Default)]
struct Samples {
    wall: Vec<f64>,
    used: Used,
}

#[derive(Default)]
struct Used {
    cpu_ms: f64,
    memory_mb: f64,
}

struct World {
    dir: tempfile::TempDir,
    landfall: PathBuf,
    registry: Option<Registry>,
    port: u16,
    tls: bool,
}

pub(crate) fn run() -> Result<()> {
    let landfall = release_binary()?;
    let mut world = World { dir: tempfile::tempdir()?, landfall, registry: None, port: 0, tls: false };
    world.images()?;
    let sizes: Vec<String> = ["v1", "v2"].iter().map(|name| world.describe(name)).collect::<Result<_>>()?;
    println!("Image: {}.\n", sizes[0]);
    println!(
        "| push, medians of {ROUNDS} interleaved rounds | case | wall ms | landfall ÷ this | processor ms | peak memory MB |\n|---|---|---|---|---|---|"
    );
    for tls in [false, true] {
        // The former one first: it has the same directory.
        drop(world.registry.take());
        let registry = Registry::start(world.dir.path(), tls)?;
        (world.tls, world.port, world.registry) = (tls, registry.port, Some(registry));
        for (case, name) in Case::ALL {
            // The floor has no process of its own, and no TLS; where all is there nothing of it is left.
            let peers: &[&str] = match (tls, case) {
                (false, Case::Cold | Case::FourThere) => &["landfall", "skopeo", "podman", FLOOR],
                _ => &["landfall", "skopeo", "podman"],
            };
            let mut all: Vec<Samples> = peers.iter().map(|_| Samples::default()).collect();
            // The first round tells processor time and memory, the others are timed: GNU time takes a millisecond itself.
            for round in 0..=ROUNDS {
                for (peer, samples) in peers.iter().zip(&mut all) {
                    match round {
                        0 => samples.used = world.once(peer, case, true)?.1,
                        _ => samples.wall.push(world.once(peer, case, false)?.0),
                    }
                }
            }
            let transport = if tls { "TLS" } else { "HTTP" };
            for (peer, samples) in peers.iter().zip(&all) {
                let (wall, ratio) = (median(&samples.wall), paired_ratio(&all[0].wall, &samples.wall));
                let own = match *peer {
                    FLOOR => " | ".to_owned(),
                    _ => format!("{:.0} | {:.1}", samples.used.cpu_ms, samples.used.memory_mb),
                };
                println!("| {peer} | {transport}, {name} | {wall:.1} | {ratio:.3} | {own} |");
            }
        }
    }
    Ok(())
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = quiet(Command::new("podman").args([
            "rmi",
            "-f",
            &format!("{PODMAN_IMAGE}:v1"),
            &format!("{PODMAN_IMAGE}:v2"),
        ]));
    }
}

impl World {
    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Two images that differ in the last layer, as layouts and in podman's store.
    fn images(&self) -> Result<()> {
        let mut layers = Vec::new();
        // What layers are made of: programs, text, data that is packed already, many small files, the application.
        for (index, (megabytes, files, random)) in
            [(70, 1, 50), (41, 1, 25), (43, 1, 100), (50, 5_000, 60)].into_iter().enumerate()
        {
            layers.push(self.layer(&format!("base{index}"), megabytes, files, random)?);
        }
        for name in ["v1", "v2"] {
            let mut all = layers.clone();
            all.push(self.layer(name, 5, 1, 60)?);
            self.layout(name, &all)?;
            let from = format!("oci:{}:{name}", self.path(name).display());
            quiet(Command::new("skopeo").args([
                "copy",
                "-q",
                &from,
                &format!("containers-storage:{PODMAN_IMAGE}:{name}"),
            ]))?;
        }
        Ok(())
    }

    /// A layer's tar, compressed: its path, and the digest of what it holds.
    fn layer(&self, name: &str, megabytes: usize, files: usize, random: u64) -> Result<(PathBuf, String)> {
        let directory = self.path("trees").join(name);
        std::fs::create_dir_all(directory.join(name))?;
        let mut state = name
            .bytes()
            .fold(0x9e37_79b9_7f4a_7c15_u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(byte)))
            | 1;
        for file in 0..files {
            let mut out =
                std::io::BufWriter::new(std::fs::File::create(directory.join(name).join(format!("file{file}")))?);
            for _ in 0..megabytes * 1_000_000 / files / 1000 {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                // Of a hundred blocks so many do not compress.
                if state % 100 < random {
                    let mut block = Vec::with_capacity(1000);
                    while block.len() < 1000 {
                        state ^= state << 13;
                        state ^= state >> 7;
                        state ^= state << 17;
                        block.extend_from_slice(&state.to_le_bytes());
                    }
                    out.write_all(&block)?;
                } else {
                    out.write_all(format!("line {state} of a text\n").repeat(30).as_bytes())?;
                }
            }
            out.flush()?;
        }
        let tar = self.path(&format!("{name}.tar"));
        quiet(
            Command::new("tar").args(["--sort=name", "--mtime=@0", "-cf"]).arg(&tar).arg("-C").arg(&directory).arg("."),
        )?;
        let diff = hash(&std::fs::read(&tar)?);
        quiet(Command::new("gzip").args(["-n", "-6"]).arg(&tar))?;
        std::fs::remove_dir_all(&directory)?;
        Ok((self.path(&format!("{name}.tar.gz")), diff))
    }

    fn layout(&self, name: &str, layers: &[(PathBuf, String)]) -> Result<()> {
        let blobs = self.path(name).join("blobs/sha256");
        std::fs::create_dir_all(&blobs)?;
        let put = |bytes: &[u8], media_type: &str| -> Result<Value> {
            let digest = hash(bytes);
            std::fs::write(blobs.join(&digest["sha256:".len()..]), bytes)?;
            Ok(json!({"mediaType": media_type, "digest": digest, "size": bytes.len()}))
        };
        let mut all = Vec::new();
        for (path, _) in layers {
            all.push(put(&std::fs::read(path)?, "application/vnd.oci.image.layer.v1.tar+gzip")?);
        }
        let diffs: Vec<&String> = layers.iter().map(|(_, diff)| diff).collect();
        let config = json!({"architecture": "amd64", "os": "linux", "config": {}, "rootfs": {"type": "layers", "diff_ids": diffs}});
        let config = put(&serde_json::to_vec(&config)?, "application/vnd.oci.image.config.v1+json")?;
        let media_type = "application/vnd.oci.image.manifest.v1+json";
        let manifest = json!({"schemaVersion": 2, "mediaType": media_type, "config": config, "layers": all});
        let mut root = put(&serde_json::to_vec(&manifest)?, media_type)?;
        root["annotations"] = json!({"org.opencontainers.image.ref.name": name});
        std::fs::write(self.path(name).join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#)?;
        std::fs::write(
            self.path(name).join("index.json"),
            serde_json::to_vec(&json!({"schemaVersion": 2, "manifests": [root]}))?,
        )?;
        Ok(())
    }

    fn describe(&self, name: &str) -> Result<String> {
        let mut sizes = Vec::new();
        for blob in std::fs::read_dir(self.path(name).join("blobs/sha256"))? {
            sizes.push(blob?.metadata()?.len() as f64 / 1e6);
        }
        sizes.sort_by(|a, b| b.total_cmp(a));
        let layers: Vec<String> = sizes.iter().take(5).map(|size| format!("{size:.1}")).collect();
        Ok(format!("{:.1} MB in layers of {} MB", sizes.iter().sum::<f64>(), layers.join(", ")))
    }

    /// Wall and processor milliseconds and peak megabytes of one push.
    /// Milliseconds, and with `usage` what it has used.
    fn once(&self, peer: &str, case: Case, usage: bool) -> Result<(f64, Used)> {
        let data = self.path("data/docker");
        if case == Case::Cold && data.exists() {
            std::fs::remove_dir_all(&data)?;
        }
        // What skopeo and podman remember of blobs would hide what they do.
        let _ = std::fs::remove_file("/var/lib/containers/cache/blob-info-cache-v1.boltdb");
        let version = match case {
            Case::Cold => "v1",
            Case::AllThere => {
                self.push(peer, "v1", false)?;
                "v1"
            }
            Case::FourThere => {
                std::fs::remove_dir_all(&data).ok();
                self.push(peer, "v1", false)?;
                "v2"
            }
        };
        self.push(peer, version, usage)
    }

    fn push(&self, peer: &str, version: &str, usage: bool) -> Result<(f64, Used)> {
        if peer == FLOOR {
            let started = Instant::now();
            push_floor::push(self.port, "bench/floor", &self.path(version), version)?;
            return Ok((started.elapsed().as_secs_f64() * 1e3, Used::default()));
        }
        let target = format!("127.0.0.1:{}/bench/{peer}:{version}", self.port);
        let layout = self.path(version);
        let certs = self.path("certs");
        let mut args: Vec<String> = Vec::new();
        let verify = |flag: &str| match self.tls {
            true => format!("--{flag}cert-dir={}", certs.display()),
            false => format!("--{flag}tls-verify=false"),
        };
        let program = match peer {
            "landfall" => {
                let scheme = if self.tls { "https" } else { "http" };
                args.extend([
                    "push".into(),
                    "--quiet".into(),
                    "--from".into(),
                    layout.display().to_string(),
                    format!("{scheme}://{target}"),
                ]);
                self.landfall.display().to_string()
            }
            "skopeo" => {
                args.extend(["copy".into(), "-q".into(), verify("dest-")]);
                args.extend([format!("oci:{}:{version}", layout.display()), format!("docker://{target}")]);
                "skopeo".to_owned()
            }
            _ => {
                args.extend(["push".into(), "-q".into(), verify(""), format!("{PODMAN_IMAGE}:{version}"), target]);
                "podman".to_owned()
            }
        };
        let mut command = Command::new(if usage { "/usr/bin/time" } else { &program });
        if usage {
            command.args(["-f", "%U %S %M"]).arg(&program);
        }
        command.args(args).env("SSL_CERT_FILE", certs.join("ca.crt")).stdout(Stdio::null());
        let started = Instant::now();
        let output = command.output().with_context(|| format!("{:?} is not installed", command.get_program()))?;
        let wall = started.elapsed().as_secs_f64() * 1e3;
        let text = String::from_utf8_lossy(&output.stderr);
        if !output.status.success() {
            bail!("{peer} failed: {text}");
        }
        if !usage {
            return Ok((wall, Used::default()));
        }
        let numbers: Vec<f64> =
            text.lines().last().unwrap_or_default().split(' ').filter_map(|number| number.parse().ok()).collect();
        let [user, system, kilobytes] = numbers[..] else { bail!("GNU time said {text:?}") };
        Ok((wall, Used { cpu_ms: (user + system) * 1e3, memory_mb: kilobytes / 1e3 }))
    }
}

fn hash(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}
