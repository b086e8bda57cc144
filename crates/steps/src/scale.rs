//! A cluster's fleets, looked at and brought to what `landfall_cluster::scale` decides. No look waits for anything, and none remembers what
//! another one did: whoever is cut off is called again.

use std::collections::{BTreeMap, BTreeSet};

use landfall_cluster::roll::{Compute, Goal, Next, Patience, State, computes, next};
use landfall_cluster::scale::{AVERAGE_OVER, Act, Called, Round, Seen, Unit, called};
use landfall_cluster::{Around, Infra, Metric, Part, Version, stack_name};
use landfall_model::fleet::{FleetState, TypeFacts};
use landfall_ports::container_instances::ContainerInstances;
use landfall_ports::fleets::Fleets;
use landfall_ports::stacks::Stacks;
use landfall_ports::{PortError, PortResult};
use landfall_scaler::decide::Decision;
use landfall_scaler::price::Prices;

use crate::cluster::Cluster;

/// A cluster's fleets, and the AWS that they are on.
pub struct Scaler<'a> {
    pub infra: &'a Infra,
    pub prices: &'a Prices,
    pub stacks: &'a dyn Stacks,
    pub instances: &'a dyn ContainerInstances,
    pub fleets: &'a dyn Fleets,
    memory: Memory,
}

/// What only saves calls.
#[derive(Default)]
struct Memory {
    types: BTreeMap<String, TypeFacts>,
    /// Fleets and groups by name, of a stack's ARN as it was at that time.
    resources: BTreeMap<(String, i64), Vec<(Called, String)>>,
}

/// Fleets and groups of a stack, with the ids that AWS knows them by.
async fn of_stack(infra: &Infra, stacks: &dyn Stacks, id: &str) -> PortResult<Vec<(Called, String)>> {
    let resources = stacks.resources(id).await?;
    let physical = |called: Called, id: &Option<String>| Some((called, id.clone()?));
    let own = resources.iter().filter_map(|it| physical(called(infra, &it.resource, &it.kind)?, &it.physical));
    Ok(own.filter(|(_, id)| !id.is_empty()).collect())
}

/// Of a stack's fleets and groups those whose newest launch failed, and why, in AWS's words.
///
/// # Errors
/// AWS's.
pub async fn unlaunched(
    infra: &Infra,
    stacks: &dyn Stacks,
    fleets: &dyn Fleets,
    stack: &str,
) -> PortResult<Vec<(String, String)>> {
    let own = of_stack(infra, stacks, stack).await?;
    let ids: Vec<String> = own.iter().map(|(_, id)| id.clone()).collect();
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let failed = fleets.fleets(&ids).await?.into_iter().filter_map(|fleet| {
        let name = own.iter().find(|(_, id)| *id == fleet.id).map(|(called, _)| called.to_string())?;
        Some((name, fleet.failed?.why))
    });
    Ok(failed.collect())
}

impl<'a> Scaler<'a> {
    pub fn new(
        infra: &'a Infra,
        prices: &'a Prices,
        stacks: &'a dyn Stacks,
        instances: &'a dyn ContainerInstances,
        fleets: &'a dyn Fleets,
    ) -> Self {
        Self { infra, prices, stacks, instances, fleets, memory: Memory::default() }
    }

    /// What there is, and what is to be done about it: nothing where the fleets are not Landfall's to scale. `now`: seconds since 1970.
    ///
    /// # Errors
    /// AWS's; `NotFound` where there is no such cluster.
    pub async fn look(&mut self, now: i64) -> PortResult<Round> {
        let name = &self.infra.name;
        let all = self.stacks.list().await?;
        let base = stack_name(name, Part::Cluster, None);
        let base = all.iter().find(|stack| stack.name == base);
        if matches!(State::of(base, name), State::Absent | State::Foreign(_)) {
            return Err(PortError::NotFound(format!("there is no cluster {name}")));
        }
        let mut found = computes(name, &all);
        // While a stack is made it need not tell its parameters yet: what it stands for nobody knows, least of all that it is inactive.
        let told = |id: &str| all.iter().any(|stack| stack.id == id && stack.parameters.contains_key("Status"));
        found.retain(|one| {
            Unit::counts(one.standing) && matches!(one.state, State::Ready | State::Busy) && told(&one.id)
        });
        let mut units = self.units(&found).await?;
        let instances = self.instances.instances().await?;
        let workload = self.instances.workload().await?;
        let registered: BTreeSet<&str> = instances.iter().map(|one| one.instance.as_str()).collect();
        let members = units.iter_mut().flat_map(|unit| &mut unit.state.members);
        let mut starting: Vec<_> =
            members.filter(|member| !member.leaving && !registered.contains(member.instance.as_str())).collect();
        if !starting.is_empty() {
            let ids: Vec<String> = starting.iter().map(|member| member.instance.clone()).collect();
            let launched = self.fleets.launched(&ids).await?;
            starting.iter_mut().for_each(|member| member.launched = launched.get(&member.instance).copied());
        }
        self.learn(&units).await?;
        let left_alone = self.infra.left_alone().is_some();
        let average = match self.infra.metric {
            Metric::Compatible if !left_alone => self.fleets.average(AVERAGE_OVER).await?,
            Metric::Compatible | Metric::Packed => None,
        };
        let mut round = Round::of(&Seen {
            infra: self.infra,
            prices: self.prices,
            now,
            units: &units,
            instances: &instances,
            workload: &workload,
            types: &self.memory.types,
            average,
        });
        if left_alone {
            // Only what was seen counts.
            round.decision = Decision::default();
            round.acts.clear();
        }
        Ok(round)
    }

    /// What the versions' stacks have of fleets and groups.
    async fn units(&mut self, found: &[Compute]) -> PortResult<Vec<Unit>> {
        let mut named = Vec::new();
        for one in found {
            let key = (one.id.clone(), one.since);
            let of_stack = match self.memory.resources.get(&key) {
                Some(known) => known.clone(),
                None => {
                    let own = of_stack(self.infra, self.stacks, &one.id).await?;
                    if one.state == State::Ready {
                        self.memory.resources.insert(key, own.clone());
                    }
                    own
                }
            };
            named.extend(of_stack.into_iter().map(|(called, id)| (one, called, id)));
        }
        let ids: Vec<String> = named.iter().map(|(_, _, id)| id.clone()).collect();
        let mut states: BTreeMap<String, FleetState> = match ids.is_empty() {
            true => BTreeMap::new(),
            false => self.fleets.fleets(&ids).await?.into_iter().map(|fleet| (fleet.id.clone(), fleet)).collect(),
        };
        let unit = |(one, called, id): (&Compute, Called, String)| {
            let state = states.remove(&id)?;
            Some(Unit { version: one.version.clone(), standing: one.standing, called, state })
        };
        Ok(named.into_iter().filter_map(unit).collect())
    }

    /// Types that the table of prices does not have.
    async fn learn(&mut self, units: &[Unit]) -> PortResult<()> {
        let bids = self.infra.fleets.iter().flat_map(|fleet| &fleet.bids).map(|bid| &bid.instance_type);
        let groups = self.infra.groups.iter().map(|group| &group.instance_type);
        let members = units.iter().flat_map(|unit| &unit.state.members).map(|member| &member.kind);
        let unknown: BTreeSet<&String> = (bids.chain(groups).chain(members))
            .filter(|name| self.prices.get(name).is_err() && !self.memory.types.contains_key(*name))
            .collect();
        if unknown.is_empty() {
            return Ok(());
        }
        let unknown: Vec<String> = unknown.into_iter().cloned().collect();
        let facts = self.fleets.types(&unknown).await?;
        self.memory.types.extend(facts.into_iter().map(|one| (one.name.clone(), one)));
        Ok(())
    }

    /// Whether it is done; if not, the next look decides anew.
    ///
    /// # Errors
    /// AWS's.
    pub async fn act(&self, act: &Act, now: i64) -> PortResult<bool> {
        match act {
            Act::Drain { instances, .. } => self.instances.drain(instances, true).await?,
            Act::Undrain { instances, .. } => self.instances.drain(instances, false).await?,
            Act::Terminate { id, instance, left, .. } => self.fleets.terminate(id, instance, *left).await?,
            Act::Release { id, instance, .. } => self.fleets.release(id, instance).await?,
            Act::Resize { id, to, .. } => self.fleets.resize(id, *to).await?,
            // A policy of before this was asked for: all else goes on without it.
            Act::KeepUneven { id, .. } => match self.fleets.keep_uneven(id).await {
                Err(PortError::Denied(_)) => return Ok(false),
                did => did?,
            },
            Act::Note { id, next_permitted, .. } => self.fleets.note(id, *next_permitted).await?,
            Act::Delete { version } => return self.delete(version, now).await,
        }
        Ok(true)
    }

    /// As whoever settles the cluster would.
    async fn delete(&self, version: &Version, now: i64) -> PortResult<bool> {
        let mut cluster = Cluster::new(self.infra, Around::default(), None, self.stacks, self.instances);
        let facts = cluster.look(&Goal::Settle, now).await?;
        let wanted = stack_name(&self.infra.name, Part::Compute, Some(version));
        match next(&Goal::Settle, &facts, Patience::default()) {
            decided @ Next::Delete { .. } if matches!(&decided, Next::Delete { stack, .. } if *stack == wanted) => {
                Ok(cluster.act(&decided, &facts).await? == crate::cluster::Did::It)
            }
            _ => Ok(false),
        }
    }

    /// # Errors
    /// AWS's.
    pub async fn publish(&self, round: &Round) -> PortResult<()> {
        self.fleets.publish(round.metrics).await
    }
}
