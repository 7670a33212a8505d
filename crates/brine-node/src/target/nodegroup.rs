//! `nodegroups`: names for targets, which may name each other.
//!
//! A group stands for the words of a compound target. One that is nothing but ids stands for a list of them, or,
//! when they hold a character of regular expressions, for one such. Parentheses come around a group only where
//! another is named: `not N@g` with the group `a or b` means `not a or b`, which is not the opposite of the group.
//! All of this is Salt's.

use brine_wire::python_text::str;
use brine_wire::{Map, Value};

use super::TargetError;
use super::compound::{self, MAX_DEPTH, MAX_WORDS};

/// What a word that stands for a node group begins with.
const MARK: &str = "N@";

/// The node groups of the option of that name: a mapping, or a list of such.
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

/// A target as it is published: what node groups stand for is in their place, since minions do not know them.
/// `None` if the target's type has none.
///
/// # Errors
/// [`TargetError`] for a group that there is not, or that is too long.
pub fn without_nodegroups(
    tgt: &Value,
    tgt_type: &str,
    nodegroups: &Map,
) -> Result<Option<String>, TargetError> {
    let words = match tgt_type {
        "nodegroup" => nodegroup(&str(tgt), nodegroups)?,
        "compound" => {
            let mut resolved = Vec::new();
            for word in compound::words(tgt).ok_or(TargetError::Form)? {
                match named(&word) {
                    Some(name) => resolved.extend(nodegroup(name, nodegroups)?),
                    None => resolved.push(word),
                }
            }
            resolved
        }
        _ => return Ok(None),
    };
    Ok(Some(words.join(" ")))
}

/// The words of a compound target that a node group stands for.
///
/// # Errors
/// [`TargetError`] if there is no such group, or nothing in it.
pub fn nodegroup(name: &str, nodegroups: &Map) -> Result<Vec<String>, TargetError> {
    match resolve(name, nodegroups) {
        Ok(words) if !words.is_empty() => Ok(words),
        Ok(_) => Err(TargetError::NodeGroup {
            name: name.to_owned(),
        }),
        Err(why) => Err(TargetError::Compound {
            found: format!("{MARK}{name}"),
            why,
        }),
    }
}

/// The same, with nothing for a group that there is not, or that names itself.
pub(super) fn resolve(name: &str, nodegroups: &Map) -> Result<Vec<String>, &'static str> {
    let mut groups = Groups {
        nodegroups,
        inside: Vec::new(),
        count: 0,
    };
    groups.resolve(name)
}

/// The group a word stands for.
pub(super) fn named(word: &str) -> Option<&str> {
    word.strip_prefix(MARK).filter(|name| !name.is_empty())
}

struct Groups<'a> {
    nodegroups: &'a Map,
    /// The groups that are being put in their places, from the outermost.
    inside: Vec<String>,
    /// How many words there have been.
    count: usize,
}

impl Groups<'_> {
    fn resolve(&mut self, name: &str) -> Result<Vec<String>, &'static str> {
        if self.inside.iter().any(|known| known == name) {
            return Ok(Vec::new());
        }
        let Some(words) = self.nodegroups.get(name).and_then(words) else {
            return Ok(Vec::new());
        };
        self.count += words.len();
        if self.count > MAX_WORDS || self.inside.len() >= MAX_DEPTH {
            return Err("it is too long");
        }
        let is_inside = !self.inside.is_empty();
        let names_others = words.iter().any(|word| named(word).is_some());
        if (is_inside || !names_others)
            && let Some(ids) = ids(&words)
        {
            return Ok(vec![ids]);
        }
        if !is_inside && !names_others {
            return Ok(words);
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
        Ok(resolved)
    }
}

/// A group as it is configured: text, or a list.
fn words(group: &Value) -> Option<Vec<String>> {
    match group {
        Value::Str(text) => Some(compound::split(text)),
        Value::Array(words) => Some(words.iter().map(str).collect()),
        _ => None,
    }
}

/// The one word for a group of nothing but ids.
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

    #[test]
    fn groups_stand_for_what_they_do_in_salt() {
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
            ("number", None),
            ("nosuch", None),
        ] {
            let words = nodegroup(name, &groups).ok().map(|words| words.join(" "));
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
        let published = |tgt: &str, tgt_type| without_nodegroups(&tgt.into(), tgt_type, &groups);
        let compound = |text: &str| Ok(Some(text.to_owned()));
        assert_eq!(published("web", "nodegroup"), compound("web* or proxy1"));
        assert_eq!(
            published("not  N@web", "compound"),
            compound("not web* or proxy1")
        );
        assert_eq!(published("N@web", "glob"), Ok(None));
        for (tgt, tgt_type) in [
            ("nosuch", "nodegroup"),
            ("x or N@nosuch", "compound"),
            ("round", "nodegroup"),
        ] {
            assert!(published(tgt, tgt_type).is_err(), "{tgt}");
        }
    }

    #[test]
    fn groups_that_double_each_other_end() {
        let groups = (0..60).map(|at| {
            (
                at.to_string(),
                Value::from(format!("N@{0} or N@{0}", at + 1)),
            )
        });
        assert!(nodegroup("0", &groups.collect()).is_err());
    }
}
