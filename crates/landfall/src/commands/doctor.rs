//! `doctor`: looks at everything that a deployment needs, here and on AWS, and changes nothing. What is wrong has a hint; where a
//! right is missing, the statement that grants it.

mod here;
mod there;

use landfall_manifest::Severity;
use landfall_model::app::App;
use owo_colors::OwoColorize;
use serde::Serialize;

use crate::cli::{DoctorArgs, Global};
use crate::error::{CliResult, not_found};
use crate::exit::ExitCode;
use crate::printer::Printer;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Finding {
    Good,
    Wrong,
    NotChecked,
}

/// One thing that was looked at.
#[derive(Debug, Clone, Serialize)]
struct Line {
    name: String,
    finding: Finding,
    detail: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
    /// Statements that grant what is missing.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    grants: Vec<serde_json::Value>,
}

impl Line {
    fn good(name: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { name: name.into(), finding: Finding::Good, detail: detail.into(), hint: None, grants: Vec::new() }
    }

    fn wrong(name: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { finding: Finding::Wrong, ..Self::good(name, detail) }
    }

    fn not_checked(name: impl Into<String>, why: impl Into<String>) -> Self {
        Self { finding: Finding::NotChecked, ..Self::good(name, why) }
    }

    fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }
}

/// What was looked at in one place.
#[derive(Debug, Clone, Serialize)]
struct Section {
    /// `here`, or the place's name under `aws`.
    place: String,
    /// Environments that it is for; `previews` is one.
    #[serde(rename = "for", skip_serializing_if = "Vec::is_empty")]
    whose: Vec<String>,
    checks: Vec<Line>,
}

pub(crate) async fn run(args: &DoctorArgs, global: &Global, printer: &Printer) -> CliResult<ExitCode> {
    let (manifest, app) = manifest(&global.config);
    let app = app.as_ref();
    if let (Some(app), Some(what)) = (app, &args.what) {
        let previews = app.previews.is_some().then_some("previews");
        let known = app.environments.keys().map(String::as_str).chain(previews);
        if !known.clone().any(|name| name == what) {
            return Err(not_found("environment", what, known));
        }
    }
    let whose = whose(app, args.what.as_deref());
    let local = app.is_none() || whose.iter().any(|(_, on)| on.is_none());
    let places = async {
        match app {
            Some(app) => there::sections(app, &whose, global).await,
            None => Vec::new(),
        }
    };
    let (mut here, places) = tokio::join!(here::look(global, local), places);
    here.insert(0, manifest);
    let here = Section { place: "here".to_owned(), whose: Vec::new(), checks: here };
    let sections: Vec<Section> = std::iter::once(here).chain(places).collect();
    report(&sections, printer)
}

/// Loaded without a word: what is wrong with it is one line of many.
fn manifest(path: &std::path::Path) -> (Line, Option<App>) {
    let name = "manifest";
    let read = landfall_manifest::read_file(path)
        .map_err(|problem| vec![problem])
        .and_then(|source| crate::commands::manifest::from(&source));
    match read {
        Ok(loaded) => {
            let line = Line::good(name, format!("{} is valid: project {}", path.display(), loaded.app.project));
            let warnings = loaded.warnings.len();
            let line = if warnings == 0 { line } else { line.hint(format!("{warnings} warnings: `landfall check`")) };
            (line, Some(loaded.app))
        }
        Err(_) if !path.exists() => {
            let line = Line::wrong(name, format!("there is none at {}", path.display()));
            (line.hint("`landfall init` writes a first one; `--config FILE` names another place"), None)
        }
        Err(problems) => {
            let errors = problems.iter().filter(|problem| problem.severity == Severity::Error).count();
            let first = problems.first().map(|problem| problem.message.clone()).unwrap_or_default();
            let line = Line::wrong(name, format!("{}: {errors} errors; the first: {first}", path.display()));
            (line.hint("`landfall check` shows each with its place"), None)
        }
    }
}

/// What is asked about, and where each is.
fn whose<'a>(app: Option<&'a App>, what: Option<&str>) -> Vec<(String, Option<&'a str>)> {
    let Some(app) = app else { return Vec::new() };
    let previews = app.previews.as_ref().map(|previews| ("previews".to_owned(), previews.on.as_deref()));
    let environments = app.environments.values().map(|one| (one.name.clone(), one.on.as_deref()));
    previews.into_iter().chain(environments).filter(|(name, _)| what.is_none_or(|what| what == name)).collect()
}

fn report(sections: &[Section], printer: &Printer) -> CliResult<ExitCode> {
    let wrong: Vec<String> = sections
        .iter()
        .flat_map(|section| section.checks.iter().map(move |line| (section, line)))
        .filter(|(_, line)| line.finding == Finding::Wrong)
        .map(|(section, line)| match section.place.as_str() {
            "here" => line.name.clone(),
            place => format!("{place}: {}", line.name),
        })
        .collect();
    let code = if wrong.is_empty() { ExitCode::Ok } else { ExitCode::Failed };
    if printer.json() {
        let value = serde_json::json!({"places": sections, "wrong": wrong, "exit_code": code as u8});
        printer.json_data(&value)?;
        return Ok(code);
    }
    printer.data(text(sections, &wrong).trim_end())?;
    Ok(code)
}

fn text(sections: &[Section], wrong: &[String]) -> String {
    let mut out = String::new();
    for section in sections {
        let whose = if section.whose.is_empty() { String::new() } else { format!(" ({})", section.whose.join(", ")) };
        out.push_str(&format!("{}{whose}\n", section.place.bold()));
        let width = section.checks.iter().map(|line| line.name.chars().count()).max().unwrap_or_default();
        for line in &section.checks {
            let mark = match line.finding {
                Finding::Good => "✓".green().to_string(),
                Finding::Wrong => "✗".red().bold().to_string(),
                Finding::NotChecked => "–".yellow().to_string(),
            };
            let detail = match line.finding {
                Finding::NotChecked => format!("not checked: {}", line.detail),
                _ => line.detail.clone(),
            };
            out.push_str(&format!("  {mark} {:width$}  {detail}\n", line.name));
            if let Some(hint) = &line.hint {
                out.push_str(&format!("    {} {hint}\n", "hint:".cyan()));
            }
            for statement in &line.grants {
                out.push_str(&format!("    {} {statement}\n", "grant:".cyan()));
            }
        }
        out.push('\n');
    }
    out.push_str(&match wrong {
        [] => "nothing is wrong\n".to_owned(),
        all => format!("{} wrong: {}\n", all.len(), all.join(", ")),
    });
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_says_what_is_wrong() {
        let lines = vec![
            Line::good("git", "2.39.5"),
            Line::not_checked("certificate", "acm:DescribeCertificate lacks"),
            Line {
                grants: vec![serde_json::json!({"Effect": "Allow"})],
                ..Line::wrong("cluster", "main is not in eu-west-1").hint("create it")
            },
        ];
        let section = Section { place: "main".to_owned(), whose: vec!["prod".to_owned()], checks: lines };
        let plain = anstream::adapter::strip_str(&text(&[section], &["main: cluster".to_owned()])).to_string();
        assert_eq!(
            plain,
            "main (prod)\n  ✓ git          2.39.5\n  – certificate  not checked: acm:DescribeCertificate lacks\n  \
             ✗ cluster      main is not in eu-west-1\n    hint: create it\n    grant: {\"Effect\":\"Allow\"}\n\n\
             1 wrong: main: cluster\n"
        );
        assert_eq!(text(&[], &[]), "nothing is wrong\n");
    }

    #[test]
    fn environments_are_asked_about_one_by_one_or_all() {
        let app: App = serde_json::from_value(serde_json::json!({
            "project": "p", "repositories": {}, "services": {}, "notifications": [], "webhook_secrets": [],
            "environments": {"prod": {"name": "prod", "on": "main", "services": [], "variables": {}}},
            "previews": {
                "branches": [], "ignore": [], "pull_requests": false, "services": [], "variables": {},
                "routing": {"ports": {"first": 1, "last": 2}}, "hooks": [],
                "limits": {"concurrent_builds": 1, "concurrent_executions": 1}
            },
        }))
        .unwrap();
        let of = |what| whose(Some(&app), what);
        assert_eq!(of(None), [("previews".to_owned(), None), ("prod".to_owned(), Some("main"))]);
        assert_eq!(of(Some("prod")), [("prod".to_owned(), Some("main"))]);
        assert!(whose(None, None).is_empty());
    }
}
