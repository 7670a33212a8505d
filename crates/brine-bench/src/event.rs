//! Events as a Salt master's bus carries them, of a wanted size, with a place for the stamp.
//!
//! Knows what job and state returns look like (`docs/protocol/ipc.md` §4), not how frames are cut.

use brine_wire::msgpack;
use brine_wire::{Map, Value};

use crate::stamp;

/// The tag of every event: as long as a job return's (53 bytes), and none that reactors, returners
/// and `salt` act on.
const TAG: &str = "brine/bench/20261123212959123456/ret/minion-4.example";
const JID: &str = "20261123212959123456";
const MINION: &str = "minion-0042.example";

/// Data from this size on is the return of a state run, below it that of a plain function.
const STATE_RETURN_FROM: usize = 2048;

/// The smallest data that is still a job return with a stamp.
pub(crate) const LEAST_DATA_BYTES: usize = 160;

/// An event with `data_bytes` of data, its stamp still [`stamp::PLACE`].
///
/// Where msgpack has no map of just that size (a longer text may need a longer header), the data
/// is up to two bytes smaller.
pub(crate) fn event(data_bytes: usize) -> Vec<u8> {
    let mut data = Vec::new();
    let mut padding = 0;
    // The padding's own header grows with it, so the first guess overshoots by a few bytes.
    for _ in 0..4 {
        data = encoded(data_bytes, padding);
        match data_bytes.cmp(&data.len()) {
            core::cmp::Ordering::Less => padding = padding.saturating_sub(data.len() - data_bytes),
            core::cmp::Ordering::Equal => break,
            core::cmp::Ordering::Greater => padding += data_bytes - data.len(),
        }
    }
    let mut event = Vec::with_capacity(TAG.len() + 2 + data.len());
    event.extend_from_slice(TAG.as_bytes());
    event.extend_from_slice(b"\n\n");
    event.append(&mut data);
    event
}

fn encoded(data_bytes: usize, padding: usize) -> Vec<u8> {
    let mut map = Map::new();
    map.insert("stamp", Value::Bin(stamp::PLACE.to_vec()));
    map.insert("cmd", "_return");
    map.insert("id", MINION);
    map.insert("jid", JID);
    map.insert("retcode", Value::Int(0));
    map.insert("success", Value::Bool(true));
    if data_bytes < STATE_RETURN_FROM {
        map.insert("fun", "test.ping");
        map.insert("return", "x".repeat(padding));
    } else {
        map.insert("fun", "state.apply");
        map.insert("return", state_return(data_bytes, padding));
    }
    let mut bytes = Vec::new();
    msgpack::encode_map(&map, &mut bytes);
    bytes
}

/// Results of single states, as many as fit, and the padding in the comment of a last one.
fn state_return(data_bytes: usize, padding: usize) -> Map {
    const ONE_STATE_BYTES: usize = 340;
    let mut states = Map::new();
    for number in 0..(data_bytes - 1024) / ONE_STATE_BYTES {
        let path = format!("/etc/app/conf.d/{number:04}.conf");
        let comment = format!("File {path} is in the correct state");
        states.insert(
            format!("file_|-{path}_|-{path}_|-managed"),
            state(&path, comment, number),
        );
    }
    states.insert(
        "cmd_|-reload_|-app reload_|-run",
        state("app reload", "o".repeat(padding), 0),
    );
    states
}

fn state(name: &str, comment: String, number: usize) -> Map {
    let mut state = Map::new();
    state.insert("changes", Value::Map(Map::new()));
    state.insert("comment", comment);
    state.insert("name", name);
    state.insert("result", Value::Bool(true));
    state.insert("__sls__", "app.config");
    state.insert("__run_num__", Value::Int(number as i128));
    state.insert("start_time", "21:29:59.123456");
    state.insert("duration", Value::Float(1.25));
    state.insert("__id__", name);
    state
}

#[cfg(test)]
mod tests {
    use super::*;
    use brine_wire::envelope::Envelope;

    #[test]
    fn is_a_salt_event_of_the_wanted_size_with_the_stamp_first() {
        for data_bytes in [LEAST_DATA_BYTES, 192, 257, 1000, 4096, 65_536, 1 << 20] {
            let event = event(data_bytes);
            let envelope = Envelope::parse(&event).unwrap();
            assert_eq!(envelope.tag(), TAG);
            assert_eq!(envelope.tag().len(), 53);
            let data = envelope.data();
            assert!(
                (data_bytes - 2..=data_bytes).contains(&data.len()),
                "{}",
                data.len()
            );
            let Value::Map(map) = msgpack::decode(data).unwrap() else {
                panic!("not a map")
            };
            let first = map.iter().next().unwrap();
            assert_eq!(first.1, Value::Bin(stamp::PLACE.to_vec()));
        }
    }
}
