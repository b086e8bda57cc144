//! From the first plan to the deletion.

use serde_json::{Value, json};

use super::Place;

/// Everything that is left after a deletion: nothing.
fn nothing() -> Value {
    json!({"load_balancers": [], "logs": [], "services": []})
}

/// Planned, made, changed, looked at and deleted, the same on every emulator but where it is not `faithful` to what it was given.
fn planned_made_changed_and_deleted(place: &Place, faithful: bool) {
    let given = |digit| format!("app={}", place.image(digit));
    let plan = place.json(&["stack", "plan", "dev", "--image", &given(1)], 2);
    assert_eq!((plan["exists"].as_bool(), plan["different"].as_bool()), (Some(false), Some(true)));
    assert_eq!(place.ask(&["gone", "shop-dev"]), nothing(), "who only looks leaves nothing");
    place.ends(&["stack", "show", "dev"], 66, &["there is no stack shop-dev"]);

    place.ends(&["stack", "apply", "dev", "--image", &given(1)], 0, &["stack shop-dev is up"]);
    let told = place.look("dev");
    let planned: Vec<&Value> = plan["changes"].as_array().unwrap().iter().map(|row| &row["resource"]).collect();
    assert_eq!(told["made"].as_array().unwrap().iter().collect::<Vec<_>>(), planned, "made is what was planned");
    let service = &told["services"]["shop-dev-web"];
    assert_eq!(service["containers"]["app"]["image"], place.image(1), "{service}");
    if faithful {
        assert_eq!((&service["count"], &service["size"]), (&json!(1), &json!(["256", "512"])), "{service}");
        assert_eq!(service["load_balancers"], json!([["WebTargetGroup", "app", 80]]), "{service}");
        assert_eq!(told["ingress"]["WebSecurityGroup"], json!(["80 LoadBalancerSecurityGroup"]), "{told}");
    }
    assert_eq!(told["listeners"]["80"], json!(["HTTP", [["default", {}, "WebTargetGroup"]]]), "{told}");

    assert_eq!(place.json(&["stack", "plan", "dev"], 0)["different"], false);
    place.ends(&["stack", "apply", "dev"], 0, &["nothing to change"]);
    let plan = place.json(&["stack", "plan", "dev", "--image", &given(2)], 2);
    if faithful {
        let rows = plan["changes"].as_array().unwrap();
        let acts =
            |act: &str| rows.iter().filter(|row| row["act"] == act).map(|row| &row["resource"]).collect::<Vec<_>>();
        assert_eq!(acts("revise"), ["WebTaskDefinition"], "{plan}");
        assert!(acts("change").contains(&&json!("WebService")), "{plan}");
        assert_eq!(acts("replace").len() + acts("may_replace").len() + acts("delete").len(), 0, "{plan}");
    }
    place.ends(&["deploy", "dev", "--image", &given(2)], 0, &["stack shop-dev is up"]);
    let shown = place.json(&["stack", "show", "dev"], 0);
    assert_eq!(
        (&shown["status"], &shown["parameters"]["WebAppImage"]),
        (&json!("UPDATE_COMPLETE"), &json!(place.image(2)))
    );
    if faithful {
        assert_eq!(place.look("dev")["services"]["shop-dev-web"]["containers"]["app"]["image"], place.image(2));
        assert_eq!(place.json(&["stack", "drift", "dev"], 0)["different"], false);
    }
    place.ends(&["stack", "recover", "dev"], 0, &["stack shop-dev is well"]);

    place.ends(&["stack", "destroy", "dev"], 77, &["with --yes stack shop-dev and its", "nothing was done"]);
    assert_eq!(place.look("dev")["status"], "UPDATE_COMPLETE");
    place.ends(&["stack", "destroy", "dev", "--yes"], 0, &["stack shop-dev is deleted"]);
    // moto keeps a service whose stack is gone.
    let left = place.ask(&["gone", "shop-dev"]);
    assert_eq!((&left["load_balancers"], &left["logs"]), (&json!([]), &json!([])), "{left}");
    assert!(!faithful || left == nothing(), "{left}");
    place.ends(&["stack", "show", "dev"], 66, &[]);
}

/// With a network of its own, files and a schedule.
#[test]
fn a_stack_lives_on_ministack() {
    let place = Place::ministack(&[]);
    let settings = [
        "      network: { new: { nat: none } }\n",
        place.unless_lacking(
            "AWS::EFS::FileSystem",
            "      volumes: { uploads: { mounts: [{ service: web, path: /var/uploads }] } }\n",
        ),
        place.unless_lacking(
            "AWS::Scheduler::Schedule",
            "    schedules: { nightly: { service: web, command: [clean], cron: \"0 1 * * *\" } }\n",
        ),
    ];
    place.manifest("", &settings.concat(), "");
    planned_made_changed_and_deleted(&place, true);
}

/// A network that exists, as a target names it.
fn network(place: &Place) -> String {
    let network = place.ask(&["network"]);
    let text = |value: &Value| value.to_string().replace('"', "");
    format!(
        ", vpc: {}, network: {{ subnets: {}, security_groups: [{}] }}",
        text(&network["vpc"]),
        text(&network["subnets"]),
        text(&network["security_group"])
    )
}

/// It cannot delete a VPC that it has made for a stack, and changes parameters without what hangs on them; it leaves out much
/// of a service, and does not know of drift.
#[test]
fn a_stack_lives_on_moto() {
    let place = Place::moto();
    let network = network(&place);
    place.manifest(&network, "      network: { existing: {} }\n", "");
    planned_made_changed_and_deleted(&place, false);
}

/// With 60,000 bytes of variables in one container.
fn long_manifest(place: &Place, network: &str, stack: &str) {
    place.manifest(network, stack, "");
    let text = place.read_manifest();
    let variables: Vec<String> = (0..30).map(|at| format!("V{at}: {}", "x".repeat(2_000))).collect();
    let long = format!("ports: [80], environment: {{ {} }} }}", variables.join(", "));
    place.write_manifest(&text.replacen("ports: [80] }", &long, 1));
}

/// A template that is too long for a request is refused before anything is begun, and goes through a bucket where there is one.
fn long_templates_go_through_a_bucket(place: &Place, network: &str, stack: &str) {
    let given = format!("app={}", place.image(1));
    long_manifest(place, network, stack);
    let (_, told) = place.ends(&["check"], 0, &[]);
    assert!(told.contains("template_bucket"), "{told}");
    let (_, told) =
        place.ends(&["stack", "apply", "dev", "--image", &given], 65, &["51200", "template_bucket: BUCKET"]);
    assert!(told.contains("environments.dev.stack"), "{told}");
    assert_eq!(place.ask(&["gone", "shop-dev"]), nothing());

    long_manifest(place, network, &format!("{stack}      template_bucket: acme-artifacts/landfall\n"));
    let (_, told) = place.ends(&["stack", "apply", "dev", "--image", &given], 66, &[]);
    assert!(told.contains("s3:PutObject on s3://acme-artifacts/landfall/templates/shop-dev/"), "{told}");
    place.ask(&["bucket", "acme-artifacts"]);
    place.ends(&["stack", "apply", "dev", "--image", &given], 0, &["stack shop-dev is up"]);
    let told = place.look("dev");
    let container = &told["services"]["shop-dev-web"]["containers"]["app"];
    assert_eq!(container["image"], place.image(1), "{container}");
    let objects = || place.ask(&["objects", "acme-artifacts"]).as_object().unwrap().clone();
    let kept = objects();
    let (key, size) = kept.iter().next().unwrap();
    assert_eq!(kept.len(), 1, "{kept:?}");
    assert!(key.starts_with("landfall/templates/shop-dev/") && key.ends_with(".json"), "{key}");
    assert!(size.as_u64().unwrap() > 60_000, "{size}");
    // What is there already is compared with what CloudFormation has, and is the same object.
    assert_eq!(place.json(&["stack", "plan", "dev"], 0)["different"], false);
    assert_eq!(objects(), kept);
    let digest = kept.keys().next().unwrap().rsplit('/').next().unwrap().to_owned();
    assert_eq!(digest.len(), 64 + ".json".len());
    place.ends(&["stack", "destroy", "dev", "--yes"], 0, &["stack shop-dev is deleted"]);
}

#[test]
fn a_long_template_goes_through_a_bucket_on_ministack() {
    long_templates_go_through_a_bucket(&Place::ministack(&[]), "", "      network: { new: { nat: none } }\n");
}

#[test]
fn a_long_template_goes_through_a_bucket_on_moto() {
    let place = Place::moto();
    let network = network(&place);
    long_templates_go_through_a_bucket(&place, &network, "      network: { existing: {} }\n");
}

#[test]
fn stuck_stacks_are_led_out_on_ministack_and_production_is_protected() {
    let place = Place::ministack(&[]);
    place.manifest("", "      network: { new: { nat: none } }\n", "");
    let given = format!("app={}", place.image(1));
    let apply = |environment: &str, code, says: &[&str]| {
        place.ends(&["stack", "apply", environment, "--image", &given], code, says);
    };
    assert_eq!(place.ask(&["stuck", "shop-dev", "shop@dev", "create"])["status"], "ROLLBACK_COMPLETE");
    apply("dev", 73, &["could not be made, and cannot be changed", "landfall stack recover dev"]);
    place.ends(&["stack", "recover", "dev"], 77, &["all that can be done with it is to delete it", "with --yes"]);
    place.ends(&["stack", "recover", "dev", "--yes"], 0, &["is deleted: `landfall stack apply dev` makes it anew"]);
    apply("dev", 0, &["stack shop-dev is up"]);
    place.look("dev");

    assert_eq!(place.ask(&["stuck", "shop-prod", "shop@prod", "delete"])["status"], "DELETE_FAILED");
    apply("prod", 73, &["could not be deleted, and cannot be changed"]);
    place.ends(&["stack", "recover", "prod", "--yes"], 1, &["told to fail", "still stuck"]);
    place.ends(&["stack", "recover", "prod", "--yes", "--retain", "Thing"], 0, &["is deleted"]);
    apply("prod", 0, &["termination protection is on"]);
    assert_eq!(place.look("prod")["protected"], true);
    place.ends(&["stack", "destroy", "prod", "--yes"], 77, &["is protected from deletion"]);
}

/// The policy of `landfall iam` is enough, and without any one action of it something is refused.
#[test]
fn applying_takes_what_the_policy_allows() {
    let mut place = Place::ministack(&[("AUTH", "true")]);
    place.manifest(
        "",
        "      network: { new: { nat: none } }\n      role: arn:aws:iam::000000000000:role/cloudformation\n",
        "",
    );
    let given = format!("app={}", place.image(1));
    let policy = place.json(&["iam", "dev"], 0);
    place.hold_to(&policy);
    place.ends(&["stack", "apply", "dev", "--image", &given], 0, &["stack shop-dev is up"]);
    assert_eq!(place.json(&["stack", "show", "dev"], 0)["status"], "CREATE_COMPLETE");
    place.ends(&["stack", "destroy", "dev", "--yes"], 0, &["stack shop-dev is deleted"]);
    let without = |gone: &str| crate::common::fake::without(&policy, gone);
    for action in ["CreateChangeSet", "ExecuteChangeSet", "DescribeStackEvents"] {
        let action = format!("cloudformation:{action}");
        place.hold_to(&without(&action));
        let (_, told) = place.ends(&["stack", "apply", "dev", "--image", &given], 77, &[]);
        assert!(told.contains(&action), "without {action}: {told}");
    }
}
