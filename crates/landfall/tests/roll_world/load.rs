//! Who uses the service all the time: short requests on connections that are kept and on new ones, answers that take seconds to begin or to
//! end, and WebSockets. Plain sockets: nothing is ever sent twice, so whatever is cut off is seen.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// On a connection that is kept.
    Kept,
    /// On a connection of its own.
    New,
    /// The answer begins after two seconds.
    Slow,
    /// The answer begins at once and takes two seconds.
    Streamed,
    /// Open for two seconds.
    WebSocket,
}

impl Kind {
    pub(crate) const ALL: [Self; 5] = [Self::Kept, Self::New, Self::Slow, Self::Streamed, Self::WebSocket];
}

/// Of each kind so many at once, and how long each pauses between two.
const WORKERS: [(Kind, u32, u64); 5] =
    [(Kind::Kept, 12, 8), (Kind::New, 6, 24), (Kind::Slow, 6, 0), (Kind::Streamed, 6, 0), (Kind::WebSocket, 6, 0)];

#[derive(Debug, Default, Clone)]
pub(crate) struct Seen {
    pub(crate) answered: BTreeMap<Kind, usize>,
    pub(crate) failures: Vec<String>,
    /// Who answered.
    pub(crate) by: BTreeSet<String>,
}

impl Seen {
    fn add(&mut self, kind: Kind, asked: Result<Option<String>, String>) {
        match asked {
            Ok(by) => {
                *self.answered.entry(kind).or_default() += 1;
                self.by.extend(by);
            }
            Err(why) => self.failures.push(why),
        }
    }

    pub(crate) fn requests(&self) -> usize {
        self.answered.values().sum::<usize>() + self.failures.len()
    }
}

pub(crate) struct Load {
    seen: Arc<Mutex<Seen>>,
    over: Arc<AtomicBool>,
    workers: Vec<JoinHandle<()>>,
}

impl Load {
    pub(crate) fn begin(port: u16) -> Self {
        let (seen, over) = (Arc::<Mutex<Seen>>::default(), Arc::<AtomicBool>::default());
        let began = Instant::now();
        let mut workers = Vec::new();
        for (kind, count, pause) in WORKERS {
            for number in 0..count {
                let (seen, over) = (seen.clone(), over.clone());
                workers.push(tokio::spawn(async move {
                    // Not all at the same moment.
                    tokio::time::sleep(Duration::from_millis(u64::from(number) * 2_000 / u64::from(count))).await;
                    let mut kept = None;
                    while !over.load(Ordering::Relaxed) {
                        let at = began.elapsed();
                        let asked = tokio::time::timeout(Duration::from_secs(60), once(kind, port, &mut kept)).await;
                        let asked = asked.unwrap_or_else(|_| Err("no answer within a minute".to_owned()));
                        if asked.is_err() {
                            kept = None;
                        }
                        let (from, to) = (at.as_secs_f64(), began.elapsed().as_secs_f64());
                        let asked = asked.map_err(|why| format!("{kind:?}, {from:.1} s to {to:.1} s: {why}"));
                        seen.lock().unwrap().add(kind, asked);
                        tokio::time::sleep(Duration::from_millis(pause)).await;
                    }
                }));
            }
        }
        Self { seen, over, workers }
    }

    pub(crate) fn so_far(&self) -> Seen {
        self.seen.lock().unwrap().clone()
    }

    /// What is under way ends as it does.
    pub(crate) async fn end(self) -> Seen {
        self.over.store(true, Ordering::Relaxed);
        for worker in self.workers {
            worker.await.unwrap();
        }
        Arc::into_inner(self.seen).unwrap().into_inner().unwrap()
    }
}

type Connection = BufReader<TcpStream>;

/// Who answered, where the answer says it.
async fn once(kind: Kind, port: u16, kept: &mut Option<Connection>) -> Result<Option<String>, String> {
    let asked = async {
        let mut connection = match kept.take() {
            Some(connection) => connection,
            None => BufReader::new(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?),
        };
        let told = match kind {
            Kind::Kept => get(&mut connection, "/", "keep-alive").await?,
            Kind::New => get(&mut connection, "/", "close").await?,
            Kind::Slow => get(&mut connection, "/slow?ms=2000", "close").await?,
            Kind::Streamed => {
                let whole: String = (0..20).map(|number| format!("chunk {number}\n")).collect();
                let got = get(&mut connection, "/stream?chunks=20&ms=100", "close").await?;
                return if got == whole { Ok(None) } else { Err(bad(format!("not the whole answer: {got:?}"))) };
            }
            Kind::WebSocket => {
                websocket(&mut connection).await?;
                return Ok(None);
            }
        };
        if kind == Kind::Kept {
            *kept = Some(connection);
        }
        std::io::Result::Ok(Some(told.trim().to_owned()))
    };
    asked.await.map_err(|error| error.to_string())
}

fn bad(what: String) -> std::io::Error {
    std::io::Error::other(what)
}

/// The status and the head's lines.
async fn head(connection: &mut Connection) -> std::io::Result<(u16, Vec<String>)> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if connection.read_line(&mut line).await? == 0 {
            return Err(bad(format!("closed in the head: {lines:?}")));
        }
        match line.trim_end() {
            "" => break,
            line => lines.push(line.to_ascii_lowercase()),
        }
    }
    let status = lines.first().and_then(|line| line.split(' ').nth(1)?.parse().ok());
    status.map(|status| (status, lines.clone())).ok_or_else(|| bad(format!("no answer of HTTP: {lines:?}")))
}

async fn get(connection: &mut Connection, path: &str, kept: &str) -> std::io::Result<String> {
    let request = format!("GET {path} HTTP/1.1\r\nHost: roll.test\r\nConnection: {kept}\r\n\r\n");
    connection.write_all(request.as_bytes()).await?;
    let (status, lines) = head(connection).await?;
    let field = |name: &str| lines.iter().find_map(|line| line.strip_prefix(name)).map(|value| value.trim().to_owned());
    let mut body = Vec::new();
    if let Some(length) = field("content-length:") {
        body.resize(length.parse().map_err(|_| bad(format!("a length of {length}")))?, 0);
        connection.read_exact(&mut body).await?;
    } else if field("transfer-encoding:").as_deref() == Some("chunked") {
        loop {
            let mut line = String::new();
            connection.read_line(&mut line).await?;
            let size = usize::from_str_radix(line.trim(), 16).map_err(|_| bad(format!("cut off at {line:?}")))?;
            let mut chunk = vec![0; size + 2];
            connection.read_exact(&mut chunk).await?;
            if size == 0 {
                break;
            }
            body.extend_from_slice(&chunk[..size]);
        }
    } else {
        return Err(bad(format!("no length: {lines:?}")));
    }
    let body = String::from_utf8_lossy(&body).into_owned();
    if status / 100 == 2 { Ok(body) } else { Err(bad(format!("{status}: {body}"))) }
}

/// Ten messages to and fro; then the client closes.
async fn websocket(connection: &mut Connection) -> std::io::Result<()> {
    const MASK: [u8; 4] = [7, 11, 13, 17];
    let frame = |opcode: u8, payload: &[u8]| {
        let mut frame = vec![0x80 | opcode, 0x80 | payload.len() as u8];
        frame.extend(MASK);
        frame.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        frame
    };
    let request = "GET /socket HTTP/1.1\r\nHost: roll.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                   Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    connection.write_all(request.as_bytes()).await?;
    let (status, lines) = head(connection).await?;
    if status != 101 {
        return Err(bad(format!("no upgrade: {lines:?}")));
    }
    let messages = (0..10).map(|number| frame(1, format!("message {number}").as_bytes()));
    for sent in messages.chain([frame(8, &[])]) {
        connection.write_all(&sent).await?;
        // The demonstration's application sends every byte back.
        let mut back = vec![0; sent.len()];
        connection.read_exact(&mut back).await?;
        if back != sent {
            return Err(bad(format!("{sent:?} came back as {back:?}")));
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    connection.shutdown().await?;
    match connection.read(&mut [0; 1]).await? {
        0 => Ok(()),
        _ => Err(bad("more than was sent".to_owned())),
    }
}
