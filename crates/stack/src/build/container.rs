//! Containers of task definitions, as `landfall deploy` registers them; but for images that come with each release, which are
//! parameters.

use std::collections::BTreeMap;

use landfall_model::app::{ContainerTemplate, ImageSource, Service};
use landfall_model::names;
use landfall_model::secret::SecretId;
use landfall_model::task::{DependencyCondition, LaunchType, SecretRef};

use super::Build;
use crate::expr::{Expr, Id};
use crate::resources::NameValue;
use crate::resources::ecs::{Container, Dependency, HealthCheck, LogConfiguration, MountPoint, PortMapping, Secret};
use crate::template::Parameter;

/// MiB that a container on EC2 reserves where nothing says how much.
const LEAST_MEMORY: u32 = 128;

impl Build<'_> {
    pub(super) fn container(
        &mut self,
        service: &Service,
        container: &ContainerTemplate,
        log_group: &Expr,
        mounts: Vec<MountPoint>,
    ) -> Container {
        let mut settings = container.settings.clone();
        settings.refer_to(&self.environment.name);
        let on_instances = service.launch_type == LaunchType::Ec2;
        let no_limit = settings.memory.is_none() && service.memory.is_none() && on_instances;
        let environment = self.environment_of(container);
        // A name is either a variable or a secret: ECS refuses both.
        let secrets = settings.secrets.iter().filter(|(name, _)| !environment.contains_key(*name));
        let secret =
            |(name, from): (&String, &SecretRef)| Some(Secret { name: name.clone(), value_from: value_from(from)? });
        let secrets = secrets.filter_map(secret).collect();
        Container {
            name: container.name.clone(),
            image: self.image(service, container),
            essential: settings.essential,
            entry_point: settings.entry_point.clone(),
            command: settings.command.clone(),
            working_directory: settings.working_directory.clone(),
            user: settings.user.clone(),
            readonly_root_filesystem: settings.readonly_root_filesystem.then_some(true),
            cpu: settings.cpu,
            memory: settings.memory,
            memory_reservation: no_limit.then_some(LEAST_MEMORY),
            port_mappings: settings
                .ports
                .iter()
                .map(|port| PortMapping {
                    container_port: *port,
                    host_port: on_instances.then_some(0),
                    protocol: "tcp",
                })
                .collect(),
            environment: environment
                .into_iter()
                .map(|(name, value)| NameValue { name, value: Expr::Text(value) })
                .collect(),
            secrets,
            depends_on: settings
                .depends_on
                .iter()
                .map(|one| Dependency { container_name: one.container.clone(), condition: condition(one.condition) })
                .collect(),
            health_check: settings.health_check.as_ref().map(|check| HealthCheck {
                command: check.command.clone(),
                interval: check.interval,
                timeout: check.timeout,
                retries: check.retries,
                start_period: check.start_period,
            }),
            stop_timeout: settings.stop_timeout,
            mount_points: mounts,
            log_configuration: Some(LogConfiguration {
                log_driver: "awslogs",
                options: BTreeMap::from([
                    ("awslogs-group", log_group.clone()),
                    ("awslogs-region", Expr::Pseudo("AWS::Region")),
                    ("awslogs-stream-prefix", Expr::Text(self.full_name(&service.name))),
                ]),
            }),
        }
    }

    fn environment_of(&self, container: &ContainerTemplate) -> BTreeMap<String, String> {
        let mut environment = container.settings.environment.clone();
        environment.extend(self.environment.variables.clone());
        environment.insert("LANDFALL_ENVIRONMENT".to_owned(), self.environment.id(&self.app.project).to_string());
        environment.insert("LANDFALL_PROJECT".to_owned(), self.app.project.clone());
        environment.extend(self.named_url().map(|url| ("LANDFALL_URL".to_owned(), url)));
        environment
    }

    /// What is the same for every release stands in the template; all others are given with each change of the stack.
    fn image(&mut self, service: &Service, container: &ContainerTemplate) -> Expr {
        let awaited = match &container.image {
            ImageSource::Reference(image) => return Expr::text(image),
            ImageSource::Await(source) => Some(&source.image),
            ImageSource::Build(_) | ImageSource::Base => None,
        };
        let id = Id::of(&[&service.name, &container.name, "Image"]);
        let (name, of) = (&container.name, &service.name);
        let parameter = Parameter {
            r#type: "String",
            description: match awaited {
                Some(image) => format!("Image of container {name} of service {of}, best by digest: {image}"),
                None => format!("Image of container {name} of service {of}, best by digest"),
            },
            default: awaited.and_then(|image| self.filled(image)),
            allowed_pattern: Some("\\S+"),
            allowed_values: Vec::new(),
            constraint_description: Some("an image reference"),
        };
        self.draft.parameter(id, parameter)
    }

    /// The image that is awaited for the commit; `None` where something else is needed to know it.
    fn filled(&self, image: &str) -> Option<String> {
        filled(image, &self.app.project, self.commit?)
    }
}

/// `None`: it has placeholders that only a branch or a tag fills.
pub fn filled(image: &str, project: &str, commit: &str) -> Option<String> {
    names::filled(image, project, || Err(()), || Ok(commit)).ok().filter(|filled| !filled.contains('{'))
}

fn condition(condition: DependencyCondition) -> &'static str {
    match condition {
        DependencyCondition::Start => "START",
        DependencyCondition::Complete => "COMPLETE",
        DependencyCondition::Success => "SUCCESS",
        DependencyCondition::Healthy => "HEALTHY",
    }
}

/// `valueFrom`. Secrets Manager's are known by ARN only; one without its six random characters finds the secret by name.
fn value_from(secret: &SecretRef) -> Option<Expr> {
    match secret {
        SecretRef::Ssm(name) => Some(Expr::text(name)),
        SecretRef::SecretsManager(text) => {
            let SecretId { id, key, stage, version } = SecretId::parse(text);
            // As soon as there is one, every colon, with nothing between where nothing is said.
            let parts = [key, stage, version].map(Option::unwrap_or_default);
            let rest = if parts.concat().is_empty() { String::new() } else { format!(":{}", parts.join(":")) };
            Some(match id.starts_with("arn:") {
                true => Expr::text(format!("{id}{rest}")),
                false => Expr::sub(format!("{}:secret:{id}{rest}", arn("secretsmanager"))),
            })
        }
        // Refused by the manifest's checks: nothing of Landfall's host is on AWS.
        SecretRef::Env(_) | SecretRef::File(_) => None,
    }
}

/// Of this account and region.
pub(super) fn arn(service: &str) -> String {
    format!("arn:${{AWS::Partition}}:{service}:${{AWS::Region}}:${{AWS::AccountId}}")
}

/// As a policy names it.
pub(super) fn secret_resource(secret: &SecretRef) -> Option<Expr> {
    match secret {
        SecretRef::Ssm(name) if name.starts_with("arn:") => Some(Expr::text(name)),
        SecretRef::Ssm(name) => Some(Expr::sub(format!("{}:parameter/{}", arn("ssm"), name.trim_start_matches('/')))),
        SecretRef::SecretsManager(text) => {
            let SecretId { id, .. } = SecretId::parse(text);
            Some(match id.starts_with("arn:") {
                true => Expr::text(id),
                false => Expr::sub(format!("{}:secret:{id}-??????", arn("secretsmanager"))),
            })
        }
        SecretRef::Env(_) | SecretRef::File(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_as_ecs_and_as_policies_name_them() {
        const ARN: &str = "arn:aws:secretsmanager:eu-west-1:111122223333:secret:db-AbCdEf";
        let of = |text: &str| {
            let secret = SecretRef::SecretsManager(text.to_owned());
            let within = |expr: Option<Expr>| expr.unwrap().within();
            (within(value_from(&secret)), within(secret_resource(&secret)))
        };
        let ours = arn("secretsmanager");
        assert_eq!(of(ARN), (ARN.to_owned(), ARN.to_owned()));
        assert_eq!(of(&format!("{ARN}:password")), (format!("{ARN}:password::"), ARN.to_owned()));
        assert_eq!(of("db"), (format!("{ours}:secret:db"), format!("{ours}:secret:db-??????")));
        assert_eq!(of("db:user:AWSPREVIOUS").0, format!("{ours}:secret:db:user:AWSPREVIOUS:"));
        let parameter = SecretRef::Ssm("/shop/key".to_owned());
        assert_eq!(value_from(&parameter), Some(Expr::text("/shop/key")));
        assert_eq!(secret_resource(&parameter).unwrap().within(), format!("{}:parameter/shop/key", arn("ssm")));
    }
}
