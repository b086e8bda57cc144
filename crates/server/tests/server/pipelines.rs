//! Pipelines through the control API, over a platform, a store and a journal in memory: from stage to stage, with people in between,
//! and with the server killed in every phase.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use jiff::SignedDuration;
use landfall_model::Timestamp;
use landfall_model::app::{AwaitSource, ImageSource};
use landfall_model::ids::RunId;
use landfall_model::pipeline::{
    Approval, Check, OnDeadline, OnFailure, Pipeline, PipelineRelease, Requires, Stage, Trigger, Work,
};
use landfall_model::probe::Probe;
use landfall_pipeline::retention::Retention;
use landfall_pipeline::{Event, Outcome, Record, RunState, RunView, Signal, StageState, Via};
use landfall_ports::pipelines::Outside;
use landfall_ports::store::{NewRun, Store as _};
use landfall_ports::{PortError, PortResult};
use landfall_server::pipelines::{Current, PipelineRequest, PipelineResponse};
use landfall_server::{Control, ControlError, ControlRequest, ControlResponse};
use serde_json::json;

use crate::deploy::{image, prod};
use crate::rig::{Post, Rig, Server, eventually};

pub(crate) const COMMIT: &str = "1a2b3c4d5e6f708192a3b4c5d6e7f8091a2b3c4d";

/// Answers as it is told to.
#[derive(Default)]
pub(crate) struct Told {
    /// URLs that do not answer.
    pub(crate) broken: Mutex<BTreeSet<String>>,
    /// Alarms that are in ALARM.
    loud: Mutex<BTreeSet<String>>,
    pub(crate) parameters: Mutex<BTreeMap<String, String>>,
    /// Where to, and under which tags.
    pub(crate) copied: Mutex<Vec<(String, Vec<String>)>>,
}

#[async_trait]
impl Outside for Told {
    async fn probe(&self, url: &str, _through: Option<&str>, _probe: &Probe) -> Result<(), String> {
        match self.broken.lock().unwrap().contains(url) {
            true => Err("500".to_owned()),
            false => Ok(()),
        }
    }

    async fn alarms(&self, _environment: &str, names: &[String]) -> PortResult<Vec<String>> {
        let loud = self.loud.lock().unwrap();
        Ok(names.iter().filter(|name| loud.contains(*name)).cloned().collect())
    }

    async fn copy(&self, image: &str, to: &str, tags: &[String]) -> PortResult<String> {
        let digest = image.split_once('@').ok_or_else(|| PortError::Invalid("no digest".to_owned()))?.1;
        let made = format!("{to}@{digest}");
        self.copied.lock().unwrap().push((made.clone(), tags.to_vec()));
        Ok(made)
    }

    async fn parameter(&self, _environment: &str, name: &str) -> PortResult<Option<String>> {
        Ok(self.parameters.lock().unwrap().get(name).cloned())
    }

    async fn put_parameter(&self, _environment: &str, name: &str, value: &str) -> PortResult<()> {
        self.parameters.lock().unwrap().insert(name.to_owned(), value.to_owned());
        Ok(())
    }
}

pub(crate) fn stage(environment: &str, approval: Option<Approval>) -> Stage {
    Stage {
        environment: environment.to_owned(),
        requires: Requires::default(),
        approval,
        run: vec![Work::Deploy {}, Work::Verify {}],
        on_failure: OnFailure::Rollback,
    }
}

pub(crate) fn approval() -> Approval {
    Approval {
        by: vec!["anna".to_owned(), "ben".to_owned()],
        count: 1,
        deadline: None,
        on_deadline: OnDeadline::Reject,
        self_approval: false,
        notify: Vec::new(),
    }
}

/// dev, then a yes, then prod; images named after the commit.
pub(crate) fn rig() -> (Rig, Arc<Told>) {
    let mut rig = prod(&[&format!("r.example/app:{COMMIT}"), "r.example/app:old"]);
    let mut dev = rig.app.environments["prod"].clone();
    dev.name = "dev".to_owned();
    dev.routing = Some(landfall_model::step::RouteTarget::Host { host: "dev.example.com".to_owned(), port: 8080 });
    rig.app.environments.insert("dev".to_owned(), dev);
    let app = rig.app.services.get_mut("app").unwrap();
    app.containers[0].image = ImageSource::Await(AwaitSource {
        image: "r.example/app:{commit}".to_owned(),
        label: None,
        deadline: 60,
        build: None,
        tags: Vec::new(),
    });
    let mut stages = vec![stage("dev", None), stage("prod", Some(approval()))];
    stages[0].run.push(Work::Publish { parameters: vec!["/shop/dev/{service}".to_owned(), "imagetag".to_owned()] });
    let on = Trigger { branches: vec!["main".to_owned()], ..Trigger::default() };
    rig.app.pipelines.insert("main".to_owned(), Pipeline { name: "main".to_owned(), on, stages });
    let told = Arc::new(Told::default());
    rig.outside = told.clone();
    (rig, told)
}

pub(crate) async fn pipeline(server: &Server, request: PipelineRequest) -> Result<PipelineResponse, ControlError> {
    match server.service.call(ControlRequest::Pipeline(request)).await? {
        ControlResponse::Pipeline(response) => Ok(response),
        other => panic!("{other:?}"),
    }
}

pub(crate) async fn run(server: &Server) -> RunView {
    let release = PipelineRelease { commit: Some(COMMIT.to_owned()), ..PipelineRelease::default() };
    let request = PipelineRequest::Run { pipeline: "main".to_owned(), release, by: "cli:carl".to_owned() };
    match pipeline(server, request).await.unwrap() {
        PipelineResponse::Run(view) => *view,
        other => panic!("{other:?}"),
    }
}

pub(crate) async fn show(server: &Server, id: &RunId) -> RunView {
    match pipeline(server, PipelineRequest::Show { run: id.to_string() }).await.unwrap() {
        PipelineResponse::Run(view) => *view,
        other => panic!("{other:?}"),
    }
}

pub(crate) async fn reaches(server: &Server, id: &RunId, state: RunState) -> RunView {
    let what = format!("{id} is {}", state.word());
    eventually(&what, async || {
        let view = show(server, id).await;
        assert!(view.state == state || !view.state.is_finished(), "{view:#?}");
        (view.state == state).then_some(view)
    })
    .await
}

pub(crate) fn fingerprint(view: &RunView) -> String {
    let asked = view.stages.iter().find_map(|stage| stage.approval.as_ref()?.asked.clone());
    asked.expect("somebody is asked").fingerprint
}

pub(crate) async fn decide(server: &Server, view: &RunView, by: &str, yes: bool) -> Result<String, String> {
    let (by, via, fingerprint, comment, nonce) = (by.to_owned(), Via::Command, fingerprint(view), None, None);
    let signal = match yes {
        true => Signal::Approve { by, via, fingerprint, comment, nonce },
        false => Signal::Reject { by, via, fingerprint, comment, nonce },
    };
    let request = PipelineRequest::Signal { run: view.id.to_string(), signal };
    match pipeline(server, request).await {
        Ok(PipelineResponse::Signal { message, .. }) => Ok(message),
        Err(ControlError::Conflict(why)) => Err(why),
        other => panic!("{other:?}"),
    }
}

/// Deployments of an environment that were ever begun.
pub(crate) async fn deployments(server: &Server, environment: &str) -> usize {
    let request = ControlRequest::Releases { environment: environment.to_owned(), limit: 50, all: true };
    match server.service.call(request).await.unwrap() {
        ControlResponse::Releases(all) => all.len(),
        other => panic!("{other:?}"),
    }
}

pub(crate) async fn locked(server: &Server, environment: &str) -> bool {
    match server.service.call(ControlRequest::Environment { name: environment.to_owned() }).await.unwrap() {
        ControlResponse::Environment(detail) => detail.lock.is_some(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_release_goes_from_dev_over_a_yes_to_prod_by_the_same_digest() {
    let (rig, told) = rig();
    let server = rig.start().await;
    let id = run(&server).await.id;
    let asked = reaches(&server, &id, RunState::AwaitingApproval).await;
    assert_eq!(asked.stages[0].state, StageState::Passed);
    let (dev, prod) = (deployments(&server, "dev").await, deployments(&server, "prod").await);
    assert_eq!((dev, prod, locked(&server, "dev").await, locked(&server, "prod").await), (1, 0, false, false));
    assert_eq!(
        decide(&server, &asked, "cli:carl", true).await.unwrap_err(),
        "cli:carl is not among those who decide about prod: anna, ben"
    );
    assert_eq!(decide(&server, &asked, "cli:anna", true).await.unwrap(), "approved: prod is next");
    let passed = reaches(&server, &id, RunState::Passed).await;
    let digest = format!("r.example/app:{COMMIT}@sha256:{}", "a".repeat(64));
    for stage in &passed.stages {
        assert_eq!(stage.shown.as_ref().unwrap().images["app/app"], digest, "{stage:#?}");
    }
    assert_eq!(passed.stages[1].url.as_deref(), Some("http://www.example.com:8080/"));
    assert!(!locked(&server, "prod").await);
    assert_eq!(
        decide(&server, &asked, "cli:ben", true).await.unwrap_err(),
        "too late: it has finished: passed: 1a2b3c4 is in prod"
    );
    // Written only once dev had come out well, and read back; somebody else's hand shows.
    told.parameters.lock().unwrap().insert("imagetag".to_owned(), "somebody-elses".to_owned());
    let current = match pipeline(&server, PipelineRequest::Current { environment: "dev".to_owned() }).await.unwrap() {
        PipelineResponse::Current(current) => *current,
        other => panic!("{other:?}"),
    };
    let Current { release, parameters, .. } = current;
    assert_eq!(release.unwrap().commit.as_deref(), Some(COMMIT));
    let seen: Vec<_> =
        parameters.iter().map(|one| (one.name.as_str(), one.value.as_deref(), one.expected.as_deref())).collect();
    assert_eq!(
        seen,
        [("/shop/dev/app", Some(COMMIT), Some(COMMIT)), ("imagetag", Some("somebody-elses"), Some(COMMIT))]
    );
    let notices = rig.mem.notices();
    let asks = notices.iter().find(|notice| notice.text == "main #1 asks for approval: 1a2b3c4 to prod").unwrap();
    let told = asks.cause.as_deref().unwrap();
    for line in ["look at     http://dev.example.com:8080/", "instead of  nothing", "app: is made"] {
        assert!(told.contains(line), "{line}: {told}");
    }
    // What was read is what is said yes to.
    let links = asks.links.as_deref().unwrap();
    let told = format!("landfall pipeline approve {id} --fingerprint {}", fingerprint(&asked));
    assert!(links.ends_with(&told), "{links}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_killed_in_every_phase_goes_on() {
    for phase in 1..=12 {
        let (rig, told) = rig();
        let server = rig.start().await;
        let id = run(&server).await.id;
        // The run has so many records, or waits for people before it has.
        let waits = eventually(&format!("phase {phase}"), async || {
            let view = show(&server, &id).await;
            let asks = view.state == RunState::AwaitingApproval;
            (view.version >= phase || asks).then_some(asks)
        })
        .await;
        server.kill(&rig).await;
        let server = rig.start().await;
        let asked = reaches(&server, &id, RunState::AwaitingApproval).await;
        // And once more, with the approval given and the stage about to begin.
        decide(&server, &asked, "cli:anna", true).await.unwrap();
        if waits || phase % 2 == 0 {
            eventually("it goes on", async || {
                (show(&server, &id).await.version > asked.version + phase % 5).then_some(())
            })
            .await;
        }
        server.kill(&rig).await;
        let server = rig.start().await;
        let passed = reaches(&server, &id, RunState::Passed).await;
        for environment in ["dev", "prod"] {
            assert_eq!(deployments(&server, environment).await, 1, "phase {phase}: {environment}: {passed:#?}");
            assert!(!locked(&server, environment).await, "phase {phase}: {environment}");
        }
        assert_eq!(told.parameters.lock().unwrap().len(), 2);
        let asks = rig.mem.notices().into_iter().filter(|notice| notice.text.contains("asks for approval")).count();
        assert_eq!(asks, 1, "phase {phase}");
        server.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_that_changes_while_people_think_is_asked_about_again() {
    let (rig, _) = rig();
    let server = rig.start().await;
    let id = run(&server).await.id;
    let asked = reaches(&server, &id, RunState::AwaitingApproval).await;
    crate::deploy::deployed(&server, image("r.example/app:old")).await;
    decide(&server, &asked, "cli:anna", true).await.unwrap();
    let again = eventually("asked again", async || {
        let view = show(&server, &id).await;
        let round = view.stages[1].approval.as_ref()?.asked.as_ref()?.round;
        (round == 2).then_some(view)
    })
    .await;
    assert_eq!(deployments(&server, "prod").await, 1, "only what somebody deployed by hand");
    let void: Vec<_> = again.timeline.iter().filter(|moment| moment.text.starts_with("approval void")).collect();
    assert_eq!(void.len(), 1, "{again:#?}");
    assert!(void[0].text.contains("what runs of app in prod is no longer what was shown"), "{:?}", void[0]);
    assert!(!locked(&server, "prod").await);
    assert!(decide(&server, &asked, "cli:ben", true).await.unwrap_err().contains("no longer so"));
    decide(&server, &again, "cli:ben", true).await.unwrap();
    reaches(&server, &id, RunState::Passed).await;
    assert_eq!(deployments(&server, "prod").await, 2);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_verification_brings_back_what_was_there() {
    let (mut rig, told) = rig();
    let verify = landfall_model::probe::Verify { deadline: 1, ..Default::default() };
    rig.app.environments.get_mut("prod").unwrap().verify = Some(verify);
    told.broken.lock().unwrap().insert("http://www.example.com:8080/".to_owned());
    let server = rig.start().await;
    crate::deploy::deployed(&server, image("r.example/app:old")).await;
    let id = run(&server).await.id;
    let asked = reaches(&server, &id, RunState::AwaitingApproval).await;
    decide(&server, &asked, "cli:anna", true).await.unwrap();
    let ended = reaches(&server, &id, RunState::RolledBack).await;
    assert!(
        ended.message.contains("prod: verify failed: home: GET http://www.example.com:8080/: 500"),
        "{}",
        ended.message
    );
    assert_eq!(ended.outcome, Some(Outcome::RolledBack));
    let request = ControlRequest::Releases { environment: "prod".to_owned(), limit: 1, all: false };
    let ControlResponse::Releases(releases) = server.service.call(request).await.unwrap() else { panic!() };
    assert!(releases[0].services["app"].images["app"].starts_with("r.example/app:old@"), "{releases:#?}");
    assert!(!locked(&server, "prod").await);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_deployed_without_a_digest_or_of_an_image_that_is_gone() {
    let (rig, _) = rig();
    let server = rig.start().await;
    let images = [("app".to_owned(), [("app".to_owned(), "r.example/app:latest".to_owned())].into())].into();
    let release = PipelineRelease { images, ..PipelineRelease::default() };
    let request = PipelineRequest::Run { pipeline: "main".to_owned(), release, by: "cli:carl".to_owned() };
    let refused = pipeline(&server, request).await.unwrap_err().to_string();
    assert_eq!(refused, "no digest of app/app: a pipeline deploys nothing that is not known by digest");

    let id = run(&server).await.id;
    let asked = reaches(&server, &id, RunState::AwaitingApproval).await;
    rig.world.behave(|behaviour| behaviour.available_images.clear());
    decide(&server, &asked, "cli:anna", true).await.unwrap();
    let waits = eventually("it says what is missing", async || {
        let view = show(&server, &id).await;
        view.message.contains("is not in its registry any more").then_some(view)
    })
    .await;
    assert!(waits.message.contains("push it again, or begin a new run"), "{}", waits.message);
    assert_eq!(deployments(&server, "prod").await, 0);
    assert!(!locked(&server, "prod").await);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_push_begins_a_run_once_and_a_newer_one_takes_over() {
    let (rig, _) = rig();
    let second = "2".repeat(40);
    let server = rig.start().await;
    let push = |delivery: &str, commit: &str, branch: &str| {
        let repository = json!({"id": 42, "name": "my-project", "full_name": "acme/my-project"});
        let body = json!({"ref": format!("refs/heads/{branch}"), "before": "0".repeat(40), "after": commit, "created": false,
            "deleted": false, "repository": repository, "sender": {"login": "anna"}});
        Post::new("push", delivery, &body)
    };
    for delivery in ["d-1", "d-1"] {
        assert_eq!(server.post(push(delivery, COMMIT, "main")).await.0, 202);
    }
    let list =
        async || match pipeline(&server, PipelineRequest::List { pipeline: None, all: true, limit: 10 }).await.unwrap()
        {
            PipelineResponse::List(list) => list,
            other => panic!("{other:?}"),
        };
    let first = eventually("a run", async || list().await.pop()).await;
    assert_eq!((first.by.as_str(), first.number), ("github:anna", 1));
    let asked = reaches(&server, &first.id, RunState::AwaitingApproval).await;
    assert_eq!(asked.trigger, "push to main");
    // Whoever pushed began it, by whatever name the yes comes.
    assert!(decide(&server, &asked, "cli:Anna", true).await.unwrap_err().contains("nobody approves their own here"));
    server.post(push("d-2", &second, "main")).await;
    server.post(push("d-3", &second, "other")).await;
    let waiting = eventually("a second run", async || list().await.into_iter().find(|one| one.number == 2)).await;
    let queued = eventually("waits for its image", async || {
        let view = show(&server, &waiting.id).await;
        view.message.contains("is not there yet").then_some(view)
    })
    .await;
    assert_eq!(queued.state, RunState::Queued);
    assert_eq!(show(&server, &first.id).await.state, RunState::AwaitingApproval, "it has not got as far");
    rig.world.behave(|behaviour| behaviour.available_images.extend([format!("r.example/app:{second}")]));
    reaches(&server, &waiting.id, RunState::AwaitingApproval).await;
    let over = reaches(&server, &first.id, RunState::Superseded).await;
    assert_eq!(over.message, "superseded: main #2 has got as far");
    assert_eq!(list().await.len(), 2, "a delivery twice and another branch begin nothing");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn locks_gates_and_copies() {
    let (mut rig, told) = rig();
    let stage = &mut rig.app.pipelines.get_mut("main").unwrap().stages[1];
    stage.approval = None;
    stage.requires.passed = vec!["dev".to_owned()];
    let probe = Probe { name: "smoke".to_owned(), ..Probe::default() };
    stage.requires.quiet.insert("dev".to_owned(), vec!["errors".to_owned(), "latency".to_owned()]);
    told.loud.lock().unwrap().insert("errors".to_owned());
    stage.requires.checks = vec![Check { url: "http://smoke/".to_owned(), probe }];
    let repositories = [(format!("r.example/app:{COMMIT}"), "s.example/app".to_owned())].into();
    stage.run.insert(0, Work::Copy { repositories });
    stage.run.push(Work::Publish { parameters: vec!["prodtag".to_owned()] });
    told.broken.lock().unwrap().insert("http://smoke/".to_owned());
    rig.world.behave(|behaviour| behaviour.available_images.extend(["s.example/app".to_owned()]));
    let server = rig.start().await;
    let lock = ControlRequest::Lock {
        environment: "prod".to_owned(),
        reason: "release day".to_owned(),
        actor: "cli:ben".to_owned(),
    };
    server.service.call(lock).await.unwrap();
    let id = run(&server).await.id;
    let waits = eventually("both are said", async || {
        let view = show(&server, &id).await;
        view.message.contains("in ALARM").then_some(view)
    })
    .await;
    assert_eq!(waits.state, RunState::Waiting);
    for part in
        ["prod was locked by cli:ben", "release day", "check smoke: http://smoke/: 500", "in ALARM in dev: errors"]
    {
        assert!(waits.message.contains(part), "{}", waits.message);
    }
    told.broken.lock().unwrap().clear();
    told.loud.lock().unwrap().clear();
    server.service.call(ControlRequest::Unlock { environment: "prod".to_owned() }).await.unwrap();
    let passed = reaches(&server, &id, RunState::Passed).await;
    let copied = format!("s.example/app@sha256:{}", "a".repeat(64));
    assert_eq!(passed.stages[1].shown.as_ref().unwrap().images["app/app"], copied);
    // Under the tag that is published.
    assert_eq!(*told.copied.lock().unwrap(), [(copied.clone(), vec![COMMIT.to_owned()])]);
    assert_eq!(told.parameters.lock().unwrap()["prodtag"], COMMIT);
    let request = ControlRequest::Releases { environment: "prod".to_owned(), limit: 1, all: false };
    let ControlResponse::Releases(releases) = server.service.call(request).await.unwrap() else { panic!() };
    assert_eq!(releases[0].services["app"].images["app"], copied);
    assert_eq!(rig.mem.runs(10).await.unwrap().len(), 1);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn old_runs_are_forgotten_but_for_what_says_what_runs() {
    let (mut rig, _) = rig();
    rig.app.pipelines.get_mut("main").unwrap().stages.remove(1);
    let server = rig.start().await;
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(reaches(&server, &run(&server).await.id, RunState::Passed).await.id);
    }
    // The newest has brought nothing anywhere: its image is never pushed.
    let release = PipelineRelease { commit: Some("3".repeat(40)), ..PipelineRelease::default() };
    let request = PipelineRequest::Run { pipeline: "main".to_owned(), release, by: "cli:carl".to_owned() };
    let PipelineResponse::Run(last) = pipeline(&server, request).await.unwrap() else { panic!() };
    let cancel = Signal::Cancel { by: "cli:carl".to_owned(), comment: None };
    pipeline(&server, PipelineRequest::Signal { run: last.id.to_string(), signal: cancel }).await.unwrap();
    assert!(show(&server, &last.id).await.state.is_finished());
    ids.push(last.id);
    server.stop().await;

    rig.runs = Some(Retention { days: 30, newest: 1 });
    rig.clock.set(Timestamp::now() + SignedDuration::from_hours(24 * 31));
    let server = rig.start().await;
    eventually("the old ones are gone", async || (rig.mem.runs(10).await.unwrap().len() == 2).then_some(())).await;
    assert_eq!(rig.mem.runs(10).await.unwrap(), [ids[3].clone(), ids[2].clone()]);
    // First from the store, then from what the server knows.
    eventually("the server knows the others alone", async || {
        let list = PipelineRequest::List { pipeline: None, all: true, limit: 10 };
        let PipelineResponse::List(list) = pipeline(&server, list).await.unwrap() else { panic!() };
        (list.iter().map(|one| one.number).collect::<Vec<_>>() == [4, 3]).then_some(())
    })
    .await;
    assert_eq!(run(&server).await.number, 5);
    server.stop().await;
}

/// A run that an environment still says it was brought by may be older than many others.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_run_that_is_kept_is_known_after_a_restart() {
    let (mut rig, _) = rig();
    rig.app.pipelines.get_mut("main").unwrap().stages.remove(1);
    let server = rig.start().await;
    let first = reaches(&server, &run(&server).await.id, RunState::Passed).await;
    server.stop().await;
    for number in 0..250 {
        let id = RunId(format!("run_{number}"));
        let (at, record) = (first.created_at, rig.mem.run(&first.id).await.unwrap().unwrap().records[0].clone());
        let new = NewRun { id: id.clone(), pipeline: "main".to_owned(), dedup_key: id.to_string(), at, record };
        rig.mem.create_run(new).await.unwrap();
        let event = Event::Finished { outcome: Outcome::Cancelled, message: "enough".to_owned() };
        let record = serde_json::to_value(Record { at, event }).unwrap();
        assert!(rig.mem.append_run(&id, 1, vec![record], true, Vec::new()).await.unwrap());
    }
    let server = rig.start().await;
    assert_eq!(show(&server, &first.id).await, first);
    let list = PipelineRequest::List { pipeline: None, all: true, limit: 1_000 };
    let PipelineResponse::List(list) = pipeline(&server, list).await.unwrap() else { panic!() };
    assert_eq!(list.len(), 251);
    server.stop().await;
}
