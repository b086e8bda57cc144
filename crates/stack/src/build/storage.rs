//! Files that outlive tasks: EFS, reached by the services that mount it and by nobody else.

use std::collections::BTreeMap;

use super::Build;
use super::network::Network;
use crate::expr::{Expr, Id};
use crate::resources::Properties;
use crate::resources::around::{BackupPolicy, FileSystem as FileSystemProperties, MountTarget};
use crate::resources::ecs::{EfsAuthorization, EfsVolume, MountPoint, Volume};
use crate::resources::network::{Ingress, SecurityGroup};

const NFS: u16 = 2_049;

/// By the volume's name.
pub(super) type Volumes = BTreeMap<String, FileSystem>;

pub(super) struct FileSystem {
    pub id: Expr,
    pub arn: Expr,
    /// Services that mount it wait for these.
    pub targets: Vec<Id>,
}

impl<'a> Build<'a> {
    /// The names of volumes that a service mounts, and whether it writes to them.
    pub(super) fn mounted(&self, service: &str) -> Vec<(&'a str, bool)> {
        let mut mounted = Vec::new();
        for (name, volume) in &self.stack.volumes {
            let own = || volume.mounts.iter().filter(|mount| mount.service == service);
            if own().next().is_some() {
                mounted.push((name.as_str(), own().any(|mount| !mount.read_only)));
            }
        }
        mounted
    }

    pub(super) fn mount_points(&self, service: &str, container: &str) -> Vec<MountPoint> {
        let all = self.stack.volumes.iter().flat_map(|(name, volume)| volume.mounts.iter().map(move |one| (name, one)));
        all.filter(|(_, mount)| mount.service == service && mount.container == container)
            .map(|(name, mount)| MountPoint {
                source_volume: name.clone(),
                container_path: mount.path.clone(),
                read_only: mount.read_only,
            })
            .collect()
    }

    pub(super) fn task_volumes(&self, service: &str, volumes: &Volumes) -> Vec<Volume> {
        let of = |(name, _): (&str, bool)| {
            Some(Volume {
                name: name.to_owned(),
                efs: EfsVolume {
                    filesystem_id: volumes.get(name)?.id.clone(),
                    transit_encryption: "ENABLED",
                    authorization_config: EfsAuthorization { iam: "ENABLED" },
                },
            })
        };
        self.mounted(service).into_iter().filter_map(of).collect()
    }

    pub(super) fn volumes(&mut self, network: &Network, groups: &BTreeMap<&str, Id>) -> Volumes {
        let stack = self.stack;
        stack
            .volumes
            .iter()
            .map(|(name, volume)| {
                let file_system = match &volume.file_system {
                    Some(id) => FileSystem {
                        id: Expr::text(id),
                        arn: Expr::sub(format!("{}:file-system/{id}", super::container::arn("elasticfilesystem"))),
                        targets: Vec::new(),
                    },
                    None => self.file_system(name, network, groups),
                };
                (name.clone(), file_system)
            })
            .collect()
    }

    fn file_system(&mut self, name: &str, network: &Network, groups: &BTreeMap<&str, Id>) -> FileSystem {
        let properties = FileSystemProperties {
            encrypted: true,
            backup_policy: BackupPolicy { status: "ENABLED" },
            file_system_tags: self.named(name),
        };
        let id = self.draft.add(Id::of(&[name, "FileSystem"]), Properties::FileSystem(properties));
        self.draft.keep(&id);
        let mounting = groups.iter().filter(|(service, _)| self.mounted(service).iter().any(|(own, _)| *own == name));
        let ingress = mounting.map(|(service, group)| Ingress {
            description: format!("Files, of service {service}"),
            ip_protocol: "tcp",
            from_port: NFS,
            to_port: NFS,
            cidr_ip: None,
            source_security_group_id: Some(Expr::from(group)),
        });
        let group = SecurityGroup {
            group_description: format!("File system {name} of {}", self.prefix()),
            vpc_id: Some(network.vpc.clone()),
            security_group_ingress: ingress.collect(),
            security_group_egress: Vec::new(),
            tags: self.named(name),
        };
        let group = self.draft.add(Id::of(&[name, "FileSystemSecurityGroup"]), Properties::SecurityGroup(group));
        let mut targets = Vec::new();
        for (number, subnet) in (1..).zip(network.task_subnets.clone()) {
            let target = MountTarget {
                file_system_id: Expr::from(&id),
                subnet_id: subnet,
                security_groups: vec![Expr::from(&group)],
            };
            let target_id = Id::of(&[name, "MountTarget", &i32::to_string(&number)]);
            targets.push(self.draft.add(target_id, Properties::MountTarget(target)));
        }
        FileSystem { arn: Expr::Attribute(id.clone(), "Arn"), id: Expr::from(&id), targets }
    }
}
