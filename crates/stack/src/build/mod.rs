//! From the manifest to a template: what there is, and how it hangs together. One file for each part of the picture.

mod balancer;
mod cluster;
mod container;
mod network;
mod roles;
mod scaling;
mod schedule;
mod service;
mod storage;

pub use container::filled;

use std::collections::BTreeMap;

use landfall_model::app::{App, LongLivedEnvironment, Service};
use landfall_model::aws::AwsTarget;
use landfall_model::inventory::TAG_ENVIRONMENT;
use landfall_model::stack::Stack;

use crate::expr::{Expr, Id};
use crate::resources::Tag;
use crate::template::{Draft, Template};

/// No template can be made of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    #[error("no environment called `{0}`")]
    NoEnvironment(String),
    #[error("environment {0} has no `stack`")]
    NoStack(String),
    #[error("environment {0} is not on AWS: its `on` names no place under `aws`")]
    NoPlace(String),
    #[error(
        "two things would both be `{0}` in the template: give one of the services, volumes or schedules another name"
    )]
    SameId(Id),
    #[error("{0}")]
    Unsupported(String),
}

/// The template of a lasting environment with a `stack`. `commit`: images that are awaited for it become the parameters' defaults.
///
/// # Errors
/// An environment that is none, or has what no stack can hold. A manifest that was checked has neither.
pub fn template(app: &App, environment: &str, commit: Option<&str>) -> Result<Template, Unfit> {
    let name = environment;
    let environment = app.environments.get(name).ok_or_else(|| Unfit::NoEnvironment(name.to_owned()))?;
    let stack = environment.stack.as_ref().ok_or_else(|| Unfit::NoStack(name.to_owned()))?;
    let target = environment.on.as_ref().and_then(|on| app.aws.get(on));
    let target = target.ok_or_else(|| Unfit::NoPlace(name.to_owned()))?;
    let named = environment.services.iter();
    let services: Vec<&Service> = named.filter_map(|name| app.services.get(name)).collect();
    let mut build = Build { app, environment, stack, target, services, commit, draft: Draft::default() };
    build.fits()?;
    build.all();
    build.draft.distinct().map_err(Unfit::SameId)?;
    let project = &app.project;
    let description = format!("{project}, {name}. Made by `landfall template {name}`: change the manifest, not this.");
    Ok(build.draft.done(description))
}

struct Build<'a> {
    app: &'a App,
    environment: &'a LongLivedEnvironment,
    stack: &'a Stack,
    target: &'a AwsTarget,
    services: Vec<&'a Service>,
    commit: Option<&'a str>,
    draft: Draft,
}

impl<'a> Build<'a> {
    fn fits(&self) -> Result<(), Unfit> {
        for service in &self.services {
            let name = &service.name;
            if service.base_task_definition.is_some() || service.documents.is_some() {
                return Err(Unfit::Unsupported(format!(
                    "service {name} is laid over a task definition that is registered elsewhere: a stack holds the whole of its own"
                )));
            }
            if !service.deployment.strategy.is_default() {
                return Err(Unfit::Unsupported(format!("service {name}: a stack deploys by `rolling` only")));
            }
        }
        Ok(())
    }

    fn all(&mut self) {
        let network = self.network();
        let cluster = self.cluster(&network);
        let balancer = self.balancer(&network);
        let groups: BTreeMap<&'a str, Id> = self.task_groups(&network, balancer.as_ref());
        let volumes = self.volumes(&network, &groups);
        let services = self.services.clone();
        let mut made = BTreeMap::new();
        for service in services {
            let one = self.service(service, &network, &cluster, balancer.as_ref(), &groups, &volumes);
            made.insert(service.name.as_str(), one);
        }
        self.schedules(&cluster, &made);
        self.draft.output("Cluster", "The cluster's name", cluster.name.clone());
    }

    /// `my-project@prod`, as everything of this environment has it.
    fn tags(&self) -> Vec<Tag> {
        vec![Tag { key: TAG_ENVIRONMENT, value: Expr::text(self.environment.id(&self.app.project).to_string()) }]
    }

    /// Beside those of [`Self::tags`] a name, which is what the console shows of a network's parts.
    fn named(&self, what: &str) -> Vec<Tag> {
        let name = format!("{}-{} {what}", self.app.project, self.environment.name);
        let mut tags = vec![Tag { key: "Name", value: Expr::text(name) }];
        tags.extend(self.tags());
        tags
    }

    /// The service's own and its family's, as `landfall deploy` names them.
    fn full_name(&self, service: &str) -> String {
        let given = self.environment.names.get(service).cloned();
        given.unwrap_or_else(|| format!("{}-{}-{service}", self.app.project, self.environment.name))
    }

    /// `project-environment`, of what is not a service's.
    fn prefix(&self) -> String {
        format!("{}-{}", self.app.project, self.environment.name)
    }
}
