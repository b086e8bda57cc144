//! A stage's deployment that stands at a pause hook: the same people, the same rules, and a yes to that pause and no other.

use super::*;
use crate::{Call, Pause, Standing};

fn pause(at: &str, hook: &str) -> Pause {
    let standing = Standing { at: at.to_owned(), hooks: vec![hook.to_owned()] };
    Pause {
        services: [("web".to_owned(), standing)].into(),
        lines: vec![format!("web: stands at {at}")],
        until: Some(super::at(90_000)),
    }
}

impl Rig {
    /// Approved, entered, and deploying.
    fn deploying(on_failure: OnFailure) -> Self {
        let mut rig = Self::asked(on_failure);
        rig.vote("cli:anna", None).unwrap();
        rig.vote("cli:ben", None).unwrap();
        rig.input(Input::Surveyed(Surveyed { closed: Vec::new(), shown: Some(shown(1)) }));
        rig.input(Input::Entered(Ok((shown(1), Some("exe_1".into())))));
        rig.input(Input::Began);
        rig
    }

    fn stands(&mut self, pause: Pause) {
        let token = json!({"execution": "exe_2"});
        self.input(Input::Reported(Report::Paused { token, after_ms: 3_000, note: None, pause }));
    }

    fn is_unknown(&mut self) {
        let token = json!({"execution": "exe_2"});
        let note = Some("ECS does not answer".to_owned());
        self.input(Input::Reported(Report::Unknown { token, after_ms: 3_000, note }));
    }

    fn goes_on(&mut self) {
        let token = json!({"execution": "exe_2"});
        self.input(Input::Reported(Report::Pending { token, after_ms: 500, note: None }));
    }

    fn fingerprint(&self) -> String {
        self.run.view().stages[1].approval.clone().unwrap().asked.unwrap().fingerprint
    }

    fn says(&mut self, by: &str, yes: bool, fingerprint: &str) -> Result<String, String> {
        let (by, fingerprint) = (by.to_owned(), fingerprint.to_owned());
        let (via, comment, nonce) = (Via::Command, None, None);
        let signal = match yes {
            true => Signal::Approve { by, via, fingerprint, comment, nonce },
            false => Signal::Reject { by, via, fingerprint, comment, nonce },
        };
        self.input(Input::Signal(signal)).unwrap()
    }

    fn call(&self) -> Call {
        let cx = Context::new(at(9_000), &[], None);
        let Next::Do(Action::Work(call)) = self.run.next(&cx) else { panic!("{:?}", self.run.next(&cx)) };
        assert_eq!(Run::fold(self.run.id(), 1, &self.records).unwrap(), self.run, "as after a death");
        *call
    }
}

#[test]
fn a_pause_is_asked_about_once_and_goes_on_with_the_last_yes() {
    let mut rig = Rig::deploying(OnFailure::Rollback);
    let entered = rig.fingerprint();
    let token = json!({"execution": "exe_2"});
    let report = Report::Paused { token, after_ms: 3_000, note: None, pause: pause("POST_TEST_TRAFFIC_SHIFT", "h1") };
    let out = rig.run.handle(rig.cx(), Input::Reported(report)).unwrap();
    let notice = &out.notices[0];
    assert_eq!(notice.text, "main #1 is paused in prod and asks for approval: 1a2b3c4 goes on, or back");
    assert_eq!((notice.expires, notice.approvers.len()), (Some(at(90_000)), 2));
    assert!(
        notice.details.as_ref().unwrap().contains("web: stands at POST_TEST_TRAFFIC_SHIFT\nweb: cpu"),
        "{notice:?}"
    );

    rig.stands(pause("POST_TEST_TRAFFIC_SHIFT", "h1"));
    assert_eq!((rig.run.view().state, rig.run.holds()), (RunState::AwaitingApproval, Some("prod")));
    assert_eq!(rig.run.view().stages[1].state, StageState::AwaitingApproval);
    assert_eq!(rig.message(), "prod is paused and waits for approval, 0 of 2");
    let records = rig.records.len();
    rig.stands(pause("POST_TEST_TRAFFIC_SHIFT", "h1"));
    assert_eq!((rig.records.len(), rig.call().go_on), (records, None));

    let asked = rig.fingerprint();
    assert!(rig.says("cli:anna", true, &entered).unwrap_err().contains("is no longer so"));
    assert!(rig.says("cli:carl", true, &asked).unwrap_err().contains("nobody approves their own"));
    assert!(rig.says("cli:mallory", false, &asked).unwrap_err().contains("is not among those who decide"));
    assert_eq!(rig.says("cli:anna", true, &asked).unwrap(), "approved by cli:anna; one more is needed for prod");
    assert_eq!(rig.call().go_on, None);
    assert_eq!(rig.says("cli:ben", true, &asked).unwrap(), "approved: prod goes on");
    assert!(rig.says("cli:anna", false, &asked).unwrap_err().starts_with("too late: prod was approved and goes on"));
    let call = rig.call();
    assert_eq!((call.go_on, call.stop), (Some(pause("POST_TEST_TRAFFIC_SHIFT", "h1")), false));

    // The same hook in another stage of ECS's is another question; so is another hook.
    for next in [pause("POST_PRODUCTION_TRAFFIC_SHIFT", "h1"), pause("POST_PRODUCTION_TRAFFIC_SHIFT", "h2")] {
        rig.goes_on();
        assert_eq!(rig.run.view().state, RunState::Running);
        rig.stands(next.clone());
        assert_eq!((rig.run.view().state, rig.call().go_on), (RunState::AwaitingApproval, None));
        assert!(rig.says("cli:anna", true, &asked).unwrap_err().contains("is no longer so"));
        let now = rig.fingerprint();
        rig.says("cli:anna", true, &now).unwrap();
        rig.says("cli:ben", true, &now).unwrap();
        assert_eq!(rig.call().go_on, Some(next));
    }
    rig.input(Input::Reported(Report::Done { output: Default::default() }));
    rig.done();
    assert_eq!(rig.run.outcome(), Some(Outcome::Passed));
}

/// What was asked and said stands while AWS is away, and of two services that were approved together one is quicker than the other.
#[test]
fn a_yes_is_not_asked_for_again() {
    let mut rig = Rig::deploying(OnFailure::Rollback);
    let one = pause("BAKE_TIME", "h1");
    let mut both = one.clone();
    both.services
        .insert("api".to_owned(), Standing { at: "BAKE_TIME".to_owned(), hooks: vec!["h2".into(), "h3".into()] });
    rig.stands(both.clone());
    let asked = rig.fingerprint();
    rig.says("cli:anna", true, &asked).unwrap();
    rig.is_unknown();
    assert_eq!(
        (rig.run.view().state, rig.message().as_str()),
        (RunState::AwaitingApproval, "prod is paused and waits for approval, 1 of 2")
    );
    rig.stands(both.clone());
    rig.says("cli:ben", true, &asked).unwrap();
    assert_eq!(rig.call().go_on, Some(both.clone()));
    let mut less = both.clone();
    less.services.get_mut("api").unwrap().hooks.remove(0);
    for fewer in [less, one] {
        rig.is_unknown();
        rig.stands(fewer);
        assert_eq!((rig.run.view().state, rig.call().go_on), (RunState::Running, Some(both.clone())));
    }
    // Another hook of the same service is another question.
    rig.stands(pause("BAKE_TIME", "h4"));
    assert_eq!((rig.run.view().state, rig.call().go_on), (RunState::AwaitingApproval, None));
}

#[test]
fn a_no_at_a_pause_stops_what_is_under_way_and_undoes_it() {
    let mut rig = Rig::deploying(OnFailure::Stop);
    rig.stands(pause("BAKE_TIME", "h1"));
    let asked = rig.fingerprint();
    let said = rig.says("cli:ben", false, &asked).unwrap();
    assert_eq!(said, "rejected by cli:ben: what is under way in prod is stopped and undone");
    assert!(rig.call().stop && rig.call().go_on.is_none());
    assert!(rig.says("cli:anna", true, &asked).unwrap_err().starts_with("too late"));
    // It stands until ECS has gone back; nobody is asked again.
    rig.stands(pause("BAKE_TIME", "h1"));
    assert_eq!(rig.run.view().state, RunState::Running);
    rig.input(Input::Reported(Report::Failed { message: "rolled back".into(), undone: true }));
    assert_eq!(rig.run.outcome(), Some(Outcome::Rejected));
    assert_eq!(rig.message(), "rejected by cli:ben while prod was paused: prod is as it was");

    // Somebody let it go on in the console: what it replaced is brought back.
    let mut rig = Rig::deploying(OnFailure::Stop);
    rig.stands(pause("BAKE_TIME", "h1"));
    let asked = rig.fingerprint();
    rig.says("cli:ben", false, &asked).unwrap();
    rig.input(Input::Reported(Report::Done { output: Default::default() }));
    let Next::Do(Action::Rollback(call)) = rig.next() else { panic!("{:?}", rig.next()) };
    assert_eq!(call.to.as_deref(), Some("exe_1"));
    rig.input(Input::Reported(Report::Done { output: Default::default() }));
    assert_eq!(rig.run.outcome(), Some(Outcome::RolledBack));
    assert!(rig.message().starts_with("rejected by cli:ben, and prod had gone on"), "{}", rig.message());
}

#[test]
fn what_was_not_answered_in_time_is_void() {
    let mut rig = Rig::deploying(OnFailure::Stop);
    rig.stands(pause("BAKE_TIME", "h1"));
    let asked = rig.fingerprint();
    rig.says("cli:anna", true, &asked).unwrap();
    // Its time was up, or `landfall continue` was quicker.
    rig.goes_on();
    assert_eq!(rig.run.view().state, RunState::Running);
    assert!(rig.says("cli:ben", true, &asked).unwrap_err().starts_with("too late"));
    let last = rig.run.view().timeline.pop().unwrap().text;
    assert!(last.starts_with("refused") || last.contains("cli:ben"), "{last}");
    assert_eq!(rig.call().go_on, None);

    // Nobody is asked where the stage needs nobody.
    let mut rig = Rig::new(OnFailure::Stop);
    rig.input(Input::Resolved(Ok(Ok(release()))));
    rig.input(Input::Surveyed(Surveyed { closed: Vec::new(), shown: None }));
    rig.input(Input::Entered(Ok((Shown::default(), None))));
    rig.input(Input::Began);
    rig.stands(pause("BAKE_TIME", "h1"));
    assert_eq!((rig.run.view().state, rig.call().go_on), (RunState::Running, None));
}
