//! The base image of the demonstration: this very program, and nothing else but the libraries it was linked with. So
//! nothing is pulled, and the demonstration works without a network.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

/// A tar of the build context: `FROM scratch` with the program at `/landfall`. `maps` is the `/proc/PID/maps` of a process that
/// runs it.
pub(super) fn context(program: &Path, maps: &str) -> io::Result<Vec<u8>> {
    let bytes = std::fs::read(program)?;
    let mut files: BTreeMap<PathBuf, Vec<u8>> = BTreeMap::new();
    let libraries = libraries(maps);
    // The loader has to be where the program's header says, which usually is a link to where it is mapped from.
    if let Some(loader) = interpreter(&bytes) {
        let path = Path::new(&loader);
        files.insert(path.strip_prefix("/").unwrap_or(path).to_owned(), std::fs::read(path)?);
    }
    for library in libraries {
        let inside = library.strip_prefix("/").unwrap_or(&library).to_owned();
        files.insert(inside, std::fs::read(&library)?);
    }
    files.insert("landfall".into(), bytes);
    let mut tar = tar::Builder::new(Vec::new());
    append(&mut tar, Path::new("Dockerfile"), b"FROM scratch\nCOPY root/ /\nENTRYPOINT [\"/landfall\"]\n", 0o644)?;
    for (path, bytes) in &files {
        append(&mut tar, &Path::new("root").join(path), bytes, 0o755)?;
    }
    tar.into_inner()
}

/// The files of a directory as a build context.
pub(super) fn archive(directory: &Path) -> io::Result<Vec<u8>> {
    let mut tar = tar::Builder::new(Vec::new());
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        append(&mut tar, Path::new(&entry.file_name()), &std::fs::read(entry.path())?, 0o644)?;
    }
    tar.into_inner()
}

fn append(tar: &mut tar::Builder<Vec<u8>>, path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_size(bytes.len() as u64);
    header.set_mode(mode);
    // The same bytes give the same layer, so that a second demonstration finds it cached.
    header.set_mtime(0);
    tar.append_data(&mut header, path, bytes)
}

/// Shared libraries out of `/proc/self/maps`: mapped regular files with `.so` in their name.
fn libraries(maps: &str) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = maps
        .lines()
        .filter_map(|line| line.find('/').map(|at| PathBuf::from(&line[at..])))
        .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().contains(".so")))
        .collect();
    found.sort();
    found.dedup();
    found
}

/// PT_INTERP of a 64-bit little-endian ELF file; `None` for a static program or anything else.
fn interpreter(elf: &[u8]) -> Option<String> {
    const PT_INTERP: u64 = 3;
    let number = |at: usize, size: usize| -> Option<u64> {
        let bytes = elf.get(at..at.checked_add(size)?)?;
        Some(bytes.iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte)))
    };
    if elf.get(..6)? != b"\x7fELF\x02\x01" {
        return None;
    }
    let (table, size, count) = (number(0x20, 8)?, number(0x36, 2)?, number(0x38, 2)?);
    for index in 0..count {
        let header = usize::try_from(table + index * size).ok()?;
        if number(header, 4)? == PT_INTERP {
            let start = usize::try_from(number(header + 8, 8)?).ok()?;
            let length = usize::try_from(number(header + 32, 8)?).ok()?;
            let text = elf.get(start..start.checked_add(length)?)?;
            return Some(String::from_utf8_lossy(text).trim_end_matches('\0').to_owned());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    #[test]
    fn finds_libraries_in_a_map() {
        let maps = "55d0-55d1 r--p 00000000 08:01 12 /usr/bin/landfall\n\
                    7f00-7f01 r--p 00000000 08:01 34 /usr/lib/x86_64-linux-gnu/libc.so.6\n\
                    7f01-7f02 r-xp 00001000 08:01 34 /usr/lib/x86_64-linux-gnu/libc.so.6\n\
                    7f03-7f04 rw-p 00000000 00:00 0 [stack]\n\
                    7f05-7f06 r--p 00000000 08:01 35 /usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2\n";
        let expected = ["/usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2", "/usr/lib/x86_64-linux-gnu/libc.so.6"];
        assert_eq!(libraries(maps), expected.map(PathBuf::from));
    }

    #[test]
    fn reads_the_loader_of_this_program_and_refuses_garbage() {
        let own = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        if let Some(loader) = interpreter(&own) {
            assert!(Path::new(&loader).exists(), "{loader}");
        }
        assert_eq!(interpreter(b"#!/bin/sh\n"), None);
        assert_eq!(interpreter(b"\x7fELF\x02\x01 cut off"), None);
    }

    #[test]
    fn the_context_holds_this_program() {
        let bytes =
            context(&std::env::current_exe().unwrap(), &std::fs::read_to_string("/proc/self/maps").unwrap()).unwrap();
        let mut archive = tar::Archive::new(bytes.as_slice());
        let paths: Vec<String> =
            archive.entries().unwrap().map(|e| e.unwrap().path().unwrap().to_string_lossy().into_owned()).collect();
        assert!(paths.iter().any(|path| path == "root/landfall"), "{paths:?}");
        assert!(paths.iter().any(|path| path == "Dockerfile"), "{paths:?}");
    }
}
