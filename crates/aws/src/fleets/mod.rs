//! Groups of Auto Scaling and requests for Spot Fleets behind the port, and the metrics of CloudWatch that tell of them. Signed by hand:
//! EC2's SDK client alone takes more memory to compile than all else here together.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use async_trait::async_trait;
use landfall_model::Timestamp;
use landfall_model::fleet::{DRAIN_HOOK, FleetState, LaunchFailure, Member, Schedulable, TypeFacts};
use landfall_ports::fleets::Fleets;
use landfall_ports::{PortError, PortResult};

use crate::budget::Family;
use crate::call::Call;
use crate::core::Core;
use crate::error::Failed;
use crate::signed::{EC2, Form, Signer, asked, form};
use crate::xml::Element;

mod spot;

/// Of the APIs.
const AUTO_SCALING: &str = "2011-01-01";
const CLOUD_WATCH: &str = "2010-08-01";
/// DescribeAutoScalingGroups takes so many names; one page has as many.
const GROUPS: usize = 100;
/// DescribeInstances by filter, DescribeInstanceTypes by name.
const AT_ONCE: usize = 100;
/// On a group or request: when what can wait is permitted again, in seconds since 1970.
const NEXT_PERMITTED: &str = "landfall:next-permitted";
/// Of a group's processes the one that ends instances to have as many in each zone
/// (<https://docs.aws.amazon.com/autoscaling/ec2/userguide/as-suspend-resume-processes.html>).
const EVENING_OUT: &str = "AZRebalance";
/// Seconds after that time in which AWS is still asked whether the last launch failed: what did not come is asked for no more, so nothing
/// is missing then, and the next look must not ask for it anew.
const REMEMBERED: i64 = 300;
/// ecs-cluster-deployer's: whoever has alarms and dashboards of them keeps them.
const NAMESPACE: &str = "AWS/ECS";
const SCHEDULABLE: &str = "Schedulable Cluster Tasks";
const SCHEDULED: &str = "Scheduled Percentage";

pub(crate) struct AwsFleets {
    core: Arc<Core>,
    signer: Arc<Signer>,
}

/// Numbered from 1.
fn numbered<'a>(form: &mut Form, name: &str, values: impl IntoIterator<Item = &'a String>) {
    let values = values.into_iter().enumerate();
    form.extend(values.map(|(at, value)| (format!("{name}.{}", at + 1), value.clone())));
}

impl AwsFleets {
    pub(crate) fn new(core: Arc<Core>, signer: Arc<Signer>) -> Self {
        Self { core, signer }
    }

    async fn ask(&self, call: Call<'_>, version: &str, form: &Form) -> Result<Element, Failed> {
        asked(&self.signer, &self.core, call, version, form).await
    }

    async fn groups(&self, names: &[String]) -> PortResult<Vec<FleetState>> {
        let mut all = Vec::new();
        for some in names.chunks(GROUPS) {
            let resource = format!("groups {}", crate::ecs::some_of(some));
            let family = Family::AutoScalingRead;
            let call =
                Call { service: "autoscaling", action: "DescribeAutoScalingGroups", family, resource: &resource };
            let mut fields = form([("MaxRecords", "100")]);
            numbered(&mut fields, "AutoScalingGroupNames.member", some);
            let root = self.ask(call, AUTO_SCALING, &fields).await?;
            let result = root.child("DescribeAutoScalingGroupsResult");
            let groups = result.into_iter().flat_map(|result| result.members("AutoScalingGroups"));
            all.extend(groups.map(group));
        }
        for group in &mut all {
            let stays = group.members.iter().filter(|member| !member.leaving);
            let there: u64 = stays.map(|member| member.weight.unwrap_or(1)).sum();
            if there < group.desired || lately(group.next_permitted.as_deref()) {
                group.failed = self.failed(&group.id).await?;
            }
        }
        Ok(all)
    }

    /// Why the group's newest launch failed, if it did.
    async fn failed(&self, group: &str) -> PortResult<Option<LaunchFailure>> {
        let family = Family::AutoScalingRead;
        let call = Call { service: "autoscaling", action: "DescribeScalingActivities", family, resource: group };
        let fields = form([("AutoScalingGroupName", group), ("MaxRecords", "20")]);
        let root = self.ask(call, AUTO_SCALING, &fields).await?;
        let Some(result) = root.child("DescribeScalingActivitiesResult") else { return Ok(None) };
        // The newest come first.
        let launch = result.members("Activities").find(|one| one.text("Description").starts_with("Launching"));
        let Some(launch) = launch.filter(|one| one.text("StatusCode") == "Failed") else { return Ok(None) };
        let at = launch.get("EndTime").or_else(|| launch.get("StartTime")).and_then(|at| at.parse().ok());
        Ok(at.map(|at| LaunchFailure { at, why: launch.text("StatusMessage") }))
    }

    /// Of members that have the notice of two minutes.
    async fn interrupted(&self) -> PortResult<BTreeSet<String>> {
        let family = Family::Ec2Read;
        let resource = "requests that are about to end";
        let call = Call { service: "ec2", action: "DescribeSpotInstanceRequests", family, resource };
        let fields = form([
            ("Filter.1.Name", "status-code"),
            ("Filter.1.Value.1", "marked-for-termination"),
            ("Filter.1.Value.2", "marked-for-stop"),
        ]);
        let root = self.ask(call, EC2, &fields).await?;
        Ok(root.items("spotInstanceRequestSet").filter_map(|one| one.get("instanceId")).collect())
    }

    fn dimension(&self, fields: &mut Form, prefix: &str) {
        let cluster = self.core.target.cluster.rsplit('/').next().unwrap_or_default();
        fields.push((format!("{prefix}Dimensions.member.1.Name"), "ClusterName".to_owned()));
        fields.push((format!("{prefix}Dimensions.member.1.Value"), cluster.to_owned()));
    }
}

/// Whether something was launched, or ended, a short while ago.
fn lately(next_permitted: Option<&str>) -> bool {
    let at = next_permitted.and_then(|at| at.parse::<i64>().ok());
    at.is_some_and(|at| at.saturating_add(REMEMBERED) > Timestamp::now().as_second())
}

fn group(one: &Element) -> FleetState {
    let number = |name: &str| one.text(name).parse().unwrap_or(0);
    let tags = one.members("Tags");
    FleetState {
        id: one.text("AutoScalingGroupName"),
        bounds: Some((number("MinSize"), number("MaxSize"))),
        desired: number("DesiredCapacity"),
        members: one.members("Instances").map(member).collect(),
        next_permitted: tags.filter(|tag| tag.text("Key") == NEXT_PERMITTED).find_map(|tag| tag.get("Value")),
        failed: None,
        zones: one.texts("AvailabilityZones"),
        evens_out: !one.members("SuspendedProcesses").any(|process| process.text("ProcessName") == EVENING_OUT),
    }
}

fn member(one: &Element) -> Member {
    let leaving = |state: &str| state.starts_with("Terminat") || state.starts_with("Detach");
    let state = one.text("LifecycleState");
    Member {
        instance: one.text("InstanceId"),
        kind: one.text("InstanceType"),
        weight: one.get("WeightedCapacity").and_then(|weight| weight.parse().ok()),
        leaving: leaving(&state),
        held: state == "Terminating:Wait",
        unhealthy: one.text("HealthStatus") == "Unhealthy",
        interrupted: false,
        launched: None,
    }
}

/// AWS's answer where an instance or group is not there.
fn gone(failed: &Failed) -> bool {
    failed.not_found() || failed.is("ValidationError") && failed.message.contains("not found")
}

fn refused(failed: Failed) -> PortError {
    match failed.is("ScalingActivityInProgress") || failed.is("ResourceContention") || failed.is("ValidationError") {
        true => PortError::Conflict(failed.error.to_string()),
        false => failed.into(),
    }
}

#[async_trait]
impl Fleets for AwsFleets {
    async fn fleets(&self, ids: &[String]) -> PortResult<Vec<FleetState>> {
        let (requests, groups): (Vec<String>, Vec<String>) = ids.iter().cloned().partition(|id| spot::is_request(id));
        let mut all = self.groups(&groups).await?;
        all.extend(self.requests(&requests).await?);
        if all.iter().all(|fleet| fleet.members.is_empty()) {
            return Ok(all);
        }
        let interrupted = self.interrupted().await?;
        for member in all.iter_mut().flat_map(|fleet| &mut fleet.members) {
            member.interrupted = interrupted.contains(&member.instance);
        }
        Ok(all)
    }

    async fn launched(&self, ids: &[String]) -> PortResult<BTreeMap<String, Timestamp>> {
        let mut all = BTreeMap::new();
        for some in ids.chunks(AT_ONCE) {
            let resource = format!("instances {}", crate::ecs::some_of(some));
            let call =
                Call { service: "ec2", action: "DescribeInstances", family: Family::Ec2Read, resource: &resource };
            let mut fields = form([("Filter.1.Name", "instance-id")]);
            numbered(&mut fields, "Filter.1.Value", some);
            let root = self.ask(call, EC2, &fields).await?;
            let instances = root.items("reservationSet").flat_map(|one| one.items("instancesSet"));
            all.extend(
                instances.filter_map(|one| Some((one.get("instanceId")?, one.get("launchTime")?.parse().ok()?))),
            );
        }
        Ok(all)
    }

    async fn resize(&self, fleet: &str, desired: u64) -> PortResult<()> {
        if spot::is_request(fleet) {
            return self.retarget(fleet, desired).await;
        }
        let family = Family::AutoScalingWrite;
        let call = Call { service: "autoscaling", action: "SetDesiredCapacity", family, resource: fleet };
        let fields = form([
            ("AutoScalingGroupName", fleet),
            ("DesiredCapacity", &desired.to_string()),
            ("HonorCooldown", "false"),
        ]);
        self.ask(call, AUTO_SCALING, &fields).await.map(|_| ()).map_err(refused)
    }

    async fn terminate(&self, fleet: &str, instance: &str, left: Option<u64>) -> PortResult<()> {
        if spot::is_request(fleet) {
            if let Some(left) = left {
                self.retarget(fleet, left).await?;
            }
            return self.end(instance).await;
        }
        let family = Family::AutoScalingWrite;
        let call =
            Call { service: "autoscaling", action: "TerminateInstanceInAutoScalingGroup", family, resource: instance };
        let fewer = if left.is_some() { "true" } else { "false" };
        let fields = form([("InstanceId", instance), ("ShouldDecrementDesiredCapacity", fewer)]);
        match self.ask(call, AUTO_SCALING, &fields).await {
            Ok(_) => Ok(()),
            Err(failed) if gone(&failed) => Ok(()),
            Err(failed) => Err(refused(failed)),
        }
    }

    async fn release(&self, fleet: &str, instance: &str) -> PortResult<()> {
        let family = Family::AutoScalingWrite;
        let call = Call { service: "autoscaling", action: "CompleteLifecycleAction", family, resource: instance };
        let fields = form([
            ("AutoScalingGroupName", fleet),
            ("LifecycleHookName", DRAIN_HOOK),
            ("InstanceId", instance),
            ("LifecycleActionResult", "CONTINUE"),
        ]);
        match self.ask(call, AUTO_SCALING, &fields).await {
            Ok(_) => Ok(()),
            // Its time is over, the group or its hook is not there any more, or another one was faster.
            Err(failed) if gone(&failed) || failed.is("ValidationError") => Ok(()),
            Err(failed) => Err(refused(failed)),
        }
    }

    async fn keep_uneven(&self, fleet: &str) -> PortResult<()> {
        let family = Family::AutoScalingWrite;
        let call = Call { service: "autoscaling", action: "SuspendProcesses", family, resource: fleet };
        let fields = form([("AutoScalingGroupName", fleet), ("ScalingProcesses.member.1", EVENING_OUT)]);
        self.ask(call, AUTO_SCALING, &fields).await.map(|_| ()).map_err(refused)
    }

    async fn note(&self, fleet: &str, next_permitted: i64) -> PortResult<()> {
        let value = next_permitted.to_string();
        if spot::is_request(fleet) {
            let call = Call { service: "ec2", action: "CreateTags", family: Family::Ec2Write, resource: fleet };
            let fields = form([("ResourceId.1", fleet), ("Tag.1.Key", NEXT_PERMITTED), ("Tag.1.Value", &value)]);
            self.ask(call, EC2, &fields).await?;
            return Ok(());
        }
        let family = Family::AutoScalingWrite;
        let call = Call { service: "autoscaling", action: "CreateOrUpdateTags", family, resource: fleet };
        let fields = form([
            ("Tags.member.1.ResourceId", fleet),
            ("Tags.member.1.ResourceType", "auto-scaling-group"),
            ("Tags.member.1.Key", NEXT_PERMITTED),
            ("Tags.member.1.Value", &value),
            ("Tags.member.1.PropagateAtLaunch", "false"),
        ]);
        self.ask(call, AUTO_SCALING, &fields).await.map(|_| ()).map_err(refused)
    }

    async fn types(&self, names: &[String]) -> PortResult<Vec<TypeFacts>> {
        let mut all = Vec::new();
        for some in names.chunks(AT_ONCE) {
            let resource = some.join(", ");
            let call =
                Call { service: "ec2", action: "DescribeInstanceTypes", family: Family::Ec2Read, resource: &resource };
            let mut fields = Form::new();
            numbered(&mut fields, "InstanceType", some);
            let root = self.ask(call, EC2, &fields).await?;
            all.extend(root.items("instanceTypeSet").map(facts));
        }
        Ok(all)
    }

    async fn average(&self, seconds: u32) -> PortResult<Option<f64>> {
        let family = Family::MetricsRead;
        let call = Call { service: "cloudwatch", action: "GetMetricStatistics", family, resource: SCHEDULABLE };
        let now = Timestamp::now();
        let from = Timestamp::from_second(now.as_second() - i64::from(seconds)).unwrap_or(now);
        let mut fields = form([
            ("Namespace", NAMESPACE),
            ("MetricName", SCHEDULABLE),
            ("StartTime", &from.to_string()),
            ("EndTime", &now.to_string()),
            ("Period", "60"),
            ("Statistics.member.1", "Average"),
        ]);
        self.dimension(&mut fields, "");
        let root = self.ask(call, CLOUD_WATCH, &fields).await?;
        let result = root.child("GetMetricStatisticsResult");
        let points = result.into_iter().flat_map(|result| result.members("Datapoints"));
        let averages: Vec<f64> = points.filter_map(|point| point.text("Average").parse().ok()).collect();
        Ok((!averages.is_empty()).then(|| averages.iter().sum::<f64>() / averages.len() as f64))
    }

    async fn publish(&self, metrics: Schedulable) -> PortResult<()> {
        let resource = "metrics of the cluster";
        let call = Call { service: "cloudwatch", action: "PutMetricData", family: Family::MetricsWrite, resource };
        let mut fields = form([("Namespace", NAMESPACE)]);
        for (at, (name, value)) in (1..).zip([(SCHEDULABLE, metrics.tasks), (SCHEDULED, metrics.scheduled)]) {
            let prefix = format!("MetricData.member.{at}.");
            fields.push((format!("{prefix}MetricName"), name.to_owned()));
            fields.push((format!("{prefix}Value"), value.to_string()));
            self.dimension(&mut fields, &prefix);
        }
        self.ask(call, CLOUD_WATCH, &fields).await?;
        Ok(())
    }
}

fn facts(one: &Element) -> TypeFacts {
    let number = |parent: &str, name: &str| {
        one.child(parent).and_then(|parent| parent.get(name)).and_then(|text| text.parse().ok()).unwrap_or(0)
    };
    let gpus = one.child("gpuInfo").into_iter().flat_map(|info| info.items("gpus"));
    let architectures = one.child("processorInfo").and_then(|info| info.child("supportedArchitectures"));
    TypeFacts {
        name: one.text("instanceType"),
        vcpus: number("vCpuInfo", "defaultVCpus"),
        memory: number("memoryInfo", "sizeInMiB"),
        network_interfaces: number("networkInfo", "maximumNetworkInterfaces"),
        gpus: gpus.filter_map(|gpu| gpu.text("count").parse::<u64>().ok()).sum(),
        architecture: architectures.and_then(|list| list.get("item")).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_read_with_its_weights_and_what_was_written_down() {
        let text = "<member><AutoScalingGroupName>a</AutoScalingGroupName><MinSize>1</MinSize><MaxSize>9</MaxSize><DesiredCapacity>4\
            </DesiredCapacity><Instances><member><InstanceId>i-1</InstanceId><InstanceType>t3.large</InstanceType><LifecycleState>InService\
            </LifecycleState><WeightedCapacity>2</WeightedCapacity></member><member><InstanceId>i-2</InstanceId><LifecycleState>\
            Terminating:Wait</LifecycleState></member></Instances><Tags><member><Key>Name</Key><Value>x</Value></member><member><Key>\
            landfall:next-permitted</Key><Value>17</Value></member></Tags></member>";
        let group = group(&Element::parse(text).unwrap());
        assert_eq!((group.bounds, group.desired, group.next_permitted.as_deref()), (Some((1, 9)), 4, Some("17")));
        let members: Vec<_> =
            group.members.iter().map(|one| (one.instance.as_str(), one.weight, one.leaving)).collect();
        assert_eq!(members, [("i-1", Some(2), false), ("i-2", None, true)]);
    }

    #[test]
    fn a_launch_of_a_short_while_ago_is_asked_about() {
        let at = |seconds: i64| (Timestamp::now().as_second() + seconds).to_string();
        let told = [None, Some("soon".to_owned()), Some(at(-310)), Some(at(-200)), Some(at(60))];
        assert_eq!(told.map(|told| lately(told.as_deref())), [false, false, false, true, true]);
    }

    #[test]
    fn what_is_on_a_type_is_read() {
        let text = "<item><instanceType>g5.xlarge</instanceType><processorInfo><supportedArchitectures><item>x86_64</item>\
            </supportedArchitectures></processorInfo><vCpuInfo><defaultVCpus>4</defaultVCpus></vCpuInfo><memoryInfo><sizeInMiB>16384\
            </sizeInMiB></memoryInfo><gpuInfo><gpus><item><count>1</count></item></gpus></gpuInfo><networkInfo>\
            <maximumNetworkInterfaces>4</maximumNetworkInterfaces></networkInfo></item>";
        let facts = facts(&Element::parse(text).unwrap());
        let told = (facts.vcpus, facts.memory, facts.network_interfaces, facts.gpus, facts.architecture.as_str());
        assert_eq!(told, (4, 16_384, 4, 1, "x86_64"));
    }
}
