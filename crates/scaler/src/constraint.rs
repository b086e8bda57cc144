//! Placement constraints of type `memberOf`: ECS's cluster query language over attributes of instances.
//!
//! `attribute:ecs.instance-type =~ t3.* and attribute:stack != prod`, with `and`, `or`, `not` and parentheses, as the
//! developer guide has it. Subjects that are not attributes (`task:group`, `runningTasksCount`) change with every placement:
//! they are told to be not understood rather than guessed at.

use std::collections::{BTreeMap, BTreeSet};

use regex_lite::Regex;

/// What an instance carries; of one that is not there yet, as far as that is known.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Attributes {
    values: BTreeMap<String, Value>,
    /// It may come with others than these.
    more: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Value {
    Is(String),
    OneOf(BTreeSet<String>),
    Any,
    /// Any, or none.
    Maybe,
}

impl FromIterator<(String, String)> for Attributes {
    fn from_iter<T: IntoIterator<Item = (String, String)>>(all: T) -> Self {
        let values = all.into_iter().map(|(name, value)| (name, Value::Is(value)));
        Self { values: values.collect(), more: false }
    }
}

impl Attributes {
    pub fn is(&mut self, name: &str, value: &str) {
        self.values.insert(name.to_owned(), Value::Is(value.to_owned()));
    }

    /// One of these it will be; nobody knows which.
    pub fn one_of<'a>(&mut self, name: &str, values: impl IntoIterator<Item = &'a String>) {
        self.values.insert(name.to_owned(), Value::OneOf(values.into_iter().cloned().collect()));
    }

    /// It will have a value.
    pub fn any(&mut self, name: &str) {
        self.values.insert(name.to_owned(), Value::Any);
    }

    /// It may have one, of any value.
    pub fn maybe(&mut self, name: &str) {
        self.values.insert(name.to_owned(), Value::Maybe);
    }

    /// Of its others nothing is known.
    pub fn and_more(&mut self) {
        self.more = true;
    }

    /// Of how many instances one has what is asked for, where AWS launches them evenly.
    pub(crate) fn one_in(&self) -> u64 {
        let choices = self.values.values().map(|value| match value {
            Value::OneOf(values) => values.len() as u64,
            Value::Is(_) => 1,
            Value::Any | Value::Maybe => 2,
        });
        choices.chain([2]).max().unwrap_or(2)
    }
}

/// What a constraint says of an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Verdict {
    may_hold: bool,
    may_fail: bool,
}

impl Verdict {
    const OPEN: Self = Self { may_hold: true, may_fail: true };

    fn of(holds: bool) -> Self {
        Self { may_hold: holds, may_fail: !holds }
    }

    fn not(self) -> Self {
        Self { may_hold: self.may_fail, may_fail: self.may_hold }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the placement constraint `{text}`: {what}")]
pub struct ConstraintError {
    pub text: String,
    pub what: String,
}

/// One that has been read.
#[derive(Debug, Clone)]
pub struct Constraint {
    text: String,
    tree: Tree,
}

impl PartialEq for Constraint {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

#[derive(Debug, Clone)]
enum Tree {
    And(Vec<Tree>),
    Or(Vec<Tree>),
    Not(Box<Tree>),
    Is(String, Test),
}

#[derive(Debug, Clone)]
enum Test {
    Exists,
    In(Vec<String>),
    Matches(Regex),
    /// Ordering: what it may be, and of what.
    Order(&'static [std::cmp::Ordering], String),
}

impl Constraint {
    pub fn parse(text: &str) -> Result<Self, ConstraintError> {
        let fault = |what: String| ConstraintError { text: text.to_owned(), what };
        let words = words(text).map_err(fault)?;
        let mut reader = Reader { words: &words, at: 0 };
        let tree = reader.or().map_err(fault)?;
        match reader.words.get(reader.at) {
            Some(word) => Err(fault(format!("nothing is expected at `{word}`"))),
            None => Ok(Self { text: text.to_owned(), tree }),
        }
    }

    /// One that holds nowhere, in the place of one that cannot be read.
    pub fn never() -> Self {
        Self { text: String::new(), tree: Tree::Or(Vec::new()) }
    }

    /// Whether an instance with these attributes may take the task. One without the attribute has no value: it equals
    /// nothing and matches nothing.
    pub fn may_hold(&self, attributes: &Attributes) -> bool {
        verdict(&self.tree, attributes).may_hold
    }

    /// Whether it takes the task whatever else it comes with.
    pub fn holds(&self, attributes: &Attributes) -> bool {
        !verdict(&self.tree, attributes).may_fail
    }
}

fn verdict(tree: &Tree, attributes: &Attributes) -> Verdict {
    let each = |parts: &[Tree]| parts.iter().map(|part| verdict(part, attributes)).collect::<Vec<_>>();
    match tree {
        Tree::And(parts) => {
            let parts = each(parts);
            let may_hold = parts.iter().all(|part| part.may_hold);
            Verdict { may_hold, may_fail: parts.iter().any(|part| part.may_fail) }
        }
        Tree::Or(parts) => {
            let parts = each(parts);
            let may_hold = parts.iter().any(|part| part.may_hold);
            Verdict { may_hold, may_fail: parts.iter().all(|part| part.may_fail) }
        }
        Tree::Not(part) => verdict(part, attributes).not(),
        Tree::Is(name, test) => match attributes.values.get(name) {
            Some(Value::Is(value)) => Verdict::of(test.passes(value)),
            Some(Value::OneOf(values)) => Verdict {
                may_hold: values.iter().any(|value| test.passes(value)),
                may_fail: values.iter().any(|value| !test.passes(value)),
            },
            Some(Value::Any) if matches!(test, Test::Exists) => Verdict::of(true),
            Some(Value::Any | Value::Maybe) => Verdict::OPEN,
            None if attributes.more => Verdict::OPEN,
            None => Verdict::of(false),
        },
    }
}

impl Test {
    fn passes(&self, value: &str) -> bool {
        match self {
            Self::Exists => true,
            Self::In(those) => those.iter().any(|one| one == value),
            Self::Matches(pattern) => pattern.is_match(value),
            Self::Order(allowed, other) => allowed.contains(&order(value, other)),
        }
    }
}

/// Numbers as numbers.
fn order(a: &str, b: &str) -> std::cmp::Ordering {
    match (a.parse::<f64>(), b.parse::<f64>()) {
        (Ok(x), Ok(y)) => x.total_cmp(&y),
        _ => a.cmp(b),
    }
}

/// Brackets, commas and quoted text are words of their own; everything else ends at white space.
fn words(text: &str) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let (word, left) = match first {
            '(' | ')' | '[' | ']' | ',' => (first.to_string(), rest.get(1..)),
            '"' | '\'' => {
                let inner = rest.get(1..).unwrap_or_default();
                let end = inner.find(first).ok_or("a quotation is not closed")?;
                (inner.get(..end).unwrap_or_default().to_owned(), inner.get(end + 1..))
            }
            _ => {
                let end = rest.find(|c: char| c.is_whitespace() || "()[],".contains(c)).unwrap_or(rest.len());
                (rest.get(..end).unwrap_or_default().to_owned(), rest.get(end..))
            }
        };
        words.push(word);
        rest = left.unwrap_or_default().trim_start();
    }
    Ok(words)
}

struct Reader<'a> {
    words: &'a [String],
    at: usize,
}

impl Reader<'_> {
    fn is(&mut self, names: &[&str]) -> bool {
        let found = self.words.get(self.at).is_some_and(|word| names.contains(&word.to_ascii_lowercase().as_str()));
        self.at += usize::from(found);
        found
    }

    fn next(&mut self, what: &str) -> Result<String, String> {
        let word = self.words.get(self.at).ok_or_else(|| format!("{what} is missing at its end"))?;
        self.at += 1;
        Ok(word.clone())
    }

    fn or(&mut self) -> Result<Tree, String> {
        let mut parts = vec![self.and()?];
        while self.is(&["or", "||"]) {
            parts.push(self.and()?);
        }
        Ok(if parts.len() == 1 { parts.remove(0) } else { Tree::Or(parts) })
    }

    fn and(&mut self) -> Result<Tree, String> {
        let mut parts = vec![self.unary()?];
        while self.is(&["and", "&&"]) {
            parts.push(self.unary()?);
        }
        Ok(if parts.len() == 1 { parts.remove(0) } else { Tree::And(parts) })
    }

    fn unary(&mut self) -> Result<Tree, String> {
        if self.is(&["not", "!"]) {
            return Ok(Tree::Not(Box::new(self.unary()?)));
        }
        if self.is(&["("]) {
            let inner = self.or()?;
            return if self.is(&[")"]) { Ok(inner) } else { Err("`)` is missing".to_owned()) };
        }
        let subject = self.next("a subject")?;
        let Some(name) = subject.strip_prefix("attribute:") else {
            return Err(format!("only attributes are understood (`attribute:NAME`), not `{subject}`"));
        };
        self.test(name)
    }

    fn test(&mut self, name: &str) -> Result<Tree, String> {
        use std::cmp::Ordering::{Equal, Greater, Less};
        let operator = self.next("an operator")?;
        let is = |test| Tree::Is(name.to_owned(), test);
        let not = |tree| Tree::Not(Box::new(tree));
        let orders: &'static [std::cmp::Ordering] = match operator.to_ascii_lowercase().as_str() {
            "exists" => return Ok(is(Test::Exists)),
            "!exists" | "not_exists" => return Ok(not(is(Test::Exists))),
            "==" | "equals" => return Ok(is(Test::In(vec![self.next("a value")?]))),
            "!=" | "not_equals" => return Ok(not(is(Test::In(vec![self.next("a value")?])))),
            "in" => return Ok(is(Test::In(self.list()?))),
            "!in" | "not_in" => return Ok(not(is(Test::In(self.list()?)))),
            "=~" | "matches" => return Ok(is(Test::Matches(self.pattern()?))),
            "!~" | "not_matches" => return Ok(not(is(Test::Matches(self.pattern()?)))),
            ">" | "greater_than" => &[Greater],
            ">=" | "greater_than_equal" => &[Greater, Equal],
            "<" | "less_than" => &[Less],
            "<=" | "less_than_equal" => &[Less, Equal],
            other => return Err(format!("no operator `{other}`")),
        };
        Ok(is(Test::Order(orders, self.next("a value")?)))
    }

    fn pattern(&mut self) -> Result<Regex, String> {
        let pattern = self.next("a pattern")?;
        Regex::new(&format!("^(?:{pattern})$")).map_err(|_| format!("`{pattern}` is no regular expression"))
    }

    fn list(&mut self) -> Result<Vec<String>, String> {
        if !self.is(&["["]) {
            return Err("`[` is missing after `in`".to_owned());
        }
        let mut values = Vec::new();
        while !self.is(&["]"]) {
            if !values.is_empty() && !self.is(&[","]) {
                return Err("values of a list are separated by commas".to_owned());
            }
            values.push(self.next("`]`")?);
        }
        Ok(values)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn holds(text: &str, attributes: &[(&str, &str)]) -> bool {
        let attributes = attributes.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Constraint::parse(text).unwrap().holds(&attributes)
    }

    #[test]
    fn the_examples_of_the_developer_guide() {
        let t2 = [("ecs.instance-type", "t2.small"), ("ecs.availability-zone", "us-east-1a")];
        assert!(holds("attribute:ecs.instance-type == t2.small", &t2));
        assert!(holds("attribute:ecs.instance-type =~ t2.*", &t2));
        assert!(!holds("attribute:ecs.instance-type =~ t2", &t2), "the whole value");
        assert!(holds("attribute:ecs.availability-zone in [us-east-1a, us-east-1b]", &t2));
        assert!(holds("attribute:ecs.instance-type =~ t2.* and attribute:ecs.availability-zone != us-east-1d", &t2));
        assert!(!holds("attribute:ecs.instance-type =~ g2.* or not (attribute:ecs.availability-zone exists)", &t2));
        assert!(holds("attribute:stack !exists", &t2) && !holds("attribute:stack == prod", &t2));
        assert!(holds("attribute:size >= 10 && !(attribute:size > 100)", &[("size", "20")]));
        assert!(holds("attribute:name equals \"two words\"", &[("name", "two words")]));
    }

    #[test]
    fn of_an_instance_that_is_not_there_some_things_are_open() {
        let mut one = Attributes::default();
        one.is("ecs.instance-type", "t2.small");
        one.one_of("ecs.availability-zone", &["a".to_owned(), "b".to_owned()]);
        one.any("ecs.subnet-id");
        one.maybe("disk");
        let told = |text: &str, one: &Attributes| {
            let own = Constraint::parse(text).unwrap();
            (own.may_hold(one), own.holds(one))
        };
        for (text, expected) in [
            ("attribute:ecs.availability-zone == a", (true, false)),
            ("attribute:ecs.availability-zone in [a, b]", (true, true)),
            ("attribute:ecs.availability-zone == c", (false, false)),
            ("attribute:ecs.availability-zone != c", (true, true)),
            ("not (attribute:ecs.availability-zone == a)", (true, false)),
            ("attribute:ecs.availability-zone == a and attribute:ecs.instance-type == t3.small", (false, false)),
            ("attribute:ecs.availability-zone == a or attribute:ecs.instance-type == t2.small", (true, true)),
            ("attribute:ecs.subnet-id == s", (true, false)),
            ("attribute:ecs.subnet-id exists", (true, true)),
            ("attribute:disk exists", (true, false)),
            ("attribute:disk != nvme", (true, false)),
            ("attribute:stack == prod", (false, false)),
            ("attribute:stack !exists", (true, true)),
        ] {
            assert_eq!(told(text, &one), expected, "{text}");
        }
        one.and_more();
        assert_eq!(told("attribute:stack == prod", &one), (true, false));
        assert_eq!(told("attribute:stack !exists", &one), (true, false));
        let never = Constraint::never();
        assert!(!never.may_hold(&one) && !never.holds(&one));
    }

    #[test]
    fn what_cannot_be_read_says_why() {
        for (text, why) in [
            ("task:group == service:web", "only attributes"),
            ("attribute:a", "an operator is missing"),
            ("attribute:a ==", "a value is missing"),
            ("(attribute:a exists", "`)` is missing"),
            ("attribute:a exists b", "nothing is expected"),
            ("attribute:a like b", "no operator"),
            ("attribute:a in b", "`[` is missing"),
            ("attribute:a =~ [", "no regular expression"),
            ("attribute:a == \"b", "not closed"),
            ("", "a subject is missing"),
        ] {
            let error = Constraint::parse(text).unwrap_err().to_string();
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
