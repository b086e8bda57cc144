#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use bytes::Bytes;
use serde_json::{Value, json};

use super::*;

const NOW: i64 = 1_800_000_000;
const DAY: i64 = 86_400;
const OCI: &str = "application/vnd.oci.image.manifest.v1+json";

/// A repository that tests write down.
#[derive(Default)]
struct Stock(BTreeMap<Digest, Held>);

impl Stock {
    fn put(&mut self, value: &Value, tags: &[&str], days: Option<i64>) -> Digest {
        let document = Document::parse(Bytes::from(value.to_string()), None).unwrap();
        let digest = document.digest.clone();
        let since = days.map(|days| Timestamp::from_second(NOW - days * DAY).unwrap());
        let tags = tags.iter().map(|tag| (*tag).to_owned()).collect();
        self.0.insert(digest.clone(), Held { document, tags, since });
        digest
    }

    fn image(&mut self, name: &str, tags: &[&str], days: i64) -> Digest {
        self.put(&image(name), tags, Some(days))
    }

    fn index(&mut self, parts: &[&Digest], tags: &[&str], days: i64) -> Digest {
        let parts: Vec<Value> = parts.iter().map(|part| json!({"mediaType": OCI, "digest": part, "size": 1})).collect();
        self.put(&json!({"schemaVersion": 2, "manifests": parts}), tags, Some(days))
    }

    fn release(&mut self, commit: &str, images: &[&Digest], days: i64) -> Digest {
        let images: Vec<String> = images.iter().map(|digest| format!("r.example/team/web@{digest}")).collect();
        let mut value = image(commit);
        value["artifactType"] = json!(release::KIND);
        let created = Timestamp::from_second(NOW - days * DAY).unwrap().to_string();
        value["annotations"] = json!({"org.opencontainers.image.created": created, "landfall.release.project": "shop",
            "landfall.release.images": images.join(" ")});
        self.put(&value, &[&release::tag("shop", commit).unwrap()], Some(days))
    }

    fn plan(&self, needed: &[&str], rules: &Rules) -> Plan {
        let mut all = Needed::default();
        needed.iter().for_each(|image| all.add(image, "deployed"));
        let repository = Reference::parse("r.example/team/web").unwrap().repository;
        plan(&repository, &self.0, &all, rules, Timestamp::from_second(NOW).unwrap())
    }
}

fn image(name: &str) -> Value {
    let part = json!({"mediaType": "x", "digest": Digest::of(name.as_bytes()), "size": 1});
    json!({"schemaVersion": 2, "config": part, "layers": []})
}

fn rules() -> Rules {
    Rules { newest: 0, younger: 7 * DAY, tags: Vec::new(), releases: 0 }
}

fn gone(plan: &Plan) -> Vec<&Digest> {
    plan.delete.iter().map(|one| &one.digest).collect()
}

#[test]
fn what_is_deployed_stays_however_it_is_named() {
    let mut stock = Stock::default();
    let by_digest = stock.image("1", &["v1"], 90);
    let by_tag = stock.image("2", &["v2"], 90);
    let elsewhere = stock.image("3", &[], 90);
    let old = stock.image("4", &["v4"], 90);
    let needed = [
        format!("other.example/mirror/x@{by_digest}"),
        // The same registry by another name.
        "127.0.0.1:5000/team/web:v2".to_owned(),
        format!("r.example/team/web:gone@{elsewhere}"),
        "r.example/other/web:v4".to_owned(),
        "sha256:0123".to_owned(),
    ];
    let plan = stock.plan(&needed.iter().map(String::as_str).collect::<Vec<_>>(), &rules());
    assert_eq!(gone(&plan), [&old]);
    assert!(plan.keep.iter().all(|one| one.why == "deployed"));
    assert_eq!(stock.plan(&[&format!("r.example/team/web@{by_tag}")], &rules()).keep.len(), 1);
}

#[test]
fn an_index_and_its_images_stay_or_go_together() {
    let mut stock = Stock::default();
    let (amd, arm, shared) = (stock.image("amd", &[], 90), stock.image("arm", &[], 90), stock.image("old", &[], 90));
    let kept = stock.index(&[&amd, &arm, &shared], &["v2"], 90);
    let old = stock.index(&[&shared, &Digest::of(b"never copied")], &["v1"], 91);
    let plan = stock.plan(&["r.example/team/web:v2"], &rules());
    assert_eq!(gone(&plan), [&old]);
    // A platform's image is what runs: the index that has it stays, with its other images.
    let plan = stock.plan(&[&format!("r.example/team/web@{arm}")], &rules());
    assert_eq!(gone(&plan), [&old]);
    // What is common to both does not keep the other one.
    let plan = stock.plan(&[], &rules());
    let order = gone(&plan);
    assert_eq!(order.len(), 5);
    let at = |digest: &Digest| order.iter().position(|other| *other == digest).unwrap();
    assert!(at(&kept) < at(&amd) && at(&kept) < at(&shared) && at(&old) < at(&shared), "{order:?}");
}

#[test]
fn rules_keep_the_young_the_newest_and_named_tags() {
    let mut stock = Stock::default();
    let young = stock.image("1", &["v1"], 6);
    let new = stock.image("2", &["v2"], 8);
    let named = stock.image("3", &["v3", "stable-3"], 80);
    let old = stock.image("4", &["v4"], 81);
    let untagged = stock.image("5", &[], 9);
    let ageless = stock.put(&image("6"), &["cache"], None);
    let with = Rules { newest: 2, tags: vec!["stable-*".to_owned()], ..rules() };
    let plan = stock.plan(&[], &with);
    assert_eq!(gone(&plan), [&untagged, &old]);
    let why = |digest: &Digest| plan.keep.iter().find(|one| one.digest == *digest).unwrap().why.clone();
    assert_eq!(why(&young), "younger than --younger");
    assert_eq!(why(&new), "one of the newest 2");
    assert_eq!(why(&named), "tag stable-3");
    assert_eq!(why(&ageless), "nobody says how old it is");
}

#[test]
fn the_newest_releases_keep_their_images_and_older_ones_go_with_theirs() {
    let mut stock = Stock::default();
    let images: Vec<Digest> = (0..3).map(|n| stock.image(&n.to_string(), &[&format!("v{n}")], 90)).collect();
    let oldest = stock.release("aaaaaaa", &[&images[0]], 90);
    let middle = stock.release("bbbbbbb", &[&images[1]], 60);
    let newest = stock.release("ccccccc", &[&images[2]], 30);
    let one = Rules { releases: 1, ..rules() };
    let plan = stock.plan(&["r.example/team/web:v1"], &one);
    // The record first: one that is left behind would promise an image that is gone.
    assert_eq!(gone(&plan), [&oldest, &images[0]]);
    let why = |digest: &Digest| plan.keep.iter().find(|one| one.digest == *digest).unwrap().why.clone();
    assert_eq!(why(&newest), "one of the newest releases");
    assert_eq!(why(&images[2]), "in one of the newest releases");
    assert_eq!(why(&middle), "its images stay");
}

#[test]
fn signatures_go_with_what_they_sign() {
    let mut stock = Stock::default();
    let (kept, old) = (stock.image("1", &["v1"], 90), stock.image("2", &["v2"], 90));
    let about = |stock: &mut Stock, digest: &Digest| {
        stock.image(&format!("signature of {digest}"), &[&format!("sha256-{}.sig", digest.hex())], 1)
    };
    let (keeps, goes) = (about(&mut stock, &kept), about(&mut stock, &old));
    let plan = stock.plan(&["r.example/team/web:v1"], &rules());
    assert_eq!(gone(&plan), [&goes, &old]);
    assert!(plan.keep.iter().any(|one| one.digest == keeps));
}
