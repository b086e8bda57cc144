//! Who may what: what `landfall cluster iam` prints, and what CloudFormation is asked for of which resources.

use landfall_cluster::{Rights, rights};
use landfall_iam::{ClusterWork, Level, Policy, Where, action};
use serde_json::Value;

use super::{BASE, FLEETS, MANAGED, REGRESSION, SEVERAL, infra};

const WORKS: [ClusterWork; 5] =
    [ClusterWork::Deploy, ClusterWork::Scale, ClusterWork::Destroy, ClusterWork::Init, ClusterWork::Image];

fn policy(text: &str, work: ClusterWork) -> Policy {
    let place = Where::of(Some("us-west-2"), Some("111122223333"));
    rights(&Rights { infra: &infra(text), work, place, image_given: false, pass_roles: &[] }).unwrap()
}

/// Not what CloudFormation is asked for.
fn is_direct(sid: &str) -> bool {
    !sid.starts_with("Make") && !["AttachPolicies", "DetachPolicies", "GiveRoles"].contains(&sid)
}

#[test]
fn the_rights_of_a_cluster() {
    let all: Vec<Value> = WORKS.iter().map(|work| policy(REGRESSION, *work).json()).collect();
    insta::assert_json_snapshot!("rights", all);
}

/// A role's inline policies have 10,240 characters: of every file and everything that is done, with room for the job's own.
#[test]
fn every_policy_fits_into_a_role() {
    for (name, text) in
        [("base", BASE), ("regression", REGRESSION), ("several", SEVERAL), ("fleets", FLEETS), ("managed", MANAGED)]
    {
        for work in WORKS {
            let size = policy(text, work).size();
            assert!(size < 9_700, "{name}, {work:?}: {size}");
        }
    }
}

#[test]
fn what_the_stacks_are_made_of_cloudformation_alone_is_asked_for() {
    for text in [BASE, FLEETS, MANAGED] {
        for work in WORKS {
            let policy = policy(text, work);
            let mut sids: Vec<&str> = policy.statement.iter().map(|one| one.sid.as_str()).collect();
            sids.sort_unstable();
            assert!(sids.is_sorted_by(|a, b| a < b), "{sids:?}");
            for one in &policy.statement {
                let via =
                    one.condition.get("ForAnyValue:StringEquals").is_some_and(|all| all.contains_key("aws:CalledVia"));
                let given = ["GiveRoles", "MakeServiceLinkedRoles", "MakeImage"].contains(&one.sid.as_str());
                assert_eq!(via, !is_direct(&one.sid) && !given, "{}", one.sid);
                assert!(one.action.iter().all(|name| !name.contains('*')), "{one:?}");
                // Who asks itself asks for what is in the table.
                let known = |name: &String| action(name).is_some() || work == ClusterWork::Image;
                assert!(via || given || one.action.iter().all(known), "{one:?}");
            }
        }
    }
}

/// By name where AWS allows it, and roles are passed to whom they are for.
#[test]
fn what_is_made_is_the_cluster_s() {
    let deploy = policy(MANAGED, ClusterWork::Deploy);
    let name = infra(MANAGED).name;
    let of = |sid: &str| deploy.statement.iter().find(|one| one.sid == sid).unwrap_or_else(|| panic!("no {sid}"));
    assert!(
        of("MakeInstances").resource.iter().all(|arn| arn.ends_with(&format!("autoScalingGroupName/{name}-asg-*")))
    );
    assert!(of("MakeServices").resource.iter().all(|arn| arn.contains(&name)), "{:?}", of("MakeServices"));
    for sid in ["MakeRoles", "AttachPolicies", "GiveRoles"] {
        assert!(of(sid).resource.iter().all(|arn| arn.contains(&format!("/{name}-"))), "{:?}", of(sid));
    }
    assert_eq!(of("GiveRoles").condition["StringEquals"]["iam:PassedToService"], ["ec2.amazonaws.com"]);
    for sid in ["MakeNetwork", "MakeUnnamed"] {
        assert_eq!(of(sid).resource, ["*"], "{sid}");
        assert_eq!(of(sid).condition["StringEquals"]["aws:RequestedRegion"], ["us-west-2"], "{sid}");
    }
    let fleets = policy(FLEETS, ClusterWork::Deploy);
    let give = fleets.statement.iter().find(|one| one.sid == "GiveRoles").unwrap();
    assert_eq!(give.condition["StringEquals"]["iam:PassedToService"], ["ec2.amazonaws.com", "spotfleet.amazonaws.com"]);
    // Whoever takes away makes nothing.
    for work in [ClusterWork::Scale, ClusterWork::Destroy] {
        let all = policy(MANAGED, work).statement;
        let made = all.iter().filter(|one| !is_direct(&one.sid)).flat_map(|one| &one.action);
        let makes: Vec<&String> =
            made.filter(|name| name.contains(":Create") || name.contains(":Run") || name.contains(":Pass")).collect();
        assert_eq!(makes, Vec::<&String>::new(), "{work:?}");
    }
}

/// Of fleets that others scale whoever scales changes nothing.
#[test]
fn what_is_not_landfall_s_to_scale_is_only_looked_at() {
    let alone = BASE.replacen("autoscaling: true", "autoscaling: false", 1);
    for (text, why) in [(alone.as_str(), "autoscaling: false"), (MANAGED, "capacity: ecs-managed")] {
        assert_eq!(infra(text).left_alone(), Some(why));
        let all = policy(text, ClusterWork::Scale).statement.into_iter().flat_map(|one| one.action);
        let changes = |name: &String| !action(name).is_some_and(|one| matches!(one.level, Level::List | Level::Read));
        assert_eq!(all.filter(changes).collect::<Vec<_>>(), ["cloudwatch:PutMetricData"]);
    }
    assert_eq!(infra(BASE).left_alone(), None);
}

/// Of a long name what is left of it in the names that CloudFormation gives.
#[test]
fn a_long_name_is_cut_as_cloudformation_cuts_it() {
    let long = MANAGED.replacen(&format!("name: {}", infra(MANAGED).name), "name: production-east-web-and-workers", 1);
    let deploy = policy(&long, ClusterWork::Deploy);
    let roles = &deploy.statement.iter().find(|one| one.sid == "GiveRoles").unwrap().resource;
    assert_eq!(*roles, ["arn:aws:iam::111122223333:role/production-east-web-*"]);
}

/// The image is said with the deployment, and the roles of the file's own instance profile are named.
#[test]
fn what_is_said_makes_a_difference() {
    let infra = infra(BASE);
    let place = Where::of(None, None);
    let roles = ["arn:aws:iam::111122223333:role/ecsInstanceRole".to_owned()];
    let own = Rights { infra: &infra, work: ClusterWork::Deploy, place, image_given: true, pass_roles: &roles };
    let policy = rights(&own).unwrap();
    assert!(policy.statement.iter().all(|one| one.sid != "FindImage"));
    // A region that nobody has said is any: a condition on it could never hold.
    let conditions = serde_json::to_string(&policy).unwrap();
    assert!(policy.statement.iter().any(|one| one.sid == "MakeUnnamed") && !conditions.contains("aws:RequestedRegion"));
    let give = policy.statement.iter().find(|one| one.sid == "GiveRoles").unwrap();
    assert!(give.resource.contains(&roles[0]), "{give:?}");
    let image = rights(&Rights { work: ClusterWork::Image, ..own }).unwrap();
    let sids: Vec<&str> = image.statement.iter().map(|one| one.sid.as_str()).collect();
    assert!(sids.contains(&"FindImage") && sids.contains(&"GiveRoles"), "{sids:?}");
}
