//! `infra.yml` as it is: every key that ecs-cluster-deployer documents, those that only its code knows, and a few of ours. Where its
//! README and its code say different things the README counts, and a note says so.

mod capacity;

use std::collections::{BTreeMap, BTreeSet};

use landfall_manifest::yaml::{At, Codes, Map, Reader, shorten};
use landfall_manifest::{Diagnostic, SourceFile, codes, did_you_mean};
use landfall_stack::Id;

use crate::build::falls_back;
use crate::infra::{Capacity, Compatibility, Ebs, Efs, Image, Infra, Metric, Network};
use crate::names::{LONGEST_NAME, Part, is_name, stack_name};
use crate::word;

const CODES: Codes = Codes { missing: codes::MISSING, bad_value: codes::BAD_VALUE };

const ROOT: &[&str] = &["cluster", "ec2_instances", "environments", "kind", "ecs_deployer_version"];
const CLUSTER: &[&str] =
    &["name", "vpc", "subnets", "availability_zones", "security_groups", "security_group_ingress", "keypair"];
const INSTANCES: &[&str] = &[
    "instance_profile_arn",
    "autoscaling",
    "capacity_rebalance",
    "user_data",
    "efs_mounts",
    "ebs_mounts",
    "auto_scaling_groups",
    "spot_fleets",
    "image",
    "capacity",
    "compatibility",
    "metric",
];

/// A file without errors.
#[derive(Debug, Clone, PartialEq)]
pub struct Loaded {
    pub infra: Infra,
    pub warnings: Vec<Diagnostic>,
    /// What is not in the file and was decided: defaults on which README and code of ecs-cluster-deployer differ, and the like.
    pub notes: Vec<String>,
}

/// `source`: an `infra.yml`, or a manifest that holds the same under `cluster`. `region`: where the cluster is to be, if that is known.
///
/// # Errors
/// Every problem that could be found, warnings included, sorted by place; at least one is an error.
pub fn load(source: SourceFile, region: Option<&str>) -> Result<Loaded, (SourceFile, Vec<Diagnostic>)> {
    let (reader, node) = Reader::open(source, CODES)?;
    let root = Map::root(&reader, &node);
    // No infra.yml has these: a manifest has it all under a key of its own.
    let root = if root.has("project") || root.has("services") { root.map(landfall_manifest::CLUSTER) } else { root };
    let mut read = Read { reader: &reader, region, notes: Vec::new() };
    let infra = read.infra(&root);
    let notes = read.notes;
    let failed = reader.failed();
    let (source, found) = reader.close();
    match failed {
        true => Err((source, found)),
        false => Ok(Loaded { infra, warnings: found, notes }),
    }
}

struct Read<'a> {
    reader: &'a Reader,
    region: Option<&'a str>,
    notes: Vec<String>,
}

impl Read<'_> {
    fn infra(&mut self, root: &Map<'_>) -> Infra {
        self.only(root, ROOT);
        for key in ["cluster", "ec2_instances"] {
            if !root.has(key) {
                root.missing(key);
            }
        }
        if let Some(kind) = root.text("kind")
            && kind != "aws-ecs-cluster-deployer"
        {
            self.warn(
                root.get("kind"),
                codes::NO_EFFECT,
                "`kind` is not `aws-ecs-cluster-deployer`",
                "nobody reads it",
            );
        }
        if root.has("ecs_deployer_version") {
            let message = "`ecs_deployer_version` has no effect";
            self.warn(
                root.get("ecs_deployer_version"),
                codes::NO_EFFECT,
                message,
                "the version that counts is landfall's",
            );
        }
        let cluster = root.map("cluster");
        self.only(&cluster, CLUSTER);
        let instances = root.map("ec2_instances");
        self.only(&instances, INSTANCES);
        let name = self.cluster_name(&cluster);
        let network = self.network(&cluster);
        let security_groups = self.ids(&cluster, "security_groups", "sg");
        let ingress = self.ids(&cluster, "security_group_ingress", "sg");
        if !ingress.is_empty() {
            self.notes.push(
                "security_group_ingress: its groups reach the instances on every TCP port, as the README says; \
                 ecs-cluster-deployer read the key and did nothing"
                    .to_owned(),
            );
        }
        let keypair = cluster.text("keypair");
        if keypair.is_none() {
            self.notes.push(
                "no keypair: instances are reached by `aws ssm start-session`; ecs-cluster-deployer made an SSH key of its own".to_owned(),
            );
        }
        let autoscaling = instances.boolean("autoscaling").unwrap_or_else(|| {
            self.notes
                .push("autoscaling: true, as the README says; the code of ecs-cluster-deployer had it off".to_owned());
            true
        });
        let image = self.image(&instances);
        let efs = self.efs(&instances, &image);
        let ebs = self.ebs(&instances, &image);
        let groups = self.groups(&instances);
        let fleets = self.fleets(&instances);
        self.apart(&instances);
        self.one_image(&instances, &image);
        let infra = Infra {
            name,
            network,
            security_groups,
            ingress,
            keypair,
            instance_profile: self.profile(&instances),
            autoscaling,
            capacity_rebalance: instances.boolean("capacity_rebalance").unwrap_or(false),
            metric: self.choice(
                &instances,
                "metric",
                &[("packed", Metric::Packed), ("compatible", Metric::Compatible)],
            ),
            user_data: instances.text("user_data"),
            image,
            capacity: self.choice(
                &instances,
                "capacity",
                &[("landfall", Capacity::Landfall), ("ecs-managed", Capacity::EcsManaged)],
            ),
            compatibility: self.choice(
                &instances,
                "compatibility",
                &[("none", Compatibility::None), ("spot_fleets", Compatibility::SpotFleets)],
            ),
            efs,
            ebs,
            groups,
            fleets,
            environments: root.texts("environments").into_iter().filter(|name| !name.is_empty()).collect(),
        };
        self.contradictions(&instances, &infra);
        infra
    }

    fn contradictions(&mut self, instances: &Map<'_>, infra: &Infra) {
        if instances.at.is_map() && !infra.has_capacity() && !self.reader.failed() {
            let error = Diagnostic::error(codes::MISSING, "the cluster would have no instances")
                .label(instances.at.key_span(), "needs `spot_fleets` or `auto_scaling_groups`");
            self.reader.report(error);
        }
        let nobody = match infra.capacity {
            Capacity::EcsManaged => Some("`capacity: ecs-managed` does it anyway"),
            Capacity::Landfall if !infra.autoscaling => {
                Some("with `autoscaling: false` nobody would drain what Auto Scaling ends")
            }
            Capacity::Landfall => None,
        };
        if let Some(why) = nobody.filter(|_| infra.capacity_rebalance) {
            let message = "`capacity_rebalance` has no effect here";
            self.warn(instances.get("capacity_rebalance"), codes::NO_EFFECT, message, why);
        }
        for fleet in instances.items("spot_fleets") {
            if fleet.boolean("on_demand_fallback") == Some(true) && !falls_back(infra) {
                let message = "`on_demand_fallback` has no effect here";
                let why = "it takes landfall's scaler: `capacity: landfall`, `autoscaling: true`, `metric: packed`";
                self.warn(fleet.get("on_demand_fallback"), codes::NO_EFFECT, message, why);
            }
        }
        if infra.capacity == Capacity::EcsManaged && infra.compatibility == Compatibility::SpotFleets {
            let message = "a Spot Fleet cannot be ECS's to scale: a capacity provider needs an Auto Scaling group";
            self.reader.wrong(instances.get("compatibility"), message, "leave it out, or `capacity: landfall`");
        }
        if infra.compatibility == Compatibility::SpotFleets {
            for fleet in instances.items("spot_fleets") {
                for key in ["on_demand", "on_demand_fallback"].into_iter().filter(|key| fleet.has(key)) {
                    let message = "a Spot Fleet request here is all Spot";
                    self.reader.wrong(fleet.get(key), message, "leave it out, or `compatibility: none`");
                }
            }
        }
        if infra.compatibility == Compatibility::None {
            for fleet in
                infra.fleets.iter().filter(|fleet| fleet.bids.iter().any(|bid| bid.price != fleet.bids[0].price))
            {
                let most = fleet.bids.iter().map(|bid| bid.price).max();
                self.notes.push(format!(
                    "spot_fleets {}: an Auto Scaling group has one highest price for all its types: {} dollars an hour; \
                     `compatibility: spot_fleets` keeps each bid's own",
                    fleet.name,
                    most.map(|price| price.to_string()).unwrap_or_default()
                ));
            }
        }
        if infra.capacity == Capacity::EcsManaged {
            self.no_weights(instances);
        }
        if infra.user_data.is_some() && infra.image == Image::Bottlerocket {
            let message = "Bottlerocket runs no scripts";
            self.reader.wrong(instances.get("user_data"), message, "leave it out, or `image: amazon-linux-2023`");
        }
    }

    fn cluster_name(&self, cluster: &Map<'_>) -> String {
        let name = cluster.required("name");
        if !name.is_empty() && !is_name(&name) {
            let message = format!("no stack can be called `{}`", stack_name(&shorten(&name), Part::Cluster, None));
            let error = Diagnostic::error(codes::NAME, message);
            let label = format!("a letter, then letters, digits and hyphens, {LONGEST_NAME} at most");
            self.reader.report(error.label(cluster.get("name").span(), label));
        }
        name
    }

    fn network(&mut self, cluster: &Map<'_>) -> Network {
        let vpc = cluster.text("vpc");
        if let Some(vpc) = &vpc {
            self.id(cluster.get("vpc"), vpc, "vpc");
        }
        let subnets = self.ids(cluster, "subnets", "subnet");
        let zones = cluster.texts("availability_zones");
        for (index, zone) in zones.iter().enumerate() {
            let at = item(cluster.get("availability_zones"), index);
            match (word::region_of_zone(zone), self.region) {
                (None, _) => {
                    let error =
                        Diagnostic::error(codes::AWS_ID, format!("`{}` is not an availability zone", shorten(zone)));
                    self.reader.report(error.label(at.span(), "like `us-west-2a`"));
                }
                (Some(of), Some(region)) if of != region => {
                    let error = Diagnostic::error(codes::AWS_ID, format!("`{zone}` is not in {region}"))
                        .label(at.span(), format!("a zone of {of}"))
                        .help(format!("name zones of {region}, or set AWS_DEFAULT_REGION={of}"));
                    self.reader.report(error);
                }
                _ => {}
            }
        }
        self.twice(cluster, "availability_zones", &zones);
        if !zones.is_empty() && !subnets.is_empty() {
            let message = "`availability_zones` has no effect beside `subnets`";
            self.warn(cluster.get("availability_zones"), codes::NO_EFFECT, message, "a subnet is in one zone already");
        }
        if vpc.is_none() && !subnets.is_empty() {
            let error = Diagnostic::error(codes::MISSING, "`subnets` without their `vpc`");
            self.reader
                .report(error.label(cluster.get("subnets").key_span(), "of which VPC?").help("name it: `vpc: vpc-…`"));
        }
        Network { vpc, subnets, zones }
    }

    fn profile(&self, instances: &Map<'_>) -> Option<String> {
        let profile = instances.text("instance_profile_arn")?;
        let known = profile.starts_with("arn:") && profile.contains(":instance-profile/");
        if !known {
            let message = format!("`{}` is not the ARN of an instance profile", shorten(&profile));
            let error = Diagnostic::error(codes::AWS_ID, message);
            let label = "like `arn:aws:iam::${AWS::AccountId}:instance-profile/NAME`";
            self.reader.report(error.label(instances.get("instance_profile_arn").span(), label));
        }
        Some(profile)
    }

    fn image(&self, instances: &Map<'_>) -> Image {
        match instances.text("image").as_deref() {
            None | Some("amazon-linux-2023") => Image::AmazonLinux2023,
            Some("bottlerocket") => Image::Bottlerocket,
            Some(ami) if word::is_id(ami, "ami") => Image::Ami(ami.to_owned()),
            Some(other) => {
                let error = Diagnostic::error(codes::BAD_VALUE, format!("`image` cannot be `{}`", shorten(other)))
                    .label(instances.get("image").span(), "`amazon-linux-2023`, `bottlerocket` or `ami-…`")
                    .maybe_help(did_you_mean(other, ["amazon-linux-2023", "bottlerocket"]));
                self.reader.report(error);
                Image::AmazonLinux2023
            }
        }
    }

    fn efs(&self, instances: &Map<'_>, image: &Image) -> Vec<Efs> {
        let items = instances.items("efs_mounts");
        if *image == Image::Bottlerocket && !items.is_empty() {
            let message = "Bottlerocket mounts no EFS for all tasks";
            let label = "give tasks EFS volumes of their own, or `image: amazon-linux-2023`";
            self.reader.wrong(instances.get("efs_mounts"), message, label);
        }
        let mut mounts = Vec::new();
        for one in &items {
            self.only(one, &["name", "efs_id", "local_path"]);
            let (name, id, path) = (one.required("name"), one.required("efs_id"), one.required("local_path"));
            self.name(one, &name);
            if !id.is_empty() {
                self.id(one.get("efs_id"), &id, "fs");
            }
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'-' | b'_' | b'.');
            let legal = path.starts_with('/') && path.len() > 1 && path.bytes().all(plain) && !path.contains("..");
            if !path.is_empty() && !legal {
                let message = format!("`{}` cannot be mounted at", shorten(&path));
                let label = "an absolute path of letters, digits, `-`, `_` and `.`";
                self.reader.report(Diagnostic::error(codes::PATH, message).label(one.get("local_path").span(), label));
            }
            mounts.push(Efs { name, id, path: path.trim_end_matches('/').to_owned() });
        }
        self.distinct(&items, "name", "two EFS mounts are called");
        self.distinct(&items, "local_path", "two EFS mounts are at");
        mounts
    }

    fn ebs(&mut self, instances: &Map<'_>, image: &Image) -> Vec<Ebs> {
        let items = instances.items("ebs_mounts");
        let mut mounts = Vec::new();
        for one in &items {
            self.only(one, &["name", "device_name", "size"]);
            let (name, mut device) = (one.required("name"), one.required("device_name"));
            self.name(one, &name);
            let known = device.strip_prefix("/dev/").is_some_and(|rest| {
                rest.len() <= 8
                    && rest.starts_with("xvd") | rest.starts_with("sd")
                    && rest.bytes().all(|byte| byte.is_ascii_alphanumeric())
            });
            if !device.is_empty() && !known {
                let message = format!("`{}` is not a device of an instance", shorten(&device));
                let error = Diagnostic::error(codes::BAD_VALUE, message);
                self.reader.report(error.label(one.get("device_name").span(), "like `/dev/xvda` or `/dev/xvdb`"));
            }
            // 64 TiB is what a volume has at most.
            let mut size = u32::try_from(one.int("size", 1, 65_536).unwrap_or(8)).unwrap_or(8);
            if device == crate::build::ROOT_DEVICE {
                (device, size) = self.root(&name, device, size, image);
            }
            mounts.push(Ebs { name, device, size });
        }
        self.distinct(&items, "name", "two EBS mounts are called");
        self.distinct(&items, "device_name", "two EBS mounts are the device");
        mounts
    }

    /// The images of today are larger than those of then, and Bottlerocket keeps images and layers on a volume of its own.
    fn root(&mut self, name: &str, device: String, size: u32, image: &Image) -> (String, u32) {
        match image {
            Image::AmazonLinux2023 if size < crate::build::ROOT_SIZE => {
                let least = crate::build::ROOT_SIZE;
                self.notes.push(format!(
                    "ebs_mounts {name}: {least} GiB instead of {size}, as the ECS-optimized image fills a volume of {least}"
                ));
                (device, least)
            }
            Image::Bottlerocket => {
                let data = crate::build::BOTTLEROCKET_DATA;
                self.notes.push(format!("ebs_mounts {name}: it is {data}, where Bottlerocket keeps images and layers"));
                (data.to_owned(), size)
            }
            _ => (device, size),
        }
    }

    fn id(&self, at: At<'_>, text: &str, prefix: &str) {
        if !word::is_id(text, prefix) {
            let what = match prefix {
                "vpc" => "a VPC",
                "subnet" => "a subnet",
                "sg" => "a security group",
                _ => "a file system of EFS",
            };
            let error = Diagnostic::error(codes::AWS_ID, format!("`{}` is not the id of {what}", shorten(text)));
            self.reader.report(error.label(at.span(), format!("like `{prefix}-0a1b2c3d`")));
        } else if !word::is_real_id(text) {
            let warning = Diagnostic::warning(codes::PLACEHOLDER, format!("AWS never gave `{text}` to anybody"));
            self.reader.report(warning.label(at.span(), "ids have 8 or 17 digits"));
        }
    }

    fn ids(&self, map: &Map<'_>, key: &str, prefix: &str) -> Vec<String> {
        let ids = map.texts(key);
        for (index, id) in ids.iter().enumerate() {
            self.id(item(map.get(key), index), id, prefix);
        }
        self.twice(map, key, &ids);
        ids
    }

    fn twice(&self, map: &Map<'_>, key: &str, texts: &[String]) {
        let mut seen = BTreeSet::new();
        for (index, text) in texts.iter().enumerate() {
            if !seen.insert(text) {
                let error =
                    Diagnostic::error(codes::BAD_VALUE, format!("`{}` is in `{}` twice", shorten(text), map.path(key)));
                self.reader.report(error.label(item(map.get(key), index).span(), "again"));
            }
        }
    }

    fn choice<T: Copy + Default>(&self, map: &Map<'_>, key: &str, choices: &[(&str, T)]) -> T {
        let Some(text) = map.text(key) else { return T::default() };
        if let Some((_, chosen)) = choices.iter().find(|(word, _)| *word == text) {
            return *chosen;
        }
        let words: Vec<String> = choices.iter().map(|(word, _)| format!("`{word}`")).collect();
        let error = Diagnostic::error(codes::BAD_VALUE, format!("`{}` cannot be `{}`", map.path(key), shorten(&text)))
            .label(map.get(key).span(), words.join(" or "))
            .maybe_help(did_you_mean(&text, choices.iter().map(|(word, _)| *word)));
        self.reader.report(error);
        T::default()
    }

    /// Keys beyond those known.
    fn only(&self, map: &Map<'_>, known: &[&str]) {
        for key in map.keys().filter(|key| !known.contains(key)) {
            let mut help = did_you_mean(key, known.iter().copied());
            for (at, own) in [("cluster", CLUSTER), ("ec2_instances", INSTANCES)] {
                if own.contains(&key) && !known.contains(&key) {
                    help = Some(format!("it belongs under `{at}`"));
                }
            }
            let error = Diagnostic::error(codes::UNKNOWN_KEY, format!("unknown key `{}`", shorten(&map.path(key))));
            self.reader.report(error.label(map.at.get(key).key_span(), "").maybe_help(help));
        }
    }

    fn name(&self, map: &Map<'_>, name: &str) {
        let legal = name.starts_with(|c: char| c.is_ascii_alphabetic())
            && name.len() <= 64
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
        if !name.is_empty() && !legal {
            let error = Diagnostic::error(codes::NAME, format!("nothing can be called `{}`", shorten(name)));
            let label = "a letter, then letters, digits, `-` and `_`, 64 at most";
            self.reader.report(error.label(map.get("name").span(), label));
        }
    }

    /// Fleets and groups share their names: instances carry one of them, and logical ids are made of them.
    fn apart(&self, instances: &Map<'_>) {
        let all: Vec<Map<'_>> =
            instances.items("spot_fleets").into_iter().chain(instances.items("auto_scaling_groups")).collect();
        let mut seen: BTreeMap<Id, (String, At<'_>)> = BTreeMap::new();
        for one in &all {
            let Some(name) = one.text("name") else { continue };
            let at = one.get("name");
            let id = Id::of(&[&name]);
            match seen.get(&id) {
                Some((first, place)) => {
                    let message = match *first == name {
                        true => format!("two fleets or groups are called `{name}`"),
                        false => format!("`{first}` and `{name}` would both be `{id}` in the template"),
                    };
                    let error = Diagnostic::error(codes::NAME, message);
                    self.reader.report(error.label(at.span(), "give it another name").label(place.span(), "the first"));
                }
                None => drop(seen.insert(id, (name, at))),
            }
        }
    }

    fn distinct(&self, items: &[Map<'_>], key: &str, message: &str) {
        let mut seen: BTreeMap<String, At<'_>> = BTreeMap::new();
        for one in items {
            let (Some(text), at) = (one.text(key), one.get(key)) else { continue };
            match seen.get(&text) {
                Some(first) => {
                    let error = Diagnostic::error(codes::NAME, format!("{message} `{}`", shorten(&text)));
                    self.reader.report(error.label(at.span(), "again").label(first.span(), "the first"));
                }
                None => drop(seen.insert(text, at)),
            }
        }
    }

    fn warn(&self, at: At<'_>, code: &'static str, message: impl Into<String>, label: impl Into<String>) {
        self.reader.report(Diagnostic::warning(code, message).label(at.span(), label));
    }
}

/// An item of a list; where there is none of that number, as in a text with commas, the whole.
fn item(at: At<'_>, index: usize) -> At<'_> {
    let item = at.item(index);
    if item.node.is_some() { item } else { at }
}
