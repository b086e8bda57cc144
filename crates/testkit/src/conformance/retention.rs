//! What stays however much has come since.

use landfall_model::ids::ExecutionId;
use landfall_ports::journal::{Journal, JournalError};
use landfall_workflow::Outcome::{RolledBack, Succeeded, Superseded};
use landfall_workflow::{Outcome, release};

use super::Subject;
use super::fixtures::{TTL_MS, ended, execution, execution_of, last};

const PROD: &str = "shop@prod";

async fn ran(journal: &dyn Journal, kind: &str, name: &str, environment: &str, outcome: Outcome) -> ExecutionId {
    let new = execution_of(kind, name, environment);
    journal.create(new.clone()).await.unwrap();
    let leases = journal.claim("engine-1", TTL_MS, 100).await.unwrap();
    let lease = leases.iter().find(|lease| lease.execution == new.id).expect("a new execution can be claimed");
    journal.append(lease, 1, last(vec![ended(1, outcome)])).await.unwrap();
    new.id
}

/// Behind more failures, scalings and previews than the releases are themselves.
pub(super) async fn the_newest_releases_outlive_everything(subject: &impl Subject) {
    let journal = subject.journal();
    let unfinished = execution("unfinished", "preview");
    journal.create(unfinished.clone()).await.unwrap();
    let (mut releases, mut others) = (Vec::new(), Vec::new());
    for n in 0..release::KEPT + 2 {
        let kind = if n % 3 == 0 { release::ROLLBACK } else { release::DEPLOY };
        others.push(ran(&*journal, release::DEPLOY, &format!("failed-{n}"), PROD, RolledBack).await);
        releases.push(ran(&*journal, kind, &format!("release-{n}"), PROD, Succeeded).await);
    }
    // What was cut short since the newest release knows what served before it.
    let mut since = Vec::new();
    for n in 0..=release::KEPT {
        since.push(ran(&*journal, release::DEPLOY, &format!("cut-{n}"), PROD, Superseded).await);
    }
    others.push(since.remove(0));
    let quiet = ran(&*journal, release::DEPLOY, "quiet", "shop@dev", Succeeded).await;
    for n in 0..release::KEPT {
        others.push(ran(&*journal, "environment.scale", &format!("scaled-{n}"), PROD, Succeeded).await);
        others.push(ran(&*journal, "preview.create", &format!("preview-{n}"), "preview", Succeeded).await);
    }
    // An environment's very last execution may stay too.
    others.truncate(others.len() - 2);
    subject.age().await;

    let gone = releases.drain(..2).chain(others);
    for id in gone {
        assert!(matches!(journal.load(&id).await, Err(JournalError::NotFound(_))), "{id} is still there");
    }
    releases.push(quiet);
    for id in releases.iter().chain(&since).chain([&unfinished.id]) {
        let stored = journal.load(id).await.unwrap();
        assert_eq!(stored.finished, *id != unfinished.id);
        assert!(!stored.plan.is_empty() && stored.records.len() as u64 == stored.version, "{id} is not whole");
    }
    let listed = journal.list(Some(&PROD.into()), false, 1000).await.unwrap();
    let listed: Vec<_> = listed.into_iter().filter(|one| one.kind != "environment.scale").map(|one| one.id).collect();
    let oldest_first = releases[..release::KEPT].iter().chain(&since);
    let newest_first: Vec<_> = oldest_first.rev().cloned().collect();
    assert_eq!(listed, newest_first);
    // Whoever asks again for what stayed is answered with it.
    let again = journal.create(execution_of(release::DEPLOY, "quiet", "shop@dev")).await.unwrap();
    assert_eq!(again, landfall_ports::journal::Created::Existing(releases[release::KEPT].clone()));
}
