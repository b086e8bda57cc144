//! Host processes: told apart from reused pids by their start time, waited for without being their parent.

use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, Signal};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Whether an executable of that name is on the `PATH`.
pub(crate) fn on_path(name: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).map(|dir| dir.join(name)).any(|file: PathBuf| file.is_file())
}

/// The process's start in clock ticks since boot; `None` when there is none, or only its zombie.
pub(crate) fn start_time(pid: i32) -> Option<u64> {
    let stat = std::fs::read(format!("/proc/{pid}/stat")).ok()?;
    // The command's name may hold anything; what follows its last parenthesis does not.
    let end = stat.iter().rposition(|byte| *byte == b')')?;
    let rest = std::ffi::OsStr::from_bytes(stat.get(end + 2..)?).to_str()?;
    let mut fields = rest.split(' ');
    if matches!(fields.next()?, "Z" | "X") {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

/// Gone is fine.
pub(crate) fn kill(pid: i32, signal: Signal) {
    if let Some(pid) = Pid::from_raw(pid) {
        let _ = rustix::process::kill_process(pid, signal);
    }
}

/// To the whole group. Gone is fine.
pub(crate) fn kill_group(pid: i32, signal: Signal) {
    if let Some(pid) = Pid::from_raw(pid) {
        let _ = rustix::process::kill_process_group(pid, signal);
    }
}

/// Kills the process if it shares the mount namespace of `other`, which must not be ours: so a pid that an engine named can
/// only hit what runs in that container, also when the pid was reused or is one of another machine. Whether it was ended.
pub(crate) fn kill_beside(pid: i64, other: i64) -> bool {
    let Some(raw) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return false };
    // The descriptor first: what is looked at is what is killed.
    let fd = match rustix::process::pidfd_open(raw, PidfdFlags::empty()) {
        Ok(fd) => fd,
        Err(error) => return error == rustix::io::Errno::SRCH,
    };
    let namespace = |process: &str| std::fs::read_link(format!("/proc/{process}/ns/mnt")).ok();
    let (of_it, of_other) = (namespace(&pid.to_string()), namespace(&other.to_string()));
    if other <= 0 || of_it.is_none() || of_it != of_other || of_it == namespace("self") {
        return false;
    }
    rustix::process::pidfd_send_signal(&fd, Signal::KILL).is_ok()
}

/// Resolves when the process has ended; at once where it is gone. `false` when it cannot be watched from here (an engine in
/// another machine, an old kernel).
pub(crate) async fn ended(pid: i64) -> bool {
    let Some(raw) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return false };
    let fd: OwnedFd = match rustix::process::pidfd_open(raw, PidfdFlags::NONBLOCK) {
        Ok(fd) => fd,
        Err(rustix::io::Errno::SRCH) => return true,
        Err(_) => return false,
    };
    // SAFETY: the descriptor is ours alone, is moved in, and an `OwnedFd` always answers with the same open one.
    #[allow(unsafe_code)]
    let watch = unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) };
    let Ok(watch) = watch else { return false };
    loop {
        // A pidfd becomes readable when the process ends; the timeout guards against a missed edge.
        match tokio::time::timeout(Duration::from_secs(30), watch.readable()).await {
            Ok(Ok(_)) => return true,
            Ok(Err(_)) => return false,
            Err(_) if start_time(raw.as_raw_nonzero().get()).is_none() => return true,
            Err(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn start_time_of_the_living_only() {
        let own = i32::try_from(std::process::id()).unwrap();
        assert!(start_time(own).unwrap() > 0);
        assert_eq!(start_time(i32::MAX), None);
    }

    #[tokio::test]
    async fn notices_the_end_of_a_process() {
        let mut child = std::process::Command::new("sleep").arg("30").spawn().unwrap();
        let pid = i64::from(child.id());
        let waiting = tokio::spawn(ended(pid));
        child.kill().unwrap();
        assert!(tokio::time::timeout(Duration::from_secs(10), waiting).await.unwrap().unwrap());
        child.wait().unwrap();
        assert!(ended(pid).await);
    }

    #[test]
    fn a_process_of_this_machine_is_no_containers() {
        let mut child = std::process::Command::new("sleep").arg("30").spawn().unwrap();
        let pid = i64::from(child.id());
        for other in [pid, i64::from(std::process::id()), 0, -1] {
            assert!(!kill_beside(pid, other));
        }
        assert!(child.try_wait().unwrap().is_none());
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn finds_programs() {
        assert!(on_path("sh"));
        assert!(!on_path("no-such-program-here"));
    }
}
