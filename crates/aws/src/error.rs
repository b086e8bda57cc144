//! AWS's errors by remedy.

use std::error::Error as StdError;

use aws_credential_types::provider::error::CredentialsError;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use landfall_ports::{PortError, chain};

use crate::denial::Denial;

/// An error of one call. `?` turns it into a `PortError`; adapters that must tell codes apart look first.
#[derive(Debug, Clone)]
pub(crate) struct Failed {
    /// AWS's error code; empty where no answer came.
    pub code: String,
    pub message: String,
    pub error: PortError,
}

impl Failed {
    pub(crate) fn is(&self, code: &str) -> bool {
        self.code == code
    }

    pub(crate) fn not_found(&self) -> bool {
        matches!(self.error, PortError::NotFound(_))
    }
}

impl From<Failed> for PortError {
    fn from(failed: Failed) -> Self {
        failed.error
    }
}

impl From<PortError> for Failed {
    fn from(error: PortError) -> Self {
        Self { code: String::new(), message: error.to_string(), error }
    }
}

/// No connection. AWS has a host for each region: a name that nobody knows is a region that there is not.
pub(crate) fn unreachable(what: &str, why: &str) -> PortError {
    let unknown =
        ["dns error", "failed to lookup address", "Name or service not known"].iter().any(|said| why.contains(said));
    let hint = if unknown { ": is the region's name right, and has this machine a DNS?" } else { "" };
    PortError::Unavailable(format!("{what}: {why}{hint}"))
}

/// Which action on which resource, which need not be those that were called: registering a task definition asks for
/// `iam:PassRole` too. `text`: what to say where AWS does not.
fn denied(what: &str, code: &str, message: &str, text: &str) -> String {
    let help = "`landfall iam` prints what is needed";
    match Denial::parse(message) {
        Some(denial) => format!("{what}: {}; {help} ({code})", denial.said()),
        None if message.contains("Encoded authorization failure message") => {
            format!("{text}; `aws sts decode-authorization-message` tells why; {help}")
        }
        None => format!("{text}; {help}"),
    }
}

/// `what` names the action and the resource: `ecs:UpdateService on service web`.
pub(crate) fn failed<E>(what: &str, error: SdkError<E, HttpResponse>) -> Failed
where
    E: StdError + ProvideErrorMetadata + Send + Sync + 'static,
{
    let bare = |error: PortError| Failed { code: String::new(), message: error.to_string(), error };
    match &error {
        SdkError::ServiceError(service) => {
            let status = service.raw().status().as_u16();
            let code = service.err().code().unwrap_or_default();
            let message = service.err().message().unwrap_or_default();
            answered(what, status, code, message)
        }
        SdkError::TimeoutError(_) => bare(PortError::Unavailable(format!("{what}: no answer in time"))),
        // A proxy, or an endpoint that is not AWS. What they refuse they go on refusing.
        SdkError::ResponseError(answer) => {
            let status = answer.raw().status().as_u16();
            let text = format!("{what}: HTTP {status}: {}", chain(&error));
            bare(if matches!(status, 401 | 403) { PortError::Denied(text) } else { PortError::Unavailable(text) })
        }
        _ => match credentials(&error) {
            Some(error) => bare(without_credentials(what, error)),
            None => bare(unreachable(what, &chain(&error))),
        },
    }
}

/// An answer that is an error, whoever asked. `status` is HTTP's.
pub(crate) fn answered(what: &str, status: u16, code: &str, message: &str) -> Failed {
    // "com.amazonaws.ecs#ClusterNotFoundException:http://…" where a proxy or an old protocol says it all.
    let code = code.rsplit('#').next().unwrap_or(code);
    let code = code.split(':').next().unwrap_or(code);
    let text = match (code, message) {
        ("", "") => format!("{what}: HTTP {status}"),
        (code, "") => format!("{what}: {code}"),
        ("", message) => format!("{what}: HTTP {status}: {message}"),
        (code, message) => format!("{what}: {code}: {message}"),
    };
    let error = match kind(status, code, message) {
        Kind::Throttled => PortError::Throttled { message: text, retry_after_ms: None },
        Kind::Denied => PortError::Denied(denied(what, code, message, &text)),
        Kind::Credentials(hint) => PortError::Denied(format!("{text} ({hint})")),
        Kind::NotFound => PortError::NotFound(text),
        Kind::Conflict => PortError::Conflict(text),
        Kind::Unavailable => PortError::Unavailable(text),
        Kind::Full => PortError::Full(text),
        Kind::Invalid => PortError::Invalid(text),
    };
    Failed { code: code.to_owned(), message: message.to_owned(), error }
}

enum Kind {
    Throttled,
    Denied,
    Credentials(&'static str),
    NotFound,
    Conflict,
    Unavailable,
    Full,
    Invalid,
}

fn kind(status: u16, code: &str, message: &str) -> Kind {
    match code {
        "Throttling"
        | "ThrottlingException"
        | "ThrottledException"
        | "RequestThrottled"
        | "RequestThrottledException"
        | "TooManyRequestsException"
        | "RequestLimitExceeded"
        | "BandwidthLimitExceeded"
        | "ProvisionedThroughputExceededException"
        | "PriorRequestNotComplete"
        | "EC2ThrottledException"
        | "SlowDown" => return Kind::Throttled,
        "ExpiredToken" | "ExpiredTokenException" => {
            return Kind::Credentials("the credentials have expired: get new ones, for instance by `aws sso login`");
        }
        // EC2's word for both.
        "RequestExpired" => {
            return Kind::Credentials(
                "the credentials have expired (`aws sso login`), or this machine's clock is off by minutes",
            );
        }
        "InvalidClientTokenId" | "UnrecognizedClientException" | "AuthFailure" | "MissingAuthenticationToken" => {
            return Kind::Credentials("AWS does not know these credentials: see `aws sts get-caller-identity`");
        }
        "RequestTimeTooSkewed" => return Kind::Credentials(CLOCK),
        "SignatureDoesNotMatch" | "InvalidSignatureException" | "IncompleteSignature" => {
            let skewed = message.contains("expired") || message.contains("not yet current");
            return Kind::Credentials(if skewed { CLOCK } else { "the secret access key is not this key's" });
        }
        "AccessDenied"
        | "AccessDeniedException"
        | "UnauthorizedOperation"
        | "UnauthorizedException"
        | "NotAuthorized"
        | "AuthorizationError"
        | "AuthorizationErrorException"
        | "BlockedException"
        | "OptInRequired" => return Kind::Denied,
        "RequestTimeout" | "RequestTimeoutException" | "UpdateInProgressException" => return Kind::Unavailable,
        _ => {}
    }
    if message.starts_with("Rate exceeded") || status == 429 {
        Kind::Throttled
    } else if status >= 500 {
        Kind::Unavailable
    } else if code.starts_with("TooMany") || code.contains("LimitExceeded") || code.contains("QuotaExceeded") {
        Kind::Full
    } else if code.contains("NotFound") || code.starts_with("NoSuch") {
        Kind::NotFound
    } else if ["Conflict", "Duplicate", "AlreadyExists", "InUse", "IdempotentParameterMismatch"]
        .iter()
        .any(|part| code.contains(part))
    {
        Kind::Conflict
    } else {
        Kind::Invalid
    }
}

const CLOCK: &str = "this machine's clock is off by minutes: AWS takes at most five";

/// A failure to get credentials, if that is what it was.
fn credentials<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a CredentialsError> {
    let mut at = Some(error);
    while let Some(current) = at {
        if let Some(found) = current.downcast_ref::<CredentialsError>() {
            return Some(found);
        }
        at = current.source();
    }
    None
}

/// What a service that hands out credentials says when it means no, and what helps.
const REFUSALS: [(&str, &str); 9] = [
    ("accessdenied", "the trust policy of the role must allow them, and they must be allowed to assume it"),
    ("expired", EXPIRED),
    ("unauthorizedexception", EXPIRED),
    ("invalidclienttokenid", UNKNOWN),
    ("unrecognizedclient", UNKNOWN),
    ("signaturedoesnotmatch", "the secret access key is not this key's, or this machine's clock is off"),
    ("invalididentitytoken", "the web identity token is not what the role's provider issues"),
    ("idprejectedclaim", "the role's provider rejects the web identity token"),
    ("regiondisabled", "STS is not switched on for this region in the account"),
];
const EXPIRED: &str = "they have expired: get new ones, for instance by `aws sso login`";
const UNKNOWN: &str = "AWS does not know them: see `aws sts get-caller-identity`";
const NONE: &str =
    "give a profile, AWS_ACCESS_KEY_ID, a web identity or a role; `aws sts get-caller-identity` tries the same chain";

/// Only what nobody but a human mends is a denial: a credential service may be slow, throttled or down like any other.
pub(crate) fn without_credentials(what: &str, error: &CredentialsError) -> PortError {
    let text = chain(error);
    let lower = text.to_ascii_lowercase();
    let hint = match error {
        CredentialsError::CredentialsNotLoaded(_) | CredentialsError::InvalidConfiguration(_) => Some(NONE),
        CredentialsError::ProviderTimedOut(_) => None,
        _ => REFUSALS.iter().find(|(said, _)| lower.contains(said)).map(|(_, hint)| *hint),
    };
    match hint {
        Some(hint) => PortError::Denied(format!("{what}: no AWS credentials ({hint}): {text}")),
        None => PortError::Unavailable(format!("{what}: no AWS credentials for now: {text}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(status: u16, code: &str, message: &str) -> PortError {
        answered("ecs:UpdateService on service web", status, code, message).error
    }

    #[test]
    fn codes_are_split_by_remedy() {
        assert!(matches!(of(400, "ThrottlingException", "Rate exceeded"), PortError::Throttled { .. }));
        assert!(matches!(of(400, "ClientException", "Rate exceeded"), PortError::Throttled { .. }));
        assert!(matches!(of(429, "", ""), PortError::Throttled { .. }));
        assert!(matches!(of(400, "ClusterNotFoundException", ""), PortError::NotFound(_)));
        assert!(matches!(of(400, "TargetGroupNotFound", ""), PortError::NotFound(_)));
        assert!(matches!(of(400, "NoSuchBucket", ""), PortError::NotFound(_)));
        assert!(matches!(of(400, "PriorityInUse", ""), PortError::Conflict(_)));
        assert!(matches!(of(400, "DuplicateListener", ""), PortError::Conflict(_)));
        assert!(matches!(of(400, "ConflictException", ""), PortError::Conflict(_)));
        assert!(matches!(of(400, "TooManyListeners", ""), PortError::Full(_)));
        assert!(matches!(of(400, "TooManyRequestsException", ""), PortError::Throttled { .. }));
        assert!(matches!(of(400, "LimitExceededException", ""), PortError::Full(_)));
        assert!(matches!(of(500, "ServerException", ""), PortError::Unavailable(_)));
        assert!(matches!(of(503, "", "busy"), PortError::Unavailable(_)));
        assert!(matches!(of(400, "InvalidParameterException", "x"), PortError::Invalid(_)));
    }

    #[test]
    fn a_denial_names_action_and_resource() {
        let message = "User: arn:x is not authorized to perform: iam:PassRole on resource: arn:aws:iam::1:role/task because no \
                       identity-based policy allows the iam:PassRole action";
        let PortError::Denied(text) = of(400, "AccessDeniedException", message) else { panic!() };
        assert_eq!(
            text,
            "ecs:UpdateService on service web: arn:x may not do iam:PassRole on arn:aws:iam::1:role/task: no policy of its own \
             allows it; `landfall iam` prints what is needed (AccessDeniedException)"
        );
        let PortError::Denied(text) = of(403, "AccessDenied", "Access Denied") else { panic!() };
        assert!(
            text.starts_with("ecs:UpdateService on service web: AccessDenied: Access Denied; `landfall iam`"),
            "{text}"
        );
        let encoded = "You are not authorized to perform this operation. Encoded authorization failure message: abc";
        assert!(of(403, "UnauthorizedOperation", encoded).to_string().contains("decode-authorization-message"));
    }

    #[test]
    fn a_host_that_nobody_knows_is_a_region_that_there_is_not() {
        let of = |why| unreachable("ecs:ListServices on cluster main", why).to_string();
        assert!(of("dispatch failure: io error: dns error: failed to lookup address").contains("region's name"));
        assert!(!of("dispatch failure: connection refused").contains("region"));
    }

    #[test]
    fn expired_unknown_and_skewed_credentials_say_what_to_do() {
        assert!(of(403, "ExpiredToken", "").to_string().contains("aws sso login"));
        assert!(of(400, "RequestExpired", "Request has expired.").to_string().contains("clock"));
        assert!(of(403, "RequestTimeTooSkewed", "").to_string().contains("clock"));
        let early = of(403, "SignatureDoesNotMatch", "Signature not yet current: 2026 is still later than 2026");
        assert!(early.to_string().contains("clock"));
        assert!(of(403, "InvalidClientTokenId", "").to_string().contains("get-caller-identity"));
        let skewed = of(403, "InvalidSignatureException", "Signature expired: 2026 is now earlier than 2026");
        assert!(skewed.to_string().contains("clock"));
        assert!(of(403, "SignatureDoesNotMatch", "no").to_string().contains("secret access key"));
    }

    #[test]
    fn a_credential_service_that_fails_for_now_is_no_denial() {
        let of = |error: CredentialsError| without_credentials("ecs:UpdateService on service web", &error);
        for passing in [
            "service error: unhandled error (InternalFailure)",
            "service error: unhandled error (Throttling)",
            "IDPCommunicationErrorException",
            "dispatch failure: io error",
            "service error: unhandled error (ServiceUnavailable)",
        ] {
            assert!(matches!(of(CredentialsError::provider_error(passing)), PortError::Unavailable(_)), "{passing}");
        }
        let slow = CredentialsError::provider_timed_out(std::time::Duration::from_secs(5));
        assert!(matches!(of(slow), PortError::Unavailable(_)));
        for (refused, hint) in [
            ("service error: unhandled error (AccessDenied)", "trust policy"),
            ("ExpiredTokenException: too old", "aws sso login"),
            ("the SSO session has expired", "aws sso login"),
            ("service error: unhandled error (InvalidClientTokenId)", "get-caller-identity"),
        ] {
            let error = of(CredentialsError::provider_error(refused));
            assert!(matches!(&error, PortError::Denied(text) if text.contains(hint)), "{error}");
        }
        for error in [CredentialsError::not_loaded("nothing"), CredentialsError::invalid_configuration("profile x")] {
            assert!(matches!(of(error), PortError::Denied(text) if text.contains("AWS_ACCESS_KEY_ID")));
        }
    }

    #[test]
    fn a_qualified_code_is_cut_to_its_name() {
        let found = answered("x", 400, "com.amazonaws.ecs#ServiceNotFoundException:http://internal", "");
        assert!(found.is("ServiceNotFoundException") && found.not_found());
    }
}
