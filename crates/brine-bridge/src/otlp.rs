//! OpenTelemetry logs: OTLP over HTTP, in JSON. An event is a log record; its data is the record's body.
//!
//! The format is the protocol's own (opentelemetry-proto's `ExportLogsServiceRequest` in protobuf's JSON, 64-bit
//! numbers as text), which collectors accept at the same address as protobuf. We use no crate: the existing ones
//! bring an SDK with its own queue, which drops what does not fit, and do not report rejected records.

use std::fmt::Write as _;

use brine_log::{LogId, Position};
use brine_wire::{Map, Value, json, msgpack};
use hyper::Request;

use crate::batch::{Batch, Event};
use crate::http::{BadHttp, HttpOptions, Poster};
use crate::sink::{Sink, SinkError};

/// Where records go, and whose they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OtlpOptions {
    /// Where: the whole address, `/v1/logs` included.
    pub http: HttpOptions,
    /// What `service.name` says.
    pub service: String,
    /// The id of the master, `service.instance.id`.
    pub master_id: String,
}

/// Events into whatever takes OTLP.
pub struct OtlpSink {
    options: OtlpOptions,
    poster: Poster,
}

/// The protocol's numbers of severity.
const INFO: (u8, &str) = (9, "INFO");
const ERROR: (u8, &str) = (17, "ERROR");

impl OtlpSink {
    /// A sink that is not connected yet.
    ///
    /// # Errors
    /// [`BadHttp`] names the option that cannot be used.
    pub fn new(options: OtlpOptions) -> Result<Self, BadHttp> {
        let poster = Poster::new(&options.http)?;
        Ok(Self { options, poster })
    }

    fn request(&self, batch: &Batch<'_>) -> Result<Request<String>, SinkError> {
        let request = self.poster.request("application/json");
        let body = body(&self.options, batch);
        request.body(body).map_err(SinkError::refused)
    }
}

impl Sink for OtlpSink {
    async fn begin(&mut self, _log: LogId) -> Result<Option<Position>, SinkError> {
        Ok(None)
    }

    async fn deliver(&mut self, batch: &Batch<'_>) -> Result<usize, SinkError> {
        let said = self.poster.send(self.request(batch)?).await?;
        match rejected(&said) {
            // The answer does not say which ones: the batch is halved until that is known.
            Some(why) => Err(SinkError::refused(self.poster.said(&why))),
            None => Ok(batch.len()),
        }
    }
}

/// What the answer says of records that were not taken.
fn rejected(said: &str) -> Option<String> {
    let answer = json::parse(said.as_bytes()).ok()?;
    let partial = answer.as_map()?.get("partialSuccess")?.as_map()?;
    let count = match partial.get("rejectedLogRecords")? {
        Value::Str(count) => count.clone(),
        count => count.as_int()?.to_string(),
    };
    let why = partial.get("errorMessage").and_then(Value::as_str);
    let why = why.unwrap_or("nothing more is said");
    (count != "0").then(|| format!("{count} log records rejected: {why}"))
}

fn body(options: &OtlpOptions, batch: &Batch<'_>) -> String {
    let mut out = String::from("{\"resourceLogs\":[{\"resource\":{\"attributes\":[");
    attribute("service.name", &options.service, &mut out);
    out.push(',');
    attribute("service.instance.id", &options.master_id, &mut out);
    out.push_str("]},\"scopeLogs\":[{\"scope\":{\"name\":\"brine\",\"version\":\"");
    out.push_str(env!("CARGO_PKG_VERSION"));
    out.push_str("\"},\"logRecords\":[");
    for (nth, event) in batch.events().enumerate() {
        if nth > 0 {
            out.push(',');
        }
        record(&event, &mut out);
    }
    out.push_str("]}]}]}");
    out
}

fn record(event: &Event<'_>, out: &mut String) {
    let data = msgpack::decode(event.data);
    let data = data.unwrap_or_else(|_| Value::Bin(event.data.to_vec()));
    let (number, name) = severity(&data);
    let nanoseconds = u128::from(event.at.0) * 1_000_000;
    // Into memory.
    let _ = write!(
        out,
        "{{\"timeUnixNano\":\"{nanoseconds}\",\"observedTimeUnixNano\":\"{nanoseconds}\",\
         \"severityNumber\":{number},\"severityText\":\"{name}\",\"body\":"
    );
    any(&data, out);
    out.push_str(",\"attributes\":[");
    attribute("salt.tag", &event.tag_text(), out);
    out.push(',');
    attribute("brine.position", &event.position.to_string(), out);
    if let Some(sender) = event.sender {
        out.push(',');
        attribute("salt.minion", sender, out);
    }
    if let Some(origin) = event.origin {
        out.push(',');
        attribute("salt.master", origin.master(), out);
    }
    out.push_str("]}");
}

/// A return that says that it failed is an error.
fn severity(data: &Value) -> (u8, &'static str) {
    let field = |name| data.as_map().and_then(|data: &Map| data.get(name));
    let has_failed = match (field("success"), field("retcode")) {
        (Some(Value::Bool(false)), _) => true,
        (_, Some(Value::Int(code))) => *code != 0,
        _ => false,
    };
    if has_failed { ERROR } else { INFO }
}

fn attribute(key: &str, value: &str, out: &mut String) {
    out.push_str("{\"key\":");
    quoted(key, out);
    out.push_str(",\"value\":{\"stringValue\":");
    quoted(value, out);
    out.push_str("}}");
}

/// A value as the protocol's `AnyValue`, as far as all receivers read it: some accept no value without a type, and no
/// number that is not finite.
fn any(value: &Value, out: &mut String) {
    match value {
        Value::Nil => string("", out),
        Value::Bool(flag) => {
            let _ = write!(out, "{{\"boolValue\":{flag}}}");
        }
        Value::Int(number) => match i64::try_from(*number) {
            Ok(number) => {
                let _ = write!(out, "{{\"intValue\":\"{number}\"}}");
            }
            // The protocol has none so large.
            Err(_) => {
                let _ = write!(out, "{{\"stringValue\":\"{number}\"}}");
            }
        },
        Value::Float(number) if number.is_finite() => {
            let _ = write!(out, "{{\"doubleValue\":{number:?}}}");
        }
        Value::Float(number) => {
            let name = match (number.is_nan(), *number > 0.0) {
                (true, _) => "NaN",
                (false, true) => "Infinity",
                (false, false) => "-Infinity",
            };
            string(name, out);
        }
        Value::Str(text) => string(text, out),
        Value::Bin(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => string(text, out),
            Err(_) => self::bytes(bytes, out),
        },
        Value::Ext(_, bytes) => self::bytes(bytes, out),
        Value::Array(items) => {
            out.push_str("{\"arrayValue\":{\"values\":[");
            for (nth, item) in items.iter().enumerate() {
                if nth > 0 {
                    out.push(',');
                }
                any(item, out);
            }
            out.push_str("]}}");
        }
        Value::Map(map) => {
            out.push_str("{\"kvlistValue\":{\"values\":[");
            // One that has no value is not there.
            let members = map.iter().filter(|(_, value)| *value != Value::Nil);
            for (nth, (key, value)) in members.enumerate() {
                if nth > 0 {
                    out.push(',');
                }
                out.push_str("{\"key\":");
                match key {
                    Value::Str(key) => quoted(key, out),
                    // Numbers and the like, as JSON writes keys.
                    other => {
                        let mut text = String::new();
                        json::to_exact_line(other, &mut text);
                        quoted(&text, out);
                    }
                }
                out.push_str(",\"value\":");
                any(value, out);
                out.push('}');
            }
            out.push_str("]}}");
        }
    }
}

fn string(text: &str, out: &mut String) {
    out.push_str("{\"stringValue\":");
    quoted(text, out);
    out.push('}');
}

fn bytes(bytes: &[u8], out: &mut String) {
    // As every JSON of ours writes bytes: `{"$bytes": "<base64>"}`.
    let mut shown = String::new();
    json::to_exact_line(&Value::Bin(bytes.to_vec()), &mut shown);
    let base64 = shown.rsplit('"').nth(1).unwrap_or_default();
    let _ = write!(out, "{{\"bytesValue\":\"{base64}\"}}");
}

fn quoted(text: &str, out: &mut String) {
    let mut quoted = Vec::with_capacity(text.len() + 2);
    json::quote(text, &mut quoted);
    out.push_str(&String::from_utf8_lossy(&quoted));
}

impl std::fmt::Debug for OtlpSink {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("OtlpSink")
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(value: impl Into<Value>) -> String {
        let mut out = String::new();
        any(&value.into(), &mut out);
        out
    }

    #[test]
    fn values_are_the_protocols() {
        assert_eq!(shown(true), "{\"boolValue\":true}");
        assert_eq!(shown(-7), "{\"intValue\":\"-7\"}");
        assert_eq!(
            shown(Value::Int(i128::from(u64::MAX))),
            "{\"stringValue\":\"18446744073709551615\"}"
        );
        assert_eq!(shown(1.0), "{\"doubleValue\":1.0}");
        assert_eq!(shown(f64::NEG_INFINITY), "{\"stringValue\":\"-Infinity\"}");
        assert_eq!(shown("a\"\n"), "{\"stringValue\":\"a\\\"\\n\"}");
        assert_eq!(
            shown(Value::Bin(b"text".to_vec())),
            "{\"stringValue\":\"text\"}"
        );
        assert_eq!(
            shown(Value::Bin(b"\xff\xfe".to_vec())),
            "{\"bytesValue\":\"//4=\"}"
        );
        let map = Map::from_pairs(vec![
            ("x".into(), Value::Nil),
            (1.into(), Value::Array(vec![2.into(), "x".into()])),
        ]);
        assert_eq!(
            shown(map),
            "{\"kvlistValue\":{\"values\":[{\"key\":\"1\",\"value\":{\"arrayValue\":{\"values\":[\
             {\"intValue\":\"2\"},{\"stringValue\":\"x\"}]}}}]}}"
        );
    }

    #[test]
    fn failures_are_errors() {
        let of = |pairs: &[(&str, Value)]| severity(&pairs.iter().cloned().collect::<Map>().into());
        assert_eq!(of(&[("success", true.into()), ("retcode", 0.into())]), INFO);
        assert_eq!(of(&[("success", false.into())]), ERROR);
        assert_eq!(
            of(&[("success", true.into()), ("retcode", 2.into())]),
            ERROR
        );
        assert_eq!(of(&[("n", 1.into())]), INFO);
    }

    #[test]
    fn records_that_were_rejected_are_noticed() {
        assert_eq!(rejected(""), None);
        assert_eq!(rejected("{\"partialSuccess\":{}}"), None);
        assert_eq!(
            rejected("{\"partialSuccess\":{\"rejectedLogRecords\":\"0\"}}"),
            None
        );
        let said =
            "{\"partialSuccess\":{\"rejectedLogRecords\":\"2\",\"errorMessage\":\"too old\"}}";
        assert_eq!(
            rejected(said).as_deref(),
            Some("2 log records rejected: too old")
        );
    }
}
