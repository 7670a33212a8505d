//! Which tags a user may read, so that what is hidden from the user is not taken for events that never came.

use brine_bus::client::local::EventQuery;
use brine_wire::matching::{MatchType, TagMatch};
use brine_wire::{Map, Value};

use crate::show;

/// What to say to a user to whom a part of what was asked for may be hidden, by the bus's status; `None` if nothing
/// is.
pub(crate) fn hidden(status: &Map, asked: &EventQuery) -> Option<String> {
    let permitted = status.get("may_read")?.as_array()?;
    let permitted: Vec<&str> = permitted.iter().filter_map(Value::as_str).collect();
    let is_covered = |tag: &String| covers(&permitted, tag, &asked.match_type);
    let is_all = match asked.tags.is_empty() {
        true => permitted.contains(&"*"),
        false => asked.tags.iter().all(is_covered),
    };
    (!is_all).then(|| {
        let tags = permitted.join(", ");
        format!(
            "you may read only {}, by acl, below brine in the bus's configuration; other events are not shown",
            show::visible(&tags)
        )
    })
}

/// Whether every tag that was asked for by a pattern is certainly permitted.
fn covers(permitted: &[&str], asked: &str, match_type: &str) -> bool {
    let kind = match match_type {
        "" => MatchType::Fnmatch,
        name => MatchType::from_option(name).unwrap_or_default(),
    };
    let is_one_tag = kind == MatchType::Fnmatch && !asked.contains(['*', '?', '[']);
    let Ok(pattern) = TagMatch::new(kind, asked) else {
        return false;
    };
    let prefix = pattern.literal_prefix();
    permitted.iter().any(|&permitted| {
        let below = permitted.strip_suffix('*');
        let below = below.filter(|below| !below.contains(['*', '?', '[']));
        below.is_some_and(|below| prefix.starts_with(below))
            || (kind == MatchType::Fnmatch && permitted == asked)
            || (is_one_tag
                && TagMatch::new(MatchType::Fnmatch, permitted).is_ok_and(|it| it.matches(asked)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_certainly_permitted_is_not_mentioned() {
        let permitted = ["my/*", "a/?/new", "one"].map(Value::from).to_vec();
        let status = Map::from_iter([("may_read", permitted)]);
        let says = |tags: &[&str], match_type: &str| {
            let asked = EventQuery {
                tags: tags.iter().map(ToString::to_string).collect(),
                match_type: match_type.to_owned(),
                ..EventQuery::default()
            };
            hidden(&status, &asked).is_some()
        };
        for tags in [
            &["my/x"][..],
            &["my/*/ret"],
            &["a/1/new", "one"],
            &["a/?/new"],
        ] {
            assert!(!says(tags, "glob"), "{tags:?}");
        }
        for tags in [&[][..], &["*"], &["my*"], &["my/x", "salt/auth"], &["a/*"]] {
            assert!(says(tags, ""), "{tags:?}");
        }
        assert!(!says(&["my/"], "startswith") && says(&["m"], "startswith"));
        assert!(says(&["my/"], "find") && says(&["one"], "startswith"));
        let everything = Map::from_iter([("may_read", vec![Value::from("*")])]);
        assert_eq!(hidden(&everything, &EventQuery::default()), None);
        assert_eq!(hidden(&Map::new(), &EventQuery::default()), None);
    }
}
