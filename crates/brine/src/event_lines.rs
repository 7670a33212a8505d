//! Reads events back from lines of JSON, as `GET /events`, `brine watch --json --seq`, `brine history` and `brine log
//! export` write them. Knows no sockets and no files.

use brine_log::{Millis, Position};
use brine_wire::{Map, Value, json};

use crate::clock;

/// What a line says.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Line {
    /// An event, and as much of its place as the line has.
    Event {
        tag: String,
        data: Map,
        seq: Option<u64>,
        position: Option<Position>,
        /// When it arrived, or else when it was fired.
        at: Option<Millis>,
        /// The minion whose key it came with.
        sender: Option<String>,
    },
    /// Events that are missing.
    Gap {
        from: Position,
        to: Position,
        missed: Option<u64>,
        reason: Option<String>,
    },
    /// Nothing new up to here.
    Heartbeat(Position),
}

/// The content of a line; `None` if it is not such a line. Unknown keys are ignored.
pub(crate) fn parse(line: &[u8]) -> Option<Line> {
    let Ok(Value::Map(mut fields)) = json::parse(line) else {
        return None;
    };
    if let Some(Value::Map(gap)) = fields.get("gap") {
        return Some(Line::Gap {
            from: position(gap, "from")?,
            to: position(gap, "to")?,
            missed: number(gap, "missed"),
            reason: text(gap, "reason").map(str::to_owned),
        });
    }
    if let Some(Value::Map(heartbeat)) = fields.get("heartbeat") {
        return position(heartbeat, "position").map(Line::Heartbeat);
    }
    let Some(Value::Str(tag)) = fields.remove("tag") else {
        return None;
    };
    let data = match fields.remove("data") {
        Some(Value::Map(data)) => data,
        None => Map::new(),
        Some(_) => return None,
    };
    let times = [text(&fields, "time"), text(&data, "_stamp")];
    let time = times.into_iter().flatten().find_map(clock::stamp);
    Some(Line::Event {
        seq: number(&fields, "seq"),
        position: position(&fields, "position"),
        at: time.map(|time| Millis(u64::try_from(time.as_millisecond()).unwrap_or_default())),
        sender: text(&fields, "sender").map(str::to_owned),
        tag,
        data,
    })
}

fn text<'a>(fields: &'a Map, name: &str) -> Option<&'a str> {
    fields.get(name).and_then(Value::as_str)
}

fn number(fields: &Map, name: &str) -> Option<u64> {
    match fields.get(name) {
        Some(Value::Int(number)) => u64::try_from(*number).ok(),
        _ => None,
    }
}

fn position(fields: &Map, name: &str) -> Option<Position> {
    text(fields, name)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_every_writer_are_read() {
        let of_the_api = br#"{"seq": 42, "position": "7f3a-42", "time": "2026-11-29T08:01:00.123000Z", "tag": "my/tag", "sender": "web1", "origin": "m2", "data": {"b": {"$bytes": "/w=="}}}"#;
        let Some(Line::Event {
            tag,
            data,
            seq,
            position,
            at,
            sender,
        }) = parse(of_the_api)
        else {
            panic!("no event");
        };
        assert_eq!((tag.as_str(), seq), ("my/tag", Some(42)));
        assert_eq!(position.unwrap().to_string(), "7f3a-42");
        assert_eq!(at, Some(Millis(1_795_939_260_123)));
        assert_eq!(sender.as_deref(), Some("web1"));
        assert_eq!(data.get("b"), Some(&Value::Bin(vec![0xff])));

        let of_watch = br#"{"tag": "t", "data": {"_stamp": "2026-11-29T08:01:00.123000+00:00"}}"#;
        assert!(matches!(
            parse(of_watch),
            Some(Line::Event {
                at: Some(Millis(1_795_939_260_123)),
                seq: None,
                ..
            })
        ));
        let gap = br#"{"gap": {"from": "7f3a-42", "to": "7f3a-99", "missed": 57, "reason": null}}"#;
        assert!(matches!(
            parse(gap),
            Some(Line::Gap {
                missed: Some(57),
                reason: None,
                ..
            })
        ));
        let heartbeat = br#"{"heartbeat": {"position": "7f3a-42"}}"#;
        assert!(matches!(parse(heartbeat), Some(Line::Heartbeat(_))));
        for line in [&b"{"[..], b"[]", b"{}", br#"{"tag": "t", "data": 1}"#] {
            assert_eq!(parse(line), None);
        }
    }
}
