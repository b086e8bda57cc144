//! XML as the query protocol answers it: elements and text, no attributes that matter.

/// An element.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Element {
    name: String,
    text: String,
    children: Vec<Element>,
}

impl Element {
    /// `None`: it is no XML.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut open: Vec<Self> = vec![Self::default()];
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('<') {
            open.last_mut()?.text.push_str(&plain(before));
            if let Some(after) = after.strip_prefix("![CDATA[") {
                let (data, after) = after.split_once("]]>")?;
                open.last_mut()?.text.push_str(data);
                rest = after;
                continue;
            }
            if let Some(after) = after.strip_prefix("!--") {
                rest = after.split_once("-->")?.1;
                continue;
            }
            let (tag, after) = after.split_once('>')?;
            rest = after;
            if tag.starts_with(['?', '!']) {
                continue;
            }
            if let Some(name) = tag.strip_prefix('/') {
                let done = open.pop()?;
                if done.name != name.trim() {
                    return None;
                }
                open.last_mut()?.children.push(done);
                continue;
            }
            let (tag, empty) = tag.strip_suffix('/').map_or((tag, false), |tag| (tag, true));
            let name = tag.split_ascii_whitespace().next()?.to_owned();
            let element = Self { name, ..Self::default() };
            match empty {
                true => open.last_mut()?.children.push(element),
                false => open.push(element),
            }
        }
        let mut document = open.pop()?;
        if open.is_empty() && !document.children.is_empty() { document.children.pop() } else { None }
    }

    /// The first child of that name.
    pub(crate) fn child(&self, name: &str) -> Option<&Self> {
        self.children.iter().find(|child| child.name == name)
    }

    /// Its text; `None` where it is not there, or says nothing.
    pub(crate) fn get(&self, name: &str) -> Option<String> {
        self.child(name).map(|child| child.text.trim().to_owned()).filter(|text| !text.is_empty())
    }

    /// As `get`; nothing is said by an empty text.
    pub(crate) fn text(&self, name: &str) -> String {
        self.get(name).unwrap_or_default()
    }

    /// `<name><member>…</member>…</name>`
    pub(crate) fn members(&self, name: &str) -> impl Iterator<Item = &Self> {
        let children = self.child(name).map_or(&[][..], |list| &list.children);
        children.iter().filter(|child| child.name == "member")
    }

    pub(crate) fn texts(&self, name: &str) -> Vec<String> {
        self.members(name).map(|member| member.text.trim().to_owned()).collect()
    }
}

/// Entities replaced.
fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('&') {
        out.push_str(before);
        let Some((entity, after)) = after.split_once(';') else {
            out.push('&');
            rest = after;
            continue;
        };
        let number = entity.strip_prefix('#').and_then(|number| match number.strip_prefix(['x', 'X']) {
            Some(hex) => u32::from_str_radix(hex, 16).ok(),
            None => number.parse().ok(),
        });
        match (entity, number.and_then(char::from_u32)) {
            ("lt", _) => out.push('<'),
            ("gt", _) => out.push('>'),
            ("quot", _) => out.push('"'),
            ("apos", _) => out.push('\''),
            ("amp", _) => out.push('&'),
            (_, Some(letter)) => out.push(letter),
            (other, None) => out.push_str(&format!("&{other};")),
        }
        rest = after;
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read() {
        let answer = "<?xml version=\"1.0\"?>\n<DescribeResponse xmlns=\"http://x/\"><Result>\n <Stacks><member><Name>a &amp; b&#10;c</Name>\
            <Empty/><None></None><Tags><member>1</member><member>2</member></Tags></member></Stacks><!-- <x> -->\
            <Body><![CDATA[{\"a\": \"<b>\"}]]></Body></Result></DescribeResponse>";
        let root = Element::parse(answer).unwrap();
        let result = root.child("Result").unwrap();
        let stack = result.members("Stacks").next().unwrap();
        assert_eq!(stack.text("Name"), "a & b\nc");
        assert_eq!((stack.get("Empty"), stack.get("None"), stack.get("Other")), (None, None, None));
        assert_eq!(stack.texts("Tags"), ["1", "2"]);
        assert_eq!(result.text("Body"), "{\"a\": \"<b>\"}");
        assert_eq!(result.members("Exports").count(), 0);
    }

    #[test]
    fn what_is_no_xml_is_none() {
        for wrong in ["", "hello", "<a>", "<a></b>", "{\"a\": 1}", "<a", "</a>"] {
            assert_eq!(Element::parse(wrong), None, "{wrong}");
        }
    }
}
