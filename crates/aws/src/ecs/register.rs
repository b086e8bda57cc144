//! Registering and reading task definitions. A revision never changes, so what was read of one is kept.

use std::collections::BTreeMap;
use std::sync::Arc;

use aws_sdk_ecs::operation::register_task_definition::builders::RegisterTaskDefinitionFluentBuilder;
use aws_sdk_ecs::types as ecs;
use landfall_model::inventory::{TAG_CONTENT_HASH, TAG_ENVIRONMENT, Tags};
use landfall_model::secret::variables_of;
use landfall_model::task::{ContainerDefinition, TaskDefinition};
use landfall_ports::orchestrator::Registered;
use landfall_ports::secrets::SecretStore as _;
use landfall_ports::{PortError, PortResult};

use super::definition::{self, ValueFrom};
use super::secrets::{self, Source};
use super::{Ecs, locked};
use crate::budget::Family;
use crate::call::Call;
use crate::secret_store::AwsSecrets;
use crate::tags;

/// A registered revision.
pub(crate) struct Revision {
    pub arn: String,
    pub definition: ecs::TaskDefinition,
    pub tags: Tags,
    pub active: bool,
}

/// What shall be registered, and what it was made of.
pub(crate) struct Made {
    pub made: ecs::TaskDefinition,
    /// The exact revision that it was laid over.
    base: Option<String>,
    secrets: BTreeMap<String, ValueFrom>,
}

/// Revisions kept; enough for thousands of environments, and a bound for a daemon that runs for years.
const KEPT: usize = 8192;

impl Ecs {
    /// The newest revision's hash is compared, and that of a revision that this process registered or found before. Older ones
    /// are not searched: that would cost a call each, and all it could save is a revision.
    pub(crate) async fn register(&self, definition: &TaskDefinition, tags: &Tags) -> PortResult<Registered> {
        let mut tags = self.core.tags(tags);
        let Made { made, base, secrets } = self.made(definition).await?;
        let environment = tags.get(TAG_ENVIRONMENT).cloned().unwrap_or_default();
        let (target, instance) = (&self.core.target, &self.core.options.instance);
        let hash = definition::content_hash(definition, base.as_deref(), target, &secrets, &environment, instance)?;
        if let Some(found) = self.find(&definition.family, &hash, &environment).await? {
            return Ok(Registered { handle: found, created: false });
        }
        tags.insert(TAG_CONTENT_HASH.to_owned(), hash.clone());
        tags::check(&tags)?;
        let revision = self.send(made, tags).await?;
        locked(&self.registered).insert((definition.family.clone(), hash), revision.arn.clone());
        Ok(Registered { handle: revision.arn.clone(), created: true })
    }

    /// What `register` sends, but for tags. Changes nothing.
    pub(crate) async fn made(&self, definition: &TaskDefinition) -> PortResult<Made> {
        let base = match &definition.base {
            Some(base) => Some(self.base(base).await?),
            None => None,
        };
        let mut secrets = BTreeMap::new();
        for container in &definition.containers {
            secrets.insert(container.name.clone(), self.value_from(container).await?);
        }
        let below = base.as_ref().map(|base| &base.definition);
        let made = definition::build(definition, below, &self.core.target, &self.core.region, &secrets)?;
        Ok(Made { made, base: base.map(|base| base.arn.clone()), secrets })
    }

    async fn find(&self, family: &str, hash: &str, environment: &str) -> PortResult<Option<String>> {
        let same = |revision: &Revision| {
            revision.active
                && revision.tags.get(TAG_CONTENT_HASH).is_some_and(|tag| tag == hash)
                && tags::ours(&revision.tags, &self.core.options.instance, Some(environment))
        };
        if let Some(newest) = self.read_definition(family).await?
            && same(&newest)
        {
            return Ok(Some(newest.arn.clone()));
        }
        let known = locked(&self.registered).get(&(family.to_owned(), hash.to_owned())).cloned();
        let Some(known) = known else { return Ok(None) };
        let again = self.read_definition(&known).await?;
        Ok(again.filter(|revision| same(revision)).map(|revision| revision.arn.clone()))
    }

    async fn base(&self, base: &str) -> PortResult<Arc<Revision>> {
        // Without a revision it is the family's newest one, which changes.
        let found = if base.rsplit('/').next().is_some_and(|name| name.contains(':')) {
            self.definition(base).await?
        } else {
            self.read_definition(base).await?
        };
        found.ok_or_else(|| {
            PortError::NotFound(format!(
                "base task definition {base} is not registered in {}: register it, or correct `base_task_definition`",
                self.core.region
            ))
        })
    }

    async fn value_from(&self, container: &ContainerDefinition) -> PortResult<ValueFrom> {
        let mut all = ValueFrom::new();
        for (variable, reference) in &container.settings.secrets {
            let from = match secrets::source(variable, reference)? {
                Source::ValueFrom(from) => from,
                Source::Lookup(secret) => {
                    secrets::value_from(&crate::secrets::arn(&self.core, secret.id).await?, &secret)
                }
            };
            all.insert(variable.clone(), from);
        }
        all.extend(self.under_paths(container).await?);
        Ok(all)
    }

    /// By variable, every parameter under the container's paths. Names alone are asked for.
    async fn under_paths(&self, container: &ContainerDefinition) -> PortResult<ValueFrom> {
        let settings = &container.settings;
        let store = AwsSecrets::new(Arc::clone(&self.core), Arc::clone(&self.signer));
        let mut found = Vec::new();
        for path in &settings.secret_paths {
            let parameters = store.under(path).await?;
            if parameters.is_empty() {
                return Err(PortError::NotFound(format!(
                    "no parameter is under {path} in {}: `landfall secrets set` makes one, or correct `secret_paths`",
                    self.core.region
                )));
            }
            found.push((path.clone(), parameters));
        }
        let taken = |name: &str| settings.environment.contains_key(name) || settings.secrets.contains_key(name);
        variables_of(&found, taken).map_err(|why| PortError::Invalid(format!("container {}: {why}", container.name)))
    }

    pub(crate) fn registration(&self, made: ecs::TaskDefinition, tags: &Tags) -> RegisterTaskDefinitionFluentBuilder {
        (self.core.clients.ecs.register_task_definition())
            .set_family(made.family)
            .set_task_role_arn(made.task_role_arn)
            .set_execution_role_arn(made.execution_role_arn)
            .set_network_mode(made.network_mode)
            .set_container_definitions(made.container_definitions)
            .set_volumes(made.volumes)
            .set_placement_constraints(made.placement_constraints)
            .set_requires_compatibilities(made.requires_compatibilities)
            .set_cpu(made.cpu)
            .set_memory(made.memory)
            .set_pid_mode(made.pid_mode)
            .set_ipc_mode(made.ipc_mode)
            .set_proxy_configuration(made.proxy_configuration)
            .set_ephemeral_storage(made.ephemeral_storage)
            .set_runtime_platform(made.runtime_platform)
            .set_enable_fault_injection(made.enable_fault_injection)
            .set_tags(Some(super::to_tags(tags)))
    }

    async fn send(&self, made: ecs::TaskDefinition, tags: Tags) -> PortResult<Arc<Revision>> {
        let resource = format!("task definition {}", made.family.as_deref().unwrap_or_default());
        let request = self.registration(made, &tags);
        let call = Call::ecs("RegisterTaskDefinition", Family::TaskDefinitionModify, &resource);
        let answer = self.core.caller.call(call, || request.clone().send()).await?;
        let registered = answer
            .task_definition
            .filter(|definition| definition.task_definition_arn.is_some())
            .ok_or_else(|| PortError::Unavailable(format!("{}: the answer names no revision", call.what())))?;
        Ok(self.keep(registered, tags))
    }

    /// A revision by `family:revision` or ARN, out of memory if it was read before. Whether it is active may be old then.
    pub(crate) async fn definition(&self, handle: &str) -> PortResult<Option<Arc<Revision>>> {
        let name = revision_name(handle);
        let kept = locked(&self.definitions).get(name).cloned();
        match kept {
            Some(kept) => Ok(Some(kept)),
            None => self.read_definition(handle).await,
        }
    }

    /// As ECS has it now; of a family, its newest active revision.
    pub(crate) async fn read_definition(&self, handle: &str) -> PortResult<Option<Arc<Revision>>> {
        Ok(self.describe_definition(handle).await?.map(|(found, tags)| self.keep(found, tags)))
    }

    /// As `read_definition`, and nothing is kept.
    pub(crate) async fn describe_definition(&self, handle: &str) -> PortResult<Option<(ecs::TaskDefinition, Tags)>> {
        let resource = format!("task definition {handle}");
        let call = Call::ecs("DescribeTaskDefinition", Family::TaskDefinitionRead, &resource);
        let request = (self.core.clients.ecs.describe_task_definition())
            .task_definition(handle)
            .include(ecs::TaskDefinitionField::Tags);
        match self.core.caller.call(call, || request.clone().send()).await {
            Ok(answer) => {
                let tags = super::from_tags(&answer.tags.unwrap_or_default());
                let found = answer.task_definition.filter(|found| found.task_definition_arn.is_some());
                Ok(found.map(|found| (found, tags)))
            }
            // ECS's answer for what it does not know; a bad name is an InvalidParameterException.
            Err(failed) if failed.is("ClientException") && matches!(failed.error, PortError::Invalid(_)) => Ok(None),
            Err(failed) if failed.not_found() => Ok(None),
            Err(failed) => Err(failed.into()),
        }
    }

    pub(crate) fn keep(&self, definition: ecs::TaskDefinition, tags: Tags) -> Arc<Revision> {
        let arn = definition.task_definition_arn.clone().unwrap_or_default();
        let active = definition.status.as_ref().is_none_or(|status| *status == ecs::TaskDefinitionStatus::Active);
        let revision = Arc::new(Revision { arn: arn.clone(), definition, tags, active });
        let mut kept = locked(&self.definitions);
        if kept.len() >= KEPT {
            kept.clear();
        }
        kept.insert(revision_name(&arn).to_owned(), Arc::clone(&revision));
        revision
    }

    pub(crate) async fn deregister(&self, handle: &str) -> PortResult<()> {
        let resource = format!("task definition {handle}");
        let call = Call::ecs("DeregisterTaskDefinition", Family::TaskDefinitionModify, &resource);
        let request = self.core.clients.ecs.deregister_task_definition().task_definition(handle);
        locked(&self.definitions).remove(revision_name(handle));
        locked(&self.registered).retain(|_, arn| !same_revision(arn, handle));
        match self.core.caller.call(call, || request.clone().send()).await {
            Ok(_) => Ok(()),
            Err(failed) if failed.not_found() => Ok(()),
            Err(failed) if failed.is("ClientException") || failed.is("InvalidParameterException") => {
                // Unknown or inactive already, in words that differ: look.
                match self.read_definition(handle).await? {
                    Some(revision) if revision.active => Err(failed.into()),
                    _ => Ok(()),
                }
            }
            Err(failed) => Err(failed.into()),
        }
    }
}

/// `family:revision` out of an ARN.
pub(crate) fn revision_name(handle: &str) -> &str {
    handle.rsplit('/').next().unwrap_or(handle)
}

pub(crate) fn same_revision(one: &str, other: &str) -> bool {
    revision_name(one) == revision_name(other)
}
