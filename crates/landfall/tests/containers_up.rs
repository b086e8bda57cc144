//! `landfall up --from`: what was pushed, from a real registry, run by a real engine.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use common::registry::World;
use common::{Sandbox, ends, eventually};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

const LIMIT: Duration = Duration::from_secs(180);
const COMMIT: &str = "1a2b3c4d5e6f708192a3b4c5d6e7f8091a2b3c4d";

/// A program that waits for signals and does nothing else, as a layer: `pause()` for ever.
fn layer(name: &str) -> Vec<u8> {
    let (machine, code): (u16, &[u8]) = match cfg!(target_arch = "aarch64") {
        // ppoll(0, 0, 0, 0), again.
        true => (
            183,
            &[
                0, 0, 0x80, 0xd2, 1, 0, 0x80, 0xd2, 2, 0, 0x80, 0xd2, 3, 0, 0x80, 0xd2, 0x28, 9, 0x80, 0xd2, 1, 0, 0,
                0xd4, 0xfa, 0xff, 0xff, 0x17,
            ],
        ),
        false => (62, &[0xb8, 34, 0, 0, 0, 0x0f, 5, 0xeb, 0xf7]),
    };
    let (base, headers) = (0x40_0000_u64, 120_u64);
    let mut elf = vec![0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    elf.extend([2_u16, machine].into_iter().flat_map(u16::to_le_bytes));
    elf.extend(1_u32.to_le_bytes());
    elf.extend([base + headers, 64, 0].into_iter().flat_map(u64::to_le_bytes));
    elf.extend(0_u32.to_le_bytes());
    elf.extend([64_u16, 56, 1, 0, 0, 0].into_iter().flat_map(u16::to_le_bytes));
    elf.extend([1_u32, 5].into_iter().flat_map(u32::to_le_bytes));
    let size = headers + code.len() as u64;
    elf.extend([0, base, base, size, size, 0x1_0000].into_iter().flat_map(u64::to_le_bytes));
    elf.extend(code);
    let mut tar = tar::Builder::new(Vec::new());
    for (path, bytes) in [("wait", elf.as_slice()), ("version", name.as_bytes())] {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o755);
        tar.append_data(&mut header, path, bytes).unwrap();
    }
    tar.into_inner().unwrap()
}

/// A layout with an image of that program; its digest.
fn image(directory: &Path, name: &str) -> String {
    let blobs = directory.join("blobs/sha256");
    std::fs::create_dir_all(&blobs).unwrap();
    let put = |bytes: &[u8], media_type: &str| {
        let hex = hex::encode(Sha256::digest(bytes));
        std::fs::write(blobs.join(&hex), bytes).unwrap();
        json!({"mediaType": format!("application/vnd.oci.image.{media_type}"), "digest": format!("sha256:{hex}"), "size": bytes.len()})
    };
    let layer = put(&layer(name), "layer.v1.tar");
    let architecture = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
    let config = json!({"architecture": architecture, "os": "linux", "config": {"Entrypoint": ["/wait"]},
        "rootfs": {"type": "layers", "diff_ids": [layer["digest"]]}});
    let config = put(config.to_string().as_bytes(), "config.v1+json");
    let kind = "manifest.v1+json";
    let manifest = json!({"schemaVersion": 2, "mediaType": format!("application/vnd.oci.image.{kind}"), "config": config, "layers": [layer]});
    let root = put(manifest.to_string().as_bytes(), kind);
    std::fs::write(directory.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    std::fs::write(directory.join("index.json"), json!({"schemaVersion": 2, "manifests": [root]}).to_string()).unwrap();
    root["digest"].as_str().unwrap().to_owned()
}

struct Shop {
    registry: World,
    sandbox: Sandbox,
    /// Podman speaks TLS to a registry on loopback unless told otherwise; Docker does not.
    conf: PathBuf,
    project: String,
}

struct Running {
    child: Child,
    log: PathBuf,
}

impl Running {
    fn output(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    fn interrupted(mut self) -> String {
        common::signal(self.child.id(), "INT");
        let status = eventually("it goes down", LIMIT, || self.child.try_wait().unwrap().ok_or_else(|| self.output()));
        assert_eq!(status.code(), Some(0), "{}", self.output());
        self.output()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Shop {
    fn new() -> Self {
        let (registry, sandbox) = (World::new(), Sandbox::new());
        let project = format!("up-from-{}", std::process::id());
        let repository = registry.image("team/web");
        let manifest = format!(
            "project: {project}\nservices:\n  web:\n    launch_type: local\n    containers:\n      app:\n        \
             await: {{ image: \"{repository}:{{commit}}\" }}\n        stop_timeout: 0s\n        environment: {{ A: manifest, B: manifest }}\n"
        );
        std::fs::write(&sandbox.manifest, manifest).unwrap();
        let conf = registry.trusted();
        Self { registry, sandbox, conf, project }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.sandbox.directory.path().join(name)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.sandbox.command(arguments);
        command.env("CONTAINERS_REGISTRIES_CONF", &self.conf).env("LANDFALL_COMMIT", COMMIT).stdin(Stdio::null());
        command
    }

    fn push(&self, name: &str, tags: &[&str]) -> String {
        let directory = self.path(name);
        let digest = image(&directory, name);
        for tag in tags {
            let target = self.registry.image(&format!("team/web:{tag}"));
            let arguments = ["push", "--from", directory.to_str().unwrap(), &target];
            ends(&self.registry.landfall(&arguments).output().unwrap(), 0, &[]);
        }
        digest
    }

    fn up(&self, arguments: &[&str]) -> Running {
        let log = self.path("up.log");
        let file = std::fs::File::create(&log).unwrap();
        let errors = file.try_clone().unwrap();
        let mut command = self.command(&[&["up", "--from"], arguments].concat());
        Running { child: command.stdout(file).stderr(errors).spawn().unwrap(), log }
    }

    /// The member and the pause container of the one task that runs, as the engine has them.
    fn task(&self, up: &mut Running, environment: &str) -> (Value, Value) {
        eventually("the task runs", LIMIT, || {
            if up.child.try_wait().unwrap().is_some() || !up.output().contains("web is up") {
                return Err(up.output());
            }
            let state = self.path("state/up").join(environment);
            let all = common::engine::containers(&state, &format!("landfall={environment}"));
            let member = all.iter().find(|one| one["Config"]["Labels"]["landfall.container"] == "app").cloned();
            let pause = all.iter().find(|one| one["Config"]["Labels"]["landfall.container"].is_null()).cloned();
            member.zip(pause).ok_or_else(|| format!("{all:?}"))
        })
    }
}

/// What was pulled stays in the engine, as with any pull: here it goes.
struct Sweep<'a>(&'a Path, Vec<String>);

impl Drop for Sweep<'_> {
    fn drop(&mut self) {
        for engine in ["podman", "docker"] {
            let _ = Command::new(engine)
                .args(["rmi", "--force"])
                .args(&self.1)
                .env("CONTAINERS_REGISTRIES_CONF", self.0)
                .output();
        }
    }
}

/// As whoever only uses a service runs it: with its repository's name and nothing else.
#[test]
fn without_a_manifest_a_repository_will_do() {
    let shop = Shop::new();
    let digest = shop.push("plain", &["latest", "v1"]);
    let name = shop.registry.image("team/web");
    let _sweep = Sweep(&shop.conf, vec![format!("{name}@{digest}")]);
    std::fs::remove_file(&shop.sandbox.manifest).unwrap();
    std::fs::write(shop.path("local.env"), "B=a file\n").unwrap();
    let run = |arguments: &[&str]| shop.command(&[&["up"], arguments].concat()).output().unwrap();
    ends(&run(&["--repository", &name]), 64, &["--from"]);
    ends(&run(&["--repository", &format!("{name}:v1"), "--from", "v1"]), 64, &["not a repository", "--from says"]);
    ends(&run(&["--repository", &name, "--from", "v9"]), 66, &["there is no v9"]);
    let port = landfall_testkit::ports::port();
    let (env_file, published) = (shop.path("local.env"), format!("{port}:3000"));
    let more = ["latest", "--repository", &name, "--env-file", env_file.to_str().unwrap(), "--port", &published];
    let mut up = shop.up(&more);
    let (member, pause) = shop.task(&mut up, "up-team-web");
    assert!(member["Config"]["Env"].to_string().contains("B=a file"), "{member}");
    let bound = &pause["HostConfig"]["PortBindings"]["3000/tcp"][0];
    assert_eq!((&bound["HostIp"], &bound["HostPort"]), (&json!("127.0.0.1"), &json!(port.to_string())));
    let said = up.interrupted();
    for wanted in [format!("{name}@{digest}"), format!("http://127.0.0.1:{port}/")] {
        assert!(said.contains(&wanted), "{said}");
    }
}

#[test]
fn what_was_pushed_runs_by_its_digest_with_variables_and_a_port() {
    let shop = Shop::new();
    let old = shop.push("old", &["v1.9.0", COMMIT]);
    let new = shop.push("new", &["v1.10.0", "v1.11.0-rc1"]);
    let name = shop.registry.image("team/web");
    let _sweep = Sweep(&shop.conf, vec![format!("{name}@{old}"), format!("{name}@{new}")]);
    std::fs::write(shop.path("local.env"), "# of this machine\nB='a file'\nC=secret-canary\n").unwrap();
    let run = |arguments: &[&str]| shop.command(&[&["up"], arguments].concat()).output().unwrap();
    // All that can be wrong is told before anything is begun.
    ends(&run(&[]), 64, &["takes the image that CI makes", "--from latest"]);
    ends(&run(&["--from", "v9"]), 66, &["there is no v9", "landfall images list"]);
    ends(&run(&["--from", "latest", "--env-file", "none.env"]), 66, &["cannot read none.env"]);
    ends(&run(&["--from", "latest", "--debug-port", "0"]), 64, &["HOST:CONTAINER"]);

    // A commit: by its release, though its tag has moved since.
    ends(&shop.command(&["release", "create"]).output().unwrap(), 0, &[]);
    shop.push("new", &[COMMIT]);
    let debugger = landfall_testkit::ports::port();
    let env_file = shop.path("local.env");
    let published = format!("{debugger}:9229");
    let mut up = shop.up(&["1a2b3c4", "--env-file", env_file.to_str().unwrap(), "--debug-port", &published]);
    let environment = format!("{}-web", shop.project);
    let (member, pause) = shop.task(&mut up, &environment);
    let variables = member["Config"]["Env"].to_string();
    for wanted in ["A=manifest", "B=a file", "C=secret-canary"] {
        assert!(variables.contains(wanted), "{variables}");
    }
    let bound = &pause["HostConfig"]["PortBindings"]["9229/tcp"][0];
    assert_eq!((&bound["HostIp"], &bound["HostPort"]), (&json!("127.0.0.1"), &json!(debugger.to_string())));
    let said = up.interrupted();
    assert!(said.contains(&format!("Image of app pulled: {name}@{old}")) && !said.contains("canary"), "{said}");

    let left = Command::new("grep").args(["-rl", "secret-canary"]).arg(shop.path("state")).output().unwrap();
    assert_eq!(common::text(&left.stdout), "", "nothing of the file is left");

    // The engine has another image under the tag.
    let id = member["Image"].as_str().unwrap().to_owned();
    assert!(common::engine::tag(&id, &name, "v1.10.0"));
    let mut up = shop.up(&["highest"]);
    shop.task(&mut up, &environment);
    let said = up.interrupted();
    assert!(said.contains(&format!("{name}:v1.10.0 was another image here, and is dropped")), "{said}");
    assert!(said.contains(&format!("{name}@{new}")), "{said}");
}
