//! Requests for Spot Fleets, as `compatibility: spot_fleets` makes them.

use landfall_model::Timestamp;
use landfall_model::fleet::{FleetState, LaunchFailure, Member};
use landfall_ports::PortResult;

use super::{AwsFleets, EC2, NEXT_PERMITTED, form, gone, lately, numbered};
use crate::budget::Family;
use crate::call::Call;
use crate::xml::Element;

/// A fleet of a thousand instances; no page is longer than 1,000.
const MOST_PAGES: usize = 100;
/// Seconds: older events of a request say nothing of now.
const RECENT: i64 = 900;

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
                let (target, fulfilled) = capacity(one);
                let tag = one.items("tagSet").find(|tag| tag.text("key") == NEXT_PERMITTED);
                let next_permitted = tag.and_then(|tag| tag.get("value"));
                let asks = fulfilled < target as f64 || lately(next_permitted.as_deref());
                all.push(FleetState {
                    desired: target,
                    members: self.members(&id).await?,
                    next_permitted,
                    failed: if asks { self.unlaunched(&id).await? } else { None },
                    id,
                    ..FleetState::default()
                });
            }
        }
        Ok(all)
    }

    /// Why the request's newest launch failed, if it did. Events are told up to 30 seconds late.
    async fn unlaunched(&self, id: &str) -> PortResult<Option<LaunchFailure>> {
        let family = Family::Ec2Read;
        let call = Call { service: "ec2", action: "DescribeSpotFleetRequestHistory", family, resource: id };
        let now = Timestamp::now();
        let since = Timestamp::from_second(now.as_second() - RECENT).unwrap_or(now);
        let (mut newest, mut next) = (None, None);
        for _ in 0..MOST_PAGES {
            let mut fields = form([("SpotFleetRequestId", id), ("StartTime", &since.to_string())]);
            fields.extend(next.map(|token| ("NextToken".to_owned(), token)));
            let root = self.ask(call, EC2, &fields).await?;
            newest = newer(newest, &root);
            next = root.get("nextToken");
            if next.is_none() {
                break;
            }
        }
        Ok(newest.and_then(|(at, why)| why.map(|why| LaunchFailure { at, why })))
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

/// What is asked for and what is there, in units of weight.
fn capacity(one: &Element) -> (u64, f64) {
    let config = one.child("spotFleetRequestConfig");
    let of = |name: &str| config.and_then(|config| config.get(name));
    let target = of("targetCapacity").and_then(|target| target.parse().ok()).unwrap_or(0);
    (target, of("fulfilledCapacity").and_then(|there| there.parse().ok()).unwrap_or(0.0))
}

/// When something was launched last, or could not be, and why. What else happens to a request says nothing of that.
type Newest = Option<(Timestamp, Option<String>)>;

fn newer(newest: Newest, page: &Element) -> Newest {
    let launches = page.items("historyRecordSet").filter_map(|record| {
        let event = record.child("eventInformation")?;
        let (kind, about) = (event.text("eventSubType"), event.get("eventDescription"));
        let why = match (record.text("eventType").as_str(), kind.as_str()) {
            ("error", _) => Some(about.map_or_else(|| kind.clone(), |about| format!("{kind}: {about}"))),
            ("instanceChange", "launched") => None,
            _ => return None,
        };
        Some((record.get("timestamp")?.parse().ok()?, why))
    });
    // Of those of one moment the later one, whichever way they are sorted by.
    newest.into_iter().chain(launches).max_by_key(|(at, _): &(Timestamp, _)| *at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(records: &str) -> Option<String> {
        let page = format!(
            "<DescribeSpotFleetRequestHistoryResponse><historyRecordSet>{records}</historyRecordSet></DescribeSpotFleetRequestHistoryResponse>"
        );
        newer(None, &Element::parse(&page).unwrap()).and_then(|(_, why)| why)
    }

    fn record(at: &str, kind: &str, sub: &str, about: &str) -> String {
        format!(
            "<item><timestamp>2026-11-22T12:{at}Z</timestamp><eventType>{kind}</eventType><eventInformation>\
             <eventSubType>{sub}</eventSubType><eventDescription>{about}</eventDescription></eventInformation></item>"
        )
    }

    #[test]
    fn the_newest_launch_that_failed_is_told_and_none_that_was_made_up_for() {
        let limit = record("01:00", "error", "spotInstanceCountLimitExceeded", "Max spot instance count exceeded");
        let price = record(
            "02:00",
            "information",
            "launchSpecUnusable",
            "m3.large, Spot bid price is less than Spot market price $0.0667",
        );
        let active = record("00:00", "fleetRequestChange", "active", "");
        let all = [active.as_str(), limit.as_str(), price.as_str()].concat();
        let why = "spotInstanceCountLimitExceeded: Max spot instance count exceeded";
        assert_eq!(told(&all).as_deref(), Some(why));
        let launched = record("03:00", "instanceChange", "launched", "{\"instanceType\":\"m3.medium\"}");
        assert_eq!(told(&[launched.as_str(), &all].concat()), None);
        assert_eq!(told(&active), None);
        let request = "<item><spotFleetRequestConfig><targetCapacity>4</targetCapacity><fulfilledCapacity>1.5</fulfilledCapacity>\
            </spotFleetRequestConfig></item>";
        assert_eq!(capacity(&Element::parse(request).unwrap()), (4, 1.5));
    }
}
