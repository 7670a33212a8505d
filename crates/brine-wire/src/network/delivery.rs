//! How a master recognises a request that it already has: the minion, its boot, and the numbers of its records.
//!
//! Only Brine has this, and uses it only with Brine: a master says in its reply to the sign-in that it knows
//! deliveries ([`AcceptedReply`](super::auth::AcceptedReply)), and a minion adds one to requests for such a master.
//! It travels inside the encrypted load, so that nobody else can make a master take a request for a repeat. A real
//! master would show the unknown field to its listeners.

use super::field;
use crate::value::{Map, Value};

/// The field of a load.
const FIELD: &str = "brine_delivery";

/// Which of a minion's requests are in a load.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delivery {
    /// The start of the minion that made them: a random number.
    pub boot: u64,
    /// The number of the first; numbers of one boot never go back.
    pub first: u64,
    /// The number of the last.
    pub last: u64,
}

impl Delivery {
    /// Adds it to a load.
    pub fn add_to(self, load: &mut Map) {
        let numbers = [self.boot, self.first, self.last].map(Value::from);
        load.insert(FIELD, Value::Array(numbers.to_vec()));
    }

    /// Takes it out of a load; `None` if there is none that makes sense.
    #[must_use]
    pub fn take_from(load: &mut Map) -> Option<Self> {
        let Value::Array(numbers) = load.remove(FIELD)? else {
            return None;
        };
        let number = |at: usize| u64::try_from(numbers.get(at)?.as_int()?).ok();
        let delivery = Self {
            boot: number(0)?,
            first: number(1)?,
            last: number(2)?,
        };
        (delivery.first <= delivery.last && numbers.len() == 3).then_some(delivery)
    }

    /// How many numbers it spans.
    #[must_use]
    pub const fn count(self) -> u64 {
        (self.last - self.first).saturating_add(1)
    }
}

/// Whether a reply to the sign-in says that its master knows deliveries.
pub(super) fn is_known(reply: &Map) -> bool {
    field::text(reply, KNOWN) == Some("1")
}

/// Says so in a reply.
pub(super) fn say_known(reply: &mut Map) {
    reply.insert(KNOWN, "1");
}

/// The field of the reply to the sign-in, and its version.
const KNOWN: &str = "brine_deliveries";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delivery_is_taken_out_as_it_was_put_in() {
        let delivery = Delivery {
            boot: u64::MAX,
            first: 3,
            last: 7,
        };
        let mut load: Map = [("cmd", "_return")].into_iter().collect();
        let bare = load.clone();
        delivery.add_to(&mut load);
        assert_eq!(Delivery::take_from(&mut load), Some(delivery));
        assert_eq!((load, delivery.count()), (bare, 5));
    }

    #[test]
    fn what_makes_no_sense_is_none() {
        for numbers in [&[1, 5, 4][..], &[1, 2], &[1, 2, 3, 4], &[1, -2, 3]] {
            let mut load = Map::new();
            let numbers = numbers.iter().map(|number| Value::from(i64::from(*number)));
            load.insert(FIELD, Value::Array(numbers.collect()));
            assert_eq!(Delivery::take_from(&mut load), None);
            assert!(load.is_empty());
        }
    }
}
