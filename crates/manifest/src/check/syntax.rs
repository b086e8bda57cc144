//! Notations that are checked but kept as text: names, host names, URLs, image references, status code lists, globs.

/// Lower-case letters, digits and hyphens; begins with a letter, ends with a letter or digit.
pub(crate) fn name(text: &str, longest: usize) -> Result<(), String> {
    let legal = text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && !text.ends_with('-');
    if !legal {
        return Err("lower-case letters, digits and hyphens; begins with a letter, does not end with a hyphen".into());
    }
    if text.len() > longest {
        return Err(format!("at most {longest} characters"));
    }
    Ok(())
}

/// The nearest legal spelling of `text`, if anything of it can be kept.
pub fn legal_name(text: &str, longest: usize) -> Option<String> {
    let mut out = String::new();
    for c in text.chars() {
        match c.to_ascii_lowercase() {
            c if c.is_ascii_lowercase() || (c.is_ascii_digit() && !out.is_empty()) => out.push(c),
            _ if !out.is_empty() && !out.ends_with('-') => out.push('-'),
            _ => {}
        }
    }
    out.truncate(longest);
    let out = out.trim_end_matches('-').to_owned();
    (!out.is_empty()).then_some(out)
}

/// ECS allows letters, digits, `-` and `_`, up to 255; we keep names short enough to be labels.
pub(crate) fn container_name(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 63
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

pub(crate) fn variable_name(text: &str) -> bool {
    !text.is_empty()
        && !text.starts_with(|c: char| c.is_ascii_digit())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
}

/// A host name as RFC 1123 has it, short enough that a label for the preview still fits before it.
pub(crate) fn domain(text: &str) -> Result<(), &'static str> {
    let text = text.strip_suffix('.').unwrap_or(text);
    if text.is_empty() || text.len() > 253 - 64 {
        return Err("1 to 189 characters");
    }
    if text.contains("://") || text.contains('/') {
        return Err("only the host name, without scheme and path");
    }
    if text.contains(':') {
        return Err("only the host name; the port has a key of its own");
    }
    if text.contains('*') {
        return Err("without `*`: every preview gets a label before it by itself");
    }
    if text.split('.').all(|label| !label.is_empty() && label.bytes().all(|b| b.is_ascii_digit())) {
        return Err("a host name, not an address");
    }
    let legal = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if text.split('.').all(legal) { Ok(()) } else { Err("letters, digits and hyphens between dots") }
}

/// An absolute http or https URL with a host.
pub(crate) fn http_url(text: &str) -> Result<(), &'static str> {
    let Some(rest) = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")) else {
        return Err("begins with http:// or https://");
    };
    if text.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err("contains white space");
    }
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let (host, port) = match host.strip_prefix('[').and_then(|v6| v6.split_once(']')) {
        Some((v6, rest)) => {
            if v6.parse::<std::net::Ipv6Addr>().is_err() {
                return Err("the address between brackets is not IPv6");
            }
            ("v6", rest.strip_prefix(':'))
        }
        None => host.split_once(':').map_or((host, None), |(host, port)| (host, Some(port))),
    };
    if host.is_empty() || host.bytes().any(|b| !(b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'))) {
        return Err("has no legal host");
    }
    match port {
        Some(port) if port.parse::<u16>().map_or(true, |port| port == 0) => Err("has no legal port"),
        _ => Ok(()),
    }
}

/// `200`, `200,202`, `200-299` or a mix, within ELB's 200 to 499.
pub(crate) fn matcher(text: &str) -> Result<(), &'static str> {
    let code = |text: &str| match text.trim() {
        text if text.len() == 3 => text.parse::<u16>().ok().filter(|code| (200..=499).contains(code)),
        _ => None,
    };
    for part in text.split(',') {
        let sound = match part.split_once('-') {
            Some((first, last)) => {
                let (first, last) = (code(first), code(last));
                if let (Some(first), Some(last)) = (first, last)
                    && first > last
                {
                    return Err("a range begins with the lower code");
                }
                first.is_some() && last.is_some()
            }
            None => code(part).is_some(),
        };
        if !sound {
            return Err("codes from 200 to 499: `200`, `200,202`, `200-299` or a mix");
        }
    }
    Ok(())
}

const PLACEHOLDERS: [&str; 4] = ["commit", "short_commit", "branch", "project"];

/// A tag with placeholders, of which `{tag}` is a push's own.
pub(crate) fn tag(text: &str) -> Result<(), String> {
    let plain = substituted(&text.replace("{tag}", "x"), "x")?;
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    let begins = plain.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
    if plain.len() <= 128 && begins && plain.chars().all(legal) {
        return Ok(());
    }
    Err("1 to 128 letters, digits, `_`, `.` and `-`, not beginning with the last two".into())
}

/// Enough of the reference grammar to catch slips: the engine has the last word.
pub(crate) fn image(text: &str, placeholders: bool) -> Result<(), String> {
    if text.is_empty() || text.len() > 512 {
        return Err("1 to 512 characters".into());
    }
    if text.contains("://") {
        return Err("without a scheme: registry.example.com/name:tag".into());
    }
    let mut plain = text.to_owned();
    if placeholders {
        plain = substituted(text, "x")?;
    } else if text.contains('{') {
        return Err("placeholders belong under `await`".into());
    }
    let (name, digest) = plain.split_once('@').map_or((plain.as_str(), None), |(name, digest)| (name, Some(digest)));
    if let Some(digest) = digest {
        let sound = digest.strip_prefix("sha256:").is_some_and(|hex| {
            hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
        });
        if !sound {
            return Err("a digest is `@sha256:` and 64 hex digits".into());
        }
    }
    let last = name.rfind('/').map_or(0, |at| at + 1);
    let (repository, tag) = match name[last..].find(':') {
        Some(at) => (&name[..last + at], Some(&name[last + at + 1..])),
        None => (name, None),
    };
    if let Some(tag) = tag {
        let sound = (1..=128).contains(&tag.len())
            && tag.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
            && !tag.starts_with(['.', '-']);
        if !sound {
            return Err("a tag is up to 128 letters, digits, `_`, `.` and `-`".into());
        }
    }
    let mut parts: Vec<&str> = repository.split('/').collect();
    if parts.len() > 1 && (parts[0].contains(['.', ':']) || parts[0] == "localhost") {
        parts.remove(0);
    }
    let sound = |part: &str| {
        part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'_' | b'.' | b'-'))
            && part.starts_with(|c: char| c.is_ascii_alphanumeric())
            && part.ends_with(|c: char| c.is_ascii_alphanumeric())
    };
    if !parts.iter().all(|part| sound(part)) {
        return Err("a repository is lower-case letters, digits, `_`, `.`, `-` and `/`".into());
    }
    Ok(())
}

/// `text` with every placeholder replaced; `Err` names one that does not exist.
pub(crate) fn substituted(text: &str, with: &str) -> Result<String, String> {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        let known = || PLACEHOLDERS.map(|name| format!("{{{name}}}")).join(", ");
        let Some((name, after)) = after.split_once('}') else {
            return Err(format!("`{{` without `}}`; known: {}", known()));
        };
        if !PLACEHOLDERS.contains(&name) {
            return Err(format!("no such placeholder; known: {}", known()));
        }
        out.push_str(before);
        out.push_str(with);
        rest = after;
    }
    out.push_str(rest);
    Ok(out)
}

/// A branch pattern.
pub(crate) fn glob(text: &str) -> Result<(), String> {
    if text.is_empty() {
        return Err("an empty pattern matches nothing".into());
    }
    if text.len() > 1024 {
        return Err("at most 1024 characters".into());
    }
    match globset::GlobBuilder::new(text).literal_separator(true).build() {
        Ok(_) => Ok(()),
        Err(error) => Err(error.kind().to_string()),
    }
}

/// `owner/name` as GitHub allows them.
pub(crate) fn github_repository(text: &str) -> bool {
    let Some((owner, name)) = text.split_once('/') else { return false };
    let sound = |part: &str| {
        (1..=100).contains(&part.len())
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
            && !matches!(part, "." | "..")
    };
    sound(owner) && sound(name)
}

/// A relative path that stays below where it starts.
pub(crate) fn inner_path(text: &str) -> Result<(), &'static str> {
    if text.is_empty() || text.contains('\0') {
        return Err("is not a path");
    }
    if text.starts_with('/') {
        return Err("must be relative");
    }
    let mut depth = 0_i32;
    for part in text.split('/') {
        match part {
            "" | "." => {}
            ".." => depth -= 1,
            _ => depth += 1,
        }
        if depth < 0 {
            return Err("leaves the repository");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_their_nearest_legal_spelling() {
        for (text, legal) in
            [("my-project", true), ("a1", true), ("My", false), ("1a", false), ("a-", false), ("", false)]
        {
            assert_eq!(name(text, 40).is_ok(), legal, "{text}");
        }
        assert!(name(&"a".repeat(41), 40).is_err());
        assert_eq!(legal_name("My Project_2", 40).as_deref(), Some("my-project-2"));
        assert_eq!(legal_name("42", 40), None);
    }

    #[test]
    fn domains_urls_matchers() {
        for good in ["localhost", "shop.localhost", "previews.example.com", "example.com."] {
            assert_eq!(domain(good), Ok(()), "{good}");
        }
        for bad in ["", "a..b", "-a.b", "http://a.b", "a.b:80", "*.a.b", "127.0.0.1", "a_b.c", "ä.de"] {
            assert!(domain(bad).is_err(), "{bad}");
        }
        for good in ["http://localhost:3000/x", "https://hooks.slack.com/services/T/B/x?y#z", "http://[::1]:80/"] {
            assert_eq!(http_url(good), Ok(()), "{good}");
        }
        for bad in [
            "localhost",
            "ftp://a",
            "http://",
            "http://a b",
            "http://a:0/",
            "http://a:x",
            "http://[::g]/",
            "https:///x",
        ] {
            assert!(http_url(bad).is_err(), "{bad}");
        }
        for good in ["200", "200,202", "200-299", "200-299, 404"] {
            assert_eq!(matcher(good), Ok(()), "{good}");
        }
        for bad in ["", "2xx", "99", "200-", "299-200", "500", "200,,201", "0200"] {
            assert!(matcher(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn images_and_placeholders() {
        for good in
            ["nginx", "nginx:1.29", "docker.io/library/nginx:1.29-alpine", "localhost:5000/a/b_c:x", "ghcr.io/Acme/app"]
        {
            assert_eq!(image(good, false).is_ok(), !good.contains("Acme"), "{good}");
        }
        assert!(image(&format!("nginx@sha256:{}", "a".repeat(64)), false).is_ok());
        for bad in ["", "https://x/y", "nginx:", "nginx@sha256:12", "a//b", "UPPER", "x:{commit}", "nginx:a b"] {
            assert!(image(bad, false).is_err(), "{bad}");
        }
        assert!(image("ghcr.io/acme/{project}:{branch}-{short_commit}", true).is_ok());
        for bad in ["x:{sha}", "x:{commit", "x:{}"] {
            assert!(image(bad, true).is_err(), "{bad}");
        }
    }

    #[test]
    fn paths_stay_inside() {
        for good in [".", "a/b", "a/../b", "./Dockerfile"] {
            assert_eq!(inner_path(good), Ok(()), "{good}");
        }
        for bad in ["", "/etc", "..", "a/../../b", "a\0b"] {
            assert!(inner_path(bad).is_err(), "{bad}");
        }
    }
}
