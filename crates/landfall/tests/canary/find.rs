//! Looking for canaries: in bytes of any kind, in directories, and in the arguments of processes while they run.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// Random texts of one beginning, each for one way in: letters and digits alone, so that no notation changes them.
pub(super) struct Canaries {
    marker: String,
    encoded: Vec<String>,
}

impl Canaries {
    pub(super) fn new() -> Self {
        let mut random = [0; 8];
        std::io::Read::read_exact(&mut std::fs::File::open("/dev/urandom").unwrap(), &mut random).unwrap();
        let marker = format!("cnry{}", hex::encode(random));
        // As base64 has it, in logins and in tokens: what its neighbours cannot change of it, by where it begins.
        let encoded = (0..3).map(|at| {
            let text = format!("{}{marker}", &"xxx"[..at]);
            let whole = base64(text.as_bytes());
            let (first, last) = ([0, 2, 3][at], text.len() / 3 * 4);
            whole[first..last].to_owned()
        });
        Self { encoded: encoded.collect(), marker }
    }

    /// That of one way in.
    pub(super) fn of(&self, name: &str) -> String {
        assert!(name.bytes().all(|c| c.is_ascii_lowercase()));
        format!("{}{name}", self.marker)
    }

    /// The ways in whose canaries are in there.
    pub(super) fn found(&self, bytes: &[u8]) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        for at in places(bytes, self.marker.as_bytes()) {
            let rest = &bytes[at + self.marker.len()..];
            let name: Vec<u8> = rest.iter().copied().take_while(u8::is_ascii_lowercase).collect();
            found.insert(String::from_utf8(name).unwrap());
        }
        if self.encoded.iter().any(|text| !places(bytes, text.as_bytes()).is_empty()) {
            found.insert("(base64)".to_owned());
        }
        found
    }

    /// Every file below, as it lies there: `path: what`.
    pub(super) fn below(&self, directory: &Path) -> BTreeSet<String> {
        let mut all = BTreeSet::new();
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                all.extend(self.below(&path));
            } else if path.is_file() {
                // A file that went away meanwhile holds nothing.
                let bytes = std::fs::read(&path).unwrap_or_default();
                all.extend(self.found(&bytes).into_iter().map(|name| format!("{}: {name}", path.display())));
            }
        }
        all
    }
}

fn places(bytes: &[u8], wanted: &[u8]) -> Vec<usize> {
    let starts = bytes.iter().enumerate().filter(|(_, byte)| **byte == wanted[0]).map(|(at, _)| at);
    starts.filter(|at| bytes[*at..].starts_with(wanted)).collect()
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for three in bytes.chunks(3) {
        let byte = |at: usize| u32::from(three.get(at).copied().unwrap_or_default());
        let all = byte(0) << 16 | byte(1) << 8 | byte(2);
        for digit in 0..=three.len() {
            out.push(char::from(DIGITS[(all >> (18 - 6 * digit) & 63) as usize]));
        }
    }
    out
}

/// Looks at every process's arguments, again and again.
pub(super) struct Watch {
    seen: Arc<Mutex<BTreeSet<String>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    pub(super) fn start(canaries: &Arc<Canaries>) -> Self {
        let (seen, stop) = (Arc::new(Mutex::new(BTreeSet::new())), Arc::new(AtomicBool::new(false)));
        let (canaries, into, until) = (Arc::clone(canaries), Arc::clone(&seen), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            while !until.load(Ordering::Relaxed) {
                for process in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
                    // Those that are no process have none.
                    let arguments = std::fs::read(process.path().join("cmdline")).unwrap_or_default();
                    for name in canaries.found(&arguments) {
                        let arguments = String::from_utf8_lossy(&arguments).replace('\0', " ");
                        into.lock().unwrap().insert(format!("{name} among the arguments: {arguments}"));
                    }
                }
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        Self { seen, stop, thread: Some(thread) }
    }

    pub(super) fn seen(&self) -> BTreeSet<String> {
        std::mem::take(&mut self.seen.lock().unwrap())
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.thread.take().unwrap().join();
    }
}
