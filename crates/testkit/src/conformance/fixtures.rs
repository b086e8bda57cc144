//! Data for the checks: small, deterministic, and of every field something.

use landfall_model::Timestamp;
use landfall_model::environment::{
    EnvironmentKey, EnvironmentNames, EnvironmentRecord, EnvironmentWrite, Phase, SourceRef, Wanted,
};
use landfall_model::ids::{DeliveryId, EnvironmentId, ExecutionId, PlanDigest, RepositoryKey, StepId};
use landfall_model::notice::{Notice, NoticeKind};
use landfall_ports::journal::{Batch, Created, Journal, Lease, NewExecution};
use landfall_ports::store::NewDelivery;
use landfall_workflow::event::{Event, Record};
use landfall_workflow::{Outcome, Plan};

/// Longer than any check takes on the wall.
pub const TTL_MS: u64 = 3_600_000;

pub fn at(second: i64) -> Timestamp {
    Timestamp::new(1_767_225_600 + second, 123_456_789).unwrap()
}

pub fn record(second: i64, event: Event) -> Record {
    Record { at: at(second), event }
}

pub fn step_done(second: i64, step: &str) -> Record {
    record(
        second,
        Event::StepSucceeded { step: StepId::new(step), output: serde_json::json!({ "handle": "tg/1", "count": 2 }) },
    )
}

pub fn finished(second: i64) -> Record {
    ended(second, Outcome::Succeeded)
}

pub fn ended(second: i64, outcome: Outcome) -> Record {
    record(second, Event::Finished { outcome, message: "done".to_owned() })
}

pub fn batch(records: Vec<Record>) -> Batch {
    Batch { records, ..Batch::default() }
}

pub fn last(records: Vec<Record>) -> Batch {
    Batch { records, finished: true, ..Batch::default() }
}

/// Execution `exe_{name}` of environment `environment`, with one record and no notices.
pub fn execution(name: &str, environment: &str) -> NewExecution {
    execution_of("preview.create", name, environment)
}

pub fn execution_of(kind: &str, name: &str, environment: &str) -> NewExecution {
    let plan = Plan {
        schema: 1,
        kind: kind.to_owned(),
        environment: EnvironmentId::new(environment),
        generation: 1,
        parent: None,
        title: format!("Create preview {environment}"),
        steps: vec![],
        max_parallel: 1,
        last_try: false,
        quiet: false,
        again: false,
        fallback: Default::default(),
    };
    NewExecution {
        id: ExecutionId::new(format!("exe_{name}")),
        dedup_key: format!("key-{name}"),
        environment: EnvironmentId::new(environment),
        plan_digest: PlanDigest::new(format!("digest-{name}")),
        plan: serde_json::to_vec(&plan).unwrap(),
        records: vec![record(0, Event::Created { plan: format!("digest-{name}"), intent: format!("key-{name}") })],
        notices: vec![],
    }
}

/// Creates `exe_{name}` and claims it, with whatever else is free.
pub async fn claimed(journal: &dyn Journal, name: &str) -> Lease {
    let new = execution(name, "env");
    let id = new.id.clone();
    assert_eq!(journal.create(new).await.unwrap(), Created::New);
    let leases = journal.claim("engine-1", TTL_MS, 100).await.unwrap();
    leases.into_iter().find(|lease| lease.execution == id).expect("a new execution can be claimed")
}

pub fn notice(id: &str, second: i64) -> Notice {
    Notice {
        id: id.to_owned(),
        kind: NoticeKind::Created,
        environment: EnvironmentId::new("env"),
        execution: Some(ExecutionId::new("exe_1")),
        text: format!("Preview env is up ({id})"),
        url: Some("http://env.localhost:8080/".to_owned()),
        cause: None,
        at: at(second),
        links: None,
        to: Vec::new(),
    }
}

pub fn delivery(id: &str, second: i64) -> NewDelivery {
    NewDelivery {
        id: DeliveryId::new(id),
        event: "push".to_owned(),
        content_type: "application/json".to_owned(),
        // Not UTF-8, with a NUL: what was signed is kept to the byte.
        body: [b"{\"id\":\"", id.as_bytes(), b"\"}\x00\xff\xfe"].concat(),
        received_at: at(second),
    }
}

pub fn environment(id: &str) -> EnvironmentRecord {
    let key = EnvironmentKey {
        repository: RepositoryKey::new("my-project"),
        source: SourceRef::Branch(format!("feature/{id}")),
    };
    let names = EnvironmentNames {
        base: id.to_owned(),
        host_label: id.to_owned(),
        target_group: format!("{id}-tg"),
        service: format!("{id}-service"),
        family: id.to_owned(),
    };
    let wanted = Wanted { commit: Some("1a2b3c4".to_owned()), pull_request: None };
    EnvironmentRecord {
        made_generation: 1,
        event_at: Some(at(0)),
        phase: Phase::Creating,
        ..EnvironmentRecord::new(key, names, wanted, DeliveryId::new("delivery-1"), at(1))
    }
}

pub fn write(expected: u64, record: EnvironmentRecord) -> EnvironmentWrite {
    EnvironmentWrite { expected, record }
}
