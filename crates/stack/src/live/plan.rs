//! A change set as a plan: what comes, what changes, what is replaced, what goes.

use landfall_model::cloudformation::ResourceChange;
use serde::Serialize;

/// In the order in which they are shown: what may hurt comes last, where it is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Act {
    Add,
    Import,
    Change,
    /// A task definition's new revision: a new resource to CloudFormation, and what every release is.
    Revise,
    /// It leaves the stack, and stays.
    Release,
    /// CloudFormation knows only when it comes to it.
    MayReplace,
    /// Another one is made, and this one deleted: what it holds, and its address, are gone.
    Replace,
    Delete,
}

impl Act {
    pub fn replaces(self) -> bool {
        matches!(self, Self::Replace | Self::MayReplace)
    }

    pub fn deletes(self) -> bool {
        self == Self::Delete
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Row {
    pub act: Act,
    pub resource: String,
    pub kind: String,
    pub physical: Option<String>,
    /// What of it changes: names of properties, or `Tags`.
    pub what: Vec<String>,
}

impl Row {
    /// A line for people. `width`: of the longest resource's name.
    pub fn line(&self, width: usize) -> String {
        let (sign, word) = match self.act {
            Act::Add => ("+", "add"),
            Act::Import => ("+", "import"),
            Act::Change => ("~", "change"),
            Act::Revise => ("~", "revise"),
            Act::Release => ("-", "let go"),
            Act::MayReplace => ("±", "replace?"),
            Act::Replace => ("±", "replace"),
            Act::Delete => ("-", "delete"),
        };
        let what = if self.what.is_empty() { String::new() } else { format!("  {}", self.what.join(", ")) };
        let kind = self.kind.strip_prefix("AWS::").unwrap_or(&self.kind);
        format!("{sign} {word:<8} {:width$}  {kind}{what}", self.resource).trim_end().to_owned()
    }
}

/// Sorted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Plan {
    #[serde(rename = "changes")]
    pub rows: Vec<Row>,
}

impl Plan {
    pub fn count(&self, of: impl Fn(Act) -> bool) -> usize {
        self.rows.iter().filter(|row| of(row.act)).count()
    }

    pub fn replaces(&self) -> bool {
        self.count(Act::replaces) > 0
    }

    pub fn deletes(&self) -> bool {
        self.count(Act::deletes) > 0
    }

    /// Of the longest resource's name.
    pub fn width(&self) -> usize {
        self.rows.iter().map(|row| row.resource.len()).max().unwrap_or_default()
    }
}

pub fn plan(changes: &[ResourceChange]) -> Plan {
    let mut rows: Vec<Row> = changes.iter().map(row).collect();
    rows.sort_by(|a, b| (a.act, &a.resource).cmp(&(b.act, &b.resource)));
    Plan { rows }
}

/// "Update requires: No interruption", whatever the new revision is called
/// (<https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-resource-ecs-service.html>,
/// `aws-resource-scheduler-schedule.html`).
fn follows_a_revision(change: &ResourceChange) -> bool {
    match change.kind.as_str() {
        "AWS::ECS::Service" => change.properties == ["TaskDefinition"],
        "AWS::Scheduler::Schedule" => change.properties == ["Target"],
        _ => false,
    }
}

fn row(change: &ResourceChange) -> Row {
    let act = match change.action.as_str() {
        "Add" => Act::Add,
        "Import" => Act::Import,
        "Remove" if change.policy.as_deref() == Some("Retain") => Act::Release,
        "Remove" => Act::Delete,
        // Of what is not known yet the worst is taken.
        "Dynamic" => Act::MayReplace,
        _ => match change.replacement.as_deref() {
            Some("True" | "Conditional") if change.kind == "AWS::ECS::TaskDefinition" => Act::Revise,
            Some("Conditional") if follows_a_revision(change) => Act::Change,
            Some("True") => Act::Replace,
            Some("Conditional") => Act::MayReplace,
            _ => Act::Change,
        },
    };
    let mut what = change.properties.clone();
    what.extend(change.scope.iter().filter(|scope| *scope != "Properties").cloned());
    Row {
        act,
        resource: change.resource.clone(),
        kind: change.kind.clone(),
        physical: change.physical.clone(),
        what: if matches!(act, Act::Add | Act::Delete) { Vec::new() } else { what },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(action: &str, resource: &str, kind: &str, replacement: &str, policy: &str) -> ResourceChange {
        let given = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        ResourceChange {
            action: action.to_owned(),
            resource: resource.to_owned(),
            kind: kind.to_owned(),
            replacement: given(replacement),
            policy: given(policy),
            properties: vec!["Name".to_owned()],
            scope: vec!["Properties".to_owned(), "Tags".to_owned()],
            ..ResourceChange::default()
        }
    }

    #[test]
    fn what_hurts_comes_last_and_a_release_does_not_count_as_a_replacement() {
        let made = plan(&[
            change("Remove", "Gone", "AWS::SNS::Topic", "", "Delete"),
            change("Modify", "Group", "AWS::EC2::SecurityGroup", "True", "ReplaceAndDelete"),
            change("Modify", "Role", "AWS::IAM::Role", "Conditional", ""),
            change("Modify", "WebTaskDefinition", "AWS::ECS::TaskDefinition", "True", ""),
            change("Remove", "Files", "AWS::EFS::FileSystem", "", "Retain"),
            change("Modify", "WebService", "AWS::ECS::Service", "False", ""),
            change("Dynamic", "What", "AWS::SNS::Topic", "", ""),
            change("Add", "New", "AWS::SNS::Topic", "", ""),
        ]);
        let rows: Vec<_> = made.rows.iter().map(|row| (row.act, row.resource.as_str())).collect();
        assert_eq!(
            rows,
            [
                (Act::Add, "New"),
                (Act::Change, "WebService"),
                (Act::Revise, "WebTaskDefinition"),
                (Act::Release, "Files"),
                (Act::MayReplace, "Role"),
                (Act::MayReplace, "What"),
                (Act::Replace, "Group"),
                (Act::Delete, "Gone"),
            ]
        );
        assert!(made.replaces() && made.deletes());
        assert_eq!(made.rows[1].what, ["Name", "Tags"]);
        let mut service = change("Modify", "S", "AWS::ECS::Service", "Conditional", "");
        service.properties = vec!["TaskDefinition".to_owned()];
        let mut schedule = change("Modify", "N", "AWS::Scheduler::Schedule", "Conditional", "");
        schedule.properties = vec!["Target".to_owned()];
        let release = plan(&[change("Modify", "T", "AWS::ECS::TaskDefinition", "True", ""), service, schedule]);
        assert!(!release.replaces() && !release.deletes());
    }
}
