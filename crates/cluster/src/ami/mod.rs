//! An image of one's own: what is done next about it, as a function of what EC2 shows. Nothing is remembered between two looks but which
//! builder this run launched: whoever is killed anywhere goes on from there, and two at once end with the image of one.
//!
//! ```text
//! an image of this source and script is there ─────────────────────────────────────► used
//! a builder is launched ─► runs the script, says on its console how it ended, stops ─► image ─► available ─► the builder goes
//! ```
//!
//! Of what an image is made its tags say, which it has from its beginning: without them it is nobody's, and another one is made.

mod script;

use std::collections::{BTreeMap, BTreeSet};

pub use landfall_iam::{BUILDER, RECIPE};
use landfall_model::machine_image::{ImageState, MachineLaunch, MachineState};
use serde::Serialize;
use sha2::{Digest as _, Sha256};

pub use self::script::{Ending, Unbuildable, ending, recipe, user_data};

use crate::names::LABEL_CLUSTER;

/// Tag of an image: what it was made from. ecs-cluster-deployer's, so that images that are there are found.
pub const SOURCE: &str = "source_ami";
/// What the name of every image of ours begins with.
pub const NAMED: &str = "landfall-ami-";
/// Of a builder: what it starts from. Its image alone has [`SOURCE`].
const FROM: &str = "landfall:source";
/// Of a builder: the seconds that its script was given, by whoever launched it.
const LIMIT: &str = "landfall:limit";

/// Longest time that a script may be given.
pub const LONGEST_SCRIPT: i64 = 6 * 3600;
/// A builder of this age was forgotten, whatever it builds: scripts take less.
const FORGOTTEN: i64 = LONGEST_SCRIPT + 2 * 3600;

/// What an image is to be made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// The image that is built upon.
    pub source: String,
    /// Of the script; `None`: there is none, and nothing can be built.
    pub recipe: Option<String>,
}

/// One look.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// The account's.
    pub images: Vec<ImageState>,
    /// Of all orders.
    pub builders: Vec<MachineState>,
    /// How the script of the builder that stopped has ended; `None`: its console does not say.
    pub ending: Option<Ending>,
    /// Seconds for which it has been asked for that.
    pub silent: i64,
    /// The builder that this run launched.
    pub launched: Option<String>,
    /// Seconds since 1970.
    pub now: i64,
}

/// Seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// For which the script may run.
    pub script: i64,
    /// Beside that, from launch to stop.
    pub boots: i64,
    /// Until the console of a builder that stopped says how its script ended: EC2 posts it some minutes later.
    pub silent: i64,
}

impl Default for Patience {
    fn default() -> Self {
        Self { script: 2700, boots: 900, silent: 600 }
    }
}

/// One thing to do, or to wait for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "do")]
pub enum Next {
    Launch,
    /// Make an image of this builder.
    Create {
        builder: String,
    },
    /// Nothing needs this builder any more.
    Terminate {
        builder: String,
    },
    Wait {
        on: Wait,
    },
    Done {
        image: String,
    },
    /// It ends, once these are gone.
    Failed {
        why: Failure,
        builder: Option<String>,
        image: Option<String>,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "for")]
pub enum Wait {
    /// Its script, for so many seconds since its launch.
    Script {
        builder: String,
        seconds: i64,
    },
    /// It has stopped; EC2 does not have its console yet.
    Console {
        builder: String,
    },
    Image {
        image: String,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
#[serde(rename_all = "snake_case", tag = "what")]
pub enum Failure {
    #[error("there is no image of {source_ami}, and no script to make one with")]
    NoScript { source_ami: String },
    #[error("the script ran on {builder} and {}", Ending::said(.code))]
    Script { builder: String, code: i32, lines: Vec<String> },
    #[error("{builder} has not stopped {seconds} s after its launch, as it does when its script ends")]
    Hung { builder: String, seconds: i64 },
    #[error("{builder} has stopped, and its console does not say how its script ended")]
    Silent { builder: String },
    #[error("{builder} was terminated before its script ended{}", why(.reason))]
    Gone { builder: String, reason: String },
    #[error("image {image} could not be made{}", why(.reason))]
    Image { image: String, reason: String },
}

fn why(reason: &str) -> String {
    if reason.is_empty() { String::new() } else { format!(": {reason}") }
}

/// Seconds since its launch.
fn age(builder: &MachineState, now: i64) -> i64 {
    builder.launched.map_or(0, |at| now - at.as_second())
}

fn there(builder: &MachineState) -> bool {
    matches!(builder.state.as_str(), "pending" | "running" | "stopping" | "stopped")
}

/// EC2 is still making it.
fn pending(image: &ImageState) -> bool {
    matches!(image.state.as_str(), "pending" | "transient")
}

impl Order {
    /// Whether it is what is wanted. One that says nothing of a script is somebody else's, Packer's for instance, and is what is wanted
    /// where there is no script here either.
    pub fn is(&self, image: &ImageState) -> bool {
        image.tags.get(SOURCE) == Some(&self.source) && image.tags.get(RECIPE) == self.recipe.as_ref()
    }

    /// The image that is used, if there is one: the newest.
    pub fn made<'a>(&self, images: &'a [ImageState]) -> Option<&'a ImageState> {
        let made = images.iter().filter(|one| self.is(one) && one.state == "available");
        made.max_by(|a, b| (a.created, &a.id).cmp(&(b.created, &b.id)))
    }

    /// Builders of it that are there, the one that counts first.
    fn builders<'a>(&self, facts: &'a Facts) -> Vec<&'a MachineState> {
        let own = |one: &&MachineState| {
            one.tags.get(FROM) == Some(&self.source) && one.tags.get(RECIPE) == self.recipe.as_ref()
        };
        let mut own: Vec<&MachineState> = facts.builders.iter().filter(|one| there(one)).filter(own).collect();
        own.sort_by(|a, b| (a.launched, &a.id).cmp(&(b.launched, &b.id)));
        own
    }

    /// The builder that counts.
    pub fn builder(&self, facts: &Facts) -> Option<String> {
        self.builders(facts).first().map(|one| one.id.clone())
    }

    /// It, where its console is to be read.
    pub fn stopped(&self, facts: &Facts) -> Option<String> {
        let made = facts.images.iter().any(|one| self.is(one) && (one.state == "available" || pending(one)));
        self.builders(facts).first().filter(|one| one.state == "stopped" && !made).map(|one| one.id.clone())
    }

    /// Of the image that is made of a builder: one builder, one image.
    pub fn name(&self, builder: &str) -> String {
        format!("{NAMED}{}-{}-{builder}", self.source, self.recipe.as_deref().unwrap_or_default())
    }

    /// Of the image, and of its snapshots.
    pub fn tags(&self, builder: &str, cluster: &str) -> BTreeMap<String, String> {
        let mut tags = BTreeMap::from([
            ("Name".to_owned(), self.name(builder)),
            (LABEL_CLUSTER.to_owned(), cluster.to_owned()),
            (SOURCE.to_owned(), self.source.clone()),
        ]);
        tags.extend(self.recipe.clone().map(|recipe| (RECIPE.to_owned(), recipe)));
        tags
    }

    /// A builder. The same launch has the same token, so that two who ask for it get one; EC2 gives a token's instance once only, and so
    /// whoever comes after its end counts `attempt` on.
    /// `limit`: seconds that the script has.
    pub fn launch(&self, cluster: &str, launch: MachineLaunch, limit: i64, attempt: u32) -> MachineLaunch {
        let limit = limit.to_string();
        let tags = [
            ("Name", "landfall ami builder"),
            (LABEL_CLUSTER, cluster),
            BUILDER,
            (FROM, &self.source),
            (RECIPE, self.recipe.as_deref().unwrap_or_default()),
            (LIMIT, &limit),
        ];
        let tags = tags.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
        let launch = MachineLaunch { image: self.source.clone(), tags, ..launch };
        let MachineLaunch { image, instance_type, subnet, root_device, user_data, profile, .. } = &launch;
        let mut hash = Sha256::new();
        for part in [image, instance_type, subnet, root_device, user_data, &profile.clone().unwrap_or_default()] {
            hash.update(part);
            hash.update([0]);
        }
        hash.update(format!("{cluster} {attempt}"));
        MachineLaunch { token: hex::encode(hash.finalize()), ..launch }
    }
}

/// What is done next.
pub fn next(order: &Order, facts: &Facts, patience: Patience) -> Next {
    let own = order.builders(facts);
    let made = order.made(&facts.images);
    if let Some(unused) = unused(&own, made.is_some(), facts) {
        return Next::Terminate { builder: unused };
    }
    if let Some(image) = made {
        return Next::Done { image: image.id.clone() };
    }
    if let Some(image) = facts.images.iter().find(|one| order.is(one) && pending(one)) {
        return Next::Wait { on: Wait::Image { image: image.id.clone() } };
    }
    let Some(builder) = own.first() else { return begin(order, facts) };
    let id = builder.id.clone();
    let failed = |why: Failure| Next::Failed { why, builder: Some(id.clone()), image: None };
    let named = order.name(&id);
    if let Some(image) = facts.images.iter().find(|one| one.name == named) {
        return match image.state.as_str() {
            "failed" | "error" | "invalid" => {
                let why = Failure::Image { image: image.id.clone(), reason: image.reason.clone() };
                Next::Failed { why, builder: Some(id), image: Some(image.id.clone()) }
            }
            _ if pending(image) => Next::Wait { on: Wait::Image { image: image.id.clone() } },
            // Its image has lost its tags: somebody wants another one.
            _ => Next::Terminate { builder: id },
        };
    }
    let seconds = age(builder, facts.now);
    let limit = builder.tags.get(LIMIT).and_then(|limit| limit.parse().ok()).unwrap_or(LONGEST_SCRIPT);
    let late = seconds > limit + patience.boots;
    // What another run left behind, and of which nothing can be known any more, is no failure of this one.
    let mine = facts.launched.as_ref() == Some(&id);
    match (builder.state.as_str(), &facts.ending) {
        ("stopped", Some(Ending { code: 0, .. })) => Next::Create { builder: id },
        ("stopped", Some(Ending { code, lines })) => {
            failed(Failure::Script { builder: id.clone(), code: *code, lines: lines.clone() })
        }
        ("stopped", None) if late && !mine => Next::Terminate { builder: id },
        ("stopped", None) if facts.silent > patience.silent => failed(Failure::Silent { builder: id.clone() }),
        ("stopped", None) => Next::Wait { on: Wait::Console { builder: id } },
        _ if late && !mine => Next::Terminate { builder: id },
        _ if late => failed(Failure::Hung { builder: id.clone(), seconds }),
        _ => Next::Wait { on: Wait::Script { builder: id, seconds } },
    }
}

/// A builder that is one too many: a second one, one whose image is there, or anybody's that was forgotten.
fn unused(own: &[&MachineState], made: bool, facts: &Facts) -> Option<String> {
    let ids: BTreeSet<&String> = own.iter().map(|one| &one.id).collect();
    let others = facts.builders.iter().filter(|one| there(one) && !ids.contains(&one.id));
    let forgotten = others.filter(|one| age(one, facts.now) > FORGOTTEN);
    own.iter().skip(usize::from(!made)).copied().chain(forgotten).next().map(|one| one.id.clone())
}

/// There is neither image nor builder.
fn begin(order: &Order, facts: &Facts) -> Next {
    let failed = |why| Next::Failed { why, builder: None, image: None };
    if order.recipe.is_none() {
        return failed(Failure::NoScript { source_ami: order.source.clone() });
    }
    // A launch that EC2 takes and ends at once, for a key or a limit for instance, would otherwise be made again and again.
    let launched = facts.builders.iter().find(|one| facts.launched.as_ref() == Some(&one.id));
    match launched.filter(|one| !there(one)) {
        Some(gone) => failed(Failure::Gone { builder: gone.id.clone(), reason: gone.reason.clone() }),
        None => Next::Launch,
    }
}
