//! The load of an encrypted request: the fields every request has, and how they are checked.
//!
//! Whether `tok` is the minion's signature is `brine-net`'s to check. Facts:
//! `docs/protocol/network.md` §3, §4.5.

use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use super::{MinionId, Nonce, field, payload};
use crate::msgpack;
use crate::value::{Map, Value};

/// A decrypted load, taken apart.
#[derive(Debug, Clone, PartialEq)]
pub struct Load {
    /// Which request it is; `None` if it names none.
    pub cmd: Option<String>,
    /// The signature that proves the key. `None` below version 3.
    pub tok: Option<Vec<u8>>,
    /// What the reply must carry.
    pub nonce: Option<Nonce>,
    /// When it was sent, in seconds since the UNIX epoch.
    pub ts: Option<i64>,
    /// All its fields without `tok` and `nonce`, in their order.
    pub fields: Map,
}

/// Why a decrypted load is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// It is not a map.
    #[error("the load of the request is not a map")]
    NotAMap,
    /// Its id holds a NUL.
    #[error("the id contains a NUL")]
    IdHoldsNul,
    /// Its id is no text.
    #[error("the id is not text")]
    IdNotText,
    /// It is in another minion's name.
    #[error("the id in the load is not {outer}, the id in the envelope")]
    OtherId {
        /// The id whose key the request was encrypted with.
        outer: MinionId,
    },
    /// It has no token.
    #[error("the load has no token")]
    NoToken,
    /// Its nonce is none.
    #[error("the nonce does not have 32 characters")]
    BadNonce,
    /// It does not say when it was sent, which minions of every release do.
    #[error("the request has no time (ts)")]
    NoTime,
    /// It has no nonce, which minions of every release send.
    #[error("the load has no nonce")]
    NoNonce,
    /// It is too old, or from the future.
    #[error(
        "the minion's clock is {seconds_off} s behind (ahead, if negative), more than request_server_ttl ({window:?}) allows; set the clocks"
    )]
    OutsideWindow {
        /// The time allowed either way.
        window: Duration,
        /// How far off it is; positive in the past.
        seconds_off: i64,
    },
}

impl LoadError {
    /// The text that real masters answer with.
    #[must_use]
    pub const fn reply(&self) -> &'static str {
        match self {
            Self::NotAMap => "payload and load must be a dict",
            Self::IdHoldsNul => "bad load: id contains a null byte",
            Self::IdNotText => "bad load: id is not a string",
            _ => payload::BAD_LOAD,
        }
    }
}

/// Which requests are fresh enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Freshness {
    /// The time, in seconds since the UNIX epoch.
    pub now: i64,
    /// How far `ts` may be off in either direction; `None` for any time (`request_server_ttl` 0).
    pub window: Option<Duration>,
}

impl Load {
    /// Takes apart a load encrypted with the key of `outer` (version 3).
    ///
    /// # Errors
    /// [`LoadError`], whose [`LoadError::reply`] is the answer.
    pub fn parse(load: Value, outer: &MinionId, fresh: Freshness) -> Result<Self, LoadError> {
        let Value::Map(mut fields) = load else {
            return Err(LoadError::NotAMap);
        };
        match fields.get("id") {
            Some(Value::Str(id)) if id.contains('\0') => return Err(LoadError::IdHoldsNul),
            Some(Value::Str(id)) if id == outer.as_str() => {}
            Some(Value::Str(_)) | None => {
                return Err(LoadError::OtherId {
                    outer: outer.clone(),
                });
            }
            Some(_) => return Err(LoadError::IdNotText),
        }
        let ts = fields
            .get("ts")
            .and_then(Value::as_int)
            .and_then(|ts| i64::try_from(ts).ok());
        if let Some(window) = fresh.window {
            let ts = ts.ok_or(LoadError::NoTime)?;
            let seconds_off = fresh.now.saturating_sub(ts);
            if seconds_off.unsigned_abs() > window.as_secs() {
                return Err(LoadError::OutsideWindow {
                    window,
                    seconds_off,
                });
            }
        }
        let tok = match fields.remove("tok") {
            Some(Value::Str(tok)) => tok.into_bytes(),
            Some(Value::Bin(tok)) => tok,
            _ => return Err(LoadError::NoToken),
        };
        let nonce = take_nonce(&mut fields)?;
        if nonce.is_none() && fresh.window.is_some() {
            return Err(LoadError::NoNonce);
        }
        Ok(Self {
            cmd: field::text(&fields, "cmd").map(String::from),
            tok: Some(tok),
            nonce,
            ts,
            fields,
        })
    }
}

fn take_nonce(fields: &mut Map) -> Result<Option<Nonce>, LoadError> {
    match fields.remove("nonce") {
        None | Some(Value::Nil) => Ok(None),
        Some(value) => field::bytes_of(&value)
            .and_then(Nonce::parse)
            .map(Some)
            .ok_or(LoadError::BadNonce),
    }
}

/// Adds to a minion's request what every request carries.
pub fn complete(load: &mut Map, nonce: &Nonce, ts: i64, tok: &[u8]) {
    load.insert("nonce", nonce.as_str());
    load.insert("ts", ts);
    load.insert("tok", Value::Bin(tok.to_vec()));
}

/// The bytes that `sig` of a signed message (`minion_sign_messages`) is made over: the load as it
/// is without `nonce`, `tok` and `sig`, with text and bytes apart. 3007 signs before `ts` is added;
/// the second form is for it.
#[must_use]
pub fn signed_bytes(load: &Map) -> [Vec<u8>; 2] {
    let mut load = load.clone();
    for unsigned in ["nonce", "tok", "sig"] {
        load.remove(unsigned);
    }
    let mut forms = [Vec::new(), Vec::new()];
    msgpack::encode_map(&load, &mut forms[0]);
    load.remove("ts");
    msgpack::encode_map(&load, &mut forms[1]);
    forms
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fresh(window: Option<u64>) -> Freshness {
        Freshness {
            now: 1000,
            window: window.map(Duration::from_secs),
        }
    }

    fn load(id: Value, ts: i64) -> Value {
        let mut map: Map = [("cmd", Value::from("_return")), ("id", id)]
            .into_iter()
            .collect();
        complete(&mut map, &Nonce::from_random([1; 16]), ts, b"\xff");
        Value::Map(map)
    }

    #[test]
    fn each_fault_has_its_answer() {
        let outer = MinionId::parse("m1").unwrap();
        let refused = |value, window| Load::parse(value, &outer, fresh(window)).unwrap_err();
        assert_eq!(
            refused(Value::Nil, None).reply(),
            "payload and load must be a dict"
        );
        assert_eq!(
            refused(load("m1\0".into(), 0), None).reply(),
            "bad load: id contains a null byte"
        );
        assert_eq!(refused(load(1.into(), 0), None), LoadError::IdNotText);
        assert_eq!(refused(load("m2".into(), 0), None).reply(), "bad load");
        let mut untaken = load("m1".into(), 0);
        if let Value::Map(map) = &mut untaken {
            map.remove("tok");
        }
        assert_eq!(refused(untaken, None), LoadError::NoToken);
    }

    #[test]
    fn the_window_has_two_sides() {
        let outer = MinionId::parse("m1").unwrap();
        for (ts, fine) in [
            (1000, true),
            (970, true),
            (1030, true),
            (969, false),
            (1031, false),
            (i64::MIN, false),
        ] {
            let parsed = Load::parse(load("m1".into(), ts), &outer, fresh(Some(30)));
            assert_eq!(parsed.is_ok(), fine, "{ts}");
            assert!(Load::parse(load("m1".into(), ts), &outer, fresh(None)).is_ok());
        }
    }

    #[test]
    fn a_request_without_time_or_nonce_passes_no_window() {
        let outer = MinionId::parse("m1").unwrap();
        let without = |key: &str, instead: Option<Value>| {
            let Value::Map(mut map) = load("m1".into(), 1000) else {
                unreachable!()
            };
            map.remove(key);
            if let Some(value) = instead {
                map.insert(key, value);
            }
            Value::Map(map)
        };
        for (key, instead, error) in [
            ("ts", None, LoadError::NoTime),
            ("ts", Some("1000".into()), LoadError::NoTime),
            (
                "ts",
                Some(Value::Int(i128::from(u64::MAX))),
                LoadError::NoTime,
            ),
            ("nonce", None, LoadError::NoNonce),
            ("nonce", Some(Value::Nil), LoadError::NoNonce),
        ] {
            let refused = Load::parse(without(key, instead.clone()), &outer, fresh(Some(30)));
            assert_eq!(refused, Err(error), "{key} {instead:?}");
            assert!(Load::parse(without(key, instead), &outer, fresh(None)).is_ok());
        }
    }

    #[test]
    fn the_rest_keeps_its_order() {
        let outer = MinionId::parse("m1").unwrap();
        let parsed = Load::parse(load("m1".into(), 7), &outer, fresh(None)).unwrap();
        let keys: Vec<_> = parsed
            .fields
            .iter()
            .map(|(key, _)| key.as_str().unwrap())
            .collect();
        assert_eq!(keys, ["cmd", "id", "ts"]);
        assert_eq!(
            (parsed.ts, parsed.tok.as_deref()),
            (Some(7), Some(&b"\xff"[..]))
        );
    }
}
