//! The data of the events that a master fires about keys, sign-ins and presence.
//!
//! The sender sets `_stamp`. Facts: `docs/protocol/network.md` §6.2, §6.5, §7.2, §8.1, §11.

use alloc::string::String;

use super::MinionId;
use super::job::ids;
use crate::compat::{Compat, Series};
use crate::tag::{SALT, tagify};
use crate::value::{Map, Value};

/// The tag of sign-in events.
pub const AUTH: &str = "salt/auth";
/// The tag of key events.
pub const KEY: &str = "salt/key";
/// The tag of the event about a rotation of the shared key.
pub const ROTATE: &str = "key";
/// The tag of presence changes: who came and who went.
pub const PRESENCE_CHANGE: &str = "salt/presence/change";
/// The tag of presence: who is connected.
pub const PRESENCE_PRESENT: &str = "salt/presence/present";

/// The outcome of a sign-in, as in its event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Act {
    /// Let in.
    Accept,
    /// Waits to be accepted.
    Pend,
    /// Refused.
    Reject,
    /// Refused, since another key is known.
    Denied,
    /// Refused, since there are too many.
    Full,
}

impl Act {
    /// Its word.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Accept => "accept",
            Self::Pend => "pend",
            Self::Reject => "reject",
            Self::Denied => "denied",
            Self::Full => "full",
        }
    }
}

/// Where `act` is in the data, which differs by case and release.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ActPlace {
    /// Between `result` and `id`.
    BeforeId,
    /// Between `id` and `pub`.
    AfterId,
    /// Nowhere.
    Left,
}

/// The data of [`AUTH`].
#[must_use]
pub fn auth(act: Act, place: ActPlace, id: &MinionId, pub_key: &str) -> Map {
    let mut data = Map::new();
    data.insert("result", matches!(act, Act::Accept | Act::Pend));
    if place == ActPlace::BeforeId {
        data.insert("act", act.name());
    }
    data.insert("id", id.as_str());
    if place == ActPlace::AfterId {
        data.insert("act", act.name());
    }
    data.insert("pub", pub_key);
    data
}

/// What was done to a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KeyAct {
    /// Accepted.
    Accept,
    /// Rejected.
    Reject,
    /// Deleted.
    Delete,
}

/// The data of [`KEY`]. `pub_key` shows in 3008 only, and not for a deletion.
#[must_use]
pub fn key(act: KeyAct, id: &MinionId, pub_key: &str, compat: Compat) -> Map {
    let newest = compat.series() == Series::S3008;
    let name = match (act, newest) {
        (KeyAct::Accept, true) => "accepted",
        (KeyAct::Accept, false) => "accept",
        (KeyAct::Reject, true) => "rejected",
        (KeyAct::Reject, false) => "reject",
        (KeyAct::Delete, _) => "delete",
    };
    let mut data: Map = [("result", Value::from(true)), ("act", name.into())]
        .into_iter()
        .collect();
    data.insert("id", id.as_str());
    if newest && act != KeyAct::Delete {
        data.insert("pub", pub_key);
    }
    data
}

/// The data of [`ROTATE`].
#[must_use]
pub fn rotated() -> Map {
    [("rotate_aes_key", true)].into_iter().collect()
}

/// Tag and data of the event about a minion's new grains and pillar.
#[must_use]
pub fn data_refreshed(id: &MinionId) -> (String, Map) {
    (
        tagify([id.as_str()], "refresh", "minion"),
        [("Minion data cache refresh", id.as_str())]
            .into_iter()
            .collect(),
    )
}

/// Tag and data of the event about a minion's new resources (3008).
#[must_use]
pub fn resources_refreshed(id: &MinionId) -> (String, Map) {
    (
        tagify([id.as_str()], "refresh", "resource"),
        [("Resource cache refresh", id.as_str())]
            .into_iter()
            .collect(),
    )
}

/// The data of [`PRESENCE_CHANGE`].
#[must_use]
pub fn presence_change(new: &[MinionId], lost: &[MinionId]) -> Map {
    [("new", ids(new)), ("lost", ids(lost))]
        .into_iter()
        .collect()
}

/// The data of [`PRESENCE_PRESENT`].
#[must_use]
pub fn presence_present(present: &[MinionId]) -> Map {
    [("present", ids(present))].into_iter().collect()
}

/// Tag of a minion's start event, the newer of the two forms.
#[must_use]
pub fn start_tag(id: &MinionId) -> String {
    tagify([id.as_str(), "start"], "minion", SALT)
}

/// Tag of the event by which a minion of ours says what it could not keep for its master.
#[must_use]
pub fn spool_dropped_tag(id: &MinionId) -> String {
    tagify([id.as_str(), "dropped"], "spool", "brine")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(map: Map) -> String {
        let mut line = String::new();
        crate::json::to_line(&map.into(), &mut line);
        line
    }

    #[test]
    fn auth_events_have_the_key_order_of_their_case() {
        let id = MinionId::parse("m1").unwrap();
        let auth_event = |act, position| line(auth(act, position, &id, "PEM"));
        assert_eq!(
            auth_event(Act::Accept, ActPlace::BeforeId),
            r#"{"result": true, "act": "accept", "id": "m1", "pub": "PEM"}"#
        );
        assert_eq!(
            auth_event(Act::Denied, ActPlace::AfterId),
            r#"{"result": false, "id": "m1", "act": "denied", "pub": "PEM"}"#
        );
        assert_eq!(
            auth_event(Act::Reject, ActPlace::Left),
            r#"{"result": false, "id": "m1", "pub": "PEM"}"#
        );
    }

    #[test]
    fn key_acts_have_other_words_in_3008() {
        let id = MinionId::parse("m1").unwrap();
        let key_event = |act, release: &str| line(key(act, &id, "PEM", release.parse().unwrap()));
        assert_eq!(
            key_event(KeyAct::Accept, "3006"),
            r#"{"result": true, "act": "accept", "id": "m1"}"#
        );
        assert_eq!(
            key_event(KeyAct::Reject, "3008"),
            r#"{"result": true, "act": "rejected", "id": "m1", "pub": "PEM"}"#
        );
        assert_eq!(
            key_event(KeyAct::Delete, "3008"),
            r#"{"result": true, "act": "delete", "id": "m1"}"#
        );
    }
}
