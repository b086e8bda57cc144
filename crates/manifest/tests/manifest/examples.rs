use landfall_manifest::{load, read_file, render};
use landfall_model::app::{ImageSource, Routing};
use landfall_model::task::DependencyCondition;

use crate::{loaded, nothing};

/// The reference shows both manifests; what it shows is what is tested.
#[test]
fn the_reference_shows_the_manifests_that_are_tested() {
    let read = |path: &str| std::fs::read_to_string(format!("{}/../../{path}", env!("CARGO_MANIFEST_DIR"))).unwrap();
    let page = read("docs/manifest.md");
    assert!(
        page.contains(&format!("```yaml\n{}```", read("examples/preview/landfall.yml"))),
        "the worked example is stale"
    );
    assert!(
        page.contains(&format!("```yaml\n{}```", read("examples/aws-preview/landfall.yml"))),
        "the example on AWS is stale"
    );
    let smallest = page.split("```yaml\n").nth(2).unwrap().split("```").next().unwrap();
    assert_eq!(loaded(smallest).app, loaded(SMALLEST).app);
}

const SMALLEST: &str = "\
project: shop
services:
  web:
    containers:
      app:
        build: {}
        ports: [3000]
    load_balancer: {}
repositories:
  shop: {source: https://github.com/acme/shop.git}
previews: {}
";

#[test]
fn the_smallest_useful_manifest_takes_every_default() {
    let result = loaded(SMALLEST);
    assert_eq!(result.warnings, []);
    let app = result.app;
    let web = &app.services["web"];
    assert!(
        matches!(&web.containers[0].image, ImageSource::Build(b) if b.context == "." && b.dockerfile == "Dockerfile")
    );
    let balancer = web.load_balancer.as_ref().unwrap();
    assert_eq!((balancer.container.as_str(), balancer.port), ("app", 3000));
    let previews = app.previews.unwrap();
    assert_eq!(previews.branches, ["feature/*"]);
    assert_eq!(previews.services, ["web"]);
    assert_eq!(previews.routing, Routing::Host { domain: "shop.localhost".into(), port: 8080 });
    assert_eq!(app.repositories.len(), 1);
}

#[test]
fn the_worked_example_loads_without_a_warning() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/preview/landfall.yml");
    let source = read_file(path.as_ref()).unwrap();
    let result = load(&source, &nothing).unwrap_or_else(|found| panic!("{}", render(&found, &source, false)));
    assert_eq!(result.warnings, []);
    let web = &result.app.services["web"];
    assert_eq!(web.containers.iter().map(|c| c.name.as_str()).collect::<Vec<_>>(), ["app", "proxy"]);
    let proxy = &web.containers[1].settings;
    assert_eq!(proxy.depends_on[0].container, "app");
    assert_eq!(proxy.depends_on[0].condition, DependencyCondition::Healthy);
    assert_eq!(web.load_balancer.as_ref().unwrap().health_check.timeout_ms, 500);
    assert_eq!(web.containers[0].settings.environment["PORT"], "3000");
    assert_eq!(result.app.previews.unwrap().ttl, Some(72 * 3600));
}
