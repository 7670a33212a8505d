//! Which events a stream contains.

use std::fmt::Write;

use super::http;

/// Which events a stream is about. As text each field is a parameter of `GET /events`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EventQuery {
    /// Patterns of tags; none for every tag.
    pub tags: Vec<String>,
    /// How tags are compared: `glob`, `startswith`, `endswith`, `find` or `regex`; `glob` if empty.
    pub match_type: String,
    /// Patterns of tags that are left out.
    pub excludes: Vec<String>,
    /// Terms such as `minion:web* ok:false`.
    pub filter: String,
    /// `earliest`, `new`, a sequence, a position or a time; empty for `new`.
    pub from: String,
    /// A time to begin at, instead of `from`.
    pub since: String,
    /// A time to end at.
    pub until: String,
    /// A sequence to end before.
    pub before: Option<u64>,
    /// Only this many of the last events, and those that follow.
    pub last: Option<u64>,
    /// The most events.
    pub limit: Option<u64>,
    /// Whether the stream ends with what is there now.
    pub ends: bool,
    /// Seconds of silence after which the server sends a sign of life; `None` for its own time.
    pub heartbeat: Option<u64>,
    /// The events of a consumer, from its position on: of the other fields only `limit`, `ends`
    /// and `heartbeat` count.
    pub consumer: Option<String>,
}

/// A path with a query: parameters that are empty are left out.
#[must_use]
pub fn target(path: &str, parameters: &[(&str, &str)]) -> String {
    let mut target = String::from(path);
    let given = parameters.iter().filter(|(_, value)| !value.is_empty());
    for ((name, value), separator) in given.zip(std::iter::once('?').chain(std::iter::repeat('&')))
    {
        let _ = write!(target, "{separator}{name}="); // writing to memory does not fail
        http::escape(value, &mut target);
    }
    target
}

impl EventQuery {
    /// The same events, but only those that are kept now; from the earliest where nothing else is
    /// said.
    #[must_use]
    pub fn of_history(mut self) -> Self {
        self.ends = true;
        if self.from.is_empty() && self.since.is_empty() && self.last.is_none() {
            "earliest".clone_into(&mut self.from);
        }
        self
    }

    pub(super) fn target(&self) -> String {
        let count = |count: Option<u64>| count.map_or_else(String::new, |count| count.to_string());
        let mut target = match &self.consumer {
            Some(name) => format!("/consumers/{name}/events?"),
            None => String::from("/events?"),
        };
        let mut add = |name: &str, value: &str| {
            if !value.is_empty() {
                let _ = write!(target, "{name}="); // writing to memory does not fail
                http::escape(value, &mut target);
                target.push('&');
            }
        };
        add("limit", &count(self.limit));
        add("follow", if self.ends { "false" } else { "true" });
        add("heartbeat", &count(self.heartbeat));
        if self.consumer.is_none() {
            self.tags.iter().for_each(|tag| add("tag", tag));
            self.excludes.iter().for_each(|tag| add("exclude", tag));
            add("match", &self.match_type);
            add("filter", &self.filter);
            add("from", &self.from);
            add("since", &self.since);
            add("until", &self.until);
            add("before", &count(self.before));
            add("last", &count(self.last));
        }
        target.pop(); // the separator after the last
        target
    }
}
