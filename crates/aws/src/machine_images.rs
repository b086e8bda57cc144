//! Machine images of EC2 behind the port, and the instances they are made of. Signed by hand, as all that is asked of EC2.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use landfall_model::machine_image::{ImageState, Launched, MachineLaunch, MachineState};
use landfall_ports::machine_images::MachineImages;
use landfall_ports::{PortError, PortResult};

use crate::budget::Family;
use crate::call::Call;
use crate::core::Core;
use crate::error::Failed;
use crate::signed::{EC2, Form, Signer, asked, form, pages};
use crate::xml::Element;

pub(crate) struct Ec2Images {
    core: Arc<Core>,
    signer: Arc<Signer>,
}

impl Ec2Images {
    pub(crate) fn new(core: Arc<Core>, signer: Arc<Signer>) -> Self {
        Self { core, signer }
    }

    async fn ask(&self, call: Call<'_>, form: &Form) -> Result<Element, Failed> {
        asked(&self.signer, &self.core, call, EC2, form).await
    }

    /// Those of the account that a filter lets through.
    async fn images(&self, name: &str, value: &str) -> PortResult<Vec<ImageState>> {
        let resource = format!("images with {name} {value}");
        let call = Call { service: "ec2", action: "DescribeImages", family: Family::Ec2Read, resource: &resource };
        let fields = form([("Owner.1", "self"), ("Filter.1.Name", name), ("Filter.1.Value.1", value)]);
        let found = pages(&self.signer, &self.core, call, "imagesSet", &fields).await?;
        Ok(found.iter().map(image).collect())
    }
}

fn tags(one: &Element) -> BTreeMap<String, String> {
    one.items("tagSet").map(|tag| (tag.text("key"), tag.text("value"))).collect()
}

fn reason(one: &Element) -> String {
    one.child("stateReason").and_then(|reason| reason.get("message")).or_else(|| one.get("reason")).unwrap_or_default()
}

fn image(one: &Element) -> ImageState {
    ImageState {
        id: one.text("imageId"),
        name: one.text("name"),
        state: one.text("imageState"),
        reason: reason(one),
        created: one.get("creationDate").and_then(|at| at.parse().ok()),
        architecture: one.text("architecture"),
        root_device: one.text("rootDeviceName"),
        tags: tags(one),
    }
}

fn state(one: &Element) -> String {
    one.child("instanceState").and_then(|state| state.get("name")).unwrap_or_default()
}

fn machine(one: &Element) -> MachineState {
    MachineState {
        id: one.text("instanceId"),
        state: state(one),
        reason: reason(one),
        launched: one.get("launchTime").and_then(|at| at.parse().ok()),
        tags: tags(one),
    }
}

/// The same tags for each of these kinds.
fn tagged(fields: &mut Form, kinds: [&str; 2], tags: &BTreeMap<String, String>) {
    for (at, kind) in (1..).zip(kinds) {
        let prefix = format!("TagSpecification.{at}.");
        fields.push((format!("{prefix}ResourceType"), kind.to_owned()));
        for (at, (key, value)) in (1..).zip(tags) {
            fields.push((format!("{prefix}Tag.{at}.Key"), key.clone()));
            fields.push((format!("{prefix}Tag.{at}.Value"), value.clone()));
        }
    }
}

/// Codes that tell of the type and the zone, and not of the account
/// (<https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html>).
const NO_ROOM: [&str; 4] =
    ["InsufficientInstanceCapacity", "InsufficientFreeAddressesInSubnet", "InsufficientHostCapacity", "Unsupported"];

/// Somebody else has made the image meanwhile, and ended its instance perhaps.
const ALREADY: [&str; 2] = ["IncorrectInstanceState", "InvalidAMIName.Duplicate"];

#[async_trait]
impl MachineImages for Ec2Images {
    async fn image(&self, id: &str) -> PortResult<Option<ImageState>> {
        let call = Call { service: "ec2", action: "DescribeImages", family: Family::Ec2Read, resource: id };
        match self.ask(call, &form([("ImageId.1", id)])).await {
            Ok(root) => Ok(root.items("imagesSet").next().map(image)),
            Err(failed) if failed.not_found() => Ok(None),
            Err(failed) => Err(failed.into()),
        }
    }

    async fn own(&self, tag: &str, prefix: &str) -> PortResult<Vec<ImageState>> {
        let mut all = self.images("tag-key", tag).await?;
        all.extend(self.images("name", &format!("{prefix}*")).await?);
        all.sort_by(|a, b| a.id.cmp(&b.id));
        all.dedup_by(|a, b| a.id == b.id);
        Ok(all)
    }

    async fn machines(&self, tag: &str, value: &str) -> PortResult<Vec<MachineState>> {
        let resource = format!("instances with {tag} {value}");
        let call = Call { service: "ec2", action: "DescribeInstances", family: Family::Ec2Read, resource: &resource };
        let fields = form([("Filter.1.Name", &*format!("tag:{tag}")), ("Filter.1.Value.1", value)]);
        let found = pages(&self.signer, &self.core, call, "reservationSet", &fields).await?;
        Ok(found.iter().flat_map(|one| one.items("instancesSet")).map(machine).collect())
    }

    async fn launch(&self, launch: &MachineLaunch) -> PortResult<Launched> {
        let resource = format!("one {} of {} in {}", launch.instance_type, launch.image, launch.subnet);
        let call = Call { service: "ec2", action: "RunInstances", family: Family::Ec2Write, resource: &resource };
        let mut fields = form([
            ("ImageId", &*launch.image),
            ("InstanceType", &launch.instance_type),
            ("MinCount", "1"),
            ("MaxCount", "1"),
            ("ClientToken", &launch.token),
            ("SubnetId", &launch.subnet),
            ("UserData", &BASE64_STANDARD.encode(&launch.user_data)),
            ("InstanceInitiatedShutdownBehavior", "stop"),
            ("MetadataOptions.HttpTokens", "required"),
            ("MetadataOptions.HttpPutResponseHopLimit", "1"),
            ("BlockDeviceMapping.1.DeviceName", &launch.root_device),
            ("BlockDeviceMapping.1.Ebs.Encrypted", "true"),
            ("BlockDeviceMapping.1.Ebs.VolumeType", "gp3"),
            ("BlockDeviceMapping.1.Ebs.DeleteOnTermination", "true"),
        ]);
        if let Some(profile) = &launch.profile {
            let key = if profile.starts_with("arn:") { "IamInstanceProfile.Arn" } else { "IamInstanceProfile.Name" };
            fields.push((key.to_owned(), profile.clone()));
        }
        tagged(&mut fields, ["instance", "volume"], &launch.tags);
        let root = match self.ask(call, &fields).await {
            Ok(root) => root,
            Err(failed) if failed.is("IdempotentInstanceTerminated") => return Ok(Launched::Spent),
            Err(failed) if NO_ROOM.contains(&failed.code.as_str()) => return Ok(Launched::NoRoom(failed.message)),
            Err(failed) => return Err(failed.into()),
        };
        let one = root.items("instancesSet").next();
        let one =
            one.ok_or_else(|| PortError::Unavailable(format!("{}: an answer without an instance", call.what())))?;
        Ok(match state(one).as_str() {
            "shutting-down" | "terminated" => Launched::Spent,
            _ => Launched::It(one.text("instanceId")),
        })
    }

    async fn console(&self, machine: &str, latest: bool) -> PortResult<String> {
        let family = Family::Ec2Read;
        let call = Call { service: "ec2", action: "GetConsoleOutput", family, resource: machine };
        let mut fields = form([("InstanceId", machine)]);
        fields.extend(latest.then(|| ("Latest".to_owned(), "true".to_owned())));
        let root = match self.ask(call, &fields).await {
            Err(failed) if latest && matches!(failed.error, PortError::Invalid(_)) => return Ok(String::new()),
            root => root?,
        };
        let text: String = root.text("output").split_whitespace().collect();
        let text = BASE64_STANDARD
            .decode(text)
            .map_err(|error| PortError::Unavailable(format!("{}: not base64: {error}", call.what())))?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    }

    async fn create(&self, machine: &str, name: &str, tags: &BTreeMap<String, String>) -> PortResult<()> {
        let resource = format!("{machine}, as {name}");
        let call = Call { service: "ec2", action: "CreateImage", family: Family::Ec2Write, resource: &resource };
        let mut fields = form([("InstanceId", machine), ("Name", name)]);
        tagged(&mut fields, ["image", "snapshot"], tags);
        match self.ask(call, &fields).await {
            Err(failed) if failed.not_found() || ALREADY.contains(&failed.code.as_str()) => Ok(()),
            Err(failed) => Err(failed.into()),
            Ok(_) => Ok(()),
        }
    }

    async fn discard(&self, image: &str) -> PortResult<()> {
        let call = Call { service: "ec2", action: "DeregisterImage", family: Family::Ec2Write, resource: image };
        match self.ask(call, &form([("ImageId", image), ("DeleteAssociatedSnapshots", "true")])).await {
            Err(failed) if !failed.not_found() && !failed.is("InvalidAMIID.Unavailable") => Err(failed.into()),
            _ => Ok(()),
        }
    }

    async fn terminate(&self, machine: &str) -> PortResult<()> {
        let call = Call { service: "ec2", action: "TerminateInstances", family: Family::Ec2Write, resource: machine };
        match self.ask(call, &form([("InstanceId.1", machine)])).await {
            Err(failed) if !failed.not_found() => Err(failed.into()),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_and_machines_are_read() {
        let text = "<item><imageId>ami-1</imageId><imageState>failed</imageState><name>n</name><architecture>arm64</architecture>\
            <rootDeviceName>/dev/xvda</rootDeviceName><creationDate>2026-11-22T12:00:00.000Z</creationDate><tagSet><item><key>source_ami\
            </key><value>ami-0</value></item></tagSet><stateReason><code>Client</code><message>no key</message></stateReason></item>";
        let read = image(&Element::parse(text).unwrap());
        let expected = ImageState {
            id: "ami-1".to_owned(),
            name: "n".to_owned(),
            state: "failed".to_owned(),
            reason: "no key".to_owned(),
            created: "2026-11-22T12:00:00Z".parse().ok(),
            architecture: "arm64".to_owned(),
            root_device: "/dev/xvda".to_owned(),
            tags: BTreeMap::from([("source_ami".to_owned(), "ami-0".to_owned())]),
        };
        assert_eq!(read, expected);
        let text = "<item><instanceId>i-1</instanceId><instanceState><code>80</code><name>stopped</name></instanceState>\
            <reason>User initiated</reason><launchTime>2026-11-22T12:00:00.000Z</launchTime></item>";
        let read = machine(&Element::parse(text).unwrap());
        assert_eq!(
            (read.state.as_str(), read.reason.as_str(), read.launched.is_some()),
            ("stopped", "User initiated", true)
        );
    }
}
