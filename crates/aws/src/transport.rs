//! One HTTP client for all the clients of a target. The SDK's own default makes one for each service, and each reads and
//! parses the machine's certificates before the first request, also where the endpoint has no TLS; here that is done once,
//! and only when something asks for `https`.

use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
use aws_smithy_http_client::{Builder, ConnectorBuilder};
use aws_smithy_runtime_api::client::connector_metadata::ConnectorMetadata;
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;

pub(crate) fn client() -> SharedHttpClient {
    let plain =
        Builder::new().build_with_connector_fn(|settings, components| builder(settings, components).build_http());
    let tls = Builder::new().build_with_connector_fn(|settings, components| {
        builder(settings, components).tls_provider(Provider::rustls(CryptoMode::AwsLc)).build()
    });
    SharedHttpClient::new(ByScheme { plain, tls })
}

/// Proxies as the environment names them: as the SDK's default client.
fn builder(settings: Option<&HttpConnectorSettings>, components: Option<&RuntimeComponents>) -> ConnectorBuilder {
    let mut builder = ConnectorBuilder::default();
    builder.set_connector_settings(settings.cloned());
    builder.set_sleep_impl(components.and_then(RuntimeComponents::sleep_impl));
    builder.set_proxy_config(Some(ProxyConfig::from_env()));
    builder
}

#[derive(Debug, Clone)]
struct ByScheme {
    plain: SharedHttpClient,
    tls: SharedHttpClient,
}

impl HttpClient for ByScheme {
    fn http_connector(&self, settings: &HttpConnectorSettings, components: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(Chosen {
            clients: self.clone(),
            settings: settings.clone(),
            components: components.clone(),
        })
    }

    fn connector_metadata(&self) -> Option<ConnectorMetadata> {
        self.plain.connector_metadata()
    }
}

/// The connector that a request's scheme needs; made with the first such request, and kept by its client.
#[derive(Debug)]
struct Chosen {
    clients: ByScheme,
    settings: HttpConnectorSettings,
    components: RuntimeComponents,
}

impl HttpConnector for Chosen {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let ByScheme { plain, tls } = &self.clients;
        let client = if request.uri().starts_with("http://") { plain } else { tls };
        client.http_connector(&self.settings, &self.components).call(request)
    }
}
