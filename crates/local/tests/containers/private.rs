//! A registry that wants a login: images are pulled from it and built upon. Podman's service has its user's logins, and takes no
//! registry without TLS, so this is Docker's.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use landfall_local::EngineKind;
use landfall_local::docker::{BuildOptions, Docker};
use landfall_registry::credentials::{Places, Secret};
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::support::with_world;

const USER: &str = "somebody:with a:colon";

fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}

fn archive(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (path, bytes) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, path, *bytes).unwrap();
    }
    tar.into_inner().unwrap()
}

/// Path to media type and content; one image, `base:1`.
fn image() -> HashMap<String, (&'static str, Vec<u8>)> {
    let layer = archive(&[("private", b"private")]);
    let architecture = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
    let rootfs = json!({"type": "layers", "diff_ids": [digest(&layer)]});
    let config = json!({"architecture": architecture, "os": "linux", "config": {}, "rootfs": rootfs}).to_string();
    let (of_config, of_layer) =
        ("application/vnd.docker.container.image.v1+json", "application/vnd.docker.image.rootfs.diff.tar");
    let of_manifest = "application/vnd.docker.distribution.manifest.v2+json";
    let manifest = json!({
        "schemaVersion": 2, "mediaType": of_manifest,
        "config": {"mediaType": of_config, "size": config.len(), "digest": digest(config.as_bytes())},
        "layers": [{"mediaType": of_layer, "size": layer.len(), "digest": digest(&layer)}],
    });
    let manifest = manifest.to_string().into_bytes();
    HashMap::from([
        ("/v2/".to_owned(), ("application/json", b"{}".to_vec())),
        ("/v2/base/manifests/1".to_owned(), (of_manifest, manifest.clone())),
        (format!("/v2/base/manifests/{}", digest(&manifest)), (of_manifest, manifest)),
        (format!("/v2/base/blobs/{}", digest(config.as_bytes())), (of_config, config.into_bytes())),
        (format!("/v2/base/blobs/{}", digest(&layer)), (of_layer, layer)),
    ])
}

fn registry() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let image = Arc::new(image());
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let image = Arc::clone(&image);
            std::thread::spawn(move || answer(stream, address, &image));
        }
    });
    address
}

fn answer(mut stream: TcpStream, address: SocketAddr, image: &HashMap<String, (&'static str, Vec<u8>)>) {
    let head: Vec<String> = BufReader::new((&mut stream).take(64 * 1024))
        .lines()
        .map_while(Result::ok)
        .take_while(|l| !l.is_empty())
        .collect();
    let Some((method, rest)) = head.first().and_then(|line| line.split_once(' ')) else { return };
    let path = rest.split([' ', '?']).next().unwrap_or_default();
    let authorized = head.iter().find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("authorization").then_some(value)
    });
    let basic = format!("Basic {}", BASE64_STANDARD.encode(USER));
    let challenge = format!(
        "WWW-Authenticate: Bearer realm=\"http://{address}/token\",service=\"x\",scope=\"repository:base:pull\"\r\n"
    );
    let (status, extra, kind, body) = match (method, path, authorized) {
        ("GET", "/token", Some(value)) if value == basic => {
            ("200 OK", String::new(), "application/json", br#"{"token":"t","access_token":"t"}"#.to_vec())
        }
        ("GET", "/token", _) => ("401 Unauthorized", String::new(), "text/plain", Vec::new()),
        (_, path, Some("Bearer t")) if image.contains_key(path) => {
            let (kind, body) = &image[path];
            ("200 OK", format!("Docker-Content-Digest: {}\r\n", digest(body)), *kind, body.clone())
        }
        (_, path, _) if path.starts_with("/v2/") => ("401 Unauthorized", challenge, "text/plain", Vec::new()),
        _ => ("404 Not Found", String::new(), "text/plain", Vec::new()),
    };
    let head = format!(
        "HTTP/1.1 {status}\r\nConnection: close\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n{extra}\r\n",
        body.len()
    );
    // Who hangs up has had enough.
    let _ = stream.write_all(head.as_bytes());
    if method != "HEAD" {
        let _ = stream.write_all(&body);
    }
}

#[test]
fn private_images_are_pulled_and_built_upon() {
    with_world(|world| async move {
        if world.platform.engine().kind == EngineKind::Podman {
            return world;
        }
        let name = format!("{}/base:1", registry());
        let logins = json!({"auths": {name.split('/').next().unwrap(): {"auth": BASE64_STANDARD.encode(USER)}}});
        let as_user = async |text: String| {
            let docker = Docker::new(world.docker().socket());
            docker.negotiate().await.unwrap();
            docker.use_logins(Places { text: Some(Secret::new(text)), files: Vec::new() });
            docker
        };
        let (nobody, somebody) = (as_user("{}".to_owned()).await, as_user(logins.to_string()).await);
        let tag = format!("localhost/{}-private:1", world.environment);
        let build = async |docker: &Docker| {
            let context =
                archive(&[("Dockerfile", format!("FROM {name}\nCOPY more /more\n").as_bytes()), ("more", b"m")]);
            let options =
                BuildOptions { tag: tag.clone(), dockerfile: "Dockerfile".to_owned(), ..BuildOptions::default() };
            docker.build(context.into(), &options, |_| {}).await
        };
        assert!(build(&nobody).await.unwrap_err().to_string().contains("401"), "built without a login");
        let built = build(&somebody).await.unwrap();
        assert!(nobody.pull_image(&name).await.is_err(), "pulled without a login");
        somebody.pull_image(&name).await.unwrap();
        somebody.inspect_image(&name).await.unwrap();
        for image in [&tag, &built, &name] {
            somebody.remove_image(image).await.unwrap();
        }
        world
    });
}
