//! The forms of the network's event streams: Salt's server-sent events, the lines of the local socket, and the
//! messages of Salt's WebSockets. The output is text without a socket's framing.
//!
//! A record never contains an unintended line end: tags are cleaned where they appear bare, and everything else of an
//! event is JSON. Facts: `docs/api-streams.md`.

use brine_bus::join::GAP;
use brine_log::{Gap, LogId, Position, Seq, StoredEvent};
use brine_wire::envelope::TAG_END;
use brine_wire::network::events::KEY;
use brine_wire::{Value, json, msgpack};

use crate::events::form;

/// What begins a stream of server-sent events: how long, in milliseconds, a client waits before it
/// connects again. Salt's bytes; the line belongs to the first record.
pub(crate) const RETRY: &str = "retry: 400\n";

/// The release in whose form events are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum EventsOf {
    /// The bus's: as they were fired.
    #[default]
    Bus,
    /// One before 3008: no zone in `_stamp`, and the words of its `salt/key` events.
    Before3008,
}

impl EventsOf {
    /// Data that were fired under `tag`, in the form of this release.
    pub(crate) fn rewrite(self, tag: &str, data: &mut Value) {
        let (Self::Before3008, Value::Map(data)) = (self, data) else {
            return;
        };
        let stamp = data.get("_stamp").and_then(Value::as_str);
        if let Some(naive) = stamp.and_then(|stamp| stamp.strip_suffix("+00:00")) {
            let naive = naive.to_owned();
            data.insert("_stamp", naive);
        }
        let act = data.get("act").and_then(Value::as_str);
        let act = match act.filter(|_| tag == KEY) {
            Some("accepted") => "accept",
            Some("rejected") => "reject",
            _ => return,
        };
        data.insert("act", act);
    }
}

/// What reads a stream of server-sent events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reader {
    /// An `EventSource`: it keeps an `id:` once a blank line follows, and hands out nothing without data.
    Browser,
    /// Some libraries would hand out an event without data at that blank line.
    Other,
}

/// A form of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// Salt's server-sent events, with an `id:` line in each.
    ServerSent(EventsOf),
    /// The lines of the local socket.
    Lines,
    /// One JSON object `{"data": …, "tag": …}` per line: what WebSockets send, one line each.
    Messages(EventsOf),
}

impl Form {
    /// Appends what begins a stream. One of events that are still to come says where it begins, so that a client that is cut
    /// off before the first one misses nothing.
    pub(crate) fn preface(self, begins_after: Option<Position>, reader: Reader, out: &mut Vec<u8>) {
        match self {
            Self::ServerSent(_) => {
                out.extend_from_slice(RETRY.as_bytes());
                if let Some(position) = begins_after {
                    let end = match reader {
                        Reader::Browser => "\n\n",
                        Reader::Other => "\n",
                    };
                    out.extend_from_slice(format!("id: {position}{end}").as_bytes());
                }
            }
            Self::Lines => {
                begins_after.inspect(|position| self.heartbeat(*position, out));
            }
            Self::Messages(_) => {}
        }
    }

    /// Appends an event.
    pub(crate) fn event(self, log: LogId, event: &StoredEvent<'_>, out: &mut Vec<u8>) {
        match self {
            Self::Lines => form::Form::Lines.event(log, event, out),
            Self::ServerSent(events_of) => {
                let (tag, data) = split(event);
                let id = Position {
                    log,
                    seq: event.seq,
                };
                let text = server_sent(&tag, id, &object(data, &tag, events_of));
                out.extend_from_slice(text.as_bytes());
            }
            Self::Messages(events_of) => {
                let (tag, data) = split(event);
                out.extend_from_slice(object(data, &tag, events_of).as_bytes());
                out.push(b'\n');
            }
        }
    }

    /// Appends what says that events are missing.
    pub(crate) fn gap(self, gap: &Gap, out: &mut Vec<u8>) {
        if self == Self::Lines {
            return form::Form::Lines.gap(gap, out);
        }
        let data = form::gap_fields(gap);
        let object = format!("{{\"data\": {data}, \"tag\": \"{GAP}\"}}");
        let text = match self {
            Self::ServerSent(_) => server_sent(GAP, form::before(gap.to), &object),
            Self::Lines | Self::Messages(_) => format!("{object}\n"),
        };
        out.extend_from_slice(text.as_bytes());
    }

    /// Appends what shows that the stream lives, and how far it is.
    pub(crate) fn heartbeat(self, position: Position, out: &mut Vec<u8>) {
        match self {
            // A comment alone. A blank line after it would end a record, and some readers then hand
            // out an event without data.
            Self::ServerSent(_) => {
                out.extend_from_slice(format!(": heartbeat {position}\n").as_bytes());
            }
            Self::Lines => form::Form::Lines.heartbeat(position, out),
            // An empty line becomes a ping frame.
            Self::Messages(_) => out.push(b'\n'),
        }
    }
}

/// Tag and packed data of an event. The bus has checked that the tag is UTF-8.
fn split<'a>(event: &StoredEvent<'a>) -> (std::borrow::Cow<'a, str>, &'a [u8]) {
    let (tag, rest) = event.event.split_at(event.tag_bytes.min(event.event.len()));
    let data = rest.get(TAG_END.len()..).unwrap_or_default();
    (String::from_utf8_lossy(tag), data)
}

/// A record: Salt's two lines with `id:` between them. Gaps have a different event name, so that `EventSource` can
/// tell them from events.
fn server_sent(tag: &str, id: Position, object: &str) -> String {
    let name = if tag == GAP { "event: gap\n" } else { "" };
    let tag = one_line(tag);
    format!("{name}tag: {tag}\nid: {id}\ndata: {object}\n\n")
}

/// A tag cleaned for use in a line; the exact one is in the JSON.
fn one_line(tag: &str) -> std::borrow::Cow<'_, str> {
    if tag.contains(['\n', '\r']) {
        tag.replace(['\n', '\r'], " ").into()
    } else {
        tag.into()
    }
}

/// `{"data": {…}, "tag": "my/tag"}`, as Salt's `json.dumps` writes it; bytes are text if they are
/// UTF-8, else base64.
fn object(data: &[u8], tag: &str, events_of: EventsOf) -> String {
    // The bus checks only the first values of large data; what is malformed behind them is shown as
    // the bytes it is.
    let mut data = msgpack::decode(data).unwrap_or_else(|_| Value::Bin(data.to_vec()));
    events_of.rewrite(tag, &mut data);
    let mut text = String::from("{\"data\": ");
    json::to_line(&data, &mut text);
    text.push_str(", \"tag\": ");
    json::to_line(&tag.into(), &mut text);
    text.push('}');
    text
}

/// The position of a reader whose next event is `next`.
pub(crate) const fn before(log: LogId, next: Seq) -> Position {
    Position {
        log,
        seq: Seq(next.0.saturating_sub(1)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use brine_log::Millis;

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

    fn event(tag: &str, data: &str) -> Vec<u8> {
        let mut bytes = tag.as_bytes().to_vec();
        bytes.extend_from_slice(TAG_END);
        msgpack::encode(&json::parse(data.as_bytes()).unwrap(), &mut bytes);
        bytes
    }

    #[test]
    fn records_are_salts_with_an_id() {
        let event = event(
            "my/tag",
            r#"{"b": 1, "a": "é", "_stamp": "2026-11-23T21:12:11.666535+00:00"}"#,
        );
        assert_eq!(
            written(Form::ServerSent(EventsOf::Bus), &event, 6),
            "tag: my/tag\nid: 7f3a-42\ndata: {\"data\": {\"b\": 1, \"a\": \"é\", \
             \"_stamp\": \"2026-11-23T21:12:11.666535+00:00\"}, \"tag\": \"my/tag\"}\n\n"
        );
        assert_eq!(
            written(Form::Messages(EventsOf::Before3008), &event, 6),
            "{\"data\": {\"b\": 1, \"a\": \"é\", \"_stamp\": \"2026-11-23T21:12:11.666535\"}, \
             \"tag\": \"my/tag\"}\n"
        );
    }

    /// SaltGUI shows keys by these words.
    #[test]
    fn events_of_keys_have_the_words_of_releases_before_3008() {
        let of = |tag: &str, act: &str| {
            let event = event(tag, &format!(r#"{{"act": "{act}"}}"#));
            written(Form::Messages(EventsOf::Before3008), &event, tag.len())
        };
        for (act, before_3008) in [
            ("accepted", "accept"),
            ("rejected", "reject"),
            ("delete", "delete"),
        ] {
            let expected =
                format!("{{\"data\": {{\"act\": \"{before_3008}\"}}, \"tag\": \"salt/key\"}}\n");
            assert_eq!(of("salt/key", act), expected);
        }
        assert!(of("my/key", "accepted").contains("accepted"));
    }

    #[test]
    fn neither_bytes_nor_a_tags_line_ends_break_a_record() {
        let sse = written(
            Form::ServerSent(EventsOf::Bus),
            b"a\nid: 7\r\n\n\x82\xa1b\xc4\x01\xff\xa1t\xc4\x01t",
            8,
        );
        assert_eq!(
            sse,
            "tag: a id: 7 \nid: 7f3a-42\ndata: {\"data\": {\"b\": \"/w==\", \"t\": \"t\"}, \
             \"tag\": \"a\\nid: 7\\r\"}\n\n"
        );
        let malformed = written(Form::Messages(EventsOf::Bus), b"t\n\n\x81\xc1", 1);
        assert_eq!(malformed.matches('\n').count(), 1, "{malformed}");
    }

    #[test]
    fn a_gap_is_an_event_of_its_own_name() {
        let at = |log, seq| Position { log, seq: Seq(seq) };
        let gap = Gap {
            from: at(LOG, 43),
            to: at(LOG, 100),
            reason: None,
            unused: 0,
        };
        let written = |form: Form| {
            let mut out = Vec::new();
            form.gap(&gap, &mut out);
            String::from_utf8(out).unwrap()
        };
        let data = r#"{"from": "7f3a-42", "to": "7f3a-99", "missed": 57, "reason": null}"#;
        assert_eq!(
            written(Form::ServerSent(EventsOf::Bus)),
            format!(
                "event: gap\ntag: brine/gap\nid: 7f3a-99\ndata: {{\"data\": {data}, \"tag\": \"brine/gap\"}}\n\n"
            )
        );
        assert_eq!(
            written(Form::Messages(EventsOf::Bus)),
            format!("{{\"data\": {data}, \"tag\": \"brine/gap\"}}\n")
        );
        assert_eq!(written(Form::Lines), format!("{{\"gap\": {data}}}\n"));
    }
}
