//! A task definition given with a deployment, as the GitHub action takes it: it is registered instead of the service's own, and
//! nothing else of the service changes.

use landfall_model::app::{App, ContainerTemplate, ImageSource, LongLivedEnvironment, ServiceDocuments};
use landfall_model::task::ContainerSettings;
use serde_json::{Value, json};

use crate::control::ControlError;

/// The manifest with `document` in the place of the chosen service's task definition.
pub(super) fn app(
    app: &App,
    environment: &LongLivedEnvironment,
    services: &[String],
    document: &Value,
) -> Result<App, ControlError> {
    let invalid = |message: String| ControlError::Invalid(message);
    if environment.on.is_none() {
        return Err(invalid(format!("{} is on this machine: a task definition is for ECS", environment.name)));
    }
    let name = match (services, environment.services.as_slice()) {
        ([one], _) | ([], [one]) => one,
        _ => return Err(invalid("a task definition is of one service: say which by `--service`".to_owned())),
    };
    let mut app = app.clone();
    let service = app.services.get_mut(name);
    let service = service.ok_or_else(|| ControlError::NotFound(format!("there is no service {name}")))?;
    let containers = document["containerDefinitions"].as_array().map(Vec::as_slice).unwrap_or_default();
    let template = |container: &Value| {
        let text = |key: &str| container[key].as_str().unwrap_or_default().to_owned();
        let settings = ContainerSettings { essential: true, stop_timeout: 30, ..ContainerSettings::default() };
        ContainerTemplate { name: text("name"), image: ImageSource::Reference(text("image")), settings }
    };
    service.containers = containers.iter().map(template).collect();
    let own = service.documents.take().map_or(json!({}), |documents| documents.service);
    service.documents = Some(ServiceDocuments { task_definition: document.clone(), service: own });
    Ok(app)
}
