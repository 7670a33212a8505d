//! Job ids: the moment a job began, in twenty digits.

use std::time::{SystemTime, UNIX_EPOCH};

use brine_wire::stamp::{self, StampStyle};

/// The id of a job that begins now: UTC, as Salt's with `utc_jid`.
pub(crate) fn now() -> String {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let stamp = stamp::format(now, StampStyle::Naive);
    let mut digits: String = stamp.chars().filter(char::is_ascii_digit).collect();
    if digits.len() < DIGITS {
        // A moment on the full second has no fraction.
        digits.push_str("000000");
    }
    digits
}

const DIGITS: usize = 20;

/// Whether a text is one.
pub(crate) fn is_jid(text: &str) -> bool {
    text.len() == DIGITS && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_id_is_twenty_digits() {
        assert!(is_jid(&now()));
        assert!(!is_jid("2026") && !is_jid("2026112400293369223x"));
    }
}
