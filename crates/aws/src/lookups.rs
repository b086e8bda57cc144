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

/// DescribeSubnets answers a thousand to a page.
const MOST_PAGES: usize = 100;

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

    /// Ids of a VPC's subnets, sorted.
    pub async fn subnets(&self, vpc: &str) -> PortResult<Vec<String>> {
        let call = Call { service: "ec2", action: "DescribeSubnets", family: Family::Ec2Read, resource: vpc };
        let (mut all, mut next) = (Vec::new(), None::<String>);
        for _ in 0..MOST_PAGES {
            let mut parameters: Vec<(String, String)> = [("Filter.1.Name", "vpc-id"), ("Filter.1.Value.1", vpc)]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into();
            parameters.extend(next.map(|token| ("NextToken".to_owned(), token)));
            let (signer, core) = (&self.signer, &self.core);
            let answer = signed::query(signer, core, call, &core.region, "2016-11-15", &parameters).await?;
            let answer = Element::parse(&answer)
                .ok_or_else(|| PortError::Unavailable(format!("{}: the answer is no XML", call.what())))?;
            all.extend(answer.items("subnetSet").filter_map(|subnet| subnet.get("subnetId")));
            next = answer.get("nextToken");
            if next.is_none() {
                all.sort();
                return Ok(all);
            }
        }
        Err(PortError::Unavailable(format!("{}: a listing without an end", call.what())))
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
