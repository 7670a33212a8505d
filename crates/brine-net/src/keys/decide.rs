//! The decision on a sign-in: a table, as a pure function.
//!
//! Facts: `docs/protocol/network.md` §6.2, whose rows the tests name. Row 14 (the key does not
//! parse) comes first here and before this function: an invalid key is never stored.

use brine_wire::compat::{Compat, Series};
use brine_wire::network::events::{Act, ActPlace};

use super::store::KeyState;

/// The stored key compared with the one that a minion shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoredIs {
    /// They are the same.
    Same,
    /// They differ, or the stored one is invalid.
    Other,
}

/// The facts about a minion that signs in with a valid id and key.
#[derive(Debug, Clone, Copy)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "they are the columns of the table"
)]
pub struct Case {
    /// The state of the stored key, and whether it is the one that the minion shows.
    pub stored: Option<(KeyState, StoredIs)>,
    /// As many minions are connected as allowed, and this is not one of them.
    pub full: bool,
    /// `open_mode`: every minion is accepted.
    pub open_mode: bool,
    /// A rule accepts it (autosign).
    pub autosign: bool,
    /// `autoreject_file` names it.
    pub autoreject: bool,
    /// The release whose events are fired.
    pub compat: Compat,
}

/// The answer to the minion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Accepted.
    Accept,
    /// Pending: the minion asks again later.
    Pending,
    /// Refused.
    Reject,
    /// The master takes no more minions.
    Full,
}

/// The decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decision {
    /// What to answer.
    pub verdict: Verdict,
    /// The state to store the key in, if any.
    pub put: Option<KeyState>,
    /// The event's `act`, and its form.
    pub event: (Act, ActPlace),
}

impl Decision {
    const fn new(verdict: Verdict, put: Option<KeyState>, act: Act) -> Self {
        Self {
            verdict,
            put,
            event: (act, ActPlace::BeforeId),
        }
    }

    const fn act_at(self, place: ActPlace) -> Self {
        Self {
            event: (self.event.0, place),
            ..self
        }
    }
}

/// Decides.
#[must_use]
pub fn decide(case: &Case) -> Decision {
    let newest = case.compat.series() == Series::S3008;
    let accept = |put| Decision::new(Verdict::Accept, put, Act::Accept);
    let reject = |put| Decision::new(Verdict::Reject, put, Act::Reject);
    let pend = |put| Decision::new(Verdict::Pending, put, Act::Pend);
    let deny = || Decision::new(Verdict::Reject, Some(KeyState::Denied), Act::Denied);
    if case.full {
        return Decision::new(Verdict::Full, None, Act::Full);
    }
    if case.open_mode {
        let same = case.stored == Some((KeyState::Accepted, StoredIs::Same));
        return accept((!same).then_some(KeyState::Accepted));
    }
    match case.stored {
        Some((KeyState::Rejected, _)) if newest => reject(None),
        Some((KeyState::Rejected, _)) => reject(None).act_at(ActPlace::Left),
        Some((KeyState::Accepted, StoredIs::Same)) => accept(None),
        Some((KeyState::Accepted, _)) => deny().act_at(ActPlace::AfterId),
        None | Some((KeyState::Denied, _)) if case.autoreject => reject(Some(KeyState::Rejected)),
        None | Some((KeyState::Denied, _)) if case.autosign => accept(Some(KeyState::Accepted)),
        None | Some((KeyState::Denied, _)) => pend(Some(KeyState::Pending)),
        Some((KeyState::Pending, _)) if case.autoreject => reject(Some(KeyState::Rejected)),
        Some((KeyState::Pending, StoredIs::Same)) => {
            if case.autosign {
                accept(Some(KeyState::Accepted))
            } else {
                pend(None)
            }
        }
        Some((KeyState::Pending, _)) => deny().act_at(match (case.autosign, newest) {
            (false, _) => ActPlace::AfterId,
            (true, true) => ActPlace::BeforeId,
            (true, false) => ActPlace::Left,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Verdict::{Accept, Full, Pending, Reject};

    fn case(stored: Option<(KeyState, &str)>) -> Case {
        Case {
            stored: stored.map(|(state, key)| match key {
                "K" => (state, StoredIs::Same),
                _ => (state, StoredIs::Other),
            }),
            full: false,
            open_mode: false,
            autosign: false,
            autoreject: false,
            compat: Compat::NEWEST,
        }
    }

    fn check(
        row: u8,
        case: Case,
        verdict: Verdict,
        put: Option<KeyState>,
        act: Act,
        place: ActPlace,
    ) {
        let event = (act, place);
        assert_eq!(
            decide(&case),
            Decision {
                verdict,
                put,
                event
            },
            "row {row}: {case:?}"
        );
    }

    #[test]
    fn every_row_of_the_table() {
        use ActPlace::{AfterId, BeforeId, Left};
        use KeyState::{Accepted, Denied, Rejected};
        let pending = |key| case(Some((KeyState::Pending, key)));
        let accepted = |key| case(Some((Accepted, key)));
        let old: Compat = "3006".parse().unwrap();
        check(
            2,
            Case {
                full: true,
                open_mode: true,
                ..case(None)
            },
            Full,
            None,
            Act::Full,
            BeforeId,
        );
        for stored in [
            None,
            Some((Rejected, "K")),
            Some((Accepted, "X")),
            Some((KeyState::Pending, "X")),
        ] {
            let open = Case {
                open_mode: true,
                autoreject: true,
                ..case(stored)
            };
            check(3, open, Accept, Some(Accepted), Act::Accept, BeforeId);
        }
        check(
            3,
            Case {
                open_mode: true,
                ..accepted("K")
            },
            Accept,
            None,
            Act::Accept,
            BeforeId,
        );
        let rejected = Case {
            autosign: true,
            ..case(Some((Rejected, "K")))
        };
        check(4, rejected, Reject, None, Act::Reject, BeforeId);
        check(
            4,
            Case {
                compat: old,
                ..rejected
            },
            Reject,
            None,
            Act::Reject,
            Left,
        );
        check(5, accepted("X"), Reject, Some(Denied), Act::Denied, AfterId);
        check(6, accepted("K"), Accept, None, Act::Accept, BeforeId);
        check(
            6,
            Case {
                autoreject: true,
                ..accepted("K")
            },
            Accept,
            None,
            Act::Accept,
            BeforeId,
        );
        let both = Case {
            autoreject: true,
            autosign: true,
            ..case(None)
        };
        check(7, both, Reject, Some(Rejected), Act::Reject, BeforeId);
        check(
            8,
            case(None),
            Pending,
            Some(KeyState::Pending),
            Act::Pend,
            BeforeId,
        );
        check(
            9,
            Case {
                autosign: true,
                ..case(None)
            },
            Accept,
            Some(Accepted),
            Act::Accept,
            BeforeId,
        );
        check(
            10,
            Case {
                autoreject: true,
                ..pending("X")
            },
            Reject,
            Some(Rejected),
            Act::Reject,
            BeforeId,
        );
        check(11, pending("K"), Pending, None, Act::Pend, BeforeId);
        check(12, pending("X"), Reject, Some(Denied), Act::Denied, AfterId);
        let signed = Case {
            autosign: true,
            ..pending("X")
        };
        check(12, signed, Reject, Some(Denied), Act::Denied, BeforeId);
        check(
            12,
            Case {
                compat: old,
                ..signed
            },
            Reject,
            Some(Denied),
            Act::Denied,
            Left,
        );
        check(
            13,
            Case {
                autosign: true,
                ..pending("K")
            },
            Accept,
            Some(Accepted),
            Act::Accept,
            BeforeId,
        );
    }

    #[test]
    fn no_key_but_the_accepted_one_is_let_in_without_a_rule() {
        for stored in [
            None,
            Some((KeyState::Accepted, "X")),
            Some((KeyState::Rejected, "K")),
            Some((KeyState::Pending, "K")),
        ] {
            assert_ne!(decide(&case(stored)).verdict, Accept);
        }
    }
}
