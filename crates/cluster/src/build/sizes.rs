//! How large a compute stack's groups and fleets may be, by what it stands for: the stack's own parameters say it, and nothing else does.

use std::collections::BTreeMap;

use landfall_stack::Id;
use serde::{Deserialize, Serialize};

use crate::infra::{Bounds, Capacity, Compatibility, Infra};

/// Where a version is on its way; the stack's parameters `Status` and `Roll` hold it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// New: nobody knows whether it works.
    Testing,
    /// It works, and takes the place of others that are still there.
    Replacing,
    /// It is one of those that are used.
    Active,
    /// It is emptied.
    Inactive,
    /// It does not work.
    Failed,
}

impl Standing {
    pub fn status(self) -> &'static str {
        match self {
            Self::Replacing | Self::Active => "active",
            Self::Testing | Self::Inactive | Self::Failed => "inactive",
        }
    }

    pub fn roll(self) -> &'static str {
        match self {
            Self::Testing => "testing",
            Self::Replacing => "replacing",
            Self::Active | Self::Inactive => "done",
            Self::Failed => "failed",
        }
    }

    /// As the parameters say; what somebody set by hand counts as what it comes closest to.
    pub fn of(status: &str, roll: &str) -> Self {
        match (status, roll) {
            ("active", "replacing") => Self::Replacing,
            ("active", _) => Self::Active,
            (_, "testing") => Self::Testing,
            (_, "failed") => Self::Failed,
            _ => Self::Inactive,
        }
    }
}

/// Of an Auto Scaling group: least and most. Of a request for a Spot Fleet: how much there is.
pub(super) fn names(infra: &Infra, name: &str, group: bool) -> Vec<Id> {
    let kind = if group { "Group" } else { "Fleet" };
    match infra.compatibility {
        Compatibility::SpotFleets if !group => vec![Id::of(&[name, kind, "Target"])],
        _ => vec![Id::of(&[name, kind, "Min"]), Id::of(&[name, kind, "Max"])],
    }
}

/// Parameters of a compute stack in this standing. `there`: how many units of each fleet and group run now where this version is to take
/// over, so that it begins with room for what is there.
pub fn sizes(infra: &Infra, standing: Standing, there: &BTreeMap<String, u32>) -> BTreeMap<String, String> {
    let mut all = BTreeMap::from([
        ("Status".to_owned(), standing.status().to_owned()),
        ("Roll".to_owned(), standing.roll().to_owned()),
    ]);
    let bounds = infra.bounds();
    let kinds =
        infra.fleets.iter().map(|one| (&one.name, false)).chain(infra.groups.iter().map(|one| (&one.name, true)));
    // Something has to prove itself, even where nothing is wanted.
    let none = bounds.values().all(|one| one.desired == 0);
    for (index, (name, group)) in kinds.enumerate() {
        let Some(own) = bounds.get(name) else { continue };
        let prove = u32::from(none && index == 0);
        let at_work = own.desired.max(prove).max(there.get(name).copied().unwrap_or(0)).min(own.max.max(prove));
        let (low, high) = match standing {
            Standing::Testing | Standing::Replacing => (at_work, own.max.max(at_work)),
            Standing::Active => (own.min, own.max),
            // What is there stays until it is drained.
            Standing::Inactive => (0, own.max),
            Standing::Failed => (0, 0),
        };
        let names = names(infra, name, group);
        match names.as_slice() {
            [low_name, high_name] => {
                all.insert(low_name.to_string(), low.to_string());
                all.insert(high_name.to_string(), high.to_string());
            }
            [target] => {
                let target_size = match standing {
                    Standing::Testing | Standing::Replacing => at_work,
                    // The scaler's business, or the drain's.
                    Standing::Active | Standing::Inactive => {
                        own.desired.max(there.get(name).copied().unwrap_or(0)).min(own.max)
                    }
                    Standing::Failed => 0,
                };
                all.insert(target.to_string(), target_size.to_string());
            }
            _ => {}
        }
    }
    all
}

/// Fleets and groups that have a size, by their stack's parameters.
pub fn sized(infra: &Infra, parameters: &BTreeMap<String, String>) -> Vec<String> {
    let fleets = infra.fleets.iter().map(|one| (&one.name, false));
    let groups = infra.groups.iter().map(|one| (&one.name, true));
    let size = |id: &Id| parameters.get(id.as_str()).and_then(|text| text.parse::<u32>().ok());
    let has = |name: &str, group| names(infra, name, group).first().and_then(size).is_some_and(|size| size > 0);
    fleets.chain(groups).filter(|(name, group)| has(name, *group)).map(|(name, _)| name.clone()).collect()
}

/// As [`sizes`], of a version that is made of another `infra.yml`: by its own template, whose defaults its bounds are. What is not told
/// stays.
pub fn restanding(template: &str, standing: Standing) -> BTreeMap<String, String> {
    #[derive(Default, Deserialize)]
    #[serde(rename_all = "PascalCase", default)]
    struct Whole {
        parameters: BTreeMap<String, Defaults>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Defaults {
        default: Option<String>,
    }
    let whole: Whole = serde_json::from_str(template).unwrap_or_default();
    let mut all = BTreeMap::from([
        ("Status".to_owned(), standing.status().to_owned()),
        ("Roll".to_owned(), standing.roll().to_owned()),
    ]);
    let ends = |name: &str, what: &[&str]| what.iter().any(|end| name.ends_with(end));
    for (name, Defaults { default }) in whole.parameters {
        let least = ends(&name, &["FleetMin", "GroupMin"]);
        if !least && !ends(&name, &["FleetMax", "GroupMax", "FleetTarget"]) {
            continue;
        }
        match standing {
            Standing::Failed => drop(all.insert(name, "0".to_owned())),
            Standing::Inactive if least => drop(all.insert(name, "0".to_owned())),
            // A Spot Fleet's size is not taken back to what it began with.
            _ if name.ends_with("FleetTarget") => {}
            _ => all.extend(default.map(|default| (name, default))),
        }
    }
    all
}

/// Bounds as a template's defaults: what a version goes back to whose `infra.yml` is not there any more.
pub(super) fn default(infra: &Infra, bounds: Bounds, index: usize, single: bool) -> String {
    let grows = infra.autoscaling || infra.capacity == Capacity::EcsManaged;
    let number = match index {
        1 => bounds.max,
        // A Spot Fleet's target is all that there is to say how it begins, and without a scaler the least is all that there will be.
        _ if single || !grows => bounds.desired,
        _ => bounds.min,
    };
    number.to_string()
}
