#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use landfall_model::environment::{AbsentReason, Desired, LiveExecution, Phase, SourceRef, Wanted};
use landfall_model::event::PreviewTrigger;
use landfall_model::inventory::{ResourceKind, TAG_ENVIRONMENT, TAG_INSTANCE, Tags};
use proptest::prelude::*;

use super::*;
use crate::control::{Verdict, apply};
use crate::fixture;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + second).unwrap()
}

fn key() -> RepositoryKey {
    RepositoryKey::new("my-project")
}

fn environment(branch: &str) -> EnvironmentKey {
    EnvironmentKey { repository: key(), source: SourceRef::Branch(branch.to_owned()) }
}

/// Ready at commit `a`, asked for at second 0.
fn ready(branch: &str) -> EnvironmentRecord {
    let ask =
        Ask::Preview { commit: Some("a".into()), pull_request: None, fork: false, trigger: PreviewTrigger::Pushed };
    let intent = Intent {
        id: format!("d-{branch}").into(),
        environment: environment(branch),
        ask,
        actor: "github:octocat".into(),
        event_at: None,
    };
    let mut record = apply(&fixture::app(), &intent, None, at(0)).record.unwrap();
    record.phase = Phase::Ready;
    record.applied_seq = record.desired_seq;
    record.made_generation = record.generation;
    record.commit = Some("a".into());
    record.url = Some("http://x/".into());
    record
}

fn gone(branch: &str, reason: AbsentReason) -> EnvironmentRecord {
    let mut record = ready(branch);
    record.desired = Desired::Absent { reason };
    record.desired_seq += 1;
    record.applied_seq = record.desired_seq;
    record.phase = Phase::Destroyed;
    record.made_generation = 0;
    (record.url, record.commit) = (None, None);
    record
}

fn list(branches: &[(&str, &str)]) -> BTreeMap<RepositoryKey, Option<BranchList>> {
    let branches = branches.iter().map(|(name, tip)| ((*name).to_owned(), (*tip).to_owned())).collect();
    BTreeMap::from([(key(), Some(BranchList { branches, complete: true }))])
}

fn resource(kind: ResourceKind, name: &str, environment: &str) -> OwnedResource {
    let tags = Tags::from([
        (TAG_ENVIRONMENT.to_owned(), environment.to_owned()),
        (TAG_INSTANCE.to_owned(), "here".to_owned()),
    ]);
    OwnedResource { kind, id: name.to_owned(), name: name.to_owned(), environment: environment.to_owned(), tags }
}

fn whole(items: Vec<OwnedResource>) -> Vec<Listing<OwnedResource>> {
    vec![Listing { items, complete: true, at: at(50) }]
}

fn service_of(record: &EnvironmentRecord) -> OwnedResource {
    resource(ResourceKind::Service, &record.names.service, record.id.as_str())
}

struct World {
    records: Vec<EnvironmentRecord>,
    owned: Vec<Listing<OwnedResource>>,
    branches: BTreeMap<RepositoryKey, Option<BranchList>>,
    memory: SweepMemory,
}

impl World {
    fn new(records: Vec<EnvironmentRecord>, branches: &[(&str, &str)]) -> Self {
        let owned = whole(records.iter().filter(|r| r.phase == Phase::Ready).map(service_of).collect());
        World { records, owned, branches: list(branches), memory: SweepMemory::default() }
    }

    fn sweep(&mut self) -> Vec<Finding> {
        let done = compare(&fixture::app(), &self.records, &self.owned, &self.branches, &self.memory, at(50));
        self.memory = done.memory;
        done.findings
    }

    /// Sweeps, expects nothing but intents, and applies them.
    fn repair(&mut self) -> Vec<Intent> {
        let mut intents = Vec::new();
        for finding in self.sweep() {
            let FindingAction::Intent(intent) = finding.action else { panic!("{finding:?}") };
            let index = self.records.iter().position(|record| record.key == intent.environment);
            let applied = apply(&fixture::app(), &intent, index.map(|index| &self.records[index]), at(60));
            assert!(matches!(applied.verdict, Verdict::Applied { .. }), "{applied:?}");
            match index {
                Some(index) => self.records[index] = applied.record.unwrap(),
                None => self.records.push(applied.record.unwrap()),
            }
            intents.push(intent);
        }
        intents
    }
}

fn actions(findings: &[Finding]) -> Vec<&'static str> {
    let word = |finding: &Finding| match &finding.action {
        FindingAction::Intent(Intent { ask: Ask::Destroy { .. }, .. }) => "destroy",
        FindingAction::Intent(_) => "preview",
        FindingAction::DeleteResource(_) => "delete",
        FindingAction::Watch => "watch",
        FindingAction::Frozen => "frozen",
    };
    findings.iter().map(word).collect()
}

#[test]
fn a_branch_without_a_preview_gets_one_if_the_rules_say_so() {
    let mut world = World::new(vec![], &[("feature/x", "b"), ("main", "m")]);
    let intents = world.repair();
    assert_eq!(intents.len(), 1);
    assert_eq!(intents[0].environment, environment("feature/x"));
    let wanted = Wanted { commit: Some("b".into()), pull_request: None };
    assert_eq!(world.records[0].desired, Desired::Present(wanted));
    world.owned = whole(vec![]);
    assert_eq!(world.sweep(), [], "it is on its way");
}

#[test]
fn a_missed_push_is_made_good_once() {
    let mut world = World::new(vec![ready("feature/x"), ready("feature/y")], &[("feature/x", "b"), ("feature/y", "a")]);
    let intents = world.repair();
    assert_eq!(intents.len(), 1);
    assert_eq!(world.records[0].desired_seq, 2);
    assert_eq!(world.repair(), []);
    // The next missed push, of the same commit as once before: another id.
    world.records[0].last_activity = at(10);
    world.records[0].desired_at = at(10);
    world.records[0].desired = Desired::Present(Wanted { commit: Some("c".into()), pull_request: None });
    world.records[0].desired_seq = 3;
    let again = world.repair();
    assert_eq!(again.len(), 1);
    assert_ne!(again[0].id, intents[0].id);
}

#[test]
fn a_commit_that_a_person_chose_stays_until_the_branch_moves() {
    let mut chosen = ready("feature/x");
    chosen.cause = "cli:00".into();
    let mut world = World::new(vec![chosen], &[("feature/x", "tip")]);
    assert_eq!(world.sweep(), []);
    assert_eq!(world.sweep(), []);
    world.branches = list(&[("feature/x", "newer")]);
    assert_eq!(world.repair().len(), 1);
}

#[test]
fn a_commit_that_is_yet_to_be_looked_up_is_not_behind() {
    let mut fresh = ready("feature/x");
    fresh.desired = Desired::Present(Wanted::default());
    assert_eq!(World::new(vec![fresh.clone()], &[("feature/x", "a")]).sweep(), []);
    let mut queued = fresh.clone();
    (queued.phase, queued.applied_seq, queued.commit) = (Phase::Queued, 0, None);
    assert_eq!(World::new(vec![queued], &[("feature/x", "b")]).sweep(), []);
    assert_eq!(World::new(vec![fresh], &[("feature/x", "b")]).repair().len(), 1);
}

#[test]
fn what_came_after_the_look_is_left_alone() {
    let mut late = ready("feature/x");
    late.last_activity = at(51);
    let mut world = World::new(vec![late.clone()], &[("feature/x", "b")]);
    assert_eq!(world.sweep(), []);
    world.branches = list(&[("main", "m")]);
    assert_eq!(world.sweep(), []);
    assert_eq!(world.sweep(), []);
}

#[test]
fn what_went_with_its_branch_comes_back_with_it_and_nothing_else_does() {
    for (reason, back) in [
        (AbsentReason::BranchDeleted, 1),
        (AbsentReason::Orphaned, 1),
        (AbsentReason::Expired, 0),
        (AbsentReason::Requested, 0),
        (AbsentReason::PullRequestClosed, 0),
    ] {
        let mut world = World::new(vec![gone("feature/x", reason)], &[("feature/x", "b")]);
        assert_eq!(world.repair().len(), back, "{reason:?}");
        assert_eq!(world.sweep(), []);
    }
    let mut other = gone("feature/x", AbsentReason::BranchDeleted);
    other.key = environment("topic");
    assert_eq!(World::new(vec![other], &[("topic", "b")]).sweep(), [], "no rule gives it a preview");
}

#[test]
fn a_branch_is_gone_when_two_good_listings_say_so() {
    let mut world = World::new(vec![ready("feature/x")], &[("main", "m")]);
    assert_eq!(actions(&world.sweep()), ["watch"]);
    world.branches = BTreeMap::from([(key(), None)]);
    assert_eq!(actions(&world.sweep()), ["frozen"], "says nothing either way");
    world.branches = list(&[("main", "m")]);
    let intents = world.repair();
    assert_eq!(intents[0].ask, Ask::Destroy { reason: AbsentReason::BranchDeleted });
    assert_eq!(world.repair(), []);

    let mut world = World::new(vec![ready("feature/x")], &[("main", "m")]);
    assert_eq!(actions(&world.sweep()), ["watch"]);
    world.branches = list(&[("main", "m"), ("feature/x", "a")]);
    assert_eq!(world.sweep(), []);
    world.branches = list(&[("main", "m")]);
    assert_eq!(actions(&world.sweep()), ["watch"], "it was there in between");
}

#[test]
fn a_listing_that_shrank_is_believed_when_the_next_one_agrees() {
    let many: Vec<String> = (0..10).map(|n| format!("topic-{n}")).collect();
    let pairs = |n: usize| many.iter().take(n).map(|name| (name.as_str(), "t")).collect::<Vec<_>>();
    let mut full = pairs(10);
    full.push(("feature/x", "a"));
    let mut world = World::new(vec![ready("feature/x")], &full);
    assert_eq!(world.sweep(), []);
    world.branches = list(&pairs(6));
    assert_eq!(actions(&world.sweep()), ["frozen"]);
    assert_eq!(world.memory.sizes[&key()], 11);
    // Smaller still: no agreement.
    world.branches = list(&pairs(2));
    assert_eq!(actions(&world.sweep()), ["frozen"]);
    assert_eq!(actions(&world.sweep()), ["watch"], "now it counts, as the first sight");
    assert_eq!(world.memory.sizes[&key()], 2);
    assert_eq!(actions(&world.sweep()), ["destroy"]);
    // Three of ten are not too many.
    let mut world = World::new(vec![ready("feature/x")], &pairs(10));
    world.sweep();
    world.branches = list(&pairs(7));
    assert_eq!(actions(&world.sweep()), ["destroy"]);
}

#[test]
fn a_repository_without_a_source_is_no_news() {
    let mut app = fixture::app();
    app.repositories.get_mut(&key()).unwrap().source = None;
    let none = BTreeMap::from([(key(), None)]);
    let done = compare(&app, &[ready("feature/x")], &[], &none, &SweepMemory::default(), at(50));
    assert_eq!(done.findings, []);
}

#[test]
fn orphans_go_when_seen_twice() {
    let tombstone = gone("feature/x", AbsentReason::Requested);
    let mut world = World::new(vec![tombstone.clone()], &[("main", "m")]);
    let of_gone = resource(ResourceKind::Network, "net", tombstone.id.as_str());
    let mut foreign = resource(ResourceKind::Image, "img", "nobody");
    foreign.tags.remove(TAG_INSTANCE);
    world.owned = whole(vec![resource(ResourceKind::Task, "t", "nobody"), of_gone.clone(), foreign]);
    assert_eq!(actions(&world.sweep()), ["watch", "watch"]);
    assert_eq!(actions(&world.sweep()), ["delete", "delete"]);
    // An incomplete listing interrupts the row.
    world.owned[0].complete = false;
    assert_eq!(actions(&world.sweep()), ["frozen"]);
    world.owned[0].complete = true;
    assert_eq!(actions(&world.sweep()), ["watch", "watch"]);
}

#[test]
fn what_lasts_is_no_orphan() {
    let mut world = World::new(vec![], &[("main", "m")]);
    let kinds = ResourceKind::ALL.into_iter();
    world.owned = whole(kinds.map(|kind| resource(kind, "my-project-prod-web", "my-project@prod")).collect());
    for _ in 0..3 {
        assert_eq!(world.sweep(), []);
    }
}

#[test]
fn what_may_be_in_use_is_no_orphan() {
    let mut live = gone("feature/x", AbsentReason::Requested);
    live.live = Some(LiveExecution { id: "exe_1".into(), seq: 1, kind: "preview.destroy".into(), commit: None });
    let mut starting = ready("feature/x");
    (starting.phase, starting.made_generation, starting.applied_seq) = (Phase::Queued, 0, 0);
    let mut failed = ready("feature/x");
    failed.phase = Phase::Failed;
    for record in [live, starting, failed] {
        let mut world = World::new(vec![record.clone()], &[("feature/x", "a")]);
        world.owned = whole(vec![resource(ResourceKind::Network, "net", record.id.as_str())]);
        assert_eq!(world.sweep(), []);
        assert_eq!(world.sweep(), []);
    }
}

#[test]
fn a_service_that_vanished_is_deployed_again() {
    let mut world = World::new(vec![ready("feature/x")], &[("feature/x", "a")]);
    world.owned = whole(vec![]);
    assert_eq!(actions(&world.sweep()), ["watch"]);
    let mut listing_failed = world.owned.clone();
    listing_failed.push(Listing { items: vec![], complete: false, at: at(50) });
    let whole_again = std::mem::replace(&mut world.owned, listing_failed);
    assert_eq!(actions(&world.sweep()), ["frozen"]);
    world.owned = whole_again;
    assert_eq!(actions(&world.sweep()), ["watch"]);
    let before = world.records[0].clone();
    assert_eq!(world.repair().len(), 1);
    let after = &world.records[0];
    assert_eq!((after.desired_seq, &after.desired), (before.desired_seq + 1, &before.desired));
    assert_eq!(after.last_activity, before.last_activity, "a repair keeps nobody's preview alive");
    assert_eq!(world.sweep(), [], "it is on its way");
}

#[test]
fn a_repair_that_comes_too_late_does_nothing() {
    let mut world = World::new(vec![ready("feature/x")], &[("feature/x", "a")]);
    world.owned = whole(vec![]);
    world.sweep();
    let findings = world.sweep();
    let FindingAction::Intent(intent) = &findings[0].action else { panic!("{findings:?}") };
    let failed = EnvironmentRecord { phase: Phase::Failed, ..ready("feature/x") };
    for record in [Some(gone("feature/x", AbsentReason::BranchDeleted)), Some(failed), None] {
        let applied = apply(&fixture::app(), intent, record.as_ref(), at(60));
        assert!(applied.record.is_none() && matches!(applied.verdict, Verdict::Ignored { .. }), "{applied:?}");
    }
}

fn any_record() -> impl Strategy<Value = EnvironmentRecord> {
    let reason =
        prop_oneof![Just(AbsentReason::BranchDeleted), Just(AbsentReason::Expired), Just(AbsentReason::Orphaned)];
    ("feature/[a-e]", any::<bool>(), reason, 0i64..100).prop_map(|(branch, present, reason, activity)| {
        let mut record = if present { ready(&branch) } else { gone(&branch, reason) };
        record.last_activity = at(activity);
        record
    })
}

fn any_branches() -> impl Strategy<Value = Option<BranchList>> {
    let branches = prop::collection::btree_map("feature/[a-g]|topic-[a-z]", "[ab]", 0..12);
    prop::option::of((branches, any::<bool>()).prop_map(|(branches, complete)| BranchList { branches, complete }))
}

fn any_owned() -> impl Strategy<Value = Vec<Listing<OwnedResource>>> {
    let item = (prop::sample::select(&ResourceKind::ALL[..]), "[a-d]", "my-project-[a-g]")
        .prop_map(|(kind, name, environment)| resource(kind, &name, &environment));
    let listing = (prop::collection::vec(item, 0..6), any::<bool>()).prop_map(|(items, complete)| Listing {
        items,
        complete,
        at: at(50),
    });
    prop::collection::vec(listing, 0..4)
}

fn any_records() -> impl Strategy<Value = Vec<EnvironmentRecord>> {
    prop::collection::vec(any_record(), 0..6).prop_map(|records| {
        let by_id: BTreeMap<_, _> = records.into_iter().map(|record| (record.id.clone(), record)).collect();
        by_id.into_values().collect()
    })
}

proptest! {
    #[test]
    fn nothing_goes_because_of_a_bad_listing(
        records in any_records(),
        rounds in prop::collection::vec((any_branches(), any_owned()), 1..8),
    ) {
        let app = fixture::app();
        let mut memory = SweepMemory::default();
        for (list, owned) in rounds {
            let branches = BTreeMap::from([(key(), list.clone())]);
            let done = compare(&app, &records, &owned, &branches, &memory, at(50));
            let mut reversed = records.clone();
            reversed.reverse();
            prop_assert_eq!(&done, &compare(&app, &reversed, &owned, &branches, &memory, at(50)));
            let trusted = list.as_ref().is_some_and(|list| list.complete && !list.branches.is_empty());
            for finding in &done.findings {
                match &finding.action {
                    FindingAction::Intent(intent) if matches!(intent.ask, Ask::Destroy { .. }) => {
                        prop_assert!(trusted);
                        let SourceRef::Branch(branch) = &intent.environment.source else { unreachable!() };
                        prop_assert!(!list.as_ref().unwrap().branches.contains_key(branch));
                    }
                    FindingAction::DeleteResource(resource) => {
                        prop_assert!(owned.iter().any(|listing| listing.complete && listing.items.contains(resource)));
                        let record = records.iter().find(|record| record.id.as_str() == resource.environment);
                        prop_assert!(record.is_none_or(|record| record.phase == Phase::Destroyed));
                    }
                    _ => {}
                }
            }
            if !trusted {
                let said = done.findings.iter().any(|f| f.action == FindingAction::Frozen && f.what.contains("branches"));
                prop_assert!(said);
            }
            let ids: BTreeSet<_> = done.findings.iter().filter_map(|finding| match &finding.action {
                FindingAction::Intent(intent) => Some(intent.id.clone()),
                _ => None,
            }).collect();
            let intents = done.findings.iter().filter(|f| matches!(f.action, FindingAction::Intent(_))).count();
            prop_assert_eq!(ids.len(), intents);
            memory = done.memory;
        }
    }

    #[test]
    fn a_memory_survives_its_own_text(list in any_branches(), owned in any_owned(), records in any_records()) {
        let branches = BTreeMap::from([(key(), list)]);
        let memory = compare(&fixture::app(), &records, &owned, &branches, &SweepMemory::default(), at(50)).memory;
        let text = serde_json::to_string(&memory).unwrap();
        prop_assert_eq!(serde_json::from_str::<SweepMemory>(&text).unwrap(), memory);
    }
}
