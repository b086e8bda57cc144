//! The floor of a push: the requests that it takes, over plain sockets, with nothing done to what is sent; the kernel carries layers
//! from their files to the connection. What is left is the registry's own time.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

/// A layout's only image, to the registry at that port of this machine.
pub(crate) fn push(port: u16, repository: &str, layout: &Path, tag: &str) -> Result<()> {
    let read = |path: &Path| -> Result<Value> { Ok(serde_json::from_slice(&std::fs::read(path)?)?) };
    let index = read(&layout.join("index.json"))?;
    let file = |descriptor: &Value| {
        let digest = descriptor["digest"].as_str().unwrap_or_default();
        layout.join("blobs/sha256").join(digest.trim_start_matches("sha256:"))
    };
    let root = &index["manifests"][0];
    let media_type = root["mediaType"].as_str().context("no media type")?;
    let document = std::fs::read(file(root))?;
    let manifest: Value = serde_json::from_slice(&document)?;
    let blobs: Vec<&Value> = manifest["layers"].as_array().into_iter().flatten().chain([&manifest["config"]]).collect();
    std::thread::scope(|scope| {
        let work = |blob: &Value| -> Result<()> {
            let mut connection = Connection::open(port)?;
            let digest = blob["digest"].as_str().context("no digest")?;
            if connection.ask("HEAD", &format!("/v2/{repository}/blobs/{digest}"), "", b"")?.0 == 200 {
                return Ok(());
            }
            let (status, place) = connection.ask("POST", &format!("/v2/{repository}/blobs/uploads/"), "", b"")?;
            ensure!(status == 202, "{status} to POST");
            let place = place.context("an upload without a place")?;
            let place = place.find("/v2/").map(|at| &place[at..]).context("a strange place")?;
            connection.upload(&format!("{place}&digest={digest}"), &file(blob))
        };
        let threads: Vec<_> = blobs.iter().map(|blob| scope.spawn(move || work(blob))).collect();
        threads.into_iter().try_for_each(|thread| thread.join().map_err(|_| anyhow::anyhow!("a panic"))?)
    })?;
    let path = format!("/v2/{repository}/manifests/{tag}");
    let (status, _) =
        Connection::open(port)?.ask("PUT", &path, &format!("content-type: {media_type}\r\n"), &document)?;
    ensure!(status == 201, "{status} to the manifest");
    Ok(())
}

struct Connection(BufReader<TcpStream>);

impl Connection {
    fn open(port: u16) -> Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_nodelay(true)?;
        Ok(Self(BufReader::new(stream)))
    }

    /// Status, and where an upload goes on.
    fn ask(&mut self, method: &str, path: &str, headers: &str, body: &[u8]) -> Result<(u16, Option<String>)> {
        let length = body.len();
        let mut request =
            format!("{method} {path} HTTP/1.1\r\nhost: 127.0.0.1\r\n{headers}content-length: {length}\r\n\r\n")
                .into_bytes();
        request.extend_from_slice(body);
        self.0.get_mut().write_all(&request)?;
        self.answer(method)
    }

    fn upload(&mut self, path: &str, file: &Path) -> Result<()> {
        let mut file = File::open(file)?;
        let length = file.metadata()?.len();
        let head = format!(
            "PUT {path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/octet-stream\r\ncontent-length: {length}\r\n\r\n"
        );
        self.0.get_mut().write_all(head.as_bytes())?;
        // From a file into a socket: sendfile.
        std::io::copy(&mut file, self.0.get_mut())?;
        match self.answer("PUT")? {
            (201, _) => Ok(()),
            (status, _) => bail!("{status} to a layer"),
        }
    }

    fn answer(&mut self, method: &str) -> Result<(u16, Option<String>)> {
        let (mut status, mut length, mut place) = (0, 0, None);
        loop {
            let mut line = String::new();
            ensure!(self.0.read_line(&mut line)? > 0, "the registry hung up");
            let line = line.trim_end();
            if status == 0 {
                status = line.split(' ').nth(1).and_then(|word| word.parse().ok()).context("no status")?;
            } else if line.is_empty() {
                break;
            } else if let Some((name, value)) = line.split_once(": ") {
                match name.to_ascii_lowercase().as_str() {
                    "content-length" if method != "HEAD" => length = value.parse()?,
                    "location" => place = Some(value.to_owned()),
                    _ => {}
                }
            }
        }
        self.0.by_ref().take(length).read_to_end(&mut Vec::new())?;
        Ok((status, place))
    }
}
