//! Alarms of CloudWatch, as far as a stage of a pipeline asks for them.

use std::collections::{BTreeMap, BTreeSet};

use landfall_ports::{PortError, PortResult};

use crate::budget::Family;
use crate::call::Call;
use crate::core::Core;
use crate::signed::{Signer, query};
use crate::xml::Element;

/// AlarmNames takes no more (<https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_DescribeAlarms.html>).
const MOST: usize = 100;

/// Those that are in ALARM. One that is not there is an error: who misspells a name waits for nothing else.
pub(crate) async fn loud(core: &Core, signer: &Signer, names: &[String]) -> PortResult<Vec<String>> {
    let mut states = BTreeMap::new();
    for some in names.chunks(MOST) {
        states.extend(described(core, signer, some).await?);
    }
    let missing: BTreeSet<&str> = names.iter().filter(|name| !states.contains_key(*name)).map(String::as_str).collect();
    if !missing.is_empty() {
        let missing: Vec<&str> = missing.into_iter().collect();
        return Err(PortError::NotFound(format!("there is no alarm {}", missing.join(", "))));
    }
    Ok(states.into_iter().filter(|(_, state)| state == "ALARM").map(|(name, _)| name).collect())
}

/// Name → state, of metric alarms and composite ones.
async fn described(core: &Core, signer: &Signer, names: &[String]) -> PortResult<BTreeMap<String, String>> {
    let resource = format!("alarms {}", names.join(", "));
    let call =
        Call { service: "cloudwatch", action: "DescribeAlarms", family: Family::AlarmsRead, resource: &resource };
    let mut parameters = vec![("MaxRecords".to_owned(), MOST.to_string())];
    for (at, kind) in (1..).zip(["MetricAlarm", "CompositeAlarm"]) {
        parameters.push((format!("AlarmTypes.member.{at}"), kind.to_owned()));
    }
    for (at, name) in (1..).zip(names) {
        parameters.push((format!("AlarmNames.member.{at}"), name.clone()));
    }
    let answer = query(signer, core, call, &core.region, "2010-08-01", &parameters).await?;
    let root = Element::parse(&answer);
    let root = root.ok_or_else(|| PortError::Unavailable(format!("{}: the answer is no XML", call.what())))?;
    let Some(result) = root.child("DescribeAlarmsResult") else { return Ok(BTreeMap::new()) };
    let all = ["MetricAlarms", "CompositeAlarms"].into_iter().flat_map(|list| result.members(list));
    Ok(all.map(|one| (one.text("AlarmName"), one.text("StateValue"))).collect())
}
