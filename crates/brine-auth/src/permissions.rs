//! Which permissions `external_auth` gives a user: the user's own entries, everybody's, and those of groups.
//!
//! An entry is a text or a mapping, as in Salt; the master decides what it permits.

use brine_wire::matching::{MatchType, TagMatch};
use brine_wire::python_text;
use brine_wire::{Map, Value};

/// The entries a user has, from the configuration of the back end that knows the user. `*` counts only for
/// users that no other name matches, unless `permissive`.
#[must_use]
pub fn auth_list(backend: &Map, user: &str, groups: &[String], permissive: bool) -> Vec<Value> {
    let mut list = Vec::new();
    let mut is_named = false;
    for (name, entries) in backend {
        let Some(name) = name.as_str() else { continue };
        let matches = match name.strip_suffix('%') {
            Some(group) => groups.iter().any(|own| own == group),
            None if name.starts_with('^') => false,
            None if name == "*" && !permissive => false,
            None => {
                let matches = matches_name(name, user);
                is_named |= matches;
                matches
            }
        };
        if matches {
            list.extend_from_slice(entries.as_array().unwrap_or_default());
        }
    }
    if !permissive && !is_named {
        let everybody = backend.get("*").and_then(Value::as_array);
        list.extend_from_slice(everybody.unwrap_or_default());
    }
    list
}

/// A name, a shell pattern, or a regular expression for the whole name.
fn matches_name(pattern: &str, user: &str) -> bool {
    if pattern == user {
        return true;
    }
    let matches = |kind, pattern: &str| {
        TagMatch::new(kind, pattern).is_ok_and(|pattern| pattern.matches(user))
    };
    matches(MatchType::Fnmatch, pattern)
        || matches(MatchType::Regex, &format!(r"(?:\A(?:{pattern})\Z)"))
}

/// The permissions as a login shows them: the entries of the very name, everybody's and those of groups; each
/// once, texts sorted, then the others.
#[must_use]
pub fn shown(backend: &Map, user: &str, groups: &[String]) -> Vec<Value> {
    let mut entries: Vec<&Value> = Vec::new();
    let mut add = |name: &str| {
        let own = backend.get(name).and_then(Value::as_array);
        entries.extend(own.unwrap_or_default());
    };
    add(user);
    add("*");
    for group in groups {
        add(&format!("{group}%"));
    }
    let (mut texts, mut others): (Vec<&Value>, Vec<&Value>) = entries
        .into_iter()
        .partition(|entry| entry.as_str().is_some());
    texts.sort_by_key(|entry| entry.as_str().unwrap_or_default());
    others.sort_by_key(|entry| python_text::repr(entry));
    let mut all: Vec<Value> = texts.into_iter().chain(others).cloned().collect();
    all.dedup();
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use brine_wire::json;

    fn backend(text: &str) -> Map {
        let value = json::parse(text.as_bytes()).unwrap();
        value.as_map().unwrap().clone()
    }

    fn texts(list: &[Value]) -> Vec<String> {
        list.iter().map(python_text::str).collect()
    }

    #[test]
    fn everybodys_entries_are_for_users_without_their_own() {
        let backend = backend(
            r#"{"^filename": ["^"], "fred": ["test.*"], "fr*": ["x"], "*": ["y"], "ops%": ["z"]}"#,
        );
        let ops = ["ops".to_owned()];
        assert_eq!(
            texts(&auth_list(&backend, "fred", &ops, false)),
            ["test.*", "x", "z"]
        );
        assert_eq!(texts(&auth_list(&backend, "ann", &[], false)), ["y"]);
        assert_eq!(
            texts(&auth_list(&backend, "fred", &[], true)),
            ["test.*", "x", "y"]
        );
        assert!(auth_list(&backend, "^filename", &[], false) == ["y".into()]);
        assert_eq!(texts(&auth_list(&backend, "ops%", &[], false)), ["y"]);
    }

    #[test]
    fn a_login_shows_texts_sorted_and_each_once() {
        let backend = backend(
            r#"{"fred": ["@wheel", ".*", {"web*": ["test.*"]}], "*": [".*", "@jobs"], "ops%": ["a"]}"#,
        );
        let ops = ["ops".to_owned()];
        assert_eq!(
            texts(&shown(&backend, "fred", &ops)),
            [".*", "@jobs", "@wheel", "a", "{'web*': ['test.*']}"]
        );
        assert!(shown(&Map::new(), "fred", &[]).is_empty());
    }
}
