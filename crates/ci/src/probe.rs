//! Whether an answer is what a probe wants, where to ask, and when to ask again.

use std::fmt::Write as _;
use std::time::Duration;

use landfall_model::probe::Probe;

/// What came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: String,
    pub took: Duration,
}

/// Of a body, in a message.
const SHOWN: usize = 1_000;
const HEADERS: usize = 12;

/// # Errors
/// Everything that is not as the probe wants it.
pub fn judge(probe: &Probe, answer: &Answer) -> Result<(), Vec<String>> {
    let mut wrong = Vec::new();
    if !matches(&probe.status, answer.status) {
        wrong.push(format!("status {} instead of {}", answer.status, probe.status));
    }
    if let Some(text) = &probe.body
        && !answer.body.contains(text.as_str())
    {
        wrong.push(format!("the body does not contain {text:?}"));
    }
    for (name, text) in &probe.headers {
        let mut all = answer.headers.iter().filter(|(own, _)| own.eq_ignore_ascii_case(name)).peekable();
        if all.peek().is_none() {
            wrong.push(format!("there is no header {name}"));
        } else if !all.any(|(_, value)| value.contains(text.as_str())) {
            wrong.push(format!("header {name} does not contain {text:?}"));
        }
    }
    if let Some(within) = probe.within
        && answer.took > Duration::from_millis(within.into())
    {
        wrong.push(format!("it took {} ms, and {within} ms are allowed", answer.took.as_millis()));
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong) }
}

/// What came back, as the last thing that a person needs to see.
pub fn shown(answer: &Answer) -> String {
    let mut out = format!("status {} after {} ms\n", answer.status, answer.took.as_millis());
    for (name, value) in answer.headers.iter().take(HEADERS) {
        let _ = writeln!(out, "{name}: {value}");
    }
    out.push('\n');
    let body = answer.body.trim_end();
    let end = body.char_indices().nth(SHOWN).map_or(body.len(), |(at, _)| at);
    out.extend(body[..end].chars().map(|c| if c.is_control() && c != '\n' && c != '\t' { '\u{fffd}' } else { c }));
    match (body.is_empty(), end < body.len()) {
        (true, _) => out.push_str("(no body)"),
        (false, true) => {
            let _ = write!(out, "\n… and {} bytes more", body.len() - end);
        }
        (false, false) => {}
    }
    out
}

fn matches(list: &str, status: u16) -> bool {
    let code = |text: &str| text.trim().parse::<u16>().unwrap_or(0);
    list.split(',').any(|part| match part.split_once('-') {
        Some((first, last)) => (code(first)..=code(last)).contains(&status),
        None => code(part) == status,
    })
}

/// Between one try and the next, counted from 0: soon at first, never longer than this.
pub fn pause(tries: u32) -> Duration {
    Duration::from_millis(250).saturating_mul(1 << tries.min(5))
}

/// Where to connect for `path` below `base`, and the Host header where the connection goes elsewhere. `through`: `HOST:PORT`, spoken
/// to as the URL says, or a URL whose path goes before the probe's.
pub fn target(base: &str, path: &str, through: Option<&str>) -> (String, Option<String>) {
    let base = base.trim_end_matches('/');
    let Some(through) = through else { return (format!("{base}{path}"), None) };
    let (scheme, rest) = base.split_once("://").unwrap_or(("http", base));
    let (host, prefix) = rest.split_once('/').map_or((rest, String::new()), |(host, path)| (host, format!("/{path}")));
    let through = through.trim_end_matches('/');
    let through = if through.contains("://") { through.to_owned() } else { format!("{scheme}://{through}") };
    (format!("{through}{prefix}{path}"), Some(host.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer() -> Answer {
        Answer {
            status: 200,
            headers: vec![("content-type".to_owned(), "text/html; charset=utf-8".to_owned())],
            body: "<p>Hello World!</p>\n".to_owned(),
            took: Duration::from_millis(80),
        }
    }

    #[test]
    fn everything_that_is_wrong_is_told_at_once() {
        let probe = Probe {
            status: "200,204-205".to_owned(),
            body: Some("Hello World!".to_owned()),
            headers: [("Content-Type".to_owned(), "text/html".to_owned())].into(),
            within: Some(80),
            ..Probe::default()
        };
        assert_eq!(judge(&probe, &answer()), Ok(()));
        let other = Answer { status: 503, headers: Vec::new(), body: "no".to_owned(), took: Duration::from_millis(81) };
        let wrong = judge(&probe, &other).unwrap_err();
        assert_eq!(
            wrong,
            [
                "status 503 instead of 200,204-205",
                "the body does not contain \"Hello World!\"",
                "there is no header Content-Type",
                "it took 81 ms, and 80 ms are allowed",
            ]
        );
        assert!(matches("204-205", 205) && !matches("204-205", 203));
    }

    #[test]
    fn what_came_back_is_shown_and_cut() {
        let text = shown(&Answer { body: format!("{}\x1b[31m", "ä".repeat(1_100)), ..answer() });
        assert!(text.starts_with("status 200 after 80 ms\ncontent-type: text/html"), "{text}");
        assert!(text.ends_with("bytes more") && !text.contains('\x1b'), "{text}");
        assert!(shown(&Answer { body: String::new(), ..answer() }).ends_with("(no body)"));
    }

    #[test]
    fn requests_may_go_through_something_else() {
        let of = |through| target("https://a.example:8443/", "/x?y", through);
        assert_eq!(of(None), ("https://a.example:8443/x?y".to_owned(), None));
        let host = Some("a.example:8443".to_owned());
        assert_eq!(of(Some("127.0.0.1:9")), ("https://127.0.0.1:9/x?y".to_owned(), host.clone()));
        assert_eq!(of(Some("http://127.0.0.1:9/_alb/m/")), ("http://127.0.0.1:9/_alb/m/x?y".to_owned(), host));
    }

    #[test]
    fn pauses_grow_and_stop_growing() {
        let all: Vec<u128> = (0..8).map(|tries| pause(tries).as_millis()).collect();
        assert_eq!(all, [250, 500, 1_000, 2_000, 4_000, 8_000, 8_000, 8_000]);
    }
}
