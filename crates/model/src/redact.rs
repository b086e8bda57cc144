//! Credentials in URLs, out of everything that is shown, logged or recorded.

/// Programs repeat URLs as they got them: `https://user:token@host/…` becomes `https://…@host/…`, wherever in the text.
pub fn credentials(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, url) = rest.split_at(at + 3);
        out.push_str(before);
        let end = url.find(|c: char| c.is_whitespace() || matches!(c, '\'' | '"' | '`')).unwrap_or(url.len());
        let authority = &url[..url[..end].find(['/', '?', '#']).unwrap_or(end)];
        let port = authority.rsplit_once(':').map_or("", |(_, port)| port);
        let user = match authority.rfind('@') {
            // A password with a bare slash ends no authority, but is one.
            None if !port.bytes().all(|byte| byte.is_ascii_digit()) => url[..end].rfind('@'),
            found => found,
        };
        rest = user.map_or(url, |user| {
            out.push('…');
            &url[user..]
        });
    }
    out.push_str(rest);
    out
}

/// Whether a value under this name is probably a secret.
pub fn looks_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase().replace('-', "_");
    let words =
        ["password", "passwd", "secret", "token", "api_key", "apikey", "private_key", "access_key", "credential"];
    words.iter().any(|word| name.contains(word)) || name.split('_').any(|part| matches!(part, "pwd" | "pass"))
}

#[cfg(test)]
mod tests {
    use super::credentials;

    #[test]
    fn only_what_its_owner_may_know_is_taken_out() {
        for (text, expected) in [
            (
                "Authentication failed for 'https://bot:s3cret@h/x.git/'",
                "Authentication failed for 'https://…@h/x.git/'",
            ),
            ("https://t0ken@h/a\nssh://git@h/b", "https://…@h/a\nssh://…@h/b"),
            ("https://u:pa/ss@h/x", "https://…@h/x"),
            ("https://h:5000/x@sha256:ab, http://h/a@b", "https://h:5000/x@sha256:ab, http://h/a@b"),
            ("git@h:x a@b ://", "git@h:x a@b ://"),
        ] {
            assert_eq!(credentials(text), expected);
        }
    }
}
