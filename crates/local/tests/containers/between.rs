//! A proxy of the engine's socket that meddles.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinSet;

/// What is done before a request, of which it is told the head, reaches the engine.
type Before = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Between the platform and its engine: files of logs seem to be where nobody can read them, and streams of logs can be cut.
pub(crate) struct Between {
    pub(crate) socket: PathBuf,
    streams: Arc<Mutex<JoinSet<()>>>,
    _directory: TempDir,
}

impl Between {
    pub(crate) fn start(engine: &Path, before: impl Fn(&str) -> Before + Send + Sync + 'static) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("engine.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let streams: Arc<Mutex<JoinSet<()>>> = Arc::default();
        let (engine, cut, before) = (engine.to_owned(), Arc::clone(&streams), Arc::new(before));
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let (engine, cut, before) = (engine.clone(), Arc::clone(&cut), Arc::clone(&before));
                tokio::spawn(async move {
                    let mut head = vec![0; 64 * 1024];
                    let count = client.read(&mut head).await.unwrap_or(0);
                    head.truncate(count);
                    let text = String::from_utf8_lossy(&head).into_owned();
                    before(&text).await;
                    let of_logs = text.contains("/logs?");
                    let carried = carry(client, head, engine);
                    if of_logs {
                        cut.lock().unwrap().spawn(carried);
                    } else {
                        carried.await;
                    }
                });
            }
        });
        Self { socket, streams, _directory: directory }
    }

    /// How many streams that were.
    pub(crate) fn cut_streams(&self) -> usize {
        let mut streams = self.streams.lock().unwrap();
        while streams.try_join_next().is_some() {}
        let open = streams.len();
        streams.abort_all();
        open
    }
}

async fn carry(client: UnixStream, head: Vec<u8>, engine: PathBuf) {
    const THERE: &[u8] = b"\"LogPath\":\"/";
    let Ok(mut engine) = UnixStream::connect(engine).await else { return };
    if engine.write_all(&head).await.is_err() {
        return;
    }
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_engine, mut to_engine) = engine.into_split();
    let back = async {
        let mut waiting = Vec::new();
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(count @ 1..) = from_engine.read(&mut buffer).await {
            waiting.extend_from_slice(&buffer[..count]);
            while let Some(at) = waiting.windows(THERE.len()).position(|window| window == THERE) {
                waiting[at + THERE.len() - 1] = b'!';
            }
            // What may be the beginning of it waits for the rest.
            let held = (0..THERE.len()).rev().find(|n| waiting.ends_with(&THERE[..*n])).unwrap_or(0);
            let told: Vec<u8> = waiting.drain(..waiting.len() - held).collect();
            if to_client.write_all(&told).await.is_err() {
                return;
            }
        }
        let _ = to_client.write_all(&waiting).await;
    };
    tokio::select! {
        () = back => {}
        _ = copy(&mut from_client, &mut to_engine) => {}
    }
}
