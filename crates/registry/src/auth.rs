//! Logging in to a registry: what its challenge asks for, from what we have.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use landfall_ports::{PortError, PortResult, chain};
use reqwest::header::{CONTENT_TYPE, HeaderValue};
use reqwest::{RequestBuilder, Url};
use serde::Deserialize;
use tokio::time::Instant;

use crate::challenge::Challenge;
use crate::codes;
use crate::credentials::{Login, Secret};
use crate::http::{ANSWER, Action, Failure, Header, Transport, said};
use crate::reference::{Repository, is_this_machine};
use crate::retry;

/// The distribution specification's default.
const LIFETIME: u64 = 60;
/// A name for us; registries log it.
const CLIENT: &str = "landfall";

#[derive(Deserialize)]
struct Token {
    /// The older name.
    token: Option<String>,
    access_token: Option<String>,
    expires_in: Option<u64>,
}

fn header(text: &str) -> PortResult<HeaderValue> {
    let mut value = HeaderValue::from_str(text)
        .map_err(|_| PortError::Invalid(format!("{}: a login that fits into no header", codes::DENIED)))?;
    value.set_sensitive(true);
    Ok(value)
}

fn basic(user: &str, password: &Secret) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{}", password.expose())))
}

/// `a=b&c=d` with what needs it escaped.
fn form(pairs: &[(&str, &str)]) -> PortResult<String> {
    let mut url = Url::parse("http://form/").map_err(|e| PortError::Bug(e.to_string()))?;
    url.query_pairs_mut().extend_pairs(pairs);
    Ok(url.query().unwrap_or_default().to_owned())
}

impl Transport {
    pub(crate) async fn log_in(
        &self,
        repository: &Repository,
        action: Action<'_>,
        challenge: &Challenge,
    ) -> Result<Header, Failure> {
        // Who listens between may be whoever asks for the login: neither it nor a token that it gives goes over plain HTTP.
        let open = repository.plain && !is_this_machine(&repository.registry);
        let (login, lifetime) = if open { (None, None) } else { self.login(repository).await? };
        let until = lifetime.map(|lifetime| Instant::now() + lifetime);
        match (challenge, login) {
            (_, Some(Login::Bearer(token))) => {
                Ok(Header { value: header(&format!("Bearer {}", token.expose()))?, until: None })
            }
            (Challenge::Basic, Some(Login::Basic { user, password })) => {
                Ok(Header { value: header(&basic(&user, &password))?, until })
            }
            (Challenge::Basic, _) if open => Err(Failure::Final(self.denied(
                repository,
                "that it wants a login; none is sent over plain HTTP to another machine: leave http:// out, or tunnel it to this one",
            ))),
            (Challenge::Basic, _) => {
                Err(Failure::Final(self.denied(repository, "that it wants a user and a password")))
            }
            (Challenge::Bearer { realm, service, scope }, login) => {
                let mut scopes = action.scopes(&repository.name);
                // A registry that names things differently knows best.
                if let Some(scope) = scope.as_ref().filter(|scope| !scope.starts_with("repository:")) {
                    scopes.push(scope.clone());
                }
                self.token(repository, realm, service.as_deref(), &scopes, login).await
            }
        }
    }

    async fn login(&self, repository: &Repository) -> PortResult<(Option<Login>, Option<Duration>)> {
        if let Some(cloud) = self.cloud.as_ref().filter(|cloud| cloud.serves(&repository.registry)) {
            let login = cloud.login(&repository.registry).await?;
            // A tenth earlier: a layer may take a while.
            let lifetime = login.lifetime.mul_f64(0.9);
            return Ok((
                Some(Login::Basic { user: login.user, password: Secret::new(login.password) }),
                Some(lifetime),
            ));
        }
        Ok((self.places.login(repository).await?, None))
    }

    async fn token(
        &self,
        repository: &Repository,
        realm: &str,
        service: Option<&str>,
        scopes: &[String],
        login: Option<Login>,
    ) -> Result<Header, Failure> {
        let bad = |why: String| PortError::Invalid(format!("{}: {repository}: {why}", codes::DENIED));
        let realm = Url::parse(realm).map_err(|e| bad(format!("its realm {realm:?} is no URL: {e}")))?;
        let near = || login.is_none() || is_this_machine(realm.host_str().unwrap_or_default());
        if realm.scheme() != "https" && !(repository.plain && realm.scheme() == "http" && near()) {
            return Err(Failure::Final(bad(format!("it wants a login at {realm} without TLS"))));
        }
        let service = service.into_iter().map(|service| ("service", service));
        let scopes: Vec<(&str, &str)> = service.chain(scopes.iter().map(|scope| ("scope", scope.as_str()))).collect();
        let http = self.http(&realm)?;
        let request = || -> PortResult<RequestBuilder> {
            Ok(match &login {
                Some(Login::Identity(token)) => {
                    // OAuth2 has one scope with spaces.
                    let spaced: Vec<&str> =
                        scopes.iter().filter(|(name, _)| *name == "scope").map(|(_, text)| *text).collect();
                    let spaced = spaced.join(" ");
                    let mut pairs =
                        vec![("grant_type", "refresh_token"), ("refresh_token", token.expose()), ("client_id", CLIENT)];
                    pairs.push(("scope", &spaced));
                    pairs.extend(scopes.iter().filter(|(name, _)| *name == "service"));
                    http.post(realm.clone())
                        .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
                        .body(form(&pairs)?)
                }
                login => {
                    let mut url = realm.clone();
                    url.query_pairs_mut().extend_pairs(&scopes);
                    let mut request = http.get(url);
                    if let Some(Login::Basic { user, password }) = login {
                        request = request.header(reqwest::header::AUTHORIZATION, header(&basic(user, password))?);
                    }
                    request
                }
            }
            .timeout(ANSWER))
        };
        let mut tried = 0;
        let response = loop {
            tried += 1;
            let last = match request()?.send().await {
                Ok(response) if retry::passes_by_itself(response.status().as_u16()) => Err(response),
                Ok(response) => break response,
                Err(e) => Ok(format!("token: {}", chain(&e.without_url()))),
            };
            self.pause(repository, tried, "logging in", last).await?;
        };
        if !response.status().is_success() {
            let who = if login.is_some() { "the login" } else { "nobody" };
            return Err(Failure::Final(self.denied(repository, &format!("for {who} with {}", said(response).await))));
        }
        let asked = Instant::now();
        let token: Token = response.json().await.map_err(|_| Failure::Cut("the token is not JSON".to_owned()))?;
        let lifetime = Duration::from_secs(token.expires_in.unwrap_or(LIFETIME).max(10));
        let text = token.token.filter(|text| !text.is_empty()).or(token.access_token);
        let text = text.ok_or_else(|| bad("its token service gave none".to_owned()))?;
        Ok(Header { value: header(&format!("Bearer {text}"))?, until: Some(asked + lifetime.mul_f64(0.9)) })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    #[test]
    fn headers_and_forms() {
        assert_eq!(basic("user", &Secret::new("pa:ss")), "Basic dXNlcjpwYTpzcw==");
        assert!(format!("{:?}", header("Bearer s3cret").unwrap()).contains("Sensitive"));
        assert!(header("Bearer a\nb").is_err());
        assert_eq!(form(&[("scope", "a:b,c d"), ("x", "&=")]).unwrap(), "scope=a%3Ab%2Cc+d&x=%26%3D");
    }

    /// One that knows a login for every registry of these tests.
    fn transport() -> Transport {
        let entry = format!(r#"{{"auth":"{}"}}"#, STANDARD.encode("somebody:canary-29"));
        let text = format!(r#"{{"auths":{{"r.example":{entry},"127.0.0.1:5000":{entry}}}}}"#);
        let places = crate::credentials::Places { text: Some(Secret::new(text)), files: Vec::new() };
        Transport::new(places, None, std::sync::Arc::new(crate::watch::Quiet))
    }

    fn repository(text: &str) -> Repository {
        crate::reference::Reference::parse(text).unwrap().repository
    }

    fn told(failure: Result<Header, Failure>) -> String {
        match failure {
            Ok(_) => panic!("logged in"),
            Err(Failure::Cut(why)) => why,
            Err(Failure::Final(error)) => error.to_string(),
        }
    }

    #[tokio::test]
    async fn no_login_goes_over_plain_http_to_another_machine() {
        let transport = transport();
        let basic = Challenge::Basic;
        let refused = told(transport.log_in(&repository("http://r.example/app"), Action::Pull, &basic).await);
        assert!(refused.contains("LF-REGISTRY-DENIED") && refused.contains("over plain HTTP"), "{refused}");
        assert!(transport.log_in(&repository("https://r.example/app"), Action::Pull, &basic).await.is_ok());
        assert!(transport.log_in(&repository("127.0.0.1:5000/app"), Action::Pull, &basic).await.is_ok());
        let realm = "http://r.example/token".to_owned();
        let far = Challenge::Bearer { realm, service: None, scope: None };
        let refused = told(transport.log_in(&repository("127.0.0.1:5000/app"), Action::Pull, &far).await);
        assert!(refused.contains("without TLS") && !refused.contains("canary"), "{refused}");
    }

    #[tokio::test]
    async fn over_plain_http_a_token_for_nobody_is_asked_for() {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let service = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let realm = format!("http://{}/token", service.local_addr().unwrap());
        let asked = tokio::spawn(async move {
            let (mut stream, _) = service.accept().await.unwrap();
            let mut asked = Vec::new();
            while !asked.ends_with(b"\r\n\r\n") {
                asked.push(stream.read_u8().await.unwrap());
            }
            let body = r#"{"token":"anybody"}"#;
            let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
            stream.write_all(answer.as_bytes()).await.unwrap();
            String::from_utf8(asked).unwrap().to_ascii_lowercase()
        });
        let challenge = Challenge::Bearer { realm, service: None, scope: None };
        let header = transport().log_in(&repository("http://r.example/app"), Action::Pull, &challenge).await;
        let Ok(header) = header else { panic!("no token") };
        assert_eq!(header.value, "Bearer anybody");
        let asked = asked.await.unwrap();
        assert!(asked.starts_with("get /token?") && !asked.contains("authorization"), "{asked}");
    }
}
