//! Makes the rows of Salt's job cache from events: what was published, and what each minion returned. Pure.
//!
//! Salt's returners get the same from the master through other calls (`save_load`, `returner`). Here the load of a
//! job stays the one that was published: Salt's pgjsonb overwrites it with every return.

use brine_wire::{Map, Value, msgpack};

use crate::batch::Event;

/// What an event says of a job.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum JobEvent {
    /// A job was published.
    Published {
        /// Its id.
        jid: String,
        /// What was published.
        load: Map,
    },
    /// A minion returned, or a runner or wheel function ended.
    Returned(Box<Return>),
}

/// One row of `salt_returns`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Return {
    /// The job's id.
    pub(crate) jid: String,
    /// The minion's; of runners the master's.
    pub(crate) id: String,
    /// The function.
    pub(crate) fun: String,
    /// What it returned.
    pub(crate) value: Value,
    /// Whether it did well. A return that does not say so, as those of `salt-call`, is judged by its return code,
    /// where Salt stores false.
    pub(crate) is_success: bool,
    /// All of the return.
    pub(crate) full: Map,
}

impl JobEvent {
    /// What this event says; `None` if it is not of a job. `master` is the master's id.
    #[must_use]
    pub(crate) fn of(event: &Event<'_>, master: &str) -> Option<Self> {
        let tag = std::str::from_utf8(event.tag).ok()?;
        let mut parts = tag.split('/');
        let (salt, kind, jid, what) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let (id, rest) = (parts.next(), parts.next());
        if salt != "salt" || rest.is_some() {
            return None;
        }
        match (kind, what, id) {
            ("job", "new", None) => {
                let load = data(event)?;
                let jid = jid.to_owned();
                Some(Self::Published { jid, load })
            }
            ("job", "ret", Some(id)) => of_minion(jid, id, data(event)?),
            ("run" | "wheel", "ret", None) => of_runner(jid, master, data(event)?),
            _ => None,
        }
    }
}

fn data(event: &Event<'_>) -> Option<Map> {
    match msgpack::decode(event.data).ok()? {
        Value::Map(data) => Some(data),
        _ => None,
    }
}

fn of_minion(jid: &str, id: &str, full: Map) -> Option<JobEvent> {
    Some(JobEvent::Returned(Box::new(Return {
        jid: jid.to_owned(),
        id: id.to_owned(),
        fun: full.get("fun").and_then(Value::as_str)?.to_owned(),
        value: full.get("return")?.clone(),
        is_success: is_success(&full),
        full,
    })))
}

/// As Salt's runners hand it to the job cache: the whole event is what was returned.
fn of_runner(jid: &str, master: &str, data: Map) -> Option<JobEvent> {
    let fun = data.get("fun").and_then(Value::as_str)?.to_owned();
    let is_success = is_success(&data);
    let mut full = Map::new();
    for key in ["id", "tgt"] {
        full.insert(key, master);
    }
    full.insert("jid", jid);
    full.insert("fun", fun.as_str());
    for key in ["user", "success", "retcode"] {
        if let Some(value) = data.get(key) {
            full.insert(key, value.clone());
        }
    }
    full.insert("return", data.clone());
    Some(JobEvent::Returned(Box::new(Return {
        jid: jid.to_owned(),
        id: master.to_owned(),
        fun,
        value: data.into(),
        is_success,
        full,
    })))
}

fn is_success(full: &Map) -> bool {
    match (full.get("success"), full.get("retcode")) {
        (Some(Value::Bool(success)), _) => *success,
        (_, Some(Value::Int(code))) => *code == 0,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use brine_log::{LogId, Millis, Position, Seq};

    fn of(tag: &str, data: &[(&str, Value)]) -> Option<JobEvent> {
        let map: Map = data.iter().cloned().collect();
        let mut packed = Vec::new();
        msgpack::encode_map(&map, &mut packed);
        JobEvent::of(
            &Event {
                position: Position {
                    log: LogId(1),
                    seq: Seq(1),
                },
                at: Millis(0),
                tag: tag.as_bytes(),
                data: &packed,
                sender: None,
                origin: None,
            },
            "master1",
        )
    }

    fn returned(tag: &str, data: &[(&str, Value)]) -> Return {
        match of(tag, data) {
            Some(JobEvent::Returned(returned)) => *returned,
            other => panic!("expected a return, found {other:?}"),
        }
    }

    #[test]
    fn events_of_jobs_are_known_by_their_tags() {
        let fun = ("fun", "test.ping".into());
        let Some(JobEvent::Published { jid, load }) =
            of("salt/job/20260101/new", &[("user", "root".into())])
        else {
            panic!("expected a job");
        };
        assert_eq!((jid.as_str(), load.len()), ("20260101", 1));
        let ret = ("return", true.into());
        let tag = "salt/job/20260101/ret/web1";
        let one = returned(tag, &[fun.clone(), ret.clone(), ("success", true.into())]);
        assert_eq!((one.id.as_str(), one.is_success), ("web1", true));
        // salt-call says nothing but the code.
        assert!(returned(tag, &[fun.clone(), ret.clone(), ("retcode", 0.into())]).is_success);
        assert!(!returned(tag, &[fun.clone(), ret, ("retcode", 1.into())]).is_success);
        let run = returned("salt/run/20260101/ret", &[fun, ("success", true.into())]);
        assert_eq!((run.id.as_str(), run.is_success), ("master1", true));
        assert_eq!(run.full.get("id"), Some(&"master1".into()));
        for other in [
            "salt/job/20260101",
            "salt/job/1/ret/a/b",
            "x/job/1/new",
            "salt/auth",
        ] {
            assert_eq!(of(other, &[]), None, "{other}");
        }
    }
}
