//! `GET /events`: a cursor over the log, written as a stream.

use std::sync::Arc;
use std::time::Duration;

use brine_bus::join::GAP;
use brine_log::history::Consumer;
use brine_log::{
    EventCursor, Log, LogId, Millis, ParsePositionError, Position, Seq, Start, TagQuery,
};
use brine_wire::field_filter::FieldFilter;
use brine_wire::matching::{MatchType, TagFilter, TagMatch};
use brine_wire::time::{Bound, Clock, StartText, parse_start, parse_time};
use bytes::Bytes;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderValue};
use hyper::{Response, http::request::Parts};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::filter::{Expects, Filter, millis, now};
use super::form::Form;
use super::last;
use super::redaction::Redaction;
use crate::acl::{self, Access, Permitted};
use crate::body::ResponseBody;
use crate::error::ApiError;
use crate::hang_up::HangUp;
use crate::query;
use crate::state::{ApiState, Entry, Noticed};
use crate::subject::Subject;

/// A piece of a stream: what one write sends, and what waits for a slow client besides its connection.
const PIECE_BYTES: usize = 64 << 10;
/// What an event takes in a piece, as a guess for the room to make.
const EVENT_BYTES: usize = 512;
/// The most events `last` looks for.
const MAX_LAST: u64 = 100_000;

const PARAMETERS: [&str; 12] = [
    "tag",
    "match",
    "exclude",
    "filter",
    "from",
    "since",
    "until",
    "before",
    "last",
    "limit",
    "follow",
    "heartbeat",
];

/// What a reader asks for.
pub(crate) struct Query {
    pub(crate) filter: Filter,
    pub(crate) start: Start,
    /// Only this many of the last events that match, and those that follow.
    pub(crate) last: Option<usize>,
    pub(crate) until: Option<Millis>,
    /// Only events before this one.
    pub(crate) before: Option<Seq>,
    pub(crate) limit: Option<u64>,
    /// Whether the stream continues with new events.
    pub(crate) follows: bool,
    pub(crate) heartbeat: Duration,
}

/// What the words of a query are relative to.
pub(crate) struct QueryContext {
    /// The log that sequences without one are of.
    pub(crate) log: LogId,
    /// How many seconds local time is ahead of UTC at a moment.
    pub(crate) zone: fn(i64) -> i32,
    /// What is sent after so long without an event, unless the query says how long.
    pub(crate) heartbeat: Duration,
}

/// Answers with the stream.
pub(crate) fn get(
    state: &Arc<ApiState>,
    subject: &Subject,
    access: Access,
    head: &Parts,
) -> Result<Response<ResponseBody>, ApiError> {
    let parameters = parameters(head.uri.query().unwrap_or_default())?;
    let resumed = resumed(&head.headers)?;
    stream(state, subject, access, head, parameters, resumed)
}

/// The parameters of a query for events.
pub(crate) fn parameters(text: &str) -> Result<Vec<(&str, String)>, ApiError> {
    query::parse(text, &PARAMETERS)
}

/// The position in a `Last-Event-ID`; browsers send an empty one before the first event.
pub(crate) fn resumed(headers: &HeaderMap) -> Result<Option<Position>, ApiError> {
    // A value that is not text is refused: if it were ignored, the client would miss events without a gap.
    let position = headers
        .get("last-event-id")
        .map(|value| String::from_utf8_lossy(value.as_bytes()));
    let position = position.filter(|position| !position.is_empty());
    let position = position.map(|position| position.parse()).transpose();
    position.map_err(|error: ParsePositionError| ApiError::BadRequest(error.to_string()))
}

/// Answers with the events of a consumer, from its position on.
pub(crate) fn get_of_consumer(
    state: &Arc<ApiState>,
    subject: &Subject,
    access: Access,
    head: &Parts,
    consumer: &Consumer,
) -> Result<Response<ResponseBody>, ApiError> {
    let text = head.uri.query().unwrap_or_default();
    let mut parameters = query::parse(text, &["limit", "follow", "heartbeat"])?;
    match consumer.filter.as_str() {
        "" => {}
        // Field terms have a colon; tags have none, as far as people go.
        terms if terms.contains(':') => parameters.push(("filter", terms.to_owned())),
        tags => parameters.push(("tag", tags.to_owned())),
    }
    stream(
        state,
        subject,
        access,
        head,
        parameters,
        Some(consumer.position),
    )
}

fn stream(
    state: &Arc<ApiState>,
    subject: &Subject,
    access: Access,
    head: &Parts,
    parameters: Vec<(&str, String)>,
    resumed: Option<Position>,
) -> Result<Response<ResponseBody>, ApiError> {
    if access.read.is_nothing() {
        return Err(ApiError::Forbidden(acl::may_not_read(subject)));
    }
    let accept = header(&head.headers, "accept");
    let form = Form::accepted(accept).ok_or_else(|| ApiError::BadRequest(format!(
        "accept: expected application/x-ndjson, text/event-stream or application/x-msgpack, found {}",
        accept.unwrap_or_default()
    )))?;
    let context = QueryContext {
        log: state.log.id(),
        zone: state.config.zone,
        heartbeat: state.config.heartbeat,
    };
    let redaction = match access.is_full {
        true => Redaction::none(),
        false => Redaction::of(&state.redact),
    };
    let query = Query::parse(&context, access.read, parameters, resumed)?;
    let asked = match head.uri.path() {
        "/events" => head.uri.query().unwrap_or_default(),
        path => path,
    };
    state.note(subject, Noticed::Reads);
    let entry = state.readers().enter(subject.clone(), asked.to_owned());
    // The cursor is there before the answer begins: what is fired after that is part of the stream.
    let stream = Stream::new(state, query, redaction, form, entry);
    let hang_up = HangUp::of(&head.extensions);
    let state = Arc::clone(state);
    let body = ResponseBody::stream(move |out| async move {
        stream.run(&state, hang_up, &out).await;
        Ok(())
    });
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, form.content_type());
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

impl Query {
    pub(crate) fn parse(
        context: &QueryContext,
        permitted: Permitted,
        parameters: Vec<(&str, String)>,
        resumed: Option<Position>,
    ) -> Result<Self, ApiError> {
        let now = now();
        let clock = Clock {
            now,
            zone: &context.zone,
        };
        let bad = |error: &dyn std::fmt::Display| ApiError::BadRequest(error.to_string());
        let (mut tags, mut excluded, mut kind) = (Vec::new(), Vec::new(), MatchType::Fnmatch);
        let mut query = Self {
            filter: Filter {
                permitted,
                tags: TagFilter::default(),
                fields: FieldFilter::default(),
                stored: TagQuery::default(),
            },
            start: Start::Tail,
            last: None,
            until: None,
            before: None,
            limit: None,
            follows: true,
            heartbeat: context.heartbeat,
        };
        for (name, value) in parameters {
            match name {
                "tag" => tags.push(value),
                "exclude" => excluded.push(value),
                "match" => kind = MatchType::from_option(&value).map_err(|error| bad(&error))?,
                "filter" => {
                    query.filter.fields =
                        FieldFilter::parse(&value).map_err(|error| bad(&error))?;
                }
                "from" => {
                    let start = parse_start(&value, clock).map_err(|error| bad(&error))?;
                    query.start = start_of(start, context.log)?;
                }
                "since" => {
                    let time = parse_time(&value, Bound::Since, clock);
                    query.start = Start::Since(millis(time.map_err(|error| bad(&error))?));
                }
                "until" => {
                    let time = parse_time(&value, Bound::Until, clock);
                    query.until = Some(millis(time.map_err(|error| bad(&error))?));
                }
                "before" => query.before = Some(Seq(query::count(name, &value, u64::MAX)?)),
                "last" => {
                    let last = query::count(name, &value, MAX_LAST)?;
                    query.last = usize::try_from(last).ok();
                }
                "limit" => query.limit = Some(query::count(name, &value, u64::MAX)?),
                "follow" => query.follows = query::flag(name, &value)?,
                _ => {
                    let seconds = query::count(name, &value, 3600)?;
                    query.heartbeat = Duration::from_secs(seconds);
                }
            }
        }
        if let Some(position) = resumed {
            query.start = Start::After(position);
            query.last = None;
        }
        if let (Start::Since(since), Some(until)) = (&query.start, query.until)
            && *since > until
        {
            return Err(ApiError::BadRequest(
                "since is later than until: nothing is between them; exchange them".to_owned(),
            ));
        }
        let patterns = tags.iter().map(|tag| TagMatch::new(kind, tag.clone()));
        let patterns = patterns.collect::<Result<Vec<_>, _>>();
        let mut patterns = patterns.map_err(|error| bad(&error))?;
        if !patterns.is_empty() {
            let gap = TagMatch::new(MatchType::StartsWith, GAP);
            patterns.push(gap.map_err(|error| bad(&error))?);
        }
        query.filter.stored = TagQuery::new(&patterns);
        query.filter.tags = TagFilter::new(kind, &tags, &excluded).map_err(|error| bad(&error))?;
        Ok(query)
    }

    /// What a reader counts on that asks for this.
    pub(crate) const fn expects(&self) -> Expects {
        match (self.last, self.start) {
            (Some(_), _) | (_, Start::Oldest) => Expects::WhatIsThere,
            _ => Expects::All,
        }
    }

    /// A cursor for the stream, up to `end`.
    fn cursor(&self, log: &Log, start: Start, end: Option<Seq>) -> EventCursor {
        let mut cursor = self.filter.cursor(log, start);
        let expected = self.filter.expected(self.expects());
        cursor.expect(expected.up_to(end, self.until));
        cursor
    }
}

/// The last event of a stream, if that is known before it comes.
pub(crate) fn end(log: &Log, before: Option<Seq>, follows: bool) -> Option<Seq> {
    let before = before.map(|before| Seq(before.0.saturating_sub(1)));
    let newest = (!follows).then(|| log.position().seq);
    before.into_iter().chain(newest).min()
}

pub(crate) fn start_of(start: StartText, log: LogId) -> Result<Start, ApiError> {
    Ok(match start {
        StartText::Earliest => Start::Oldest,
        StartText::New => Start::Tail,
        StartText::Sequence(sequence) => Start::After(Position {
            log,
            seq: Seq(sequence.saturating_sub(1)),
        }),
        StartText::After { log, sequence } => {
            let log = log.parse::<LogId>();
            Start::After(Position {
                log: log.map_err(|error| ApiError::BadRequest(error.to_string()))?,
                seq: Seq(sequence),
            })
        }
        StartText::Time(time) => Start::Since(millis(time)),
    })
}

/// A stream on its way.
struct Stream {
    cursor: EventCursor,
    query: Query,
    redaction: Redaction,
    form: Form,
    entry: Entry,
    /// The last event of a stream that does not follow.
    end: Option<Seq>,
    buffer: Vec<u8>,
}

/// Why a stream stops for a moment, or for good.
enum Step {
    /// The piece is full, or nothing more is there.
    Write,
    /// The stream is complete.
    End,
}

impl Stream {
    fn new(state: &ApiState, query: Query, redaction: Redaction, form: Form, entry: Entry) -> Self {
        let end = end(&state.log, query.before, query.follows);
        let mut buffer = Vec::new();
        form.begin(state.log.id(), &mut buffer);
        let cursor = query.cursor(&state.log, query.start, end);
        // A client that takes nothing from the beginning is behind from there.
        entry.reader.note(cursor.seq(), 0);
        // A client that is cut off before its first event knows where it was all the same.
        if form == Form::Records && query.start == Start::Tail {
            form.heartbeat(cursor.position(), &mut buffer);
        }
        Self {
            cursor,
            query,
            redaction,
            form,
            entry,
            end,
            buffer,
        }
    }

    async fn run(mut self, state: &ApiState, mut hang_up: HangUp, out: &mpsc::Sender<Bytes>) {
        if let Some(count) = self.query.last {
            let log = &state.log;
            let end = last::end(log, self.query.before, self.query.until).await;
            let (start, filter) = (self.query.start, &self.query.filter);
            let redaction = &mut self.redaction;
            if let Some(start) = last::find(log, start, end, (filter, redaction), count).await {
                self.cursor = self.query.cursor(log, start, self.end);
            }
        }
        let mut shutdown = state.shutdown();
        let mut heartbeat = Instant::now() + self.query.heartbeat;
        loop {
            let step = self.fill(state.log.id());
            // A search that finds nothing for long is not silent either: there is always more to look at.
            if self.buffer.is_empty() && self.end.is_none() && Instant::now() >= heartbeat {
                self.form
                    .heartbeat(self.cursor.position(), &mut self.buffer);
            }
            if !self.buffer.is_empty() {
                if out
                    .send(std::mem::take(&mut self.buffer).into())
                    .await
                    .is_err()
                {
                    return; // nobody reads any more
                }
                heartbeat = Instant::now() + self.query.heartbeat;
            }
            if matches!(step, Step::End) {
                return;
            }
            // A reader whose filter matches little must not delay the others of its thread.
            tokio::task::yield_now().await;
            if matches!(self.cursor.next(), brine_log::Next::Stored) {
                // `ready` would go on from there to the tail, behind the end of this answer, and wait.
                self.cursor.load().await;
                continue;
            }
            let until = self.until();
            tokio::select! {
                biased;
                // Looks at the log first: what is there is written before a stream ends.
                ready = self.cursor.ready() => {
                    if let Err(gap) = ready {
                        self.form.gap(&gap, &mut self.buffer);
                        self.cursor.skip(gap);
                    }
                }
                () = async { let _ = shutdown.wait_for(|is_over| *is_over).await; } => return,
                () = sleep_until(until) => self.end = Some(state.log.position().seq),
                // It asks for nothing more, and may have gone: it gets what is there.
                () = hang_up.happens(), if self.end.is_none() => {
                    self.end = Some(state.log.position().seq);
                }
                () = sleep_until(heartbeat) => {
                    self.form.heartbeat(self.cursor.position(), &mut self.buffer);
                }
            }
        }
    }

    /// When nothing more can arrive in time.
    fn until(&self) -> Instant {
        /// As good as never.
        const FAR: Duration = Duration::from_secs(86_400 * 365);
        let until = match (self.end, self.query.until) {
            (None, Some(until)) => Duration::from_millis(until.0).saturating_sub(now()),
            _ => FAR,
        };
        Instant::now() + until.min(FAR)
    }

    /// Writes one run of events into the buffer, as much of it as one piece takes.
    fn fill(&mut self, log: LogId) -> Step {
        // Who has read further than there is anything must know that there is another log, or an older one.
        if self.end.is_some_and(|end| self.cursor.seq() > end) && !self.cursor.is_behind_gap() {
            return Step::End;
        }
        let brine_log::Next::Ready(events) = self.cursor.next() else {
            return Step::Write;
        };
        if self.buffer.is_empty() {
            // As much as the run may take: growing step by step would copy the piece several times.
            let expected = events.len().saturating_mul(EVENT_BYTES);
            self.buffer.reserve(expected.min(PIECE_BYTES + EVENT_BYTES));
        }
        let (mut looked_at, mut sent, mut is_over) = (0, 0, false);
        for event in events.iter() {
            if self.end.is_some_and(|end| event.seq > end)
                || self.query.until.is_some_and(|until| event.at > until)
            {
                is_over = true;
                break;
            }
            looked_at = event.seq.0 + 1 - self.cursor.seq().0;
            let Some(event) = self.query.filter.shown(&event, &mut self.redaction) else {
                continue;
            };
            self.form.event(log, &event, &mut self.buffer);
            sent += 1;
            if let Some(left) = &mut self.query.limit {
                *left -= 1;
                is_over = *left == 0;
            }
            if is_over || self.buffer.len() >= PIECE_BYTES {
                break;
            }
        }
        let is_whole = !is_over && self.buffer.len() < PIECE_BYTES;
        let passed = if is_whole {
            events.len()
        } else {
            usize::try_from(looked_at).unwrap_or(usize::MAX)
        };
        self.cursor.advance(&events, passed);
        self.entry.reader.note(self.cursor.seq(), sent);
        if is_over || self.end.is_some_and(|end| self.cursor.seq() > end) {
            return Step::End;
        }
        Step::Write
    }
}
