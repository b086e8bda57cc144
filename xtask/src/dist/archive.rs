//! Tar files with nothing of this machine in them, gzip and SHA-256 by the programs of that name.

use std::io::Write as _;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

/// A file or directory; root's.
pub(super) struct Entry {
    path: String,
    mode: u32,
    /// `None`: a directory.
    content: Option<Vec<u8>>,
}

impl Entry {
    pub(super) fn file(path: &str, mode: u32, content: Vec<u8>) -> Self {
        Self { path: path.to_owned(), mode, content: Some(content) }
    }

    pub(super) fn directory(path: &str, mode: u32) -> Self {
        Self { path: format!("{path}/"), mode, content: None }
    }
}

/// In the order of their paths.
pub(super) fn tar(mut entries: Vec<Entry>, time: u64) -> Result<Vec<u8>> {
    entries.sort_by(|a, b| a.path.cmp(&b.path));
    let mut tar = tar::Builder::new(Vec::new());
    for Entry { path, mode, content } in entries {
        let mut header = tar::Header::new_ustar();
        let kind = if content.is_some() { tar::EntryType::Regular } else { tar::EntryType::Directory };
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(time);
        let content = content.unwrap_or_default();
        header.set_size(content.len() as u64);
        tar.append_data(&mut header, &path, content.as_slice()).with_context(|| path.clone())?;
    }
    Ok(tar.into_inner()?)
}

/// Without name and time in its header.
pub(super) fn gzip(bytes: &[u8]) -> Result<Vec<u8>> {
    through(Command::new("gzip").args(["-n", "-9", "-c"]), bytes)
}

/// 64 hexadecimal digits.
pub(super) fn sha256(bytes: &[u8]) -> Result<String> {
    let said = through(&mut Command::new("sha256sum"), bytes)?;
    let text = String::from_utf8_lossy(&said);
    Ok(text.split(' ').next().unwrap_or_default().to_owned())
}

/// What a filter makes of it.
fn through(command: &mut Command, bytes: &[u8]) -> Result<Vec<u8>> {
    let name = command.get_program().to_owned();
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().with_context(|| format!("cannot run {name:?}"))?;
    let mut stdin = child.stdin.take().context("no stdin")?;
    let output = std::thread::scope(|scope| {
        // Its output fills up while it is still being written to.
        let writing = scope.spawn(move || stdin.write_all(bytes));
        let output = child.wait_with_output();
        writing.join().map_err(|_| anyhow::anyhow!("writing to {name:?}"))??;
        anyhow::Ok(output?)
    })?;
    ensure!(output.status.success(), "{:?} failed", command.get_program());
    Ok(output.stdout)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    #[test]
    fn archives_know_nothing_of_the_machine() {
        let entries = || {
            vec![
                Entry::file("usr/b", 0o755, b"x".to_vec()),
                Entry::directory("usr", 0o755),
                Entry::file("a", 0o644, vec![]),
            ]
        };
        let bytes = tar(entries(), 7).unwrap();
        let mut archive = tar::Archive::new(bytes.as_slice());
        let rows: Vec<String> = archive
            .entries()
            .unwrap()
            .map(|entry| {
                let entry = entry.unwrap();
                let header = entry.header();
                let path = entry.path().unwrap().display().to_string();
                let (uid, gid) = (header.uid().unwrap(), header.gid().unwrap());
                let (mode, time) = (header.mode().unwrap(), header.mtime().unwrap());
                format!(
                    "{path} {mode:o} {uid}:{gid} {:?} {time} {}",
                    header.username().unwrap(),
                    header.size().unwrap()
                )
            })
            .collect();
        assert_eq!(rows, ["a 644 0:0 Some(\"\") 7 0", "usr/ 755 0:0 Some(\"\") 7 0", "usr/b 755 0:0 Some(\"\") 7 1"]);
        let packed = gzip(&bytes).unwrap();
        // No flags: no name. No time.
        assert_eq!(packed[..8], [0x1f, 0x8b, 8, 0, 0, 0, 0, 0]);
        assert_eq!(through(Command::new("gzip").arg("-dc"), &packed).unwrap(), bytes);
        assert_eq!(sha256(b"abc").unwrap(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert!(through(&mut Command::new("false"), b"").is_err());
    }
}
