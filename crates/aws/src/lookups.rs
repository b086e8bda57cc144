//! What files of other tools ask AWS for when they are read: parameters, ARNs of secrets, outputs of stacks, Terraform states.
//! Values are returned and nothing else: never logged, never part of an error.

use std::collections::BTreeMap;

use landfall_ports::{PortError, PortResult};

use crate::budget::Family;
use crate::call::Call;
use crate::error::failed;
use crate::platform::AwsPlatform;
use crate::signed::{self, region_of};
use crate::xml::Element;
use crate::{s3, secrets};

/// A parameter in SSM.
#[derive(Clone, PartialEq, Eq)]
pub enum ParameterValue {
    Text(String),
    List(Vec<String>),
}

/// By its zone, then its id.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Subnet {
    pub zone: String,
    pub id: String,
}

impl AwsPlatform {
    /// A parameter by name or ARN, decrypted.
    pub async fn parameter(&self, name: &str) -> PortResult<ParameterValue> {
        let found = secrets::parameter(&self.core, &self.signer, region_of(name, &self.core.region), name).await?;
        let value = found["Value"].as_str();
        let value = value.ok_or_else(|| PortError::Invalid(format!("parameter {name} has no value")))?;
        Ok(match found["Type"].as_str() {
            Some("StringList") => ParameterValue::List(value.split(',').map(str::to_owned).collect()),
            _ => ParameterValue::Text(value.to_owned()),
        })
    }

    /// The ARN of a secret in Secrets Manager. Its value is not read.
    pub async fn secret_arn(&self, name: &str) -> PortResult<String> {
        secrets::arn(&self.core, name).await
    }

    /// The outputs of a CloudFormation stack.
    pub async fn stack_outputs(&self, stack: &str) -> PortResult<BTreeMap<String, String>> {
        let found = self.stacks().describe(stack).await?;
        let found = found.ok_or_else(|| PortError::NotFound(format!("there is no stack {stack}")))?;
        Ok(found.outputs.into_iter().map(|output| (output.key, output.value)).collect())
    }

    /// Everything that stacks of the region export.
    pub async fn stack_exports(&self) -> PortResult<BTreeMap<String, String>> {
        self.cloudformation().exports().await
    }

    /// The region's default VPC, if it has one.
    pub async fn default_vpc(&self) -> PortResult<Option<String>> {
        let call =
            Call { service: "ec2", action: "DescribeVpcs", family: Family::Ec2Read, resource: "the default VPC" };
        let found = self.ec2(call, "vpcSet", &[("is-default", "true")]).await?;
        Ok(found.iter().find_map(|vpc| vpc.get("vpcId")))
    }

    /// A VPC's subnets, by zone.
    pub async fn subnets(&self, vpc: &str) -> PortResult<Vec<Subnet>> {
        let call = Call { service: "ec2", action: "DescribeSubnets", family: Family::Ec2Read, resource: vpc };
        let found = self.ec2(call, "subnetSet", &[("vpc-id", vpc)]).await?;
        let subnet = |one: &Element| Subnet { zone: one.text("availabilityZone"), id: one.text("subnetId") };
        let mut all: Vec<Subnet> = found.iter().map(subnet).collect();
        all.sort();
        Ok(all)
    }

    /// Availability zones of the region that can be used: no Local Zones, which have few types, and nothing that is down.
    pub async fn zones(&self) -> PortResult<Vec<String>> {
        let resource = &self.core.region;
        let call = Call { service: "ec2", action: "DescribeAvailabilityZones", family: Family::Ec2Read, resource };
        let filters = [("zone-type", "availability-zone"), ("state", "available")];
        let found = self.ec2(call, "availabilityZoneInfo", &filters).await?;
        Ok(found.iter().filter_map(|zone| zone.get("zoneName")).collect())
    }

    /// All pages of a listing, and of each the items of this list.
    async fn ec2(&self, call: Call<'_>, list: &str, filters: &[(&str, &str)]) -> PortResult<Vec<Element>> {
        let filters: Vec<(String, String)> = (1..)
            .zip(filters)
            .flat_map(|(at, (name, value))| {
                [("Name", name), ("Value.1", value)]
                    .map(|(key, text)| (format!("Filter.{at}.{key}"), (*text).to_owned()))
            })
            .collect();
        signed::pages(&self.signer, &self.core, call, list, &filters).await
    }

    /// Account, Arn and UserId of the credentials.
    pub async fn caller_identity(&self) -> PortResult<BTreeMap<String, String>> {
        let family = Family::Sts;
        let call = Call { service: "sts", action: "GetCallerIdentity", family, resource: "the credentials" };
        let request = self.core.clients.sts.get_caller_identity();
        let send = || async { request.clone().send().await.map_err(|error| failed(&call.what(), error)) };
        let identity = self.core.caller.guarded(call, send).await?;
        let fields = [("Account", identity.account), ("Arn", identity.arn), ("UserId", identity.user_id)];
        Ok(fields.into_iter().map(|(key, value)| (key.to_owned(), value.unwrap_or_default())).collect())
    }

    /// An object in S3, as text. `region`: the bucket's; without it the target's, and S3 says if that is wrong.
    pub async fn object(&self, bucket: &str, key: &str, region: Option<&str>) -> PortResult<String> {
        let resource = format!("s3://{bucket}/{key}");
        let call = Call { service: "s3", action: "GetObject", family: Family::S3Read, resource: &resource };
        let region = region.unwrap_or(&self.core.region);
        let (_, body) = s3::exchange(&self.core, &self.signer, call, bucket, key, region, None).await?;
        String::from_utf8(body).map_err(|_| PortError::Invalid(format!("{}: it is no text", call.what())))
    }
}
