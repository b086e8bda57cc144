//! Clusters whose stacks somebody else changes too, or CloudFormation sees with other eyes.

use async_trait::async_trait;
use landfall_cluster::roll::{Goal, Next, Patience, Wait, next};
use landfall_cluster::{Around, Infra, Part, Standing, Version, load};
use landfall_manifest::SourceFile;
use landfall_model::fleet::{Share, Workload};
use landfall_ports::PortResult;
use landfall_ports::container_instances::{
    ContainerInstance, ContainerInstances, PinnedTask, PinnedTaskState, Placed, ServiceCount,
};
use landfall_ports::stacks::{Back, Stacks as _};
use landfall_steps::cluster::{Cluster, Did};
use landfall_steps::stack::{Begun, Prepared, Purpose, execute, prepare};
use landfall_testkit::stacks::FakeStacks;

/// Nothing registers.
struct Nobody;

#[async_trait]
impl ContainerInstances for Nobody {
    async fn instances(&self) -> PortResult<Vec<ContainerInstance>> {
        Ok(Vec::new())
    }

    async fn drain(&self, _: &[String], _: bool) -> PortResult<()> {
        Ok(())
    }

    async fn run_pinned(&self, _: &PinnedTask) -> PortResult<Placed> {
        Ok(Placed::Refused("nobody is there".to_owned()))
    }

    async fn started_by(&self, _: &str) -> PortResult<Vec<PinnedTaskState>> {
        Ok(Vec::new())
    }

    async fn stop_task(&self, _: &str, _: &str) -> PortResult<()> {
        Ok(())
    }

    async fn services(&self) -> PortResult<Vec<ServiceCount>> {
        Ok(Vec::new())
    }

    async fn move_service(&self, _: &str, _: &[Share]) -> PortResult<()> {
        Ok(())
    }

    async fn workload(&self) -> PortResult<Workload> {
        Ok(Workload::default())
    }
}

fn infra(more: &str) -> Infra {
    let text = format!(
        "cluster: {{name: web{more}}}\nec2_instances:\n  auto_scaling_groups: [{{name: main, instance_type: t3.medium}}]\n"
    );
    load(SourceFile::new("infra.yml", text), None).unwrap().infra
}

fn cluster<'a>(infra: &'a Infra, stacks: &'a FakeStacks) -> Cluster<'a> {
    Cluster::new(infra, Around::default(), Some("ami-1".to_owned()), stacks, &Nobody)
}

fn deploy() -> Goal {
    Goal::Deploy { version: Version::parse("1", "web").unwrap(), fresh: true }
}

/// What is done until there is nothing to do but to wait.
async fn done(cluster: &mut Cluster<'_>, stacks: &FakeStacks) -> Vec<Next> {
    let (mut goal, mut done) = (deploy(), Vec::new());
    for now in 0..40 {
        let facts = cluster.look(&goal, now).await.unwrap();
        let decided = next(&goal, &facts, Patience::default());
        let mut did = Did::Soon;
        while did == Did::Soon {
            did = cluster.act(&decided, &facts).await.unwrap();
        }
        if did == Did::It {
            goal.did(&decided);
            done.push(decided);
        }
        for stack in stacks.list().await.unwrap() {
            stacks.events(&stack.id, Back::Newest).await.unwrap();
        }
    }
    done
}

#[tokio::test]
async fn what_cloudformation_takes_for_the_same_is_applied_once() {
    let stacks = FakeStacks::default();
    let (first, other) = (infra(""), infra(", vpc: vpc-0a1b2c3d"));
    let version = Version::parse("1", "web").unwrap();
    let all = vec![
        Next::Apply { part: Part::Cluster },
        Next::Apply { part: Part::Health },
        Next::Create { version: version.clone() },
    ];
    assert_eq!(done(&mut cluster(&first, &stacks), &stacks).await, all);
    // Again: all is there, and waits for instances.
    assert_eq!(done(&mut cluster(&first, &stacks), &stacks).await, []);
    stacks.behave(|behaviour| behaviour.nothing = true);
    assert_eq!(done(&mut cluster(&other, &stacks), &stacks).await, [Next::Apply { part: Part::Cluster }]);
}

#[tokio::test]
async fn what_never_comes_about_is_not_tried_for_ever() {
    let stacks = FakeStacks::default();
    let infra = infra("");
    done(&mut cluster(&infra, &stacks), &stacks).await;
    stacks.behave(|behaviour| behaviour.nothing = true);
    let (mut ours, mut told) = (cluster(&infra, &stacks), Vec::new());
    while !matches!(told.last(), Some(Did::Refused { .. })) {
        // No instance has registered for long: the version is to fail.
        let facts = ours.look(&deploy(), 4_000_000_000).await.unwrap();
        let decided = next(&deploy(), &facts, Patience::default());
        assert!(matches!(decided, Next::Stand { standing: Standing::Failed, .. }), "{decided:?}");
        let mut did = Did::Soon;
        while did == Did::Soon {
            did = ours.act(&decided, &facts).await.unwrap();
        }
        told.push(did);
    }
    let refused = Did::Refused { stack: "web-asg-1".to_owned(), why: "it sees no change in it".to_owned() };
    assert_eq!((&told[..2], told.len(), told.last()), (&[Did::Pending, Did::Pending][..], 8, Some(&refused)));
}

#[tokio::test]
async fn who_finds_another_at_work_waits() {
    let stacks = FakeStacks::default();
    let (first, other) = (infra(""), infra(", vpc: vpc-0a1b2c3d"));
    done(&mut cluster(&first, &stacks), &stacks).await;
    let mut ours = cluster(&other, &stacks);
    let facts = ours.look(&deploy(), 0).await.unwrap();
    let apply = Next::Apply { part: Part::Cluster };
    assert_eq!(next(&deploy(), &facts, Patience::default()), apply);
    // Another process of the same was faster.
    let wanted = ours.wanted(Part::Cluster, &Version::parse("1", "web").unwrap(), &facts).unwrap();
    while prepare(&stacks, &wanted, Purpose::Apply).await.unwrap() == Prepared::Pending {}
    let Prepared::Ready(ready) = prepare(&stacks, &wanted, Purpose::Apply).await.unwrap() else { panic!() };
    let begun = Begun { stack: facts.cluster.id.clone(), since: None };
    execute(&stacks, &begun, &ready.set.name).await.unwrap();
    assert_eq!(ours.act(&apply, &facts).await.unwrap(), Did::Soon);
    let facts = ours.look(&deploy(), 1).await.unwrap();
    let on = Wait::Stack { stack: "web-cluster".to_owned() };
    assert_eq!(next(&deploy(), &facts, Patience::default()), Next::Wait { on });
}

/// A version that has failed is tried again, and CloudFormation shows it as it was for a moment longer.
#[tokio::test]
async fn a_look_that_does_not_show_yet_what_was_begun_is_no_failure() {
    let stacks = FakeStacks::default();
    let infra = infra("");
    done(&mut cluster(&infra, &stacks), &stacks).await;
    let version = Version::parse("1", "web").unwrap();
    let (mut ours, mut goal) = (cluster(&infra, &stacks), deploy());
    for (now, standing, late) in [(4_000_000_000, Standing::Failed, 0), (4_000_000_010, Standing::Testing, 2)] {
        goal = if late > 0 { deploy() } else { goal };
        stacks.behave(|behaviour| behaviour.late = late);
        let facts = ours.look(&goal, now).await.unwrap();
        let decided = next(&goal, &facts, Patience::default());
        assert!(matches!(&decided, Next::Stand { standing: to, .. } if *to == standing), "{decided:?}");
        let mut did = Did::Soon;
        while did == Did::Soon {
            did = ours.act(&decided, &facts).await.unwrap();
        }
        assert_eq!(did, Did::It);
        goal.did(&decided);
        for late in 0..late {
            // What was done took its time.
            let facts = ours.look(&goal, now + 30 + 4 * i64::from(late)).await.unwrap();
            assert_eq!(facts.compute(&version).unwrap().standing, Standing::Failed, "as it was");
            let on = Wait::Stack { stack: "web-asg-1".to_owned() };
            assert_eq!(next(&goal, &facts, Patience::default()), Next::Wait { on });
        }
        for stack in stacks.list().await.unwrap() {
            stacks.events(&stack.id, Back::Newest).await.unwrap();
        }
    }
    assert_eq!(ours.look(&goal, 4_000_000_050).await.unwrap().compute(&version).unwrap().standing, Standing::Testing);
}
