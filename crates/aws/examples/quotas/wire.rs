//! The SDK's requests, carried to the fake without a socket: on a paused clock a socket would seem to take for ever.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use aws_smithy_runtime_api::client::http::{
    HttpConnector, HttpConnectorFuture, SharedHttpClient, SharedHttpConnector, http_client_fn,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::http::StatusCode;
use aws_smithy_types::body::SdkBody;
use landfall_awsfake::Handle;
use tokio::time::Instant;

/// There, and back.
const ONE_WAY: Duration = Duration::from_millis(15);

#[derive(Clone)]
pub(crate) struct Wire {
    fake: Handle,
    begun: Instant,
    /// Milliseconds that the fake has been told of.
    told: Arc<AtomicU64>,
}

impl std::fmt::Debug for Wire {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Wire")
    }
}

impl Wire {
    pub(crate) fn new(fake: &Handle) -> Self {
        Self { fake: fake.clone(), begun: Instant::now(), told: Arc::default() }
    }

    pub(crate) fn client(&self) -> SharedHttpClient {
        let connector = SharedHttpConnector::new(self.clone());
        http_client_fn(move |_, _| connector.clone())
    }

    fn answer(&self, request: &HttpRequest) -> HttpResponse {
        let now = u64::try_from(self.begun.elapsed().as_millis()).unwrap();
        let before = self.told.swap(now, Ordering::SeqCst);
        self.fake.advance(now - before);
        let headers: Vec<(&str, &str)> = request.headers().iter().collect();
        let body = request.body().bytes().unwrap_or_default();
        let path = request.uri().splitn(4, '/').nth(3).unwrap_or_default();
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let (status, headers, body) = self.fake.answer(request.method(), &format!("/{path}"), query, &headers, body);
        let mut response = HttpResponse::new(StatusCode::try_from(status).unwrap(), SdkBody::from(body));
        for (name, value) in headers {
            response.headers_mut().insert(name, value);
        }
        response
    }
}

impl HttpConnector for Wire {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let this = self.clone();
        HttpConnectorFuture::new(async move {
            tokio::time::sleep(ONE_WAY).await;
            let response = this.answer(&request);
            tokio::time::sleep(ONE_WAY).await;
            Ok(response)
        })
    }
}
