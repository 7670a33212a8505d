//! Dead letters: the events that the other side never accepts, kept on disk until somebody sends them again or
//! discards them.
//!
//! One file per sink, one JSON object per line. A letter is on disk before the consumer's position moves past its
//! event. The file's size is limited: a sink whose letters fill it stops, because otherwise events would be lost.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, BufWriter, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use brine_log::{Millis, Origin, Position};
use brine_wire::{Map, Value, json};

use crate::batch::Event;

/// The most letters of one sink.
const MAX_LETTERS: usize = 10_000;
/// The most bytes of one sink's letters.
const MAX_BYTES: u64 = 256 << 20;

/// An event that was refused, and why.
#[derive(Debug, Clone, PartialEq)]
pub struct DeadLetter {
    /// The event's place in the log.
    pub position: Position,
    /// When the log took it in.
    pub at: Millis,
    /// Its tag.
    pub tag: Vec<u8>,
    /// Its data, packed.
    pub data: Vec<u8>,
    /// Who fired it, as authenticated.
    pub sender: Option<String>,
    /// Of an event of another master's bus: which master, and its position there.
    pub origin: Option<(String, Position)>,
    /// What the other side said.
    pub reason: String,
    /// How often it was tried.
    pub attempts: u32,
    /// When it was set aside.
    pub set_aside: Millis,
}

/// The dead letters of one sink.
#[derive(Debug)]
pub struct DeadLetters {
    file: PathBuf,
    kept: BTreeSet<(u64, u64)>,
    bytes: u64,
}

/// Which dead letters are discarded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Discard {
    /// All that there are.
    All,
    /// Those of these events.
    These(Vec<Position>),
}

/// Letters that are discarded, and how many others there are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chosen {
    /// Those that are discarded.
    pub positions: Vec<Position>,
    /// How many are kept.
    pub kept: u64,
}

/// Dead letters that cannot be kept or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DeadError {
    /// The system refuses.
    #[error("dead letters {}: {source}", .file.display())]
    File {
        /// The file.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A line that no sink wrote.
    #[error("dead letters {}, line {line}: not a dead letter; remove the line", .file.display())]
    Line {
        /// The file.
        file: PathBuf,
        /// Its number, from 1.
        line: usize,
    },
    /// One that is to be discarded is not among them.
    #[error("no dead letter has position {position}; nothing was discarded")]
    NotThere {
        /// The position that was named.
        position: Position,
    },
    /// There are as many as may be.
    #[error(
        "dead letters {}: the file is full ({letters} letters); fix what makes the other side refuse them and send them again, or discard them",
        .file.display()
    )]
    Full {
        /// The file.
        file: PathBuf,
        /// How many there are.
        letters: usize,
    },
}

impl DeadLetter {
    pub(crate) fn of(event: &Event<'_>, reason: &str, attempts: u32, now: Millis) -> Self {
        Self {
            position: event.position,
            at: event.at,
            tag: event.tag.to_vec(),
            data: event.data.to_vec(),
            sender: event.sender.map(str::to_owned),
            origin: event
                .origin
                .map(|origin| (origin.master().to_owned(), origin.position())),
            reason: reason.to_owned(),
            attempts,
            set_aside: now,
        }
    }

    /// The event that it holds.
    pub(crate) fn event(&self) -> Event<'_> {
        let origin = self.origin.as_ref();
        Event {
            position: self.position,
            at: self.at,
            tag: &self.tag,
            data: &self.data,
            sender: self.sender.as_deref(),
            origin: origin.and_then(|(master, position)| Origin::new(master, *position)),
        }
    }

    fn to_line(&self) -> String {
        let number = |number: u64| Value::Int(number.into());
        let mut map = Map::new();
        map.insert("position", self.position.to_string());
        map.insert("at", number(self.at.0));
        map.insert("tag", Value::Bin(self.tag.clone()));
        map.insert("data", Value::Bin(self.data.clone()));
        if let Some(sender) = &self.sender {
            map.insert("sender", sender.as_str());
        }
        if let Some((master, position)) = &self.origin {
            map.insert("origin", master.as_str());
            map.insert("origin_position", position.to_string());
        }
        map.insert("reason", self.reason.as_str());
        map.insert("attempts", number(self.attempts.into()));
        map.insert("set_aside", number(self.set_aside.0));
        let mut line = String::new();
        json::to_exact_line(&map.into(), &mut line);
        line.push('\n');
        line
    }

    fn parse(line: &[u8]) -> Option<Self> {
        let value = json::parse(line).ok()?;
        let map = value.as_map()?;
        let text = |key| map.get(key).and_then(Value::as_str);
        let number = |key| u64::try_from(map.get(key)?.as_int()?).ok();
        let bytes = |key| match map.get(key) {
            Some(Value::Bin(bytes)) => Some(bytes.clone()),
            _ => None,
        };
        Some(Self {
            position: text("position")?.parse().ok()?,
            at: Millis(number("at")?),
            tag: bytes("tag")?,
            data: bytes("data")?,
            sender: text("sender").map(str::to_owned),
            origin: text("origin")
                .map(str::to_owned)
                .zip(text("origin_position").and_then(|position| position.parse().ok())),
            reason: text("reason")?.to_owned(),
            attempts: number("attempts")?.try_into().ok()?,
            set_aside: Millis(number("set_aside")?),
        })
    }
}

impl DeadLetters {
    /// Those in a file, which need not be there. What a killed process wrote of a line is taken off its end.
    ///
    /// # Errors
    /// [`DeadError`] if the file cannot be read, or is not of dead letters.
    pub fn open(file: impl Into<PathBuf>) -> Result<Self, DeadError> {
        let mut letters = Self {
            file: file.into(),
            kept: BTreeSet::new(),
            bytes: 0,
        };
        letters
            .cut_torn_line()
            .map_err(|source| letters.failed(source))?;
        for letter in Self::read(&letters.file)? {
            letters.kept.insert(key(letter?.position));
        }
        Ok(letters)
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.kept.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    /// The letters in a file, oldest first; none if the file does not exist.
    ///
    /// # Errors
    /// [`DeadError`] if it cannot be read; each letter has its own result.
    pub fn read(
        file: &Path,
    ) -> Result<impl Iterator<Item = Result<DeadLetter, DeadError>> + use<>, DeadError> {
        let failed = {
            let file = file.to_owned();
            move |source| DeadError::File {
                file: file.clone(),
                source,
            }
        };
        let opened = match File::open(file) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            opened => Some(opened.map_err(&failed)?),
        };
        let lines = opened
            .into_iter()
            .flat_map(|file| BufReader::new(file).split(b'\n'));
        let file = file.to_owned();
        Ok(lines.zip(1..).map(move |(text, line)| {
            let letter = DeadLetter::parse(&text.map_err(&failed)?);
            letter.ok_or_else(|| DeadError::Line {
                file: file.clone(),
                line,
            })
        }))
    }

    /// Keeps one; it is on the disk when this returns. One that is there already is not kept twice.
    pub(crate) fn add(&mut self, letter: &DeadLetter) -> Result<(), DeadError> {
        if self.kept.contains(&key(letter.position)) {
            return Ok(());
        }
        let line = letter.to_line();
        if self.len() >= MAX_LETTERS || self.bytes + line.len() as u64 > MAX_BYTES {
            return Err(DeadError::Full {
                file: self.file.clone(),
                letters: self.len(),
            });
        }
        self.append(line.as_bytes()).map_err(|source| {
            // A line of which the disk took only a part must not spoil the next one.
            let _ = self.cut_torn_line();
            self.failed(source)
        })?;
        self.bytes += line.len() as u64;
        self.kept.insert(key(letter.position));
        Ok(())
    }

    /// Removes letters for good: those that are named, or all.
    ///
    /// # Errors
    /// As [`DeadLetters::chosen`], and nothing is removed; and if the file cannot be written.
    pub fn discard(&mut self, which: &Discard) -> Result<Chosen, DeadError> {
        let chosen = Self::chosen(&self.file, which)?;
        if !chosen.positions.is_empty() {
            self.remove(&chosen.positions)?;
        }
        Ok(chosen)
    }

    /// Which letters of a file would be discarded.
    ///
    /// # Errors
    /// [`DeadError::NotThere`] if one that is named is not there; others if the file cannot be read.
    pub fn chosen(file: &Path, which: &Discard) -> Result<Chosen, DeadError> {
        let mut there = BTreeMap::new();
        for letter in Self::read(file)? {
            let position = letter?.position;
            there.insert(key(position), position);
        }
        let all = there.len();
        if let Discard::These(positions) = which {
            let missing = positions.iter().find(|it| !there.contains_key(&key(**it)));
            if let Some(&position) = missing {
                return Err(DeadError::NotThere { position });
            }
            let wanted: BTreeSet<_> = positions.iter().map(|it| key(*it)).collect();
            there.retain(|key, _| wanted.contains(key));
        }
        Ok(Chosen {
            kept: (all - there.len()) as u64,
            positions: there.into_values().collect(),
        })
    }

    /// Removes those that have been delivered after all.
    pub(crate) fn remove(&mut self, delivered: &[Position]) -> Result<(), DeadError> {
        let gone: BTreeSet<_> = delivered.iter().map(|position| key(*position)).collect();
        // No name of a consumer has this character: `a.new` may be a sink, and `a.b` and `a.c` others.
        let mut rest = self.file.as_os_str().to_owned();
        rest.push("~new");
        let rest = PathBuf::from(rest);
        let write = || -> Result<(), DeadError> {
            let mut out = BufWriter::new(private(&rest, true).map_err(|e| self.failed(e))?);
            for letter in Self::read(&self.file)? {
                let letter = letter?;
                if !gone.contains(&key(letter.position)) {
                    let line = letter.to_line();
                    out.write_all(line.as_bytes()).map_err(|e| self.failed(e))?;
                }
            }
            let out = out.into_inner().map_err(|e| self.failed(e.into_error()))?;
            out.sync_all().map_err(|e| self.failed(e))?;
            fs::rename(&rest, &self.file).map_err(|e| self.failed(e))
        };
        write()?;
        self.kept.retain(|position| !gone.contains(position));
        self.bytes = fs::metadata(&self.file).map_or(0, |file| file.len());
        Ok(())
    }

    fn append(&self, line: &[u8]) -> io::Result<()> {
        if let Some(directory) = self.file.parent() {
            make_private(directory)?;
        }
        let mut file = private(&self.file, false)?;
        file.write_all(line)?;
        file.sync_all()
    }

    fn cut_torn_line(&mut self) -> io::Result<()> {
        let text = match fs::read(&self.file) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            text => text?,
        };
        let whole = text.iter().rposition(|byte| *byte == b'\n');
        let whole = whole.map_or(0, |at| at as u64 + 1);
        if whole < text.len() as u64 {
            OpenOptions::new()
                .write(true)
                .open(&self.file)?
                .set_len(whole)?;
        }
        self.bytes = whole;
        Ok(())
    }

    fn failed(&self, source: io::Error) -> DeadError {
        DeadError::File {
            file: self.file.clone(),
            source,
        }
    }
}

const fn key(position: Position) -> (u64, u64) {
    (position.log.0, position.seq.0)
}

/// A directory that its user alone may open.
pub(crate) fn make_private(directory: &Path) -> io::Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
}

/// A file that its user alone may read: events may hold what others must not see.
fn private(file: &Path, is_new: bool) -> io::Result<File> {
    OpenOptions::new()
        .create(true)
        .append(!is_new)
        .write(true)
        .truncate(is_new)
        .mode(0o600)
        .open(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use brine_log::{LogId, Seq};

    fn letter(seq: u64) -> DeadLetter {
        DeadLetter {
            position: Position {
                log: LogId(7),
                seq: Seq(seq),
            },
            at: Millis(5),
            tag: b"odd/\xff".to_vec(),
            data: b"\x81\xa1n\xc4\x01\xff".to_vec(),
            sender: (seq == 1).then(|| "web1".to_owned()),
            origin: (seq == 2).then(|| {
                let (log, seq) = (LogId(8), Seq(9));
                ("m2".to_owned(), Position { log, seq })
            }),
            reason: "says \"no\"\nand more".to_owned(),
            attempts: 3,
            set_aside: Millis(6),
        }
    }

    fn read(file: &Path) -> Vec<DeadLetter> {
        let letters = DeadLetters::read(file).unwrap();
        letters.collect::<Result<_, _>>().unwrap()
    }

    #[test]
    fn letters_are_kept_once_and_read_as_they_were() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("dead/db");
        let mut letters = DeadLetters::open(&file).unwrap();
        assert!(letters.is_empty() && read(&file).is_empty());
        for seq in [1, 2, 3, 2] {
            letters.add(&letter(seq)).unwrap();
        }
        assert_eq!(read(&file), [letter(1), letter(2), letter(3)]);
        letters.remove(&[letter(2).position]).unwrap();
        assert_eq!(read(&file), [letter(1), letter(3)]);
        assert_eq!(DeadLetters::open(&file).unwrap().len(), 2);
    }

    #[test]
    fn the_letters_of_one_sink_are_not_anothers() {
        let directory = tempfile::tempdir().unwrap();
        let open = |name: &str| DeadLetters::open(directory.path().join(name)).unwrap();
        let mut all = ["a.b", "a.new", "a"].map(open);
        for (letters, seq) in all.iter_mut().zip(1..) {
            letters.add(&letter(seq)).unwrap();
            letters.add(&letter(9)).unwrap();
        }
        all[0].remove(&[letter(9).position]).unwrap();
        all[2].remove(&[letter(9).position]).unwrap();
        assert_eq!(read(&directory.path().join("a.b")), [letter(1)]);
        assert_eq!(
            read(&directory.path().join("a.new")),
            [letter(2), letter(9)]
        );
        assert_eq!(read(&directory.path().join("a")), [letter(3)]);
    }

    #[test]
    fn letters_are_discarded_by_position_or_all_at_once() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("db");
        let mut letters = DeadLetters::open(&file).unwrap();
        for seq in 1..=4 {
            letters.add(&letter(seq)).unwrap();
        }
        let these = |seqs: &[u64]| {
            let positions = seqs.iter().map(|seq| letter(*seq).position);
            Discard::These(positions.collect())
        };
        // Either all that are named or none.
        let error = letters.discard(&these(&[1, 9])).unwrap_err();
        assert!(error.to_string().contains("-9; nothing"), "{error}");
        assert_eq!(read(&file).len(), 4);
        let chosen = letters.discard(&these(&[3, 1, 3])).unwrap();
        assert_eq!((chosen.positions.len(), chosen.kept), (2, 2));
        assert_eq!(read(&file), [letter(2), letter(4)]);
        let chosen = letters.discard(&Discard::All).unwrap();
        assert_eq!((chosen.positions.len(), chosen.kept), (2, 0));
        assert!(letters.is_empty() && read(&file).is_empty());
        assert!(letters.discard(&Discard::All).unwrap().positions.is_empty());
        // It can come again.
        letters.add(&letter(1)).unwrap();
        assert_eq!(read(&file), [letter(1)]);
    }

    #[test]
    fn a_torn_line_is_taken_off() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("db");
        DeadLetters::open(&file).unwrap().add(&letter(1)).unwrap();
        let mut text = fs::read(&file).unwrap();
        text.extend_from_slice(b"{\"position\": \"7-");
        fs::write(&file, &text).unwrap();
        let mut letters = DeadLetters::open(&file).unwrap();
        letters.add(&letter(2)).unwrap();
        assert_eq!(read(&file), [letter(1), letter(2)]);
        fs::write(&file, "nonsense\n").unwrap();
        let error = DeadLetters::open(&file).unwrap_err();
        assert!(error.to_string().contains("line 1"), "{error}");
    }
}
