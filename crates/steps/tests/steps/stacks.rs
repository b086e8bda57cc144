//! Stacks that somebody else changes too.

use landfall_model::cloudformation::NewChangeSet;
use landfall_ports::PortError;
use landfall_ports::stacks::Stacks as _;
use landfall_stack::live::{Before, Phase, Wanted};
use landfall_steps::stack::{Prepared, Purpose, Ready, execute, follow, mark, prepare};
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
