//! Answers to clear requests that need nothing from the master, and refusals in Salt's words.
//!
//! Pure: a load goes in, an answer comes out. Facts: `docs/protocol/network.md` §12.

use brine_wire::network::field;
use brine_wire::{Map, Value};

/// The answer to a clear request that has the master do nothing.
pub(super) fn answer(load: &Map) -> Value {
    match field::text(load, "cmd") {
        Some("ping") => load.clone().into(),
        Some("mk_token") => "".into(),
        Some("get_token") if load.get("token").is_none() => false.into(),
        _ => Map::new().into(),
    }
}

/// The refusal of a runner or wheel function to somebody whose key is not the master's.
pub(super) fn refused(load: &Map) -> Value {
    let (name, message) = if load.get("token").is_some() {
        (
            "TokenAuthenticationError",
            "Authentication failure of type \"token\" occurred.".to_owned(),
        )
    } else if load.get("eauth").is_some() {
        let user = field::text(load, "username").unwrap_or("UNKNOWN");
        (
            "EauthAuthenticationError",
            format!("Authentication failure of type \"eauth\" occurred for user {user}."),
        )
    } else {
        (
            "UserAuthenticationError",
            "Authentication failure of type \"user\" occurred".to_owned(),
        )
    };
    error(name, &message)
}

/// The refusal of a runner or wheel function to a user of `external_auth` who is known.
pub(super) fn not_permitted(load: &Map, user: &str) -> Value {
    let (name, way) = match load.get("token") {
        Some(_) => ("TokenAuthenticationError", "token"),
        None => ("EauthAuthenticationError", "eauth"),
    };
    let message = format!("Authentication failure of type \"{way}\" occurred for user {user}.");
    error(name, &message)
}

/// A refusal in Salt's form.
pub(super) fn error(name: &str, message: &str) -> Value {
    let error: Map = [("name", name), ("message", message)].into_iter().collect();
    [("error", error)].into_iter().collect::<Map>().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(fields: &[(&str, &str)]) -> Map {
        fields.iter().copied().collect()
    }

    #[test]
    fn tokens_are_made_for_nobody_and_known_of_nobody() {
        assert_eq!(answer(&load(&[("cmd", "mk_token")])), "".into());
        assert_eq!(answer(&load(&[("cmd", "get_token")])), false.into());
        let unknown = load(&[("cmd", "get_token"), ("token", "x")]);
        assert_eq!(answer(&unknown), Map::new().into());
        assert_eq!(answer(&load(&[("cmd", "other")])), Map::new().into());
    }

    #[test]
    fn runners_and_wheels_are_refused_by_the_way_they_were_asked_for() {
        for (field, name) in [
            ("token", "TokenAuthenticationError"),
            ("eauth", "EauthAuthenticationError"),
            ("key", "UserAuthenticationError"),
        ] {
            let answer = refused(&load(&[("cmd", "runner"), (field, "x")]));
            let error = answer.as_map().unwrap().get("error").unwrap();
            assert_eq!(error.as_map().unwrap().get("name"), Some(&name.into()));
        }
    }
}
