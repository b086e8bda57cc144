//! From `infra.yml` to templates: one stack for the cluster, one for the task that proves a fleet, and one of instances for each version.

mod base;
mod compute;
mod launch;
mod sizes;

pub use base::{associated, cluster, disassociated, health, same};
pub(crate) use compute::{STANDS_IN, falls_back};
pub use compute::{compute, providers};
pub use launch::user_data;
pub(crate) use launch::{MOST_USER_DATA, SCRIPT_END};
pub use sizes::{Standing, restanding, sized, sizes};

use landfall_stack::resources::Tag;
use landfall_stack::{Draft, Expr, Id};

use crate::infra::{Image, Infra};
use crate::names::{LABEL_CLUSTER, LABEL_VERSION, Version, export};
use crate::word;

pub(crate) const ROOT_DEVICE: &str = "/dev/xvda";
/// GiB of the root volume of ECS-optimized Amazon Linux
/// (<https://docs.aws.amazon.com/AmazonECS/latest/developerguide/ecs-optimized_AMI.html>): no volume made of it is smaller.
pub(crate) const ROOT_SIZE: u32 = 30;
/// (<https://bottlerocket.dev/en/os/latest/#/concepts/components/>)
pub(crate) const BOTTLEROCKET_DATA: &str = "/dev/xvdb";

/// What is not in `infra.yml` and a template needs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Around {
    /// Of the VPC, where the file names that and no subnets.
    pub subnets: Vec<String>,
    /// The text of the file that `user_data` names.
    pub user_data: Option<String>,
}

/// No template can be made of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    #[error("nobody knows the subnets of {0}")]
    Subnets(String),
    #[error("the instances' user data has {0} bytes; EC2 takes {most}", most = launch::MOST_USER_DATA)]
    UserData(usize),
    #[error("`user_data` has a line that says {0} and nothing else, with which landfall's own script ends it")]
    Delimiter(&'static str),
    #[error("two things would both be `{0}` in the template: give one of the fleets or groups another name")]
    SameId(Id),
}

impl Infra {
    /// The public parameter of SSM that names the image; `None`: the file names it
    /// (<https://docs.aws.amazon.com/AmazonECS/latest/developerguide/retrieve-ecs-optimized_AMI.html>,
    /// <https://bottlerocket.dev/en/os/latest/#/install/quickstart/aws/host-containers/>).
    pub fn image_parameter(&self) -> Option<&'static str> {
        let types = self.groups.iter().map(|group| &group.instance_type);
        let types: Vec<&String> =
            types.chain(self.fleets.iter().flat_map(|fleet| fleet.bids.iter().map(|bid| &bid.instance_type))).collect();
        // Of either all are, or none is: what is mixed was refused.
        let arm = types.iter().any(|kind| word::is_arm(kind));
        let gpu = types.iter().any(|kind| word::is_gpu(kind));
        match (&self.image, arm, gpu) {
            (Image::Ami(_), _, _) => None,
            (Image::AmazonLinux2023, false, true) => {
                Some("/aws/service/ecs/optimized-ami/amazon-linux-2023/gpu/recommended/image_id")
            }
            (Image::AmazonLinux2023, false, false) => {
                Some("/aws/service/ecs/optimized-ami/amazon-linux-2023/recommended/image_id")
            }
            (Image::AmazonLinux2023, true, _) => {
                Some("/aws/service/ecs/optimized-ami/amazon-linux-2023/arm64/recommended/image_id")
            }
            (Image::Bottlerocket, false, true) => {
                Some("/aws/service/bottlerocket/aws-ecs-2-nvidia/x86_64/latest/image_id")
            }
            (Image::Bottlerocket, true, true) => {
                Some("/aws/service/bottlerocket/aws-ecs-2-nvidia/arm64/latest/image_id")
            }
            (Image::Bottlerocket, false, false) => Some("/aws/service/bottlerocket/aws-ecs-2/x86_64/latest/image_id"),
            (Image::Bottlerocket, true, false) => Some("/aws/service/bottlerocket/aws-ecs-2/arm64/latest/image_id"),
        }
    }
}

/// What is being made.
struct Build<'a> {
    infra: &'a Infra,
    version: Option<&'a Version>,
    draft: Draft,
}

impl<'a> Build<'a> {
    fn new(infra: &'a Infra, version: Option<&'a Version>) -> Self {
        Self { infra, version, draft: Draft::default() }
    }

    /// For other stacks too: `dev-cluster:ALBBadgeSg`.
    fn exported(&mut self, id: &str, description: &str, value: Expr) {
        self.draft.exported(id, description, value, Expr::text(export(&self.infra.name, id)));
    }

    fn tags(&self) -> Vec<Tag> {
        let mut tags = vec![Tag { key: LABEL_CLUSTER, value: Expr::text(&self.infra.name) }];
        tags.extend(self.version.map(|version| Tag { key: LABEL_VERSION, value: Expr::text(version.as_str()) }));
        tags
    }

    /// Beside those of [`Self::tags`] a name, which is what the console shows.
    fn named(&self, name: impl Into<String>) -> Vec<Tag> {
        let mut tags = vec![Tag { key: "Name", value: Expr::text(name) }];
        tags.extend(self.tags());
        tags
    }
}
