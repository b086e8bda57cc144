//! An environment that is a stack: what CloudFormation is asked for. What it makes it makes with a role of its own, where the manifest
//! names one; else with the rights of whoever asks, which no template of ours can list.

use landfall_model::stack::{Stack, stack_name};

use crate::least::{Ask, Place};
use crate::names::Names;
use crate::policy::Statement;

/// What `landfall deploy` of a stack calls. It deletes nothing but change sets, and an empty stack that was only planned: who may not
/// leaves that.
pub const APPLIES: &[&str] = &[
    "cloudformation:CreateChangeSet",
    "cloudformation:DeleteChangeSet",
    "cloudformation:DescribeChangeSet",
    "cloudformation:DescribeStackEvents",
    "cloudformation:DescribeStacks",
    "cloudformation:ExecuteChangeSet",
    "cloudformation:GetTemplate",
    "cloudformation:ListChangeSets",
    "cloudformation:TagResource",
    "cloudformation:UpdateTerminationProtection",
];

const READ: &[&str] = &[
    "cloudformation:DescribeChangeSet",
    "cloudformation:DescribeStackEvents",
    "cloudformation:DescribeStackResourceDrifts",
    "cloudformation:DescribeStacks",
    "cloudformation:GetTemplate",
    "cloudformation:ListChangeSets",
    "cloudformation:ListStackResources",
];

const CHANGE: &[&str] = &[
    "cloudformation:ContinueUpdateRollback",
    "cloudformation:CreateChangeSet",
    "cloudformation:DeleteChangeSet",
    "cloudformation:DeleteStack",
    "cloudformation:DetectStackDrift",
    "cloudformation:DetectStackResourceDrift",
    "cloudformation:ExecuteChangeSet",
    "cloudformation:TagResource",
    "cloudformation:UpdateTerminationProtection",
];

pub(crate) fn all(
    ask: &Ask<'_>,
    place: &Place<'_>,
    names: &Names,
    environment: &str,
    stack: &Stack,
    all: &mut Vec<Statement>,
) {
    let name = stack_name(&ask.app.project, environment);
    let own = || [place.arn("cloudformation", &format!("stack/{name}/*"))];
    all.push(Statement::allow("ReadStack", READ, own()));
    all.push(Statement::allow("ChangeStack", CHANGE, own()));
    if place.target.log_group.is_none() {
        // The stack's own: by `logs`, and for the last lines of what failed.
        let groups = names.families.iter().map(|family| place.arn("logs", &format!("log-group:/ecs/{family}:*")));
        all.push(Statement::allow("ReadLogs", &["logs:GetLogEvents"], groups.collect::<Vec<_>>()));
    }
    // CloudFormation reads it with the rights of whoever asks. A state on S3 may be read and written anyway.
    if let Some(bucket) = &stack.template_bucket {
        let templates = format!("arn:{}:s3:::{bucket}/templates/{name}/*", place.partition);
        all.push(Statement::allow("KeepTemplates", &["s3:GetObject", "s3:PutObject"], [templates]));
    }
    // These take nothing but `*`.
    let around = [
        "cloudformation:BatchDescribeTypeConfigurations",
        "cloudformation:DescribeStackDriftDetectionStatus",
        "cloudformation:ListImports",
    ];
    all.push(Statement::allow("SeeImportsAndDrift", &around, ["*".to_owned()]));
    let pass = |sid: &str, to: &str, role: String| {
        let domain = if place.partition == "aws-cn" { ".cn" } else { "" };
        let statement = Statement::allow(sid, &["iam:PassRole"], [role]);
        statement.when("StringEquals", "iam:PassedToService", [format!("{to}.amazonaws.com{domain}")])
    };
    if let Some(role) = &stack.role {
        all.push(pass("GiveCloudFormationItsRole", "cloudformation", role.clone()));
    }
    // `landfall run`: CloudFormation names the roles that it makes after the stack.
    all.push(pass("GiveTasksTheirRoles", "ecs-tasks", place.global("iam", &format!("role/{name}-*"))));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_may_change_a_stack_may_apply_it() {
        for name in APPLIES {
            assert!(READ.contains(name) || CHANGE.contains(name), "{name}");
        }
    }
}
