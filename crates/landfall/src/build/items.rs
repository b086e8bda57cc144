//! What of a manifest is built, in which order, and whether it has to be. Pure.

use std::collections::{BTreeMap, BTreeSet};

use landfall_model::app::{App, BuildSource, ImageSource};
use sha2::{Digest, Sha256};

/// Changes when images are made another way, so that none is taken for another's.
const RECIPE: &str = "landfall build 1";

/// An image to build: a container's, or that of several containers that are built alike.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Item {
    /// `web/app`, of the first container that has it.
    pub(crate) name: String,
    pub(crate) source: BuildSource,
    /// Where it goes: the awaited image, with placeholders.
    pub(crate) target: Option<String>,
    /// Further tags, with placeholders.
    pub(crate) tags: Vec<String>,
}

impl Item {
    /// One segment of a path.
    pub(crate) fn key(&self) -> String {
        self.name.replace('/', "-")
    }

    /// Its name in the builder, by which others may be based on it.
    pub(crate) fn local(&self, project: &str) -> String {
        format!("localhost/{project}-{}", self.key())
    }
}

/// Every image that the manifest's services build, or have built for a registry.
pub(crate) fn items(app: &App) -> Vec<Item> {
    let mut all: Vec<Item> = Vec::new();
    for service in app.services.values() {
        for container in &service.containers {
            let (source, target, tags) = match &container.image {
                ImageSource::Build(source) => (source, None, Vec::new()),
                ImageSource::Await(awaited) => match &awaited.build {
                    Some(source) => (source, Some(awaited.image.clone()), awaited.tags.clone()),
                    None => continue,
                },
                ImageSource::Reference(_) | ImageSource::Base => continue,
            };
            if all.iter().any(|item| item.source == *source && item.target == target && item.tags == tags) {
                continue;
            }
            let name = format!("{}/{}", service.name, container.name);
            all.push(Item { name, source: source.clone(), target, tags });
        }
    }
    all
}

/// Names of images that a Dockerfile is based on or copies from.
pub(crate) fn bases(dockerfile: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for line in dockerfile.lines() {
        let mut words = line.split_whitespace();
        let first = words.next().unwrap_or_default();
        if first.eq_ignore_ascii_case("FROM") {
            found.extend(words.find(|word| !word.starts_with("--")).map(str::to_owned));
        } else if first.eq_ignore_ascii_case("COPY") || first.eq_ignore_ascii_case("ADD") {
            found.extend(words.filter_map(|word| word.strip_prefix("--from=")).map(str::to_owned));
        }
    }
    found
}

/// In which order images are built: each comes after those that it is based on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Order {
    pub(crate) sorted: Vec<usize>,
    /// For each item those that it is based on.
    pub(crate) needs: Vec<Vec<usize>>,
}

/// `Err`: the names of images that are based on each other.
pub(crate) fn order(items: &[Item], project: &str, dockerfiles: &[String]) -> Result<Order, Vec<String>> {
    let needs: Vec<Vec<usize>> = dockerfiles
        .iter()
        .map(|text| {
            let bases = bases(text);
            let is_base = |item: &Item| {
                let local = item.local(project);
                bases.contains(&local) || bases.contains(&format!("{local}:latest"))
            };
            (0..items.len()).filter(|other| is_base(&items[*other])).collect()
        })
        .collect();
    let (mut sorted, mut left): (Vec<usize>, Vec<usize>) = (Vec::new(), (0..items.len()).collect());
    while !left.is_empty() {
        let (ready, rest): (Vec<usize>, Vec<usize>) =
            left.iter().partition(|item| needs[**item].iter().all(|base| sorted.contains(base)));
        if ready.is_empty() {
            return Err(rest.into_iter().map(|item| items[item].name.clone()).collect());
        }
        sorted.extend(ready);
        left = rest;
    }
    Ok(Order { sorted, needs })
}

/// What decides what an image holds. `bases`: that of those it is based on. Secrets' values are no part of an image.
pub(crate) fn inputs(source: &BuildSource, context: &str, platforms: &[String], bases: &[String]) -> String {
    let args: Vec<String> = source.args.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let target = source.target.clone().unwrap_or_default();
    let lists: BTreeMap<&str, &[String]> =
        BTreeMap::from([("args", &args[..]), ("bases", bases), ("platforms", platforms)]);
    let mut hash = Sha256::new();
    let mut field = |text: &str| {
        hash.update((text.len() as u64).to_le_bytes());
        hash.update(text);
    };
    [RECIPE, context, &source.dockerfile, &target].into_iter().for_each(&mut field);
    for (name, list) in lists {
        field(name);
        field(&list.len().to_string());
        list.iter().for_each(|text| field(text));
    }
    hex::encode(hash.finalize())
}

/// The tag under which a registry has what these inputs give.
pub(crate) fn inputs_tag(inputs: &str) -> String {
    format!("landfall-{}", &inputs[..32])
}

/// Those that have to be built: what is not there, and what such a one is based on.
pub(crate) fn stale(order: &[usize], needs: &[Vec<usize>], there: impl Fn(usize) -> bool) -> BTreeSet<usize> {
    let mut stale = BTreeSet::new();
    // Backwards: those that are based on others come after them.
    for item in order.iter().rev() {
        if !there(*item) || stale.contains(item) {
            stale.insert(*item);
            stale.extend(&needs[*item]);
        }
    }
    stale
}

/// What placeholders stand for.
#[derive(Debug, Clone, Default)]
pub(crate) struct Words {
    pub(crate) project: String,
    pub(crate) commit: Option<String>,
    /// Made legal for a tag.
    pub(crate) branch: Option<String>,
    pub(crate) tag: Option<String>,
}

impl Words {
    /// `Err`: the placeholder that nothing is known for.
    pub(crate) fn fill(&self, text: &str) -> Result<String, &'static str> {
        let commit = self.commit.as_deref();
        let words = [
            ("{project}", Some(self.project.as_str())),
            ("{commit}", commit),
            ("{short_commit}", commit.map(|commit| commit.get(..7).unwrap_or(commit))),
            ("{branch}", self.branch.as_deref()),
            ("{tag}", self.tag.as_deref()),
        ];
        let mut text = text.to_owned();
        for (name, word) in words {
            if text.contains(name) {
                text = text.replace(name, word.ok_or(name)?);
            }
        }
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    fn item(name: &str) -> Item {
        let source = BuildSource {
            context: name.to_owned(),
            dockerfile: "Dockerfile".to_owned(),
            args: BTreeMap::new(),
            target: None,
            timeout: 60,
        };
        Item { name: name.to_owned(), source, target: None, tags: Vec::new() }
    }

    #[test]
    fn bases_are_found_in_every_form() {
        let text = "ARG X=1\nFROM --platform=$BUILDPLATFORM golang:1 AS build\nfrom localhost/shop-base-app\nCOPY --chown=1 --from=localhost/shop-tools-app:latest /a /b\n# FROM no\nRUN echo FROM no\n";
        let expected = ["golang:1", "localhost/shop-base-app", "localhost/shop-tools-app:latest"];
        assert_eq!(bases(text), expected.iter().map(|text| (*text).to_owned()).collect());
    }

    #[test]
    fn bases_come_first_and_circles_are_named() {
        let items = [item("web/app"), item("base/app"), item("worker/app")];
        let of = |texts: [&str; 3]| order(&items, "shop", &texts.map(str::to_owned));
        let Order { sorted, needs } =
            of(["FROM localhost/shop-base-app", "FROM scratch", "FROM localhost/shop-web-app:latest"]).unwrap();
        assert_eq!((sorted, needs.clone()), (vec![1, 0, 2], vec![vec![1], vec![], vec![0]]));
        assert_eq!(
            of(["FROM localhost/shop-worker-app", "FROM scratch", "FROM localhost/shop-web-app"]).unwrap_err(),
            ["web/app", "worker/app"]
        );
        assert_eq!(
            stale(&[1, 0, 2], &needs, |item| item != 2),
            BTreeSet::from([0, 1, 2]),
            "what is built needs its bases"
        );
        assert_eq!(stale(&[1, 0, 2], &needs, |item| item != 0), BTreeSet::from([0, 1]));
        assert_eq!(stale(&[1, 0, 2], &needs, |_| true), BTreeSet::new());
    }

    #[test]
    fn every_input_counts() {
        let source = item("a").source;
        let of = |source: &BuildSource, context: &str, platforms: &[&str], bases: &[&str]| {
            let owned = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
            inputs(source, context, &owned(platforms), &owned(bases))
        };
        let mut seen = BTreeSet::from([of(&source, "c", &[], &[])]);
        assert!(seen.insert(of(&source, "d", &[], &[])));
        assert!(seen.insert(of(&source, "c", &["linux/arm64"], &[])));
        assert!(seen.insert(of(&source, "c", &[], &["linux/arm64"])));
        let with = |change: &dyn Fn(&mut BuildSource)| {
            let mut source = source.clone();
            change(&mut source);
            of(&source, "c", &[], &[])
        };
        assert!(seen.insert(with(&|source| source.target = Some("x".to_owned()))));
        assert!(seen.insert(with(&|source| source.dockerfile = "x".to_owned())));
        assert!(seen.insert(with(&|source| drop(source.args.insert("a".to_owned(), "b=c".to_owned())))));
        assert!(seen.insert(with(&|source| drop(source.args.insert("a=b".to_owned(), "d".to_owned())))));
        assert!(!seen.insert(with(&|source| source.timeout = 1)), "how long it may take does not");
    }

    #[test]
    fn placeholders_that_nothing_is_known_for_are_named() {
        let words =
            Words { project: "shop".to_owned(), commit: Some("0123456789".to_owned()), branch: None, tag: None };
        assert_eq!(words.fill("r/{project}:{short_commit}-{commit}"), Ok("r/shop:0123456-0123456789".to_owned()));
        assert_eq!(words.fill("x-{branch}"), Err("{branch}"));
    }
}
