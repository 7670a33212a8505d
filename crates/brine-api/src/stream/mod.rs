//! The event streams of the network API: `GET /events` as server-sent events or lines, and Salt's WebSockets. What
//! clients see is in `docs/api-streams.md`.
//!
//! The path of an event to a stream:
//!
//! | step | where |
//! | --- | --- |
//! | turn a request into a stream, which takes over its connection if it does not share it | `respond` |
//! | read through the log until the stream has caught up | `catch_up` |
//! | examine and render each event once for all streams that have caught up | `fan_out`, `form` |
//! | send every stream everything that is due in one write | `fan_out`, `subscriber` |
//!
//! A stream whose client does not read costs only its position: a number in the window of its group and, once the
//! window has left it behind, a cursor over the log. Nothing is queued for it. The session decides who may read, and
//! how long; nothing here knows tokens.
//!
//! A stream lasts for days, and the fan-out sends the same bytes to thousands of sockets. Through hyper, each of them
//! would keep a connection's state and buffers, more than 8 KiB, and cost a task and several buffers per event. So
//! only HTTP/2, where streams share a connection, goes through hyper; for everything else we write head and chunks
//! ourselves.

mod catch_up;
mod fan_out;
mod form;
mod formatted;
mod subscriber;
mod websocket;
mod window;

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use brine_log::{Log, Millis, Position, Seq, Start};
use hyper::body::Incoming;
use hyper::header::{CACHE_CONTROL, CONNECTION, CONTENT_TYPE, HeaderValue, TRANSFER_ENCODING};
use hyper::{Method, Request, Response, Version};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use tokio::time::Duration;

use self::catch_up::{Bounds, CatchUp};
use self::fan_out::FanOut;
use self::form::{Form, Reader};
use self::subscriber::{Guard, Socket, Subscriber, View};
use self::window::Wire;
use crate::acl;
use crate::body::ResponseBody;
use crate::events::filter::Expects;
use crate::events::read::{self, Query, QueryContext};
use crate::rest::{Answer, Context, RestError, Session, blanked, head_bytes};
use crate::state::{ApiState, Audit, Noticed, Readers};

pub use self::form::EventsOf;

/// Streams that wait for the fan-out to accept them.
const JOINS: usize = 1024;

/// How streams are written.
#[derive(Debug, Clone, Copy)]
pub struct StreamConfig {
    /// After so long without an event a stream shows that it lives.
    pub heartbeat: Duration,
    /// How many seconds local time is ahead of UTC at a moment, for times without a zone.
    pub zone: fn(i64) -> i32,
    /// The release in whose form events are written.
    pub events_of: EventsOf,
}

impl Default for StreamConfig {
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_secs(15),
            zone: |_| 0,
            events_of: EventsOf::Bus,
        }
    }
}

/// All streams of a process.
pub struct Streams {
    shared: Arc<Shared>,
    config: StreamConfig,
    shutdown: watch::Sender<bool>,
    /// Its other end goes with the thread.
    thread: watch::Receiver<()>,
}

/// Which of Salt's streams is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StreamKind {
    /// `/events`: server-sent events or JSON lines.
    Events,
    /// `/ws`, `/ws/<token>`.
    Websocket,
    /// `/all_events/<token>`, of `rest_tornado`.
    AllEvents,
    /// `/formatted_events/<token>`, of `rest_tornado`.
    FormattedEvents,
}

/// What streams have done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamStats {
    /// Streams open now.
    pub streams: usize,
    /// Events sent, each counted once for each stream.
    pub delivered: u64,
}

/// What the parts of the module share.
struct Shared {
    api: watch::Receiver<Arc<ApiState>>,
    joins: mpsc::Sender<Join>,
    shutdown: watch::Receiver<bool>,
    /// Where streams catch up: the runtime that answers requests, known with the first of them.
    runtime: OnceLock<Handle>,
    readers: Readers,
    redact: Arc<[String]>,
    audit: Option<Audit>,
    /// Each stream has a receiver.
    open: watch::Sender<()>,
    counters: Counters,
}

/// A stream that has caught up.
struct Join {
    subscriber: Subscriber,
    /// The log that it has read, and how far.
    log: Arc<Log>,
    position: Position,
}

#[derive(Debug, Default)]
struct Counters {
    delivered: AtomicU64,
}

impl Counters {
    fn delivered(&self, events: u64) {
        self.delivered.fetch_add(events, Ordering::Relaxed);
    }
}

impl Shared {
    fn log(&self) -> Arc<Log> {
        Arc::clone(&self.api.borrow().log)
    }

    fn is_replaced(&self, log: &Arc<Log>) -> bool {
        !Arc::ptr_eq(&self.api.borrow().log, log)
    }

    /// Done when another log has taken the place of this one.
    async fn replaced(&self, log: &Arc<Log>) {
        let mut api = self.api.clone();
        if api
            .wait_for(|current| !Arc::ptr_eq(&current.log, log))
            .await
            .is_err()
        {
            std::future::pending::<()>().await; // nobody is left to replace it
        }
    }
}

impl Streams {
    /// The release in whose form events are written.
    pub(crate) const fn events_of(&self) -> EventsOf {
        self.config.events_of
    }

    /// Starts the thread that serves streams which have caught up with the log of `api`. When that log is replaced,
    /// streams continue in the new one, and the events that they missed are a gap. All else stays that of the first.
    ///
    /// # Errors
    /// When the system has no more threads.
    pub fn start(
        api: watch::Receiver<Arc<ApiState>>,
        config: StreamConfig,
    ) -> io::Result<Arc<Self>> {
        let first = Arc::clone(&api.borrow());
        let (joins, joining) = mpsc::channel(JOINS);
        let shutdown = watch::Sender::new(false);
        let (running, thread) = watch::channel(());
        let shared = Arc::new(Shared {
            api,
            joins,
            shutdown: shutdown.subscribe(),
            runtime: OnceLock::new(),
            readers: first.readers().clone(),
            redact: Arc::clone(&first.redact),
            audit: first.audit.clone(),
            open: watch::Sender::new(()),
            counters: Counters::default(),
        });
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()?;
        let fan_out = Arc::clone(&shared);
        std::thread::Builder::new()
            .name("brine-streams".to_owned())
            .spawn(move || {
                // A turn polls any number of sockets; the runtime's budget is for tasks that share a
                // thread.
                let fan_out = FanOut::new(fan_out, joining);
                runtime.block_on(tokio::task::unconstrained(fan_out.run()));
                drop(running);
            })?;
        Ok(Arc::new(Self {
            shared,
            config,
            shutdown,
            thread,
        }))
    }

    /// Tells all streams to write what the log holds and end.
    pub fn shut_down(&self) {
        self.shutdown.send_replace(true);
    }

    /// Done when all streams have ended.
    pub async fn ended(&self) {
        let mut thread = self.thread.clone();
        let _ = thread.changed().await; // nothing is ever sent: the thread is gone
        self.shared.open.closed().await;
    }

    /// What streams have done so far.
    #[must_use]
    pub fn stats(&self) -> StreamStats {
        StreamStats {
            streams: self.shared.readers.all().len(),
            delivered: self.shared.counters.delivered.load(Ordering::Relaxed),
        }
    }

    /// What the words of a query are relative to.
    fn context(&self) -> QueryContext {
        QueryContext {
            log: self.shared.log().id(),
            zone: self.config.zone,
            heartbeat: self.config.heartbeat,
        }
    }
}

impl std::fmt::Debug for Streams {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Streams").finish_non_exhaustive()
    }
}

/// A stream that waits for the head of its answer to be written.
pub(crate) struct Prepared {
    shared: Arc<Shared>,
    view: Arc<View>,
    start: Start,
    expects: Expects,
    last: Option<usize>,
    until: Option<Millis>,
    before: Option<Seq>,
    limit: Option<u64>,
    follows: bool,
    reader: Reader,
    session: Arc<Session>,
    text: String,
}

impl Prepared {
    /// Begins to write the stream; `head` goes before it, and `guard` counts it until it is over.
    fn start(self, socket: Box<dyn Socket>, head: Vec<u8>, guard: Guard) {
        self.shared.runtime.get_or_init(Handle::current);
        let subject = self.session.subject().clone();
        if let Some(audit) = &self.shared.audit {
            audit(&subject, Noticed::Reads);
        }
        let entry = self.shared.readers.enter(subject, self.text);
        let ends = Box::pin(self.session.ended());
        // Nobody else holds the session of a client that shows Salt's token itself, and a stream ends with its session.
        let guard = (guard, self.session, self.shared.open.subscribe());
        let log = self.shared.log();
        let waits = self.start == Start::Tail && self.last.is_none() && self.follows;
        // Before the cursor is made: what arrives in between is then read again, not missed.
        let begins_after = waits.then(|| log.position());
        let mut preface = Vec::new();
        (self.view.form).preface(begins_after, self.reader, &mut preface);
        let guard = Box::new(guard);
        let subscriber = Subscriber::new(socket, self.view, entry, ends, guard, head, &preface);
        let bounds = Bounds {
            end: read::end(&log, self.before, self.follows),
            until: self.until,
            limit: self.limit,
        };
        let (start, expects) = (self.start, self.expects);
        let stream = CatchUp::new(&self.shared, log, subscriber, start, 0, bounds, expects);
        match self.last {
            Some(count) => drop(tokio::spawn(stream.run_from_last(self.start, count))),
            None => drop(tokio::spawn(stream.run())),
        }
    }
}

/// Answers with a stream.
#[expect(clippy::unused_async, reason = "as every handler")]
pub(crate) async fn respond(
    context: &Context,
    kind: StreamKind,
    request: Request<Incoming>,
) -> Result<Answer, RestError> {
    match kind {
        StreamKind::Events => events(context, &request),
        _ => websocket::respond(context, kind, &request),
    }
}

/// `GET /events`.
fn events(context: &Context, request: &Request<Incoming>) -> Result<Answer, RestError> {
    let form = match context.accept() {
        Some(accept) if asks_for_lines(accept) => Form::Lines,
        _ => Form::ServerSent(context.state.streams.config.events_of),
    };
    // One answer per connection, in chunks; hyper says where a body ends that it sends.
    let takes_over = context.can_take_over() && request.version() == Version::HTTP_11;
    let wire = if takes_over { Wire::Chunks } else { Wire::Bare };
    let prepared = prepare(context, request, context.query(), form, wire)?;
    let mut response = Response::new(());
    let headers = response.headers_mut();
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static(match form {
            Form::Lines => "application/x-ndjson",
            _ => "text/event-stream;charset=utf-8",
        }),
    );
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    if request.method() == Method::HEAD {
        return Ok(Answer::Response(response.map(|()| ResponseBody::full(""))));
    }
    if !takes_over {
        // hyper's connection counts it.
        let body = ResponseBody::piped(|pipe| {
            prepared.start(Box::new(pipe), Vec::new(), Box::new(()));
        });
        return Ok(Answer::Response(response.map(|()| body)));
    }
    headers.insert(CONNECTION, HeaderValue::from_static("keep-alive"));
    headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    context.decorate(headers);
    let head = head_bytes(&response);
    Ok(Answer::TakeOver(Box::new(|connection| {
        prepared.start(Box::new(connection.io), head, Box::new(connection.held));
        Box::pin(async {})
    })))
}

/// What a request asks for, checked.
fn prepare(
    context: &Context,
    request: &Request<Incoming>,
    text: &str,
    form: Form,
    wire: Wire,
) -> Result<Prepared, RestError> {
    let session = context.session()?;
    let streams = &context.state.streams;
    let access = context.state.api().acl.access(session.subject());
    if access.read.is_nothing() {
        let why = acl::may_not_read(session.subject());
        return Err(RestError::Forbidden(why.into()));
    }
    let query = read::parameters(text).and_then(|parameters| {
        let resumed = read::resumed(request.headers())?;
        Query::parse(&streams.context(), access.read, parameters, resumed)
    });
    let query = query.map_err(|error| RestError::BadRequest(error.to_string().into()))?;
    let expects = query.expects();
    let view = Arc::new(View {
        form,
        wire,
        filter: query.filter,
        heartbeat: query.heartbeat,
    });
    // Browsers say how they fetch, and no page can make them say something else.
    let reader = match request.headers().contains_key("sec-fetch-mode") {
        true => Reader::Browser,
        false => Reader::Other,
    };
    Ok(Prepared {
        reader,
        shared: Arc::clone(&streams.shared),
        view,
        start: query.start,
        expects,
        last: query.last,
        until: query.until,
        before: query.before,
        limit: query.limit,
        follows: query.follows,
        session: Arc::clone(session),
        text: blanked(text).into_owned(),
    })
}

/// Whether an `Accept` header asks for lines. Anything else gets what Salt sends whatever is asked.
fn asks_for_lines(accept: &str) -> bool {
    let names = accept
        .split(',')
        .map(|one| one.split(';').next().unwrap_or_default().trim());
    let mut known = names.filter_map(|name| match name.to_ascii_lowercase().as_str() {
        "application/x-ndjson" => Some(true),
        "text/event-stream" => Some(false),
        _ => None,
    });
    known.next().unwrap_or(false)
}

/// The body of a fuzz target: see [`crate::fuzzing`].
pub(crate) fn fuzz_record(bytes: &[u8]) {
    use brine_log::{LogId, Seq, StoredEvent};
    let end = bytes.windows(2).position(|end| end == b"\n\n");
    let event = StoredEvent {
        seq: Seq(1),
        at: Millis(0),
        event: bytes,
        sender: None,
        origin: None,
        tag_bytes: end.unwrap_or(bytes.len()),
    };
    let mut record = Vec::new();
    Form::ServerSent(EventsOf::Before3008).event(LogId(1), &event, &mut record);
    let text = std::str::from_utf8(&record).expect("a record is text");
    assert!(!text.contains('\r'));
    let lines: Vec<&str> = text.lines().filter(|line| *line != "event: gap").collect();
    let begins = ["tag: ", "id: 1-1", "data: {\"data\": ", ""];
    assert_eq!(lines.len(), begins.len(), "{text}");
    for (line, begin) in lines.iter().zip(begins) {
        assert!(line.starts_with(begin), "{text}");
    }
    let mut chunk = Vec::new();
    window::push_framed(Wire::Chunks, &record, &mut chunk);
    let size = format!("{:x}\r\n", record.len());
    let body = chunk
        .strip_prefix(size.as_bytes())
        .expect("a chunk begins with its size");
    assert_eq!(body.strip_suffix(b"\r\n"), Some(record.as_slice()));
    record.clear();
    Form::Messages(EventsOf::Bus).event(LogId(1), &event, &mut record);
    assert_eq!(
        record.iter().position(|byte| *byte == b'\n'),
        Some(record.len() - 1)
    );
}
