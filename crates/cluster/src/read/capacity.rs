//! Fleets, groups, and what they are made of.

use std::collections::BTreeMap;

use landfall_manifest::yaml::{At, Map, scalar, shorten};
use landfall_manifest::{Diagnostic, codes};

use super::Read;
use crate::infra::{Bid, Fleet, Group, Image, OnDemand};
use crate::price::Price;
use crate::word;

const GROUP: &[&str] = &["name", "instance_type", "desired_instances", "min_size", "max_size"];
const FLEET: &[&str] = &[
    "name",
    "timeout",
    "desired_weight",
    "min_weight",
    "max_weight",
    "task_threshold_out",
    "task_threshold_in",
    "on_demand",
    "on_demand_fallback",
    "bids",
];
/// Of instances, or of weight, in a group (<https://docs.aws.amazon.com/autoscaling/ec2/userguide/ec2-auto-scaling-quotas.html> has no
/// lower one of its own).
const MOST: i64 = 10_000;
const MOST_WEIGHT: i64 = 999;

impl Read<'_> {
    pub(super) fn groups(&mut self, instances: &Map<'_>) -> Vec<Group> {
        let items = instances.items("auto_scaling_groups");
        let mut groups = Vec::new();
        for one in &items {
            self.only(one, GROUP);
            let name = one.required("name");
            self.name(one, &name);
            let instance_type = self.instance_type(one);
            let desired = number(one, "desired_instances", 0).unwrap_or(1);
            let min = number(one, "min_size", 0).unwrap_or_else(|| desired.min(1));
            let max = number(one, "max_size", 0).unwrap_or_else(|| {
                if desired > 1 {
                    self.notes.push(format!(
                        "auto_scaling_groups {name}: max_size is {desired}, as desired_instances; ecs-cluster-deployer took 1, and failed"
                    ));
                }
                desired.max(1)
            });
            self.in_order(one, ["min_size", "desired_instances", "max_size"], [min, desired, max]);
            groups.push(Group { name, instance_type, desired, min, max });
        }
        groups
    }

    pub(super) fn fleets(&mut self, instances: &Map<'_>) -> Vec<Fleet> {
        let items = instances.items("spot_fleets");
        // The original's thresholds are of its own metric; whole tasks on whole instances need less of a margin.
        let compatible = instances.text("metric").as_deref() == Some("compatible");
        let usual = if compatible { (3, 10) } else { (1, 3) };
        for one in
            items.iter().filter(|one| !compatible && !one.has("task_threshold_out") && !one.has("task_threshold_in"))
        {
            self.notes.push(format!(
                "spot_fleets {}: task thresholds 1 and 3, of whole tasks; ecs-cluster-deployer's 3 and 10 are of `metric: compatible`",
                one.text("name").unwrap_or_default()
            ));
        }
        items.iter().map(|one| self.fleet(one, usual)).collect()
    }

    fn fleet(&mut self, one: &Map<'_>, usual: (u32, u32)) -> Fleet {
        self.only(one, FLEET);
        let name = one.required("name");
        self.name(one, &name);
        let timeout = one.text("timeout").unwrap_or_else(|| "2m".to_owned());
        let timeout = word::timeout(&timeout).unwrap_or_else(|| {
            let message = format!("`{}` cannot be `{}`", one.path("timeout"), shorten(&timeout));
            self.reader.wrong(one.get("timeout"), message, "minutes or seconds, like `2m` or `90s`");
            "2m".to_owned()
        });
        let (min, desired, max) = self.weights(one, &name);
        let threshold_out = number(one, "task_threshold_out", 0).unwrap_or(usual.0);
        let threshold_in = number(one, "task_threshold_in", 0).unwrap_or_else(|| usual.1.max(threshold_out + 2));
        if threshold_out >= threshold_in {
            let key = if one.has("task_threshold_out") { "task_threshold_out" } else { "task_threshold_in" };
            let message = format!(
                "fleet {name} would scale out and in at once: out below {threshold_out}, in above {threshold_in}"
            );
            let error = Diagnostic::error(codes::OUT_OF_RANGE, message);
            self.reader.report(
                error
                    .label(one.get(key).span(), "`task_threshold_out` is less than `task_threshold_in`")
                    .help("with room for fewer tasks than `out` it grows, with room for more than `in` it shrinks"),
            );
        }
        let on_demand = self.on_demand(one, max);
        let bids = self.bids(one, &name);
        let on_demand_fallback = one.boolean("on_demand_fallback").unwrap_or(false);
        Fleet { name, timeout, desired, min, max, threshold_out, threshold_in, on_demand, on_demand_fallback, bids }
    }

    fn weights(&mut self, one: &Map<'_>, name: &str) -> (u32, u32, u32) {
        let desired = number(one, "desired_weight", 0);
        let (min, max) = (number(one, "min_weight", 0), number(one, "max_weight", 1));
        if let (Some(desired), true) = (desired, min.is_none() || max.is_none()) {
            self.notes.push(format!(
                "spot_fleets {name}: without min_weight or max_weight it is desired_weight, {desired}, as in ecs-cluster-deployer's code; \
                 its README asks for both"
            ));
        }
        for (key, value) in [("min_weight", min), ("max_weight", max)] {
            if value.is_none() && desired.is_none() && !one.has(key) {
                one.missing(key);
            }
        }
        let min = min.or(desired).unwrap_or(1);
        let max = max.or(desired).unwrap_or_else(|| min.max(1));
        let desired = desired.unwrap_or_else(|| 1.clamp(min.min(max), max));
        self.in_order(one, ["min_weight", "desired_weight", "max_weight"], [min, desired, max]);
        (min, desired, max)
    }

    /// At least, to begin with, at most.
    fn in_order(&self, one: &Map<'_>, keys: [&str; 3], [min, desired, max]: [u32; 3]) {
        let wrong = |low: usize, high: usize, message: String| {
            let (first, second) = if one.has(keys[low]) { (low, high) } else { (high, low) };
            let mut error = Diagnostic::error(codes::OUT_OF_RANGE, message).label(one.get(keys[first]).span(), "");
            if one.has(keys[second]) {
                error = error.label(one.get(keys[second]).span(), "");
            }
            self.reader.report(error.help(format!("{} ≤ {} ≤ {}", keys[0], keys[1], keys[2])));
        };
        if min > max {
            wrong(0, 2, format!("`{}` is {min}, and `{}` only {max}", one.path(keys[0]), one.path(keys[2])));
        } else if desired > max {
            wrong(1, 2, format!("`{}` is {desired}, and `{}` only {max}", one.path(keys[1]), one.path(keys[2])));
        } else if desired < min {
            wrong(1, 0, format!("`{}` is {desired}, and `{}` {min}", one.path(keys[1]), one.path(keys[0])));
        }
    }

    /// `2` or `20%`.
    fn on_demand(&self, one: &Map<'_>, max: u32) -> OnDemand {
        let Some(text) = one.text("on_demand") else { return OnDemand::default() };
        let read = match text.strip_suffix('%') {
            Some(percent) => {
                percent.parse().ok().filter(|percent| *percent <= 100).map(|percent| OnDemand { base: 0, percent })
            }
            None => text.parse().ok().filter(|base| *base <= max).map(|base| OnDemand { base, percent: 0 }),
        };
        read.unwrap_or_else(|| {
            let message = format!("`{}` cannot be `{}`", one.path("on_demand"), shorten(&text));
            let label = format!("a weight of at most {max}, or a part like `20%`");
            self.reader.wrong(one.get("on_demand"), message, label);
            OnDemand::default()
        })
    }

    fn bids(&self, fleet: &Map<'_>, name: &str) -> Vec<Bid> {
        let items = fleet.items("bids");
        let at = fleet.get("bids");
        // What is no list at all has been told already.
        if items.is_empty() && !at.is_map() && scalar(at).is_none() {
            fleet.missing("bids");
        }
        let mut bids: Vec<Bid> = Vec::new();
        let mut places: BTreeMap<String, At<'_>> = BTreeMap::new();
        for one in &items {
            self.only(one, &["instance_type", "price", "weight"]);
            let instance_type = self.instance_type(one);
            let text = one.required("price");
            let price = Price::parse(&text);
            if price.is_none() && !text.is_empty() {
                let message = format!("`{}` is not a price", shorten(&text));
                let error = Diagnostic::error(codes::OUT_OF_RANGE, message);
                let label = "dollars an hour, like `0.0104`: more than 0, at most 1000";
                self.reader.report(error.label(one.get("price").span(), label));
            }
            let weight = one.int("weight", 1, MOST_WEIGHT).and_then(|weight| u32::try_from(weight).ok()).unwrap_or(1);
            let Some(price) = price else { continue };
            match bids.iter_mut().find(|known| known.instance_type == instance_type) {
                // EC2 takes a type once; what is bid more counts, as it did where one of two bids was enough.
                Some(known) => {
                    known.price = known.price.max(price);
                    let message = format!("fleet {name} bids for {instance_type} twice");
                    let mut warning = Diagnostic::warning(codes::NO_EFFECT, message)
                        .label(one.at.get("instance_type").span(), format!("one bid is made, of {}", known.price));
                    if let Some(first) = places.get(&instance_type) {
                        warning = warning.label(first.span(), "the first");
                    }
                    self.reader.report(warning);
                }
                None => {
                    places.insert(instance_type.clone(), one.get("instance_type"));
                    bids.push(Bid { instance_type, price, weight });
                }
            }
        }
        bids
    }

    fn instance_type(&self, one: &Map<'_>) -> String {
        let kind = one.required("instance_type");
        if !kind.is_empty() && !word::kind_of_instance(&kind) {
            let error = Diagnostic::error(codes::BAD_VALUE, format!("`{}` is not an instance type", shorten(&kind)));
            self.reader.report(error.label(one.get("instance_type").span(), "like `t3.medium`"));
        }
        kind
    }

    /// ECS counts instances.
    pub(super) fn no_weights(&self, instances: &Map<'_>) {
        for bid in instances.items("spot_fleets").iter().flat_map(|fleet| fleet.items("bids")) {
            if bid.text("weight").is_some_and(|weight| weight != "1") {
                let message = "`capacity: ecs-managed` knows no weights: ECS counts instances";
                let error =
                    Diagnostic::error(codes::BAD_VALUE, message).label(bid.get("weight").span(), "leave it out");
                self.reader.report(error.help("or `capacity: landfall`, or a fleet for each size of instances"));
            }
        }
    }

    /// One image is for one kind of processor, and either knows GPUs or does not.
    pub(super) fn one_image(&self, instances: &Map<'_>, image: &Image) {
        if matches!(image, Image::Ami(_)) {
            return;
        }
        let groups = instances.items("auto_scaling_groups");
        let fleets = instances.items("spot_fleets");
        let bids: Vec<Map<'_>> = fleets.iter().flat_map(|fleet| fleet.items("bids")).collect();
        let all = groups.iter().chain(&bids);
        let types: Vec<(String, At<'_>)> =
            all.filter_map(|one| Some((one.text("instance_type")?, one.get("instance_type")))).collect();
        let first = |fits: &dyn Fn(&str) -> bool| types.iter().find(|(kind, _)| fits(kind));
        if let (Some((one, here)), Some((two, there))) = (first(&word::is_arm), first(&|kind| !word::is_arm(kind))) {
            let message = format!("{one} has an ARM processor and {two} has none: one image cannot run on both");
            let error = Diagnostic::error(codes::BAD_VALUE, message);
            self.reader
                .report(error.label(here.span(), "ARM").label(there.span(), "x86").help("make two clusters of them"));
        }
        if let (Some((one, here)), Some((two, there))) = (first(&word::is_gpu), first(&|kind| !word::is_gpu(kind))) {
            let message = format!("{one} has GPUs and {two} has none: the image with their drivers is another one");
            let error = Diagnostic::error(codes::BAD_VALUE, message);
            self.reader
                .report(error.label(here.span(), "GPUs").label(there.span(), "none").help("make two clusters of them"));
        }
        if let Some((one, here)) = first(&|kind| word::is_arm(kind) && word::is_gpu(kind))
            && *image == Image::AmazonLinux2023
        {
            let message = format!("no image of Amazon Linux 2023 for ECS is known for {one}: ARM with GPUs");
            let error = Diagnostic::error(codes::BAD_VALUE, message);
            self.reader.report(error.label(here.span(), "").help("`image: bottlerocket`, or `ami-…`"));
        }
    }
}

fn number(one: &Map<'_>, key: &str, least: i64) -> Option<u32> {
    one.int(key, least, MOST).and_then(|number| u32::try_from(number).ok())
}
