//! AWS's wire protocols: which call a request is, what it asks, and how an answer or an error is written.

pub(crate) mod query;

use http::HeaderMap;
use serde_json::{Value, json};

use crate::world::Caller;
use crate::world::error::AwsError;

/// Where no signature says otherwise.
pub const ACCOUNT: &str = "123456789012";
pub const REGION: &str = "us-east-1";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// JSON 1.0 and 1.1: the operation is in `X-Amz-Target`.
    Json,
    /// Form in, XML out.
    Query,
    /// The same in EC2's own dialect.
    Ec2,
    /// Lambda.
    Rest,
}

/// A request understood.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub protocol: Protocol,
    /// The name in the signature's scope.
    pub service: String,
    pub operation: String,
    pub input: Value,
    pub caller: Caller,
}

/// Bytes of an answer.
#[derive(Debug, Clone)]
pub(crate) struct Reply {
    pub status: u16,
    pub headers: Vec<(&'static str, String)>,
    pub body: Vec<u8>,
}

const TARGETS: &[(&str, &str)] = &[
    ("AmazonEC2ContainerServiceV20141113", "ecs"),
    ("AmazonEC2ContainerRegistry_V20150921", "ecr"),
    ("AmazonSSM", "ssm"),
    ("secretsmanager", "secretsmanager"),
    ("Logs_20140328", "logs"),
    ("ResourceGroupsTaggingAPI_20170126", "tagging"),
    ("GraniteServiceVersion20100801", "monitoring"),
];

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// Who calls, and the service of the signature's scope (`Credential=KEY/DATE/REGION/SERVICE/aws4_request`). The account is
/// the twelve digits at the end of the access key, where it has them; the signature itself is not checked.
pub(crate) fn caller(headers: &HeaderMap) -> (Caller, Option<String>) {
    let scope = header(headers, "authorization").and_then(|value| value.split("Credential=").nth(1));
    let mut parts = scope.unwrap_or_default().split([',', ' ']).next().unwrap_or_default().split('/');
    let key = parts.next().unwrap_or_default();
    let region = parts.nth(1).filter(|region| !region.is_empty()).unwrap_or(REGION).to_owned();
    let service = parts.next().map(str::to_owned);
    let digits =
        key.len().checked_sub(12).and_then(|at| key.get(at..)).filter(|end| end.bytes().all(|b| b.is_ascii_digit()));
    let account = digits.unwrap_or(ACCOUNT).to_owned();
    let arn = match header(headers, "x-amz-security-token").and_then(|token| token.split_once('/')) {
        Some((role, session)) => format!("arn:aws:sts::{account}:assumed-role/{role}/{session}"),
        None => format!("arn:aws:iam::{account}:user/fake"),
    };
    (Caller { account, region, arn }, service)
}

/// Services of the query protocol. Each one's API has a version of its own.
const QUERY: [(&str, &str); 8] = [
    ("2011-06-15", "sts"),
    ("2015-12-01", "elasticloadbalancing"),
    ("2010-03-31", "sns"),
    ("2010-05-08", "iam"),
    ("2010-05-15", "cloudformation"),
    ("2010-08-01", "monitoring"),
    ("2011-01-01", "autoscaling"),
    ("2016-11-15", "ec2"),
];

pub(crate) fn speaks_query(service: &str) -> bool {
    QUERY.iter().any(|(_, own)| *own == service)
}

/// `Err`: no call of AWS's that the fake knows how to read.
pub(crate) fn parse(method: &str, path: &str, query: &str, headers: &HeaderMap, body: &[u8]) -> Result<Call, AwsError> {
    let (caller, scope) = caller(headers);
    if let Some(target) = header(headers, "x-amz-target") {
        let (prefix, operation) = target.rsplit_once('.').unwrap_or((target, ""));
        let known = TARGETS.iter().find(|(own, _)| *own == prefix).map(|(_, service)| (*service).to_owned());
        let service = known.or(scope).unwrap_or_default();
        let input = if body.is_empty() {
            json!({})
        } else {
            serde_json::from_slice(body).map_err(|error| AwsError::new("SerializationException", error.to_string()))?
        };
        return Ok(Call { protocol: Protocol::Json, service, operation: operation.to_owned(), input, caller });
    }
    let scope = scope.unwrap_or_default();
    if let Some(rest) = path.strip_prefix("/2015-03-31/functions/") {
        let (name, tail) = rest.split_once('/').unwrap_or((rest, ""));
        let name = query::decode(name);
        let (operation, payload) = match (method, tail) {
            ("POST", "invocations") => ("Invoke", serde_json::from_slice(body).unwrap_or_default()),
            ("GET", "") => ("GetFunction", Value::Null),
            _ => return Err(AwsError::unknown_operation("lambda", &format!("{method} {path}")).status(404)),
        };
        let kind = header(headers, "x-amz-invocation-type").unwrap_or("RequestResponse");
        let input = json!({"FunctionName": name, "InvocationType": kind, "Payload": payload});
        let operation = operation.to_owned();
        return Ok(Call { protocol: Protocol::Rest, service: "lambda".to_owned(), operation, input, caller });
    }
    let text = if body.is_empty() { query.to_owned() } else { String::from_utf8_lossy(body).into_owned() };
    let input = query::parse(&text);
    match input.get("Action").and_then(Value::as_str) {
        Some(operation) => {
            let operation = operation.to_owned();
            // Some calls are not signed.
            let version = input.get("Version").and_then(Value::as_str).unwrap_or_default();
            let known = QUERY.iter().find(|(own, _)| *own == version).map(|(_, service)| (*service).to_owned());
            let service = known.unwrap_or(scope);
            let protocol = if service == "ec2" { Protocol::Ec2 } else { Protocol::Query };
            Ok(Call { protocol, service, operation, input, caller })
        }
        None => Err(AwsError::new("MissingAction", format!("{method} {path} is no call of AWS's that the fake knows"))
            .status(404)),
    }
}

fn namespace(service: &str) -> &'static str {
    match service {
        "elasticloadbalancing" => "http://elasticloadbalancing.amazonaws.com/doc/2015-12-01/",
        "sts" => "https://sts.amazonaws.com/doc/2011-06-15/",
        "sns" => "http://sns.amazonaws.com/doc/2010-03-31/",
        "cloudformation" => "http://cloudformation.amazonaws.com/doc/2010-05-15/",
        "iam" => "https://iam.amazonaws.com/doc/2010-05-08/",
        "autoscaling" => "http://autoscaling.amazonaws.com/doc/2011-01-01/",
        "ec2" => "http://ec2.amazonaws.com/doc/2016-11-15/",
        _ => "http://monitoring.amazonaws.com/doc/2010-08-01/",
    }
}

pub(crate) fn write(call: &Call, answer: &Value, request: &str) -> Reply {
    match call.protocol {
        Protocol::Json => Reply {
            status: 200,
            headers: vec![
                ("content-type", "application/x-amz-json-1.1".to_owned()),
                ("x-amzn-requestid", request.to_owned()),
            ],
            body: answer.to_string().into_bytes(),
        },
        Protocol::Query => Reply {
            status: 200,
            headers: vec![("content-type", "text/xml".to_owned()), ("x-amzn-requestid", request.to_owned())],
            body: query::response(&call.operation, namespace(&call.service), answer, request).into_bytes(),
        },
        Protocol::Ec2 => Reply {
            status: 200,
            headers: vec![("content-type", "text/xml".to_owned())],
            body: query::ec2_response(&call.operation, namespace(&call.service), answer, request).into_bytes(),
        },
        Protocol::Rest if call.operation == "Invoke" => {
            let mut headers =
                vec![("x-amzn-requestid", request.to_owned()), ("x-amz-executed-version", "$LATEST".to_owned())];
            headers.extend(answer["error"].as_str().map(|error| ("x-amz-function-error", error.to_owned())));
            let status = answer["status"].as_u64().and_then(|status| u16::try_from(status).ok()).unwrap_or(200);
            let body = if status == 200 { answer["payload"].to_string().into_bytes() } else { Vec::new() };
            Reply { status, headers, body }
        }
        Protocol::Rest => Reply {
            status: 200,
            headers: vec![("content-type", "application/json".to_owned()), ("x-amzn-requestid", request.to_owned())],
            body: answer.to_string().into_bytes(),
        },
    }
}

pub(crate) fn write_error(protocol: Protocol, error: &AwsError, request: &str) -> Reply {
    let sender = if error.status < 500 { "Sender" } else { "Receiver" };
    match protocol {
        Protocol::Query => Reply {
            status: error.status,
            headers: vec![("content-type", "text/xml".to_owned()), ("x-amzn-requestid", request.to_owned())],
            body: query::error(&error.code, &error.message, sender, request).into_bytes(),
        },
        Protocol::Ec2 => Reply {
            status: error.status,
            headers: vec![("content-type", "text/xml".to_owned())],
            body: query::ec2_error(&error.code, &error.message, request).into_bytes(),
        },
        Protocol::Json | Protocol::Rest => {
            let kind = if protocol == Protocol::Json { "application/x-amz-json-1.1" } else { "application/json" };
            let body = if protocol == Protocol::Json {
                json!({"__type": error.code, "message": error.message})
            } else {
                json!({"Type": "User", "Message": error.message, "message": error.message})
            };
            Reply {
                status: error.status,
                headers: vec![
                    ("content-type", kind.to_owned()),
                    ("x-amzn-errortype", error.code.clone()),
                    ("x-amzn-requestid", request.to_owned()),
                ],
                body: body.to_string().into_bytes(),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn account_and_region_come_from_the_credential_scope() {
        let mut headers = HeaderMap::new();
        let value =
            "AWS4-HMAC-SHA256 Credential=ASIAFAKE210987654321/20260101/eu-west-1/ecs/aws4_request, SignedHeaders=host";
        headers.insert("authorization", value.parse().unwrap());
        headers.insert("x-amz-security-token", "deployer/ci".parse().unwrap());
        let (caller, service) = caller(&headers);
        assert_eq!((caller.account.as_str(), caller.region.as_str()), ("210987654321", "eu-west-1"));
        assert_eq!(caller.arn, "arn:aws:sts::210987654321:assumed-role/deployer/ci");
        assert_eq!(service.as_deref(), Some("ecs"));
    }

    #[test]
    fn nothing_signed_is_the_default_account() {
        let (caller, service) = caller(&HeaderMap::new());
        assert_eq!((caller.account.as_str(), caller.region.as_str(), service), (ACCOUNT, REGION, None));
    }
}
