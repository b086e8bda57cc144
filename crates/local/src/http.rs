//! HTTP from this machine: probes, hooks, registries.

use std::time::Duration;

use landfall_ports::{Lazy, PortError, PortResult};

/// One client for all.
pub(crate) type Http = Lazy<reqwest::Client>;

pub(crate) fn http() -> Http {
    Lazy::new(client)
}

/// Redirects are the business of whoever asked.
fn client() -> PortResult<reqwest::Client> {
    // Another part of the process may have been first: any provider will do.
    #[cfg(feature = "tls")]
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .connect_timeout(Duration::from_secs(10))
        .build()
        .map_err(|e| PortError::Bug(format!("HTTP client: {e}")))
}

/// The status of a GET. Names under `localhost` are this machine's whatever the resolver thinks: the host goes into the
/// header and 127.0.0.1 is called.
pub(crate) async fn probe(client: &reqwest::Client, url: &str) -> PortResult<Option<u16>> {
    let mut target = reqwest::Url::parse(url).map_err(|e| PortError::Invalid(format!("{url}: {e}")))?;
    let mut host = None;
    if let Some(name) = target.host_str().filter(|name| *name == "localhost" || name.ends_with(".localhost")) {
        host = Some(target.port().map_or(name.to_owned(), |port| format!("{name}:{port}")));
        target.set_host(Some("127.0.0.1")).map_err(|e| PortError::Invalid(format!("{url}: {e}")))?;
    }
    let mut request = client.get(target).timeout(Duration::from_secs(5));
    if let Some(host) = host {
        request = request.header("host", host);
    }
    match request.send().await {
        Ok(response) => Ok(Some(response.status().as_u16())),
        Err(_) => Ok(None),
    }
}
