//! A repository of ECR as it is listed and pruned, on moto.

use landfall_aws::{AwsOptions, AwsPlatform};
use landfall_model::aws::AwsTarget;
use landfall_ports::PortError;
use serde_json::{Value, json};

use crate::emulator;
use crate::raw::Raw;

const REGISTRY: &str = "123456789012.dkr.ecr.eu-north-1.amazonaws.com";

#[tokio::test]
async fn images_are_listed_read_and_deleted() {
    let (endpoint, region) = (emulator::moto(), "eu-north-1");
    let raw = Raw::new(&endpoint, region);
    let ecr = async |action: &str, body: Value| {
        raw.json("ecr", &format!("AmazonEC2ContainerRegistry_V20150921.{action}"), body).await
    };
    let target = AwsTarget {
        name: "test".to_owned(),
        region: Some(region.to_owned()),
        endpoint: Some(endpoint.clone()),
        cluster: "main".to_owned(),
        ..AwsTarget::default()
    };
    let options = AwsOptions { instance: "stock-tests".to_owned() };
    let platform = AwsPlatform::connect_as(&target, options, emulator::credentials("test")).await.unwrap();
    let registry = platform.registry();
    assert!(matches!(registry.images(REGISTRY, "team/web").await, Err(PortError::NotFound(_))));

    ecr("CreateRepository", json!({"repositoryName": "team/web"})).await;
    assert_eq!(registry.images(REGISTRY, "team/web").await.unwrap(), Some(Vec::new()));
    let part = |digest: &str| json!({"mediaType": "application/vnd.docker.container.image.v1+json", "size": 1, "digest": digest});
    let kind = "application/vnd.docker.distribution.manifest.v2+json";
    let mut digests = Vec::new();
    // More than one call takes. moto tells images apart by their layers.
    for n in 0..105 {
        let layer = format!("sha256:{n:064}");
        let manifest =
            json!({"schemaVersion": 2, "mediaType": kind, "config": part(&layer), "layers": [part(&layer)], "n": n});
        let image = json!({"repositoryName": "team/web", "imageTag": format!("v{n}"), "imageManifest": manifest.to_string(),
            "imageManifestMediaType": kind});
        let put = ecr("PutImage", image).await;
        digests.push(put["image"]["imageId"]["imageDigest"].as_str().unwrap().to_owned());
    }
    let images = registry.images(REGISTRY, "team/web").await.unwrap().unwrap();
    assert_eq!(images.len(), 105);
    let first = images.iter().find(|image| image.digest == digests[0]).unwrap();
    assert_eq!((first.tags.as_slice(), first.pushed_at.is_some()), (["v0".to_owned()].as_slice(), true));
    let manifests = registry.manifests(REGISTRY, "team/web", &digests).await.unwrap();
    assert_eq!(manifests.len(), 105);
    let text = &manifests.iter().find(|one| one.digest == digests[104]).unwrap().text;
    assert_eq!(serde_json::from_str::<Value>(text).unwrap()["n"], json!(104));

    let gone = format!("sha256:{}", "0".repeat(64));
    let wanted: Vec<String> = digests[..104].iter().cloned().chain([gone]).collect();
    assert_eq!(registry.delete_images(REGISTRY, "team/web", &wanted).await.unwrap(), []);
    let left = registry.images(REGISTRY, "team/web").await.unwrap().unwrap();
    assert_eq!(left.iter().map(|image| &image.digest).collect::<Vec<_>>(), [&digests[104]]);
}
