//! Probes of lasting environments.

use super::{Checker, shown_at};
use crate::authored::Verify;
use crate::codes;
use crate::diagnostic::Diagnostic;
use crate::tree::{At, shorten};

impl Checker<'_, '_> {
    pub(super) fn verify(&mut self, verify: &Verify, at: At<'_>) {
        if let Some(url) = &verify.url {
            self.url(url, at.get("url"));
        }
        self.seconds(verify.deadline, at.get("deadline"), 1, 3_600);
        for (name, probe) in &verify.probes {
            let at = at.get("probes").get(name);
            self.name("probe", name, 40, at);
            if let Some(path) = &probe.path
                && (!path.starts_with('/') || path.contains(char::is_whitespace) || path.contains('#'))
            {
                let at = at.get("path");
                let error = Diagnostic::error(codes::URL, format!("{} is no path of a URL", shown_at(at)));
                self.push(error.label(at.span(), "begins with `/`, without white space and `#`"));
            }
            if let Some(status) = &probe.status {
                self.statuses(&status.0, at.get("status"));
            }
            if probe.body.as_ref().is_some_and(|body| body.0.is_empty()) {
                self.error(codes::BAD_VALUE, at.get("body"), "every body contains nothing", "empty");
            }
            for header in probe.headers.keys() {
                let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
                if header.is_empty() || !header.bytes().all(legal) {
                    let at = at.get("headers").get(header);
                    let error = Diagnostic::error(codes::BAD_VALUE, format!("`{}` is no header", shorten(header)));
                    self.push(error.label(at.key_span(), "letters, digits and `-`"));
                }
            }
            if probe.within.is_some_and(|within| within.0 == 0 || within.0 > 60_000) {
                self.error(codes::OUT_OF_RANGE, at.get("within"), "`within` is out of range", "must be 1ms to 60s");
            }
        }
    }

    pub(super) fn statuses(&mut self, text: &str, at: At<'_>) {
        if let Err(rule) = statuses(text) {
            let message = format!("{} is no list of status codes", shown_at(at));
            self.error(codes::MATCHER, at, message, rule);
        }
    }
}

/// As a health check's, but any status may be meant.
fn statuses(text: &str) -> Result<(), &'static str> {
    let code = |text: &str| text.trim().parse::<u16>().ok().filter(|code| (100..=599).contains(code));
    for part in text.split(',') {
        let sound = match part.split_once('-') {
            Some((first, last)) => matches!((code(first), code(last)), (Some(first), Some(last)) if first <= last),
            None => code(part).is_some(),
        };
        if !sound {
            return Err("write `200`, `200,202`, `200-299` or a mix");
        }
    }
    Ok(())
}
