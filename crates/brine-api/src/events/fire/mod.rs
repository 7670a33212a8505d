//! `POST /events`: turns lines or records into events, and answers each.
//!
//! A body of known length is read completely and answered at once. A chunked body is a stream ([`stream`]): its
//! events are appended as they arrive, and answered while more is read, so that one connection can have any number of
//! events in flight. An event that cannot be fired is an error for that event only. [`batch`] parses the events.

mod batch;
mod stream;

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use brine_bus::Relay;
use brine_log::{Millis, Seq};
use brine_wire::record::Record;
use brine_wire::stamp;
use hyper::body::{Body, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Response, http::request::Parts};
use tokio::time::timeout;

use self::batch::{Batch, Cutter, Outcome};
use crate::acl::{Access, Permitted};
use crate::body::ResponseBody;
use crate::error::ApiError;
use crate::incoming;
use crate::query;
use crate::state::{ApiState, Noticed};
use crate::subject::Subject;

/// The largest body that is read whole, in bytes.
const MAX_BODY: usize = 16 << 20;
/// The longest line or record, in bytes: an event of the default size with every character escaped.
pub(crate) const MAX_LINE: usize = 8 << 20;
/// An overflow's disk that takes nothing for so long is given up, as the bus does for its publishers.
const DISK_STALL: Duration = Duration::from_secs(2);

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
            // curl sends the type of forms by default, whatever the body is.
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
        state.note(subject, Noticed::IsRefused { tag: None });
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
        audited: state.audit.is_some().then(|| subject.clone()),
        permitted: access.fire,
        form,
        is_durable,
    };
    if incoming.size_hint().exact().is_none() {
        let body = ResponseBody::stream(move |out| stream::run(firing, incoming, out));
        return Ok(answer(body, form.content_type()));
    }
    firing
        .whole(&incoming::whole(incoming, MAX_BODY).await?)
        .await
}

fn answer(body: ResponseBody, content_type: HeaderValue) -> Response<ResponseBody> {
    let mut response = Response::new(body);
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response
}

/// What the events of one request have in common.
struct Firing {
    state: Arc<ApiState>,
    /// Who fires them, for the audit, if there is one.
    audited: Option<Subject>,
    permitted: Permitted,
    form: Form,
    is_durable: bool,
}

impl Firing {
    /// Fires a whole body.
    async fn whole(self, body: &[u8]) -> Result<Response<ResponseBody>, ApiError> {
        let mut cutter = Cutter::new(&self);
        cutter.push(body);
        let batch = cutter.finish();
        // For a single event, the status is that event's result.
        if let [Outcome::Refused { code, message, .. }] = batch.outcomes() {
            let message = message.clone();
            return Err(match *code {
                "forbidden" => ApiError::Forbidden(message),
                _ => ApiError::BadRequest(message),
            });
        }
        if batch.outcomes().is_empty() {
            return Err(ApiError::BadRequest(
                "the request has no events; send a line {\"tag\": …, \"data\": {…}} for each"
                    .into(),
            ));
        }
        let mut answers = self.begin();
        let events = self.append(&batch, &mut answers).await;
        if self.must_wait(&events) {
            self.durable(events).await.map_err(ApiError::NotDurable)?;
        }
        Ok(answer(
            ResponseBody::full(answers),
            self.form.content_type(),
        ))
    }

    /// Appends what can be, at once, and writes an answer for each. Waits first if the log's overflow
    /// falls behind, so that subscribers that lag miss nothing. Gives the numbers of the events.
    async fn append(&self, batch: &Batch, answers: &mut Vec<u8>) -> Range<Seq> {
        if let Some(subject) = &self.audited {
            for event in batch.events() {
                let tag = str::from_utf8(&event.event[..event.tag_bytes]).unwrap_or_default();
                self.state.note(subject, Noticed::Fires { tag });
            }
        }
        if let Some(relay) = &self.state.relay {
            return self.relay(relay, batch, answers).await;
        }
        let log = &self.state.log;
        while log.is_backed_up() {
            if timeout(DISK_STALL, log.overflow_progress()).await.is_err() {
                log.give_up_overflow();
            }
        }
        let now = since_epoch();
        let at = Millis(u64::try_from(now.as_millis()).unwrap_or(u64::MAX));
        if let Some(bus) = &self.state.bus {
            bus.accept_waiting();
        }
        let events = log.append(batch.events(), at);
        let seqs = (events.start.0..events.end.0).map(|seq| Ok(Seq(seq)));
        batch.answer(self.form, log.id(), seqs, answers);
        events
    }

    /// Fires what can be on the bus that was joined; the numbers are those with which the events come back.
    async fn relay(&self, relay: &Relay, batch: &Batch, answers: &mut Vec<u8>) -> Range<Seq> {
        let events = batch.events().map(|event| event.event.to_vec());
        let fired = relay.fire(events.collect()).await;
        let log = self.state.log.id();
        let seqs = fired.as_deref().unwrap_or_default();
        let error = fired.as_ref().err().map(ToString::to_string);
        let seqs_of_events = seqs.iter().copied().map(Ok);
        let missing = std::iter::repeat(error.as_deref().unwrap_or_default()).map(Err);
        batch.answer(self.form, log, seqs_of_events.chain(missing), answers);
        match (seqs.iter().min(), seqs.iter().max()) {
            (Some(first), Some(last)) => *first..Seq(last.0 + 1),
            _ => Seq(0)..Seq(0),
        }
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

    /// Whether an answer must wait until these events are on disk.
    fn must_wait(&self, events: &Range<Seq>) -> bool {
        self.is_durable && !events.is_empty()
    }

    async fn durable(&self, events: Range<Seq>) -> Result<(), String> {
        match &self.state.durability {
            Some(durability) => durability(events).await,
            // Such a request was refused.
            None => Ok(()),
        }
    }

    fn stamp(&self) -> String {
        stamp::format(since_epoch(), self.state.config.stamp_style)
    }
}

fn since_epoch() -> Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
}
