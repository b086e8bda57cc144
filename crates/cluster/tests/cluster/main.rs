//! Files as people have them: read, and made into templates.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::disallowed_methods)]

mod ami;
mod lint;
mod rights;
mod roll;

use std::collections::BTreeMap;

use landfall_cluster::{
    Around, Capacity, Found, Image, Infra, Loaded, Part, Price, Standing, Unfit, Version, cluster, compute, first,
    health, load, restanding, sizes, stack_name,
};
use landfall_manifest::{SourceFile, render};
use landfall_stack::{Template, excess};
use serde_json::{Value, json};

const BASE: &str = include_str!("files/base.yml");
const REGRESSION: &str = include_str!("files/regression.yml");
const COOKIECUTTER: &str = include_str!("files/cookiecutter.yml");
const README: &str = include_str!("files/readme.yml");
const SEVERAL: &str = include_str!("files/several.yml");
const FLEETS: &str = include_str!("files/fleets.yml");
const MANAGED: &str = include_str!("files/managed.yml");

fn loaded(text: &str, region: Option<&str>) -> Loaded {
    match load(SourceFile::new("infra.yml", text), region) {
        Ok(loaded) => loaded,
        Err((source, found)) => panic!("{}", render(&found, &source, false)),
    }
}

fn infra(text: &str) -> Infra {
    loaded(text, None).infra
}

fn refused(text: &str) -> String {
    match load(SourceFile::new("infra.yml", text), Some("us-west-2")) {
        Ok(loaded) => panic!("{loaded:?}"),
        Err((source, found)) => render(&found, &source, false),
    }
}

fn version(text: &str) -> Version {
    Version::parse(text, "any").unwrap()
}

fn around() -> Around {
    Around { subnets: Vec::new(), user_data: Some("#!/bin/sh\necho ${HOME} | tee /tmp/home\n".to_owned()) }
}

fn made(text: &str) -> Template {
    let infra = infra(text);
    let around = if infra.user_data.is_some() { around() } else { Around::default() };
    compute(&infra, &version("0a1b2c3"), &around).unwrap()
}

/// Under `cluster` of a manifest stands what stands in the file, and problems have their places there.
#[test]
fn a_manifest_has_the_same() {
    let under = |text: &str| {
        let own: String = text.lines().filter(|line| *line != "---").map(|line| format!("  {line}\n")).collect();
        format!("project: shop\nservices: {{}}\ncluster:\n{own}")
    };
    for text in [BASE, REGRESSION, COOKIECUTTER, README, SEVERAL, FLEETS, MANAGED] {
        assert_eq!(infra(&under(text)), infra(text));
    }
    let wrong = refused(&under(&SEVERAL.replace("max_weight", "max_wieght")));
    assert!(
        wrong.contains("unknown key `cluster.ec2_instances.spot_fleets") && wrong.contains("did you mean"),
        "{wrong}"
    );
    let none = refused("project: shop\nservices: {}\n");
    assert!(none.contains("`cluster.cluster` is missing"), "{none}");
}

/// What `init` writes is read without a complaint, and made into stacks.
#[test]
fn a_first_file_loads() {
    let subnets = [("subnet-0a1b2c3d", "eu-west-1a"), ("subnet-0b1c2d3e", "eu-west-1b")]
        .map(|(id, zone)| (id.to_owned(), zone.to_owned()));
    let bids = [("t3.medium".to_owned(), 0.0416), ("t3a.medium".to_owned(), 0.0376)];
    let prices = "what its type costs";
    let found = Found { name: "web", region: "eu-west-1", vpc: "vpc-0a1b2c3d", subnets: &subnets, bids: &bids, prices };
    let text = first(&found);
    insta::assert_snapshot!("first", text);
    let Loaded { infra, warnings, .. } = loaded(&text, Some("eu-west-1"));
    assert_eq!(warnings, []);
    assert_eq!((infra.name.as_str(), infra.network.vpc.as_deref()), ("web", Some("vpc-0a1b2c3d")));
    assert_eq!(infra.network.subnets, ["subnet-0a1b2c3d", "subnet-0b1c2d3e"]);
    let fleet = &infra.fleets[0];
    assert_eq!((fleet.min, fleet.desired, fleet.max, fleet.bids.len()), (1, 1, 4, 2));
    compute(&infra, &version("0a1b2c3"), &Around::default()).unwrap();
}

#[test]
fn the_four_samples_load() {
    let base = infra(BASE);
    assert_eq!(base.name, "scaling-kloudcover");
    assert_eq!(base.keypair.as_deref(), Some("boston"));
    assert_eq!(base.user_data.as_deref(), Some("tests/regression/user.data.j2.sh"));
    assert_eq!((base.efs[0].id.as_str(), base.efs[0].path.as_str()), ("fs-123123123", "/efs"));
    // The image of today is larger than the 20 that are written.
    assert_eq!((base.ebs[0].device.as_str(), base.ebs[0].size), ("/dev/xvda", 30));
    let reserved = &base.groups[0];
    assert_eq!((reserved.instance_type.as_str(), reserved.desired, reserved.min, reserved.max), ("t2.medium", 1, 1, 1));
    let main = &base.fleets[0];
    assert_eq!((main.timeout.as_str(), main.desired, main.min, main.max), ("3m", 1, 0, 16));
    assert_eq!((main.threshold_out, main.threshold_in), (1, 15));
    assert_eq!(main.bids[1].price, Price::parse("0.014").unwrap());
    assert_eq!(infra(REGRESSION).fleets[0].max, 16);
    let cookie = infra(COOKIECUTTER);
    assert_eq!((cookie.fleets[0].min, cookie.fleets[0].threshold_out, cookie.fleets[0].threshold_in), (1, 1, 3));
    let readme = loaded(README, Some("us-west-2"));
    assert_eq!(readme.infra.network.subnets.len(), 3);
    assert_eq!(readme.infra.ingress, ["sg-dab3aca"]);
    // Two bids for t3.medium are one, of the higher price.
    let bids: Vec<_> =
        readme.infra.fleets[0].bids.iter().map(|bid| (bid.instance_type.as_str(), bid.price.to_string())).collect();
    assert_eq!(bids, [("t3.medium", "0.015".to_owned()), ("t3.small", "0.01".to_owned())]);
    let said: Vec<&str> = readme.warnings.iter().map(|one| one.message.as_str()).collect();
    let expected = [
        "`availability_zones` has no effect beside `subnets`",
        "AWS never gave `sg-dab3aca` to anybody",
        "fleet main bids for t3.medium twice",
    ];
    assert_eq!(said, expected);
}

#[test]
fn what_readme_and_code_say_differently_is_noted() {
    let readme = loaded(README, None);
    assert!(readme.infra.autoscaling);
    let notes = readme.notes.join("\n");
    for part in [
        "autoscaling: true, as the README says",
        "security_group_ingress",
        "no keypair",
        "0.015 dollars",
        "30 GiB instead of 20",
        "task thresholds 1 and 3",
    ] {
        assert!(notes.contains(part), "{part}: {notes}");
    }
    let several = loaded(SEVERAL, Some("eu-central-1"));
    assert!(several.notes.iter().any(|note| note.contains("max_size is 3")), "{:?}", several.notes);
    assert_eq!((several.infra.groups[0].min, several.infra.groups[0].max), (1, 3));
    assert_eq!((several.infra.fleets[0].desired, several.infra.fleets[0].on_demand.base), (2, 2));
    assert_eq!(several.infra.fleets[1].on_demand.percent, 20);
    // With `metric: compatible` the original's.
    assert_eq!((several.infra.fleets[0].threshold_out, several.infra.fleets[0].threshold_in), (3, 10));
    assert!(!several.notes.iter().any(|note| note.contains("task thresholds")), "{:?}", several.notes);
    let more = infra(&COOKIECUTTER.replace("min_weight: 1", "min_weight: 1\n      task_threshold_out: 5"));
    assert_eq!((more.fleets[0].threshold_out, more.fleets[0].threshold_in), (5, 7), "in is above out");
    assert_eq!((several.infra.ebs[0].device.as_str(), several.infra.ebs[1].size), ("/dev/xvdb", 8));
    let managed = infra(MANAGED);
    assert_eq!(
        (managed.capacity, &managed.image),
        (Capacity::EcsManaged, &Image::Ami("ami-0123456789abcdef0".to_owned()))
    );
}

#[test]
fn what_is_wrong_is_said_with_its_place() {
    insta::assert_snapshot!("wrong", refused(include_str!("files/wrong.yml")));
    for (text, said) in [
        ("", "empty"),
        ("cluster: {name: a}\n", "`ec2_instances` is missing"),
        ("cluster: {name: a}\nec2_instances: {}\n", "the cluster would have no instances"),
        ("cluster: {name: 1a}\nec2_instances: {}\n", "no stack can be called `1a-cluster`"),
        ("cluster: []\nec2_instances: {}\n", "map of keys"),
    ] {
        let told = refused(text);
        assert!(told.contains(said), "{text}: {told}");
    }
}

#[test]
fn templates_read_as_a_person_would_write_them() {
    let providers = ["landfall-managed_main_1".to_owned()];
    insta::assert_snapshot!("cluster", cluster(&infra(REGRESSION), &[]).yaml());
    insta::assert_snapshot!("cluster-managed", cluster(&infra(MANAGED), &providers).yaml());
    insta::assert_snapshot!("health", health(&infra(REGRESSION)).yaml());
    insta::assert_snapshot!("base", made(BASE).yaml());
    insta::assert_snapshot!("readme", made(README).yaml());
    insta::assert_snapshot!("several", made(SEVERAL).yaml());
    insta::assert_snapshot!("fleets", made(FLEETS).yaml());
    insta::assert_snapshot!("managed", made(MANAGED).yaml());
}

#[test]
fn an_instance_weighs_what_its_fleet_s_bid_says() {
    let several = infra(SEVERAL);
    let weight = |fleet: &str, kind: &str| several.weight(Some(fleet), Some(kind));
    assert_eq!((weight("front-end", "m7g.large"), weight("front-end", "m7g.xlarge")), (2, 4));
    assert_eq!((weight("batch", "m7g.xlarge"), weight("reserved", "m7g.large")), (1, 1));
    assert_eq!(several.weight(None, None), 1);
}

fn rebalanced() -> String {
    BASE.replacen("ec2_instances:\n", "ec2_instances:\n  capacity_rebalance: true\n", 1)
}

/// Replaced while the version is used, and drained by the scaler for as long as that looks at it.
#[test]
fn what_auto_scaling_ends_waits_for_the_scaler_where_the_file_says_so() {
    let template: Value = serde_json::from_str(&made(&rebalanced()).json()).unwrap();
    let equals = |parameter: &str, value: &str| json!({"Fn::Equals": [{"Ref": parameter}, value]});
    let conditions = json!({"Used": equals("Status", "active"), "Proved": equals("Roll", "done")});
    assert_eq!(template["Conditions"], conditions);
    let resources = &template["Resources"];
    assert_eq!(resources["MainFleet"]["Properties"]["CapacityRebalance"], json!({"Fn::If": ["Used", true, false]}));
    for group in ["MainFleet", "ReservedGroup"] {
        let hook = &resources[format!("{group}Drain")];
        assert_eq!((&hook["Type"], &hook["Condition"]), (&json!("AWS::AutoScaling::LifecycleHook"), &json!("Proved")));
        assert_eq!(hook["Properties"]["AutoScalingGroupName"], json!({"Ref": group}));
        assert_eq!(hook["Properties"]["LifecycleTransition"], "autoscaling:EC2_INSTANCE_TERMINATING");
        assert_eq!(hook["Properties"]["DefaultResult"], "CONTINUE");
    }
    // Nobody would drain it.
    let alone = rebalanced().replacen("autoscaling: true", "autoscaling: false", 1);
    for text in [BASE, &alone] {
        let printed = made(text).json();
        assert!(!printed.contains("LifecycleHook") && !printed.contains("CapacityRebalance"), "{printed}");
    }
}

fn stood_in_for() -> String {
    rebalanced().replacen("      timeout: 3m\n", "      timeout: 3m\n      on_demand_fallback: true\n", 1)
}

/// Of the same instances, none of them on Spot, none to begin with, and no more than the fleet.
#[test]
fn a_group_on_demand_stands_in_for_a_fleet_where_the_file_says_so() {
    let template: Value = serde_json::from_str(&made(&stood_in_for()).json()).unwrap();
    let resources = &template["Resources"];
    let (fleet, other) = (&resources["MainFleet"]["Properties"], &resources["MainFallback"]["Properties"]);
    assert_eq!((&other["MinSize"], &other["MaxSize"]), (&json!("0"), &json!({"Ref": "MainFleetMax"})));
    let (mixed, spot) = (&other["MixedInstancesPolicy"], &fleet["MixedInstancesPolicy"]);
    assert_eq!(mixed["LaunchTemplate"], spot["LaunchTemplate"]);
    let how = &mixed["InstancesDistribution"];
    assert_eq!((&how["OnDemandPercentageAboveBaseCapacity"], &how["SpotMaxPrice"]), (&json!(100), &Value::Null));
    assert_eq!(resources["MainFallbackDrain"]["Properties"]["AutoScalingGroupName"], json!({"Ref": "MainFallback"}));
    assert_eq!(other["CapacityRebalance"], Value::Null);
    // Nobody would launch in it.
    for (key, value) in [
        ("autoscaling: true", "autoscaling: false"),
        ("autoscaling: true", "capacity: ecs-managed"),
        ("autoscaling: true", "metric: compatible"),
    ] {
        let source = SourceFile::new("infra.yml", stood_in_for().replacen(key, value, 1));
        let loaded = load(source, None).unwrap();
        let warned = loaded.warnings.iter().any(|one| one.message == "`on_demand_fallback` has no effect here");
        assert!(warned, "{:?}", loaded.warnings);
    }
    let alone = made(&stood_in_for().replacen("autoscaling: true", "autoscaling: false", 1)).json();
    assert!(!alone.contains("MainFallback"), "{alone}");
    let requests = stood_in_for().replacen("autoscaling: true", "autoscaling: true\n  compatibility: spot_fleets", 1);
    assert!(load(SourceFile::new("infra.yml", requests), None).is_err());
}

#[test]
fn the_same_file_gives_the_same_bytes() {
    for text in [BASE, REGRESSION, README, SEVERAL, FLEETS, MANAGED, &rebalanced(), &stood_in_for()] {
        let first = made(text);
        assert_eq!(first.json(), made(text).json());
        assert_eq!(excess(&first, &first.json()), Ok(()));
    }
}

#[test]
fn names_that_would_be_one_id_are_refused() {
    let twins = SEVERAL.replace("name: batch", "name: frontEnd");
    // `front-end` is `FrontEnd`.
    assert!(refused(&twins.replace("eu-central-1", "us-west-2")).contains("would both be `FrontEnd`"));
    // What is told apart by its kind is.
    let apart = SEVERAL.replace("name: batch", "name: reserved-group");
    let ids: Vec<String> = made(&apart).resources.iter().map(|(id, _)| id.to_string()).collect();
    assert!(ids.contains(&"ReservedGroup".to_owned()) && ids.contains(&"ReservedGroupFleet".to_owned()), "{ids:?}");
}

#[test]
fn what_is_not_known_or_does_not_fit_is_said() {
    let vpc = infra(&REGRESSION.replace("name: test-kloudcover", "name: a\n  vpc: vpc-88888888"));
    let one = version("1");
    assert_eq!(compute(&vpc, &one, &Around::default()), Err(Unfit::Subnets("vpc-88888888".to_owned())));
    let found = Around { subnets: vec!["subnet-1234567a".to_owned()], user_data: None };
    assert!(compute(&vpc, &one, &found).unwrap().json().contains("subnet-1234567a"));
    let long = Around { user_data: Some("x".repeat(17_000)), ..Around::default() };
    assert!(matches!(compute(&infra(BASE), &one, &long), Err(Unfit::UserData(17_000..))));
    let ends = Around { user_data: Some("a\nLANDFALL_USER_DATA\nb".to_owned()), ..Around::default() };
    assert!(matches!(compute(&infra(BASE), &one, &ends), Err(Unfit::Delimiter(_))));
}

#[test]
fn images_are_those_of_the_processor() {
    let of = |text: &str| infra(text).image_parameter();
    assert_eq!(of(REGRESSION), Some("/aws/service/ecs/optimized-ami/amazon-linux-2023/recommended/image_id"));
    assert_eq!(of(SEVERAL), Some("/aws/service/bottlerocket/aws-ecs-2/arm64/latest/image_id"));
    assert_eq!(of(MANAGED), None);
    let gpus = REGRESSION.replace("t3.small", "g4dn.xlarge").replace("t3.medium", "g5.xlarge");
    assert_eq!(of(&gpus), Some("/aws/service/ecs/optimized-ami/amazon-linux-2023/gpu/recommended/image_id"));
    let own = REGRESSION.replace("t3.small", "g4dn.xlarge");
    assert!(refused(&own).contains("g4dn.xlarge has GPUs and t3.medium has none"), "{}", refused(&own));
    let arm = SEVERAL.replace("eu-central-1", "us-west-2");
    let arm = ["m7g.large", "m7g.xlarge", "c7g.large", "c7g.2xlarge"]
        .iter()
        .fold(arm, |text, kind| text.replace(kind, "g5g.xlarge"));
    assert_eq!(of(&arm), Some("/aws/service/bottlerocket/aws-ecs-2-nvidia/arm64/latest/image_id"));
    let amazon = refused(&arm.replace("image: bottlerocket", "image: amazon-linux-2023"));
    assert!(amazon.contains("ARM with GPUs"), "{amazon}");
}

#[test]
fn ecs_counts_instances() {
    assert!(!made(MANAGED).json().contains("WeightedCapacity") && made(REGRESSION).json().contains("WeightedCapacity"));
    let weighted = MANAGED.replace("price: 0.01}", "price: 0.01, weight: 2}");
    assert!(refused(&weighted).contains("`capacity: ecs-managed` knows no weights"), "{}", refused(&weighted));
    assert!(infra(&weighted.replace("weight: 2", "weight: 1")).has_capacity());
}

#[test]
fn of_an_image_of_one_s_own_only_named_volumes_are_mapped() {
    assert!(!made(MANAGED).json().contains("BlockDeviceMappings"));
    let named = format!("{MANAGED}  ebs_mounts: [{{name: root, device_name: /dev/xvda, size: 50}}]\n");
    assert!(made(&named).json().contains("/dev/xvda"));
    assert!(made(BASE).json().contains("command -v mount.efs >/dev/null || dnf install -y amazon-efs-utils"));
}

#[test]
fn the_profile_stays_for_versions_that_import_it() {
    // `instance_profile_arn` is set, and was not when a version that runs was made.
    assert!(infra(BASE).instance_profile.is_some());
    assert!(cluster(&infra(BASE), &[]).json().contains("scaling-kloudcover-cluster:InstanceProfile"));
}

#[test]
fn parameters_say_where_a_version_stands() {
    let infra = infra(BASE);
    let there = BTreeMap::from([("main".to_owned(), 5), ("gone".to_owned(), 9)]);
    let at = |standing| {
        let all = sizes(&infra, standing, &there);
        ["Status", "Roll", "MainFleetMin", "MainFleetMax", "ReservedGroupMin"].map(|name| all[name].clone())
    };
    // A new one begins with room for what is there.
    assert_eq!(at(Standing::Testing), ["inactive", "testing", "5", "16", "1"]);
    assert_eq!(at(Standing::Replacing), ["active", "replacing", "5", "16", "1"]);
    assert_eq!(at(Standing::Active), ["active", "done", "0", "16", "1"]);
    assert_eq!(at(Standing::Inactive), ["inactive", "done", "0", "16", "0"]);
    assert_eq!(at(Standing::Failed), ["inactive", "failed", "0", "0", "0"]);
    for standing in [Standing::Testing, Standing::Replacing, Standing::Active, Standing::Inactive, Standing::Failed] {
        assert_eq!(Standing::of(standing.status(), standing.roll()), standing);
    }
    // One of another infra.yml, by its own template.
    let old = restanding(&made(BASE).json(), Standing::Inactive);
    let parts = ["Status", "MainFleetMin", "MainFleetMax", "ReservedGroupMin"].map(|name| old[name].as_str());
    assert_eq!(parts, ["inactive", "0", "16", "0"]);
    assert!(!old.contains_key("ImageId"));
    assert_eq!(restanding(&made(BASE).json(), Standing::Active)["MainFleetMin"], "0", "it may go to zero again");
    let alone = BASE.replacen("autoscaling: true", "autoscaling: false", 1);
    assert_eq!(restanding(&made(&alone).json(), Standing::Active)["MainFleetMin"], "1", "nobody would launch any");
    assert_eq!(restanding("", Standing::Failed).len(), 2);
    // Somebody set `Status` by hand.
    assert_eq!(Standing::of("active", "failed"), Standing::Active);
    assert_eq!(Standing::of("inactive", "replacing"), Standing::Inactive);
    // Every parameter that is given is one of the template's.
    for text in [BASE, SEVERAL, FLEETS, MANAGED] {
        let template = made(text);
        let known: Vec<&str> = template.parameters.iter().map(|(id, _)| id.as_str()).collect();
        let given = sizes(&self::infra(text), Standing::Testing, &BTreeMap::new());
        assert!(given.keys().all(|name| known.contains(&name.as_str())), "{given:?}");
        assert_eq!(given.len() + 1, known.len());
    }
}

#[test]
fn nothing_wanted_still_proves_itself_with_one() {
    let text = REGRESSION.replace("desired_weight: 1", "desired_weight: 0");
    let sizes = sizes(&infra(&text), Standing::Testing, &BTreeMap::new());
    assert_eq!(sizes["MainFleetMin"], "1");
    assert_eq!(stack_name("test-kloudcover", Part::Compute, Some(&version("1"))), "test-kloudcover-asg-1");
}
