//! How an instance begins: its volumes, and what it is told when it starts.

use landfall_stack::resources::network::{BlockDevice, Ebs};

use super::{BOTTLEROCKET_DATA, ROOT_DEVICE, Unfit};
use crate::infra::{Image, Infra};
use crate::names::{Version, attributes};

/// Bytes before they are encoded
/// (<https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instancedata-add-user-data.html>).
pub(crate) const MOST_USER_DATA: usize = 16_384;
/// The line that ends somebody else's script within ours.
pub(crate) const SCRIPT_END: &str = "LANDFALL_USER_DATA";

/// What an instance of a fleet or group is told. `timeout`: how long a task may take to stop. `script`: the text of `user_data`.
///
/// # Errors
/// It is too long, or cannot be put into a script.
pub fn user_data(
    infra: &Infra,
    version: &Version,
    fleet: &str,
    timeout: &str,
    script: Option<&str>,
) -> Result<String, Unfit> {
    let attributes = [
        (attributes::ASG_VERSION, version.as_str()),
        (attributes::CLUSTER_NAME, infra.name.as_str()),
        (attributes::FLEET, fleet),
        (attributes::VERSION, version.as_str()),
    ];
    let text = match infra.image {
        Image::Bottlerocket => settings(&infra.name, timeout, &attributes),
        Image::AmazonLinux2023 | Image::Ami(_) => shell(infra, timeout, &attributes, script)?,
    };
    if text.len() > MOST_USER_DATA { Err(Unfit::UserData(text.len())) } else { Ok(text) }
}

/// Names and values here are letters, digits, `-`, `_` and `.`: nothing needs to be quoted within.
fn settings(cluster: &str, timeout: &str, attributes: &[(&str, &str)]) -> String {
    let mut text = format!(
        "[settings.ecs]\ncluster = \"{cluster}\"\nawsvpc-block-imds = true\ncontainer-stop-timeout = \"{timeout}\"\n\
         enable-container-metadata = true\nenable-spot-instance-draining = true\nimage-pull-behavior = \"once\"\n\n\
         [settings.ecs.instance-attributes]\n"
    );
    for (name, value) in attributes {
        text.push_str(&format!("\"{name}\" = \"{value}\"\n"));
    }
    text
}

/// cloud-init runs it before ECS's agent starts. What fails keeps the agent from starting: an instance without its mounts takes no tasks.
fn shell(infra: &Infra, timeout: &str, attributes: &[(&str, &str)], script: Option<&str>) -> Result<String, Unfit> {
    let attributes: Vec<String> = attributes.iter().map(|(name, value)| format!("\"{name}\":\"{value}\"")).collect();
    let mut text = format!(
        "#!/bin/bash\nset -euo pipefail\ntrap 'systemctl mask ecs' ERR\n\
         cat >>/etc/ecs/ecs.config <<'CONFIG'\n\
         ECS_CLUSTER={}\n\
         ECS_AWSVPC_BLOCK_IMDS=true\n\
         ECS_CONTAINER_STOP_TIMEOUT={timeout}\n\
         ECS_ENABLE_CONTAINER_METADATA=true\n\
         ECS_ENABLE_SPOT_INSTANCE_DRAINING=true\n\
         ECS_ENABLE_TASK_ENI=true\n\
         ECS_ENABLE_TASK_IAM_ROLE=true\n\
         ECS_IMAGE_PULL_BEHAVIOR=once\n\
         ECS_INSTANCE_ATTRIBUTES={{{}}}\n\
         CONFIG\n",
        infra.name,
        attributes.join(",")
    );
    if !infra.efs.is_empty() {
        text.push_str("command -v mount.efs >/dev/null || dnf install -y amazon-efs-utils\n");
    }
    for mount in &infra.efs {
        let (id, path) = (&mount.id, &mount.path);
        text.push_str(&format!(
            "mkdir -p {path}\necho '{id}:/ {path} efs _netdev,tls 0 0' >>/etc/fstab\nmount {path}\n"
        ));
    }
    if let Some(script) = script {
        if script.lines().any(|line| line == SCRIPT_END) {
            return Err(Unfit::Delimiter(SCRIPT_END));
        }
        let script = script.trim_end_matches('\n');
        text.push_str(&format!(
            "install -d -m 0700 /var/lib/landfall\ncat >/var/lib/landfall/user-data <<'{SCRIPT_END}'\n{script}\n{SCRIPT_END}\n\
             chmod 0700 /var/lib/landfall/user-data\n/var/lib/landfall/user-data\n"
        ));
    }
    Ok(text)
}

/// Encrypted, all of them, those of the image itself too; but of an image that is somebody's own nobody here knows the root device, and
/// another volume at `/dev/xvda` would be one too many.
pub(super) fn volumes(infra: &Infra) -> Vec<BlockDevice> {
    let volume = |device: &str, size: Option<u32>| BlockDevice {
        device_name: device.to_owned(),
        ebs: Ebs { encrypted: true, volume_type: "gp3", volume_size: size, delete_on_termination: true },
    };
    let own: &[&str] = match infra.image {
        Image::Bottlerocket => &[ROOT_DEVICE, BOTTLEROCKET_DATA],
        Image::AmazonLinux2023 => &[ROOT_DEVICE],
        Image::Ami(_) => &[],
    };
    let unnamed = own.iter().filter(|device| !infra.ebs.iter().any(|one| one.device == **device));
    let mut all: Vec<BlockDevice> = unnamed.map(|device| volume(device, None)).collect();
    all.extend(infra.ebs.iter().map(|one| volume(&one.device, Some(one.size))));
    all.sort_by(|a, b| a.device_name.cmp(&b.device_name));
    all
}
