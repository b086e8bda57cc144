//! Small valid values. Numbers make them different; equal numbers make them equal.

use landfall_model::Timestamp;
use landfall_model::environment::{
    AbsentReason, Desired, EnvironmentKey, EnvironmentNames, EnvironmentRecord, EnvironmentWrite, Phase, SourceRef,
};
use landfall_model::ids::{DeliveryId, EnvironmentId, ExecutionId, PlanDigest, RepositoryKey, StepId};
use landfall_model::notice::{Notice, NoticeKind};
use landfall_ports::journal::NewExecution;
use landfall_ports::store::NewDelivery;
use landfall_workflow::Plan;
use landfall_workflow::event::{Event, Record};

/// `second` seconds (and some nanoseconds, which must survive) after 2026-01-01.
pub fn at(second: i64) -> Timestamp {
    Timestamp::new(1_767_225_600 + second, 123_456_789).unwrap()
}

pub fn environment_id(n: u64) -> EnvironmentId {
    EnvironmentId::new(format!("my-project-test{n}"))
}

pub fn execution_id(n: u64) -> ExecutionId {
    ExecutionId::new(format!("exe_{n:026}"))
}

/// Execution `n` of environment `environment`, with the deduplication key `key-{n}` and one record.
pub fn execution(n: u64, environment: u64) -> NewExecution {
    let plan = Plan {
        schema: 1,
        kind: "preview.create".to_owned(),
        environment: environment_id(environment),
        generation: 1,
        parent: None,
        title: format!("Create preview {n}"),
        steps: Vec::new(),
        max_parallel: 1,
    };
    NewExecution {
        id: execution_id(n),
        dedup_key: format!("key-{n}"),
        environment: environment_id(environment),
        plan_digest: PlanDigest::new(format!("{n:064x}")),
        // Kept verbatim, spaces too.
        plan: format!("{} ", serde_json::to_string(&plan).unwrap()).into_bytes(),
        records: vec![Record {
            at: at(0),
            event: Event::Created { plan: format!("{n:064x}"), intent: format!("d{n}") },
        }],
        notices: Vec::new(),
    }
}

/// A record told apart by `n`.
pub fn record(n: u64) -> Record {
    let output = serde_json::json!({ "n": n, "text": "ünïcode \" \n" });
    Record { at: at(n.cast_signed()), event: Event::StepSucceeded { step: StepId::new(format!("step.{n}")), output } }
}

pub fn notice(n: u64) -> Notice {
    Notice {
        id: format!("notice-{n}"),
        kind: NoticeKind::Created,
        environment: environment_id(n),
        execution: Some(execution_id(n)),
        text: format!("notice {n}"),
        url: None,
        cause: Some("because".to_owned()),
        at: at(n.cast_signed()),
    }
}

/// Delivery `n` with every byte value in its body.
pub fn delivery(n: u64) -> NewDelivery {
    let body = (0..=u8::MAX).cycle().skip(usize::try_from(n % 256).unwrap()).take(300).collect();
    NewDelivery {
        id: DeliveryId::new(format!("delivery-{n}")),
        event: "create".to_owned(),
        content_type: "application/json".to_owned(),
        body,
        received_at: at(n.cast_signed()),
    }
}

pub fn environment(n: u64) -> EnvironmentRecord {
    let id = environment_id(n);
    EnvironmentRecord {
        key: EnvironmentKey {
            repository: RepositoryKey::new("my-project"),
            source: SourceRef::Branch(format!("feature/test{n}")),
        },
        names: EnvironmentNames {
            base: id.to_string(),
            host_label: format!("test{n}"),
            target_group: format!("{id}-tg"),
            service: format!("{id}-service"),
            family: id.to_string(),
        },
        id,
        revision: 0,
        generation: 1,
        made_generation: 0,
        desired: Desired::Absent { reason: AbsentReason::Requested },
        desired_seq: 1,
        desired_at: at(1),
        cause: DeliveryId::new("delivery-1"),
        event_at: None,
        applied_seq: 0,
        live: None,
        phase: Phase::AwaitingApproval,
        message: None,
        url: None,
        port: None,
        commit: None,
        last_execution: None,
        created_at: at(1),
        last_activity: at(2),
        pinned: false,
        approved_commits: Vec::new(),
        retries: 0,
        retry_at: None,
    }
}

/// A write of environment `n` that expects `expected`, told apart by `message`.
pub fn write(n: u64, expected: u64, message: &str) -> EnvironmentWrite {
    let record = EnvironmentRecord { message: Some(message.to_owned()), ..environment(n) };
    EnvironmentWrite { expected, record }
}
