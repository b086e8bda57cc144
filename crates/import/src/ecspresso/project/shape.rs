//! What ECS's RegisterTaskDefinition and CreateService take, and ecspresso's configuration: names and types of keys.
//!
//! shapes.txt has a line for each structure: its name, then `key:type`. Types: `s` text, `i` whole number, `f` number, `b`
//! boolean, `{}` a map of text, `?` anything, `[…]` a list, or a structure's name. The keys are those of the API's model of
//! September 2026 (the SDK for Rust's aws-sdk-ecs 1.157). ECS itself leaves unknown keys aside without a word, so that a
//! mistyped one would go unnoticed.

use std::collections::BTreeMap;
use std::sync::LazyLock;

type Fields = Vec<(&'static str, &'static str)>;

static SHAPES: LazyLock<BTreeMap<&'static str, Fields>> = LazyLock::new(|| {
    let line = |line: &'static str| {
        let (name, fields) = line.split_once(' ')?;
        Some((name, fields.split(' ').filter_map(|field| field.split_once(':')).collect()))
    };
    include_str!("shapes.txt").lines().filter_map(line).collect()
});

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Type {
    Text,
    Whole,
    Number,
    Boolean,
    Map,
    Any,
    List(&'static str),
    Structure(&'static str),
}

impl Type {
    pub(super) fn of(text: &'static str) -> Self {
        match text {
            "s" => Self::Text,
            "i" => Self::Whole,
            "f" => Self::Number,
            "b" => Self::Boolean,
            "{}" => Self::Map,
            "?" => Self::Any,
            _ => match text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
                Some(item) => Self::List(item),
                None => Self::Structure(text),
            },
        }
    }
}

pub(super) fn fields(structure: &str) -> &'static [(&'static str, &'static str)] {
    SHAPES.get(structure).map_or(&[], Vec::as_slice)
}

/// Keys' case is not looked at, as by ecspresso: `ContainerDefinitions` is `containerDefinitions`.
pub(super) fn field(structure: &str, key: &str) -> Option<(&'static str, Type)> {
    let found = fields(structure).iter().find(|(name, _)| name.eq_ignore_ascii_case(key));
    found.map(|(name, text)| (*name, Type::of(text)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_structure_that_is_named_is_there() {
        let mut all = vec!["TaskDefinition", "Service", "Config"];
        let mut at = 0;
        while let Some(name) = all.get(at).copied() {
            assert!(!fields(name).is_empty(), "{name}");
            for (key, text) in fields(name) {
                let inner = text.trim_matches(['[', ']']);
                if matches!(Type::of(inner), Type::Structure(_)) && !all.contains(&inner) {
                    all.push(inner);
                }
                assert!(!key.is_empty());
            }
            at += 1;
        }
        assert_eq!(all.len(), SHAPES.len(), "no structure is left over");
        assert_eq!(field("Service", "DesiredCount"), Some(("desiredCount", Type::Whole)));
        assert_eq!(field("ContainerDefinition", "dockerLabels").unwrap().1, Type::Map);
        assert_eq!(field("Volume", "EFSVolumeConfiguration").unwrap().0, "efsVolumeConfiguration");
    }
}
