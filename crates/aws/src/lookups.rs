//! What files of other tools ask AWS for when they are read: parameters, ARNs of secrets, outputs of stacks, Terraform states.
//! Values are returned and nothing else: never logged, never part of an error.

use std::collections::BTreeMap;
use std::time::SystemTime;

use aws_sigv4::http_request::{
    PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SigningSettings, UriPathNormalizationMode,
    sign,
};
use aws_sigv4::sign::v4;
use landfall_ports::{PortError, PortResult, chain};

use crate::budget::Family;
use crate::call::Call;
use crate::error::{Failed, answered, failed};
use crate::platform::AwsPlatform;
use crate::secrets;
use crate::signed::{self, endpoint, percent_encoded, region_of, xml};
use crate::xml::Element;

/// A parameter in SSM.
#[derive(Clone, PartialEq, Eq)]
pub enum ParameterValue {
    Text(String),
    List(Vec<String>),
}

/// DescribeSubnets answers a thousand to a page.
const MOST_PAGES: usize = 100;
/// A Terraform state.
const LARGEST_OBJECT: usize = 64 * 1024 * 1024;

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
        let first = region.unwrap_or(&self.core.region);
        match self.get_object(call, bucket, key, first).await? {
            Object::Text(text) => Ok(text),
            Object::In(region) => match self.get_object(call, bucket, key, &region).await? {
                Object::Text(text) => Ok(text),
                Object::In(_) => Err(PortError::Unavailable(format!("{}: no region has it", call.what()))),
            },
        }
    }

    async fn get_object(&self, call: Call<'_>, bucket: &str, key: &str, region: &str) -> PortResult<Object> {
        let key: Vec<String> = key.split('/').map(percent_encoded).collect();
        let endpoint = endpoint(self.core.sdk.endpoint_url(), "s3", region);
        let url = format!("{endpoint}/{}/{}", percent_encoded(bucket), key.join("/"));
        let what = call.what();
        let once = || self.get_once(&what, &url, region);
        Ok(self.core.caller.guarded(call, once).await?)
    }

    async fn get_once(&self, what: &str, url: &str, region: &str) -> Result<Object, Failed> {
        let identity = self.signer.credentials(&self.core, what).await?.into();
        let mut settings = SigningSettings::default();
        settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
        settings.percent_encoding_mode = PercentEncodingMode::Single;
        settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
        let signature = || -> Result<_, Box<dyn std::error::Error + Send + Sync>> {
            let params = v4::SigningParams::builder()
                .identity(&identity)
                .region(region)
                .name("s3")
                .time(SystemTime::now())
                .settings(settings)
                .build()?
                .into();
            let request = SignableRequest::new("GET", url, std::iter::empty(), SignableBody::Bytes(&[]))?;
            let (instructions, _) = sign(request, &params)?.into_parts();
            Ok(instructions.headers().map(|(name, value)| (name.to_owned(), value.to_owned())).collect::<Vec<_>>())
        };
        let headers = signature().map_err(|error| PortError::Bug(format!("{what}: cannot be signed: {error}")))?;
        let mut get = self.signer.http()?.get(url).timeout(crate::config::CALL_TIMEOUT);
        for (name, value) in headers {
            get = get.header(name, value);
        }
        let unanswered =
            |error: reqwest::Error| PortError::Unavailable(format!("{what}: {}", chain(&error.without_url())));
        let mut response = get.send().await.map_err(unanswered)?;
        let status = response.status().as_u16();
        let home = response.headers().get("x-amz-bucket-region").and_then(|value| value.to_str().ok());
        let home = home.filter(|home| *home != region).map(str::to_owned);
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(unanswered)? {
            body.extend_from_slice(&chunk);
            if body.len() > LARGEST_OBJECT {
                return Err(PortError::Invalid(format!("{what}: larger than {LARGEST_OBJECT} bytes")).into());
            }
        }
        match (status, home) {
            (200..300, _) => Ok(Object::Text(
                String::from_utf8(body).map_err(|_| PortError::Invalid(format!("{what}: it is no text")))?,
            )),
            (300..500, Some(home)) => Ok(Object::In(home)),
            _ => {
                let text = String::from_utf8_lossy(&body);
                let (code, message) = (xml(&text, "Code"), xml(&text, "Message"));
                Err(answered(what, status, &code.unwrap_or_default(), &message.unwrap_or_default()))
            }
        }
    }
}

enum Object {
    Text(String),
    /// Not here: its bucket is in this region.
    In(String),
}
