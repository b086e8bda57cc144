//! What we read of the engine's answers and write into its requests; everything else is ignored.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};

/// `null` where Docker writes an empty map or list.
fn nullable<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(deserializer: D) -> Result<T, D::Error> {
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Version {
    pub api_version: String,
    #[serde(rename = "MinAPIVersion")]
    pub min_api_version: String,
    pub version: String,
    /// Its answer to a ping says so.
    #[serde(skip)]
    pub podman: bool,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Info {
    #[serde(deserialize_with = "nullable")]
    pub security_options: Vec<String>,
    pub operating_system: String,
    pub rootless: bool,
    pub memory_limit: bool,
    pub cpu_cfs_quota: bool,
    /// `1` or `2`.
    pub cgroup_version: String,
    /// `systemd`, `cgroupfs` or `none`.
    pub cgroup_driver: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ContainerSummary {
    pub id: String,
    #[serde(deserialize_with = "nullable")]
    pub names: Vec<String>,
    #[serde(deserialize_with = "nullable")]
    pub labels: BTreeMap<String, String>,
    pub state: String,
}

impl ContainerSummary {
    pub fn name(&self) -> &str {
        self.names.first().map_or("", |name| name.trim_start_matches('/'))
    }
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ContainerInspect {
    pub id: String,
    pub name: String,
    pub state: ContainerState,
    pub log_path: String,
    pub config: ContainerConfig,
    pub network_settings: NetworkSettings,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ContainerState {
    /// created, running, paused, exited, dead; Podman also: configured, initialized, stopping, stopped, removing.
    pub status: String,
    pub pid: i64,
    pub exit_code: i64,
    #[serde(rename = "OOMKilled")]
    pub oom_killed: bool,
    pub error: String,
    pub started_at: String,
}

impl ContainerState {
    /// Podman shows `stopped` for about 0.2 s before `exited`.
    pub fn exited(&self) -> bool {
        matches!(self.status.as_str(), "exited" | "stopped" | "dead")
    }

    pub fn running(&self) -> bool {
        matches!(self.status.as_str(), "running" | "stopping" | "paused" | "restarting")
    }
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ContainerConfig {
    #[serde(deserialize_with = "nullable")]
    pub labels: BTreeMap<String, String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct NetworkSettings {
    #[serde(rename = "IPAddress")]
    pub ip_address: String,
    #[serde(deserialize_with = "nullable")]
    pub networks: BTreeMap<String, Endpoint>,
    #[serde(deserialize_with = "nullable")]
    pub ports: BTreeMap<String, Option<Vec<PortBinding>>>,
}

impl NetworkSettings {
    pub fn address(&self) -> Option<&str> {
        let of_network = self.networks.values().map(|endpoint| endpoint.ip_address.as_str());
        of_network.chain([self.ip_address.as_str()]).find(|address| !address.is_empty())
    }

    /// The host port that a container port was published on.
    pub fn published(&self, port: u16) -> Option<u16> {
        self.ports.get(&format!("{port}/tcp"))?.as_ref()?.first()?.host_port.parse().ok()
    }
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Endpoint {
    #[serde(rename = "IPAddress")]
    pub ip_address: String,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct PortBinding {
    pub host_ip: String,
    pub host_port: String,
}

/// The body of `POST /containers/create`.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct CreateContainer {
    pub image: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub entrypoint: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cmd: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub working_dir: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    pub labels: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub exposed_ports: BTreeMap<String, Empty>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub healthcheck: Option<Healthcheck>,
    pub host_config: HostConfig,
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Healthcheck {
    test: Vec<&'static str>,
}

impl Healthcheck {
    /// Also not the one that the image names.
    pub fn none() -> Self {
        Self { test: vec!["NONE"] }
    }
}

#[derive(Debug, Clone, Default, Serialize)]
pub struct Empty {}

#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct HostConfig {
    pub network_mode: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub port_bindings: BTreeMap<String, Vec<PortBinding>>,
    /// Bytes; 0: none.
    #[serde(skip_serializing_if = "is_zero")]
    pub memory: i64,
    #[serde(skip_serializing_if = "is_zero")]
    pub cpu_shares: i64,
    /// Billionths of a processor.
    #[serde(skip_serializing_if = "is_zero")]
    pub nano_cpus: i64,
    pub readonly_rootfs: bool,
    pub log_config: LogConfig,
}

fn is_zero(value: &i64) -> bool {
    *value == 0
}

#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct LogConfig {
    pub r#type: String,
    pub config: BTreeMap<String, String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Created {
    pub id: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ImageSummary {
    pub id: String,
    #[serde(deserialize_with = "nullable")]
    pub repo_tags: Vec<String>,
    #[serde(deserialize_with = "nullable")]
    pub repo_digests: Vec<String>,
    #[serde(deserialize_with = "nullable")]
    pub labels: BTreeMap<String, String>,
    pub created: i64,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ImageInspect {
    pub id: String,
    #[serde(deserialize_with = "nullable")]
    pub repo_tags: Vec<String>,
    #[serde(deserialize_with = "nullable")]
    pub repo_digests: Vec<String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Network {
    /// In lower case in Podman's own API.
    #[serde(alias = "id")]
    pub id: String,
    #[serde(alias = "name")]
    pub name: String,
    #[serde(alias = "labels", deserialize_with = "nullable")]
    pub labels: BTreeMap<String, String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ExecInspect {
    pub running: bool,
    #[serde(deserialize_with = "nullable")]
    pub exit_code: i64,
    pub pid: i64,
}

/// One line of the stream of a build or a pull.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct ProgressLine {
    pub id: Option<String>,
    pub stream: Option<String>,
    pub status: Option<String>,
    pub error: Option<String>,
    #[serde(rename = "errorDetail")]
    pub error_detail: Option<ErrorDetail>,
    /// An object that has the image's `ID`, or text of BuildKit's.
    pub aux: Option<serde_json::Value>,
}

impl ProgressLine {
    pub fn image(&self) -> Option<&str> {
        self.aux.as_ref()?.get("ID")?.as_str().filter(|id| !id.is_empty())
    }

    pub fn failure(&self) -> Option<String> {
        let detail = self.error_detail.as_ref().map(|detail| detail.message.clone()).filter(|text| !text.is_empty());
        detail.or_else(|| self.error.clone())
    }
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct ErrorDetail {
    pub message: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn podmans_stopped_is_exited() {
        let state = |status: &str| ContainerState { status: status.to_owned(), ..ContainerState::default() };
        assert!(state("stopped").exited() && state("exited").exited());
        assert!(state("stopping").running());
        assert!(!state("created").running() && !state("created").exited());
        assert!(!state("something new").exited());
    }

    #[test]
    fn tolerates_nulls_and_strangers() {
        let text = r#"{"Id":"x","Names":null,"Labels":null,"State":"quantum","Whatever":{"a":1}}"#;
        let summary: ContainerSummary = serde_json::from_str(text).unwrap();
        assert_eq!((summary.name(), summary.state.as_str()), ("", "quantum"));
    }

    #[test]
    fn published_port_and_address() {
        let text = r#"{"IPAddress":"","Networks":{"n":{"IPAddress":"10.89.0.5"}},
            "Ports":{"80/tcp":[{"HostIp":"127.0.0.1","HostPort":"40001"}],"81/tcp":null}}"#;
        let settings: NetworkSettings = serde_json::from_str(text).unwrap();
        assert_eq!(settings.address(), Some("10.89.0.5"));
        assert_eq!((settings.published(80), settings.published(81)), (Some(40001), None));
    }
}
