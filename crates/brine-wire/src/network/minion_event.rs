//! `_minion_event`: what a master puts on its bus for the events that minions send up, and several events in
//! one request.
//!
//! Real masters check tags in batches only, before a prefix is put in front; ours checks the tag that is fired, in
//! every form, against [`tag_policy`]. Facts: `docs/protocol/network.md` §9.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use crate::compat::{Compat, Series};
use crate::event::is_readable;
use crate::network::field;
use crate::network::tag_policy::{self, Sender};
use crate::tag::TAG_PARTER;
use crate::value::{Map, Value};

/// The command.
pub const CMD: &str = "_minion_event";

/// What only a master fires. Shell patterns, in Salt's words.
pub const RESERVED: [&str; 9] = [
    "salt/job/*/publish",
    "salt/job/*/new",
    "salt/job/*/return",
    "salt/key",
    "salt/cloud/*",
    "salt/run/*",
    "salt/cluster/*",
    "salt/wheel/*/new",
    "salt/wheel/*/return",
];

/// Whether only a master fires this tag.
#[must_use]
pub fn is_reserved(tag: &str) -> bool {
    RESERVED.iter().any(|pattern| glob(pattern, tag))
}

/// A pattern with at most one star, which matches anything.
fn glob(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((start, end)) => text
            .strip_prefix(start)
            .is_some_and(|rest| rest.ends_with(end)),
    }
}

/// What one request makes.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Events {
    /// Tags and data to fire, in order. The sender sets `_stamp`.
    pub fired: Vec<(String, Map)>,
    /// What is not fired.
    pub refused: Refusals,
}

/// What of a request is not fired: how many events, and why the first. Of the others nothing is kept, or a batch of
/// refused events would cost the master more than the sender.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Refusals {
    /// How many.
    pub count: usize,
    /// The first.
    pub first: Option<Refused>,
}

impl Refusals {
    fn add(&mut self, refused: impl FnOnce() -> Refused) {
        self.count += 1;
        self.first.get_or_insert_with(refused);
    }
}

/// Something in a request that makes no event. Texts of the sender's are cut to [`SHOWN`] bytes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refused {
    /// The sender may not have this tag fired ([`tag_policy`]).
    #[error("this minion may not fire {tag:?}")]
    Reserved {
        /// The tag.
        tag: String,
    },
    /// No listener could read it.
    #[error("tag {tag:?} contains a blank line")]
    Unreadable {
        /// The tag.
        tag: String,
    },
    /// The tag is missing or no text, or the data is missing.
    #[error("the event has no tag, or no data")]
    NoTagOrData,
    /// The data of an item name another minion as their sender.
    #[error("the data of {tag:?} names {id:?} as its sender")]
    ForeignId {
        /// The tag.
        tag: String,
        /// The id in the data.
        id: String,
    },
    /// An item of a batch has data that is no map.
    #[error("the data of {tag:?} is not a map")]
    NotAMap {
        /// The tag.
        tag: String,
    },
    /// The tag is longer than one of a minion may be.
    #[error("expected a tag of at most {MAX_TAG_BYTES} bytes, found {found}: {tag:?}")]
    TooLong {
        /// How it begins.
        tag: String,
        /// Its size in bytes.
        found: usize,
    },
    /// The prefix of a batch is longer than any syndic's.
    #[error("expected a prefix of at most {MAX_PRETAG_BYTES} bytes, found {found}")]
    PrefixTooLong {
        /// Its size in bytes.
        found: usize,
    },
    /// The batch holds more than one request may.
    #[error("expected at most {MAX_ITEMS} events in one request, found {found}")]
    TooMany {
        /// How many.
        found: usize,
    },
}

/// The most events in one batch. A syndic collects for seconds, so that this is generous.
pub const MAX_ITEMS: usize = 100_000;

/// The longest tag that a minion may have fired, in bytes.
pub const MAX_TAG_BYTES: usize = 4096;

/// The longest prefix, in bytes: `syndic/` and an id, with room to spare. It is copied for every event of a batch.
pub const MAX_PRETAG_BYTES: usize = 512;

/// The most bytes that a refusal shows of a text.
pub const SHOWN: usize = 256;

/// Whose events are taken, and how strictly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy<'a> {
    /// Who sends the request.
    pub sender: Sender<'a>,
    /// Fire what the policy refuses, too, and only report it: for sites that depend on it.
    pub audit_only: bool,
}

/// The events of a request, given its fields without `tok` and `nonce`.
///
/// `compat` decides the order of plain and prefixed events in batches.
#[must_use]
pub fn events(mut fields: Map, compat: Compat, policy: Policy<'_>) -> Events {
    let mut events = Events::default();
    let Some(Value::Array(items)) = fields.get("events") else {
        single(fields, policy, &mut events);
        return events;
    };
    let found = items.len();
    if found > MAX_ITEMS {
        events.refused.add(|| Refused::TooMany { found });
        return events;
    }
    let items = fields.remove("events");
    let pretag = field::text(&fields, "pretag");
    if let Some(found) = pretag
        .map(str::len)
        .filter(|found| *found > MAX_PRETAG_BYTES)
    {
        events.refused.add(|| Refused::PrefixTooLong { found });
        return events;
    }
    if let Some(Value::Array(items)) = items {
        for item in items {
            batch_item(item, pretag, compat, policy, &mut events);
        }
    }
    events
}

/// The keys of an event that goes up by itself, in the order in which they are on the master's bus.
const SINGLE: [&str; 5] = ["id", "cmd", "pretag", "data", "tag"];

/// Whether an event may go up with others in one request and look the same on every master's bus: it has no
/// keys but the usual, and no tag that masters treat otherwise in a batch.
#[must_use]
pub fn may_be_batched(load: &Map) -> bool {
    let tag = field::text(load, "tag");
    load.len() == SINGLE.len()
        && load
            .iter()
            .zip(SINGLE)
            .all(|((key, _), name)| key.as_str() == Some(name))
        && load.get("cmd") == Some(&CMD.into())
        && load.get("pretag") == Some(&Value::Nil)
        && tag.is_some_and(|tag| !is_reserved(tag) && tag != "_salt_error")
}

/// One request for several events that [`may_be_batched`]. Each item holds as its data what the master's bus
/// shows of an event by itself; `ts` are the seconds UTC that the channel adds to those.
#[must_use]
pub fn batch(loads: Vec<Map>, ts: i64) -> Map {
    let id = loads.first().and_then(|load| load.get("id")).cloned();
    let items = loads.into_iter().map(|mut load| {
        load.insert("ts", ts);
        let mut item = Map::new();
        item.insert("tag", load.get("tag").cloned().unwrap_or(Value::Nil));
        item.insert("data", load);
        Value::Map(item)
    });
    let items: Vec<Value> = items.collect();
    let mut load = Map::new();
    load.insert("id", id.unwrap_or(Value::Nil));
    load.insert("cmd", CMD);
    load.insert("pretag", Value::Nil);
    load.insert("events", items);
    load
}

/// The whole load is the data.
fn single(fields: Map, policy: Policy<'_>, events: &mut Events) {
    let tag = field::text(&fields, "tag").filter(|_| fields.get("data").is_some());
    let Some(tag) = tag else {
        return events.refused.add(|| Refused::NoTagOrData);
    };
    // Only batches pass on what a syndic's minions say.
    let sender = Sender {
        syndic: false,
        ..policy.sender
    };
    if may_fire(tag, Policy { sender, ..policy }, events) {
        let tag = tag.to_string();
        events.fired.push((tag, fields));
    }
}

fn batch_item(
    item: Value,
    pretag: Option<&str>,
    compat: Compat,
    policy: Policy<'_>,
    events: &mut Events,
) {
    let Value::Map(mut item) = item else {
        return events.refused.add(|| Refused::NoTagOrData);
    };
    let Some(tag) = field::text(&item, "tag") else {
        return events.refused.add(|| Refused::NoTagOrData);
    };
    let data = match item.get("data") {
        Some(Value::Map(data)) => data,
        None => &item,
        Some(_) => return events.refused.add(|| Refused::NotAMap { tag: shown(tag) }),
    };
    if let Some(id) = field::text(data, "id").filter(|id| !policy.may_name(id)) {
        let (tag, id) = (|| shown(tag), || shown(id));
        (events.refused).add(|| Refused::ForeignId {
            tag: tag(),
            id: id(),
        });
        if !policy.audit_only {
            return;
        }
    }
    let plain = (tag, may_fire(tag, policy, events));
    let prefixed = pretag.map(|pretag| format!("{pretag}{TAG_PARTER}{tag}"));
    let prefixed = prefixed.as_deref().map(|tag| match compat.series() {
        // Those of earlier series put no prefix before what is theirs.
        Series::S3006 | Series::S3007 if is_reserved(plain.0) => (tag, false),
        _ => (tag, may_fire(tag, policy, events)),
    });
    let in_order = match compat.series() {
        Series::S3008 => [prefixed, Some(plain)],
        _ => [Some(plain), prefixed],
    };
    let fired = in_order.map(|tag| tag.and_then(|(tag, fired)| fired.then(|| tag.to_string())));
    let mut tags = fired.into_iter().flatten().peekable();
    if tags.peek().is_none() {
        return;
    }
    let data = match item.remove("data") {
        Some(Value::Map(data)) => data,
        _ => item,
    };
    while let Some(tag) = tags.next() {
        if tags.peek().is_none() {
            return events.fired.push((tag, data));
        }
        events.fired.push((tag, data.clone()));
    }
}

/// Whether an event is fired; counted if the policy is against it. Costs the same for every tag that is refused.
fn may_fire(tag: &str, policy: Policy<'_>, events: &mut Events) -> bool {
    let found = tag.len();
    if found > MAX_TAG_BYTES {
        let tag = || shown(tag);
        events
            .refused
            .add(|| Refused::TooLong { tag: tag(), found });
        return false;
    }
    if !is_readable(tag) {
        events
            .refused
            .add(|| Refused::Unreadable { tag: shown(tag) });
        return false;
    }
    if tag_policy::permits(policy.sender, tag) {
        return true;
    }
    events.refused.add(|| Refused::Reserved { tag: shown(tag) });
    policy.audit_only
}

/// The start of a text.
fn shown(text: &str) -> String {
    let end = (0..=SHOWN.min(text.len())).rfind(|at| text.is_char_boundary(*at));
    text[..end.unwrap_or(0)].to_string()
}

impl Policy<'_> {
    /// Whether data may name this id as their sender.
    fn may_name(&self, id: &str) -> bool {
        self.sender.syndic || id == self.sender.id
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::matching::{MatchType, TagMatch};
    use alloc::vec;
    use proptest::prelude::*;

    fn map(pairs: &[(&str, Value)]) -> Map {
        pairs.iter().cloned().collect()
    }

    const POLICY: Policy<'_> = Policy {
        sender: Sender {
            id: "m1",
            syndic: false,
        },
        audit_only: false,
    };

    fn made_of(fields: Map, compat: Compat) -> Events {
        events(fields, compat, POLICY)
    }

    fn one(refused: Refused) -> Refusals {
        Refusals {
            count: 1,
            first: Some(refused),
        }
    }

    fn tags(events: &Events) -> Vec<&str> {
        events.fired.iter().map(|(tag, _)| tag.as_str()).collect()
    }

    #[test]
    fn the_whole_load_of_a_single_event_is_its_data() {
        let load = map(&[
            ("id", "m1".into()),
            ("cmd", CMD.into()),
            ("pretag", Value::Nil),
            ("data", map(&[("a", 1.into())]).into()),
            ("tag", "my/tag".into()),
            ("ts", 7.into()),
            ("extra", 1.into()),
        ]);
        let events = made_of(load.clone(), Compat::NEWEST);
        assert_eq!(events.fired, [("my/tag".into(), load)]);
    }

    #[test]
    fn start_events_have_text_for_data() {
        let load = map(&[
            ("tag", "minion_start".into()),
            ("data", "Minion m1 started".into()),
        ]);
        assert_eq!(tags(&made_of(load, Compat::NEWEST)), ["minion_start"]);
        for lacking in [
            map(&[("tag", "a".into())]),
            map(&[("data", "a".into())]),
            map(&[]),
        ] {
            assert_eq!(
                made_of(lacking, Compat::NEWEST).refused,
                one(Refused::NoTagOrData)
            );
        }
    }

    #[test]
    fn what_is_the_masters_to_fire_is_fired_by_no_minion_in_any_form() {
        let reserved = [
            "salt/key",
            "salt/job/3/new",
            "salt/run/1/ret",
            "salt/cloud/x",
            "salt/wheel/1/new",
        ];
        for tag in reserved {
            let single = map(&[("tag", tag.into()), ("data", Map::new().into())]);
            assert_eq!(tags(&made_of(single, Compat::NEWEST)), [""; 0], "{tag}");
            let item = map(&[("tag", tag.into()), ("data", Map::new().into())]);
            let batch = map(&[("events", vec![item.into()].into())]);
            assert_eq!(tags(&made_of(batch, Compat::NEWEST)), [""; 0], "{tag}");
        }
        // Put together from a harmless prefix and a harmless tag.
        let item = map(&[("tag", "key".into()), ("data", Map::new().into())]);
        let batch = map(&[
            ("events", vec![item.into()].into()),
            ("pretag", "salt".into()),
        ]);
        for release in ["3006", "3007", "3008"] {
            let made = made_of(batch.clone(), release.parse().unwrap());
            assert_eq!(tags(&made), ["key"]);
            assert_eq!(
                made.refused,
                one(Refused::Reserved {
                    tag: "salt/key".into()
                })
            );
        }
    }

    #[test]
    fn no_minion_says_what_brine_says_or_returns_of_others() {
        for tag in [
            "brine/gap",
            "salt/job/20260101000000000000/ret/victim",
            "salt/auth",
            "salt/presence/change",
        ] {
            let single = map(&[("tag", tag.into()), ("data", Map::new().into())]);
            assert_eq!(tags(&made_of(single, Compat::NEWEST)), [""; 0], "{tag}");
        }
        let item = map(&[("tag", "publish/1f".into()), ("data", Map::new().into())]);
        let put_together = map(&[
            ("events", vec![item.into()].into()),
            ("pretag", "brine".into()),
        ]);
        assert_eq!(tags(&made_of(put_together, Compat::NEWEST)), ["publish/1f"]);
        for tag in ["salt/job/1/prog/m1/0", "salt/minion/m1/start", "brine"] {
            let single = map(&[("tag", tag.into()), ("data", Map::new().into())]);
            assert_eq!(tags(&made_of(single, Compat::NEWEST)), [tag]);
        }
    }

    #[test]
    fn a_syndics_prefix_comes_after_or_before_by_release() {
        let item = |tag: &str| {
            map(&[
                ("tag", tag.into()),
                ("data", map(&[("x", 1.into())]).into()),
            ])
            .into()
        };
        let batch = map(&[
            ("pretag", "syndic/s".into()),
            ("events", vec![item("a"), item("salt/job/2/new")].into()),
        ]);
        let made = |release: &str| made_of(batch.clone(), release.parse().unwrap());
        assert_eq!(tags(&made("3006")), ["a", "syndic/s/a"]);
        assert_eq!(
            tags(&made("3008")),
            ["syndic/s/a", "a", "syndic/s/salt/job/2/new"]
        );
        assert_eq!(made("3008").fired[0].1, map(&[("x", 1.into())]));
    }

    #[test]
    fn a_beacons_item_without_data_is_its_own_data() {
        let item = map(&[("tag", "b".into()), ("beacon_name", "load".into())]);
        let batch = map(&[("events", vec![item.clone().into(), 5.into()].into())]);
        let made = made_of(batch, Compat::NEWEST);
        assert_eq!(made.fired, [("b".into(), item)]);
        assert_eq!(made.refused, one(Refused::NoTagOrData));
    }

    #[test]
    fn a_batch_names_no_other_minion_as_its_sender() {
        let item = |id: &str| -> Value {
            let data = map(&[("id", id.into()), ("x", 1.into())]);
            map(&[("tag", "salt/beacon/m1/x/".into()), ("data", data.into())]).into()
        };
        let batch = map(&[("events", vec![item("m1"), item("victim")].into())]);
        let made = made_of(batch.clone(), Compat::NEWEST);
        assert_eq!(made.fired.len(), 1);
        assert_eq!(
            made.refused,
            one(Refused::ForeignId {
                tag: "salt/beacon/m1/x/".into(),
                id: "victim".into()
            })
        );
        let syndic = Policy {
            sender: Sender {
                id: "s",
                syndic: true,
            },
            ..POLICY
        };
        assert_eq!(events(batch, Compat::NEWEST, syndic).fired.len(), 2);
    }

    #[test]
    fn long_tags_and_prefixes_are_refused_and_shown_in_part() {
        let item = |tag: &str| map(&[("tag", tag.into()), ("x", 1.into())]).into();
        let made = |pretag: String, tag: &str| {
            let items: Vec<Value> = vec![item(tag), item(tag)];
            made_of(
                map(&[("pretag", pretag.into()), ("events", items.into())]),
                Compat::NEWEST,
            )
        };
        // A prefix is copied for every event: without a limit, a message of two parts of 1 MiB would become 100 GiB.
        let pretag = "p".repeat(MAX_PRETAG_BYTES);
        assert_eq!(made(pretag.clone(), "t").fired.len(), 4);
        let longer = made(pretag + "p", "t");
        let found = MAX_PRETAG_BYTES + 1;
        assert_eq!(longer.refused, one(Refused::PrefixTooLong { found }));
        assert_eq!(longer.fired, []);

        let tag = "ю".repeat(MAX_TAG_BYTES / 2);
        let long = tag.clone() + "x";
        for tag in [&long, &("salt/key/".to_string() + &long)] {
            let load = map(&[("tag", tag.as_str().into()), ("data", Map::new().into())]);
            let refused = made_of(load, Compat::NEWEST).refused;
            let Some(Refused::TooLong { tag: shown, found }) = &refused.first else {
                panic!("{refused:?}");
            };
            assert!(shown.len() <= SHOWN && tag.starts_with(shown.as_str()));
            assert_eq!(*found, tag.len());
        }
        let load = map(&[("tag", tag.as_str().into()), ("data", Map::new().into())]);
        assert_eq!(tags(&made_of(load, Compat::NEWEST)), [tag]);
    }

    #[test]
    fn what_is_audited_only_is_fired_and_reported() {
        let load = map(&[("tag", "salt/key".into()), ("data", Map::new().into())]);
        let audit = Policy {
            audit_only: true,
            ..POLICY
        };
        let made = events(load, Compat::NEWEST, audit);
        assert_eq!((tags(&made), made.refused.count), (vec!["salt/key"], 1));
    }

    fn plain(tag: &str, data: Value) -> Map {
        map(&[
            ("id", "m1".into()),
            ("cmd", CMD.into()),
            ("pretag", Value::Nil),
            ("data", data),
            ("tag", tag.into()),
        ])
    }

    #[test]
    fn a_batch_makes_the_events_that_its_items_make_alone() {
        let loads = vec![
            plain(
                "a/1",
                map(&[("minions", 1.into()), ("jid", "3".into())]).into(),
            ),
            plain("minion_start", "Minion m1 started".into()),
        ];
        assert!(loads.iter().all(may_be_batched));
        let alone = loads.clone().into_iter().flat_map(|mut load| {
            load.insert("ts", 7);
            made_of(load, Compat::NEWEST).fired
        });
        let alone: Vec<_> = alone.collect();
        for release in ["3006", "3007", "3008"] {
            let mut together = batch(loads.clone(), 7);
            together.insert("ts", 7);
            let made = made_of(together, release.parse().unwrap());
            assert_eq!(made.fired, alone);
            assert_eq!(made.refused, Refusals::default());
        }
    }

    #[test]
    fn what_masters_treat_otherwise_in_a_batch_goes_alone() {
        let more = |key: &str, value: Value| {
            let mut load = plain("a", Map::new().into());
            load.insert(key, value);
            load
        };
        for load in [
            plain("salt/job/1/new", Map::new().into()),
            plain("_salt_error", Map::new().into()),
            more("cmd", "_return".into()),
            more("pretag", "syndic".into()),
            more("grains", Map::new().into()),
            map(&[("cmd", CMD.into()), ("tag", "a".into())]),
        ] {
            assert!(!may_be_batched(&load), "{load:?}");
        }
    }

    proptest! {
        #[test]
        fn reserved_tags_are_what_shell_patterns_say(tag in "salt/(job|run|key|cloud|wheel|cluster|x)(/[a-z/\n]{0,4})?(/new|/publish|/return|/ret)?") {
            let by_pattern = RESERVED.iter().any(|pattern| {
                TagMatch::new(MatchType::Fnmatch, *pattern).unwrap().matches(&tag)
            });
            prop_assert_eq!(is_reserved(&tag), by_pattern);
        }
    }
}
