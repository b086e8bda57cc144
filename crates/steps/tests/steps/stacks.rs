//! Stacks that somebody else changes too.

use landfall_model::cloudformation::{NewChangeSet, StackEvent};
use landfall_ports::PortError;
use landfall_ports::orchestrator::{ContainerDescription, ServiceEvent, TaskDescription};
use landfall_ports::stacks::{Back, ServiceFailures, Stacks as _};
use landfall_stack::live::{Before, Behind, Causes, Ending, Phase, Seen, Troubles, Wanted};
use landfall_steps::stack::{
    Begun, Followed, Prepared, Purpose, Ready, behind, execute, follow, look_behind, mark, prepare,
};
use landfall_testkit::stacks::FakeStacks;

fn wanted(template: &str) -> Wanted {
    let (stack, environment) = ("shop-prod".to_owned(), "shop@prod".to_owned());
    Wanted { stack, environment, template: template.to_owned(), ..Wanted::default() }
}

async fn ready(stacks: &FakeStacks, wanted: &Wanted) -> Ready {
    for _ in 0..10 {
        match prepare(stacks, wanted, Purpose::Apply).await.unwrap() {
            Prepared::Ready(ready) => return *ready,
            Prepared::Pending => {}
            other => panic!("{other:?}"),
        }
    }
    panic!("no change set comes of it")
}

/// A stack that is up.
async fn made() -> FakeStacks {
    let stacks = FakeStacks::default();
    let first = ready(&stacks, &wanted("first")).await;
    let begun = mark(&stacks, "shop-prod").await.unwrap();
    execute(&stacks, &begun, &first.set.id).await.unwrap();
    while follow(&stacks, &begun).await.unwrap().ending.is_none() {}
    stacks
}

#[tokio::test]
async fn an_update_of_somebody_else_is_never_told_as_ours() {
    let stacks = made().await;
    let (ours, theirs) = (ready(&stacks, &wanted("ours")).await, ready(&stacks, &wanted("theirs")).await);
    let begun = mark(&stacks, "shop-prod").await.unwrap();
    execute(&stacks, &begun, &theirs.set.id).await.unwrap();
    // The change set is there, and so are events.
    assert!(stacks.change_set("shop-prod", &ours.set.id).await.unwrap().is_some());
    assert!(!follow(&stacks, &begun).await.unwrap().events.is_empty());
    let told = execute(&stacks, &begun, &ours.set.id).await;
    assert!(matches!(&told, Err(PortError::Conflict(why)) if why.contains("somebody else has changed")), "{told:?}");
    assert_eq!(stacks.executed().last(), Some(&theirs.set.name));
}

#[tokio::test]
async fn what_was_executed_is_ours_though_its_answer_was_lost() {
    let stacks = made().await;
    let ours = ready(&stacks, &wanted("ours")).await;
    let begun = mark(&stacks, "shop-prod").await.unwrap();
    stacks.execute("shop-prod", &ours.set.id, "a token that CloudFormation has forgotten").await.unwrap();
    execute(&stacks, &begun, &ours.set.id).await.unwrap();
}

#[tokio::test]
async fn a_stack_that_others_are_about_to_make_is_left_to_them() {
    let stacks = FakeStacks::default();
    let theirs = NewChangeSet {
        stack: "shop-prod".to_owned(),
        name: "console-review".to_owned(),
        create: true,
        template: "theirs".to_owned(),
        upload: None,
        parameters: [].into(),
        tags: [].into(),
        role: None,
    };
    stacks.create_change_set(&theirs).await.unwrap();
    for purpose in [Purpose::Look, Purpose::Apply] {
        let told = prepare(&stacks, &wanted("ours"), purpose).await.unwrap();
        assert_eq!(told, Prepared::Held(Before::Stuck(Phase::Review)));
    }
    assert_eq!(stacks.made(), ["console-review"]);
    stacks.delete_change_set("shop-prod", "console-review").await.unwrap();
    ready(&stacks, &wanted("ours")).await;
}

const BREAKER: &str = "ECS Deployment Circuit Breaker was triggered";

/// A task that ended with 137, with its last words.
fn killed() -> TaskDescription {
    TaskDescription {
        id: "1".to_owned(),
        last_status: "STOPPED".to_owned(),
        health: "UNKNOWN".to_owned(),
        stopped_reason: Some("Essential container in task exited".to_owned()),
        stop_code: Some("EssentialContainerExited".to_owned()),
        containers: vec![ContainerDescription {
            name: "app".to_owned(),
            last_status: "STOPPED".to_owned(),
            exit_code: Some(137),
            reason: Some("OutOfMemoryError: container killed due to memory usage".to_owned()),
            tail: vec!["loading everything".to_owned()],
        }],
        started_at: None,
        stopped_at: None,
    }
}

fn says(message: &str) -> ServiceEvent {
    ServiceEvent { at: "2100-01-01T00:00:00Z".parse().unwrap(), message: message.to_owned() }
}

/// A change that fails, to its end, and what was seen behind it.
async fn fails(stacks: &FakeStacks, failures: ServiceFailures) -> (Begun, Followed, Seen) {
    let ours = ready(stacks, &wanted("ours")).await;
    stacks.behave(|behaviour| (behaviour.fails, behaviour.failures) = (Some(BREAKER.to_owned()), failures));
    let begun = mark(stacks, "shop-prod").await.unwrap();
    execute(stacks, &begun, &ours.set.id).await.unwrap();
    let mut seen = Seen::new();
    loop {
        let look = follow(stacks, &begun).await.unwrap();
        look_behind(stacks, &begun, &look, &mut seen).await;
        if look.ending.is_some() {
            return (begun, look, seen);
        }
    }
}

/// The rollback takes the service, and its tasks, away.
#[tokio::test]
async fn why_a_service_did_not_come_up_is_looked_for_while_it_is_there() {
    let stacks = made().await;
    let failures = ServiceFailures { tasks: vec![killed()], events: vec![says("(service web) has started 1 tasks")] };
    let (begun, look, seen) = fails(&stacks, failures).await;
    assert_eq!(look.ending, Some(Ending::RolledBack));
    assert_eq!(stacks.service_failures("web", begun_at(&look)).await.unwrap(), ServiceFailures::default());
    let root = look.causes(&begun.stack, &seen).root.unwrap();
    let why = "Essential container in task exited (app, exit code 137: OutOfMemoryError: container killed due to memory usage)";
    assert_eq!(root.sentences(), [format!("WebService (AWS::ECS::Service): {BREAKER}"), why.to_owned()]);
    let troubles = root.troubles().unwrap();
    let lines = [
        "app: exit code 137",
        "app: OutOfMemoryError: container killed due to memory usage",
        "app | loading everything",
    ];
    assert_eq!(troubles.lines, lines);
    assert!(troubles.fix.as_ref().unwrap().starts_with("the container ran out of memory"), "{troubles:?}");
    // A run's journal keeps it.
    let kept: Seen = serde_json::from_str(&serde_json::to_string(&seen).unwrap()).unwrap();
    assert_eq!(kept, seen);
}

fn begun_at(look: &Followed) -> landfall_model::Timestamp {
    look.events.last().unwrap().at
}

/// Where no task was even begun, ECS's events say why.
#[tokio::test]
async fn a_service_without_tasks_is_told_by_its_events() {
    let unable = "(service web) was unable to place a task because no container instance met all of its requirements.";
    let events = vec![says("(service web) deployment failed"), says(unable), says("(service web) has begun")];
    let (begun, look, seen) = fails(&made().await, ServiceFailures { tasks: Vec::new(), events }).await;
    let causes = look.causes(&begun.stack, &seen);
    let troubles = causes.root.as_ref().unwrap().troubles().unwrap();
    assert_eq!((troubles.why.as_str(), troubles.fix.is_some()), (unable, true), "{troubles:?}");

    let well = ServiceFailures { tasks: Vec::new(), events: vec![says("(service web) has reached a steady state.")] };
    let (begun, look, seen) = fails(&made().await, well).await;
    assert_eq!(look.causes(&begun.stack, &seen).root.unwrap().behind, None);
}

#[tokio::test]
async fn a_nested_stack_is_looked_into() {
    let stacks = made().await;
    let failures = ServiceFailures { tasks: vec![killed()], events: Vec::new() };
    let (begun, ..) = fails(&stacks, failures.clone()).await;
    stacks.behave(|behaviour| behaviour.failures = failures);
    // The stack that failed is another's resource.
    let inner = stacks.events(&begun.stack, Back::Operation).await.unwrap();
    let event = |resource: &str, physical: &str, status: &str, reason: Option<&str>| StackEvent {
        resource: resource.to_owned(),
        physical: Some(physical.to_owned()),
        kind: "AWS::CloudFormation::Stack".to_owned(),
        status: status.to_owned(),
        reason: reason.map(str::to_owned),
        ..inner[0].clone()
    };
    let outer = "arn:aws:cloudformation:eu-west-1:1:stack/all/1";
    let embedded = "Embedded stack was not successfully updated";
    let events = [
        event("all", outer, "UPDATE_ROLLBACK_IN_PROGRESS", None),
        event("Shop", &begun.stack, "UPDATE_FAILED", Some(embedded)),
        event("all", outer, "UPDATE_IN_PROGRESS", None),
    ];
    let cause = Causes::of(&events, outer).root.unwrap();
    let found = behind(&stacks, &cause, &events).await.unwrap();
    let Behind::Nested(service) = &found else { panic!("{found:?}") };
    assert_eq!((service.resource.as_str(), service.reason.as_str()), ("WebService", BREAKER));
    let Some(Behind::Service(Troubles { why, .. })) = &service.behind else { panic!("{service:?}") };
    assert!(why.starts_with("Essential container"), "{why}");

    // What is gone is not looked into, and says so by silence.
    let gone = [event("Shop", "arn:aws:cloudformation:eu-west-1:1:stack/gone/1", "UPDATE_FAILED", Some(embedded))];
    let cause = Causes::of(&gone, outer).root.unwrap();
    assert_eq!(behind(&stacks, &cause, &gone).await, None);
}
