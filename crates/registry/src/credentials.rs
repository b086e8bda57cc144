//! Who we are to a registry: what `docker login` and `podman login` left, their credential helpers, or a cloud's own login.
//!
//! Files in the order in which they are asked; the first that knows the registry counts. Nothing here is ever printed: `Secret`
//! has no text form.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use landfall_ports::{PortError, PortResult};
use serde::Deserialize;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use crate::codes;
use crate::reference::{HUB_HOST, Repository};

/// A helper may ask a person.
const HELPER_TIMEOUT: Duration = Duration::from_secs(60);

/// Text that is not shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Login {
    Basic {
        user: String,
        password: Secret,
    },
    /// OAuth2's refresh token, exchanged at the registry's realm.
    Identity(Secret),
    /// Sent as it is.
    Bearer(Secret),
}

impl Login {
    /// User and secret as BuildKit takes them, where an identity token has no user. `None` for a token that is only ever sent as it is.
    pub fn user_and_secret(&self) -> Option<(&str, &str)> {
        match self {
            Self::Basic { user, password } => Some((user, password.expose())),
            Self::Identity(token) => Some(("", token.expose())),
            Self::Bearer(_) => None,
        }
    }

    /// The header `X-Registry-Auth` of Docker's API.
    pub fn registry_auth(&self) -> String {
        let login = match self {
            Self::Basic { user, password } => serde_json::json!({"username": user, "password": password.expose()}),
            Self::Identity(token) => serde_json::json!({"identitytoken": token.expose()}),
            Self::Bearer(token) => serde_json::json!({"registrytoken": token.expose()}),
        };
        URL_SAFE.encode(login.to_string())
    }
}

/// Where logins are looked for. Values of the environment are parameters: see [`Places::of`].
#[derive(Debug, Clone, Default)]
pub struct Places {
    /// `DOCKER_AUTH_CONFIG`: the text of such a file, as GitLab hands it to jobs.
    pub text: Option<Secret>,
    pub files: Vec<PathBuf>,
}

impl Places {
    /// From the environment's variables, as docker and podman read them.
    pub fn of(variable: impl Fn(&str) -> Option<String>) -> Self {
        let home = variable("HOME").map(PathBuf::from);
        let path = |name: &str| variable(name).map(PathBuf::from);
        let config = path("XDG_CONFIG_HOME").or_else(|| home.as_ref().map(|home| home.join(".config")));
        let docker = path("DOCKER_CONFIG").or_else(|| home.as_ref().map(|home| home.join(".docker")));
        let files = [
            path("REGISTRY_AUTH_FILE"),
            path("XDG_RUNTIME_DIR").map(|dir| dir.join("containers/auth.json")),
            config.map(|dir| dir.join("containers/auth.json")),
            docker.map(|dir| dir.join("config.json")),
        ];
        Self { text: variable("DOCKER_AUTH_CONFIG").map(Secret::new), files: files.into_iter().flatten().collect() }
    }

    /// For messages.
    pub(crate) fn names(&self) -> String {
        let files = self.files.iter().map(|file| file.display().to_string());
        let text = self.text.as_ref().map(|_| "DOCKER_AUTH_CONFIG".to_owned());
        text.into_iter().chain(files).collect::<Vec<_>>().join(", ")
    }

    /// `None`: nobody knows that registry.
    ///
    /// # Errors
    /// `Invalid`: a file that is there and cannot be read; a helper that fails.
    pub async fn login(&self, repository: &Repository) -> PortResult<Option<Login>> {
        let text = self.text.as_ref().map(|text| ("DOCKER_AUTH_CONFIG".to_owned(), text.expose().to_owned()));
        let mut found: Vec<(String, String)> = text.into_iter().collect();
        for file in &self.files {
            match std::fs::read_to_string(file) {
                Ok(text) => found.push((file.display().to_string(), text)),
                Err(e) if e.kind() == std::io::ErrorKind::NotFound || e.kind() == std::io::ErrorKind::NotADirectory => {
                }
                Err(e) => return Err(PortError::Invalid(format!("{}: {}: {e}", codes::DENIED, file.display()))),
            }
        }
        for (name, text) in found {
            if text.trim().is_empty() {
                continue;
            }
            let file: File = serde_json::from_str(&text)
                // The message of a parser may quote the file.
                .map_err(|e| {
                    PortError::Invalid(format!("{}: {name}, line {}: not a file of logins", codes::DENIED, e.line()))
                })?;
            match file.find(repository) {
                Some(Found::Login(login)) => return Ok(Some(login)),
                Some(Found::Helper(helper, server)) => {
                    if let Some(login) = ask(&helper, &server).await? {
                        return Ok(Some(login));
                    }
                }
                None => {}
            }
        }
        Ok(None)
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct File {
    auths: BTreeMap<String, Entry>,
    #[serde(rename = "credHelpers")]
    helpers: BTreeMap<String, String>,
    #[serde(rename = "credsStore")]
    store: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Entry {
    /// `user:password` in base64.
    auth: Option<String>,
    username: Option<String>,
    password: Option<String>,
    identitytoken: Option<String>,
    registrytoken: Option<String>,
}

#[derive(Debug, PartialEq, Eq)]
enum Found {
    Login(Login),
    /// Helper's name, and what to ask it for.
    Helper(String, String),
}

impl File {
    fn find(&self, repository: &Repository) -> Option<Found> {
        // docker's name for its Hub is an address of its first version.
        let server = match repository.registry.as_str() {
            HUB_HOST => "https://index.docker.io/v1/",
            other => other,
        };
        if let Some(helper) =
            self.helpers.iter().find_map(|(key, helper)| (host(key) == host(server)).then_some(helper))
        {
            return Some(Found::Helper(helper.clone(), server.to_owned()));
        }
        // podman knows logins for a part of a registry too: the longest that fits.
        let full = format!("{}/{}", host(server), repository.name);
        let fits = |key: &str| {
            let key = host(key);
            full.strip_prefix(key).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        let best = self.auths.iter().filter(|(key, _)| fits(key)).max_by_key(|(key, _)| host(key).len());
        if let Some(login) = best.and_then(|(_, entry)| entry.login()) {
            return Some(Found::Login(login));
        }
        // With a store the entries are empty, and are there to say that the store knows.
        self.store
            .as_ref()
            .map(|store| Found::Helper(store.clone(), best.map_or(server, |(key, _)| key.as_str()).to_owned()))
    }
}

impl Entry {
    fn login(&self) -> Option<Login> {
        let set = |value: &Option<String>| value.clone().filter(|value| !value.is_empty());
        if let Some(token) = set(&self.registrytoken) {
            return Some(Login::Bearer(Secret(token)));
        }
        if let Some(token) = set(&self.identitytoken) {
            return Some(Login::Identity(Secret(token)));
        }
        if let Some(auth) = set(&self.auth) {
            let text = String::from_utf8(STANDARD.decode(auth.trim()).ok()?).ok()?;
            let (user, password) = text.split_once(':')?;
            return Some(Login::Basic {
                user: user.to_owned(),
                password: Secret(password.trim_end_matches('\0').to_owned()),
            });
        }
        Some(Login::Basic { user: set(&self.username)?, password: Secret(set(&self.password)?) })
    }
}

/// A key without scheme and without docker's `/v1/`.
fn host(key: &str) -> &str {
    let bare = key.split_once("://").map_or(key, |(_, rest)| rest).trim_end_matches('/');
    bare.strip_suffix("/v1").or_else(|| bare.strip_suffix("/v2")).unwrap_or(bare)
}

#[derive(Deserialize)]
struct Answer {
    #[serde(rename = "Username")]
    user: String,
    #[serde(rename = "Secret")]
    secret: String,
}

/// `docker-credential-NAME get`: the server on stdin, JSON on stdout.
async fn ask(helper: &str, server: &str) -> PortResult<Option<Login>> {
    let program = format!("docker-credential-{helper}");
    let bad = |why: String| PortError::Denied(format!("{}: {program} for {server}: {why}", codes::DENIED));
    if !helper.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.')) {
        return Err(bad("not a helper's name".to_owned()));
    }
    let work = async {
        let mut child = Command::new(&program);
        child.arg("get").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
        let mut child = child.spawn()?;
        if let Some(mut input) = child.stdin.take() {
            // One that ends before it has read says why by its exit.
            let _ = input.write_all(server.as_bytes()).await;
        }
        child.wait_with_output().await
    };
    let output = tokio::time::timeout(HELPER_TIMEOUT, work).await.map_err(|_| bad("did not answer".to_owned()))?;
    let output = output.map_err(|e| bad(format!("{}: {e}", Path::new(&program).display())))?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stdout);
        if text.contains("credentials not found") {
            return Ok(None);
        }
        return Err(bad(format!("ended with {}", output.status)));
    }
    let answer: Answer = serde_json::from_slice(&output.stdout).map_err(|_| bad("printed no JSON".to_owned()))?;
    Ok(Some(match answer.user.as_str() {
        "<token>" => Login::Identity(Secret(answer.secret)),
        _ => Login::Basic { user: answer.user, password: Secret(answer.secret) },
    }))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;
    use crate::reference::Reference;

    fn repository(text: &str) -> Repository {
        Reference::parse(text).unwrap().repository
    }

    fn basic(user: &str, password: &str) -> Option<Found> {
        Some(Found::Login(Login::Basic { user: user.to_owned(), password: Secret::new(password) }))
    }

    #[test]
    fn the_longest_key_that_fits_counts() {
        let of = |text: &str| STANDARD.encode(text);
        let text = format!(
            r#"{{"auths": {{"https://index.docker.io/v1/": {{"auth": "{}"}}, "r.example": {{"auth": "{}"}},
                "r.example/team": {{"username": "t", "password": "pt"}}, "r.example:5000": {{"auth": "{}"}},
                "empty.example": {{}}}}}}"#,
            of("hub:p:1"),
            of("r:p2"),
            of("port:p3")
        );
        let file: File = serde_json::from_str(&text).unwrap();
        assert_eq!(file.find(&repository("nginx")), basic("hub", "p:1"));
        assert_eq!(file.find(&repository("r.example/app")), basic("r", "p2"));
        assert_eq!(file.find(&repository("r.example/team/app")), basic("t", "pt"));
        assert_eq!(file.find(&repository("r.example/teams/app")), basic("r", "p2"));
        assert_eq!(file.find(&repository("r.example:5000/app")), basic("port", "p3"));
        for nobody in ["other.example/app", "r.example.evil.example/app", "r.example:5001/app", "empty.example/app"] {
            assert_eq!(file.find(&repository(nobody)), None, "{nobody}");
        }
    }

    #[test]
    fn helpers_come_before_entries_and_a_store_after() {
        let text = r#"{"auths": {"https://a.example/v2/": {}, "b.example": {"identitytoken": "i"}}, "credsStore": "desktop",
                       "credHelpers": {"c.example": "ecr-login"}}"#;
        let file: File = serde_json::from_str(text).unwrap();
        let helper = |name: &str, server: &str| Some(Found::Helper(name.to_owned(), server.to_owned()));
        assert_eq!(file.find(&repository("a.example/x")), helper("desktop", "https://a.example/v2/"));
        assert_eq!(file.find(&repository("b.example/x")), Some(Found::Login(Login::Identity(Secret::new("i")))));
        assert_eq!(file.find(&repository("c.example/x")), helper("ecr-login", "c.example"));
        assert_eq!(file.find(&repository("x")), helper("desktop", "https://index.docker.io/v1/"));
    }

    #[test]
    fn engines_take_a_login_in_their_own_ways() {
        let text = |login: &Login| String::from_utf8(URL_SAFE.decode(login.registry_auth()).unwrap()).unwrap();
        let basic = Login::Basic { user: "u".to_owned(), password: Secret::new("p\"") };
        assert_eq!(
            (basic.user_and_secret(), text(&basic).as_str()),
            (Some(("u", "p\"")), r#"{"password":"p\"","username":"u"}"#)
        );
        let identity = Login::Identity(Secret::new("i"));
        assert_eq!(
            (identity.user_and_secret(), text(&identity).as_str()),
            (Some(("", "i")), r#"{"identitytoken":"i"}"#)
        );
        let bearer = Login::Bearer(Secret::new("b"));
        assert_eq!((bearer.user_and_secret(), text(&bearer).as_str()), (None, r#"{"registrytoken":"b"}"#));
    }

    #[test]
    fn places_are_those_of_docker_and_podman() {
        let of = |pairs: &[(&str, &str)]| {
            let found = |name: &str| pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
            Places::of(found).names()
        };
        assert_eq!(of(&[("HOME", "/h")]), "/h/.config/containers/auth.json, /h/.docker/config.json");
        assert_eq!(
            of(&[
                ("REGISTRY_AUTH_FILE", "/a"),
                ("XDG_RUNTIME_DIR", "/run/u"),
                ("DOCKER_CONFIG", "/d"),
                ("DOCKER_AUTH_CONFIG", "{}")
            ]),
            "DOCKER_AUTH_CONFIG, /a, /run/u/containers/auth.json, /d/config.json"
        );
        assert!(!format!("{:?}", Places { text: Some(Secret::new("s3cret")), files: Vec::new() }).contains("s3cret"));
    }

    #[tokio::test]
    async fn a_broken_file_is_named_and_not_quoted() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("config.json");
        std::fs::write(&file, "{\"auths\": {\"r.example\": {\"auth\": s3cret}}}").unwrap();
        let places = Places { text: None, files: vec![dir.path().join("none"), file] };
        let error = places.login(&repository("r.example/x")).await.unwrap_err().to_string();
        assert!(error.contains("config.json, line 1") && !error.contains("s3cret"), "{error}");
    }
}
