//! Credentials, clock, region, and who one is there.

use std::time::SystemTime;

use aws_credential_types::Credentials;
use aws_credential_types::credential_feature::AwsCredentialFeature as Source;
use aws_credential_types::provider::ProvideCredentials as _;
use jiff::Timestamp;
use landfall_ports::{PortError, chain};

use super::ask::STS;
use super::{Check, Examiner};
use crate::error::{Failed, without_credentials};
use crate::signed::{endpoint, xml};

/// AWS refuses signatures that are five minutes off.
const SKEW_REFUSED: i64 = 300;
/// Worth a word before it is refused.
const SKEW_NOTICED: i64 = 60;

/// Who the credentials are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Identity {
    pub arn: String,
    pub account: String,
}

impl Examiner {
    /// `None`: AWS does not know who we are.
    pub(crate) async fn identity(&self) -> (Vec<Check>, Option<Identity>) {
        let (mut checks, (region, skew)) = (Vec::new(), self.region_and_clock().await);
        let (credentials, found) = self.credentials().await;
        checks.push(credentials);
        checks.push(region);
        checks.push(skew);
        if !found {
            return (checks, None);
        }
        let target = &self.core.target;
        let asked = self.query(STS, "GetCallerIdentity", "the credentials", &[]).await;
        let identity = match asked {
            Ok(answer) => Identity {
                arn: xml(&answer, "Arn").unwrap_or_default(),
                account: xml(&answer, "Account").unwrap_or_default(),
            },
            Err(failed) => {
                checks.push(self.unknown(failed).await);
                return (checks, None);
            }
        };
        checks.push(Check::good("identity", &identity.arn));
        if let Some(role) = &target.role {
            checks.push(Check::good("role", format!("{} is assumed", role.arn)));
        }
        checks.push(match &target.account {
            None => Check::good("account", format!("{}; the manifest names none", identity.account)),
            Some(account) if *account == identity.account => Check::good("account", account),
            Some(account) => Check::wrong(
                "account",
                format!("the credentials belong to {}, and `aws.{}.account` is {account}", identity.account, target.name),
                "nothing is written there: use the other account's credentials (`profile`, `role`), or correct `account`",
            ),
        });
        (checks, Some(identity))
    }

    /// Whether there are any.
    async fn credentials(&self) -> (Check, bool) {
        let provider = self.core.sdk.credentials_provider();
        let Some(provider) = provider else {
            let hint = "give a profile, AWS_ACCESS_KEY_ID, a web identity or a role";
            return (Check::wrong("credentials", "none are configured", hint), false);
        };
        match provider.provide_credentials().await {
            Ok(credentials) => {
                let (detail, over) = described(&credentials, SystemTime::now());
                let check = Check::good("credentials", detail);
                if over {
                    let hint = "get new ones, for instance by `aws sso login`";
                    return (Check::wrong("credentials", check.detail, hint), false);
                }
                (check, true)
            }
            Err(error) => {
                let what = match &self.core.target.role {
                    Some(role) => format!("sts:AssumeRole on {}", role.arn),
                    None => "credentials".to_owned(),
                };
                let failed = Failed { message: chain(&error), ..Failed::from(without_credentials(&what, &error)) };
                let name = if self.core.target.role.is_some() { "role" } else { "credentials" };
                (Check::failed(name, &failed, true), false)
            }
        }
    }

    /// Any answer has the time, also one that refuses.
    async fn region_and_clock(&self) -> (Check, Check) {
        let region = &self.core.region;
        let url = endpoint(self.core.sdk.endpoint_url(), "ecs", region);
        let asked = self.http.get(&url).timeout(crate::config::CALL_TIMEOUT).send().await;
        let answer = match asked {
            Ok(answer) => answer,
            Err(error) => {
                let why = chain(&error.without_url());
                let hint = format!(
                    "is `{region}` the name of a region, and can this machine reach {url}? A proxy is read from HTTPS_PROXY"
                );
                let skew = Check::not_checked("clock", "AWS does not answer");
                return (Check::wrong("region", format!("{region}: {url} does not answer: {why}"), hint), skew);
            }
        };
        let date = answer.headers().get("date").and_then(|date| date.to_str().ok());
        let there = date.and_then(|date| jiff::fmt::rfc2822::parse(date).ok()).map(|date| date.timestamp());
        (Check::good("region", format!("{region}, {url} answers")), clock(there, Timestamp::now()))
    }

    /// A region that is not switched on for the account refuses keys that are right elsewhere.
    async fn unknown(&self, failed: Failed) -> Check {
        let other = "us-east-1";
        let unknown = ["InvalidClientTokenId", "UnrecognizedClientException"].iter().any(|code| failed.is(code));
        if unknown && self.core.sdk.endpoint_url().is_none() && self.core.region != other {
            let there = aws_sdk_sts::config::Builder::from(&self.core.sdk)
                .region(aws_sdk_sts::config::Region::new(other))
                .build();
            if aws_sdk_sts::Client::from_conf(there).get_caller_identity().send().await.is_ok() {
                return Check::wrong(
                    "region",
                    format!("the credentials are right, and not in {}", self.core.region),
                    "the region is not switched on for the account, or it is the wrong one: see `aws account list-regions`",
                );
            }
        }
        let mut check = Check::failed("identity", &failed, true);
        if matches!(failed.error, PortError::Unavailable(_)) {
            check.hint = Some("STS does not answer: see the region".to_owned());
        }
        check
    }
}

/// Where they come from and when they end, and whether that has passed.
fn described(credentials: &Credentials, now: SystemTime) -> (String, bool) {
    let sources = credentials.get_property::<Vec<Source>>().map(Vec::as_slice).unwrap_or_default();
    let mut from: Vec<&str> = sources.iter().filter_map(source).collect();
    from.dedup();
    let key = credentials.access_key_id();
    let from = if from.is_empty() { "given".to_owned() } else { format!("from {}", from.join(", ")) };
    let Some(expiry) = credentials.expiry() else { return (format!("{from}: {key}, without end"), false) };
    match expiry.duration_since(now) {
        Ok(left) => (format!("{from}: {key}, for another {} min", left.as_secs() / 60), false),
        Err(over) => (format!("{from}: {key} expired {} min ago", over.duration().as_secs() / 60), true),
    }
}

fn source(source: &Source) -> Option<&'static str> {
    Some(match source {
        Source::CredentialsEnvVars => "the environment (AWS_ACCESS_KEY_ID)",
        Source::CredentialsProfile | Source::CredentialsProfileNamedProvider => "a profile",
        Source::CredentialsProfileSourceProfile => "a profile's source profile",
        Source::CredentialsProfileSso | Source::CredentialsSso => "SSO",
        Source::CredentialsProfileProcess | Source::CredentialsProcess => "a credential process",
        Source::CredentialsProfileLogin | Source::CredentialsLogin => "`aws login`",
        Source::CredentialsEnvVarsStsWebIdToken | Source::CredentialsProfileStsWebIdToken => "a web identity token",
        Source::CredentialsStsAssumeRoleWebId => "a role for the web identity",
        Source::CredentialsStsAssumeRole => "a role",
        Source::CredentialsHttp => "the container's role",
        Source::CredentialsImds => "the instance's role",
        _ => return None,
    })
}

fn clock(there: Option<Timestamp>, here: Timestamp) -> Check {
    let Some(there) = there else { return Check::not_checked("clock", "the answer has no date") };
    let off = here.as_second() - there.as_second();
    let which = if off > 0 { "ahead of" } else { "behind" };
    if off.abs() >= SKEW_REFUSED {
        let hint =
            "AWS refuses signatures that are five minutes off: have the time kept by NTP (`timedatectl set-ntp true`)";
        return Check::wrong("clock", format!("{} s {which} AWS", off.abs()), hint);
    }
    if off.abs() >= SKEW_NOTICED {
        return Check {
            hint: Some("at 300 s AWS refuses signatures".to_owned()),
            ..Check::good("clock", format!("{} s {which} AWS", off.abs()))
        };
    }
    Check::good("clock", "as AWS has it")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::doctor::Finding;

    #[test]
    fn a_clock_that_is_off_is_told_before_aws_refuses() {
        let now = Timestamp::from_second(1_700_000_000).unwrap();
        let of = |off: i64| clock(Some(Timestamp::from_second(1_700_000_000 - off).unwrap()), now);
        assert_eq!((of(0).finding, of(59).hint), (Finding::Good, None));
        assert!(of(61).hint.is_some() && of(61).finding == Finding::Good);
        let off = of(-301);
        assert_eq!((off.finding, off.detail.as_str()), (Finding::Wrong, "301 s behind AWS"));
        assert!(off.hint.unwrap().contains("NTP"));
        assert_eq!(clock(None, now).finding, Finding::NotChecked);
    }

    #[test]
    fn credentials_say_where_they_come_from_and_when_they_end() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        let of = |expiry, source: Option<Source>| {
            let mut credentials = Credentials::new("AKIA1", "s", None, expiry, "test");
            if let Some(source) = source {
                credentials.get_property_mut_or_default::<Vec<Source>>().push(source);
            }
            described(&credentials, now)
        };
        let forever = of(None, Some(Source::CredentialsEnvVars));
        assert_eq!(forever, ("from the environment (AWS_ACCESS_KEY_ID): AKIA1, without end".to_owned(), false));
        let short = of(Some(now + Duration::from_secs(600)), Some(Source::CredentialsSso));
        assert_eq!(short, ("from SSO: AKIA1, for another 10 min".to_owned(), false));
        let over = of(Some(now - Duration::from_secs(600)), None);
        assert_eq!(over, ("given: AKIA1 expired 10 min ago".to_owned(), true));
    }
}
