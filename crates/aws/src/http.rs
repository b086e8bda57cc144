//! HTTP besides the SDK: probes through the load balancer, as a visitor would send them, and requests that are signed by hand.

use std::error::Error as _;
use std::time::Duration;

use landfall_ports::{PortError, PortResult};
use reqwest::Url;

const TIMEOUT: Duration = Duration::from_secs(5);

/// Redirects are the application's own business.
pub(crate) fn client() -> PortResult<reqwest::Client> {
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

/// The status of a GET; `None` while nothing answers. A certificate that visitors would be warned of is an error: no waiting
/// mends it.
pub(crate) async fn probe(client: &reqwest::Client, url: &str, through: Option<&str>) -> PortResult<Option<u16>> {
    let (target, host) = target(url, through)?;
    let mut request = client.get(target).timeout(TIMEOUT);
    if let Some(host) = host {
        request = request.header("host", host);
    }
    let error = match request.send().await {
        Ok(response) => return Ok(Some(response.status().as_u16())),
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
