//! `GET /status`: what runs, how far back readers can go, and who reads; with `?after=POSITION`, how many events came
//! after it.

use std::sync::atomic::Ordering;

use brine_log::{ParsePositionError, Position, Seq};
use brine_wire::{Map, Value, json};
use bytes::Bytes;
use hyper::Response;
use hyper::header::CONTENT_TYPE;

use crate::acl::{Access, Permitted};
use crate::body::{JSON, ResponseBody};
use crate::error::ApiError;
use crate::query;
use crate::state::{ApiState, Reader};
use crate::subject::Subject;

/// Answers with one JSON object. A user who may neither do everything nor read every event sees only the log and their
/// own streams.
pub(crate) fn get(
    state: &ApiState,
    subject: &Subject,
    access: &Access,
    query: &str,
) -> Result<Response<ResponseBody>, ApiError> {
    admit(subject, access)?;
    let after = after(query)?;
    let mut text = String::new();
    json::to_line(&status(state, subject, access, after).into(), &mut text);
    text.push('\n');
    let mut response = Response::new(ResponseBody::full(Bytes::from(text)));
    response.headers_mut().insert(CONTENT_TYPE, JSON);
    Ok(response)
}

/// Refuses who may do nothing at all.
pub(crate) fn admit(subject: &Subject, access: &Access) -> Result<(), ApiError> {
    if access.read.is_nothing() && access.fire.is_nothing() && access.run.is_nothing() {
        return Err(ApiError::Forbidden(format!(
            "{subject} is not admitted; brine: {{acl: …}} names neither the user nor a group of it"
        )));
    }
    Ok(())
}

/// The position that events are counted from, if there is one.
fn after(query: &str) -> Result<Option<Position>, ApiError> {
    let given = query::parse(query, &["after"])?.pop();
    let position = given.map(|(_, position)| position.parse()).transpose();
    position.map_err(|error: ParsePositionError| ApiError::BadRequest(format!("after: {error}")))
}

fn status(state: &ApiState, subject: &Subject, access: &Access, after: Option<Position>) -> Map {
    let mut status = Map::new();
    let mut node = Map::new();
    node.insert("kind", state.node.kind);
    node.insert("id", state.node.id.as_str());
    status.insert("node", node);
    status.insert("version", state.node.version);
    status.insert("pid", i64::from(std::process::id()));
    status.insert("log", log(state, after));
    let sees_all = access.is_full || access.read == Permitted::All;
    let readers = state.readers().all();
    let visible = readers
        .iter()
        .filter(|reader| sees_all || reader.subject == *subject);
    let streams: Vec<Value> = visible.map(|reader| stream(reader, state).into()).collect();
    status.insert("streams", streams);
    if sees_all {
        let sent = state.readers().sent();
        status.insert("stream_deliveries", Value::Int(sent.into()));
        if let Some(consumers) = crate::consumers::all(state) {
            let consumers = consumers.into_iter().map(Value::from);
            status.insert("consumers", consumers.collect::<Vec<_>>());
        }
        for (name, part) in &state.status {
            status.insert(*name, part());
        }
        return status;
    }
    let patterns = access.read.patterns().into_iter().map(Value::from);
    status.insert("may_read", patterns.collect::<Vec<_>>());
    if let Some((name, part)) = state.status.iter().find(|(name, _)| *name == "attach") {
        // Whether there is a bus at all, and who serves its listeners, is for everybody to know.
        let part = part();
        let of_all = ["joined", "in_front"]
            .into_iter()
            .filter_map(|field| Some((field, part.get(field)?.clone())));
        status.insert(*name, of_all.collect::<Map>());
    }
    status
}

fn log(state: &ApiState, after: Option<Position>) -> Map {
    let stats = state.log.stats();
    let mut log = Map::new();
    let id = state.log.id();
    let last = state.log.position();
    let oldest = state.log.oldest();
    let events = state.log.count(oldest..stats.next);
    log.insert("id", id.to_string());
    log.insert(
        "oldest",
        Position {
            log: id,
            seq: oldest,
        }
        .to_string(),
    );
    log.insert("newest", last.to_string());
    log.insert("events", Value::Int(events.into()));
    log.insert("memory_bytes", number(stats.bytes));
    if let Some(after) = after {
        let from = Seq(after.seq.0.saturating_add(1));
        // Nobody knows where in this log a position of another one is.
        let count = (after.log == id).then(|| state.log.count(from..stats.next));
        let count = count.map_or(Value::Nil, |count| Value::Int(count.into()));
        log.insert("after", count);
    }
    log
}

fn stream(reader: &Reader, state: &ApiState) -> Map {
    let mut stream = Map::new();
    stream.insert("user", reader.subject.user.as_str());
    stream.insert(
        "uid",
        reader
            .subject
            .uid()
            .map_or(Value::Nil, |uid| Value::Int(uid.into())),
    );
    stream.insert(
        "pid",
        reader
            .subject
            .pid()
            .map_or(Value::Nil, |pid| Value::Int(pid.into())),
    );
    stream.insert("query", reader.query.as_str());
    stream.insert(
        "sent",
        Value::Int(reader.sent.load(Ordering::Relaxed).into()),
    );
    stream.insert("lag", Value::Int(reader.lag(&state.log).into()));
    stream
}

fn number(bytes: usize) -> Value {
    Value::Int(i128::try_from(bytes).unwrap_or(i128::MAX))
}
