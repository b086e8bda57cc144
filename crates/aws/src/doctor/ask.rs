//! Calls of services that have no client here: the query protocol of STS, IAM and EC2, and ACM's JSON.

use landfall_ports::PortError;

use super::Examiner;
use crate::budget::Family;
use crate::call::Call;
use crate::error::Failed;
use crate::signed::{self, Request};

fn family(service: &str) -> Family {
    match service {
        "ec2" => Family::Ec2Read,
        "iam" => Family::IamRead,
        // These publish no quota for what is asked of them here.
        _ => Family::Sts,
    }
}

/// The service's name, and the version of its API.
pub(crate) const STS: (&str, &str) = ("sts", "2011-06-15");
pub(crate) const IAM: (&str, &str) = ("iam", "2010-05-08");
pub(crate) const EC2: (&str, &str) = ("ec2", "2016-11-15");

impl Examiner {
    /// The answer's XML.
    pub(crate) async fn query(
        &self,
        (service, version): (&'static str, &str),
        action: &'static str,
        resource: &str,
        parameters: &[(String, String)],
    ) -> Result<String, Failed> {
        // IAM is one for all regions of a partition, and signed for in one.
        let region = match (service, self.core.region.as_str()) {
            ("iam", region) if region.starts_with("cn-") => "cn-north-1",
            ("iam", region) if region.starts_with("us-gov-") => "us-gov-west-1",
            ("iam", _) => "us-east-1",
            (_, region) => region,
        };
        let call = Call { service, action, family: family(service), resource };
        signed::query(&self.signer, &self.core, call, region, version, parameters).await
    }

    pub(crate) async fn certificate(&self, arn: &str) -> Result<serde_json::Value, Failed> {
        let call = Call { service: "acm", action: "DescribeCertificate", family: family("acm"), resource: arn };
        let body = serde_json::json!({"CertificateArn": arn}).to_string();
        let headers = [
            ("content-type", "application/x-amz-json-1.1"),
            ("x-amz-target", "CertificateManager.DescribeCertificate"),
        ];
        let request = Request {
            service: "acm",
            region: signed::region_of(arn, &self.core.region),
            path: "/",
            headers: &headers,
            body: body.as_bytes(),
            timeout: crate::config::CALL_TIMEOUT,
        };
        let answer = self.signer.call(&self.core, call, &request).await?;
        let unreadable = |error| PortError::Unavailable(format!("{}: not JSON: {error}", call.what()));
        Ok(serde_json::from_slice(&answer.body).map_err(unreadable)?)
    }
}

/// The contents of the elements of that name that are not inside another of the same name.
pub(crate) fn elements<'a>(xml: &'a str, name: &str) -> Vec<&'a str> {
    let (open, close) = (format!("<{name}>"), format!("</{name}>"));
    let (mut found, mut depth, mut start, mut at) = (Vec::new(), 0_usize, 0, 0);
    loop {
        let (next_open, next_close) = (xml[at..].find(&open), xml[at..].find(&close));
        match (next_open, next_close) {
            (Some(opens), Some(closes)) if opens < closes => {
                at += opens + open.len();
                if depth == 0 {
                    start = at;
                }
                depth += 1;
            }
            (_, Some(closes)) => {
                if depth == 1 {
                    found.extend(xml.get(start..at + closes));
                }
                depth = depth.saturating_sub(1);
                at += closes + close.len();
            }
            _ => return found,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::elements;

    #[test]
    fn elements_inside_others_of_their_name_stay_there() {
        let xml = "<list><member>a<list><member>b</member></list></member><member>c</member></list>";
        assert_eq!(elements(xml, "member"), ["a<list><member>b</member></list>", "c"]);
        assert_eq!(elements(xml, "x"), Vec::<&str>::new());
        assert_eq!(elements("</member><member>a", "member"), [""; 0]);
    }
}
