//! S3 over HTTP, as little of it as is needed: read one object, write one on a condition, delete one.
//!
//! Not `aws-sdk-s3`: its outputs leave out the `Date` header that leases are judged by, and three requests do not pay for
//! its compile time. Credentials, region and endpoint are still the SDK's own chain.
//!
//! Reads are sent again here until they are answered. A write is sent once: whether one without an answer happened is for
//! `crate::cell` to find out.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use aws_config::timeout::TimeoutConfig;
use aws_config::{AppName, BehaviorVersion, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::ProvideCredentials as _;
use bytes::Bytes;
use landfall_ports::chain;
use reqwest::{Method, Url};

use crate::address::Address;
use crate::backoff::Backoff;
use crate::clock::{Bounds, S3Clock, parse_date};
use crate::sign::{encoded, signature};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const TIMEOUT: Duration = Duration::from_secs(10);
/// A request that is not answered well is sent again for so long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(8);
/// Kept no longer than this, however long they are valid, and not when they are about to end.
const KEEP_CREDENTIALS: Duration = Duration::from_secs(900);
const ABOUT_TO_END: Duration = Duration::from_secs(60);
/// Larger objects are not ours.
const LARGEST: usize = 64 * 1024 * 1024;

/// Why S3 did not do what was asked.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Failure {
    /// Nobody answered, or S3 is busy: try again.
    #[error("{0}")]
    Unavailable(String),
    /// No credentials, or not the right to do it: a person must act.
    #[error("{0}")]
    Denied(String),
    #[error("{0}")]
    NoBucket(String),
    /// An object that is not what we write.
    #[error("{0}")]
    Corrupt(String),
}

#[derive(Debug)]
pub(crate) enum Got {
    /// As it was when it had the tag that was given.
    Same,
    Found {
        etag: String,
        body: Bytes,
    },
    Missing,
}

/// What must hold for a write to happen.
#[derive(Debug, Clone, Copy)]
pub(crate) enum If<'a> {
    Absent,
    Tag(&'a str),
    Anyway,
}

#[derive(Debug)]
pub(crate) enum Put {
    Done {
        etag: String,
    },
    /// The condition does not hold, or somebody else wrote at the same moment. An attempt before this one may have made it so.
    Lost,
    /// Throttled, failed or unanswered: it may have happened, or may yet.
    Unknown(String),
}

pub(crate) struct Client {
    http: reqwest::Client,
    sdk: SdkConfig,
    address: Address,
    /// Instead of AWS's own, with the bucket in the path.
    endpoint: Option<Url>,
    /// The bucket's, once S3 told.
    region: Mutex<String>,
    credentials: tokio::sync::Mutex<Option<(Credentials, Instant)>>,
    clock: S3Clock,
}

struct Answer {
    status: u16,
    etag: Option<String>,
    body: Bytes,
}

impl Client {
    /// Nothing is asked of S3 yet. `sdk`: instead of what the environment says.
    pub(crate) async fn connect(address: Address, sdk: Option<SdkConfig>) -> Result<Self, Failure> {
        // Another part of the process may have been first: any provider will do.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let http = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(TIMEOUT)
            .build()
            .map_err(|error| Failure::Unavailable(format!("HTTP client: {error}")))?;
        let sdk = match sdk {
            Some(sdk) => sdk,
            None => load_config().await,
        };
        let endpoint = endpoint(&sdk);
        let endpoint = endpoint
            .map(|text| Url::parse(&text).map_err(|error| Failure::Denied(format!("endpoint {text} for S3: {error}"))))
            .transpose()?;
        // A wrong guess costs one request: S3 answers with the bucket's region.
        let region = sdk.region().map_or_else(|| "us-east-1".to_owned(), ToString::to_string);
        let (region, credentials, clock) = (Mutex::new(region), tokio::sync::Mutex::default(), S3Clock::default());
        Ok(Self { http, sdk, address, endpoint, region, credentials, clock })
    }

    pub(crate) fn address(&self) -> &Address {
        &self.address
    }

    /// Bounds of S3's clock. There was an answer before anything asks.
    pub(crate) fn now(&self) -> Result<Bounds, Failure> {
        self.clock.bounds().ok_or_else(|| Failure::Unavailable("S3 has not told its time yet".to_owned()))
    }

    /// # Errors
    /// Anything but an answer that says how it is.
    pub(crate) async fn get(&self, name: &str, etag: Option<&str>) -> Result<Got, Failure> {
        let what = self.what("GetObject", name);
        let condition = etag.map(|etag| ("if-none-match", etag));
        let mut backoff = Backoff::new(PATIENCE);
        loop {
            let failure = match self.send(&what, Method::GET, name, condition, Bytes::new()).await {
                Ok(answer) => match (answer.status, answer.etag) {
                    (200, Some(etag)) => return Ok(Got::Found { etag, body: answer.body }),
                    (304, _) => return Ok(Got::Same),
                    (404, _) if code_of(&answer.body) != "NoSuchBucket" => return Ok(Got::Missing),
                    (status, _) => self.failure(&what, status, &answer.body),
                },
                Err(failure) => failure,
            };
            if !matches!(failure, Failure::Unavailable(_)) || !backoff.wait().await {
                return Err(failure);
            }
            tracing::debug!(%failure, "asked again");
        }
    }

    /// Sends it once.
    ///
    /// # Errors
    /// It did not happen, and trying again does not help.
    pub(crate) async fn put(&self, name: &str, body: Bytes, condition: If<'_>) -> Result<Put, Failure> {
        let what = self.what("PutObject", name);
        let condition = match condition {
            If::Absent => Some(("if-none-match", "*")),
            If::Tag(etag) => Some(("if-match", etag)),
            If::Anyway => None,
        };
        let answer = match self.send(&what, Method::PUT, name, condition, body).await {
            Ok(answer) => answer,
            Err(Failure::Unavailable(why)) => return Ok(Put::Unknown(why)),
            Err(failure) => return Err(failure),
        };
        match (answer.status, answer.etag) {
            (200, Some(etag)) => Ok(Put::Done { etag }),
            // 404: a replacement of what is not there (any more).
            (412, _) => Ok(Put::Lost),
            (409, _) if code_of(&answer.body) == "ConditionalRequestConflict" => Ok(Put::Lost),
            (404, _) if code_of(&answer.body) == "NoSuchKey" => Ok(Put::Lost),
            (status, _) => match self.failure(&what, status, &answer.body) {
                Failure::Unavailable(why) => Ok(Put::Unknown(why)),
                failure => Err(failure),
            },
        }
    }

    /// # Errors
    /// It may still be there.
    pub(crate) async fn delete(&self, name: &str) -> Result<(), Failure> {
        let what = self.what("DeleteObject", name);
        let mut backoff = Backoff::new(PATIENCE);
        loop {
            let failure = match self.send(&what, Method::DELETE, name, None, Bytes::new()).await {
                Ok(answer) if matches!(answer.status, 200..=299 | 404) => return Ok(()),
                Ok(answer) => self.failure(&what, answer.status, &answer.body),
                Err(failure) => failure,
            };
            if !matches!(failure, Failure::Unavailable(_)) || !backoff.wait().await {
                return Err(failure);
            }
        }
    }

    fn what(&self, action: &str, name: &str) -> String {
        format!("s3:{action} on s3://{}/{}", self.address.bucket, self.address.key(name))
    }

    /// One request, and once more where S3 says that the bucket is in another region.
    async fn send(
        &self,
        what: &str,
        method: Method,
        name: &str,
        condition: Option<(&str, &str)>,
        body: Bytes,
    ) -> Result<Answer, Failure> {
        let first = self.send_to_region(what, method.clone(), name, condition, body.clone()).await?;
        match first {
            Ok(answer) => Ok(answer),
            Err(region) => {
                tracing::debug!(region, "the bucket is in another region");
                *self.region.lock().unwrap_or_else(PoisonError::into_inner) = region;
                let again = self.send_to_region(what, method, name, condition, body).await?;
                again.map_err(|region| Failure::Unavailable(format!("{what}: sent from region to region, to {region}")))
            }
        }
    }

    /// `Err` inside: the region where the bucket is instead.
    async fn send_to_region(
        &self,
        what: &str,
        method: Method,
        name: &str,
        condition: Option<(&str, &str)>,
        body: Bytes,
    ) -> Result<Result<Answer, String>, Failure> {
        let region = self.region.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let url = self.url(name, &region);
        let credentials = self.credentials(what).await?;
        let headers: Vec<(&str, &str)> = condition.into_iter().collect();
        let signed = signature(&credentials, method.as_str(), &url, &region, &headers, &body, SystemTime::now())
            .map_err(|error| Failure::Denied(format!("{what}: cannot be signed: {error}")))?;
        let unanswered = |error: reqwest::Error| {
            let why = if error.is_timeout() { "no answer in time".to_owned() } else { chain(&error.without_url()) };
            Failure::Unavailable(format!("{what}: {why}"))
        };
        let mut request = self.http.request(method, &url).body(body);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        for (name, value) in signed {
            request = request.header(name, value);
        }
        let sent = Instant::now();
        let mut response = request.send().await.map_err(unanswered)?;
        let arrived = Instant::now();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        if let Some(date) = header("date").and_then(parse_date) {
            self.clock.observe(date, sent, arrived);
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(unanswered)? {
            body.extend_from_slice(&chunk);
            if body.len() > LARGEST {
                return Err(Failure::Corrupt(format!("{what}: more than {LARGEST} bytes: not an object of Landfall")));
            }
        }
        if matches!(status, 301 | 307 | 400) {
            let told = header("x-amz-bucket-region").map(str::to_owned).or_else(|| xml(&body, "Region"));
            if let Some(other) = told.filter(|other| *other != region) {
                return Ok(Err(other));
            }
        }
        let etag = header("etag").map(str::to_owned);
        Ok(Ok(Answer { status, etag, body: body.into() }))
    }

    /// The bucket in the path where an endpoint was given, or where its dots would not fit S3's certificate.
    fn url(&self, name: &str, region: &str) -> String {
        let path = encoded(&self.address.key(name));
        let bucket = &self.address.bucket;
        if let Some(endpoint) = &self.endpoint {
            return format!("{}/{bucket}/{path}", endpoint.as_str().trim_end_matches('/'));
        }
        let domain = if region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" };
        match bucket.contains('.') {
            true => format!("https://s3.{region}.{domain}/{bucket}/{path}"),
            false => format!("https://{bucket}.s3.{region}.{domain}/{path}"),
        }
    }

    async fn credentials(&self, what: &str) -> Result<Credentials, Failure> {
        let mut kept = self.credentials.lock().await;
        if let Some((credentials, since)) = &*kept
            && since.elapsed() < KEEP_CREDENTIALS
            && credentials.expiry().is_none_or(|end| end > SystemTime::now() + ABOUT_TO_END)
        {
            return Ok(credentials.clone());
        }
        let provider = self.sdk.credentials_provider();
        let provider = provider.ok_or_else(|| Failure::Denied(format!("{what}: no AWS credentials are configured")))?;
        let credentials = provider.provide_credentials().await.map_err(|error| {
            let text = format!("{what}: no AWS credentials: {}", chain(&error));
            use aws_credential_types::provider::error::CredentialsError as E;
            match error {
                E::CredentialsNotLoaded(_) | E::InvalidConfiguration(_) => Failure::Denied(format!(
                    "{text} (give a profile, AWS_ACCESS_KEY_ID, a web identity or a role; `aws sts get-caller-identity` tries \
                     the same chain)"
                )),
                _ => Failure::Unavailable(text),
            }
        })?;
        *kept = Some((credentials.clone(), Instant::now()));
        Ok(credentials)
    }

    fn failure(&self, what: &str, status: u16, body: &[u8]) -> Failure {
        let (code, message) = (code_of(body), xml(body, "Message").unwrap_or_default());
        let text = match code.as_str() {
            "" => format!("{what}: HTTP {status}"),
            code => format!("{what}: {code}: {message}"),
        };
        match (status, code.as_str()) {
            (_, "NoSuchBucket") => Failure::NoBucket(text),
            (_, "RequestTimeTooSkewed") => Failure::Denied(format!("{text} (this machine's clock is off by minutes)")),
            (_, "ExpiredToken" | "TokenRefreshRequired") => Failure::Denied(format!("{text} (get new credentials)")),
            (429 | 500.., _) | (_, "RequestTimeout" | "OperationAborted" | "SlowDown") => Failure::Unavailable(text),
            (404, _) => Failure::Unavailable(text),
            (403, _) => Failure::Denied(format!(
                "{text} (the state needs s3:GetObject, s3:PutObject and s3:DeleteObject on its objects, s3:ListBucket on the \
                 bucket, and the rights to its KMS key where it has one: docs/state-s3.md)"
            )),
            _ => Failure::Denied(text),
        }
    }
}

async fn load_config() -> SdkConfig {
    let timeouts = TimeoutConfig::builder().connect_timeout(CONNECT_TIMEOUT).operation_timeout(TIMEOUT).build();
    let mut loader = aws_config::defaults(BehaviorVersion::latest()).timeout_config(timeouts);
    if let Ok(name) = AppName::new("landfall") {
        loader = loader.app_name(name);
    }
    loader.load().await
}

/// `AWS_ENDPOINT_URL_S3` or the profile's for S3, else the one for every service.
fn endpoint(sdk: &SdkConfig) -> Option<String> {
    let key = aws_types::service_config::ServiceConfigKey::builder();
    let key = key.service_id("S3").profile("endpoint_url").env("AWS_ENDPOINT_URL").build().ok();
    let own = key.and_then(|key| sdk.service_config().and_then(|config| config.load_config(key)));
    own.or_else(|| sdk.endpoint_url().map(str::to_owned))
}

fn code_of(body: &[u8]) -> String {
    xml(body, "Code").unwrap_or_default()
}

/// The text of the first element of that name.
fn xml(body: &[u8], name: &str) -> Option<String> {
    let body = String::from_utf8_lossy(body);
    let (_, rest) = body.split_once(&format!("<{name}>"))?;
    let (text, _) = rest.split_once(&format!("</{name}>"))?;
    Some(text.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&amp;", "&"))
}
