//! Tokens where they do not belong: in a path, a `Referer`, a message. Logs and events are read by others.

use std::borrow::Cow;
use std::ops::Range;

use brine_auth::is_token;

use super::state::RestState;

/// The digits of the shortest token: a session's.
const DIGITS: usize = 40;
/// The digits of Salt's tokens, by `hash_type`: sha512, sha256, sha1.
const SALTS_DIGITS: [usize; 3] = [128, 64, DIGITS];
/// How many digits digests and signatures have. Within so many digits no token of Salt's is looked for: webhooks are full of
/// digests, and each would cost dozens of look-ups. A token is missed only if exactly 24, 32 or 64 other digits touch it.
const DIGESTS: [usize; 3] = [64, 96, 128];
/// How many texts of one request are looked up. More of them are taken for tokens.
const LOOK_UPS: usize = 16;
/// What stands in place of a token.
pub(super) const REDACTED: &str = "[redacted]";

/// A text for logs, without whatever looks like a token.
pub(crate) fn blanked(text: &str) -> Cow<'_, str> {
    without(text, &candidates(text))
}

/// Finds tokens that somebody could log in with, in the texts of one request.
pub(super) struct Finder<'s> {
    state: &'s RestState,
    left: usize,
}

impl<'s> Finder<'s> {
    pub(super) const fn new(state: &'s RestState) -> Self {
        Self {
            state,
            left: LOOK_UPS,
        }
    }

    /// A text without such tokens. Digests and signatures, which look alike, stay.
    pub(super) async fn without_tokens<'t>(&mut self, text: &'t str) -> Cow<'t, str> {
        let mut live = Vec::new();
        for range in candidates(text) {
            // Whoever reads a token in capitals has the token.
            let digits = text[range.clone()].to_ascii_lowercase();
            if self.holds_token(&digits).await {
                live.push(range);
            }
        }
        without(text, &live)
    }

    /// Whether these digits are a token, or one with others beside it: `%3D` ends with one, for instance.
    async fn holds_token(&mut self, digits: &str) -> bool {
        if self.is_live(digits).await {
            return true;
        }
        // Salt's tokens are looked up on the disk, or at the master: so few that they bound those below, too.
        if !DIGESTS.contains(&digits.len()) {
            let mut salts = SALTS_DIGITS.into_iter();
            let salts = salts.find(|salts| *salts < digits.len());
            for window in salts.into_iter().flat_map(|count| windows(digits, count)) {
                if self.is_live(window).await {
                    return true;
                }
            }
        }
        let sessions = &self.state.sessions;
        windows(digits, DIGITS).any(|window| sessions.has(window))
    }

    async fn is_live(&mut self, token: &str) -> bool {
        let Some(left) = self.left.checked_sub(1) else {
            return true;
        };
        self.left = left;
        // If the store cannot be read, it may be a token.
        self.state.sessions.has(token)
            || !matches!(self.state.operator.token(token).await, Ok(None))
    }
}

/// All texts of so many digits in these.
fn windows(digits: &str, count: usize) -> impl Iterator<Item = &str> {
    let texts = (0..).map_while(move |at| digits.get(at..at + count));
    texts.filter(|text| is_token(text))
}

/// Where there are enough hexadecimal digits for a token.
fn candidates(text: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut start = 0;
    for part in text.split(|letter: char| !letter.is_ascii_hexdigit()) {
        if part.len() >= DIGITS {
            found.push(start..start + part.len());
        }
        let behind = text[start + part.len()..].chars().next();
        start += part.len() + behind.map_or(0, char::len_utf8);
    }
    found
}

fn without<'t>(text: &'t str, tokens: &[Range<usize>]) -> Cow<'t, str> {
    let mut kept = Cow::Borrowed(text);
    for range in tokens.iter().rev() {
        kept.to_mut().replace_range(range.clone(), REDACTED);
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_looks_like_a_token_is_blanked_wherever_it_stands() {
        let token = "0123456789abcdef0123456789abcdef01234567";
        for (text, expected) in [
            ("", ""),
            ("/keys/web1", "/keys/web1"),
            ("/ws/T", "/ws/[redacted]"),
            (
                "https://x/events?token=T&a=é",
                "https://x/events?token=[redacted]&a=é",
            ),
            ("éT-TT", "é[redacted]-[redacted]"),
            ("20261129145430682182", "20261129145430682182"),
        ] {
            let text = text.replace('T', token);
            assert_eq!(blanked(&text), expected);
        }
    }
}
