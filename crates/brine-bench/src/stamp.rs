//! The 32 bytes by which an event is known again: when it was due, when it was sent, which one it
//! is and whose.
//!
//! They stand as the first entry of the event's data. Times are nanoseconds since the run began,
//! on the monotonic clock of the generator's process.

/// Bytes a stamp takes.
pub const LEN: usize = 32;

/// Placeholder for the stamp in an event that has none yet.
pub const PLACE: [u8; LEN] = *b"\x00the event's stamp belongs here\x00";

/// The publisher number of events that only ask whether a subscriber hears yet.
pub const PROBE: u32 = u32::MAX;

/// One event's stamp.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// When the event should have been sent.
    pub due_ns: u64,
    /// When it was handed to `write(2)`.
    pub sent_ns: u64,
    /// Its number among its publisher's events, from 0.
    pub sequence: u64,
    /// Whose event it is.
    pub publisher: u32,
    /// Which run it belongs to: a bus in use carries other events too.
    pub run: u32,
}

impl Stamp {
    /// Reads a stamp from its bytes.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; LEN]) -> Self {
        let (due, rest) = bytes
            .split_first_chunk()
            .expect("32 bytes hold four fields");
        let (sent, rest) = rest
            .split_first_chunk()
            .expect("24 bytes hold three fields");
        let (sequence, rest) = rest.split_first_chunk().expect("16 bytes hold two fields");
        let (publisher, run) = rest.split_first_chunk().expect("8 bytes hold two numbers");
        Self {
            due_ns: u64::from_le_bytes(*due),
            sent_ns: u64::from_le_bytes(*sent),
            sequence: u64::from_le_bytes(*sequence),
            publisher: u32::from_le_bytes(*publisher),
            run: u32::from_le_bytes(run.try_into().expect("four bytes are left")),
        }
    }

    /// Its bytes.
    #[must_use]
    pub fn to_bytes(self) -> [u8; LEN] {
        let mut bytes = [0; LEN];
        bytes[..8].copy_from_slice(&self.due_ns.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.sent_ns.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.sequence.to_le_bytes());
        bytes[24..28].copy_from_slice(&self.publisher.to_le_bytes());
        bytes[28..].copy_from_slice(&self.run.to_le_bytes());
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comes_back_as_it_went() {
        let stamp = Stamp {
            due_ns: 1,
            sent_ns: u64::MAX,
            sequence: 3 << 40,
            publisher: 4,
            run: 5,
        };
        assert_eq!(Stamp::from_bytes(&stamp.to_bytes()), stamp);
    }
}
