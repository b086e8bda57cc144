//! `/` text, `/health`, `/env` (names of variables and values of the harmless ones), `/slow?ms=`, `/stream?chunks=&ms=`,
//! `/echo` (the body), `/headers`, and any path with `Upgrade:` (bytes are echoed, WebSocket frames included).

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use http::{Request, Response, StatusCode, header};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::{WebArgs, log};

type Body = BoxBody<Bytes, hyper::Error>;

pub(super) async fn serve(args: WebArgs) -> std::io::Result<()> {
    let text = match &args.text_file {
        Some(file) => std::fs::read_to_string(file)?.trim_end().to_owned(),
        None => args.text.clone(),
    };
    let listener = TcpListener::bind(args.listen).await?;
    log(&format!("web listens on {}", args.listen));
    loop {
        let (stream, _) = listener.accept().await?;
        let (text, fail_health) = (text.clone(), args.faults.fail_health);
        tokio::spawn(async move {
            let service = service_fn(move |request| {
                let text = text.clone();
                async move { Ok::<_, Infallible>(answer(request, &text, fail_health).await) }
            });
            // A client that goes away in the middle is no news.
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .with_upgrades()
                .await;
        });
    }
}

fn full(status: StatusCode, text: impl Into<Bytes>) -> Response<Body> {
    let body = Full::new(text.into()).map_err(|never| match never {}).boxed();
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response
}

fn number(request: &Request<Incoming>, name: &str, default: u64) -> u64 {
    let query = request.uri().query().unwrap_or_default();
    query
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .find(|(key, _)| *key == name)
        .map_or(default, |(_, v)| v.parse().unwrap_or(default))
}

async fn answer(request: Request<Incoming>, text: &str, fail_health: bool) -> Response<Body> {
    if request.headers().contains_key(header::UPGRADE) {
        return upgrade(request);
    }
    match request.uri().path() {
        "/health" if fail_health => full(StatusCode::INTERNAL_SERVER_ERROR, "unhealthy, as told\n"),
        "/health" => full(StatusCode::OK, "ok\n"),
        "/env" => full(StatusCode::OK, environment()),
        "/headers" => {
            let lines: Vec<String> = request
                .headers()
                .iter()
                .map(|(name, value)| format!("{name}: {}\n", String::from_utf8_lossy(value.as_bytes())))
                .collect();
            full(StatusCode::OK, lines.concat())
        }
        "/slow" => {
            tokio::time::sleep(Duration::from_millis(number(&request, "ms", 1000))).await;
            full(StatusCode::OK, format!("{text}\n"))
        }
        "/stream" => {
            let (chunks, ms) = (number(&request, "chunks", 10), number(&request, "ms", 100));
            let frames = futures_util::stream::iter(0..chunks).then(move |n| async move {
                tokio::time::sleep(Duration::from_millis(ms)).await;
                Ok(Frame::data(Bytes::from(format!("chunk {n}\n"))))
            });
            Response::new(BodyExt::boxed(StreamBody::new(frames)))
        }
        "/echo" => Response::new(request.into_body().boxed()),
        "/" => full(StatusCode::OK, format!("{text}\n")),
        path => full(StatusCode::NOT_FOUND, format!("no {path} here\n")),
    }
}

/// Values are shown for what tests set and Landfall sets; of anything else only that it is there.
fn environment() -> String {
    let mut lines: Vec<String> = std::env::vars()
        .map(|(name, value)| {
            if name.starts_with("LANDFALL_") || name.starts_with("DEMO_") {
                format!("{name}={value}\n")
            } else {
                format!("{name}\n")
            }
        })
        .collect();
    lines.sort();
    lines.concat()
}

/// Switches to whatever protocol was asked for and sends back every byte.
fn upgrade(mut request: Request<Incoming>) -> Response<Body> {
    let protocol = request.headers().get(header::UPGRADE).cloned();
    tokio::spawn(async move {
        let Ok(upgraded) = hyper::upgrade::on(&mut request).await else { return };
        let mut io = TokioIo::new(upgraded);
        let mut buffer = [0_u8; 4096];
        while let Ok(read) = io.read(&mut buffer).await {
            if read == 0 || io.write_all(&buffer[..read]).await.is_err() || io.flush().await.is_err() {
                break;
            }
        }
    });
    let mut response = full(StatusCode::SWITCHING_PROTOCOLS, "");
    response.headers_mut().insert(header::CONNECTION, header::HeaderValue::from_static("Upgrade"));
    if let Some(protocol) = protocol {
        response.headers_mut().insert(header::UPGRADE, protocol);
    }
    response
}
