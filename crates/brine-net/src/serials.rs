//! How far a minion has come in each master's publishes, beyond the end of a session.
//!
//! It knows no file and no network.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use brine_wire::network::crypticle::LastSerial;

/// The numbers of the last publishes under the shared keys of late, by the keys' digests. Clones share them.
///
/// A minion that signs in again often gets the shared key that it had. If its numbers began anew, whoever recorded
/// publishes could send them again.
#[derive(Debug, Clone, Default)]
pub struct Serials(Arc<Mutex<VecDeque<Numbered>>>);

/// A shared key's digest and the last number under it.
type Numbered = (String, Arc<Mutex<LastSerial>>);

impl Serials {
    /// The shared keys remembered: the last of each of a minion's masters, and to spare.
    const MOST: usize = 64;

    /// The last number under the shared key of this digest.
    pub(crate) fn under(&self, digest: &str) -> Arc<Mutex<LastSerial>> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, last)) = known.iter().find(|(known, _)| known == digest) {
            return last.clone();
        }
        if known.len() >= Self::MOST {
            known.pop_front();
        }
        let last = Arc::<Mutex<LastSerial>>::default();
        known.push_back((digest.to_owned(), last.clone()));
        last
    }
}
