//! What tests set up around the product: calls that it never makes, sent by hand. Emulators route by the credential scope and
//! check no signature.

use serde_json::Value;

pub(crate) struct Raw {
    pub endpoint: String,
    pub region: String,
    http: reqwest::Client,
}

impl Raw {
    pub(crate) fn new(endpoint: &str, region: &str) -> Self {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        Self { endpoint: endpoint.to_owned(), region: region.to_owned(), http: reqwest::Client::new() }
    }

    fn authorization(&self, service: &str) -> String {
        let scope = format!("test/20260101/{}/{service}/aws4_request", self.region);
        format!("AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature=0")
    }

    async fn send(&self, service: &str, request: reqwest::RequestBuilder) -> String {
        let answer = request.header("authorization", self.authorization(service)).send().await.unwrap();
        let (status, text) = (answer.status(), answer.text().await.unwrap());
        assert!(status.is_success(), "{service}: {status}: {text}");
        text
    }

    /// The query protocol; answers XML.
    pub(crate) async fn query(&self, service: &str, fields: &[(&str, &str)]) -> String {
        let fields: Vec<String> = fields.iter().map(|(name, value)| format!("{name}={}", encoded(value))).collect();
        let request = self.http.post(format!("{}/", self.endpoint)).body(fields.join("&"));
        self.send(service, request.header("content-type", "application/x-www-form-urlencoded")).await
    }

    /// JSON 1.1.
    pub(crate) async fn json(&self, service: &str, target: &str, body: Value) -> Value {
        let request = self.http.post(format!("{}/", self.endpoint)).body(body.to_string());
        let request = request.header("content-type", "application/x-amz-json-1.1").header("x-amz-target", target);
        serde_json::from_str(&self.send(service, request).await).unwrap()
    }

    /// REST with JSON.
    pub(crate) async fn post(&self, service: &str, path: &str, body: Value) -> Value {
        let request = self.http.post(format!("{}{path}", self.endpoint)).body(body.to_string());
        serde_json::from_str(&self.send(service, request.header("content-type", "application/json")).await).unwrap()
    }
}

fn encoded(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    text.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

/// The text of the first element of that name.
pub(crate) fn element(xml: &str, name: &str) -> String {
    let (_, rest) = xml.split_once(&format!("<{name}>")).unwrap_or_else(|| panic!("no {name} in {xml}"));
    rest.split_once("</").unwrap().0.to_owned()
}

/// A zip archive of one file, stored.
pub(crate) fn zip(name: &str, content: &[u8]) -> Vec<u8> {
    let crc = !content.iter().fold(!0_u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| if crc & 1 == 1 { (crc >> 1) ^ 0xEDB8_8320 } else { crc >> 1 })
    });
    let size = u32::try_from(content.len()).unwrap().to_le_bytes();
    let length = u16::try_from(name.len()).unwrap().to_le_bytes();
    // Version 2.0, no flags, stored, midnight of 1 January 1980.
    let common = [&[20, 0, 0, 0, 0, 0, 0, 0, 33, 0][..], &crc.to_le_bytes(), &size, &size, &length, &[0, 0]].concat();
    let local = [b"PK\x03\x04", common.as_slice(), name.as_bytes(), content].concat();
    // Made by Unix, mode 0644.
    let central =
        [b"PK\x01\x02\x14\x03", common.as_slice(), &[0; 6], &[0, 0, 0xA4, 0x81], &[0; 4], name.as_bytes()].concat();
    let at = |length: usize| u32::try_from(length).unwrap().to_le_bytes();
    let end = [b"PK\x05\x06\0\0\0\0\x01\0\x01\0".as_slice(), &at(central.len()), &at(local.len()), &[0, 0]].concat();
    [local, central, end].concat()
}
