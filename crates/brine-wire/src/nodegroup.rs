//! `nodegroups`: names for targets, which may name each other.
//!
//! A group is replaced by the words of a compound target before the target is published, since minions do not know
//! the groups. A group of nothing but ids becomes a list of them or, if they contain a character of regular
//! expressions, one such expression. Parentheses are put around a group only where another one is named: `not N@g`
//! with the group `a or b` becomes `not a or b`, which is not the opposite of the group. All of this is Salt's.
//! Facts: Salt 3006.28 and 3008.3, by running them.

use alloc::borrow::ToOwned;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use crate::python_text::{repr, str};
use crate::value::{Map, Value};

/// How many words a target may have, node groups included.
pub const MAX_WORDS: usize = 4096;
/// How deep node groups and parentheses may go.
pub const MAX_DEPTH: usize = 64;

/// What a word that names a node group begins with.
const PREFIX: &str = "N@";

/// Why a node group cannot be put in its place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NodeGroupError {
    /// There is no such group.
    #[error("no node group {name:?} in nodegroups")]
    Unknown {
        /// Its name.
        name: String,
    },
    /// The groups name each other too often.
    #[error("node group {name:?} is too long: over {MAX_WORDS} words, or groups {MAX_DEPTH} deep")]
    TooLong {
        /// Its name.
        name: String,
    },
    /// A compound target is neither a text nor a list of texts.
    #[error("a compound target must be a text or a list of texts")]
    NotText,
}

/// What is wrong inside a node group, which means less than it says, or nobody. In Salt's words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NodeGroupFault {
    /// It names a group that does not exist.
    #[error("Failed nodegroup expansion: unknown nodegroup \"{name}\"")]
    Unknown {
        /// That name.
        name: String,
    },
    /// It names itself, or a group that does.
    #[error("Failed nodegroup expansion: illegal nested nodegroup \"{name}\"")]
    Nested {
        /// Its name.
        name: String,
    },
    /// It is neither a text nor a list.
    #[error("Nodegroup '{name}' ({found}) is neither a string, list nor tuple")]
    Form {
        /// Its name.
        name: String,
        /// What it is, as Python shows it.
        found: String,
    },
}

/// The words that node groups stand for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Resolved {
    /// The words of a compound target.
    pub words: Vec<String>,
    /// What was wrong on the way, for who wrote the groups.
    pub faults: Vec<NodeGroupFault>,
}

/// The node groups in the option `nodegroups`: a mapping, or a list of mappings.
#[must_use]
pub fn nodegroups(option: Option<&Value>) -> Map {
    match option {
        Some(Value::Map(groups)) => groups.clone(),
        Some(Value::Array(maps)) => {
            let groups = maps.iter().filter_map(Value::as_map).flatten();
            Map::from_pairs(groups.cloned().collect())
        }
        _ => Map::new(),
    }
}

/// A compound target with its node groups replaced, or a node group as a compound target. `None` if the target's
/// type has no node groups.
///
/// # Errors
/// [`NodeGroupError`].
pub fn without_nodegroups(
    tgt: &Value,
    tgt_type: &str,
    nodegroups: &Map,
) -> Result<Option<Resolved>, NodeGroupError> {
    match tgt_type {
        "nodegroup" => nodegroup(&str(tgt), nodegroups).map(Some),
        "compound" => {
            let mut resolved = Resolved::default();
            for word in words(tgt).ok_or(NodeGroupError::NotText)? {
                match named(&word) {
                    Some(name) => {
                        let group = nodegroup(name, nodegroups)?;
                        resolved.words.extend(group.words);
                        resolved.faults.extend(group.faults);
                    }
                    None => resolved.words.push(word),
                }
            }
            Ok(Some(resolved))
        }
        _ => Ok(None),
    }
}

/// The words of a compound target that replace a node group.
///
/// # Errors
/// [`NodeGroupError`].
pub fn nodegroup(name: &str, nodegroups: &Map) -> Result<Resolved, NodeGroupError> {
    match nodegroups.get(name) {
        Some(_) => resolve(name, nodegroups),
        None => Err(NodeGroupError::Unknown {
            name: name.to_owned(),
        }),
    }
}

/// The same, with a fault and no words for a group that does not exist.
///
/// # Errors
/// [`NodeGroupError::TooLong`].
pub fn resolve(name: &str, nodegroups: &Map) -> Result<Resolved, NodeGroupError> {
    let mut groups = Groups {
        nodegroups,
        inside: Vec::new(),
        count: 0,
        faults: Vec::new(),
    };
    let words = groups.resolve(name);
    Ok(Resolved {
        words: words.ok_or_else(|| NodeGroupError::TooLong {
            name: name.to_owned(),
        })?,
        faults: groups.faults,
    })
}

/// The group that a word names.
#[must_use]
pub fn named(word: &str) -> Option<&str> {
    word.strip_prefix(PREFIX).filter(|name| !name.is_empty())
}

struct Groups<'a> {
    nodegroups: &'a Map,
    /// The groups that are being resolved, from the outermost.
    inside: Vec<String>,
    /// How many words there have been so far.
    count: usize,
    faults: Vec<NodeGroupFault>,
}

impl Groups<'_> {
    /// `None` if it is too long.
    fn resolve(&mut self, name: &str) -> Option<Vec<String>> {
        let own = || name.to_owned();
        if self.inside.iter().any(|known| known == name) {
            self.faults.push(NodeGroupFault::Nested { name: own() });
            return Some(Vec::new());
        }
        let Some(group) = self.nodegroups.get(name) else {
            self.faults.push(NodeGroupFault::Unknown { name: own() });
            return Some(Vec::new());
        };
        let Some(words) = configured(group) else {
            let found = repr(group);
            self.faults
                .push(NodeGroupFault::Form { name: own(), found });
            return Some(Vec::new());
        };
        self.count += words.len();
        if self.count > MAX_WORDS || self.inside.len() >= MAX_DEPTH {
            return None;
        }
        let is_inside = !self.inside.is_empty();
        let names_others = words.iter().any(|word| named(word).is_some());
        if (is_inside || !names_others)
            && let Some(ids) = ids(&words)
        {
            return Some(vec![ids]);
        }
        if !is_inside && !names_others {
            return Some(words);
        }
        self.inside.push(name.to_owned());
        let mut resolved = Vec::new();
        for word in words {
            match named(&word) {
                Some(other) => resolved.extend(self.resolve(other)?),
                None => resolved.push(word),
            }
        }
        self.inside.pop();
        if !resolved.is_empty() {
            resolved.insert(0, "(".to_owned());
            resolved.push(")".to_owned());
        }
        Some(resolved)
    }
}

/// The words of a compound target: a text, or a list of texts.
#[must_use]
pub fn words(tgt: &Value) -> Option<Vec<String>> {
    match tgt {
        Value::Str(text) => Some(split(text)),
        Value::Array(words) => words
            .iter()
            .map(|word| word.as_str().map(str::to_owned))
            .collect(),
        _ => None,
    }
}

/// The words of a text, as Python's `split` separates them.
fn split(text: &str) -> Vec<String> {
    let is_space = |c: char| c.is_whitespace() || matches!(c, '\x1c'..='\x1f');
    let words = text.split(is_space).filter(|word| !word.is_empty());
    words.map(str::to_owned).collect()
}

/// The words of a group as it is configured: a text, or a list.
fn configured(group: &Value) -> Option<Vec<String>> {
    match group {
        Value::Str(text) => Some(split(text)),
        Value::Array(words) => Some(words.iter().map(str).collect()),
        _ => None,
    }
}

/// The one word that replaces a group of nothing but ids.
fn ids(words: &[String]) -> Option<String> {
    const OPERATORS: [&str; 5] = ["and", "or", "not", "(", ")"];
    const OF_REGULAR_EXPRESSIONS: [char; 8] = ['(', '[', '{', '\\', '?', '}', ']', ')'];
    let is_other = |word: &String| {
        let is_marked =
            word.starts_with(|c: char| c.is_ascii_uppercase()) && word[1..].starts_with('@');
        OPERATORS.contains(&word.as_str()) || word.contains('*') || is_marked
    };
    if words.iter().any(is_other) {
        return None;
    }
    let is_expression = words
        .iter()
        .any(|word| word.contains(OF_REGULAR_EXPRESSIONS));
    let engine = if is_expression { "E@" } else { "L@" };
    Some(engine.to_owned() + &words.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;
    use alloc::string::ToString;

    #[test]
    fn groups_are_replaced_as_in_salt() {
        let list = |words: &[&str]| Value::Array(words.iter().map(|word| (*word).into()).collect());
        let groups: Map = [
            ("ids", "web1 web2".into()),
            ("list", list(&["web1", "web2"])),
            ("expression", "web[12] db1".into()),
            ("globs", "web* db1".into()),
            ("web", "web* or proxy1".into()),
            ("all", list(&["N@web", "or", "N@ids"])),
            ("round", "N@about or db1".into()),
            ("about", "N@round".into()),
            ("empty", "".into()),
            ("number", 5.into()),
        ]
        .into_iter()
        .collect();
        for (name, expected) in [
            ("ids", Some("L@web1,web2")),
            ("list", Some("L@web1,web2")),
            ("expression", Some("E@web[12],db1")),
            ("globs", Some("web* db1")),
            ("web", Some("web* or proxy1")),
            ("all", Some("( ( web* or proxy1 ) or L@web1,web2 )")),
            ("round", Some("( or db1 )")),
            ("about", Some("( ( or db1 ) )")),
            ("empty", Some("L@")),
            ("number", Some("")),
            ("nosuch", None),
        ] {
            let resolved = nodegroup(name, &groups).ok();
            let words = resolved.map(|resolved| resolved.words.join(" "));
            assert_eq!(words.as_deref(), expected, "{name}");
        }
    }

    #[test]
    fn a_published_target_names_no_groups() {
        let option: Value = vec![
            Map::from_iter([("web", "web* or proxy1")]).into(),
            Map::from_iter([("round", "N@round")]).into(),
        ]
        .into();
        let groups = nodegroups(Some(&option));
        let published = |tgt: &str, tgt_type| {
            let resolved = without_nodegroups(&tgt.into(), tgt_type, &groups);
            resolved.map(|resolved| resolved.map(|resolved| resolved.words.join(" ")))
        };
        let compound = |text: &str| Ok(Some(text.to_owned()));
        assert_eq!(published("web", "nodegroup"), compound("web* or proxy1"));
        assert_eq!(
            published("not  N@web", "compound"),
            compound("not web* or proxy1")
        );
        assert_eq!(published("N@web", "glob"), Ok(None));
        for (tgt, tgt_type) in [("nosuch", "nodegroup"), ("x or N@nosuch", "compound")] {
            assert!(published(tgt, tgt_type).is_err(), "{tgt}");
        }
        assert_eq!(published("round", "nodegroup"), compound(""));
    }

    /// The texts are Salt's.
    #[test]
    fn what_is_wrong_inside_a_group_is_named() {
        let listed: Value = Value::Array(vec!["N@web and not m2".into()]);
        let groups: Map = [
            ("web", "L@m1,m2".into()),
            ("typo", "N@nosuch or m1".into()),
            ("listed", listed),
            ("itself", "N@itself".into()),
            ("empty", Value::Nil),
        ]
        .into_iter()
        .collect();
        for (name, fault) in [
            (
                "typo",
                "Failed nodegroup expansion: unknown nodegroup \"nosuch\"",
            ),
            (
                "listed",
                "Failed nodegroup expansion: unknown nodegroup \"web and not m2\"",
            ),
            (
                "itself",
                "Failed nodegroup expansion: illegal nested nodegroup \"itself\"",
            ),
            (
                "empty",
                "Nodegroup 'empty' (None) is neither a string, list nor tuple",
            ),
        ] {
            let faults = nodegroup(name, &groups).unwrap().faults;
            let faults: Vec<_> = faults.iter().map(ToString::to_string).collect();
            assert_eq!(faults, [fault], "{name}");
        }
        assert_eq!(nodegroup("web", &groups).unwrap().faults, []);
    }

    #[test]
    fn groups_that_double_each_other_are_refused() {
        let groups = (0..60).map(|at| {
            (
                at.to_string(),
                Value::from(format!("N@{0} or N@{0}", at + 1)),
            )
        });
        assert!(nodegroup("0", &groups.collect()).is_err());
    }
}
