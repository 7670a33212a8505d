//! The bytes of a spool's records, and of the file that says how far they are acknowledged.
//!
//! A record is a length, eight bytes of a digest of the rest, and the rest: boot, number, time, kind, content. A
//! record that a crash has torn ends its segment. Numbers are big-endian.

use std::time::Duration;

use sha2::{Digest as _, Sha256};

use super::{Id, Waiting};

/// What a record says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::minion) enum Body {
    /// A request for the master.
    Request(Vec<u8>),
    /// A request whose answer somebody waits for, as long as this process runs.
    Asked(Vec<u8>),
    /// Records that are missing here.
    Dropped(Dropped),
}

/// Records that a spool could not keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::minion) struct Dropped {
    pub(in crate::minion) reason: Reason,
    pub(in crate::minion) count: u64,
    /// The first and the last of them.
    pub(in crate::minion) first: Id,
    pub(in crate::minion) last: Id,
    /// When those came, since the epoch.
    pub(in crate::minion) from: Duration,
    pub(in crate::minion) to: Duration,
}

impl Dropped {
    pub(super) const fn one(reason: Reason, id: Id, at: Duration) -> Self {
        Self {
            reason,
            count: 1,
            first: id,
            last: id,
            from: at,
            to: at,
        }
    }

    /// One more, behind the others.
    pub(super) const fn add(&mut self, id: Id, at: Duration) {
        self.count += 1;
        self.last = id;
        self.to = at;
    }
}

/// Why a record could not be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::minion) enum Reason {
    /// The spool held what it may.
    Full,
    /// It waited longer than it may.
    Age,
    /// The disk took nothing.
    Disk,
}

impl Reason {
    /// The word in events.
    pub(in crate::minion) const fn word(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Age => "age",
            Self::Disk => "disk",
        }
    }

    const fn to_byte(self) -> u8 {
        match self {
            Self::Full => 0,
            Self::Age => 1,
            Self::Disk => 2,
        }
    }

    const fn from_byte(byte: u8) -> Self {
        match byte {
            0 => Self::Full,
            1 => Self::Age,
            _ => Self::Disk,
        }
    }
}

const REQUEST: u8 = 0;
const ASKED: u8 = 1;
const DROPPED: u8 = 2;
const DIGEST_BYTES: usize = 8;
/// Length and digest.
const HEAD_BYTES: usize = 4 + DIGEST_BYTES;
/// What every record also has: head, boot, number, time, kind.
pub(super) const OVERHEAD_BYTES: usize = HEAD_BYTES + 25;

impl Body {
    /// What a record with it takes, in bytes.
    pub(super) const fn bytes(&self) -> usize {
        OVERHEAD_BYTES
            + match self {
                Self::Request(bytes) | Self::Asked(bytes) => bytes.len(),
                Self::Dropped(_) => DROPPED_BYTES,
            }
    }
}

const DROPPED_BYTES: usize = 1 + 7 * 8;

fn put(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(&number.to_be_bytes());
}

fn put_time(out: &mut Vec<u8>, time: Duration) {
    put(out, u64::try_from(time.as_micros()).unwrap_or(u64::MAX));
}

fn put_dropped(out: &mut Vec<u8>, dropped: &Dropped) {
    out.push(dropped.reason.to_byte());
    put(out, dropped.count);
    for id in [dropped.first, dropped.last] {
        put(out, id.boot);
        put(out, id.number);
    }
    put_time(out, dropped.from);
    put_time(out, dropped.to);
}

fn digest(bytes: &[u8]) -> [u8; DIGEST_BYTES] {
    let mut short = [0; DIGEST_BYTES];
    short.copy_from_slice(&Sha256::digest(bytes)[..DIGEST_BYTES]);
    short
}

fn sealed(content: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEAD_BYTES + content.len());
    let length = u32::try_from(content.len()).unwrap_or(u32::MAX);
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(&digest(content));
    out.extend_from_slice(content);
    out
}

/// The bytes of a record.
pub(super) fn to_bytes(waiting: &Waiting) -> Vec<u8> {
    let mut content = Vec::with_capacity(waiting.body.bytes());
    put(&mut content, waiting.id.boot);
    put(&mut content, waiting.id.number);
    put_time(&mut content, waiting.at);
    match &waiting.body {
        Body::Request(bytes) => {
            content.push(REQUEST);
            content.extend_from_slice(bytes);
        }
        Body::Asked(bytes) => {
            content.push(ASKED);
            content.extend_from_slice(bytes);
        }
        Body::Dropped(dropped) => {
            content.push(DROPPED);
            put_dropped(&mut content, dropped);
        }
    }
    sealed(&content)
}

/// The records at the front of a segment's bytes, up to the first that is not whole.
pub(super) fn read_all(bytes: &[u8]) -> Vec<Waiting> {
    let mut records = Vec::new();
    let mut rest = bytes;
    while let Some((content, after)) = unsealed(rest) {
        let Some(record) = read(content) else { break };
        records.push(record);
        rest = after;
    }
    records
}

fn unsealed(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    let (expected, rest) = rest.split_first_chunk::<DIGEST_BYTES>()?;
    let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
    let (content, after) = rest.split_at_checked(length)?;
    (digest(content) == *expected).then_some((content, after))
}

fn read(content: &[u8]) -> Option<Waiting> {
    let mut fields = Fields(content);
    let id = fields.id()?;
    let at = fields.time()?;
    let body = match fields.byte()? {
        REQUEST => Body::Request(fields.0.to_vec()),
        ASKED => Body::Asked(fields.0.to_vec()),
        DROPPED => Body::Dropped(fields.dropped()?),
        _ => return None,
    };
    Some(Waiting { id, at, body })
}

/// How far a master has acknowledged, and what was dropped behind that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Position {
    pub(super) done: Option<Id>,
    pub(super) aged: Option<Dropped>,
}

impl Position {
    /// Always as many bytes, so that a later one replaces an earlier one.
    pub(super) fn to_bytes(self) -> Vec<u8> {
        let none = Id { boot: 0, number: 0 };
        let done = self.done.unwrap_or(none);
        let aged = self.aged.unwrap_or(Dropped {
            count: 0,
            ..Dropped::one(Reason::Age, none, Duration::ZERO)
        });
        let mut content = Vec::new();
        put(&mut content, done.boot);
        put(&mut content, done.number);
        put_dropped(&mut content, &aged);
        sealed(&content)
    }

    /// `None` for bytes that a crash has torn.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let (content, _) = unsealed(bytes)?;
        let mut fields = Fields(content);
        let done = Some(fields.id()?).filter(|done| done.number > 0);
        let aged = Some(fields.dropped()?).filter(|aged| aged.count > 0);
        Some(Self { done, aged })
    }
}

struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn number(&mut self) -> Option<u64> {
        let (number, rest) = self.0.split_first_chunk::<8>()?;
        self.0 = rest;
        Some(u64::from_be_bytes(*number))
    }

    fn time(&mut self) -> Option<Duration> {
        self.number().map(Duration::from_micros)
    }

    fn id(&mut self) -> Option<Id> {
        Some(Id {
            boot: self.number()?,
            number: self.number()?,
        })
    }

    fn byte(&mut self) -> Option<u8> {
        let (byte, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*byte)
    }

    fn dropped(&mut self) -> Option<Dropped> {
        Some(Dropped {
            reason: Reason::from_byte(self.byte()?),
            count: self.number()?,
            first: self.id()?,
            last: self.id()?,
            from: self.time()?,
            to: self.time()?,
        })
    }
}
