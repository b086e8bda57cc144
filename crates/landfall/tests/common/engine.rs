//! The container engine from outside: its own API over its socket, nothing of Landfall's.

use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use super::http;

/// The socket that a server of this state directory uses: its own service's, `DOCKER_HOST`, or a well-known one.
pub(crate) fn socket(state: &Path) -> Option<PathBuf> {
    let named = std::env::var("DOCKER_HOST").ok().and_then(|host| host.strip_prefix("unix://").map(PathBuf::from));
    let own = state.join("engine/engine.sock");
    let known = ["/var/run/docker.sock", "/run/podman/podman.sock"].map(PathBuf::from);
    named.into_iter().chain([own]).chain(known).find(|path| UnixStream::connect(path).is_ok())
}

/// Paths name no version of the API: there is none that Docker 29 and Podman 4 both speak.
fn call(socket: &Path, method: &str, path: &str, content_type: &str, body: &[u8]) -> (u16, String) {
    try_call(socket, method, path, content_type, body)
        .unwrap_or_else(|e| panic!("{method} {path} at {}: {e}", socket.display()))
}

/// Of an engine that may die at any time.
pub(crate) fn try_call(
    socket: &Path,
    method: &str,
    path: &str,
    content_type: &str,
    body: &[u8],
) -> std::io::Result<(u16, String)> {
    let stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(Duration::from_secs(120)))?;
    let answer = http::exchange(stream, method, path, "engine", &[("Content-Type", content_type)], body)?;
    Ok((answer.status, answer.body))
}

/// Podman answers 500 when something vanishes while it is listed: looked at again.
fn list(socket: &Path, path: &str) -> Vec<Value> {
    super::eventually(path, Duration::from_secs(60), || match call(socket, "GET", path, "application/json", b"") {
        (200, body) => serde_json::from_str(&body).map_err(|e| format!("{e}: {body}")),
        (status, body) => Err(format!("{status} {body}")),
    })
}

/// Names and ids. Over Podman's own API where it is there: to Docker's it fails while any container of the machine, of another
/// test that was killed, is half removed.
fn networks(socket: &Path, filter: &str) -> Vec<(String, String)> {
    let own = format!("/v4.0.0/libpod/networks/json?filters={filter}");
    let (found, [name, id]) = match call(socket, "GET", &own, "application/json", b"") {
        (200, body) => (serde_json::from_str(&body).unwrap(), ["name", "id"]),
        _ => (list(socket, &format!("/networks?filters={filter}")), ["Name", "Id"]),
    };
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    found.iter().map(|network: &Value| (text(&network[name]), text(&network[id]))).collect()
}

fn encode(text: &str) -> String {
    text.bytes()
        .map(|b| if b.is_ascii_alphanumeric() { (b as char).to_string() } else { format!("%{b:02X}") })
        .collect()
}

/// `{"label":["landfall.instance=…"]}`; the instance is read from a file the server keeps beside its database, so that
/// it is known when no server runs.
fn filter(state: &Path) -> Option<String> {
    let instance = std::fs::read_to_string(state.join("instance")).ok()?;
    // Podman takes an empty value for any.
    assert!(!instance.trim().is_empty(), "an installation without an id");
    Some(encode(&format!(r#"{{"label":["landfall.instance={}"]}}"#, instance.trim())))
}

/// `container NAME (STATE)`, `network NAME`, `image ID` of everything with the installation's label.
pub(crate) fn owned(state: &Path) -> Vec<String> {
    let (Some(socket), Some(filter)) = (socket(state), filter(state)) else { return Vec::new() };
    let text = |value: &Value, key: &str| value[key].as_str().unwrap_or_default().to_owned();
    let mut found: Vec<String> = list(&socket, &format!("/containers/json?all=true&filters={filter}"))
        .iter()
        .map(|c| format!("container {} ({})", c["Names"][0].as_str().unwrap_or_default(), text(c, "State")))
        .collect();
    found.extend(networks(&socket, &filter).into_iter().map(|(name, _)| format!("network {name}")));
    found.extend(
        list(&socket, &format!("/images/json?filters={filter}")).iter().map(|i| format!("image {}", text(i, "Id"))),
    );
    found
}

pub(crate) fn remove_owned(state: &Path) {
    let (Some(socket), Some(filter)) = (socket(state), filter(state)) else { return };
    let delete = |path: String| drop(call(&socket, "DELETE", &path, "application/json", b""));
    // Members of a task before the container that holds their network: hence more than once.
    for _ in 0..3 {
        for container in list(&socket, &format!("/containers/json?all=true&filters={filter}")) {
            delete(format!("/containers/{}?force=true", container["Id"].as_str().unwrap_or_default()));
        }
    }
    for (_, id) in networks(&socket, &filter) {
        delete(format!("/networks/{id}"));
    }
    // Name by name, and not by force: Podman would take the containers of other tests' builds with the layers that they share.
    for image in list(&socket, &format!("/images/json?filters={filter}")) {
        let names = image["RepoTags"].as_array().into_iter().flatten().filter_map(Value::as_str);
        for name in names.filter(|name| *name != "<none>:<none>").chain(image["Id"].as_str()) {
            delete(format!("/images/{}", encode(name)));
        }
    }
}

/// The load balancer and an engine service that were started for this state directory; by pid, found by their path.
pub(crate) fn stop_own_processes(state: &Path) {
    for pid in super::processes_of(state) {
        super::signal(pid, "KILL");
    }
}

/// The image with the binary under test, built once for each binary. Needs an engine: the tests' shared service is
/// started where none answers.
pub(crate) fn base_image(state: &Path) -> String {
    let program = Path::new(super::landfall());
    let metadata = program.metadata().unwrap();
    let made = metadata.modified().unwrap().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis();
    let name = format!("localhost/landfall-test-base:{made}-{}", metadata.len());
    let socket = socket(state).unwrap_or_else(shared_service);
    let (status, _) = call(&socket, "GET", &format!("/images/{name}/json"), "application/json", b"");
    if status == 200 {
        return name;
    }
    forget_old_images(&socket);
    let context = context(program);
    let path = format!("/build?t={}&rm=1&forcerm=1", encode(&name));
    let (status, body) = call(&socket, "POST", &path, "application/x-tar", &context);
    assert!(status == 200 && !body.contains("\"error"), "the tests' image cannot be built: {status} {body}");
    name
}

/// A program with the libraries that it needs, as a build context.
fn context(program: &Path) -> Vec<u8> {
    // The loader lists what it would load, and does not run the program.
    let listed = std::process::Command::new(program).env("LD_TRACE_LOADED_OBJECTS", "1").output().unwrap();
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    let libraries: Vec<&str> = listed.lines().map(|line| line.split(" (").next().unwrap_or_default()).collect();
    super::image::context(program, &libraries.join("\n")).unwrap()
}

/// An image of the binary under test as engines load it, under this name: for engines that are not the machine's. Without what a debugger
/// needs, where the machine can take that away.
pub(crate) fn image_archive(name: &str) -> Vec<u8> {
    let directory = tempfile::tempdir().unwrap();
    let program = directory.path().join("landfall");
    std::fs::copy(super::landfall(), &program).unwrap();
    let _ = std::process::Command::new("strip").arg(&program).status();
    let append = |tar: &mut tar::Builder<Vec<u8>>, path: &str, bytes: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o755);
        tar.append_data(&mut header, path, bytes).unwrap();
    };
    let mut layer = tar::Builder::new(Vec::new());
    for entry in tar::Archive::new(context(&program).as_slice()).entries().unwrap() {
        let mut entry = entry.unwrap();
        let path = entry.path().unwrap().to_string_lossy().into_owned();
        if let Some(inside) = path.strip_prefix("root/") {
            let mut bytes = Vec::new();
            std::io::Read::read_to_end(&mut entry, &mut bytes).unwrap();
            append(&mut layer, inside, &bytes);
        }
    }
    let layer = layer.into_inner().unwrap();
    let digest = format!("sha256:{}", hex::encode(<sha2::Sha256 as sha2::Digest>::digest(&layer)));
    let architecture = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
    let config = serde_json::json!({
        "architecture": architecture, "os": "linux", "config": { "Entrypoint": ["/landfall"] },
        "rootfs": { "type": "layers", "diff_ids": [digest] },
    });
    let manifest = serde_json::json!([{ "Config": "config.json", "RepoTags": [name], "Layers": ["layer.tar"] }]);
    let mut archive = tar::Builder::new(Vec::new());
    append(&mut archive, "manifest.json", manifest.to_string().as_bytes());
    append(&mut archive, "config.json", config.to_string().as_bytes());
    append(&mut archive, "layer.tar", &layer);
    archive.into_inner().unwrap()
}

/// Images of binaries that were built over before. The engine refuses where one is in use.
fn forget_old_images(socket: &Path) {
    let hour_ago = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() - 3600;
    for image in list(socket, "/images/json") {
        let ours = image["RepoTags"].as_array().into_iter().flatten().filter_map(Value::as_str);
        for tag in ours.filter(|tag| tag.starts_with("localhost/landfall-test-base:")) {
            if image["Created"].as_u64().is_some_and(|created| created < hour_ago) {
                call(socket, "DELETE", &format!("/images/{tag}"), "application/json", b"");
            }
        }
    }
}

/// `podman system service` for images only, where the machine has no engine service. It ends by itself when idle.
fn shared_service() -> PathBuf {
    let socket = std::env::temp_dir().join(format!("landfall-test-engine-{}.sock", std::process::id()));
    let mut child = std::process::Command::new("podman")
        .args(["system", "service", "--time=20"])
        .arg(format!("unix://{}", socket.display()))
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("these tests need Docker or Podman");
    std::thread::spawn(move || child.wait());
    super::eventually("podman's service", Duration::from_secs(20), || {
        UnixStream::connect(&socket).map(|_| ()).map_err(|e| e.to_string())
    });
    socket
}

/// All that the engine says of each container with this label.
pub(crate) fn containers(state: &Path, label: &str) -> Vec<Value> {
    let Some(socket) = socket(state) else { return Vec::new() };
    let filter = encode(&format!(r#"{{"label":["{label}"]}}"#));
    let listed = list(&socket, &format!("/containers/json?all=true&filters={filter}"));
    let ids = listed.iter().filter_map(|one| one["Id"].as_str());
    let read = ids.map(|id| call(&socket, "GET", &format!("/containers/{id}/json"), "application/json", b""));
    read.filter(|(status, _)| *status == 200).map(|(_, body)| serde_json::from_str(&body).unwrap()).collect()
}

/// Gives an image another name.
pub(crate) fn tag(image: &str, repository: &str, tag: &str) -> bool {
    let socket = socket(Path::new("/nonexistent")).unwrap_or_else(shared_service);
    let path = format!("/images/{}/tag?repo={}&tag={tag}", encode(image), encode(repository));
    call(&socket, "POST", &path, "application/json", b"").0 == 201
}
