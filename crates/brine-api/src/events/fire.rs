//! `POST /events`: lines or records become events, answered one by one.
//!
//! A body of known length is read whole and answered at once. A chunked body is a stream: its events
//! are appended as they come, and their answers go out while more is read, so that one connection
//! keeps any number of events in flight. An event that cannot be fired is an error for that event
//! only.

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use brine_bus::{Relay, RelayError};
use brine_log::{Incoming as Appended, LogId, Millis, Seq};
use brine_wire::envelope::Envelope;
use brine_wire::event::encode_whole_event;
use brine_wire::record::{self, Record};
use brine_wire::{Map, Value, json, stamp};
use bytes::{Bytes, BytesMut};
use hyper::body::{Body, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Response, http::request::Parts};
use tokio::sync::mpsc;

use super::lines::{Line, Lines};
use crate::acl::{Access, Permitted};
use crate::body::{self, ResponseBody};
use crate::error::ApiError;
use crate::query;
use crate::state::ApiState;
use crate::subject::Subject;

/// The largest body that is read whole, in bytes.
const MAX_BODY: usize = 16 << 20;
/// The longest line or record, in bytes: an event of the default size with every character escaped.
pub(crate) const MAX_LINE: usize = 8 << 20;
/// Pieces of a streamed body whose answers wait for the disk.
const PIECES_IN_FLIGHT: usize = 256;

/// The form of a body and of its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Lines,
    Records,
}

impl Form {
    fn of(head: &Parts) -> Result<Self, ApiError> {
        let Some(given) = head.headers.get(CONTENT_TYPE) else {
            return Ok(Self::Lines);
        };
        let name = given.to_str().unwrap_or_default();
        let name = name.split(';').next().unwrap_or_default().trim();
        match name.to_ascii_lowercase().as_str() {
            "application/x-msgpack" | "application/msgpack" => Ok(Self::Records),
            // The form's type is what curl says of anything unless it is told otherwise.
            "application/x-ndjson"
            | "application/json"
            | "text/plain"
            | "application/x-www-form-urlencoded" => Ok(Self::Lines),
            _ => Err(ApiError::UnsupportedType {
                found: name.chars().take(100).collect(),
            }),
        }
    }

    const fn content_type(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::Lines => "application/x-ndjson",
            Self::Records => "application/x-msgpack",
        })
    }
}

/// Fires the events of a body.
pub(crate) async fn post(
    state: &Arc<ApiState>,
    subject: &Subject,
    access: Access,
    head: &Parts,
    incoming: Incoming,
) -> Result<Response<ResponseBody>, ApiError> {
    if access.fire.is_nothing() {
        return Err(ApiError::Forbidden(format!(
            "{subject} may fire no events; brine: {{acl: …}} has no fire for it"
        )));
    }
    let form = Form::of(head)?;
    let mut is_durable = true;
    for (name, value) in query::parse(head.uri.query().unwrap_or_default(), &["durable"])? {
        is_durable = query::flag(name, &value)?;
    }
    if is_durable && state.durability.is_none() {
        return Err(ApiError::NoHistory);
    }
    let firing = Firing {
        state: Arc::clone(state),
        permitted: access.fire,
        form,
        is_durable,
    };
    if incoming.size_hint().exact().is_none() {
        let body = ResponseBody::stream(move |out| firing.stream(incoming, out));
        return Ok(answer(body, form.content_type()));
    }
    firing.whole(&body::whole(incoming, MAX_BODY).await?).await
}

fn answer(body: ResponseBody, content_type: HeaderValue) -> Response<ResponseBody> {
    let mut response = Response::new(body);
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response
}

struct Firing {
    state: Arc<ApiState>,
    permitted: Permitted,
    form: Form,
    is_durable: bool,
}

/// What became of one event.
enum Outcome {
    /// Ready to be appended: its bytes, and how many of them are the tag.
    Event(Vec<u8>, usize),
    Refused {
        code: &'static str,
        message: String,
    },
}

/// The answers to a piece of a body.
struct Answers {
    bytes: Vec<u8>,
    /// Its events; empty if none was appended.
    events: Range<Seq>,
}

/// From the first event of the earlier pieces to the last of a later one. Others' events between them
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

impl Firing {
    /// Fires a whole body.
    async fn whole(self, body: &[u8]) -> Result<Response<ResponseBody>, ApiError> {
        let mut outcomes = Outcomes::new(&self);
        outcomes.push(body);
        let outcomes = outcomes.finish();
        // With one event alone, the status says what became of it.
        if let [Outcome::Refused { code, message }] = outcomes.as_slice() {
            let message = message.clone();
            return Err(match *code {
                "forbidden" => ApiError::Forbidden(message),
                _ => ApiError::BadRequest(message),
            });
        }
        if outcomes.is_empty() {
            return Err(ApiError::BadRequest(
                "expected a line {\"tag\": …, \"data\": {…}} for each event, found none".into(),
            ));
        }
        let mut answers = self.append(&outcomes).await;
        answers.bytes.splice(0..0, self.begin());
        self.durable(answers.events)
            .await
            .map_err(ApiError::NotDurable)?;
        Ok(answer(
            ResponseBody::full(answers.bytes),
            self.form.content_type(),
        ))
    }

    /// Fires a body as it comes.
    async fn stream(self, mut incoming: Incoming, out: mpsc::Sender<Bytes>) {
        let (appended, mut waiting) = mpsc::channel::<Answers>(PIECES_IN_FLIGHT);
        let read = async {
            let mut outcomes = Outcomes::new(&self);
            // A connection that breaks ends the body; what came whole before was fired.
            while let Some(Ok(piece)) = body::piece(&mut incoming).await {
                outcomes.push(&piece);
                let ready = outcomes.take();
                if !ready.is_empty() && appended.send(self.append(&ready).await).await.is_err() {
                    return;
                }
            }
            let rest = outcomes.finish();
            if !rest.is_empty() {
                let _ = appended.send(self.append(&rest).await).await;
            }
            drop(appended);
        };
        let write = async {
            let begin = self.begin();
            if !begin.is_empty() && out.send(begin.into()).await.is_err() {
                return;
            }
            while let Some(mut answers) = waiting.recv().await {
                // One wait and one write for all that has been appended meanwhile.
                while let Ok(more) = waiting.try_recv() {
                    answers.bytes.extend_from_slice(&more.bytes);
                    answers.events = span(answers.events, more.events);
                }
                if let Err(error) = self.durable(answers.events).await {
                    let mut bytes = Vec::new();
                    let error = ApiError::NotDurable(error);
                    self.refuse(error.code(), &error.to_string(), &mut bytes);
                    let _ = out.send(bytes.into()).await;
                    return;
                }
                if out.send(answers.bytes.into()).await.is_err() {
                    return;
                }
            }
        };
        tokio::select! {
            () = async { tokio::join!(read, write); } => {}
            () = out.closed() => {}
        }
    }

    /// Fires what can be, as one batch, and writes an answer for each.
    async fn append(&self, outcomes: &[Outcome]) -> Answers {
        if let Some(relay) = &self.state.relay {
            return self.relay(relay, outcomes).await;
        }
        let events = outcomes.iter().filter_map(|outcome| match outcome {
            Outcome::Event(event, tag_bytes) => Some(Appended {
                event,
                tag_bytes: *tag_bytes,
            }),
            Outcome::Refused { .. } => None,
        });
        let now = since_epoch();
        let at = Millis(u64::try_from(now.as_millis()).unwrap_or(u64::MAX));
        let range = self.state.log.append(events, at);
        let seqs = (range.start.0..).map(|seq| Ok(Seq(seq)));
        Answers {
            bytes: self.answers(outcomes, seqs),
            events: range,
        }
    }

    /// Fires what can be on the bus that was joined; the numbers are those with which the events come back.
    async fn relay(&self, relay: &Relay, outcomes: &[Outcome]) -> Answers {
        let events = outcomes.iter().filter_map(|outcome| match outcome {
            Outcome::Event(event, _) => Some(event.clone()),
            Outcome::Refused { .. } => None,
        });
        let fired = relay.fire(events.collect()).await;
        let seqs = fired.as_deref().unwrap_or_default();
        let events = match (seqs.iter().min(), seqs.iter().max()) {
            (Some(first), Some(last)) => *first..Seq(last.0 + 1),
            _ => Seq(0)..Seq(0),
        };
        let bytes = match &fired {
            Ok(seqs) => self.answers(outcomes, seqs.iter().copied().map(Ok)),
            Err(error) => self.answers(outcomes, std::iter::repeat(Err(error))),
        };
        Answers { bytes, events }
    }

    /// The answers: for each event that was fired its number, or why it has none.
    fn answers<'e>(
        &self,
        outcomes: &[Outcome],
        mut seqs: impl Iterator<Item = Result<Seq, &'e RelayError>>,
    ) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(outcomes.len() * 32);
        for outcome in outcomes {
            match outcome {
                Outcome::Event(..) => match seqs.next() {
                    Some(Ok(seq)) => self.accept(self.state.log.id(), seq, &mut bytes),
                    Some(Err(error)) => {
                        self.refuse("not_fired", &error.to_string(), &mut bytes);
                    }
                    None => {}
                },
                Outcome::Refused { code, message } => self.refuse(code, message, &mut bytes),
            }
        }
        bytes
    }

    /// What begins the answers.
    fn begin(&self) -> Vec<u8> {
        let mut out = Vec::new();
        if self.form == Form::Records {
            let log = self.state.log.id().0;
            Record::Log { log }.encode(&mut out);
        }
        out
    }

    fn accept(&self, log: LogId, seq: Seq, out: &mut Vec<u8>) {
        use std::io::Write;
        match self.form {
            Form::Records => Record::Fired { sequence: seq.0 }.encode(out),
            // Writing to memory does not fail.
            Form::Lines => {
                let _ = writeln!(out, "{{\"position\": \"{log}-{seq}\"}}");
            }
        }
    }

    fn refuse(&self, code: &str, message: &str, out: &mut Vec<u8>) {
        match self.form {
            Form::Records => Record::Refused {
                code: code.to_owned(),
                message: message.to_owned(),
            }
            .encode(out),
            Form::Lines => {
                let error: Map = [("code", code), ("message", message)].into_iter().collect();
                let line: Map = [("error", error)].into_iter().collect();
                let mut text = String::new();
                json::to_line(&line.into(), &mut text);
                text.push('\n');
                out.extend_from_slice(text.as_bytes());
            }
        }
    }

    async fn durable(&self, events: Range<Seq>) -> Result<(), String> {
        match &self.state.durability {
            Some(durability) if self.is_durable && !events.is_empty() => durability(events).await,
            _ => Ok(()),
        }
    }

    /// An event from a line of JSON.
    fn line(&self, line: &Line) -> Option<Outcome> {
        let refused = |message: String| Outcome::Refused {
            code: "bad_event",
            message,
        };
        let line = match line {
            Line::Whole(line) if line.trim_ascii().is_empty() => return None,
            Line::Whole(line) => line,
            Line::TooLong => {
                return Some(refused(format!(
                    "expected a line of at most {MAX_LINE} bytes"
                )));
            }
        };
        Some(match read_line(line) {
            Ok((tag, data)) => self.event(&tag, data),
            Err(message) => refused(message),
        })
    }

    fn event(&self, tag: &str, mut data: Map) -> Outcome {
        if !self.permitted.contains(tag) {
            return forbidden(tag);
        }
        let stamp = stamp::format(since_epoch(), self.state.config.stamp_style);
        match encode_whole_event(tag, &mut data, &stamp, self.state.config.max_event_size) {
            Ok(event) => Outcome::Event(event, tag.len()),
            Err(error) => Outcome::Refused {
                code: "bad_event",
                message: error.to_string(),
            },
        }
    }

    /// An event that comes as it will be read.
    fn record(&self, event: &[u8]) -> Outcome {
        let refused = |message: String| Outcome::Refused {
            code: "bad_event",
            message,
        };
        let envelope = match Envelope::parse(event) {
            Ok(envelope) => envelope,
            Err(error) => return refused(error.to_string()),
        };
        let limit = self.state.config.max_event_size;
        if envelope.data().len() > limit {
            let bytes = envelope.data().len();
            return refused(format!(
                "expected at most {limit} bytes of data (max_event_size), found {bytes}"
            ));
        }
        if !self.permitted.contains(envelope.tag()) {
            return forbidden(envelope.tag());
        }
        Outcome::Event(event.to_vec(), envelope.tag().len())
    }
}

fn forbidden(tag: &str) -> Outcome {
    let tag: String = tag.chars().take(200).collect();
    Outcome::Refused {
        code: "forbidden",
        message: format!("{tag:?} is not among the tags you may fire (brine: {{acl: …}})"),
    }
}

/// Tag and data of a line. What `GET /events` writes beside them is passed over, so that one can be
/// piped into the other.
fn read_line(line: &[u8]) -> Result<(String, Map), String> {
    const EXPECTED: &str = "expected {\"tag\": …, \"data\": {…}}";
    let value = json::parse(line).map_err(|error| format!("{EXPECTED}: {error}"))?;
    let Value::Map(mut fields) = value else {
        return Err(format!("{EXPECTED}, found no object"));
    };
    let Some(Value::Str(tag)) = fields.remove("tag") else {
        return Err(format!("{EXPECTED}, found no tag"));
    };
    let data = match fields.remove("data") {
        Some(Value::Map(data)) => data,
        None => Map::new(),
        Some(_) => return Err(format!("{EXPECTED}, found data that are no object")),
    };
    let unknown = fields.iter().find_map(|(key, _)| {
        let key = key.as_str().unwrap_or_default();
        (!matches!(key, "seq" | "position" | "time")).then_some(key)
    });
    match unknown {
        Some(key) => Err(format!("{EXPECTED}, found {key:?} beside them")),
        None => Ok((tag, data)),
    }
}

/// Events cut out of a body.
struct Outcomes<'a> {
    firing: &'a Firing,
    lines: Option<Lines>,
    records: BytesMut,
    /// A stream of records that cannot be read on: nothing that follows is looked at.
    is_broken: bool,
    ready: Vec<Outcome>,
}

impl<'a> Outcomes<'a> {
    fn new(firing: &'a Firing) -> Self {
        Self {
            firing,
            lines: (firing.form == Form::Lines).then(|| Lines::new(MAX_LINE)),
            records: BytesMut::new(),
            is_broken: false,
            ready: Vec::new(),
        }
    }

    fn push(&mut self, bytes: &[u8]) {
        match &mut self.lines {
            Some(lines) => {
                let (firing, ready) = (self.firing, &mut self.ready);
                lines.push(bytes, |line| ready.extend(firing.line(&line)));
            }
            None if self.is_broken => {}
            None => {
                self.records.extend_from_slice(bytes);
                self.cut_records();
            }
        }
    }

    fn cut_records(&mut self) {
        loop {
            let length = match record::next(&self.records, MAX_LINE) {
                Ok(None) => return,
                Ok(Some((Record::Fire { event }, length))) => {
                    self.ready.push(self.firing.record(event));
                    length
                }
                Ok(Some((_, length))) => {
                    self.ready.push(not_a_record());
                    length
                }
                Err(error) => {
                    self.is_broken = true;
                    self.ready.push(Outcome::Refused {
                        code: "bad_stream",
                        message: error.to_string(),
                    });
                    return;
                }
            };
            let _ = self.records.split_to(length);
        }
    }

    fn take(&mut self) -> Vec<Outcome> {
        std::mem::take(&mut self.ready)
    }

    fn finish(mut self) -> Vec<Outcome> {
        if let Some(line) = self.lines.take().and_then(Lines::finish) {
            self.ready.extend(self.firing.line(&line));
        }
        if !self.is_broken && !self.records.is_empty() {
            self.ready.push(not_a_record());
        }
        self.ready
    }
}

fn not_a_record() -> Outcome {
    Outcome::Refused {
        code: "bad_event",
        message: "expected whole records [6, bytes], found something else".to_owned(),
    }
}

fn since_epoch() -> Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
}
