//! Clear requests of local clients other than `publish`, and who may not publish whatever key they show.
//!
//! Pure: a load goes in, an answer comes out. External authentication (`token`, `eauth`) lets nobody in
//! here, so what asks for it is refused in Salt's words. Facts: `docs/protocol/network.md` §12.

use brine_wire::matching::{MatchType, TagMatch};
use brine_wire::network::field;
use brine_wire::{Map, Value};

/// The answer to a clear request that is neither a sign-in nor a `publish`.
pub(super) fn answer(load: &Map) -> Value {
    match field::text(load, "cmd") {
        Some("ping") => load.clone().into(),
        Some("mk_token") => "".into(),
        Some("get_token") if load.get("token").is_none() => false.into(),
        Some("runner" | "wheel") => refused(load),
        _ => Map::new().into(),
    }
}

/// Runners and wheels are run by nobody's request.
fn refused(load: &Map) -> Value {
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

/// A refusal in Salt's form.
pub(super) fn error(name: &str, message: &str) -> Value {
    let error: Map = [("name", name), ("message", message)].into_iter().collect();
    [("error", error)].into_iter().collect::<Map>().into()
}

/// Whether a `publish` is to be judged by external authentication, not by its key.
pub(super) fn is_external(load: &Map) -> bool {
    let kwargs = load.get("kwargs").and_then(Value::as_map);
    kwargs.is_some_and(|kwargs| kwargs.get("token").is_some() || kwargs.get("eauth").is_some())
}

/// Whether `publisher_acl_blacklist` names the user of a `publish` or one of its functions.
pub(super) fn is_blacklisted(blacklist: &Map, user: &str, fun: &Value) -> bool {
    let is_named = |list: &str, text: &str| match blacklist.get(list) {
        Some(Value::Array(patterns)) => patterns
            .iter()
            .filter_map(Value::as_str)
            .any(|pattern| is_meant(pattern, text)),
        Some(Value::Str(pattern)) => is_meant(pattern, text),
        _ => false,
    };
    let is_function_named = match fun {
        Value::Array(funs) => funs
            .iter()
            .filter_map(Value::as_str)
            .any(|fun| is_named("modules", fun)),
        fun => fun.as_str().is_some_and(|fun| is_named("modules", fun)),
    };
    is_named("users", user) || is_function_named
}

/// Whether a shell pattern or, between both ends of the text, a regular expression matches.
fn is_meant(pattern: &str, text: &str) -> bool {
    let matches = |kind, pattern: String| {
        TagMatch::new(kind, pattern).is_ok_and(|pattern| pattern.matches(text))
    };
    matches(MatchType::Fnmatch, pattern.to_owned())
        || matches(MatchType::Regex, format!(r"(?:\A{pattern}\Z)"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(fields: &[(&str, &str)]) -> Map {
        fields.iter().copied().collect()
    }

    fn blacklist(list: &str, pattern: &str) -> Map {
        let patterns = Value::Array(vec![pattern.into()]);
        [(list, patterns)].into_iter().collect()
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
            for cmd in ["runner", "wheel"] {
                let answer = answer(&load(&[("cmd", cmd), (field, "x")]));
                let error = answer.as_map().unwrap().get("error").unwrap();
                assert_eq!(error.as_map().unwrap().get("name"), Some(&name.into()));
            }
        }
    }

    #[test]
    fn a_blacklist_holds_names_shell_patterns_and_regular_expressions() {
        for pattern in ["cmd.run", "cmd.*", r"cmd\.(run|shell)"] {
            let blacklist = blacklist("modules", pattern);
            assert!(is_blacklisted(&blacklist, "root", &"cmd.run".into()));
            assert!(!is_blacklisted(&blacklist, "root", &"test.ping".into()));
            let both = Value::Array(vec!["test.ping".into(), "cmd.run".into()]);
            assert!(is_blacklisted(&blacklist, "root", &both));
        }
        let modules = blacklist("modules", "cmd");
        assert!(!is_blacklisted(&modules, "root", &"cmd.run".into()));
        let users = blacklist("users", "^(?!sudo_).*$");
        assert!(is_blacklisted(&users, "fred", &"test.ping".into()));
        assert!(!is_blacklisted(&users, "sudo_fred", &"test.ping".into()));
    }
}
