//! What many kinds of events have in common: which minion, which function, which job, and whether it went well.
//!
//! The same reading as in filters (`brine_wire::field_filter`), over decoded data.

use brine_wire::{Map, Value};

/// The shared fields of an event, as far as it has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Facts<'a> {
    /// The minion it is about.
    pub minion: Option<&'a str>,
    /// The function that runs or ran.
    pub fun: Option<&'a str>,
    /// The job.
    pub jid: Option<&'a str>,
    /// Who started it.
    pub user: Option<&'a str>,
    /// Whether a return reports success; `None` for an event that is no return.
    pub ok: Option<bool>,
}

impl<'a> Facts<'a> {
    /// Reads them from an event.
    #[must_use]
    pub fn of(tag: &'a str, data: &'a Map) -> Self {
        let text = |key| data.get(key).and_then(Value::as_str);
        Self {
            minion: tag_minion(tag).or_else(|| text("id")),
            fun: text("fun"),
            jid: tag_jid(tag).or_else(|| text("jid")),
            user: text("user"),
            ok: outcome(data),
        }
    }
}

/// The minion that a tag names.
pub(crate) fn tag_minion(tag: &str) -> Option<&str> {
    let mut parts = tag.strip_prefix("salt/")?.splitn(4, '/');
    match parts.next()? {
        "minion" | "beacon" => parts.next(),
        "job" => {
            let kind = parts.nth(1)?;
            let rest = parts.next()?;
            match kind {
                "ret" | "start" => Some(rest),
                "prog" | "sub" => rest.split('/').next(),
                _ => None,
            }
        }
        _ => None,
    }
}

/// The job that a tag names.
pub(crate) fn tag_jid(tag: &str) -> Option<&str> {
    let mut parts = tag.strip_prefix("salt/")?.split('/');
    matches!(
        parts.next()?,
        "job" | "run" | "wheel" | "batch" | "state_result"
    )
    .then(|| parts.next())?
}

/// Whether a return reports success; `None` for data that are no return's. Of several functions in one job,
/// all must have succeeded.
pub(crate) fn outcome(data: &Map) -> Option<bool> {
    let every = |value: &Value, is_good: fn(&Value) -> bool| match value {
        Value::Map(map) => map.iter().all(|(_, one)| is_good(one)),
        Value::Array(items) => items.iter().all(is_good),
        one => is_good(one),
    };
    let success = data
        .get("success")
        .map(|value| every(value, Value::is_true));
    let retcode = data
        .get("retcode")
        .map(|value| every(value, |code| !code.is_true()));
    match (success, retcode) {
        (None, None) => None,
        (success, retcode) => Some(success.unwrap_or(true) && retcode.unwrap_or(true)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_name_minions_and_jobs() {
        for (tag, minion, jid) in [
            ("salt/job/1/ret/web1", Some("web1"), Some("1")),
            ("salt/job/1/ret/a/b", Some("a/b"), Some("1")),
            ("salt/job/1/prog/web1/3", Some("web1"), Some("1")),
            ("salt/job/1/new", None, Some("1")),
            ("salt/minion/web1/start", Some("web1"), None),
            ("salt/beacon/web1/ps/", Some("web1"), None),
            ("salt/run/2/ret", None, Some("2")),
            ("my/tag", None, None),
        ] {
            assert_eq!((tag_minion(tag), tag_jid(tag)), (minion, jid), "{tag}");
        }
    }

    #[test]
    fn several_functions_succeed_together() {
        let of = |success: Value, retcode: Value| {
            let data = [("success", success), ("retcode", retcode)];
            outcome(&data.into_iter().collect())
        };
        let codes = |one: i32| Value::Map([("a", 0), ("b", one)].into_iter().collect());
        assert_eq!(of(true.into(), codes(0)), Some(true));
        assert_eq!(of(true.into(), codes(1)), Some(false));
        assert_eq!(of(false.into(), 0.into()), Some(false));
        assert_eq!(outcome(&Map::new()), None);
    }
}
