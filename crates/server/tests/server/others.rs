//! A lasting environment that others deploy to as well, and attempts that were cut short.

use std::collections::BTreeMap;

use landfall_model::app::{AwaitSource, ImageSource};
use landfall_model::inventory::{TAG_ENVIRONMENT, TAG_INSTANCE, Tags};
use landfall_model::task::{ContainerDefinition, TaskDefinition};
use landfall_planner::plan::Following;
use landfall_ports::orchestrator::PutService;
use landfall_server::ControlError;
use landfall_server::deploy::Change;
use landfall_workflow::Outcome;

use crate::deploy::{ask, deployed, detail, image, prod};
use crate::rig::Rig;

const WEB: &str = "my-project-prod-app";

fn tags() -> Tags {
    let tags = [(TAG_ENVIRONMENT, "my-project@prod"), (TAG_INSTANCE, "test-instance")];
    tags.map(|(key, value)| (key.to_owned(), value.to_owned())).into()
}

/// Somebody deploys `image` past Landfall; the handle of what runs then.
async fn deployed_by_others(rig: &Rig, name: &str, image: &str) -> String {
    let orchestrator = rig.world.platform().orchestrator;
    let settings = orchestrator.describe_service(name).await.unwrap().unwrap().settings.unwrap();
    let container =
        ContainerDefinition { name: "app".to_owned(), image: image.to_owned(), settings: Default::default() };
    let definition =
        TaskDefinition { family: "others".to_owned(), containers: vec![container], ..TaskDefinition::default() };
    let handle = orchestrator.register_task_definition(&definition, &Tags::new()).await.unwrap().handle;
    let request = PutService {
        name: name.to_owned(),
        launch_type: Default::default(),
        task_definition: handle.clone(),
        desired_count: 1,
        deployment: settings.deployment,
        target: settings.target,
        tags: tags(),
        adopt: false,
        replace: None,
        document: None,
    };
    orchestrator.put_service(&request).await.unwrap();
    for _ in 0..5 {
        orchestrator.describe_service(name).await.unwrap();
    }
    handle
}

/// Images are told by the commit.
fn by_commit() -> Rig {
    let mut rig = prod(&["app:1111111", "app:2222222"]);
    let wait = AwaitSource { image: "app:{short_commit}".to_owned(), label: None, deadline: 60 };
    rig.app.services.get_mut("app").unwrap().containers[0].image = ImageSource::Await(wait);
    rig
}

fn commit(digit: Option<char>) -> Change {
    Change::Deploy {
        commit: digit.map(|digit| digit.to_string().repeat(40)),
        images: Vec::new(),
        services: Vec::new(),
        following: Following::default(),
        task_definition: None,
    }
}

fn scale(count: u32) -> Change {
    Change::Scale { counts: BTreeMap::from([("app".to_owned(), count)]), following: Following::default() }
}

#[tokio::test]
async fn what_others_deployed_stays_when_the_count_changes_and_keeps_its_images_without_a_commit() {
    let rig = by_commit();
    let server = rig.start().await;
    assert_eq!(deployed(&server, commit(Some('1'))).await, Outcome::Succeeded);
    let theirs = deployed_by_others(&rig, WEB, "others/app:7").await;
    let before = rig.world.view();
    assert_eq!(deployed(&server, scale(3)).await, Outcome::Succeeded);
    let after = rig.world.view();
    assert_eq!(after.services[WEB], (theirs, 3, 3));
    assert_eq!(after.settings, before.settings);
    // A change of the manifest alone.
    assert_eq!(deployed(&server, commit(None)).await, Outcome::Succeeded);
    let status = detail(&server).await;
    assert_eq!(status.services[0].images.values().collect::<Vec<_>>(), ["others/app:7"]);
    assert_eq!(rig.world.view().services[WEB].1, 3);
}

#[tokio::test]
async fn a_count_cannot_be_set_of_what_is_not_there() {
    let rig = prod(&["app:1"]);
    let server = rig.start().await;
    assert_eq!(deployed(&server, image("app:1")).await, Outcome::Succeeded);
    rig.world.vanish_service(WEB);
    let Err(ControlError::Invalid(why)) = ask(&server, scale(2)).await else { panic!("not refused") };
    assert!(why.contains(WEB) && why.contains("landfall deploy prod"), "{why}");
}
