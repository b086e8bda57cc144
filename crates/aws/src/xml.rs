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
        Some(Self::of(roxmltree::Document::parse(text).ok()?.root_element()))
    }

    fn of(node: roxmltree::Node<'_, '_>) -> Self {
        Self {
            name: node.tag_name().name().to_owned(),
            text: node.children().filter(|child| child.is_text()).filter_map(|text| text.text()).collect(),
            children: node.children().filter(|child| child.is_element()).map(Self::of).collect(),
        }
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
        self.list(name, "member")
    }

    /// `<name><item>…</item>…</name>`, as EC2 writes its lists.
    pub(crate) fn items(&self, name: &str) -> impl Iterator<Item = &Self> {
        self.list(name, "item")
    }

    fn list(&self, name: &str, of: &'static str) -> impl Iterator<Item = &Self> {
        let children = self.child(name).map_or(&[][..], |list| &list.children);
        children.iter().filter(move |child| child.name == of)
    }

    pub(crate) fn texts(&self, name: &str) -> Vec<String> {
        self.members(name).map(|member| member.text.trim().to_owned()).collect()
    }
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
        let set = Element::parse("<R><set><item><id>1</id></item><other/><item/></set></R>").unwrap();
        let ids: Vec<_> = set.items("set").map(|item| item.get("id")).collect();
        assert_eq!(ids, [Some("1".to_owned()), None]);
    }

    #[test]
    fn what_is_no_xml_is_none() {
        for wrong in ["", "hello", "<a>", "<a></b>", "{\"a\": 1}", "<a", "</a>"] {
            assert_eq!(Element::parse(wrong), None, "{wrong}");
        }
    }
}
