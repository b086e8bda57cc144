//! CloudFormation's answers as ours.

use landfall_model::Timestamp;
use landfall_model::cloudformation::{
    ChangeSet, DriftDetection, PropertyDrift, ResourceChange, ResourceDrift, StackEvent, StackOutput, StackResource,
    StackState,
};

use crate::xml::Element;

fn time(of: &Element, name: &str) -> Option<Timestamp> {
    of.get(name)?.parse().ok()
}

pub(super) fn stack(of: &Element) -> StackState {
    let parameter = |one: &Element| (one.text("ParameterKey"), one.text("ParameterValue"));
    let output = |one: &Element| StackOutput {
        key: one.text("OutputKey"),
        value: one.text("OutputValue"),
        description: one.get("Description"),
        export: one.get("ExportName"),
    };
    StackState {
        id: of.text("StackId"),
        name: of.text("StackName"),
        status: of.text("StackStatus"),
        reason: of.get("StackStatusReason"),
        parameters: of.members("Parameters").map(parameter).collect(),
        outputs: of.members("Outputs").map(output).collect(),
        tags: of.members("Tags").map(|one| (one.text("Key"), one.text("Value"))).collect(),
        protected: of.text("EnableTerminationProtection") == "true",
        created: time(of, "CreationTime"),
        updated: time(of, "LastUpdatedTime"),
        drift: of.child("DriftInformation").and_then(|drift| drift.get("StackDriftStatus")),
    }
}

pub(super) fn resource(of: &Element) -> StackResource {
    StackResource {
        resource: of.text("LogicalResourceId"),
        physical: of.get("PhysicalResourceId"),
        kind: of.text("ResourceType"),
        status: of.text("ResourceStatus"),
        reason: of.get("ResourceStatusReason"),
        at: time(of, "LastUpdatedTimestamp"),
    }
}

/// `None`: it has no time, and so no place among the others.
pub(super) fn event(of: &Element) -> Option<StackEvent> {
    Some(StackEvent {
        id: of.text("EventId"),
        at: time(of, "Timestamp")?,
        resource: of.text("LogicalResourceId"),
        physical: of.get("PhysicalResourceId"),
        kind: of.text("ResourceType"),
        status: of.text("ResourceStatus"),
        reason: of.get("ResourceStatusReason"),
    })
}

pub(super) fn change_set(of: &Element) -> ChangeSet {
    ChangeSet {
        id: of.text("ChangeSetId"),
        name: of.text("ChangeSetName"),
        status: of.text("Status"),
        execution: of.text("ExecutionStatus"),
        reason: of.get("StatusReason"),
        changes: of.members("Changes").filter_map(|one| one.child("ResourceChange")).map(change).collect(),
    }
}

fn change(of: &Element) -> ResourceChange {
    let target = |detail: &Element| detail.child("Target").and_then(|target| target.get("Name"));
    let mut properties: Vec<String> = of.members("Details").filter_map(target).collect();
    properties.sort();
    properties.dedup();
    ResourceChange {
        action: of.text("Action"),
        resource: of.text("LogicalResourceId"),
        physical: of.get("PhysicalResourceId"),
        kind: of.text("ResourceType"),
        replacement: of.get("Replacement"),
        policy: of.get("PolicyAction"),
        scope: of.texts("Scope"),
        properties,
    }
}

/// What is neither `IN_SYNC` nor `DRIFTED` (`UNKNOWN`, `NOT_CHECKED`) is not known, and no answer.
pub(super) fn detection(of: &Element) -> DriftDetection {
    let reason = || of.get("DetectionStatusReason");
    match (of.text("DetectionStatus").as_str(), of.text("StackDriftStatus").as_str()) {
        ("DETECTION_IN_PROGRESS", _) => DriftDetection::Running,
        ("DETECTION_COMPLETE", "IN_SYNC") => DriftDetection::Done { drifted: false },
        ("DETECTION_COMPLETE", "DRIFTED") => DriftDetection::Done { drifted: true },
        ("DETECTION_COMPLETE", other) => {
            let reason = reason().unwrap_or_else(|| format!("it says {} of the stack", said(other)));
            DriftDetection::Failed { reason }
        }
        (status, _) => {
            DriftDetection::Failed { reason: reason().unwrap_or_else(|| format!("it ended in {}", said(status))) }
        }
    }
}

fn said(word: &str) -> &str {
    if word.is_empty() { "nothing" } else { word }
}

pub(super) fn drift(of: &Element) -> ResourceDrift {
    let difference = |one: &Element| PropertyDrift {
        path: one.text("PropertyPath"),
        kind: one.text("DifferenceType"),
        expected: one.get("ExpectedValue"),
        actual: one.get("ActualValue"),
    };
    ResourceDrift {
        resource: of.text("LogicalResourceId"),
        physical: of.get("PhysicalResourceId"),
        kind: of.text("ResourceType"),
        status: of.text("StackResourceDriftStatus"),
        differences: of.members("PropertyDifferences").map(difference).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_stack_that_was_found_in_sync_is() {
        let of = |status: &str, drift: &str, reason: &str| {
            let text = format!(
                "<R><DetectionStatus>{status}</DetectionStatus><StackDriftStatus>{drift}</StackDriftStatus>\
                 <DetectionStatusReason>{reason}</DetectionStatusReason></R>"
            );
            detection(&Element::parse(&text).unwrap())
        };
        let failed = |reason: &str| DriftDetection::Failed { reason: reason.to_owned() };
        assert_eq!(of("DETECTION_IN_PROGRESS", "NOT_CHECKED", ""), DriftDetection::Running);
        assert_eq!(of("DETECTION_COMPLETE", "IN_SYNC", ""), DriftDetection::Done { drifted: false });
        assert_eq!(of("DETECTION_COMPLETE", "DRIFTED", ""), DriftDetection::Done { drifted: true });
        assert_eq!(of("DETECTION_COMPLETE", "UNKNOWN", ""), failed("it says UNKNOWN of the stack"));
        assert_eq!(of("DETECTION_COMPLETE", "", ""), failed("it says nothing of the stack"));
        assert_eq!(of("DETECTION_FAILED", "IN_SYNC", "no right to read Vpc"), failed("no right to read Vpc"));
        assert_eq!(of("NEW", "IN_SYNC", ""), failed("it ended in NEW"));
    }

    #[test]
    fn a_change_names_each_property_once() {
        let text = "<Changes><member><Type>Resource</Type><ResourceChange><Action>Modify</Action><LogicalResourceId>WebService\
            </LogicalResourceId><ResourceType>AWS::ECS::Service</ResourceType><Replacement>False</Replacement><Scope><member>Properties\
            </member></Scope><Details><member><Target><Attribute>Properties</Attribute><Name>TaskDefinition</Name></Target></member>\
            <member><Target><Name>TaskDefinition</Name></Target></member><member><Target><Attribute>Tags</Attribute></Target></member>\
            </Details></ResourceChange></member></Changes>";
        let set = change_set(&Element::parse(&format!("<R>{text}</R>")).unwrap());
        assert_eq!(set.changes[0].properties, ["TaskDefinition"]);
        assert_eq!(set.changes[0].scope, ["Properties"]);
        assert_eq!(set.changes[0].replacement.as_deref(), Some("False"));
    }
}
