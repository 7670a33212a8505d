//! The forms in which a stream of events is written: JSON lines, server-sent events, exact records.
//!
//! Every string that comes from an event is JSON here, so that none can end a line or a field.

use brine_log::{Gap, LogId, Position, Seq, StoredEvent};
use brine_wire::envelope::TAG_END;
use brine_wire::record::Record;
use brine_wire::stamp::{self, StampStyle};
use brine_wire::{Value, decimal, json};
use hyper::header::HeaderValue;
use std::io::Write;
use std::time::Duration;

/// A form of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// One JSON object per line.
    Lines,
    /// Server-sent events.
    Sse,
    /// [`Record`]s.
    Records,
}

impl Form {
    /// The form that an `Accept` header asks for; lines for a header that does not care. `None` if
    /// it accepts none of them.
    pub(crate) fn accepted(accept: Option<&str>) -> Option<Self> {
        let Some(accept) = accept else {
            return Some(Self::Lines);
        };
        let types = accept.split(',').map(|one| {
            let name = one.split(';').next().unwrap_or_default();
            name.trim().to_ascii_lowercase()
        });
        types.into_iter().find_map(|name| match name.as_str() {
            "text/event-stream" => Some(Self::Sse),
            "application/x-msgpack" | "application/msgpack" => Some(Self::Records),
            "application/x-ndjson" | "application/json" | "application/*" | "*/*" => {
                Some(Self::Lines)
            }
            _ => None,
        })
    }

    pub(crate) const fn content_type(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::Lines => "application/x-ndjson",
            Self::Sse => "text/event-stream; charset=utf-8",
            Self::Records => "application/x-msgpack",
        })
    }

    /// What begins a stream.
    pub(crate) fn begin(self, log: LogId, out: &mut Vec<u8>) {
        match self {
            Self::Lines => {}
            // Clients that reconnect by themselves wait this long, in milliseconds.
            Self::Sse => out.extend_from_slice(b"retry: 1000\n\n"),
            Self::Records => Record::Log { log: log.0 }.encode(out),
        }
    }

    /// An event.
    pub(crate) fn event(self, log: LogId, event: &StoredEvent<'_>, out: &mut Vec<u8>) {
        let position = Position {
            log,
            seq: event.seq,
        };
        match self {
            Self::Lines => {
                object(position, event, out);
                out.push(b'\n');
            }
            Self::Sse => {
                append(out, &format!("id: {position}\ndata: "));
                object(position, event, out);
                out.extend_from_slice(b"\n\n");
            }
            Self::Records => Record::Event {
                sequence: event.seq.0,
                at: event.at.0,
                event: event.event,
                sender: event.sender,
            }
            .encode(out),
        }
    }

    /// Events the reader cannot have.
    pub(crate) fn gap(self, gap: &Gap, out: &mut Vec<u8>) {
        // Positions are the last event read, and the last one missing.
        let (from, to) = (before(gap.from), before(gap.to));
        let missed = gap.missed();
        if self == Self::Records {
            return Record::Gap {
                from: (from.log.0, from.seq.0),
                to: (to.log.0, to.seq.0),
                missed,
                reason: gap.reason.map(|reason| reason.to_string()),
            }
            .encode(out);
        }
        let fields = gap_fields(gap);
        append(
            out,
            &match self {
                Self::Sse => format!("id: {to}\nevent: gap\ndata: {fields}\n\n"),
                _ => format!("{{\"gap\": {fields}}}\n"),
            },
        );
    }

    /// Nothing new, and how far the reader is.
    pub(crate) fn heartbeat(self, position: Position, out: &mut Vec<u8>) {
        match self {
            Self::Lines => append(
                out,
                &format!("{{\"heartbeat\": {{\"position\": \"{position}\"}}}}\n"),
            ),
            Self::Sse => append(out, &format!(": heartbeat {position}\n\n")),
            Self::Records => Record::Heartbeat {
                sequence: position.seq.0,
            }
            .encode(out),
        }
    }
}

/// What is missing, as a JSON object. `missed` is `null` where nobody knows.
pub(crate) fn gap_fields(gap: &Gap) -> String {
    let (from, to) = (before(gap.from), before(gap.to));
    let missed = gap.missed();
    let missed = missed.map_or_else(|| "null".to_owned(), |missed| missed.to_string());
    let reason = gap
        .reason
        .map_or("null".to_owned(), |reason| format!("\"{reason}\""));
    format!(
        "{{\"from\": \"{from}\", \"to\": \"{to}\", \"missed\": {missed}, \"reason\": {reason}}}"
    )
}

/// The position of a reader that will read `next` next.
pub(crate) const fn before(next: Position) -> Position {
    Position {
        log: next.log,
        seq: Seq(next.seq.0.saturating_sub(1)),
    }
}

fn append(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(text.as_bytes());
}

/// `{"seq": 42, "position": "7f3a-42", "time": "…", "tag": "my/tag", "data": {…}}`.
fn object(position: Position, event: &StoredEvent<'_>, out: &mut Vec<u8>) {
    let (tag, rest) = event.event.split_at(event.tag_bytes.min(event.event.len()));
    let data = rest.get(TAG_END.len()..).unwrap_or_default();
    append(out, "{\"seq\": ");
    decimal::unsigned(event.seq.0, out);
    append(out, ", \"position\": \"");
    position.append(out);
    append(out, "\", \"time\": \"");
    stamp::append(Duration::from_millis(event.at.0), StampStyle::Naive, out);
    append(out, "Z\", \"tag\": ");
    json::quote_lossy(tag, out);
    if let Some(sender) = event.sender {
        append(out, ", \"sender\": ");
        json::quote(sender, out);
    }
    if let Some(origin) = event.origin {
        append(out, ", \"origin\": ");
        json::quote(origin.master(), out);
        append(out, ", \"origin_position\": \"");
        let _ = write!(out, "{}\"", origin.position());
    }
    append(out, ", \"data\": ");
    if json::packed_to_exact_line(data, out).is_err() {
        // The bus checks only the first values of large data; what is malformed behind them is
        // shown as the bytes it is.
        let mut text = String::new();
        json::to_exact_line(&Value::Bin(data.to_vec()), &mut text);
        append(out, &text);
    }
    out.push(b'}');
}

#[cfg(test)]
mod tests {
    use super::*;
    use brine_log::{GapReason, Millis};

    const LOG: LogId = LogId(0x7f3a);

    fn written(form: Form, event: &[u8], tag_bytes: usize) -> String {
        let event = StoredEvent {
            seq: Seq(42),
            at: Millis(1_795_939_260_123),
            event,
            tag_bytes,
            sender: None,
            origin: None,
        };
        let mut out = Vec::new();
        form.event(LOG, &event, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn an_event_is_one_line_whatever_its_tag_holds() {
        assert_eq!(
            written(Form::Lines, b"my/tag\n\n\x81\xa1b\xc4\x01\xff", 6),
            "{\"seq\": 42, \"position\": \"7f3a-42\", \"time\": \"2026-11-29T08:01:00.123000Z\", \
             \"tag\": \"my/tag\", \"data\": {\"b\": {\"$bytes\": \"/w==\"}}}\n"
        );
        let sse = written(Form::Sse, b"a\nid: 7\r\n\n\x80", 8);
        assert!(sse.starts_with("id: 7f3a-42\ndata: {"), "{sse}");
        assert!(
            sse.contains(r#""tag": "a\nid: 7\r""#) && sse.ends_with("}\n\n"),
            "{sse}"
        );
        assert_eq!(sse.matches('\n').count(), 3);
        assert!(written(Form::Lines, b"t\n\n\x81\xc1", 1).contains("$bytes"));
    }

    #[test]
    fn gaps_and_heartbeats() {
        let at = |log, seq| Position { log, seq: Seq(seq) };
        let written = |write: &dyn Fn(&mut Vec<u8>)| {
            let mut out = Vec::new();
            write(&mut out);
            String::from_utf8(out).unwrap()
        };
        let gap = Gap {
            from: at(LOG, 43),
            to: at(LOG, 100),
            reason: Some(GapReason::Overrun),
            unused: 0,
        };
        assert_eq!(
            written(&|out| Form::Lines.gap(&gap, out)),
            "{\"gap\": {\"from\": \"7f3a-42\", \"to\": \"7f3a-99\", \"missed\": 57, \"reason\": \"overrun\"}}\n"
        );
        let foreign = Gap {
            from: at(LogId(1), 43),
            to: at(LOG, 1),
            reason: None,
            unused: 0,
        };
        assert_eq!(
            written(&|out| Form::Sse.gap(&foreign, out)),
            "id: 7f3a-0\nevent: gap\ndata: {\"from\": \"1-42\", \"to\": \"7f3a-0\", \"missed\": null, \"reason\": null}\n\n"
        );
        assert_eq!(
            written(&|out| Form::Lines.heartbeat(at(LOG, 42), out)),
            "{\"heartbeat\": {\"position\": \"7f3a-42\"}}\n"
        );
    }

    #[test]
    fn the_form_is_what_the_client_accepts() {
        for (accept, form) in [
            (None, Some(Form::Lines)),
            (Some("*/*"), Some(Form::Lines)),
            (Some("text/event-stream"), Some(Form::Sse)),
            (Some("text/html, Text/Event-Stream;q=0.5"), Some(Form::Sse)),
            (Some("application/x-msgpack"), Some(Form::Records)),
            (Some("text/html"), None),
        ] {
            assert_eq!(Form::accepted(accept), form, "{accept:?}");
        }
    }
}
