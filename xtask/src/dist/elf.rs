//! Whether a program needs nothing of the machine that it runs on: it names no interpreter, which would load libraries for it.

use anyhow::{Context, Result, bail, ensure};

const PT_INTERP: u32 = 3;

/// # Errors
/// It is no 64-bit little-endian program for Linux, or is loaded by an interpreter.
pub(super) fn is_static(program: &[u8]) -> Result<()> {
    ensure!(program.get(..6) == Some(b"\x7fELF\x02\x01"), "is no 64-bit ELF program");
    let short = |at: usize| -> Result<usize> {
        let bytes = program.get(at..at + 2).context("is cut off")?;
        Ok(usize::from(u16::from_le_bytes([bytes[0], bytes[1]])))
    };
    let headers = program.get(32..40).context("is cut off")?;
    let headers = usize::try_from(headers.iter().rev().fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte)))?;
    let (size, count) = (short(54)?, short(56)?);
    for index in 0..count {
        let kind = program.get(headers + index * size..).and_then(|rest| rest.get(..4)).context("is cut off")?;
        if u32::from_le_bytes([kind[0], kind[1], kind[2], kind[3]]) == PT_INTERP {
            bail!("is not static: an interpreter loads libraries for it");
        }
    }
    Ok(())
}

#[cfg(test)]
pub(super) mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    /// A header, and a program header behind it.
    pub(in super::super) fn program(interpreter: bool) -> Vec<u8> {
        let mut bytes = b"\x7fELF\x02\x01\x01".to_vec();
        bytes.resize(64, 0);
        bytes[32] = 64;
        bytes[54] = 56;
        bytes[56] = 1;
        bytes.resize(64 + 56, 0);
        bytes[64] = if interpreter { 3 } else { 1 };
        bytes
    }

    #[test]
    fn programs_that_need_libraries_are_told_apart() {
        assert!(is_static(&program(false)).is_ok());
        assert!(is_static(&program(true)).unwrap_err().to_string().contains("is not static"));
        assert!(is_static(&program(false)[..100]).is_ok());
        assert!(is_static(&program(false)[..66]).unwrap_err().to_string().contains("cut off"));
        assert!(is_static(b"#!/bin/sh\n").unwrap_err().to_string().contains("no 64-bit ELF"));
        // This one is linked as usual.
        assert!(is_static(&std::fs::read(std::env::current_exe().unwrap()).unwrap()).is_err());
    }
}
