//! Who is told.

use clap::{Args, Subcommand};

#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub(crate) enum NotificationsCommand {
    /// The manifest's notifications, and of SNS topics who gets them and who has not confirmed yet
    #[command(
        visible_alias = "ls",
        after_help = "Examples:\n  landfall notifications list\n  landfall notifications list --output json"
    )]
    List,
    /// Have what goes to an SNS topic mailed to somebody: AWS mails a link first, which is to be followed
    #[command(
        after_help = "Examples:\n  landfall notifications subscribe approvals anna@example.com\n\nWho has not confirmed yet is mailed the link again."
    )]
    Subscribe(SubscribeArgs),
}

#[derive(Debug, Clone, Args)]
pub(crate) struct SubscribeArgs {
    /// The notification's name in the manifest
    pub(crate) name: String,
    /// Addresses
    #[arg(required = true, value_name = "ADDRESS", value_parser = address)]
    pub(crate) addresses: Vec<String>,
}

fn address(text: &str) -> Result<String, String> {
    let sound = |(name, host): (&str, &str)| !name.is_empty() && host.contains('.') && !host.contains('@');
    let plain = !text.chars().any(|c| c.is_whitespace() || c.is_control());
    match plain && text.split_once('@').is_some_and(sound) {
        true => Ok(text.to_owned()),
        false => Err("an address is like anna@example.com".to_owned()),
    }
}
