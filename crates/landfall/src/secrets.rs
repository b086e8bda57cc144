//! Landfall's own secrets (webhooks, notifications), from where the manifest says they are. Names may be shown, values never.

use landfall_model::app::SlackCommands;
use landfall_model::task::SecretRef;
use landfall_server::chat::Chat;

use crate::env_vars;
use crate::error::{CliError, CliResult};
use crate::exit::ExitCode;
use crate::places::Places;

/// Every one of them is good.
pub(crate) async fn webhook(secrets: &[SecretRef], places: &Places) -> CliResult<Vec<Vec<u8>>> {
    let mut values = Vec::new();
    for secret in secrets {
        values.extend(several(secret, &resolve(secret, places).await?));
    }
    if values.is_empty() {
        return Err(CliError::new(ExitCode::Usage, "the secrets that sign webhooks are empty")
            .hint("docs/github.md says how to set up the webhook"));
    }
    Ok(values)
}

/// What proves that a command comes from Slack.
pub(crate) async fn chat(slack: &SlackCommands, places: &Places) -> CliResult<Chat> {
    let value = async |secret: &Option<SecretRef>| match secret {
        Some(secret) => Ok(Some(resolve(secret, places).await?.into_bytes())),
        None => Ok(None),
    };
    let chat = Chat {
        signing_secret: value(&slack.signing_secret).await?,
        outgoing_token: value(&slack.outgoing_token).await?,
        channels: slack.channels.clone(),
        users: slack.users.clone(),
        ..Chat::default()
    };
    let empty = |secret: &Option<Vec<u8>>| secret.as_ref().is_some_and(Vec::is_empty);
    if empty(&chat.signing_secret) || empty(&chat.outgoing_token) {
        return Err(CliError::new(ExitCode::Usage, "a secret of chatops.slack is empty")
            .hint("docs/chatops.md says where it is"));
    }
    Ok(chat)
}

/// Our own variable may hold several, separated by commas, for the time of a rotation; any other source is one secret, commas
/// included.
fn several(secret: &SecretRef, value: &str) -> Vec<Vec<u8>> {
    let ours = *secret == SecretRef::Env(env_vars::WEBHOOK_SECRET.to_owned());
    let parts: Vec<&str> = if ours { value.split(',').map(str::trim).collect() } else { vec![value] };
    parts.into_iter().filter(|part| !part.is_empty()).map(|part| part.as_bytes().to_vec()).collect()
}

pub(crate) async fn resolve(secret: &SecretRef, places: &Places) -> CliResult<String> {
    match secret {
        SecretRef::Env(name) => std::env::var(name).ok().filter(|value| !value.is_empty()).ok_or_else(|| {
            CliError::new(ExitCode::NotFound, format!("the environment variable {name}, named as a secret, is not set"))
        }),
        SecretRef::File(path) => {
            let text = std::fs::read_to_string(path)
                .map_err(|error| CliError::io(format!("the secret's file {path} cannot be read"), &error))?;
            Ok(text.strip_suffix('\n').map_or(text.clone(), |text| text.strip_suffix('\r').unwrap_or(text).to_owned()))
        }
        SecretRef::Ssm(_) | SecretRef::SecretsManager(_) => places.secret(secret).await,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use landfall_model::app::App;

    use super::*;

    async fn nowhere() -> Places {
        let app: App = serde_json::from_value(serde_json::json!({
            "project": "p", "repositories": {}, "services": {}, "environments": {}, "previews": null, "notifications": [],
            "webhook_secrets": []
        }))
        .unwrap();
        Places::connect(&app, "test").await.unwrap()
    }

    #[tokio::test]
    async fn a_secret_loses_one_newline_and_no_more() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("secret");
        let places = nowhere().await;
        for (text, value) in [("abc\n", "abc"), ("abc\r\n", "abc"), ("abc\n\n", "abc\n"), ("abc", "abc")] {
            std::fs::write(&path, text).unwrap();
            let secret = SecretRef::File(path.display().to_string());
            assert_eq!(resolve(&secret, &places).await.unwrap(), value);
        }
        let missing = resolve(&SecretRef::Env("LANDFALL_TEST_NO_SUCH_SECRET".into()), &places).await.unwrap_err();
        assert_eq!(missing.code, ExitCode::NotFound);
        // A manifest without a place on AWS.
        let astray = resolve(&SecretRef::Ssm("/x".into()), &places).await.unwrap_err();
        assert_eq!(astray.code, ExitCode::InvalidManifest);
    }

    #[test]
    fn our_variable_holds_two_secrets_while_rotating() {
        let ours = SecretRef::Env(env_vars::WEBHOOK_SECRET.to_owned());
        let other = SecretRef::Env("OTHER".to_owned());
        let values = |secret: &SecretRef, value: &str| -> Vec<String> {
            several(secret, value).into_iter().map(|value| String::from_utf8(value).unwrap()).collect()
        };
        assert_eq!(values(&ours, "old"), ["old"]);
        assert_eq!(values(&ours, "old,new"), ["old", "new"]);
        assert_eq!(values(&ours, " old, new ,"), ["old", "new"]);
        assert_eq!(values(&other, "a,b"), ["a,b"], "elsewhere a comma is part of the secret");
        // Nothing that anybody could sign with.
        assert!(values(&ours, ", ,").is_empty() && values(&other, "").is_empty());
    }

    #[tokio::test]
    async fn empty_secrets_are_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("secret");
        std::fs::write(&path, "\n").unwrap();
        let secrets = [SecretRef::File(path.display().to_string())];
        assert_eq!(webhook(&secrets, &nowhere().await).await.unwrap_err().code, ExitCode::Usage);
    }
}
