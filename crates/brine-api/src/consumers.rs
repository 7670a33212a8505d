//! `/consumers`: named readers whose positions are kept in the history's store.
//!
//! A request is a path and a query, and the answer is an object, for every caller: the local socket of a running bus,
//! or a command that has opened the store of one that is down. [`read`](crate::events::read) reads a consumer's
//! events.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use brine_log::history::{Consumer, ConsumerName, History, Paused, StoreError};
use brine_log::{Log, LogId, Millis, Next, ParsePositionError, Position, Seq, Start};
use brine_wire::compat::StampStyle;
use brine_wire::time::{Bound, Clock, parse_start, parse_time};
use brine_wire::{Map, Value, json, stamp};
use hyper::header::CONTENT_TYPE;
use hyper::{Method, Response};

use crate::acl::Access;
use crate::body::{JSON, ResponseBody};
use crate::error::ApiError;
use crate::query;
use crate::sinks::Sinks;
use crate::state::ApiState;
use crate::subject::Subject;

/// The kind of consumers that are sinks.
const SINK: &str = "sink";
/// Where consumers begin.
pub(crate) const PATH: &str = "/consumers";

/// What consumers need of a bus, running or not.
pub struct Consumers {
    /// The log they read.
    pub log: Arc<Log>,
    /// Where their positions are kept.
    pub history: History,
    /// Runs the consumers that are sinks, or knows what is left of them.
    pub sinks: Option<Arc<dyn Sinks>>,
    /// How many seconds local time is ahead of UTC at a moment, for times without a zone.
    pub zone: fn(i64) -> i32,
}

/// The most dead letters of one answer.
const MAX_LETTERS: usize = 1000;

/// Answers a request to a path of consumers, except for their events.
pub(crate) async fn respond(
    state: &ApiState,
    subject: &Subject,
    access: &Access,
    method: &Method,
    path: &str,
    query: &str,
) -> Result<Response<ResponseBody>, ApiError> {
    let name = path
        .strip_prefix(PATH)
        .and_then(|rest| rest.split('/').nth(1));
    admit(subject, access, name)?;
    let mut answer = of(state)?.answer(method.as_str(), path, query).await?;
    for (key, value) in answer.iter_mut() {
        if let (Some("consumers"), Value::Array(all)) = (key.as_str(), value) {
            all.retain(|consumer| is_permitted(access, consumer));
        }
    }
    let mut text = String::new();
    json::to_line(&answer.into(), &mut text);
    text.push('\n');
    let mut response = Response::new(ResponseBody::full(text));
    response.headers_mut().insert(CONTENT_TYPE, JSON);
    Ok(response)
}

/// The consumer whose events are asked for.
pub(crate) fn to_read(
    state: &ApiState,
    subject: &Subject,
    access: &Access,
    name: &str,
) -> Result<Consumer, ApiError> {
    admit(subject, access, Some(name))?;
    let consumers = of(state)?;
    let consumer = consumers.find(name)?;
    if consumers.is_running_sink(name) {
        return Err(ApiError::Conflict(format!(
            "consumer {name} is a sink that runs: its events go to the other side, and nobody else reads them by this \
             name; add a consumer of another one"
        )));
    }
    match consumer.paused {
        paused if !paused.is_paused(now()) => Ok(consumer),
        Paused::Until(until) => Err(ApiError::Conflict(format!(
            "consumer {name} is paused until {}",
            time(until)
        ))),
        _ => Err(ApiError::Conflict(format!(
            "consumer {name} is paused; `brine consumer resume {name}` or POST {PATH}/{name}/resume ends that"
        ))),
    }
}

/// Whether somebody may use the consumer of this name, or any.
fn admit(subject: &Subject, access: &Access, name: Option<&str>) -> Result<(), ApiError> {
    let is_admitted = match name {
        Some(name) => access.consume.contains(name),
        None => !access.consume.is_nothing(),
    };
    match (is_admitted, name) {
        (true, _) => Ok(()),
        (false, Some(name)) => Err(ApiError::Forbidden(format!(
            "{name:?} is not among the consumers {subject} may use; brine: {{acl: …}} has no consume for it"
        ))),
        (false, None) => Err(ApiError::Forbidden(format!(
            "{subject} may use no consumers; brine: {{acl: …}} has no consume for it"
        ))),
    }
}

/// All consumers, as `/status` and metrics show them; `None` without history.
pub(crate) fn all(state: &ApiState) -> Option<Vec<Map>> {
    let consumers = of(state).ok()?;
    let all = consumers.history.consumers();
    Some(all.iter().map(|one| consumers.describe(one)).collect())
}

fn is_permitted(access: &Access, consumer: &Value) -> bool {
    let name = consumer.as_map().and_then(|consumer| consumer.get("name"));
    name.and_then(Value::as_str)
        .is_some_and(|name| access.consume.contains(name))
}

fn of(state: &ApiState) -> Result<Consumers, ApiError> {
    let history = state.history.clone().ok_or_else(|| {
        ApiError::Conflict(
            "this bus keeps no history, and so no consumers; configure brine: {history: …}".into(),
        )
    })?;
    Ok(Consumers {
        log: Arc::clone(&state.log),
        history,
        sinks: state.sinks.clone(),
        zone: state.config.zone,
    })
}

impl Consumers {
    /// Carries out a request: a method, a path from `/consumers` on, and a query. On disk when this returns.
    ///
    /// # Errors
    /// [`ApiError`] for a wrong request, a consumer that does not exist, and a store that cannot be written.
    pub async fn answer(&self, method: &str, path: &str, query: &str) -> Result<Map, ApiError> {
        let rest = path.strip_prefix(PATH).ok_or(ApiError::NotFound)?;
        let mut parts = rest.split('/').skip(1);
        let (name, action) = (parts.next(), parts.next());
        if parts.next().is_some() {
            return Err(ApiError::NotFound);
        }
        match (method, name.filter(|name| !name.is_empty()), action) {
            ("GET", None, None) => self.list(query),
            ("GET", Some(name), None) => Ok(self.describe(&self.find(name)?)),
            ("PUT", Some(name), None) => self.add(name, query).await,
            ("DELETE", Some(name), None) => self.remove(name).await,
            ("POST", Some(name), Some("ack")) => self.acknowledge(name, query).await,
            ("POST", Some(name), Some("pause")) => self.pause(name, query).await,
            ("POST", Some(name), Some("resume")) => self.resume(name).await,
            ("POST", Some(name), Some("reset")) => self.reset(name, query).await,
            ("GET", Some(name), Some("dead")) => self.dead(name, query),
            ("POST", Some(name), Some("resend")) => self.resend(name, query).await,
            ("POST", Some(name), Some("discard")) => self.discard(name, query).await,
            (_, None, None) => Err(ApiError::MethodNotAllowed { allowed: "GET" }),
            (_, Some(_), None) => Err(ApiError::MethodNotAllowed {
                allowed: "GET, PUT, DELETE",
            }),
            (_, Some(_), Some("dead")) => Err(ApiError::MethodNotAllowed { allowed: "GET" }),
            (_, Some(_), Some("ack" | "pause" | "resume" | "reset" | "resend" | "discard")) => {
                Err(ApiError::MethodNotAllowed { allowed: "POST" })
            }
            _ => Err(ApiError::NotFound),
        }
    }

    fn list(&self, query: &str) -> Result<Map, ApiError> {
        query::parse(query, &[])?;
        let all = self.history.consumers();
        let all = all.iter().map(|consumer| self.describe(consumer).into());
        Ok([("consumers", Value::Array(all.collect()))]
            .into_iter()
            .collect())
    }

    fn find(&self, name: &str) -> Result<Consumer, ApiError> {
        self.history
            .consumer(&parse_name(name)?)
            .ok_or_else(|| ApiError::NoConsumer {
                name: name.to_owned(),
            })
    }

    async fn add(&self, name: &str, query: &str) -> Result<Map, ApiError> {
        let name = parse_name(name)?;
        if name.is_confusing() {
            return Err(ApiError::BadRequest(format!(
                "{:?}: a consumer's name is neither . nor .., and does not begin with a dash",
                name.as_str()
            )));
        }
        if self.history.consumer(&name).is_some() {
            return Err(ApiError::Conflict(format!(
                "consumer {name} is there already; reset moves it"
            )));
        }
        let (mut deliver, mut filter) = ("new".to_owned(), String::new());
        for (parameter, value) in query::parse(query, &["deliver", "filter"])? {
            match parameter {
                "deliver" => deliver = value,
                _ => filter = value,
            }
        }
        let consumer = Consumer {
            name,
            position: self.position(&self.start(&deliver)?).await?,
            kind: "cursor".to_owned(),
            filter,
            paused: Paused::No,
            saved_at: now(),
        };
        let answer = self.describe(&consumer);
        self.history.save(consumer).await.map_err(not_saved)?;
        Ok(answer)
    }

    async fn remove(&self, name: &str) -> Result<Map, ApiError> {
        let consumer = self.find(name)?;
        if self.is_running_sink(name) {
            return Err(ApiError::Conflict(format!(
                "consumer {name} is a sink that runs; take it out of the configuration first"
            )));
        }
        let removed = self.history.remove(&consumer.name).await;
        removed.map_err(not_saved)?;
        Ok(self.describe(&consumer))
    }

    /// Moves a consumer forward, behind an event it has dealt with. On disk with the next commit:
    /// a consumer sees again what was not.
    async fn acknowledge(&self, name: &str, query: &str) -> Result<Map, ApiError> {
        let mut consumer = self.find(name)?;
        let mut position = None;
        for (parameter, value) in query::parse(query, &["position"])? {
            let parsed: Position = value
                .parse()
                .map_err(|error| ApiError::BadRequest(format!("{parameter}: {error}")))?;
            position = Some(parsed);
        }
        let position = position.ok_or_else(|| {
            ApiError::BadRequest("expected ?position=, that of the last event dealt with".into())
        })?;
        if position.log != self.log.id() || position.seq > self.log.position().seq {
            return Err(ApiError::Conflict(format!(
                "{position} is not a position of this log, which is at {}",
                self.log.position()
            )));
        }
        let is_behind =
            consumer.position.log != position.log || consumer.position.seq < position.seq;
        if is_behind {
            self.history.acknowledge(&consumer.name, position);
            consumer.position = position;
        }
        Ok(self.describe(&consumer))
    }

    async fn pause(&self, name: &str, query: &str) -> Result<Map, ApiError> {
        let mut paused = Paused::UntilResumed;
        for (parameter, value) in query::parse(query, &["until"])? {
            let time = parse_time(&value, Bound::Until, self.clock());
            let time = time.map_err(|error| ApiError::BadRequest(format!("{parameter}: {error}")));
            let until = millis(time?);
            // `1h` is an hour ago, as everywhere, and would pause nothing.
            if until <= now() {
                return Err(ApiError::BadRequest(format!(
                    "{parameter}: expected a time to come, such as +1h, found {value:?}"
                )));
            }
            paused = Paused::Until(until);
        }
        self.change(name, |consumer| consumer.paused = paused).await
    }

    async fn resume(&self, name: &str) -> Result<Map, ApiError> {
        self.change(name, |consumer| consumer.paused = Paused::No)
            .await
    }

    /// Says where a consumer would go, and moves it there if `execute` is asked for.
    async fn reset(&self, name: &str, query: &str) -> Result<Map, ApiError> {
        let consumer = self.find(name)?;
        if consumer.kind == SINK && !self.is_running_sink(name) {
            return Err(ApiError::Conflict(format!(
                "consumer {name} is a sink, and the other side may keep a position of its own; reset it while it runs"
            )));
        }
        let (mut target, mut is_done) = (None, false);
        for (parameter, value) in query::parse(query, &["to", "shift", "execute"])? {
            match parameter {
                "to" => target = Some(self.start(&value)?),
                "shift" => target = Some(self.shifted(&consumer, &value)?),
                _ => is_done = query::flag(parameter, &value)?,
            }
        }
        let target = target.ok_or_else(|| {
            ApiError::BadRequest("expected ?to= or ?shift=, where the consumer is to go".into())
        })?;
        let (from, to) = (consumer.position, self.position(&target).await?);
        let mut answer = Map::new();
        answer.insert("name", name);
        answer.insert("from", from.to_string());
        answer.insert("to", to.to_string());
        answer.insert("effect", self.effect(from, to));
        answer.insert("executed", is_done);
        if is_done {
            self.change(name, |consumer| {
                consumer.position = to;
                consumer.saved_at = now();
            })
            .await?;
        }
        Ok(answer)
    }

    /// What a consumer notices of a move.
    fn effect(&self, from: Position, to: Position) -> String {
        if from.log != to.log {
            return format!("from a position of another log to the event after {to}");
        }
        let count = |first: Seq, last: Seq| {
            let events = self.history.count(Seq(first.0 + 1)..Seq(last.0 + 1));
            format!("{events} event{}", if events == 1 { "" } else { "s" })
        };
        match to.seq.cmp(&from.seq) {
            std::cmp::Ordering::Less => format!("{} again", count(to.seq, from.seq)),
            std::cmp::Ordering::Equal => "no change".to_owned(),
            std::cmp::Ordering::Greater => format!("{} skipped", count(from.seq, to.seq)),
        }
    }

    async fn change(
        &self,
        name: &str,
        change: impl FnOnce(&mut Consumer),
    ) -> Result<Map, ApiError> {
        let changed = self.history.change(&parse_name(name)?, change).await;
        let changed = changed.map_err(not_saved)?;
        let changed = changed.ok_or_else(|| ApiError::NoConsumer {
            name: name.to_owned(),
        })?;
        Ok(self.describe(&changed))
    }

    /// What a sink could not deliver, oldest first.
    fn dead(&self, name: &str, query: &str) -> Result<Map, ApiError> {
        query::parse(query, &[])?;
        let read = self.sinks_of(name)?.dead(name, MAX_LETTERS);
        let (letters, further) = read.map_err(ApiError::Conflict)?;
        let mut answer = Map::new();
        answer.insert("name", name);
        answer.insert(
            "letters",
            letters.into_iter().map(Value::from).collect::<Vec<_>>(),
        );
        answer.insert("further", Value::Int(further as i128));
        Ok(answer)
    }

    /// Sends that again.
    async fn resend(&self, name: &str, query: &str) -> Result<Map, ApiError> {
        query::parse(query, &[])?;
        let sent = self.sinks_of(name)?.resend(name).await;
        sent.map_err(ApiError::Conflict)
    }

    /// Removes some of that for good, or all; without `execute` it only says how many.
    async fn discard(&self, name: &str, query: &str) -> Result<Map, ApiError> {
        let (mut positions, mut all, mut execute) = (Vec::new(), false, false);
        for (name, value) in query::parse(query, &["position", "all", "execute"])? {
            match name {
                "all" => all = query::flag(name, &value)?,
                "execute" => execute = query::flag(name, &value)?,
                _ => {
                    let position = value.parse();
                    positions.push(position.map_err(|error: ParsePositionError| {
                        ApiError::BadRequest(format!("position: {error}"))
                    })?);
                }
            }
        }
        if all != positions.is_empty() {
            let text = "name the positions of dead letters, or all of them";
            return Err(ApiError::BadRequest(text.to_owned()));
        }
        let which = (!all).then_some(positions);
        let discarded = self.sinks_of(name)?.discard(name, which, execute).await;
        let discarded = discarded.map_err(ApiError::Conflict)?;
        let mut answer = Map::new();
        answer.insert("name", name);
        answer.insert("discarded", Value::Int(discarded.count.into()));
        answer.insert("kept", Value::Int(discarded.kept.into()));
        answer.insert("executed", execute);
        Ok(answer)
    }

    fn sinks_of(&self, name: &str) -> Result<&Arc<dyn Sinks>, ApiError> {
        let consumer = self.find(name)?;
        let sinks = self.sinks.as_ref().filter(|_| consumer.kind == SINK);
        sinks.ok_or_else(|| {
            ApiError::Conflict(format!(
                "consumer {name} is not a sink and has no dead letters"
            ))
        })
    }

    fn is_running_sink(&self, name: &str) -> bool {
        self.sinks
            .as_ref()
            .is_some_and(|sinks| sinks.is_running(name))
    }

    fn clock(&self) -> Clock<'_> {
        Clock {
            now: since_epoch(),
            zone: &self.zone,
        }
    }

    /// So many events forward or backward from where the consumer is.
    fn shifted(&self, consumer: &Consumer, value: &str) -> Result<Start, ApiError> {
        let shift: i64 = value.parse().map_err(|_| {
            ApiError::BadRequest(format!(
                "shift: expected a number of events such as 10 or -10, found {value:?}"
            ))
        })?;
        let (at, events) = (consumer.position.seq, shift.unsigned_abs());
        let seq = match shift < 0 {
            true => {
                let next = self.log.before(Seq(at.0.saturating_add(1)), events);
                Seq(next.0.saturating_sub(1))
            }
            false => self.log.after(at, events),
        };
        Ok(Start::After(Position {
            seq,
            ..consumer.position
        }))
    }

    fn start(&self, text: &str) -> Result<Start, ApiError> {
        let start = parse_start(text, self.clock());
        let start = start.map_err(|error| ApiError::BadRequest(error.to_string()))?;
        crate::events::read::start_of(start, self.log.id())
    }

    /// The position from which a start's first event comes next.
    async fn position(&self, start: &Start) -> Result<Position, ApiError> {
        let mut cursor = self.log.events(*start);
        loop {
            match cursor.next() {
                Next::Stored => cursor.load().await,
                Next::Gap(gap) if matches!(start, Start::After(_)) => {
                    let oldest = self.log.oldest();
                    let newest = self.log.position().seq;
                    return Err(ApiError::Gone(format!(
                        "{}: no such event is kept; there are {oldest} to {newest}",
                        gap.from
                    )));
                }
                Next::Gap(gap) => cursor.skip(gap),
                Next::Ready(_) | Next::Tail => return Ok(cursor.position()),
            }
        }
    }

    /// A consumer as programs are shown it.
    fn describe(&self, consumer: &Consumer) -> Map {
        let newest = self.log.position();
        let state = match consumer.paused {
            paused if !paused.is_paused(now()) => "active".to_owned(),
            Paused::Until(until) => format!("paused until {}", time(until)),
            _ => "paused".to_owned(),
        };
        let position = consumer.position;
        // Nobody knows how far a position of another log is behind.
        let lag = (position.log == newest.log).then(|| {
            let unread = Seq(position.seq.0.saturating_add(1))..Seq(newest.seq.0 + 1);
            self.history.count(unread)
        });
        let mut shown = Map::new();
        shown.insert("name", consumer.name.as_str());
        shown.insert("kind", consumer.kind.as_str());
        shown.insert("position", position.to_string());
        // A killed bus leaves numbers unused; the newest event is before them.
        let last = self.log.before(Seq(newest.seq.0 + 1), 1);
        shown.insert("last_seq", Value::Int(last.0.into()));
        shown.insert("lag", lag.map_or(Value::Nil, |lag| Value::Int(lag.into())));
        shown.insert("state", state);
        shown.insert("filter", consumer.filter.as_str());
        shown.insert("saved_at", time(consumer.saved_at));
        let sink = self.sinks.as_ref().filter(|_| consumer.kind == SINK);
        let more = sink.and_then(|sinks| sinks.describe(consumer.name.as_str()));
        for (name, value) in more.into_iter().flatten() {
            // One that is paused says that, not what it would wait for.
            if name.as_str() != Some("state") || !consumer.paused.is_paused(now()) {
                shown.insert(name, value);
            }
        }
        shown
    }
}

impl std::fmt::Debug for Consumers {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let log: LogId = self.log.id();
        out.debug_struct("Consumers")
            .field("log", &log)
            .finish_non_exhaustive()
    }
}

fn parse_name(name: &str) -> Result<ConsumerName, ApiError> {
    ConsumerName::parse(name).map_err(|error| ApiError::BadRequest(error.to_string()))
}

#[allow(clippy::needless_pass_by_value)] // for map_err
fn not_saved(error: StoreError) -> ApiError {
    ApiError::NotSaved(error.to_string())
}

fn time(at: Millis) -> String {
    let text = stamp::format(Duration::from_millis(at.0), StampStyle::Naive);
    format!("{text}Z")
}

fn now() -> Millis {
    millis(since_epoch())
}

fn since_epoch() -> Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
}

fn millis(time: Duration) -> Millis {
    Millis(u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
}
