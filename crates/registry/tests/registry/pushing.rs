//! What a push sends, and what it leaves out.

use std::io::Read as _;
use std::sync::Arc;

use async_trait::async_trait;
use landfall_ports::registry::{CloudLogin, CloudRegistry, RepositoryRules};
use landfall_ports::{PortError, PortResult};
use landfall_registry::credentials::Places;
use landfall_registry::manifest::Content;
use landfall_registry::source::{Archive, Kind, Layers, Layout, Source, repack};
use landfall_registry::{Client, Digest, Push, Reference};

use crate::image::{docker_archive, layout, noise, platforms, text};
use crate::proxy::{Do, Proxy};
use crate::server::{Registry, reference};

pub(crate) fn client() -> Client {
    Client::new(Places::default(), None)
}

pub(crate) fn push<'a>(reference: &'a Reference, tags: &'a [String]) -> Push<'a> {
    Push { repository: &reference.repository, tags, immutable: false, create_repository: false, mounts: &[] }
}

pub(crate) fn tags(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// The registry has the whole image, byte by byte.
pub(crate) async fn whole(reference: &Reference, version: &str, source: &dyn Source) {
    let client = client();
    let expected = source.manifest(source.root()).unwrap();
    let found = client.manifest(&reference.repository, version).await.unwrap().expect("no such manifest");
    assert_eq!(found, expected);
    let mut images = Vec::new();
    match &found.content {
        Content::Image(image) => images.push(image.clone()),
        Content::Index(index) => {
            for part in &index.manifests {
                let part = client.manifest(&reference.repository, &part.digest.to_string()).await.unwrap().unwrap();
                let Content::Image(image) = part.content else { panic!("an index in an index") };
                images.push(image);
            }
        }
    }
    for blob in images.iter().flat_map(|image| image.layers.iter().chain([&image.config])) {
        let url =
            format!("http://{}/v2/{}/blobs/{}", reference.repository.registry, reference.repository.name, blob.digest);
        let bytes = reqwest::get(url).await.unwrap().bytes().await.unwrap();
        assert_eq!((Digest::of(&bytes), bytes.len() as u64), (blob.digest.clone(), blob.size));
    }
}

#[tokio::test]
async fn everything_then_nothing_then_the_difference() {
    let registry = Registry::start();
    let proxy = Proxy::start(registry.port, |_| Do::Pass).await;
    let dir = tempfile::tempdir().unwrap();
    let mut layers: Vec<Vec<u8>> =
        [700_000, 3_000_000, 10, 1, 900_001].iter().map(|size| noise(*size as u64, *size)).collect();
    let first = layout(dir.path(), &layers);
    let target = reference(proxy.port, "team/app");
    let v1 = tags(&["v1"]);
    let pushed = client().push(&push(&target, &v1), &first).await.unwrap();
    assert_eq!((pushed.layers.uploaded, pushed.layers.present, pushed.tagged), (6, 0, v1.clone()));
    whole(&target, "v1", &first).await;
    assert_eq!(proxy.count("PATCH", ""), 0, "in one piece");

    proxy.forget();
    let again = client().push(&push(&target, &v1), &first).await.unwrap();
    assert_eq!((again.digest, again.layers.uploaded, again.tagged.len()), (pushed.digest, 0, 0));
    assert_eq!(proxy.seen().len(), 1, "one HEAD says that nothing is to do: {:?}", proxy.seen());

    let dir = tempfile::tempdir().unwrap();
    layers[1] = noise(7, 3_000_001);
    let second = layout(dir.path(), &layers);
    proxy.forget();
    let pushed = client().push(&push(&target, &tags(&["v1", "v2"])), &second).await.unwrap();
    assert_eq!((pushed.layers.uploaded, pushed.layers.present, pushed.layers.uploaded_bytes), (1, 5, 3_000_001));
    whole(&target, "v1", &second).await;
    whole(&target, "v2", &second).await;

    proxy.forget();
    let tagged = client().push(&push(&target, &tags(&["v2", "v3"])), &second).await.unwrap();
    assert_eq!(tagged.tagged, ["v3"]);
    assert_eq!(proxy.count("", "blobs"), 0, "the image is there: it only gets a tag");
}

#[tokio::test]
async fn an_image_without_a_tag_is_there_by_its_digest() {
    let registry = Registry::start();
    let dir = tempfile::tempdir().unwrap();
    let source = layout(dir.path(), &[noise(1, 1000)]);
    let target = reference(registry.port, "app");
    let pushed = client().push(&push(&target, &[]), &source).await.unwrap();
    whole(&target, &pushed.digest.to_string(), &source).await;
    assert_eq!(
        client().resolve(&format!("{}@{}", target.repository, pushed.digest)).await.unwrap().unwrap(),
        format!("{}@{}", target.repository, pushed.digest)
    );
    assert_eq!(client().resolve(&format!("{}:none", target.repository)).await.unwrap(), None);
}

#[tokio::test]
async fn several_platforms_share_what_they_have_in_common() {
    let registry = Registry::start();
    let dir = tempfile::tempdir().unwrap();
    let images =
        [("amd64", vec![noise(1, 5000), noise(2, 6000)]), ("arm64", vec![noise(1, 5000), noise(3, 7000), noise(4, 8)])];
    let source = platforms(dir.path(), &images);
    let target = reference(registry.port, "app");
    let pushed = client().push(&push(&target, &tags(&["v1"])), &source).await.unwrap();
    assert_eq!(pushed.layers.uploaded, 4 + 2, "four layers, two configurations");
    whole(&target, "v1", &source).await;
    assert_eq!(client().tags(&target.repository).await.unwrap(), ["v1"]);
}

#[tokio::test]
async fn layers_of_another_repository_are_taken_over() {
    let registry = Registry::start();
    let proxy = Proxy::start(registry.port, |_| Do::Pass).await;
    let dir = tempfile::tempdir().unwrap();
    let source = layout(dir.path(), &[noise(1, 100_000), noise(2, 100_000)]);
    client().push(&push(&reference(registry.port, "base"), &tags(&["v1"])), &source).await.unwrap();
    let target = reference(proxy.port, "app");
    let mounts = tags(&["nothing/here", "base"]);
    let ask = Push { mounts: &mounts, ..push(&target, &mounts[1..]) };
    let pushed = client().push(&ask, &source).await.unwrap();
    assert_eq!((pushed.layers.mounted, pushed.layers.uploaded), (3, 0));
    assert_eq!(proxy.count("PUT", "blobs"), 0);
    whole(&target, "base", &source).await;
}

#[tokio::test]
async fn images_are_copied_within_a_registry_and_to_another() {
    let (registry, other) = (Registry::start(), Registry::start());
    let dir = tempfile::tempdir().unwrap();
    let images =
        [("amd64", vec![noise(1, 500_000), noise(2, 6000)]), ("arm64", vec![noise(1, 500_000), noise(3, 7000)])];
    let source = platforms(&dir.path().join("image"), &images);
    let from = reference(registry.port, "shop/web:v1");
    client().push(&push(&from, &tags(&["v1"])), &source).await.unwrap();
    let scratch = dir.path().join("scratch");
    std::fs::create_dir(&scratch).unwrap();

    let near = reference(registry.port, "archive/web");
    let copied = client().copy(&from, &push(&near, &tags(&["kept"])), &scratch).await.unwrap().unwrap();
    assert_eq!((copied.layers.mounted, copied.layers.uploaded), (4, 0), "nothing travels within a registry");
    whole(&near, "kept", &source).await;

    // The first reading of a layer is cut.
    let mut cut = true;
    let rule = move |seen: &crate::proxy::Seen| {
        if seen.is("GET", "/blobs/") && std::mem::take(&mut cut) { Do::Swallow } else { Do::Pass }
    };
    let proxy = Proxy::start(registry.port, rule).await;
    let far = reference(other.port, "web");
    let from = reference(proxy.port, "shop/web:v1");
    let copied = client().copy(&from, &push(&far, &tags(&["v1", "latest"])), &scratch).await.unwrap().unwrap();
    assert_eq!((copied.layers.uploaded, copied.tagged.len()), (4, 2));
    whole(&far, "latest", &source).await;
    assert_eq!(std::fs::read_dir(&scratch).unwrap().count(), 0);
    proxy.forget();
    let again = client().copy(&from, &push(&far, &tags(&["v1"])), &scratch).await.unwrap().unwrap();
    assert_eq!((again.layers.uploaded, proxy.count("GET", "/blobs/")), (0, 0));
    let none = reference(proxy.port, "shop/web:none");
    assert!(client().copy(&none, &push(&far, &tags(&["v1"])), &scratch).await.unwrap().is_none());
}

#[tokio::test]
async fn a_layer_that_comes_damaged_is_not_copied() {
    let (registry, other) = (Registry::start(), Registry::start());
    let dir = tempfile::tempdir().unwrap();
    let layer = noise(1, 1000);
    let source = layout(&dir.path().join("image"), std::slice::from_ref(&layer));
    client().push(&push(&reference(registry.port, "app"), &tags(&["v1"])), &source).await.unwrap();
    let digest = Digest::of(&layer);
    let rule = move |seen: &crate::proxy::Seen| {
        if seen.is("GET", digest.hex()) { Do::Answer(200, Vec::new(), "x".repeat(1000)) } else { Do::Pass }
    };
    let proxy = Proxy::start(registry.port, rule).await;
    let far = reference(other.port, "app");
    let from = reference(proxy.port, "app:v1");
    let error = client().copy(&from, &push(&far, &tags(&["v1"])), dir.path()).await.unwrap_err().to_string();
    assert!(error.contains("LF-REGISTRY-DIGEST"), "{error}");
    assert!(!other.tag_file("app", "v1").exists());
}

#[tokio::test]
async fn archives_are_pushed_from_where_they_lie() {
    let registry = Registry::start();
    let dir = tempfile::tempdir().unwrap();
    let directory = dir.path().join("layout");
    let source = layout(&directory, &[noise(1, 300_000), noise(2, 10)]);
    let path = dir.path().join("oci.tar");
    let mut tar = tar::Builder::new(std::fs::File::create(&path).unwrap());
    tar.append_dir_all(".", &directory).unwrap();
    tar.finish().unwrap();
    let archive = Archive::open(&path).unwrap();
    assert_eq!(archive.kind().unwrap(), Kind::Oci);
    let target = reference(registry.port, "oci");
    client().push(&push(&target, &tags(&["v1"])), &archive.layout(None).unwrap()).await.unwrap();
    whole(&target, "v1", &source).await;
}

#[tokio::test]
async fn what_docker_saves_is_compressed_once() {
    let registry = Registry::start();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("docker.tar");
    let layers = vec![text(1, 20_000), text(2, 30_000), text(1, 20_000)];
    docker_archive(&path, "docker.io/library/app:v1", &layers);
    let store = Layers::new(dir.path().join("layers"));
    let open = || repack(&Archive::open(&path).unwrap(), Some("app:v1"), &store).unwrap();
    let source = open();
    let target = reference(registry.port, "docker");
    let pushed = client().push(&push(&target, &tags(&["v1"])), &source).await.unwrap();
    assert_eq!(pushed.layers.uploaded, 3, "two layers of which one is used twice, and the configuration");
    whole(&target, "v1", &source).await;
    let Content::Image(image) = source.manifest(source.root()).unwrap().content else { panic!() };
    for (descriptor, layer) in image.layers.iter().zip(&layers) {
        let mut back = Vec::new();
        flate2::read::GzDecoder::new(source.place(descriptor).unwrap().open().unwrap()).read_to_end(&mut back).unwrap();
        assert!(back == *layer && descriptor.size < layer.len() as u64 / 3);
    }
    let again = client().push(&push(&target, &tags(&["v1"])), &open()).await.unwrap();
    assert_eq!((again.digest, again.layers.uploaded), (pushed.digest, 0), "the same layers give the same image");
}

/// A cloud with rules of its own in front of a registry that has none.
struct Cloud {
    port: u16,
    rules: std::sync::Mutex<Option<RepositoryRules>>,
}

#[async_trait]
impl CloudRegistry for Cloud {
    fn serves(&self, registry: &str) -> bool {
        registry.ends_with(&format!(":{}", self.port))
    }

    async fn login(&self, _registry: &str) -> PortResult<CloudLogin> {
        Err(PortError::Bug("nobody asked for a login".to_owned()))
    }

    async fn repository(&self, _registry: &str, _name: &str) -> PortResult<Option<RepositoryRules>> {
        Ok(self.rules.lock().unwrap().clone())
    }

    async fn create_repository(&self, _registry: &str, _name: &str) -> PortResult<()> {
        *self.rules.lock().unwrap() = Some(RepositoryRules::default());
        Ok(())
    }
}

#[tokio::test]
async fn a_tag_that_may_not_move_stops_everything_before_it_begins() {
    let registry = Registry::start();
    let proxy = Proxy::start(registry.port, |_| Do::Pass).await;
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let (first, second) = (layout(dirs[0].path(), &[noise(1, 10)]), layout(dirs[1].path(), &[noise(2, 10)]));
    let target = reference(proxy.port, "app");
    let v1 = tags(&["v1"]);
    let rules = RepositoryRules { immutable: true, exceptions: vec!["latest".to_owned()] };
    let cloud = Arc::new(Cloud { port: proxy.port, rules: std::sync::Mutex::new(Some(rules)) });
    let ruled = Client::new(Places::default(), Some(cloud));
    ruled.push(&push(&target, &tags(&["v1", "latest"])), &first).await.unwrap();
    ruled.push(&push(&target, &v1), &first).await.expect("the same image under the same tag is no move");
    proxy.forget();
    let error = ruled.push(&push(&target, &v1), &second).await.unwrap_err();
    let PortError::Conflict(text) = &error else { panic!("{error}") };
    assert!(text.contains("LF-REGISTRY-TAG-IMMUTABLE") && text.contains("app:v1"), "{text}");
    let own = Push { immutable: true, ..push(&target, &v1) };
    assert!(matches!(client().push(&own, &second).await, Err(PortError::Conflict(_))));
    assert!(proxy.seen().iter().all(|seen| seen.method == "HEAD"), "nothing was sent: {:?}", proxy.seen());
    whole(&target, "v1", &first).await;
    ruled.push(&push(&target, &tags(&["latest"])), &second).await.unwrap();
    whole(&target, "latest", &second).await;
}

#[tokio::test]
async fn a_clouds_repository_is_made_only_where_that_is_allowed() {
    let registry = Registry::start();
    let dir = tempfile::tempdir().unwrap();
    let source = layout(dir.path(), &[noise(1, 10)]);
    let target = reference(registry.port, "app");
    let v1 = tags(&["v1"]);
    let cloud = Arc::new(Cloud { port: registry.port, rules: std::sync::Mutex::default() });
    let client = Client::new(Places::default(), Some(cloud));
    let error = client.push(&push(&target, &v1), &source).await.unwrap_err();
    assert!(matches!(&error, PortError::NotFound(text) if text.contains("--create-repository")), "{error}");
    client.push(&Push { create_repository: true, ..push(&target, &v1) }, &source).await.unwrap();
    whole(&target, "v1", &source).await;
}

#[tokio::test]
async fn a_layout_that_lacks_a_layer_sends_nothing() {
    let registry = Registry::start();
    let proxy = Proxy::start(registry.port, |_| Do::Pass).await;
    let dir = tempfile::tempdir().unwrap();
    let layers = [noise(1, 1000), noise(2, 2000)];
    drop(layout(dir.path(), &layers));
    std::fs::remove_file(dir.path().join("blobs/sha256").join(Digest::of(&layers[1]).hex())).unwrap();
    let source = Layout::open(dir.path(), None).unwrap();
    let target = reference(proxy.port, "app");
    let error = client().push(&push(&target, &tags(&["v1"])), &source).await.unwrap_err().to_string();
    assert!(error.contains("LF-IMAGE-SOURCE") && error.contains("is missing"), "{error}");
    assert!(proxy.seen().iter().all(|seen| seen.method == "HEAD"), "{:?}", proxy.seen());
}

#[tokio::test]
async fn tags_are_listed_to_the_last_and_images_deleted() {
    let registry = Registry::of("delete: {enabled: true}", "");
    let dir = tempfile::tempdir().unwrap();
    let source = layout(dir.path(), &[noise(1, 10)]);
    let target = reference(registry.port, "app");
    let names: Vec<String> = (0..230).map(|number| format!("v{number:03}")).collect();
    let pushed = client().push(&push(&target, &names), &source).await.unwrap();
    let mut found = client().tags(&target.repository).await.unwrap();
    found.sort();
    assert_eq!(found, names);
    assert!(client().delete_manifest(&target.repository, &pushed.digest).await.unwrap());
    assert!(!client().delete_manifest(&target.repository, &pushed.digest).await.unwrap());
    assert_eq!(client().find(&target.repository, "v001").await.unwrap(), None);
    assert!(matches!(client().tags(&reference(registry.port, "none").repository).await, Err(PortError::NotFound(_))));
}
