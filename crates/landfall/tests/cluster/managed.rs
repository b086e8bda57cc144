//! `capacity: ecs-managed` on moto: capacity providers come and go with the versions whose groups they scale.

use serde_json::{Value, json};

use super::scale::only_looks;
use super::{INFRA, World, is};
use crate::common::aws::boto3;
use crate::common::ends;

/// The cluster's capacity providers, the one that tasks go to by default, and all that there are, with the version of the group that each scales.
#[track_caller]
fn providers(world: &World) -> Value {
    let mut command = boto3("providers.py", &world.moto.url);
    let output = command.args(["one", "sick", "two", "three"]).env("AWS_DEFAULT_REGION", "us-west-2").output().unwrap();
    serde_json::from_str(&ends(&output, 0, &[])).unwrap()
}

fn of(version: &str) -> Value {
    let [main, reserved] = ["main", "reserved"].map(|fleet| format!("landfall-web_{fleet}_{version}"));
    let scale = json!({&main: version, &reserved: version});
    json!({"cluster": [main, reserved], "default": [main], "services": {"app": [main]}, "scale": scale})
}

#[test]
fn capacity_providers_come_and_go_with_their_versions() {
    let world = World::new();
    world.infra(&INFRA.replacen("ec2_instances:\n", "ec2_instances:\n  capacity: ecs-managed\n", 1));
    let made = world.deploy("one", 0);
    assert_eq!(made["outcome"], "ok", "{made}");
    // It says neither where nor how, and so is bound to what the cluster has today.
    let mut service = boto3("service.py", &world.moto.url);
    let service = service.args(["web", "2", "2400", "none"]).env("AWS_DEFAULT_REGION", "us-west-2").output().unwrap();
    ends(&service, 0, &[]);
    assert_eq!(providers(&world), of("one"));
    // ECS's business; what is seen is published all the same.
    only_looks(&world, "capacity: ecs-managed");

    // One that does not work takes nothing with it, and leaves nothing behind in the cluster.
    let sick = world.deploy("sick", 1);
    assert!(sick["why"].as_str().unwrap().contains("Essential container in task exited"), "{sick}");
    assert_eq!(providers(&world)["cluster"], of("one")["cluster"]);

    let rolled = world.deploy("two", 0);
    assert_eq!(rolled["outcome"], "ok", "{rolled}");
    assert_eq!(providers(&world), of("two"));
    // Before anything is drained, and once.
    let did: Vec<&str> = rolled["did"].as_array().unwrap().iter().map(|one| one["do"].as_str().unwrap()).collect();
    let (moves, rest): (Vec<usize>, Vec<usize>) = (0..did.len()).partition(|at| did[*at] == "move");
    let drains = rest.iter().find(|at| did[**at] == "drain");
    assert!(moves.len() == 1 && drains.is_some_and(|drains| moves[0] < *drains), "{rolled}");
    assert_eq!(world.versions().iter().map(|one| &*one.0).collect::<Vec<_>>(), ["two"]);
    assert!(world.versions().contains(&is("two", "active", world.versions()[0].2)));

    // It has no tasks, and names the provider all the same.
    let mut none = boto3("service.py", &world.moto.url);
    let none = none.args(["web", "0", "2400", "none"]).env("AWS_DEFAULT_REGION", "us-west-2").output().unwrap();
    ends(&none, 0, &[]);
    world.deploy("three", 0);
    assert_eq!(providers(&world), of("three"));

    let (_, stderr) = world.run(&["destroy", "--yes"], 73);
    assert!(stderr.contains("services run on cluster web: app"), "{stderr}");
    let mut gone = boto3("service.py", &world.moto.url);
    ends(&gone.args(["web", "gone"]).env("AWS_DEFAULT_REGION", "us-west-2").output().unwrap(), 0, &[]);
    world.run(&["destroy", "--yes"], 0);
    assert_eq!(providers(&world), json!({"cluster": [], "default": [], "services": {}, "scale": {}}));
}
