//! What an intake remembers across restarts: how far it has read the stream, and each master's events.
//!
//! A small file, replaced as a whole now and then. It is never ahead of the history; where it is behind, the
//! history's own records tell, which name the origin of each event. It knows nothing of NATS.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use brine_log::{LogId, Position, Seq};
use brine_wire::nats_subject;

/// The first line; another version of the file would have another.
const HEADER: &str = "brine cluster 1";

/// What is remembered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct State {
    /// Of the own log, everything up to here has been looked at for this.
    pub(crate) own: Position,
    /// Where the stream has been read to.
    pub(crate) stream: StreamPosition,
    /// How far each master's events have come.
    pub(crate) masters: Vec<(String, Position)>,
}

/// A place in a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StreamPosition {
    /// The last message that was dealt with; 0 for none.
    pub(crate) seq: u64,
    /// Its id, which reveals a stream that was created again or has lost its end.
    pub(crate) message_id: Option<String>,
}

impl State {
    /// Reads the file; `None` if there is none, or none of this version.
    pub(crate) fn read(path: &Path) -> io::Result<Option<Self>> {
        match fs::read_to_string(path) {
            Ok(text) => Ok(Self::parse(&text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Replaces the file; on the disk when this returns.
    pub(crate) fn write(&self, path: &Path) -> io::Result<()> {
        let beside = path.with_extension("new");
        let mut options = File::options();
        options.write(true).create(true).truncate(true).mode(0o600);
        let mut file = options.open(&beside)?;
        file.write_all(self.to_text().as_bytes())?;
        file.sync_all()?;
        fs::rename(&beside, path)
    }

    fn to_text(&self) -> String {
        let mut text = String::new();
        let StreamPosition { seq, message_id } = &self.stream;
        let message_id = message_id.as_deref().unwrap_or("-");
        // Into memory.
        let _ = writeln!(
            text,
            "{HEADER}\nown {}\nstream {seq} {message_id}",
            self.own
        );
        for (master, position) in &self.masters {
            let _ = writeln!(
                text,
                "master {position} {}",
                nats_subject::name_word(master)
            );
        }
        text.push_str("end\n");
        text
    }

    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        (lines.next()? == HEADER).then_some(())?;
        let own = lines.next()?.strip_prefix("own ")?.parse().ok()?;
        let (seq, message_id) = lines.next()?.strip_prefix("stream ")?.split_once(' ')?;
        let stream = StreamPosition {
            seq: seq.parse().ok()?,
            message_id: Some(message_id.to_owned()).filter(|id| id != "-"),
        };
        let mut masters = Vec::new();
        loop {
            match lines.next()? {
                "end" => break,
                line => {
                    let (position, master) = line.strip_prefix("master ")?.split_once(' ')?;
                    let master = nats_subject::name(master)?;
                    masters.push((master, position.parse().ok()?));
                }
            }
        }
        Some(Self {
            own,
            stream,
            masters,
        })
    }

    /// Of a log about which nothing is known.
    pub(crate) const fn new(log: LogId) -> Self {
        Self {
            own: Position { log, seq: Seq(0) },
            stream: StreamPosition {
                seq: 0,
                message_id: None,
            },
            masters: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state() -> State {
        let at = |log, seq| Position {
            log: LogId(log),
            seq: Seq(seq),
        };
        State {
            own: at(7, 1000),
            stream: StreamPosition {
                seq: 77,
                message_id: Some("8-9".to_owned()),
            },
            masters: vec![("m 1.x".to_owned(), at(8, 9)), ("m2".to_owned(), at(9, 1))],
        }
    }

    #[test]
    fn what_is_written_is_read_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("cluster");
        assert_eq!(State::read(&path).unwrap(), None);
        state().write(&path).unwrap();
        State::new(LogId(3)).write(&path).unwrap();
        assert_eq!(State::read(&path).unwrap(), Some(State::new(LogId(3))));
        state().write(&path).unwrap();
        assert_eq!(State::read(&path).unwrap(), Some(state()));
    }

    #[test]
    fn half_a_file_is_none() {
        let text = state().to_text();
        for end in 0..text.len() - 1 {
            assert_eq!(State::parse(&text[..end]), None, "{end}");
        }
    }
}
