//! What must hold for any bytes that a bus sends its listeners: the body of a fuzz target, which a test replays. Not
//! part of the crate's interface.

use brine_wire::matching::{MatchType, TagMatch};

use crate::client::SubscriberConfig;
use crate::client::session::{Session, SessionError};

/// What a listener keeps at most, in bytes: little, so that the limit is met.
const PENDING: usize = 1024;

/// A listener gets the same events however the stream is cut, and keeps no more than it may. The first byte is how many
/// bytes come at a time.
pub fn fuzz_session(bytes: &[u8]) {
    let Some((&step, stream)) = bytes.split_first() else {
        return;
    };
    let whole = heard(stream, stream.len().max(1));
    let pieces = heard(stream, usize::from(step).max(1));
    assert_eq!(whole, pieces);
}

/// The tags that a listener is handed, those it kept for later, and how many frames it read.
fn heard(stream: &[u8], step: usize) -> (Vec<String>, Vec<String>, u64) {
    let (Ok(wanted), Ok(kept)) = (
        TagMatch::new(MatchType::StartsWith, "a"),
        TagMatch::new(MatchType::StartsWith, "b"),
    ) else {
        return Default::default();
    };
    let config = SubscriberConfig {
        max_pending_bytes: PENDING,
        ..SubscriberConfig::default()
    };
    let mut session = Session::new(&config);
    session.subscribe(kept.clone());
    session.connected();
    let (mut tags, mut later) = (Vec::new(), Vec::new());
    'stream: for piece in stream.chunks(step) {
        let mut rest = piece;
        while !rest.is_empty() {
            let room = session.room();
            let taken = room.len().min(rest.len());
            assert!(taken > 0, "no room for what comes");
            room[..taken].copy_from_slice(&rest[..taken]);
            session.filled(taken);
            rest = &rest[taken..];
            loop {
                match session.take(&wanted) {
                    Ok(Some(event)) => tags.push(event.tag().to_owned()),
                    Ok(None) => break,
                    Err(SessionError::PendingFull(_)) => {}
                    Err(_) => break 'stream,
                }
            }
        }
    }
    while let Some(event) = session.take_pending(&kept) {
        later.push(event.tag().to_owned());
    }
    (tags, later, session.counters().received)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    #[test]
    fn the_corpus_of_sessions() {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/bus_session");
        let mut replayed = 0;
        for entry in fs::read_dir(corpus).unwrap() {
            fuzz_session(&fs::read(entry.unwrap().path()).unwrap());
            replayed += 1;
        }
        assert!(replayed > 5, "only {replayed} inputs");
    }
}
