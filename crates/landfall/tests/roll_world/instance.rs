//! An instance as EC2 has them, on this machine: a Podman service with storage, network and processes of its own, in namespaces that end
//! with it. Its tasks are on its network, as with ECS's network mode `host`.

use std::fs::File;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use serde_json::json;

use crate::common;
use crate::common::engine;

pub(crate) const IMAGE: &str = "localhost/landfall-roll:1";

/// One block of addresses, of four for each instance, for each process that runs tests.
const BLOCK: u32 = 64;

/// Small limits and groups without systemd, as the service that Landfall starts for itself.
const CONF: &str = "[containers]\ndefault_ulimits = [\"nofile=4096:4096\", \"nproc=4096:4096\"]\n\
                    [engine]\ncgroup_manager = \"cgroupfs\"\nevents_logger = \"file\"\nruntime = \"runc\"\n";

/// What namespaces leave of the machine is hidden: sockets, the state of runc, and the locks that engines of one machine share.
const BOOT: &str = r#"set -e
ip link add eth0 type veth peer name "$2" netns "$3"
ip address add "$4/30" dev eth0
ip link set eth0 up
ip link set lo up
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /dev/shm
mount -t proc proc /proc
cd /
podman --root "$1/root" --runroot "$1/run" --tmpdir "$1/tmp" --network-config-dir "$1/networks" \
  system service --time=0 "unix://$1/engine.sock"
"#;

pub(crate) struct Instance {
    pub(crate) name: String,
    pub(crate) address: Ipv4Addr,
    directory: PathBuf,
    /// Whose death is the death of all of it.
    namespaces: Mutex<Child>,
    cgroup: String,
}

/// Why there can be none here.
pub(crate) fn unfit() -> Option<String> {
    let made = Command::new("unshare").args(["--net", "--mount", "--pid", "--fork", "--", "ip", "link"]).output();
    match made {
        Ok(output) if output.status.success() => None,
        Ok(output) => Some(common::text(&output.stderr).trim().to_owned()),
        Err(error) => Some(format!("unshare: {error}")),
    }
}

impl Instance {
    /// Until its engine answers and has the image.
    pub(crate) fn boot(parent: &Path, number: u32, image: &[u8]) -> Self {
        let process = std::process::id();
        let (name, link) = (format!("i-{number:02}"), format!("lf{process}-{number}"));
        let base = u32::from(Ipv4Addr::new(10, 224, 0, 0)) + (process % 0x8000) * BLOCK + number * 4;
        assert!(number * 4 < BLOCK, "more instances than addresses");
        let (host, address) = (Ipv4Addr::from(base + 1), Ipv4Addr::from(base + 2));
        let directory = parent.join(&name);
        std::fs::create_dir(&directory).unwrap();
        let conf = directory.join("containers.conf");
        std::fs::write(&conf, CONF).unwrap();
        let log = File::create(directory.join("log")).unwrap();
        let namespaces = Command::new("unshare")
            .args(["--net", "--mount", "--pid", "--fork", "--kill-child", "--", "sh", "-c", BOOT, "sh"])
            .arg(&directory)
            .args([&link, &format!("/proc/{process}/ns/net"), &address.to_string()])
            .env("CONTAINERS_CONF", conf)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let cgroup = format!("/landfall-{link}");
        let instance = Self { name, address, directory, namespaces: Mutex::new(namespaces), cgroup };
        common::eventually(&instance.name, Duration::from_secs(60), || {
            let told = instance.try_call("GET", "/_ping", b"").map(|_| ()).map_err(|error| error.to_string());
            told.map_err(|why| format!("{why}: {}", instance.log()))
        });
        for args in [&["address", "add", &format!("{host}/30"), "dev", &link][..], &["link", "set", &link, "up"]] {
            assert!(Command::new("ip").args(args).status().unwrap().success(), "ip {args:?}");
        }
        let (status, body) = instance.try_call("POST", "/images/load", image).unwrap();
        assert!(status == 200 && body.contains(IMAGE), "{status} {body}");
        instance
    }

    fn socket(&self) -> PathBuf {
        self.directory.join("engine.sock")
    }

    fn try_call(&self, method: &str, path: &str, body: &[u8]) -> std::io::Result<(u16, String)> {
        let kind = if path == "/images/load" { "application/x-tar" } else { "application/json" };
        engine::try_call(&self.socket(), method, path, kind, body)
    }

    fn call(&self, method: &str, path: &str, body: &[u8]) -> Result<(), String> {
        match self.try_call(method, path, body) {
            Ok((200..=299 | 304, _)) => Ok(()),
            Ok((status, body)) => Err(format!("{method} {path}: {status} {body}")),
            Err(error) => Err(format!("{method} {path}: {error}; {}", self.log())),
        }
    }

    /// What its engine has said.
    fn log(&self) -> String {
        std::fs::read_to_string(self.directory.join("log")).unwrap_or_default()
    }

    /// Starts a container.
    pub(crate) fn run(&self, name: &str, args: &[&str]) -> Result<(), String> {
        let host = json!({ "NetworkMode": "host", "CgroupParent": self.cgroup });
        let wanted = json!({ "Image": IMAGE, "Cmd": args, "HostConfig": host });
        self.call("POST", &format!("/containers/create?name={name}"), wanted.to_string().as_bytes())?;
        self.call("POST", &format!("/containers/{name}/start"), b"")
    }

    /// SIGTERM, and SIGKILL two seconds later.
    pub(crate) fn stop(&self, name: &str) -> Result<(), String> {
        self.call("POST", &format!("/containers/{name}/stop?t=2"), b"")
    }

    /// Ends it as it is, with all that runs on it and is stored there.
    pub(crate) fn terminate(&self) {
        let mut namespaces = self.namespaces.lock().unwrap();
        let _ = namespaces.kill();
        let _ = namespaces.wait();
        drop(namespaces);
        common::eventually("the end of its processes", Duration::from_secs(20), || {
            match common::processes_of(&self.directory).as_slice() {
                [] => Ok(()),
                left => Err(format!("{left:?}")),
            }
        });
        let _ = std::fs::remove_dir_all(&self.directory);
        // Control groups are in no namespace that ends.
        for controller in std::fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten() {
            remove_groups(&controller.path().join(&self.cgroup[1..]));
        }
        remove_groups(Path::new(&format!("/sys/fs/cgroup{}", self.cgroup)));
    }

    /// Neither its engine nor its storage nor its network is there.
    pub(crate) fn is_gone(&self) -> bool {
        let link = format!("/sys/class/net/{}", self.cgroup.trim_start_matches("/landfall-"));
        self.try_call("GET", "/_ping", b"").is_err() && !self.directory.exists() && !Path::new(&link).exists()
    }
}

fn remove_groups(group: &Path) {
    for inner in std::fs::read_dir(group).into_iter().flatten().flatten().filter(|one| one.path().is_dir()) {
        remove_groups(&inner.path());
    }
    let _ = std::fs::remove_dir(group);
}

impl Drop for Instance {
    fn drop(&mut self) {
        self.terminate();
    }
}
