//! Objects in S3, read and written whole, each by one request that is signed by hand.

use std::time::SystemTime;

use aws_sigv4::http_request::{
    PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SigningSettings, UriPathNormalizationMode,
    sign,
};
use aws_sigv4::sign::v4;
use landfall_ports::{PortError, PortResult, chain};

use crate::budget::Family;
use crate::call::Call;
use crate::core::Core;
use crate::error::{Failed, answered};
use crate::signed::{Signer, endpoint, percent_encoded, xml};

/// Of what is read: a Terraform state.
const LARGEST: usize = 64 * 1024 * 1024;

/// With the bucket in the path. `given`: an endpoint that is not AWS's.
pub(crate) fn url(given: Option<&str>, region: &str, bucket: &str, key: &str) -> String {
    let key: Vec<String> = key.split('/').map(percent_encoded).collect();
    format!("{}/{}/{}", endpoint(given, "s3", region), percent_encoded(bucket), key.join("/"))
}

/// The region that the bucket is in.
pub(crate) async fn put(core: &Core, signer: &Signer, bucket: &str, key: &str, body: &str) -> PortResult<String> {
    let resource = format!("s3://{bucket}/{key}");
    let call = Call { service: "s3", action: "PutObject", family: Family::S3Write, resource: &resource };
    Ok(exchange(core, signer, call, bucket, key, &core.region, Some(body)).await?.0)
}

/// Of the region that is given or, where S3 says that it is another, of that one; with which it was. `put`: what is written.
pub(crate) async fn exchange(
    core: &Core,
    signer: &Signer,
    call: Call<'_>,
    bucket: &str,
    key: &str,
    region: &str,
    put: Option<&str>,
) -> PortResult<(String, Vec<u8>)> {
    let what = call.what();
    let mut region = region.to_owned();
    for _ in 0..2 {
        let url = url(core.sdk.endpoint_url(), &region, bucket, key);
        match core.caller.guarded(call, || once(core, signer, &what, &url, &region, put)).await? {
            Answer::Body(body) => return Ok((region, body)),
            Answer::In(home) => region = home,
        }
    }
    Err(PortError::Unavailable(format!("{what}: no region has it")))
}

enum Answer {
    Body(Vec<u8>),
    /// Not here: its bucket is in this region.
    In(String),
}

async fn once(
    core: &Core,
    signer: &Signer,
    what: &str,
    url: &str,
    region: &str,
    put: Option<&str>,
) -> Result<Answer, Failed> {
    let body = put.unwrap_or_default().as_bytes();
    let identity = signer.credentials(core, what).await?.into();
    let mut settings = SigningSettings::default();
    settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
    settings.percent_encoding_mode = PercentEncodingMode::Single;
    settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
    let signature = || -> Result<_, Box<dyn std::error::Error + Send + Sync>> {
        let params = v4::SigningParams::builder()
            .identity(&identity)
            .region(region)
            .name("s3")
            .time(SystemTime::now())
            .settings(settings)
            .build()?
            .into();
        let method = if put.is_some() { "PUT" } else { "GET" };
        let request = SignableRequest::new(method, url, std::iter::empty(), SignableBody::Bytes(body))?;
        let (instructions, _) = sign(request, &params)?.into_parts();
        Ok(instructions.headers().map(|(name, value)| (name.to_owned(), value.to_owned())).collect::<Vec<_>>())
    };
    let headers = signature().map_err(|error| PortError::Bug(format!("{what}: cannot be signed: {error}")))?;
    let http = signer.http()?;
    let mut request = match put {
        Some(text) => http.put(url).body(text.to_owned()),
        None => http.get(url),
    };
    request = request.timeout(crate::config::CALL_TIMEOUT);
    for (name, value) in headers {
        request = request.header(name, value);
    }
    let unanswered = |error: reqwest::Error| PortError::Unavailable(format!("{what}: {}", chain(&error.without_url())));
    let mut response = request.send().await.map_err(unanswered)?;
    let status = response.status().as_u16();
    let home = response.headers().get("x-amz-bucket-region").and_then(|value| value.to_str().ok());
    let home = home.filter(|home| *home != region).map(str::to_owned);
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(unanswered)? {
        body.extend_from_slice(&chunk);
        if body.len() > LARGEST {
            return Err(PortError::Invalid(format!("{what}: larger than {LARGEST} bytes")).into());
        }
    }
    match (status, home) {
        (200..300, _) => Ok(Answer::Body(body)),
        (300..500, Some(home)) => Ok(Answer::In(home)),
        _ => {
            let text = String::from_utf8_lossy(&body);
            let (code, message) = (xml(&text, "Code"), xml(&text, "Message"));
            Err(answered(what, status, &code.unwrap_or_default(), &message.unwrap_or_default()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_has_one_url() {
        assert_eq!(
            url(None, "eu-west-1", "acme", "a b/c.json"),
            "https://s3.eu-west-1.amazonaws.com/acme/a%20b/c.json"
        );
        assert_eq!(url(None, "cn-north-1", "acme", "c"), "https://s3.cn-north-1.amazonaws.com.cn/acme/c");
        assert_eq!(url(Some("http://127.0.0.1:1/"), "eu-west-1", "acme", "c"), "http://127.0.0.1:1/acme/c");
    }
}
