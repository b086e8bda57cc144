//! Logging in: users of the registry itself, and tokens of a service beside it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use landfall_ports::registry::{CloudLogin, CloudRegistry, RepositoryRules};
use landfall_ports::{PortError, PortResult};
use landfall_registry::Client;
use landfall_registry::credentials::{Places, Secret};

use crate::image::{layout, noise};
use crate::proxy::{Do, Proxy, Seen};
use crate::pushing::{push, tags};
use crate::server::{Registry, reference};

const PASSWORD: &str = "canary-5f3a";

/// `htpasswd -Bbn somebody canary-5f3a`.
const USER: &str = "somebody:$2b$04$64Hr9dq0fZYpgEUOOsy4S.Euy19GN6Pm/.HnfKmyqp./bb.zwaal2\n";

fn guarded() -> (Registry, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("htpasswd");
    std::fs::write(&file, USER).unwrap();
    (Registry::of("", &format!("auth:\n  htpasswd: {{realm: test, path: {}}}\n", file.display())), dir)
}

fn logins(port: u16, user: &str, password: &str) -> Places {
    let auth = STANDARD.encode(format!("{user}:{password}"));
    Places {
        text: Some(Secret::new(format!(r#"{{"auths":{{"127.0.0.1:{port}":{{"auth":"{auth}"}}}}}}"#))),
        files: Vec::new(),
    }
}

#[tokio::test]
async fn users_and_passwords() {
    let (registry, _file) = guarded();
    let dir = tempfile::tempdir().unwrap();
    let source = layout(dir.path(), &[noise(1, 100_000), noise(2, 10)]);
    let target = reference(registry.port, "app");
    let v1 = tags(&["v1"]);
    let push = push(&target, &v1);
    Client::new(logins(registry.port, "somebody", PASSWORD), None).push(&push, &source).await.unwrap();
    assert!(registry.tag_file("app", "v1").exists());
    let other = reference(registry.port, "other");
    for places in
        [logins(registry.port, "somebody", "wrong-canary-71"), logins(1, "somebody", PASSWORD), Places::default()]
    {
        let ask = landfall_registry::Push { repository: &other.repository, ..push };
        let error = Client::new(places, None).push(&ask, &source).await.unwrap_err();
        let PortError::Denied(text) = &error else { panic!("{error}") };
        assert!(text.contains("LF-REGISTRY-DENIED") && text.contains("/other"), "{text}");
        assert!(!text.contains("canary") && !format!("{error:?}").contains("canary"), "{text}");
    }
    assert!(!registry.tag_file("other", "v1").exists());
}

#[tokio::test]
async fn a_helper_that_is_none_is_named() {
    let (registry, _file) = guarded();
    let dir = tempfile::tempdir().unwrap();
    let source = layout(dir.path(), &[noise(1, 10)]);
    let target = reference(registry.port, "app");
    for (name, word) in [("../x", "not a helper's name"), ("nobody-has-this", "docker-credential-nobody-has-this")] {
        let text = format!(r#"{{"credHelpers":{{"127.0.0.1:{}":"{name}"}}}}"#, registry.port);
        let client = Client::new(Places { text: Some(Secret::new(text)), files: Vec::new() }, None);
        let error = client.push(&push(&target, &tags(&["v1"])), &source).await.unwrap_err().to_string();
        assert!(error.contains(word), "{error}");
    }
}

/// A token service and a door that knows its tokens, in front of a registry that knows nobody.
struct Service {
    given: AtomicU64,
    /// Requests that a token is good for.
    good_for: u64,
    used: AtomicU64,
    port: AtomicU64,
    asked: std::sync::Mutex<Vec<String>>,
}

impl Service {
    fn new(good_for: u64) -> Arc<Self> {
        let zero = AtomicU64::default;
        Arc::new(Self { given: zero(), good_for, used: zero(), port: zero(), asked: Default::default() })
    }

    fn rule(&self, seen: &Seen) -> Do {
        if let Some(query) = seen.path.strip_prefix("/token?") {
            let wanted = format!("Basic {}", STANDARD.encode(format!("somebody:{PASSWORD}")));
            if seen.header("authorization") != Some(&wanted) {
                return Do::Answer(401, Vec::new(), String::new());
            }
            self.asked.lock().unwrap().push(query.to_owned());
            self.used.store(0, Ordering::SeqCst);
            let number = self.given.fetch_add(1, Ordering::SeqCst) + 1;
            return Do::Answer(200, Vec::new(), format!(r#"{{"token":"token-{number}","expires_in":300}}"#));
        }
        let current = format!("Bearer token-{}", self.given.load(Ordering::SeqCst));
        let fresh = self.used.fetch_add(1, Ordering::SeqCst) < self.good_for;
        if fresh && seen.header("authorization") == Some(&current) {
            return Do::Pass;
        }
        let realm = format!("http://127.0.0.1:{}/token", self.port.load(Ordering::SeqCst));
        let challenge = format!("Bearer realm=\"{realm}\",service=\"test\",scope=\"repository:app:pull\"");
        Do::Answer(
            401,
            vec![("www-authenticate", challenge)],
            r#"{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}"#.to_owned(),
        )
    }
}

#[tokio::test]
async fn tokens_are_asked_for_once_and_again_when_they_are_over() {
    let registry = Registry::start();
    for (good_for, most) in [(u64::MAX, 1), (4, 20)] {
        let service = Service::new(good_for);
        let rule = {
            let service = Arc::clone(&service);
            move |seen: &Seen| service.rule(seen)
        };
        let proxy = Proxy::start(registry.port, rule).await;
        service.port.store(u64::from(proxy.port), Ordering::SeqCst);
        let dir = tempfile::tempdir().unwrap();
        let layers: Vec<Vec<u8>> = (0..8).map(|seed| noise(seed + good_for % 100, 50_000)).collect();
        let source = layout(dir.path(), &layers);
        let target = reference(proxy.port, "app");
        let client = Client::new(logins(proxy.port, "somebody", PASSWORD), None);
        let name = format!("v{}", good_for % 100);
        client.push(&push(&target, &tags(&[&name])), &source).await.unwrap();
        assert!(registry.tag_file("app", &name).exists());
        let given = service.given.load(Ordering::SeqCst);
        assert!(given >= 1 && given <= most, "{given} tokens");
        let asked = service.asked.lock().unwrap();
        assert!(
            asked[0].contains("service=test") && asked[0].contains("scope=repository%3Aapp%3Apull%2Cpush"),
            "{asked:?}"
        );
    }
}

#[tokio::test]
async fn a_service_that_refuses_is_told_without_the_password() {
    let registry = Registry::start();
    let service = Service::new(u64::MAX);
    let rule = {
        let service = Arc::clone(&service);
        move |seen: &Seen| service.rule(seen)
    };
    let proxy = Proxy::start(registry.port, rule).await;
    service.port.store(u64::from(proxy.port), Ordering::SeqCst);
    let dir = tempfile::tempdir().unwrap();
    let source = layout(dir.path(), &[noise(1, 10)]);
    let client = Client::new(logins(proxy.port, "somebody", "wrong-canary-71"), None);
    let target = reference(proxy.port, "app");
    let error = client.push(&push(&target, &tags(&["v1"])), &source).await.unwrap_err();
    assert!(
        matches!(&error, PortError::Denied(text) if text.contains("LF-REGISTRY-DENIED") && !text.contains("canary")),
        "{error}"
    );
}

/// A cloud's login, which is over after a while.
struct Cloud {
    port: u16,
    logins: AtomicUsize,
}

#[async_trait]
impl CloudRegistry for Cloud {
    fn serves(&self, registry: &str) -> bool {
        registry.ends_with(&format!(":{}", self.port))
    }

    async fn login(&self, _registry: &str) -> PortResult<CloudLogin> {
        let before = self.logins.fetch_add(1, Ordering::SeqCst);
        // The first is over at once.
        let lifetime = Duration::from_secs(if before == 0 { 0 } else { 3600 });
        Ok(CloudLogin { user: "somebody".to_owned(), password: PASSWORD.to_owned(), lifetime })
    }

    async fn repository(&self, _registry: &str, _name: &str) -> PortResult<Option<RepositoryRules>> {
        Ok(Some(RepositoryRules::default()))
    }

    async fn create_repository(&self, _registry: &str, _name: &str) -> PortResult<()> {
        Err(PortError::Bug("it is there".to_owned()))
    }
}

#[tokio::test]
async fn a_clouds_login_is_renewed_when_it_is_over() {
    let (registry, _file) = guarded();
    let dir = tempfile::tempdir().unwrap();
    let source = layout(dir.path(), &[noise(1, 10), noise(2, 20), noise(3, 30)]);
    let target = reference(registry.port, "app");
    let cloud = Arc::new(Cloud { port: registry.port, logins: AtomicUsize::new(0) });
    let client = Client::new(Places::default(), Some(cloud.clone()));
    client.push(&push(&target, &tags(&["v1"])), &source).await.unwrap();
    assert!(registry.tag_file("app", "v1").exists());
    assert_eq!(cloud.logins.load(Ordering::SeqCst), 2, "one that was over, one for all the rest");
}
