//! Task definitions: one file per revision, `family:revision` as on ECS. Content-hashed, so that registering the same again
//! gives the revision that is there.

use landfall_model::inventory::{OwnedResource, ResourceKind, TAG_CONTENT_HASH, TAG_ENVIRONMENT, Tags};
use landfall_model::task::TaskDefinition;
use landfall_ports::orchestrator::Registered;
use landfall_ports::{PortError, PortResult};
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

use crate::core::Core;
use crate::images::file_name;
use crate::secrets::LocalSecrets;
use crate::task::decide::validate;
use crate::{labels, state};

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Revision {
    handle: String,
    number: u64,
    tags: Tags,
    definition: TaskDefinition,
}

/// Registrations one at a time: two at once would take one number.
static REGISTERING: Mutex<()> = Mutex::const_new(());

fn environment(tags: &Tags) -> &str {
    tags.get(TAG_ENVIRONMENT).map_or("", String::as_str)
}

pub(crate) async fn register(core: &Core, definition: &TaskDefinition, tags: &Tags) -> PortResult<Registered> {
    validate(definition).map_err(|why| PortError::Invalid(format!("task definition {}: {why}", definition.family)))?;
    let secrets = LocalSecrets::within(&core.directory);
    for container in &definition.containers {
        secrets.check(&container.settings)?;
    }
    let text = serde_json::to_string(definition).map_err(|e| PortError::Bug(format!("task definition: {e}")))?;
    let mut tags = labels::with_instance(tags, &core.instance);
    let hash = labels::short_hash(&[&text, environment(&tags)], 64);
    tags.insert(TAG_CONTENT_HASH.to_owned(), hash.clone());
    let (definition, directory) = (definition.clone(), core.directory.join("task-definitions"));
    let _one = REGISTERING.lock().await;
    state::blocking(move || {
        let mut newest = 0;
        for revision in state::read_all::<Revision>(&directory)?.0 {
            if revision.definition.family != definition.family {
                continue;
            }
            if revision.tags.get(TAG_CONTENT_HASH) == Some(&hash) {
                return Ok(Registered { handle: revision.handle, created: false });
            }
            newest = newest.max(revision.number);
        }
        let number = newest + 1;
        let handle = format!("{}:{number}", definition.family);
        let revision = Revision { handle: handle.clone(), number, tags, definition };
        state::write_json(&directory.join(format!("{}.json", file_name(&handle))), &revision)?;
        Ok(Registered { handle, created: true })
    })
    .await
}

/// Unknown handles are fine.
pub(crate) async fn deregister(core: &Core, handle: &str) -> PortResult<()> {
    let path = core.file("task-definitions", &file_name(handle));
    state::blocking(move || state::remove(&path)).await
}

pub(crate) async fn load(core: &Core, handle: &str) -> PortResult<TaskDefinition> {
    let path = core.file("task-definitions", &file_name(handle));
    let found = state::blocking(move || state::read_json::<Revision>(&path)).await?;
    found.map(|revision| revision.definition).ok_or_else(|| PortError::NotFound(format!("no task definition {handle}")))
}

/// Of every revision that is registered, and so of every service and task, and of what a rollback may bring back.
pub(crate) async fn images(directory: &std::path::Path) -> PortResult<Vec<String>> {
    let directory = directory.join("task-definitions");
    let (all, damaged) = state::blocking(move || state::read_all::<Revision>(&directory)).await?;
    if damaged > 0 {
        return Err(PortError::Unavailable(format!("{damaged} task definitions of this machine cannot be read")));
    }
    Ok(all.into_iter().flat_map(|revision| revision.definition.containers).map(|container| container.image).collect())
}

pub(crate) async fn list_owned(core: &Core, wanted: Option<&str>) -> PortResult<Vec<OwnedResource>> {
    let directory = core.directory.join("task-definitions");
    let (all, _) = state::blocking(move || state::read_all::<Revision>(&directory)).await?;
    let of = |revision: &Revision| wanted.is_none_or(|wanted| environment(&revision.tags) == wanted);
    Ok(all
        .into_iter()
        .filter(of)
        .map(|revision| OwnedResource {
            kind: ResourceKind::TaskDefinition,
            id: revision.handle.clone(),
            name: revision.handle,
            environment: environment(&revision.tags).to_owned(),
            tags: revision.tags,
        })
        .collect())
}
