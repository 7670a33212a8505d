//! A minion's reply to a job: its return, or Salt's text about a missing one. Facts: Salt 3008.3 and 3006.28, by
//! running them.

use brine_wire::{Map, Value};

/// A minion's reply to a job, or the lack of one.
#[derive(Debug, Clone, PartialEq)]
pub struct MinionReply {
    /// The minion.
    pub id: String,
    /// The return value, or a text about why it is missing.
    pub ret: Value,
    /// The outputter that suits the value.
    pub out: Option<String>,
    /// The exit code; of several functions the largest.
    pub retcode: i64,
    /// Whether the minion returned.
    pub kind: ReplyKind,
}

/// Whether a minion returned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplyKind {
    /// It did.
    Returned,
    /// It is not connected to the master.
    NotConnected,
    /// It did not return in time.
    NoResponse,
}

impl MinionReply {
    /// A return, from the data of its event.
    #[must_use]
    pub fn returned(id: &str, data: &Map) -> Self {
        let value = data.get("ret").or(data.get("return"));
        Self {
            id: id.to_owned(),
            ret: value.cloned().unwrap_or(Value::Nil),
            out: data.get("out").and_then(Value::as_str).map(str::to_owned),
            retcode: retcode(data),
            kind: ReplyKind::Returned,
        }
    }

    /// A minion that is not connected to the master.
    #[must_use]
    pub fn not_connected(id: &str) -> Self {
        Self {
            id: id.to_owned(),
            ret: "Minion did not return. [Not connected]".into(),
            out: Some("no_return".to_owned()),
            retcode: 1,
            kind: ReplyKind::NotConnected,
        }
    }

    /// A minion that did not return in time.
    #[must_use]
    pub fn no_response(id: &str, jid: &str) -> Self {
        Self {
            ret: format!(
                "Minion did not return. [No response]\n\
                 The minions may not have all finished running and any remaining minions will \
                 return upon completion. To look up the return data for this job later, run the \
                 following command:\n\nsalt-run jobs.lookup_jid {jid}"
            )
            .into(),
            kind: ReplyKind::NoResponse,
            ..Self::not_connected(id)
        }
    }
}

fn retcode(data: &Map) -> i64 {
    let number = |value: &Value| value.as_int().and_then(|code| i64::try_from(code).ok());
    match data.get("retcode") {
        Some(Value::Map(codes)) => codes
            .iter()
            .filter_map(|(_, code)| number(code))
            .max()
            .unwrap_or_default(),
        Some(code) => number(code).unwrap_or_default(),
        None => 0,
    }
}
