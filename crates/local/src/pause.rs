//! The pause container's image: one static program of 129 bytes that holds a task's network namespace. It is put together
//! here, byte by byte, so that nothing has to be pulled.

use bytes::Bytes;

use crate::docker::{Docker, DockerResult};

/// Where the kernel maps the file.
const BASE: u64 = 0x40_0000;
const HEADERS: u64 = 64 + 56;

/// `pause(2)` for ever. As pid 1 of its namespace it does not die of SIGTERM; it is removed by force.
const X86_64: &[u8] = &[
    0xb8, 0x22, 0, 0, 0, // mov eax, 34 (pause)
    0x0f, 0x05, // syscall
    0xeb, 0xf7, // jmp to the start
];

/// `ppoll(0, 0, 0, 0, 0)` for ever: this architecture has no pause(2).
const AARCH64: [u32; 8] = [
    0xd280_0000, // mov x0, 0
    0xd280_0001, // mov x1, 0
    0xd280_0002, // mov x2, 0
    0xd280_0003, // mov x3, 0
    0xd280_0004, // mov x4, 0
    0xd280_0928, // mov x8, 73 (ppoll)
    0xd400_0001, // svc 0
    0x17ff_fff9, // b to the start
];

fn program(aarch64: bool) -> Vec<u8> {
    let (machine, code) = if aarch64 {
        (183u16, AARCH64.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<u8>>())
    } else {
        (62u16, X86_64.to_vec())
    };
    let size = HEADERS + code.len() as u64;
    let mut elf = Vec::with_capacity(256);
    // 64 bits, little endian, version 1.
    elf.extend_from_slice(&[0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    elf.extend_from_slice(&2u16.to_le_bytes()); // executable
    elf.extend_from_slice(&machine.to_le_bytes());
    elf.extend_from_slice(&1u32.to_le_bytes());
    elf.extend_from_slice(&(BASE + HEADERS).to_le_bytes()); // entry
    elf.extend_from_slice(&64u64.to_le_bytes()); // program headers
    elf.extend_from_slice(&0u64.to_le_bytes()); // no sections
    elf.extend_from_slice(&0u32.to_le_bytes()); // flags
    for half in [64u16, 56, 1, 0, 0, 0] {
        elf.extend_from_slice(&half.to_le_bytes());
    }
    elf.extend_from_slice(&1u32.to_le_bytes()); // load
    elf.extend_from_slice(&5u32.to_le_bytes()); // read, execute
    for word in [0, BASE, BASE, size, size, 0x1_0000] {
        elf.extend_from_slice(&word.to_le_bytes());
    }
    elf.extend_from_slice(&code);
    elf
}

/// Makes the image where it is missing; returns the name to run it by.
pub(crate) async fn ensure_image(docker: &Docker) -> DockerResult<String> {
    // The architecture of the engine is that of the host: only engines of this machine are used.
    let aarch64 = cfg!(target_arch = "aarch64");
    let name = format!("localhost/landfall-pause:1-{}", if aarch64 { "arm64" } else { "amd64" });
    if docker.inspect_image(&name).await.is_ok() {
        return Ok(name);
    }
    let program = program(aarch64);
    let dockerfile = b"FROM scratch\nCOPY pause /pause\nENTRYPOINT [\"/pause\"]\n";
    let mut tar = tar::Builder::new(Vec::new());
    let mut add = |path: &str, mode: u32, bytes: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(mode);
        tar.append_data(&mut header, path, bytes)
    };
    let written = add("Dockerfile", 0o644, dockerfile).and_then(|()| add("pause", 0o755, &program));
    let context = written
        .and_then(|()| tar.into_inner())
        .map_err(|e| crate::docker::DockerError::Decode(format!("the pause image's context: {e}")))?;
    let options = crate::docker::BuildOptions {
        tag: name.clone(),
        dockerfile: "Dockerfile".to_owned(),
        ..crate::docker::BuildOptions::default()
    };
    docker.build(Bytes::from(context), &options, |_| {}).await?;
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_those_of_the_headers() {
        assert_eq!(program(false).len(), 120 + X86_64.len());
        assert_eq!(program(true).len(), 120 + 32);
    }

    #[cfg(all(target_os = "linux", target_arch = "x86_64"))]
    #[test]
    fn runs_until_killed() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pause");
        std::fs::write(&path, program(false)).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        let mut child = std::process::Command::new(&path).spawn().unwrap();
        assert!(child.try_wait().unwrap().is_none());
        child.kill().unwrap();
        use std::os::unix::process::ExitStatusExt;
        assert_eq!(child.wait().unwrap().signal(), Some(9));
    }
}
