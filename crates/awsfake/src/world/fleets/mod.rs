//! EC2 instances: of the Auto Scaling groups that stacks make, with ECS's agent on each. There are none where the rules have no
//! `instances`: then clusters have room for every task.

mod calls;
mod ec2;
mod registered;
mod scaling;

use std::collections::BTreeMap;

pub(crate) use self::registered::NONE_REGISTERED;
use super::Millis;
use super::rules::InstanceRule;
use super::space::{Event, Space};

#[derive(Debug, Clone, Default)]
pub struct Fleets {
    /// By name.
    pub groups: BTreeMap<String, Group>,
    /// By id (`i-…`), those that are not terminated.
    pub instances: BTreeMap<String, Instance>,
}

/// An Auto Scaling group.
#[derive(Debug, Clone)]
pub struct Group {
    pub name: String,
    pub stack: String,
    pub least: u64,
    pub most: u64,
    pub desired: u64,
    pub plan: GroupPlan,
    /// By key: value, and whether instances get it too.
    pub tags: BTreeMap<String, (String, bool)>,
    /// Processes that somebody suspended, and since when.
    pub suspended: BTreeMap<String, Millis>,
    /// Launches, the newest first.
    pub activities: Vec<Activity>,
    /// When a launch that failed is tried again.
    pub again: Option<Millis>,
}

/// What a group is to be, as its template says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GroupPlan {
    /// Least and most.
    pub bounds: (u64, u64),
    /// The type of its instances, and the weight of each where its types have weights.
    pub kind: String,
    pub weight: Option<u64>,
    pub zones: Vec<String>,
    /// What its instances' user data tells ECS's agent.
    pub agent: Agent,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Agent {
    /// The cluster's name.
    pub cluster: String,
    pub attributes: BTreeMap<String, String>,
}

#[derive(Debug, Clone)]
pub struct Activity {
    pub at: Millis,
    /// `Ok`: the instance.
    pub launched: Result<String, String>,
}

#[derive(Debug, Clone)]
pub struct Instance {
    pub id: String,
    /// Its group's name.
    pub group: String,
    pub launched: Millis,
    /// It was terminated, and is not gone yet.
    pub ending: bool,
    /// With which cluster, once its agent has.
    pub registered: Option<Registered>,
}

#[derive(Debug, Clone)]
pub struct Registered {
    /// Of the container instance.
    pub arn: String,
    /// The cluster's ARN.
    pub cluster: String,
    pub attributes: BTreeMap<String, String>,
    pub draining: bool,
}

impl Space {
    /// A group with as much as it has at least, as Auto Scaling makes one that names no desired capacity.
    pub fn put_group(&mut self, name: &str, stack: &str, plan: GroupPlan) {
        let (least, most) = plan.bounds;
        let group = self.fleets.groups.entry(name.to_owned()).or_insert_with(|| Group {
            name: name.to_owned(),
            stack: stack.to_owned(),
            least,
            most,
            desired: least,
            plan: GroupPlan::default(),
            tags: BTreeMap::new(),
            suspended: BTreeMap::new(),
            activities: Vec::new(),
            again: None,
        });
        (group.least, group.most, group.plan) = (least, most, plan);
        group.desired = group.desired.clamp(least, most.max(least));
        self.fit(name);
    }

    pub fn delete_group(&mut self, name: &str) {
        self.fleets.groups.remove(name);
        for id in self.members(name) {
            self.terminate(&id);
            self.ended_event(&id);
        }
    }

    /// Those that stay, oldest first.
    pub fn members(&self, group: &str) -> Vec<String> {
        let own = self.fleets.instances.values().filter(|one| one.group == group && !one.ending);
        let mut all: Vec<(Millis, String)> = own.map(|one| (one.launched, one.id.clone())).collect();
        all.sort();
        all.into_iter().map(|(_, id)| id).collect()
    }

    /// Launches what is missing, and ends what is too much, the oldest first.
    fn fit(&mut self, name: &str) {
        let (now, there) = (self.now, self.members(name));
        let Some(group) = self.fleets.groups.get(name) else { return };
        let desired = group.desired.div_ceil(group.plan.weight.unwrap_or(1)) as usize;
        let (rule, launches) = (self.instance_rule(group), !group.suspended.contains_key("Launch"));
        for id in there.iter().take(there.len().saturating_sub(desired)) {
            self.terminate(id);
        }
        for _ in there.len()..desired {
            if !launches {
                return;
            }
            let id = format!("i-{}", &self.ids.hex32()[..17]);
            let launched = match &rule.refused {
                Some(why) => Err(why.clone()),
                None => Ok(id.clone()),
            };
            let came = launched.is_ok();
            if let Some(group) = self.fleets.groups.get_mut(name) {
                group.activities.insert(0, Activity { at: now, launched });
            }
            if !came {
                return self.try_again(name);
            }
            let instance =
                Instance { id: id.clone(), group: name.to_owned(), launched: now, ending: false, registered: None };
            self.fleets.instances.insert(id.clone(), instance);
            if let Some(rules) = self.rules.instances.as_ref().filter(|_| !rule.mute) {
                self.at(now + rules.registers, Event::Instance { id });
            }
        }
    }

    /// A while after a launch that failed; there is never more than one to come.
    fn try_again(&mut self, name: &str) {
        let when = self.now + self.rules.instances.as_ref().map_or(0, |rules| rules.again).max(1);
        let Some(group) = self.fleets.groups.get_mut(name).filter(|group| group.again.is_none()) else { return };
        group.again = Some(when);
        self.at(when, Event::Group { name: name.to_owned() });
    }

    /// For as long as something is missing.
    pub fn group_event(&mut self, name: &str) {
        let now = self.now;
        let due = self.fleets.groups.get_mut(name).filter(|group| group.again.is_some_and(|at| at <= now));
        if let Some(group) = due {
            group.again = None;
            self.fit(name);
        }
    }

    /// The agent registers the instance with its cluster, where that is there.
    pub fn instance_event(&mut self, id: &str) {
        let starts = self.fleets.instances.get(id).filter(|one| !one.ending);
        let group = starts.and_then(|one| self.fleets.groups.get(&one.group));
        let Some(agent) = group.map(|group| group.plan.agent.clone()) else { return };
        let Ok(cluster) = self.cluster(Some(&agent.cluster)).map(|cluster| cluster.arn.clone()) else { return };
        let arn = self.ids.hex32();
        let arn = self.arn("ecs", &format!("container-instance/{}/{arn}", agent.cluster));
        if let Some(one) = self.fleets.instances.get_mut(id) {
            let attributes = agent.attributes;
            one.registered = Some(Registered { arn, cluster: cluster.clone(), attributes, draining: false });
        }
        self.look_at_cluster(&cluster);
    }

    /// With all that runs on it, whether that was moved before or not.
    fn terminate(&mut self, id: &str) {
        let Some(gone) = self.fleets.instances.get_mut(id).filter(|one| !one.ending) else { return };
        gone.ending = true;
        let registered = gone.registered.clone();
        let on = |task: &&super::ecs::task::Task| {
            let own = registered.as_ref().is_some_and(|own| task.instance.as_ref() == Some(&own.arn));
            own && task.is_live()
        };
        let tasks: Vec<String> = self.ecs.tasks.values().filter(on).map(|task| task.id.clone()).collect();
        for task in tasks {
            self.kill_task(&task, &format!("Host EC2 (instance {id}) terminated."));
        }
        match self.rules.instances.as_ref().map_or(0, |rules| rules.ends) {
            0 => self.ended_event(id),
            ends => self.at(self.now + ends, Event::Ended { id: id.to_owned() }),
        }
        if let Some(registered) = registered {
            self.look_at_cluster(&registered.cluster);
        }
    }

    pub fn ended_event(&mut self, id: &str) {
        let gone = self.fleets.instances.remove(id);
        if let Some(registered) = gone.and_then(|gone| gone.registered) {
            self.look_at_cluster(&registered.cluster);
        }
    }

    pub(super) fn look_at_cluster(&mut self, cluster: &str) {
        let services = self.ecs.services.values().filter(|service| service.cluster == cluster);
        let services: Vec<String> = services.map(|service| service.arn.clone()).collect();
        for service in services {
            self.look_at_service(&service);
        }
    }

    /// What goes wrong with the instances of a group: the last rule that fits.
    fn instance_rule(&self, group: &Group) -> InstanceRule {
        let mut rules = self.rules.instances.iter().flat_map(|rules| &rules.stacks);
        let fits = |rule: &&InstanceRule| group.stack.contains(&rule.stack) && group.name.contains(&rule.group);
        rules.rfind(fits).cloned().unwrap_or_default()
    }

    /// What a task on this container instance ends with, where it does not run.
    pub fn exits_on(&self, instance: &str) -> Option<i64> {
        let own = |one: &&Instance| one.registered.as_ref().is_some_and(|own| own.arn == instance);
        let group = self.fleets.instances.values().find(own).and_then(|one| self.fleets.groups.get(&one.group))?;
        self.instance_rule(group).task_exits
    }
}
