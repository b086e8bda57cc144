//! `landfall notifications`: who is told, and whether what is mailed by SNS reaches anybody. SNS says nothing to who publishes: without a
//! subscriber that has confirmed, a notice is taken and thrown away.

use landfall_model::app::{App, Notification, NotificationTarget};
use landfall_ports::topic::Subscriber;
use serde::Serialize;

use crate::cli::Global;
use crate::cli::notifications::{NotificationsCommand, SubscribeArgs};
use crate::commands::{manifest, port_error};
use crate::error::{CliError, CliResult, not_found};
use crate::exit::ExitCode;
use crate::places::Places;
use crate::printer::Printer;
use crate::render::{table, trimmed};

/// A notification, as JSON and as text.
#[derive(Debug, Serialize)]
struct Told {
    name: String,
    /// `log`, `webhook`, `slack`, `sns`
    to: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    topic: Option<String>,
    /// Of a topic.
    #[serde(skip_serializing_if = "Option::is_none")]
    subscribers: Option<Vec<Subscriber>>,
    /// Why they are not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

pub(super) async fn run(command: NotificationsCommand, global: &Global, printer: &Printer) -> CliResult<ExitCode> {
    let app = manifest::load(&global.config, printer)?;
    let places = Places::connect(&app, "none").await?;
    match command {
        NotificationsCommand::List => list(&app, &places, printer).await,
        NotificationsCommand::Subscribe(args) => subscribe(&args, &app, &places, printer).await,
    }
}

async fn list(app: &App, places: &Places, printer: &Printer) -> CliResult<ExitCode> {
    let told = futures_util::future::join_all(app.notifications.iter().map(|one| told(one, places))).await;
    printer.emit(&told, |told| text(told))?;
    if told.is_empty() {
        printer.note("nobody is told: the manifest has no `notifications`");
    }
    for one in &told {
        let Some(subscribers) = &one.subscribers else {
            if let Some(error) = &one.error {
                printer.warn(format_args!("{}: {error}", one.name));
            }
            continue;
        };
        let name = &one.name;
        if !subscribers.iter().any(|one| one.confirmed) {
            printer.warn(format_args!("{name} reaches nobody"));
            printer.hint(format!(
                "`landfall notifications subscribe {name} ADDRESS` has it mailed; who is asked follows the link that AWS mails"
            ));
        }
    }
    Ok(ExitCode::Ok)
}

async fn told(notification: &Notification, places: &Places) -> Told {
    let name = notification.name.clone();
    let (to, sns) = match &notification.to {
        NotificationTarget::Log => ("log", None),
        NotificationTarget::Webhook { .. } => ("webhook", None),
        NotificationTarget::Slack { .. } => ("slack", None),
        NotificationTarget::Sns { topic, on, .. } => ("sns", Some((topic, on))),
    };
    let Some((topic, on)) = sns else { return Told { name, to, topic: None, subscribers: None, error: None } };
    let (subscribers, error) = match places.subscribers(on, topic).await {
        Ok(subscribers) => (Some(subscribers), None),
        Err(error) => (None, Some(error.to_string())),
    };
    Told { name, to, topic: Some(topic.clone()), subscribers, error }
}

fn text(told: &[Told]) -> String {
    if told.is_empty() {
        return String::new();
    }
    let mut table = table(&["name", "to", "subscriber", "state"]);
    for one in told {
        let to = one.topic.as_deref().and_then(|topic| topic.rsplit(':').next());
        let to = to.map_or_else(|| one.to.to_owned(), |topic| format!("{} {topic}", one.to));
        let Some(subscribers) = one.subscribers.as_ref().filter(|all| !all.is_empty()) else {
            let state = match (&one.error, &one.topic) {
                (Some(_), _) => "not known",
                (None, Some(_)) => "nobody",
                (None, None) => "",
            };
            table.add_row([&one.name, &to, "-", state]);
            continue;
        };
        for subscriber in subscribers {
            let who = format!("{} {}", subscriber.protocol, subscriber.endpoint);
            let state = if subscriber.confirmed { "confirmed" } else { "pending" };
            table.add_row([one.name.as_str(), &to, &who, state]);
        }
    }
    trimmed(&table)
}

async fn subscribe(args: &SubscribeArgs, app: &App, places: &Places, printer: &Printer) -> CliResult<ExitCode> {
    let found = app.notifications.iter().find(|one| one.name == args.name);
    let found = found
        .ok_or_else(|| not_found("notification", &args.name, app.notifications.iter().map(|one| one.name.as_str())));
    let NotificationTarget::Sns { topic, on, .. } = &found?.to else {
        return Err(CliError::new(
            ExitCode::Usage,
            format!("{} goes to no topic of SNS, which alone mails", args.name),
        ));
    };
    let there = places.subscribers(on, topic).await.map_err(port_error)?;
    for address in &args.addresses {
        if there.iter().any(|one| one.confirmed && one.protocol == "email" && one.endpoint == *address) {
            printer.note(format_args!("{address} is subscribed, and has confirmed"));
            continue;
        }
        places.subscribe(on, topic, address).await.map_err(port_error)?;
        printer.note(format_args!("{address} is mailed a link by AWS; before it is followed, nothing is sent there"));
    }
    let after = places.subscribers(on, topic).await.map_err(port_error)?;
    let told =
        Told { name: args.name.clone(), to: "sns", topic: Some(topic.clone()), subscribers: Some(after), error: None };
    printer.emit(&told, |told| text(std::slice::from_ref(told)))?;
    Ok(ExitCode::Ok)
}
