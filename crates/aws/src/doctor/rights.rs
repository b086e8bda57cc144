//! Whether what a deployment will ask for is allowed. IAM is asked to simulate it; where that is not allowed, the calls that
//! change nothing are made, and of the others it is said that they were not checked: guessing at rights helps nobody.

use futures_util::future::join_all;
use landfall_ports::PortError;

use super::ask::{IAM, elements};
use super::identity::Identity;
use super::{Check, Examiner, Finding, Lack, Right};
use crate::budget::Family;
use crate::call::Call;
use crate::denial::Denial;
use crate::error::Failed;
use crate::signed::xml;

impl Examiner {
    pub(crate) async fn rights(&self, identity: &Identity, rights: &[Right]) -> Vec<Check> {
        if rights.is_empty() {
            return Vec::new();
        }
        let Some(principal) = self.principal(identity).await else {
            return self.by_calling(rights, &format!("the rights of {} cannot be simulated", identity.arn)).await;
        };
        if principal.ends_with(":root") {
            return vec![Check::good("rights", "the account's root user may do everything")];
        }
        let simulated = join_all(rights.iter().map(|right| self.simulate(&principal, right))).await;
        let mut told: Vec<Purpose<'_>> = Vec::new();
        for (right, outcome) in rights.iter().zip(simulated) {
            match outcome {
                Ok(denied) => add(&mut told, right, lacking(right, denied)),
                Err(failed) => {
                    // One and the same reason for all of them.
                    let why = match Denial::parse(&failed.message) {
                        Some(denial) => format!("{} is not allowed", denial.action),
                        None => failed.error.to_string(),
                    };
                    return self.by_calling(rights, &why).await;
                }
            }
        }
        told.into_iter().map(Purpose::check).collect()
    }

    /// What policies are attached to. A session's ARN has the role's name and not its path.
    async fn principal(&self, identity: &Identity) -> Option<String> {
        let parts: Vec<&str> = identity.arn.splitn(6, ':').collect();
        let [_, partition, service, _, account, rest] = parts.as_slice() else { return None };
        match (*service, rest.split_once('/')) {
            ("iam", _) => Some(identity.arn.clone()),
            ("sts", Some(("assumed-role", rest))) => {
                let role = rest.split('/').next().unwrap_or_default();
                let parameters = [("RoleName".to_owned(), role.to_owned())];
                let asked = self.query(IAM, "GetRole", role, &parameters).await;
                let found = asked.ok().and_then(|answer| xml(&answer, "Arn"));
                Some(found.unwrap_or_else(|| format!("arn:{partition}:iam::{account}:role/{role}")))
            }
            _ => None,
        }
    }

    /// The actions that are denied.
    async fn simulate(&self, principal: &str, right: &Right) -> Result<Vec<String>, Failed> {
        let mut parameters = vec![("PolicySourceArn".to_owned(), principal.to_owned())];
        let numbered = |name: &str, values: &[String]| -> Vec<(String, String)> {
            let one = |(n, value): (usize, &String)| (format!("{name}.member.{}", n + 1), value.clone());
            values.iter().enumerate().map(one).collect()
        };
        parameters.extend(numbered("ActionNames", &right.actions));
        parameters.extend(numbered("ResourceArns", &right.resources));
        for (n, (key, values)) in right.context.iter().enumerate() {
            let entry = format!("ContextEntries.member.{}", n + 1);
            parameters.push((format!("{entry}.ContextKeyName"), key.clone()));
            parameters.push((format!("{entry}.ContextKeyType"), "string".to_owned()));
            parameters.extend(numbered(&format!("{entry}.ContextKeyValues"), &values[..values.len().min(1)]));
        }
        let answer = self.query(IAM, "SimulatePrincipalPolicy", principal, &parameters).await?;
        Ok(denied(&answer))
    }

    /// The calls of these rights that change nothing.
    async fn by_calling(&self, rights: &[Right], why: &str) -> Vec<Check> {
        let mut told: Vec<Purpose<'_>> = Vec::new();
        let mut unseen: Vec<&str> = Vec::new();
        for right in rights {
            let outcomes = join_all(right.actions.iter().map(|action| self.harmless(action))).await;
            let (mut lacks, mut all) = (Vec::new(), true);
            for (action, outcome) in right.actions.iter().zip(outcomes) {
                match outcome {
                    Some(Err(failed)) if matches!(failed.error, PortError::Denied(_)) => {
                        let lack = Denial::parse(&failed.message).map(Denial::lack);
                        lacks.push(lack.unwrap_or_else(|| Lack { action: action.clone(), resource: None }));
                    }
                    Some(Ok(()) | Err(_)) => {}
                    None => all = false,
                }
            }
            if all || !lacks.is_empty() {
                add(&mut told, right, lacks);
            } else {
                unseen.push(&right.purpose);
            }
        }
        unseen.dedup();
        let mut checks: Vec<Check> = told.into_iter().map(Purpose::check).collect();
        if !unseen.is_empty() {
            let mut check = Check::not_checked("other rights", format!("{} ({why})", unseen.join(", ")));
            check.hint = Some("`landfall iam … --checks` prints a policy with the rights to look".to_owned());
            checks.push(check);
        }
        checks
    }

    /// `None`: there is no call of it that surely changes nothing. An error other than a denial comes after AWS allowed the
    /// call.
    async fn harmless(&self, action: &str) -> Option<Result<(), Failed>> {
        let (core, none) = (&self.core, "nothing in particular");
        let (ecs, elb, cluster) = (&core.clients.ecs, &core.clients.elb, &core.target.cluster);
        macro_rules! ecs {
            ($name:literal, $family:ident, $request:expr) => {{
                let request = $request;
                let call = Call::ecs($name, Family::$family, none);
                core.caller.call(call, || request.clone().send()).await.map(drop)
            }};
        }
        macro_rules! elb {
            ($name:literal, $request:expr) => {{
                let request = $request;
                let call =
                    Call { service: "elasticloadbalancing", action: $name, family: Family::ElbRead, resource: none };
                core.caller.call(call, || request.clone().send()).await.map(drop)
            }};
        }
        Some(match action {
            "ecs:ListServices" => {
                ecs!("ListServices", ServiceRead, ecs.list_services().cluster(cluster).max_results(1))
            }
            "ecs:ListTasks" => ecs!("ListTasks", ClusterResourceRead, ecs.list_tasks().cluster(cluster).max_results(1)),
            "ecs:ListTaskDefinitionFamilies" => {
                ecs!(
                    "ListTaskDefinitionFamilies",
                    TaskDefinitionRead,
                    ecs.list_task_definition_families().max_results(1)
                )
            }
            "ecs:ListTaskDefinitions" => {
                ecs!("ListTaskDefinitions", TaskDefinitionRead, ecs.list_task_definitions().max_results(1))
            }
            "ecs:DescribeTaskDefinition" => {
                let request = ecs.describe_task_definition().task_definition("landfall-doctor-looks-for-nothing");
                ecs!("DescribeTaskDefinition", TaskDefinitionRead, request)
            }
            "elasticloadbalancing:DescribeLoadBalancers" => {
                elb!("DescribeLoadBalancers", elb.describe_load_balancers().page_size(1))
            }
            "elasticloadbalancing:DescribeTargetGroups" => {
                elb!("DescribeTargetGroups", elb.describe_target_groups().page_size(1))
            }
            "elasticloadbalancing:DescribeAccountLimits" => {
                elb!("DescribeAccountLimits", elb.describe_account_limits())
            }
            _ => return None,
        })
    }
}

/// What is known of all the rights of one purpose.
struct Purpose<'a> {
    name: &'a str,
    actions: Vec<&'a str>,
    lacks: Vec<Lack>,
}

fn add<'a>(told: &mut Vec<Purpose<'a>>, right: &'a Right, lacks: Vec<Lack>) {
    let at = told.iter().position(|purpose| purpose.name == right.purpose).unwrap_or_else(|| {
        told.push(Purpose { name: &right.purpose, actions: Vec::new(), lacks: Vec::new() });
        told.len() - 1
    });
    let purpose = &mut told[at];
    purpose.actions.extend(
        right.actions.iter().map(String::as_str).filter(|action| !purpose.actions.contains(action)).collect::<Vec<_>>(),
    );
    purpose.lacks.extend(lacks);
}

impl Purpose<'_> {
    fn check(self) -> Check {
        let name = format!("right {}", self.name);
        if self.lacks.is_empty() {
            return Check::good(&name, self.actions.join(", "));
        }
        let said = |lack: &Lack| match &lack.resource {
            Some(resource) => format!("{} on {resource}", lack.action),
            None => lack.action.clone(),
        };
        let all: Vec<String> = self.lacks.iter().map(said).collect();
        Check {
            finding: Finding::Wrong,
            lacks: self.lacks,
            ..Check::good(&name, format!("not allowed: {}", all.join(", ")))
        }
    }
}

/// `denied`: the actions that a simulation did not allow.
fn lacking(right: &Right, denied: Vec<String>) -> Vec<Lack> {
    let resource = right.resources.first().filter(|resource| *resource != "*").cloned();
    denied.into_iter().map(|action| Lack { action, resource: resource.clone() }).collect()
}

/// The actions of an answer to SimulatePrincipalPolicy that are not allowed.
fn denied(answer: &str) -> Vec<String> {
    let results = elements(answer, "EvaluationResults").concat();
    let one = |member: &&str| {
        let allowed = xml(member, "EvalDecision").is_some_and(|decision| decision == "allowed");
        if allowed { None } else { xml(member, "EvalActionName") }
    };
    let mut denied: Vec<String> = elements(&results, "member").iter().filter_map(one).collect();
    denied.sort();
    denied.dedup();
    denied
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_simulation_denies() {
        let answer = "<SimulatePrincipalPolicyResult><EvaluationResults>\
            <member><MatchedStatements><member><SourcePolicyId>p</SourcePolicyId></member></MatchedStatements>\
            <EvalDecision>allowed</EvalDecision><EvalActionName>ecs:UpdateService</EvalActionName></member>\
            <member><MatchedStatements/><EvalActionName>ecs:DeleteService</EvalActionName>\
            <EvalDecision>implicitDeny</EvalDecision></member>\
            </EvaluationResults><IsTruncated>false</IsTruncated></SimulatePrincipalPolicyResult>";
        assert_eq!(denied(answer), ["ecs:DeleteService"]);
        let right = Right {
            purpose: "ChangeServices".to_owned(),
            actions: vec!["ecs:DeleteService".to_owned(), "ecs:UpdateService".to_owned()],
            resources: vec!["arn:s".to_owned()],
            context: Vec::new(),
        };
        let mut told = Vec::new();
        add(&mut told, &right, Vec::new());
        let more = Right { actions: vec!["ecs:ListTasks".to_owned()], ..right.clone() };
        add(&mut told, &more, Vec::new());
        assert_eq!(told.len(), 1, "one line for one purpose");
        assert_eq!(told.pop().unwrap().check().detail, "ecs:DeleteService, ecs:UpdateService, ecs:ListTasks");
        add(&mut told, &right, lacking(&right, denied(answer)));
        let check = told.pop().unwrap().check();
        assert_eq!((check.finding, check.detail.as_str()), (Finding::Wrong, "not allowed: ecs:DeleteService on arn:s"));
    }
}
