//! What networks and registries do to a push. Whatever happens: nothing half done is tagged, and the message says what and where.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use landfall_ports::PortError;
use landfall_registry::credentials::Places;
use landfall_registry::manifest::Content;
use landfall_registry::source::Source as _;
use landfall_registry::watch::{Event, Watcher};
use landfall_registry::{Client, Digest};

use crate::image::{layout, noise};
use crate::proxy::{Do, Proxy};
use crate::pushing::{client, push, tags, whole};
use crate::server::{Registry, reference};

/// The first so many of what the test means.
fn first(times: usize) -> impl FnMut() -> bool {
    let left = AtomicUsize::new(times);
    move || left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
}

#[derive(Default)]
struct Told {
    retries: Mutex<Vec<String>>,
    resumed: Mutex<Vec<u64>>,
    sent: Mutex<(u64, u64)>,
    tags: Mutex<Vec<String>>,
}

impl Watcher for Told {
    fn event(&self, event: Event<'_>) {
        match event {
            Event::Retry { what, why, .. } => self.retries.lock().unwrap().push(format!("{what}: {why}")),
            Event::Resumed(_, bytes) => self.resumed.lock().unwrap().push(bytes),
            Event::Sent(bytes) => self.sent.lock().unwrap().0 += bytes,
            Event::Lost(bytes) => self.sent.lock().unwrap().1 += bytes,
            Event::Tagging(tag) => self.tags.lock().unwrap().push(format!("{tag}?")),
            Event::Tagged(tag) => self.tags.lock().unwrap().push(tag.to_owned()),
            _ => {}
        }
    }
}

#[tokio::test]
async fn a_tag_is_told_before_it_may_be_there() {
    let registry = Registry::start();
    let rule = |seen: &crate::proxy::Seen| match seen.is("PUT", "/manifests/v2") {
        true => Do::Answer(400, Vec::new(), String::new()),
        false => Do::Pass,
    };
    let proxy = Proxy::start(registry.port, rule).await;
    let dir = tempfile::tempdir().unwrap();
    let source = layout(dir.path(), &[noise(1, 10)]);
    let told = Arc::new(Told::default());
    let client = Client::watched(Places::default(), None, told.clone());
    let target = reference(proxy.port, "app");
    client.push(&push(&target, &tags(&["v1", "v2"])), &source).await.unwrap_err();
    assert_eq!(*told.tags.lock().unwrap(), ["v1?", "v1", "v2?"]);
}

#[tokio::test]
async fn a_cut_in_the_middle_of_a_layer_is_mended() {
    let registry = Registry::start();
    let mut cut = first(2);
    let rule = move |seen: &crate::proxy::Seen| {
        if seen.is("PUT", "/blobs/uploads/") && cut() { Do::Cut(1_500_000) } else { Do::Pass }
    };
    let proxy = Proxy::start(registry.port, rule).await;
    let dir = tempfile::tempdir().unwrap();
    let source = layout(dir.path(), &[noise(1, 4_000_000)]);
    let target = reference(proxy.port, "app");
    let told = Arc::new(Told::default());
    let client = Client::watched(Places::default(), None, told.clone());
    client.push(&push(&target, &tags(&["v1"])), &source).await.unwrap();
    whole(&target, "v1", &source).await;
    assert!(told.retries.lock().unwrap().iter().any(|text| text.contains("of 4000000 bytes")), "{:?}", told.retries);
    let (sent, lost) = *told.sent.lock().unwrap();
    let Content::Image(image) = source.manifest(source.root()).unwrap().content else { panic!("an index") };
    assert_eq!(sent - lost, 4_000_000 + image.config.size);
}

#[tokio::test]
async fn a_cut_upload_goes_on_where_the_registry_says() {
    let registry = Registry::start();
    let mut keep = first(1);
    let rule = move |seen: &crate::proxy::Seen| {
        let layer = seen.is("PUT", "/blobs/uploads/") && seen.header("content-length") == Some("4000000");
        if layer && keep() { Do::Keep(1_500_000) } else { Do::Pass }
    };
    let proxy = Proxy::start(registry.port, rule).await;
    let dir = tempfile::tempdir().unwrap();
    let source = layout(dir.path(), &[noise(1, 4_000_000)]);
    let told = Arc::new(Told::default());
    let client = Client::watched(Places::default(), None, told.clone());
    let target = reference(proxy.port, "app");
    client.push(&push(&target, &tags(&["v1"])), &source).await.unwrap();
    whole(&target, "v1", &source).await;
    assert_eq!(*told.resumed.lock().unwrap(), [1_500_000]);
    let seen = proxy.seen();
    let ranges: Vec<&str> = seen.iter().filter_map(|seen| seen.header("content-range")).collect();
    assert_eq!(ranges, ["1500000-3999999"]);
}

#[tokio::test]
async fn an_upload_that_does_not_go_on_after_all_begins_anew() {
    let registry = Registry::start();
    let mut keep = first(1);
    let rule = move |seen: &crate::proxy::Seen| match (seen.is("PUT", "/blobs/uploads/"), seen.header("content-range"))
    {
        (true, None) if seen.header("content-length") == Some("4000000") && keep() => Do::Keep(1_500_000),
        (true, Some(_)) => Do::Answer(416, Vec::new(), String::new()),
        _ => Do::Pass,
    };
    let proxy = Proxy::start(registry.port, rule).await;
    let dir = tempfile::tempdir().unwrap();
    let source = layout(dir.path(), &[noise(1, 4_000_000)]);
    let target = reference(proxy.port, "app");
    client().push(&push(&target, &tags(&["v1"])), &source).await.unwrap();
    whole(&target, "v1", &source).await;
    // The answer may be lost when its connection is closed over what is still on its way; then it is asked for once more.
    assert!(proxy.seen().iter().any(|seen| seen.header("content-range").is_some()));
}

#[tokio::test]
async fn what_is_cut_again_and_again_says_what_and_where_and_is_not_tagged() {
    let registry = Registry::start();
    let layers = [noise(1, 4_000_000), noise(2, 1000)];
    let cut = |seen: &crate::proxy::Seen| {
        let large = seen.header("content-length").is_some_and(|length| length.parse::<u64>().unwrap() > 1_000_000);
        if seen.is("PUT", "/blobs/uploads/") && large { Do::Cut(100_000) } else { Do::Pass }
    };
    let proxy = Proxy::start(registry.port, cut).await;
    let dir = tempfile::tempdir().unwrap();
    let source = layout(dir.path(), &layers);
    let target = reference(proxy.port, "app");
    let error = client().push(&push(&target, &tags(&["v1"])), &source).await.unwrap_err();
    let PortError::Unavailable(text) = &error else { panic!("{error}") };
    for part in [
        "LF-REGISTRY-UNAVAILABLE",
        Digest::of(&layers[0]).short(),
        &target.repository.to_string(),
        "of 4000000 bytes",
        "tried 6 times",
    ] {
        assert!(text.contains(part), "no {part:?} in {text}");
    }
    assert!(!registry.tag_file("app", "v1").exists());
    assert_eq!(proxy.count("PUT", "/manifests/"), 0);
    // The next one, when the network is well again, sends what is missing.
    let direct = reference(registry.port, "app");
    let pushed = client().push(&push(&direct, &tags(&["v1"])), &source).await.unwrap();
    assert_eq!((pushed.layers.uploaded, pushed.layers.present), (1, 2));
    whole(&direct, "v1", &source).await;
}

#[tokio::test]
async fn an_answer_that_was_lost_is_not_sent_for_twice() {
    let registry = Registry::start();
    let (mut blob, mut manifest) = (first(1), first(1));
    let rule = move |seen: &crate::proxy::Seen| {
        let lose = seen.is("PUT", "/blobs/uploads/") && blob() || seen.is("PUT", "/manifests/") && manifest();
        if lose { Do::Swallow } else { Do::Pass }
    };
    let proxy = Proxy::start(registry.port, rule).await;
    let dir = tempfile::tempdir().unwrap();
    let source = layout(dir.path(), &[noise(1, 1_000_000)]);
    let target = reference(proxy.port, "app");
    client().push(&push(&target, &tags(&["v1"])), &source).await.unwrap();
    whole(&target, "v1", &source).await;
    assert_eq!(proxy.count("PUT", "/blobs/uploads/"), 2, "layer and configuration, each once");
    assert_eq!(proxy.count("PUT", "/manifests/"), 2);
}

#[tokio::test]
async fn throttling_and_failures_that_pass_are_waited_for() {
    let registry = Registry::start();
    let (mut heads, mut posts, mut puts, mut tag) = (first(1), first(2), first(1), first(1));
    let rule = move |seen: &crate::proxy::Seen| {
        let later = || vec![("retry-after", "1".to_owned())];
        if seen.is("HEAD", "/blobs/") && heads() {
            Do::Answer(429, later(), String::new())
        } else if seen.is("POST", "/uploads/") && posts() {
            Do::Answer(503, Vec::new(), r#"{"errors":[{"code":"UNAVAILABLE","message":"in a moment"}]}"#.to_owned())
        } else if seen.is("PUT", "/uploads/") && puts() {
            Do::Answer(500, Vec::new(), String::new())
        } else if seen.is("PUT", "/manifests/") && tag() {
            Do::Answer(502, Vec::new(), String::new())
        } else {
            Do::Pass
        }
    };
    let proxy = Proxy::start(registry.port, rule).await;
    let dir = tempfile::tempdir().unwrap();
    let source = layout(dir.path(), &[noise(1, 1_000_000), noise(2, 10)]);
    let target = reference(proxy.port, "app");
    let told = Arc::new(Told::default());
    let since = std::time::Instant::now();
    Client::watched(Places::default(), None, told.clone()).push(&push(&target, &tags(&["v1"])), &source).await.unwrap();
    assert!(since.elapsed() >= Duration::from_secs(1), "as long as the registry asked for");
    whole(&target, "v1", &source).await;
    let told = told.retries.lock().unwrap().join("\n");
    for part in ["429", "503 Service Unavailable: UNAVAILABLE: in a moment", "500", "502"] {
        assert!(told.contains(part), "no {part} in {told}");
    }
}

#[tokio::test]
async fn a_layer_that_is_read_is_asked_for_again() {
    let (registry, other) = (Registry::start(), Registry::start());
    let dir = tempfile::tempdir().unwrap();
    let source = layout(&dir.path().join("image"), &[noise(1, 100_000)]);
    client().push(&push(&reference(registry.port, "app"), &tags(&["v1"])), &source).await.unwrap();
    let (mut throttled, mut failed, mut cut) = (first(1), first(1), first(1));
    let rule = move |seen: &crate::proxy::Seen| match seen.is("GET", "/blobs/") {
        true if throttled() => Do::Answer(429, vec![("retry-after", "1".to_owned())], String::new()),
        true if failed() => Do::Answer(502, Vec::new(), String::new()),
        true if cut() => Do::Swallow,
        _ => Do::Pass,
    };
    let proxy = Proxy::start(registry.port, rule).await;
    let (from, to) = (reference(proxy.port, "app:v1"), reference(other.port, "app"));
    let told = Arc::new(Told::default());
    let client = Client::watched(Places::default(), None, told.clone());
    client.copy(&from, &push(&to, &tags(&["v1"])), dir.path()).await.unwrap().unwrap();
    whole(&to, "v1", &source).await;
    let told = told.retries.lock().unwrap().join("\n");
    assert!(told.contains("429") && told.contains("502") && told.lines().count() == 3, "{told}");
}

#[tokio::test]
async fn throttling_that_does_not_pass_is_said_at_once() {
    let registry = Registry::start();
    let rule = |seen: &crate::proxy::Seen| {
        let later = vec![("retry-after", "3600".to_owned())];
        if seen.is("POST", "/uploads/") { Do::Answer(429, later, String::new()) } else { Do::Pass }
    };
    let proxy = Proxy::start(registry.port, rule).await;
    let dir = tempfile::tempdir().unwrap();
    let source = layout(dir.path(), &[noise(1, 10)]);
    let target = reference(proxy.port, "app");
    let error = client().push(&push(&target, &tags(&["v1"])), &source).await.unwrap_err();
    let PortError::Throttled { message, retry_after_ms } = &error else { panic!("{error}") };
    assert!(message.contains("LF-REGISTRY-THROTTLED") && *retry_after_ms == Some(3_600_000), "{message}");
    assert!(!registry.tag_file("app", "v1").exists());
}

#[tokio::test]
async fn a_damaged_layer_is_found_and_named() {
    let registry = Registry::start();
    let dir = tempfile::tempdir().unwrap();
    let layers = [noise(1, 200_000), noise(2, 10)];
    let source = layout(dir.path(), &layers);
    let path = dir.path().join("blobs/sha256").join(Digest::of(&layers[0]).hex());
    let mut damaged = layers[0].clone();
    damaged[100_000] ^= 1;
    std::fs::write(&path, damaged).unwrap();
    let target = reference(registry.port, "app");
    let error = client().push(&push(&target, &tags(&["v1"])), &source).await.unwrap_err().to_string();
    for part in ["LF-REGISTRY-DIGEST", "it is damaged", path.to_str().unwrap()] {
        assert!(error.contains(part), "no {part:?} in {error}");
    }
    assert!(!registry.tag_file("app", "v1").exists());
}

#[tokio::test]
async fn a_registry_that_took_something_else_is_not_believed() {
    let registry = Registry::start();
    let other = Digest::of(b"other").to_string();
    for part in ["/blobs/uploads/", "/manifests/"] {
        let header = other.clone();
        let rule = move |seen: &crate::proxy::Seen| {
            if seen.is("PUT", part) { Do::Header("docker-content-digest", header.clone()) } else { Do::Pass }
        };
        let proxy = Proxy::start(registry.port, rule).await;
        let dir = tempfile::tempdir().unwrap();
        let source = layout(dir.path(), &[noise(1, 10)]);
        let target = reference(proxy.port, &format!("app{}", part.len()));
        let error = client().push(&push(&target, &tags(&["v1"])), &source).await.unwrap_err().to_string();
        assert!(error.contains("LF-REGISTRY-DIGEST") && error.contains(&other), "{error}");
    }
}

#[tokio::test]
async fn a_tag_that_the_registry_itself_keeps_is_told() {
    let registry = Registry::start();
    // ECR's words.
    let body = r#"{"errors":[{"code":"TAG_INVALID","message":"The image tag 'v1' already exists in the 'app' repository and cannot be overwritten because the repository is immutable."}]}"#;
    let rule = move |seen: &crate::proxy::Seen| {
        if seen.is("PUT", "/manifests/v1") { Do::Answer(400, Vec::new(), body.to_owned()) } else { Do::Pass }
    };
    let proxy = Proxy::start(registry.port, rule).await;
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let (first, second) = (layout(dirs[0].path(), &[noise(1, 10)]), layout(dirs[1].path(), &[noise(2, 10)]));
    client().push(&push(&reference(registry.port, "app"), &tags(&["v1"])), &first).await.unwrap();
    let target = reference(proxy.port, "app");
    let error = client().push(&push(&target, &tags(&["v1"])), &second).await.unwrap_err();
    assert!(matches!(&error, PortError::Conflict(text) if text.contains("LF-REGISTRY-TAG-IMMUTABLE")), "{error}");
    assert!(!error.to_string().contains("tagged already"), "{error}");
    // Which of several tags it has then.
    let error = client().push(&push(&target, &tags(&["v0", "v1", "v2"])), &second).await.unwrap_err();
    assert!(matches!(&error, PortError::Conflict(text) if text.ends_with("; tagged already: v0")), "{error}");
    client().push(&push(&target, &tags(&["v1"])), &first).await.expect("the same image");
}

#[tokio::test]
async fn nobody_there_is_said_with_the_address() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let dir = tempfile::tempdir().unwrap();
    let source = layout(dir.path(), &[noise(1, 10)]);
    let error = client().push(&push(&reference(port, "app"), &tags(&["v1"])), &source).await.unwrap_err().to_string();
    assert!(error.contains("LF-REGISTRY-UNAVAILABLE") && error.contains(&format!("127.0.0.1:{port}")), "{error}");
    assert!(error.contains("refused"), "{error}");
}
