//! What of a repository may go. Pure: what it has, what is needed, and the rules come in.
//!
//! Whatever is needed anywhere stays, with all that belongs to it: an index with its images, an image with its signatures, and an image of an
//! index with the index. Digests count wherever they are, and tags in every repository of that name, whatever its registry is called: what
//! is deployed may know it by another name.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use landfall_model::Timestamp;
use landfall_ports::registry::fits;
use landfall_registry::manifest::Document;
use landfall_registry::{Digest, Held, Reference, Repository};
use serde::Serialize;

use crate::release;

/// What stays though nothing needs it.
#[derive(Debug, Clone)]
pub(crate) struct Rules {
    /// Of the images that have a tag.
    pub(crate) newest: usize,
    /// Seconds.
    pub(crate) younger: i64,
    /// With `*` for any text.
    pub(crate) tags: Vec<String>,
    /// Newest releases of each project, with their images.
    pub(crate) releases: usize,
}

/// What is needed, each with why.
#[derive(Debug, Clone, Default)]
pub(crate) struct Needed {
    digests: BTreeMap<Digest, String>,
    /// By the repository's name without its registry.
    tags: BTreeMap<(String, String), String>,
}

impl Needed {
    /// An image as a task definition names it. What is no reference (an image's id of one machine) is in no registry.
    pub(crate) fn add(&mut self, image: &str, why: &str) {
        let Ok(reference) = Reference::parse(image) else { return };
        let why = why.to_owned();
        match reference.digest {
            Some(digest) => self.digests.entry(digest).or_insert(why),
            None => {
                let tag = reference.tag.unwrap_or_else(|| "latest".to_owned());
                self.tags.entry((reference.repository.name, tag)).or_insert(why)
            }
        };
    }

    fn of(&self, repository: &Repository, held: &Held) -> Option<String> {
        let named = |tag: &String| self.tags.get(&(repository.name.clone(), tag.clone()));
        self.digests.get(held.digest()).or_else(|| held.tags.iter().find_map(named)).cloned()
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Verdict {
    pub(crate) digest: Digest,
    pub(crate) tags: Vec<String>,
    pub(crate) since: Option<Timestamp>,
    pub(crate) why: String,
}

/// Both lists newest first, but what is deleted in the order in which it must be: what names others before those.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Plan {
    pub(crate) repository: String,
    pub(crate) delete: Vec<Verdict>,
    pub(crate) keep: Vec<Verdict>,
}

/// When a release was made, and its project and images.
struct Recorded {
    created: String,
    project: String,
    images: Vec<Digest>,
}

fn recorded(document: &Document) -> Option<Recorded> {
    let (created, project, images) = release::images_of(document)?;
    let digest = |image: &String| image.rsplit_once('@')?.1.parse().ok();
    Some(Recorded { created, project, images: images.iter().filter_map(digest).collect() })
}

pub(crate) fn plan(
    repository: &Repository,
    stock: &BTreeMap<Digest, Held>,
    needed: &Needed,
    rules: &Rules,
    now: Timestamp,
) -> Plan {
    let records: BTreeMap<&Digest, Recorded> =
        stock.values().filter_map(|held| Some((held.digest(), recorded(&held.document)?))).collect();
    let mut keep: BTreeMap<Digest, String> = BTreeMap::new();
    let mut needed = needed.clone();
    for digest in newest_releases(&records, stock, rules.releases) {
        keep.insert(digest.clone(), "one of the newest releases".to_owned());
        for image in &records[&digest].images {
            needed.digests.entry(image.clone()).or_insert_with(|| "in one of the newest releases".to_owned());
        }
    }
    let parts: BTreeSet<&Digest> = stock.values().flat_map(Held::parts).collect();
    let belongs = |held: &Held| held.subject().is_some_and(|subject| stock.contains_key(&subject));
    let is_own = |held: &&Held| {
        !records.contains_key(held.digest())
            && !belongs(held)
            && (!held.tags.is_empty() || !parts.contains(held.digest()))
    };
    let mut tagged: Vec<&Held> = stock.values().filter(is_own).filter(|held| !held.tags.is_empty()).collect();
    tagged.retain(|held| held.since.is_some());
    tagged.sort_by(|one, other| other.since.cmp(&one.since).then_with(|| one.digest().cmp(other.digest())));
    let newest: BTreeSet<&Digest> = tagged.iter().take(rules.newest).map(|held| held.digest()).collect();
    for held in stock.values() {
        if let Some(why) = needed.of(repository, held) {
            keep.insert(held.digest().clone(), why);
        }
    }
    for held in stock.values().filter(is_own) {
        if keep.contains_key(held.digest()) {
            continue;
        }
        let fitting = |tag: &&String| rules.tags.iter().any(|pattern| fits(pattern, tag));
        let why = if let Some(tag) = held.tags.iter().find(fitting) {
            format!("tag {tag}")
        } else {
            match held.since {
                None => "nobody says how old it is".to_owned(),
                Some(since) if rules.younger > 0 && now.as_second() - since.as_second() < rules.younger => {
                    "younger than --younger".to_owned()
                }
                Some(_) if newest.contains(held.digest()) => format!("one of the newest {}", rules.newest),
                Some(_) => continue,
            }
        };
        keep.insert(held.digest().clone(), why);
    }
    close(stock, &mut keep);
    // A record goes with the images that it is about, and not before: one that is kept keeps its promise.
    for (digest, record) in &records {
        let whole = record.images.iter().all(|image| !stock.contains_key(image) || keep.contains_key(image));
        let some = record.images.iter().any(|image| keep.contains_key(image));
        let named = stock.get(*digest).is_some_and(|held| !held.tags.is_empty());
        if whole && some && named {
            keep.entry((*digest).clone()).or_insert_with(|| "its images stay".to_owned());
        }
    }
    split(repository, stock, &keep, &records, &parts)
}

fn newest_releases(records: &BTreeMap<&Digest, Recorded>, stock: &BTreeMap<Digest, Held>, most: usize) -> Vec<Digest> {
    let named = |digest: &Digest| stock.get(digest).is_some_and(|held| !held.tags.is_empty());
    let mut all: Vec<(&Digest, &Recorded)> =
        records.iter().filter(|(digest, _)| named(digest)).map(|(digest, record)| (*digest, record)).collect();
    // Times of one form sort as text.
    all.sort_by(|one, other| other.1.created.cmp(&one.1.created).then_with(|| one.0.cmp(other.0)));
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    all.retain(|(_, record)| {
        let count = seen.entry(record.project.as_str()).or_default();
        *count += 1;
        *count <= most
    });
    all.into_iter().map(|(digest, _)| digest.clone()).collect()
}

/// Adds what belongs to what is kept, until nothing is added any more.
fn close(stock: &BTreeMap<Digest, Held>, keep: &mut BTreeMap<Digest, String>) {
    loop {
        let mut more: Vec<(Digest, String)> = Vec::new();
        for held in stock.values() {
            let digest = held.digest();
            if keep.contains_key(digest) {
                let part = |part: &&Digest| stock.contains_key(*part) && !keep.contains_key(*part);
                let why = format!("part of {}", digest.short());
                more.extend(held.parts().filter(part).map(|part| (part.clone(), why.clone())));
            } else if let Some(part) =
                held.parts().find(|part| keep.get(*part).is_some_and(|why| !why.starts_with("part of")))
            {
                more.push((digest.clone(), format!("has {}", part.short())));
            } else if let Some(subject) = held.subject().filter(|subject| keep.contains_key(subject)) {
                more.push((digest.clone(), format!("says something of {}", subject.short())));
            }
        }
        if more.is_empty() {
            return;
        }
        keep.extend(more);
    }
}

fn split(
    repository: &Repository,
    stock: &BTreeMap<Digest, Held>,
    keep: &BTreeMap<Digest, String>,
    records: &BTreeMap<&Digest, Recorded>,
    parts: &BTreeSet<&Digest>,
) -> Plan {
    let (mut stays, mut goes) = (Vec::new(), Vec::new());
    for held in stock.values() {
        let digest = held.digest();
        let verdict = |why: String| Verdict { digest: digest.clone(), tags: held.tags.clone(), since: held.since, why };
        match keep.get(digest) {
            Some(why) => stays.push(verdict(why.clone())),
            None => {
                // First what only tells of others, then what names others, then the rest: a registry may refuse to delete what is named.
                let (rank, why) = if records.contains_key(digest) {
                    (0, "a release whose images go")
                } else if held.subject().is_some_and(|subject| stock.contains_key(&subject)) {
                    (1, "says something of what goes")
                } else if !parts.contains(digest) {
                    (2, if held.tags.is_empty() { "no tag" } else { "nothing needs it" })
                } else {
                    (3, "part of what goes")
                };
                goes.push((rank, verdict(why.to_owned())));
            }
        }
    }
    let newest =
        |one: &Verdict, other: &Verdict| other.since.cmp(&one.since).then_with(|| one.digest.cmp(&other.digest));
    stays.sort_by(newest);
    goes.sort_by(|one, other| one.0.cmp(&other.0).then_with(|| newest(&one.1, &other.1)));
    let delete = goes.into_iter().map(|(_, verdict)| verdict).collect();
    Plan { repository: repository.to_string(), delete, keep: stays }
}
