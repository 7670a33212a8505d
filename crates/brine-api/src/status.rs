//! `GET /status`: what runs, how far back one can go, and who reads.

use std::sync::atomic::Ordering;

use brine_log::Position;
use brine_wire::{Map, Value, json};
use bytes::Bytes;
use hyper::Response;
use hyper::header::CONTENT_TYPE;

use crate::acl::{Access, Permitted};
use crate::body::{JSON, ResponseBody};
use crate::error::ApiError;
use crate::state::{ApiState, Reader};
use crate::subject::Subject;

/// Answers with one JSON object. Who may neither do everything nor read every event sees the log and its own
/// streams.
pub(crate) fn get(
    state: &ApiState,
    subject: &Subject,
    access: &Access,
) -> Result<Response<ResponseBody>, ApiError> {
    admit(subject, access)?;
    let mut text = String::new();
    json::to_line(&status(state, subject, access).into(), &mut text);
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

fn status(state: &ApiState, subject: &Subject, access: &Access) -> Map {
    let mut status = Map::new();
    let mut node = Map::new();
    node.insert("kind", state.node.kind);
    node.insert("id", state.node.id.as_str());
    status.insert("node", node);
    status.insert("version", state.node.version);
    status.insert("pid", i64::from(std::process::id()));
    status.insert("log", log(state));
    let sees_all = access.is_full || access.read == Permitted::All;
    let readers = state.readers().all();
    let visible = readers
        .iter()
        .filter(|reader| sees_all || reader.subject == *subject);
    let next = state.log.stats().next.0;
    let streams: Vec<Value> = visible.map(|reader| stream(reader, next).into()).collect();
    status.insert("streams", streams);
    if sees_all {
        if let Some(consumers) = crate::consumers::all(state) {
            let consumers = consumers.into_iter().map(Value::from);
            status.insert("consumers", consumers.collect::<Vec<_>>());
        }
        for (name, part) in &state.status {
            status.insert(*name, part());
        }
    }
    status
}

fn log(state: &ApiState) -> Map {
    let stats = state.log.stats();
    let mut log = Map::new();
    let id = state.log.id();
    let last = state.log.position();
    let oldest = state.log.oldest();
    let events = match &state.history {
        Some(history) => history.count(oldest..stats.next),
        None => stats.next.0.saturating_sub(oldest.0),
    };
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
    log
}

fn stream(reader: &Reader, next: u64) -> Map {
    let mut stream = Map::new();
    let at = reader.next.load(Ordering::Relaxed);
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
    // A stream that has not begun to read does not lag.
    let lag = if at == 0 { 0 } else { next.saturating_sub(at) };
    stream.insert("lag", Value::Int(lag.into()));
    stream
}

fn number(bytes: usize) -> Value {
    Value::Int(i128::try_from(bytes).unwrap_or(i128::MAX))
}
