//! HTTP besides the SDK: probes through the load balancer, as a visitor would send them, and requests that are signed by hand.

use std::error::Error as _;
use std::time::Duration;

use landfall_ports::{Lazy, PortError, PortResult};
use reqwest::Url;

const TIMEOUT: Duration = Duration::from_secs(5);

/// What our shared listeners answer, with 404, for hosts without a rule; `probe` tells it from an application's own 404.
pub(crate) const NOBODY: &str = "landfall: no environment answers at this host";

pub(crate) type Http = Lazy<reqwest::Client>;

pub(crate) fn http() -> Http {
    Lazy::new(client)
}

/// Redirects are the application's own business.
fn client() -> PortResult<reqwest::Client> {
    // Another part of the process may have been first: any provider will do.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(TIMEOUT)
        // A function may say nothing for a quarter of an hour; address translation forgets idle connections after minutes.
        .tcp_keepalive(Duration::from_secs(60))
        .build()
        .map_err(|error| PortError::Bug(format!("HTTP client: {error}")))
}

/// The status of a GET; `None` while nothing answers, or only the listener, which may hear of a new rule some seconds after it
/// was made. A certificate that visitors would be warned of is an error: no waiting mends it.
pub(crate) async fn probe(client: &reqwest::Client, url: &str, through: Option<&str>) -> PortResult<Option<u16>> {
    let (target, host) = target(url, through)?;
    let mut request = client.get(target).timeout(TIMEOUT);
    if let Some(host) = host {
        request = request.header("host", host);
    }
    let error = match request.send().await {
        Ok(response) => {
            let status = response.status().as_u16();
            return Ok(if status == 404 { by_somebody(response).await } else { Some(status) });
        }
        Err(error) => error,
    };
    let mut source = error.source();
    while let Some(cause) = source {
        let text = cause.to_string();
        if text.contains("invalid peer certificate") {
            return Err(PortError::Invalid(format!(
                "{url}: {text}: the listener needs a certificate that this machine trusts and that covers the host; for a \
                 preview's own port that is `address` of the AWS target"
            )));
        }
        source = cause.source();
    }
    Ok(None)
}

/// The status, unless the body is the listener's own.
async fn by_somebody(mut response: reqwest::Response) -> Option<u16> {
    let mut body = Vec::new();
    // A body that breaks off is not the listener's.
    while body.len() < NOBODY.len()
        && let Ok(Some(chunk)) = response.chunk().await
    {
        body.extend_from_slice(&chunk);
    }
    (!body.starts_with(NOBODY.as_bytes())).then_some(response.status().as_u16())
}

/// Where to connect, and the Host header where that is not the URL's own host. `through` is `HOST:PORT`, spoken to as the
/// URL says, or a URL whose path goes before the URL's.
fn target(url: &str, through: Option<&str>) -> PortResult<(Url, Option<String>)> {
    let parse = |text: &str| Url::parse(text).map_err(|error| PortError::Invalid(format!("{text}: {error}")));
    let wanted = parse(url)?;
    let Some(through) = through else { return Ok((wanted, None)) };
    let base = if through.contains("://") { through.to_owned() } else { format!("{}://{through}", wanted.scheme()) };
    let mut target = parse(&base)?;
    let path = format!("{}{}", target.path().trim_end_matches('/'), wanted.path());
    target.set_path(&path);
    target.set_query(wanted.query());
    let host = wanted.host_str().unwrap_or_default();
    let host = wanted.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
    Ok((target, Some(host)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Answers every request so.
    async fn answering(status: &'static str, body: String) -> String {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

        let server = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", server.local_addr().unwrap());
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = server.accept().await {
                let _ = stream.read(&mut [0; 4096]).await;
                let head = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
                let _ = stream.write_all(format!("{head}{body}").as_bytes()).await;
            }
        });
        url
    }

    #[tokio::test]
    async fn the_listener_s_own_404_is_no_answer_and_an_application_s_is() {
        let client = client().unwrap();
        for (status, body, expected) in [
            ("404 Not Found", format!("{NOBODY}\n"), None),
            ("404 Not Found", "no such page".to_owned(), Some(404)),
            ("404 Not Found", String::new(), Some(404)),
            ("404 Not Found", "x".repeat(100_000), Some(404)),
            ("200 OK", format!("{NOBODY}\n"), Some(200)),
        ] {
            let url = answering(status, body).await;
            assert_eq!(probe(&client, &url, None).await.unwrap(), expected, "{status}");
        }
    }

    #[test]
    fn a_probe_goes_through_a_tunnel_with_the_hosts_name() {
        let of = |url, through| {
            let (target, host) = target(url, through).unwrap();
            (target.to_string(), host)
        };
        assert_eq!(of("http://a.example:8001/x?y", None), ("http://a.example:8001/x?y".to_owned(), None));
        assert_eq!(
            of("http://a.example:8001/x?y", Some("127.0.0.1:9000")),
            ("http://127.0.0.1:9000/x?y".to_owned(), Some("a.example:8001".to_owned()))
        );
        assert_eq!(
            of("https://a.example/", Some("127.0.0.1:9000")),
            ("https://127.0.0.1:9000/".to_owned(), Some("a.example".to_owned()))
        );
        assert_eq!(
            of("https://a.example/", Some("http://127.0.0.1:4571/_alb/main")),
            ("http://127.0.0.1:4571/_alb/main/".to_owned(), Some("a.example".to_owned()))
        );
        assert!(target("no url", None).is_err());
    }
}
