//! What the commands that compare print, and the codes that they end with.

use landfall_deploy::diff::{Change, Kind, diff, text};
use landfall_ports::orchestrator::{Found, Looked};
use landfall_server::deploy::{Compared, Comparison, PlannedStep};
use serde::Serialize;

use crate::error::CliResult;
use crate::exit::ExitCode;
use crate::printer::Printer;

/// The JSON of `plan`, `diff` and `drift`.
#[derive(Serialize)]
struct Report<'a> {
    environment: &'a str,
    title: &'a str,
    different: bool,
    exit_code: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    release: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    steps: Option<&'a [PlannedStep]>,
    services: Vec<Service<'a>>,
}

#[derive(Serialize)]
struct Service<'a> {
    service: &'a str,
    name: &'a str,
    exists: bool,
    task_definition: Vec<Change>,
    #[serde(rename = "settings")]
    service_changes: Vec<Change>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    notes: &'a [String],
}

impl<'a> Service<'a> {
    fn of(compared: &'a Compared) -> Self {
        let nothing = serde_json::Value::Null;
        let (definition, service) = match &compared.live {
            Some(live) => (&live.task_definition, &live.service),
            None => (&nothing, &nothing),
        };
        Self {
            service: &compared.service,
            name: &compared.name,
            exists: compared.live.is_some(),
            task_definition: diff(Kind::TaskDefinition, definition, &compared.wanted.task_definition),
            service_changes: diff(Kind::Service, service, &compared.wanted.service),
            notes: &compared.notes,
        }
    }

    fn differs(&self) -> bool {
        !self.exists || !self.task_definition.is_empty() || !self.service_changes.is_empty()
    }

    fn text(&self) -> String {
        let state = match (self.exists, self.differs()) {
            (false, _) => ": not there yet",
            (true, false) => ": the same",
            (true, true) => "",
        };
        let mut out = format!("{} ({}){state}\n", self.service, self.name);
        for (head, changes) in [("task definition", &self.task_definition), ("service", &self.service_changes)] {
            if !changes.is_empty() {
                out.push_str(&format!("  {head}\n{}", indented(&text(changes))));
            }
        }
        for note in self.notes {
            out.push_str(&format!("  ! {note}\n"));
        }
        out
    }
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("    {line}\n")).collect()
}

/// `steps`: with what a deployment would do, in its order.
pub(super) fn differences(comparison: &Comparison, steps: bool, printer: &Printer) -> CliResult<ExitCode> {
    let services: Vec<Service<'_>> = comparison.services.iter().map(Service::of).collect();
    let different = services.iter().any(Service::differs);
    let code = if different { ExitCode::Different } else { ExitCode::Ok };
    let report = Report {
        environment: comparison.environment.as_str(),
        title: &comparison.title,
        different,
        exit_code: code as u8,
        release: comparison.release.as_ref().map(landfall_model::ids::ExecutionId::as_str),
        steps: steps.then_some(comparison.steps.as_slice()),
        services,
    };
    printer.emit(&report, |report| {
        let mut out: String = report.services.iter().map(Service::text).collect();
        if let Some(steps) = report.steps {
            out.push_str(&format!("\n{}\n", report.title));
            let width = steps.iter().map(|step| step.id.chars().count()).max().unwrap_or(0);
            for step in steps {
                out.push_str(&format!("  {:width$}  {}\n", step.id, step.title));
            }
        }
        out
    })?;
    Ok(code)
}

#[derive(Serialize)]
struct Findings<'a> {
    environment: &'a str,
    ok: bool,
    exit_code: u8,
    services: Vec<ServiceFindings<'a>>,
}

#[derive(Serialize)]
struct ServiceFindings<'a> {
    service: &'a str,
    name: &'a str,
    looked: &'a [Looked],
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    notes: &'a [String],
}

impl<'a> ServiceFindings<'a> {
    fn of(compared: &'a Compared) -> Self {
        let Compared { service, name, looked, notes, .. } = compared;
        Self { service, name, looked, notes }
    }

    fn text(&self) -> String {
        let mut out = format!("{} ({})\n", self.service, self.name);
        for one in self.looked {
            match &one.found {
                Found::Ok => out.push_str(&format!("  ok           {}\n", one.what)),
                Found::Wrong { message, hint } => {
                    out.push_str(&format!("  wrong        {}: {message}\n               {hint}\n", one.what));
                }
                Found::NotChecked { why } => out.push_str(&format!("  not checked  {}: {why}\n", one.what)),
            }
        }
        if self.looked.is_empty() {
            out.push_str("  on this machine there is nothing to look at but images\n");
        }
        for note in self.notes {
            out.push_str(&format!("  ! {note}\n"));
        }
        out
    }
}

pub(super) fn findings(comparison: &Comparison, printer: &Printer) -> CliResult<ExitCode> {
    let looked = comparison.services.iter().flat_map(|service| &service.looked);
    let ok = !looked.into_iter().any(|one| matches!(one.found, Found::Wrong { .. }));
    let code = if ok { ExitCode::Ok } else { ExitCode::Failed };
    let findings = Findings {
        environment: comparison.environment.as_str(),
        ok,
        exit_code: code as u8,
        services: comparison.services.iter().map(ServiceFindings::of).collect(),
    };
    printer.emit(&findings, |findings| findings.services.iter().map(ServiceFindings::text).collect())?;
    Ok(code)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use landfall_ports::orchestrator::Documents;
    use serde_json::json;

    use super::*;

    fn compared(live: bool, image: &str) -> Compared {
        let documents = |image: &str| Documents {
            task_definition: json!({"family": "f", "containerDefinitions": [{"name": "app", "image": image}]}),
            service: json!({"serviceName": "shop-prod-web", "desiredCount": 1}),
        };
        Compared {
            service: "web".to_owned(),
            name: "shop-prod-web".to_owned(),
            live: live.then(|| documents("app:1")),
            wanted: documents(image),
            notes: vec!["image app:2 is not there yet".to_owned()],
            looked: Vec::new(),
        }
    }

    #[test]
    fn a_service_is_shown_with_its_changes() {
        let other = compared(true, "app:2");
        let shown = Service::of(&other);
        assert!(shown.differs());
        assert_eq!(
            shown.text(),
            "web (shop-prod-web)\n  task definition\n    ~ containerDefinitions[app].image  app:1 → app:2\n  \
             ! image app:2 is not there yet\n"
        );
        let same = Compared { notes: Vec::new(), ..compared(true, "app:1") };
        assert_eq!(Service::of(&same).text(), "web (shop-prod-web): the same\n");
        assert!(!Service::of(&same).differs());
        let new = compared(false, "app:1");
        assert!(Service::of(&new).differs());
        assert!(Service::of(&new).text().starts_with("web (shop-prod-web): not there yet\n  task definition\n"));
    }

    #[test]
    fn what_was_looked_at_is_shown_with_what_helps() {
        let looked = |what: &str, found| Looked { what: what.to_owned(), found };
        let all = [
            looked("cluster main", Found::Ok),
            looked("image", Found::Wrong { message: "gone".to_owned(), hint: "push it".to_owned() }),
            looked("role", Found::NotChecked { why: "denied".to_owned() }),
        ];
        let shown = ServiceFindings { service: "web", name: "w", looked: &all, notes: &[] };
        assert_eq!(
            shown.text(),
            "web (w)\n  ok           cluster main\n  wrong        image: gone\n               push it\n  \
             not checked  role: denied\n"
        );
    }
}
