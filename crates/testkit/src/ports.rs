//! Ports for servers that bind them later themselves: of the loopback, below those that the kernel gives to whoever asks for any. A
//! test process keeps what it took for as long as it lives, by a lock on a file that has the port's name, so that no other takes it
//! in between.

use std::array::from_fn;
use std::fs::File;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::MetadataExt as _;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

const FIRST: u16 = 23_000;
const COUNT: u32 = 9_000;

static HELD: Mutex<Vec<File>> = Mutex::new(Vec::new());

/// One that nobody listens at.
pub fn port() -> u16 {
    let [port] = row();
    port
}

/// `N` of them, one after the other.
pub fn row<const N: usize>() -> [u16; N] {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let step = u32::try_from(N).unwrap();
    for _ in 0..COUNT {
        // Processes that run tests side by side begin far from each other.
        let at = (std::process::id() * 61 + NEXT.fetch_add(step, Ordering::Relaxed)) % (COUNT - step);
        let ports: [u16; N] = from_fn(|index| FIRST + u16::try_from(at).unwrap() + u16::try_from(index).unwrap());
        let locks: Vec<File> = ports.iter().filter_map(|port| lock(*port)).collect();
        if locks.len() == N && ports.iter().all(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok()) {
            HELD.lock().unwrap().extend(locks);
            return ports;
        }
    }
    panic!("no port is free");
}

fn lock(port: u16) -> Option<File> {
    let user = std::fs::metadata("/proc/self").map_or(0, |process| process.uid());
    let directory = std::env::temp_dir().join(format!("landfall-test-ports-{user}"));
    std::fs::create_dir_all(&directory).unwrap();
    let file = File::options().create(true).truncate(false).write(true).open(directory.join(port.to_string())).unwrap();
    file.try_lock().is_ok().then_some(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_gets_a_port_that_is_taken() {
        let [first, second, third] = row();
        assert_eq!((second, third), (first + 1, first + 2));
        assert!(lock(second).is_none());
        assert!((0..50).map(|_| port()).all(|port| port < first || port > third));
    }
}
