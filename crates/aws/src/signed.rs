//! The few calls to services whose SDK clients are too heavy to compile, signed by hand (Signature Version 4) and sent through
//! the same budgets, with errors mapped the same way.

use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_credential_types::provider::ProvideCredentials as _;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use landfall_ports::{PortError, PortResult, chain};
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::call::Call;
use crate::core::Core;
use crate::error::{Failed, answered, without_credentials};
use crate::http::Http;
use crate::xml::Element;

/// Kept no longer than this, however long they are valid, and not when they are about to end: as the SDK's own cache.
const KEEP_CREDENTIALS: Duration = Duration::from_secs(900);
const ABOUT_TO_END: Duration = Duration::from_secs(10);
/// Lambda's largest answer is 6 MiB.
const LARGEST_ANSWER: usize = 8 * 1024 * 1024;
/// Of EC2's listings, which answer a thousand to a page.
const MOST_PAGES: usize = 100;

pub(crate) struct Signer {
    http: Http,
    credentials: Mutex<Option<(Credentials, Instant)>>,
}

/// A POST.
pub(crate) struct Request<'a> {
    /// The service's name in signatures and host names: `ssm`.
    pub service: &'static str,
    pub region: &'a str,
    /// Percent-encoded.
    pub path: &'a str,
    pub headers: &'a [(&'static str, &'a str)],
    pub body: &'a [u8],
    pub timeout: Duration,
}

impl<'a> Request<'a> {
    /// Where the JSON 1.1 and the query protocol send everything.
    fn to_root(call: Call<'_>, region: &'a str, headers: &'a [(&'static str, &'a str)], body: &'a str) -> Self {
        // CloudWatch has another name in signatures and hosts than IAM has for it.
        let service = if call.service == "cloudwatch" { "monitoring" } else { call.service };
        let timeout = crate::config::CALL_TIMEOUT;
        Self { service, region, path: "/", headers, body: body.as_bytes(), timeout }
    }
}

pub(crate) struct Answer {
    pub headers: reqwest::header::HeaderMap,
    pub status: u16,
    pub body: Vec<u8>,
}

impl Signer {
    pub(crate) fn new(http: Http) -> Self {
        Self { http, credentials: Mutex::new(None) }
    }

    /// # Errors
    /// Anything but a 2xx; throttled requests are sent again first.
    pub(crate) async fn call(&self, core: &Core, call: Call<'_>, request: &Request<'_>) -> Result<Answer, Failed> {
        self.call_hiding(core, call, request, &[]).await
    }

    /// As `call`. AWS may repeat what it refuses ("Value 'hunter2' at 'value' failed to satisfy constraint"): what is hidden never
    /// gets into an error, nor into the span that records it.
    pub(crate) async fn call_hiding(
        &self,
        core: &Core,
        call: Call<'_>,
        request: &Request<'_>,
        hidden: &[&str],
    ) -> Result<Answer, Failed> {
        let what = call.what();
        core.caller.guarded(call, || self.once(core, &what, request, hidden)).await
    }

    async fn once(&self, core: &Core, what: &str, request: &Request<'_>, hidden: &[&str]) -> Result<Answer, Failed> {
        let url = format!("{}{}", endpoint(core.sdk.endpoint_url(), request.service, request.region), request.path);
        let credentials = self.credentials(core, what).await?;
        let signature = signature(&credentials, &url, request, SystemTime::now())
            .map_err(|error| PortError::Bug(format!("{what}: cannot be signed: {error}")))?;
        let mut post = self.http.get()?.post(&url).timeout(request.timeout).body(request.body.to_vec());
        for (name, value) in request.headers {
            post = post.header(*name, *value);
        }
        for (name, value) in signature {
            post = post.header(name, value);
        }
        let unanswered = |error: reqwest::Error| {
            let why = if error.is_timeout() { "no answer in time".to_owned() } else { chain(&error.without_url()) };
            Failed::from(PortError::Unavailable(format!("{what}: {why}")))
        };
        let mut response = post.send().await.map_err(unanswered)?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(unanswered)? {
            body.extend_from_slice(&chunk);
            if body.len() > LARGEST_ANSWER {
                return Err(PortError::Unavailable(format!("{what}: an answer without end")).into());
            }
        }
        if (200..300).contains(&status) {
            return Ok(Answer { headers, status, body });
        }
        let error_type = headers.get("x-amzn-errortype").and_then(|value| value.to_str().ok());
        let (code, message) = error_of(error_type, &String::from_utf8_lossy(&body));
        Err(answered(what, status, &without(&code, hidden), &without(&message, hidden)))
    }

    pub(crate) fn http(&self) -> PortResult<&reqwest::Client> {
        self.http.get()
    }

    pub(crate) async fn credentials(&self, core: &Core, what: &str) -> Result<Credentials, Failed> {
        let mut kept = self.credentials.lock().await;
        if let Some((credentials, since)) = &*kept
            && since.elapsed() < KEEP_CREDENTIALS
            && credentials.expiry().is_none_or(|end| end > SystemTime::now() + ABOUT_TO_END)
        {
            return Ok(credentials.clone());
        }
        let provider = core.sdk.credentials_provider();
        let provider =
            provider.ok_or_else(|| PortError::Denied(format!("{what}: no AWS credentials are configured")))?;
        let credentials = provider.provide_credentials().await.map_err(|error| without_credentials(what, &error))?;
        *kept = Some((credentials.clone(), Instant::now()));
        Ok(credentials)
    }
}

fn without(text: &str, hidden: &[&str]) -> String {
    hidden.iter().filter(|value| !value.is_empty()).fold(text.to_owned(), |text, value| text.replace(value, "…"))
}

/// Without a path.
pub(crate) fn endpoint(given: Option<&str>, service: &str, region: &str) -> String {
    match given {
        Some(given) => given.trim_end_matches('/').to_owned(),
        // One for all regions.
        None if service == "iam" && region.starts_with("cn-") => "https://iam.cn-north-1.amazonaws.com.cn".to_owned(),
        None if service == "iam" => "https://iam.amazonaws.com".to_owned(),
        None if region.starts_with("cn-") => format!("https://{service}.{region}.amazonaws.com.cn"),
        None => format!("https://{service}.{region}.amazonaws.com"),
    }
}

/// The headers that sign `request`.
fn signature(
    credentials: &Credentials,
    url: &str,
    request: &Request<'_>,
    time: SystemTime,
) -> Result<Vec<(String, String)>, Box<dyn std::error::Error + Send + Sync>> {
    let identity = credentials.clone().into();
    let params = v4::SigningParams::builder()
        .identity(&identity)
        .region(request.region)
        .name(request.service)
        .time(time)
        .settings(SigningSettings::default())
        .build()?
        .into();
    let headers = request.headers.iter().map(|(name, value)| (*name, *value));
    let signable = SignableRequest::new("POST", url, headers, SignableBody::Bytes(request.body))?;
    let (instructions, _) = sign(signable, &params)?.into_parts();
    Ok(instructions.headers().map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
}

/// Code and message of an answer that is an error, in the JSON protocols or in the query protocol's XML.
fn error_of(error_type: Option<&str>, body: &str) -> (String, String) {
    let json: serde_json::Value = serde_json::from_str(body).unwrap_or_default();
    let field = |names: &[&str]| names.iter().find_map(|name| json[*name].as_str()).map(str::to_owned);
    let code = error_type.map(str::to_owned).or_else(|| field(&["__type", "code", "Code"]));
    let code = code.or_else(|| xml(body, "Code")).unwrap_or_default();
    let message = field(&["message", "Message", "errorMessage"]).or_else(|| xml(body, "Message"));
    (code, message.unwrap_or_default())
}

/// The text of the first element of that name.
pub(crate) fn xml(body: &str, name: &str) -> Option<String> {
    let (_, rest) = body.split_once(&format!("<{name}>"))?;
    let (text, _) = rest.split_once(&format!("</{name}>"))?;
    let text = text.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&apos;", "'");
    Some(text.replace("&amp;", "&"))
}

/// All but what RFC 3986 leaves unreserved, as signatures want it.
pub(crate) fn percent_encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// The region that an ARN names, for what may be elsewhere than the target.
pub(crate) fn region_of<'a>(name: &'a str, default: &'a str) -> &'a str {
    let region = name.strip_prefix("arn:").and_then(|rest| rest.split(':').nth(2));
    region.filter(|region| !region.is_empty()).unwrap_or(default)
}

/// One call of a JSON 1.1 service.
pub(crate) async fn json(
    signer: &Signer,
    core: &Core,
    call: Call<'_>,
    region: &str,
    target: &str,
    body: &serde_json::Value,
) -> PortResult<serde_json::Value> {
    json_hiding(signer, core, call, region, target, body, &[]).await
}

/// As `json`, with what no error may repeat.
pub(crate) async fn json_hiding(
    signer: &Signer,
    core: &Core,
    call: Call<'_>,
    region: &str,
    target: &str,
    body: &serde_json::Value,
    hidden: &[&str],
) -> PortResult<serde_json::Value> {
    let headers = [("content-type", "application/x-amz-json-1.1"), ("x-amz-target", target)];
    let body = body.to_string();
    let answer = signer.call_hiding(core, call, &Request::to_root(call, region, &headers, &body), hidden).await?;
    serde_json::from_slice(&answer.body)
        .map_err(|error| PortError::Unavailable(format!("{}: not JSON: {error}", call.what())))
}

/// One call of a query service; the answer is XML.
pub(crate) async fn query(
    signer: &Signer,
    core: &Core,
    call: Call<'_>,
    region: &str,
    version: &str,
    parameters: &[(String, String)],
) -> Result<String, Failed> {
    let mut body = format!("Action={}&Version={version}", call.action);
    for (name, value) in parameters {
        body.push_str(&format!("&{}={}", percent_encoded(name), percent_encoded(value)));
    }
    let headers = [("content-type", "application/x-www-form-urlencoded")];
    let answer = signer.call(core, call, &Request::to_root(call, region, &headers, &body)).await?;
    Ok(String::from_utf8_lossy(&answer.body).into_owned())
}

/// EC2's version of its API.
pub(crate) const EC2: &str = "2016-11-15";

/// Names and values of a request to a query service.
pub(crate) type Form = Vec<(String, String)>;

pub(crate) fn form<const N: usize>(fields: [(&str, &str); N]) -> Form {
    fields.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
}

/// As `query`, with the answer read.
pub(crate) async fn asked(
    signer: &Signer,
    core: &Core,
    call: Call<'_>,
    version: &str,
    form: &Form,
) -> Result<Element, Failed> {
    let answer = query(signer, core, call, &core.region, version, form).await?;
    let root = Element::parse(&answer);
    Ok(root.ok_or_else(|| PortError::Unavailable(format!("{}: the answer is no XML", call.what())))?)
}

/// All pages of a listing of EC2, and of each the items of this list.
pub(crate) async fn pages(
    signer: &Signer,
    core: &Core,
    call: Call<'_>,
    list: &str,
    form: &Form,
) -> PortResult<Vec<Element>> {
    let (mut all, mut parameters) = (Vec::new(), form.clone());
    for _ in 0..MOST_PAGES {
        let page = asked(signer, core, call, EC2, &parameters).await?;
        all.extend(page.items(list).cloned());
        let Some(next) = page.get("nextToken") else { return Ok(all) };
        parameters = [form.clone(), vec![("NextToken".to_owned(), next)]].concat();
    }
    Err(PortError::Unavailable(format!("{}: a listing without an end", call.what())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_all_protocols_are_read() {
        let of = |kind, body| error_of(kind, body);
        assert_eq!(
            of(None, r#"{"__type":"com.amazonaws.ssm#ParameterNotFound","message":"no"}"#),
            ("com.amazonaws.ssm#ParameterNotFound".to_owned(), "no".to_owned())
        );
        assert_eq!(
            of(Some("ResourceNotFoundException:http://x"), r#"{"Message":"Function not found"}"#),
            ("ResourceNotFoundException:http://x".to_owned(), "Function not found".to_owned())
        );
        let body = "<ErrorResponse><Error><Type>Sender</Type><Code>NotFound</Code><Message>a &lt;b&gt; &amp; c</Message></Error>";
        assert_eq!(of(None, body), ("NotFound".to_owned(), "a <b> & c".to_owned()));
        assert_eq!(of(None, "<html>"), (String::new(), String::new()));
    }

    #[test]
    fn what_aws_repeats_is_taken_out() {
        let said = "Value 'hunter2' at 'value' failed to satisfy constraint";
        assert_eq!(without(said, &["", "hunter2"]), "Value '…' at 'value' failed to satisfy constraint");
    }

    #[test]
    fn endpoints_and_regions() {
        assert_eq!(endpoint(None, "sns", "eu-west-1"), "https://sns.eu-west-1.amazonaws.com");
        assert_eq!(endpoint(None, "iam", "us-east-1"), "https://iam.amazonaws.com");
        assert_eq!(endpoint(None, "sns", "cn-north-1"), "https://sns.cn-north-1.amazonaws.com.cn");
        assert_eq!(endpoint(Some("http://127.0.0.1:4566/"), "sns", "eu-west-1"), "http://127.0.0.1:4566");
        assert_eq!(region_of("arn:aws:sns:us-east-1:1:t", "eu-west-1"), "us-east-1");
        assert_eq!(region_of("/parameter", "eu-west-1"), "eu-west-1");
        assert_eq!(percent_encoded("arn:aws:lambda/f o+é"), "arn%3Aaws%3Alambda%2Ff%20o%2B%C3%A9");
    }

    /// The published example of Signature Version 4, "get-vanilla" made a POST: the signature has the scope, the signed
    /// headers and the session token where there is one.
    #[test]
    fn a_request_is_signed_for_its_region_and_service() {
        let token = Some("t0ken".to_owned());
        let credentials =
            Credentials::new("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", token, None, "test");
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_440_938_160);
        let request = Request {
            service: "sns",
            region: "us-east-1",
            path: "/",
            headers: &[("content-type", "application/x-www-form-urlencoded")],
            body: b"Action=Publish",
            timeout: Duration::from_secs(1),
        };
        let headers = signature(&credentials, "https://sns.us-east-1.amazonaws.com/", &request, time).unwrap();
        let get = |name: &str| headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str());
        assert_eq!(get("x-amz-date"), Some("20150830T123600Z"));
        assert_eq!(get("x-amz-security-token"), Some("t0ken"));
        let authorization = get("authorization").unwrap();
        let begin = "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/sns/aws4_request, SignedHeaders=content-type;host;";
        assert!(authorization.starts_with(begin), "{authorization}");
    }
}
