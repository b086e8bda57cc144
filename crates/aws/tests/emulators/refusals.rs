//! What AWS refuses before it looks at a request: each with its own words and what helps, through the adapter, against the fake.

use landfall_aws::doctor::{Examination, Finding, Right, examine};
use landfall_aws::{AwsOptions, AwsPlatform};
use landfall_awsfake::faults::{Fault, FaultError};
use landfall_awsfake::{Fake, Handle, REGION};
use landfall_model::aws::AwsTarget;
use landfall_ports::PortError;
use serde_json::json;

use crate::emulator;

fn target(url: &str) -> AwsTarget {
    AwsTarget {
        name: "cloud".to_owned(),
        region: Some(REGION.to_owned()),
        endpoint: Some(url.to_owned()),
        cluster: "main".to_owned(),
        ..AwsTarget::default()
    }
}

async fn world() -> (String, Handle) {
    let (url, fake) = Fake::start().await.unwrap();
    fake.call("ecs", "CreateCluster", json!({"clusterName": "main"})).unwrap();
    (url, fake)
}

async fn refused(target: &AwsTarget) -> PortError {
    let options = AwsOptions { instance: "aws-tests".to_owned() };
    let platform = AwsPlatform::connect_as(target, options, emulator::credentials("test")).await.unwrap();
    platform.orchestrator().describe_service("web").await.unwrap_err()
}

#[tokio::test]
async fn expired_unknown_skewed_and_denied_say_what_helps() {
    let (url, fake) = world().await;
    let denied = "User: arn:aws:iam::123456789012:user/ci is not authorized to perform: ecs:DescribeServices on resource: \
                  arn:aws:ecs:us-east-1:123456789012:service/main/web because no identity-based policy allows the \
                  ecs:DescribeServices action";
    let expired =
        "Signature expired: 20261121T090000Z is now earlier than 20261121T100000Z (20261121T100500Z - 5 min.)";
    for (code, message, status, expected) in [
        ("ExpiredTokenException", "The security token included in the request is expired", 400, "`aws sso login`"),
        (
            "UnrecognizedClientException",
            "The security token included in the request is invalid.",
            400,
            "does not know these credentials",
        ),
        ("InvalidSignatureException", expired, 400, "this machine's clock is off by minutes"),
        ("InvalidSignatureException", "Signature not yet current: 2026 is still later than 2026", 403, "clock"),
        ("InvalidSignatureException", "The request signature we calculated does not match", 403, "secret access key"),
        (
            "AccessDeniedException",
            denied,
            400,
            "ecs:DescribeServices on services web: arn:aws:iam::123456789012:user/ci may not do ecs:DescribeServices on \
          arn:aws:ecs:us-east-1:123456789012:service/main/web: no policy of its own allows it; `landfall iam`",
        ),
    ] {
        fake.clear_faults();
        let error = FaultError { code: code.to_owned(), message: message.to_owned(), status };
        fake.fault(Fault { operation: Some("DescribeServices".to_owned()), error: Some(error), ..Fault::default() });
        let error = refused(&target(&url)).await;
        assert!(matches!(&error, PortError::Denied(text) if text.contains(expected)), "{code}: {error:?}");
    }
}

#[tokio::test]
async fn a_region_that_there_is_not_is_told_from_a_denial() {
    let nowhere = AwsTarget { region: Some("eu-wst-1".to_owned()), ..target("http://ecs.eu-wst-1.invalid") };
    let error = refused(&nowhere).await;
    assert!(matches!(&error, PortError::Unavailable(text) if text.contains("is the region's name right")), "{error:?}");
    let checks = examine(&nowhere, &Examination::default(), Some(emulator::credentials("test"))).await.unwrap();
    let region = checks.iter().find(|check| check.name == "region").unwrap();
    assert_eq!(region.finding, Finding::Wrong, "{checks:?}");
    assert!(region.hint.as_ref().unwrap().contains("`eu-wst-1` the name of a region"), "{region:?}");
    assert_eq!(checks.last().unwrap().finding, Finding::NotChecked, "{checks:?}");
}

/// Against emulators that nobody here wrote: ministack simulates policies and has subnets, moto certificates.
#[tokio::test]
async fn the_doctor_looks_through_other_people_s_aws() {
    let url = emulator::ministack();
    let key = emulator::account();
    let raw = crate::raw::Raw::new(&url, REGION);
    raw.json("ecs", "AmazonEC2ContainerServiceV20141113.CreateCluster", json!({"clusterName": "main"})).await;
    let mut target = target(&url);
    target.subnets = vec!["subnet-nowhere".to_owned()];
    target.execution_role = Some(format!("arn:aws:iam::{key}:role/nobody"));
    target.log_group = Some("/nowhere".to_owned());
    let right = Right {
        purpose: "ListServicesAndTasks".to_owned(),
        actions: vec!["ecs:ListServices".to_owned()],
        resources: vec!["*".to_owned()],
        context: Vec::new(),
    };
    let examination = Examination { rights: vec![right], ..Examination::default() };
    let checks = examine(&target, &examination, Some(emulator::credentials("test"))).await.unwrap();
    let of =
        |name: &str| checks.iter().find(|check| check.name == name).unwrap_or_else(|| panic!("{name}: {checks:#?}"));
    for good in ["credentials", "region", "clock", "identity", "account", "cluster"] {
        assert_eq!(of(good).finding, Finding::Good, "{:?}", of(good));
    }
    for wrong in ["subnets", "execution role", "log group"] {
        assert_eq!(of(wrong).finding, Finding::Wrong, "{:?}", of(wrong));
    }
    assert_eq!(of("rights").detail, "the account's root user may do everything");
}

#[tokio::test]
async fn a_certificate_is_read_where_it_is() {
    let url = emulator::moto();
    let raw = crate::raw::Raw::new(&url, REGION);
    raw.json("ecs", "AmazonEC2ContainerServiceV20141113.CreateCluster", json!({"clusterName": "main"})).await;
    let certificate = json!({"DomainName": "*.previews.example.com"});
    let certificate = raw.json("acm", "CertificateManager.RequestCertificate", certificate).await;
    let target = AwsTarget { certificate: certificate["CertificateArn"].as_str().map(str::to_owned), ..target(&url) };
    let examination = Examination { hosts: vec!["preview.other.example.com".to_owned()], ..Examination::default() };
    let checks = examine(&target, &examination, Some(emulator::credentials("test"))).await.unwrap();
    let certificate = checks.iter().find(|check| check.name == "certificate").unwrap();
    assert_eq!(certificate.finding, Finding::Wrong);
    // Validated, which moto says of a certificate as soon as it is looked at, or not: another host it does not cover.
    assert!(
        certificate.detail.contains("PENDING_VALIDATION") || certificate.detail.contains("not for preview.other"),
        "{certificate:?}"
    );
}
