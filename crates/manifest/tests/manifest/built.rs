//! Images that `landfall build` makes and others await.

use landfall_model::app::ImageSource;

use crate::{codes_of, loaded};

fn with(awaited: &str) -> String {
    format!(
        "project: shop\nservices:\n  web:\n    containers:\n      app:\n        await: {{image: \"r.example/web:{{commit}}\", {awaited}}}\n"
    )
}

#[test]
fn an_awaited_image_may_say_how_it_is_made_and_called() {
    let app = loaded(&with("build: {context: web, args: {A: 1}}, tags: [\"{branch}\", latest, \"v{tag}\"]")).app;
    let ImageSource::Await(awaited) = &app.services["web"].containers[0].image else { panic!("not awaited") };
    let build = awaited.build.as_ref().unwrap();
    assert_eq!(
        (build.context.as_str(), build.dockerfile.as_str(), build.args["A"].as_str()),
        ("web", "Dockerfile", "1")
    );
    assert_eq!(awaited.tags, ["{branch}", "latest", "v{tag}"]);
}

#[test]
fn what_it_says_is_checked_as_elsewhere() {
    assert_eq!(codes_of(&with("build: {context: ../x}")), ["LF-M036"]);
    assert_eq!(codes_of(&with("tags: [\"a b\"]")), ["LF-M033"]);
    assert_eq!(codes_of(&with("tags: [\"{nothing}\"]")), ["LF-M033"]);
    assert_eq!(codes_of(&with("tags: [\"-x\"]")), ["LF-M033"]);
    assert_eq!(codes_of(&with("tags: [\"{branch}-{short_commit}\"]")), [""; 0]);
}
