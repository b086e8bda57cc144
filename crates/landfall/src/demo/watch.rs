//! Somebody using the preview while it changes: a request every few milliseconds, every answer counted.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::task::JoinHandle;

use crate::http::{Ask, send};

pub(super) struct Watch {
    stop: Arc<AtomicBool>,
    asked: Arc<AtomicU64>,
    task: JoinHandle<Vec<String>>,
}

pub(super) struct Watched {
    pub(super) asked: u64,
    /// One line for each request that was not answered 200.
    pub(super) failed: Vec<String>,
}

impl Watch {
    pub(super) fn start(addr: SocketAddr, host: &str) -> Self {
        let (stop, asked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (ends, counter, host) = (stop.clone(), asked.clone(), host.to_owned());
        let task = tokio::spawn(async move {
            let mut failed = Vec::new();
            while !ends.load(Ordering::Relaxed) {
                counter.fetch_add(1, Ordering::Relaxed);
                match send(addr, Ask::get("/").host(&host), Duration::from_secs(10)).await {
                    Ok(answer) if answer.status == 200 => {}
                    Ok(answer) => failed.push(format!("answered {}", answer.status)),
                    Err(error) => failed.push(error.to_string()),
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            failed
        });
        Self { stop, asked, task }
    }

    pub(super) async fn stop(self) -> Watched {
        self.stop.store(true, Ordering::Relaxed);
        let failed = self.task.await.unwrap_or_else(|error| vec![error.to_string()]);
        Watched { asked: self.asked.load(Ordering::Relaxed), failed }
    }
}
