//! Requests for Spot Fleets, as `compatibility: spot_fleets` makes them.

use landfall_model::fleet::{FleetState, Member};
use landfall_ports::PortResult;

use super::{AwsFleets, EC2, NEXT_PERMITTED, form, gone, numbered};
use crate::budget::Family;
use crate::call::Call;

/// A fleet of a thousand instances; no page is longer than 1,000.
const MOST_PAGES: usize = 100;

pub(super) fn is_request(id: &str) -> bool {
    id.starts_with("sfr-")
}

impl AwsFleets {
    pub(super) async fn requests(&self, ids: &[String]) -> PortResult<Vec<FleetState>> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let resource = ids.join(", ");
        let family = Family::Ec2Read;
        let call = Call { service: "ec2", action: "DescribeSpotFleetRequests", family, resource: &resource };
        let mut fields = Vec::new();
        numbered(&mut fields, "SpotFleetRequestId", ids);
        let root = self.ask(call, EC2, &fields).await?;
        let mut all = Vec::new();
        for one in root.items("spotFleetRequestConfigSet") {
            if !one.text("spotFleetRequestState").starts_with("cancelled") {
                let id = one.text("spotFleetRequestId");
                let target = one.child("spotFleetRequestConfig").and_then(|config| config.get("targetCapacity"));
                let tag = one.items("tagSet").find(|tag| tag.text("key") == NEXT_PERMITTED);
                all.push(FleetState {
                    desired: target.and_then(|target| target.parse().ok()).unwrap_or(0),
                    members: self.members(&id).await?,
                    next_permitted: tag.and_then(|tag| tag.get("value")),
                    id,
                    ..FleetState::default()
                });
            }
        }
        Ok(all)
    }

    async fn members(&self, id: &str) -> PortResult<Vec<Member>> {
        let call = Call { service: "ec2", action: "DescribeSpotFleetInstances", family: Family::Ec2Read, resource: id };
        let (mut all, mut next) = (Vec::new(), None);
        for _ in 0..MOST_PAGES {
            let mut fields = form([("SpotFleetRequestId", id)]);
            fields.extend(next.map(|token| ("NextToken".to_owned(), token)));
            let root = self.ask(call, EC2, &fields).await?;
            all.extend(root.items("activeInstanceSet").map(|one| Member {
                instance: one.text("instanceId"),
                kind: one.text("instanceType"),
                ..Member::default()
            }));
            next = root.get("nextToken");
            if next.is_none() {
                break;
            }
        }
        Ok(all)
    }

    /// What is there stays: whoever lowers the target ends instances itself.
    pub(super) async fn retarget(&self, id: &str, target: u64) -> PortResult<()> {
        let family = Family::Ec2Write;
        let call = Call { service: "ec2", action: "ModifySpotFleetRequest", family, resource: id };
        let fields = form([
            ("SpotFleetRequestId", id),
            ("TargetCapacity", &target.to_string()),
            ("ExcessCapacityTerminationPolicy", "noTermination"),
        ]);
        self.ask(call, EC2, &fields).await?;
        Ok(())
    }

    pub(super) async fn end(&self, instance: &str) -> PortResult<()> {
        let call = Call { service: "ec2", action: "TerminateInstances", family: Family::Ec2Write, resource: instance };
        match self.ask(call, EC2, &form([("InstanceId.1", instance)])).await {
            Ok(_) => Ok(()),
            Err(failed) if gone(&failed) || failed.is("InvalidInstanceID.NotFound") => Ok(()),
            Err(failed) => Err(failed.into()),
        }
    }
}
