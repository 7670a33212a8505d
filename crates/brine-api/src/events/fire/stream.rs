//! A chunked body: events are appended as they arrive and answered while more is read.
//!
//! One task does all of it. When too many bytes of answers wait for a client that does not read, the server stops
//! reading from it too, so the memory of a connection is limited.

use std::future::pending;
use std::ops::Range;
use std::pin::Pin;

use brine_log::Seq;
use bytes::Bytes;
use hyper::body::Incoming;
use tokio::sync::mpsc;
use tokio::task::yield_now;

use super::Firing;
use super::batch::{Batch, Cutter, refuse};
use crate::body::CutShort;
use crate::error::ApiError;
use crate::incoming;

/// Answers that have not gone out, in bytes; with more, nothing more of the body is looked at.
const MAX_UNSENT: usize = 1 << 20;
/// How much of a body is looked at in one turn, in bytes. An answer may be fifty times as long as the line it is
/// about, and other connections want their turn.
const TURN: usize = 64 << 10;

/// Fires the events of a body while it is being received. If the body breaks off or its chunks are malformed, the
/// events received until then are fired and answered; an error line follows, and the answer ends without its last chunk.
pub(super) async fn run(
    firing: Firing,
    mut incoming: Incoming,
    out: mpsc::Sender<Bytes>,
) -> Result<(), CutShort> {
    let mut cutter = Some(Cutter::new(&firing));
    let mut answers = Answers::new(&firing);
    let mut unread = Bytes::new();
    let mut broken = None;
    loop {
        if cutter.is_none() && answers.unsent() == 0 {
            return match broken {
                None => Ok(()),
                Some(error) => Err(answers.break_off(&error, &out).await),
            };
        }
        let may_read = cutter.is_some() && answers.unsent() < MAX_UNSENT;
        tokio::select! {
            biased;
            permit = out.reserve(), if !answers.ready.is_empty() => match permit {
                Ok(permit) => permit.send(std::mem::take(&mut answers.ready).into()),
                Err(_) => return Ok(()), // the client has disconnected
            },
            stored = answers.stored(), if answers.syncing.is_some() => {
                if let Err(error) = stored {
                    let error = ApiError::NotDurable(error);
                    return Err(answers.break_off(&error, &out).await);
                }
            }
            piece = next_piece(&mut unread, &mut incoming), if may_read => {
                let batch = match (piece, &mut cutter) {
                    (Some(Ok(piece)), Some(cutter)) => {
                        cutter.push(&piece);
                        cutter.take()
                    }
                    // An unfinished line is not fired.
                    (Some(Err(error)), broken_off) => {
                        broken = Some(error);
                        *broken_off = None;
                        Batch::default()
                    }
                    _ => cutter.take().map(Cutter::finish).unwrap_or_default(),
                };
                answers.append(&batch).await;
            }
        }
    }
}

/// The bytes to look at next: the rest of what was read, or more; `None` at the body's end.
async fn next_piece(
    unread: &mut Bytes,
    incoming: &mut Incoming,
) -> Option<Result<Bytes, ApiError>> {
    if unread.is_empty() {
        match incoming::piece(incoming).await? {
            Ok(piece) => *unread = piece,
            Err(error) => return Some(Err(incoming::broken(&error))),
        }
    } else {
        yield_now().await;
    }
    Some(Ok(unread.split_to(unread.len().min(TURN))))
}

/// Answers on their way: appended, waiting for the disk, ready to be sent.
struct Answers<'a> {
    firing: &'a Firing,
    ready: Vec<u8>,
    /// What waits for the sync that is under way.
    syncing: Option<(Vec<u8>, Sync<'a>)>,
    /// What waits for the next one, and the events it is about.
    waiting: Vec<u8>,
    events: Range<Seq>,
}

type Sync<'a> = Pin<Box<dyn Future<Output = Result<(), String>> + Send + 'a>>;

impl<'a> Answers<'a> {
    fn new(firing: &'a Firing) -> Self {
        Self {
            firing,
            ready: firing.begin(),
            syncing: None,
            waiting: Vec::new(),
            events: Seq(0)..Seq(0),
        }
    }

    /// How many bytes have not gone out.
    fn unsent(&self) -> usize {
        let syncing = self.syncing.as_ref().map_or(0, |(bytes, _)| bytes.len());
        self.ready.len() + syncing + self.waiting.len()
    }

    async fn append(&mut self, batch: &Batch) {
        if batch.outcomes().is_empty() {
            return;
        }
        let events = self.firing.append(batch, &mut self.waiting).await;
        self.events = span(self.events.clone(), events);
        self.go_on();
    }

    /// Has the disk asked for what waits, or the answers sent that wait for nothing.
    fn go_on(&mut self) {
        if self.syncing.is_some() {
            return;
        }
        let bytes = std::mem::take(&mut self.waiting);
        let events = std::mem::replace(&mut self.events, Seq(0)..Seq(0));
        if self.firing.must_wait(&events) {
            self.syncing = Some((bytes, Box::pin(self.firing.durable(events))));
        } else {
            self.ready.extend_from_slice(&bytes);
        }
    }

    /// Waits for the sync that is under way; then all that was appended meanwhile shares the next.
    async fn stored(&mut self) -> Result<(), String> {
        match &mut self.syncing {
            Some((_, sync)) => sync.await?,
            None => pending().await,
        }
        if let Some((bytes, _)) = self.syncing.take() {
            self.ready.extend_from_slice(&bytes);
        }
        self.go_on();
        Ok(())
    }

    /// Says why there are no more answers. Events that were appended stay so.
    async fn break_off(mut self, error: &ApiError, out: &mpsc::Sender<Bytes>) -> CutShort {
        let (form, text) = (self.firing.form, error.to_string());
        refuse(form, None, error.code(), &text, &mut self.ready);
        let _ = out.send(self.ready.into()).await; // the client may have gone
        CutShort
    }
}

/// From the first event of the earlier ones to the last of the later. Others' events between them
/// count too: a hole there is rare, and refuses rather than acknowledges.
fn span(earlier: Range<Seq>, later: Range<Seq>) -> Range<Seq> {
    if earlier.is_empty() {
        later
    } else if later.is_empty() {
        earlier
    } else {
        earlier.start..later.end
    }
}
