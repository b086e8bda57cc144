//! The manifest's places on AWS. Without the feature `aws` they are not checked.

use landfall_model::app::App;

use super::{Line, Section};
use crate::cli::Global;

#[cfg(not(feature = "aws"))]
pub(super) async fn sections(app: &App, whose: &[(String, Option<&str>)], _global: &Global) -> Vec<Section> {
    std::future::ready(()).await;
    let names = app.aws.keys().filter(|name| whose.iter().any(|(_, on)| *on == Some(name.as_str())));
    let section = |name: &String| {
        let line = Line::not_checked("all of it", "this build of landfall is without AWS");
        Section { place: name.clone(), whose: Vec::new(), checks: vec![line] }
    };
    names.map(section).collect()
}

#[cfg(feature = "aws")]
pub(super) use with_aws::sections;

#[cfg(feature = "aws")]
mod with_aws {
    use futures_util::future::join_all;
    use landfall_aws::doctor::{self, Check, Examination, Lack, Right};
    use landfall_iam::{Ask, Policy, StateBucket, least};
    use landfall_model::app::{Notification, NotificationTarget, Routing};
    use landfall_model::aws::AwsTarget;
    use landfall_model::step::RouteTarget;

    use super::{App, Global, Line, Section};
    use crate::commands::doctor::Finding;

    pub(in crate::commands::doctor) async fn sections(
        app: &App,
        whose: &[(String, Option<&str>)],
        global: &Global,
    ) -> Vec<Section> {
        let places = app.aws.values().filter_map(|target| {
            let names: Vec<&String> =
                whose.iter().filter(|(_, on)| *on == Some(target.name.as_str())).map(|(name, _)| name).collect();
            (!names.is_empty()).then_some((target, names))
        });
        join_all(places.map(|(target, names)| section(app, target, names, global))).await
    }

    async fn section(app: &App, target: &AwsTarget, names: Vec<&String>, global: &Global) -> Section {
        let topic = |one: &Notification| match &one.to {
            NotificationTarget::Sns { topic, on, .. } if *on == target.name => Some(topic.clone()),
            _ => None,
        };
        let topics = app.notifications.iter().filter_map(topic).collect();
        let mut examination = Examination { hosts: hosts(app, target, &names), topics, ..Examination::default() };
        let mut policies = Vec::new();
        for name in &names {
            let environment = (*name != "previews").then_some(name.as_str());
            let state = global.state.as_deref().and_then(|state| StateBucket::parse(state.to_str()?));
            let ask = Ask {
                app,
                environment,
                account: None,
                region: None,
                pass_roles: &[],
                checks: false,
                secrets: false,
                state,
            };
            let (Ok(needed), Ok(whole)) = (least(&ask), least(&Ask { checks: true, ..ask.clone() })) else { continue };
            for right in rights(&needed.policy) {
                if !examination.rights.contains(&right) {
                    examination.rights.push(right);
                }
            }
            policies.push(whole.policy);
        }
        let checks = match doctor::examine(target, &examination, None).await {
            Ok(checks) => checks.into_iter().map(|check| line(check, &policies)).collect(),
            Err(error) => vec![Line::wrong("region", error.to_string())],
        };
        let whose = names.into_iter().cloned().collect();
        Section { place: target.name.clone(), whose, checks }
    }

    fn rights(policy: &Policy) -> Vec<Right> {
        let of = |statement: &landfall_iam::Statement| {
            let purpose = statement.sid.clone();
            let right = move |demand: landfall_iam::Demand| Right {
                purpose: purpose.clone(),
                actions: demand.actions,
                resources: demand.resources,
                context: demand.context,
            };
            statement.demands().into_iter().map(right).collect::<Vec<_>>()
        };
        policy.statement.iter().flat_map(of).collect()
    }

    /// What a listener's certificate must cover.
    fn hosts(app: &App, target: &AwsTarget, names: &[&String]) -> Vec<String> {
        let mut hosts = Vec::new();
        for name in names {
            let route = app.environments.get(*name).and_then(|environment| environment.routing.as_ref());
            match (route, app.previews.as_ref().filter(|_| *name == "previews").map(|previews| &previews.routing)) {
                (Some(RouteTarget::Host { host, .. }), _) => hosts.push(host.clone()),
                (_, Some(Routing::Host { domain, .. })) => hosts.push(format!("preview.{domain}")),
                (Some(RouteTarget::Port { .. }), _) | (_, Some(Routing::Ports { .. })) => {
                    hosts.extend(target.address.clone());
                }
                (None, None) => {}
            }
        }
        hosts.sort();
        hosts.dedup();
        hosts
    }

    fn line(check: Check, policies: &[Policy]) -> Line {
        let finding = match check.finding {
            doctor::Finding::Good => Finding::Good,
            doctor::Finding::Wrong => Finding::Wrong,
            doctor::Finding::NotChecked => Finding::NotChecked,
        };
        let mut grants: Vec<serde_json::Value> = Vec::new();
        for lack in &check.lacks {
            let grant = grant(lack, policies);
            if !grants.contains(&grant) {
                grants.push(grant);
            }
        }
        Line { name: check.name, finding, detail: check.detail, hint: check.hint, grants }
    }

    /// The policy's own statement; of what is in none, one that says what AWS asked for.
    fn grant(lack: &Lack, policies: &[Policy]) -> serde_json::Value {
        let own = policies.iter().find_map(|policy| policy.granting(&lack.action, lack.resource.as_deref()));
        match own {
            Some(statement) => serde_json::to_value(statement).unwrap_or_default(),
            None => serde_json::json!({
                "Effect": "Allow",
                "Action": lack.action,
                "Resource": lack.resource.as_deref().unwrap_or("*"),
            }),
        }
    }
}
