//! Shell patterns and regular expressions, each compiled once for all minions; and how much work a target may cause.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use brine_wire::matching::{MatchType, RegexMatch, TagMatch};

/// How many compiled patterns are kept. A target needs a few; a target made to need more has its patterns compiled
/// again.
const KEPT: usize = 64;

/// The steps that looking through the data of all minions may take for one target: seconds of a processor for a
/// user's, a tenth of one for a minion's. An ordinary target takes some ten per minion.
const USER_STEPS: u64 = 100_000_000;
const MINION_STEPS: u64 = 500_000;

/// Compiled patterns by kind and text.
#[derive(Debug)]
pub(crate) struct Patterns {
    globs: Kept<TagMatch>,
    regexes: Kept<RegexMatch>,
    /// The longest pattern and text that are compared, in bytes; longer ones do not match.
    max_bytes: usize,
    /// The steps that are left.
    steps: AtomicU64,
}

impl Default for Patterns {
    fn default() -> Self {
        Self {
            globs: Kept::default(),
            regexes: Kept::default(),
            max_bytes: usize::MAX,
            steps: AtomicU64::new(USER_STEPS),
        }
    }
}

impl Patterns {
    /// Patterns that minions name: their cost is limited by the length of the compared text, and by fewer steps.
    pub(crate) fn for_minions() -> Self {
        Self {
            max_bytes: 1024,
            steps: AtomicU64::new(MINION_STEPS),
            ..Self::default()
        }
    }

    /// Uses up this many steps; `false` if there are not enough, from then on.
    pub(super) fn spend(&self, steps: usize) -> bool {
        let steps = u64::try_from(steps).unwrap_or(u64::MAX);
        let take = |left: u64| Some(left.saturating_sub(steps));
        let before = self
            .steps
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, take);
        before.is_ok_and(|left| left > steps)
    }

    /// Whether no steps are left: results found since then do not count.
    pub(super) fn is_spent(&self) -> bool {
        self.steps.load(Ordering::Relaxed) == 0
    }

    fn is_too_long(&self, pattern: &str, text: &str) -> bool {
        pattern.len().max(text.len()) > self.max_bytes
    }

    /// Whether the whole text matches a shell pattern.
    pub(crate) fn glob(&self, pattern: &str, text: &str) -> bool {
        if !pattern.contains(['*', '?', '[']) {
            return pattern == text;
        }
        if self.is_too_long(pattern, text) {
            return false;
        }
        let compile = |pattern: &str| TagMatch::new(MatchType::Fnmatch, pattern).ok();
        let glob = self.globs.get(pattern, compile);
        glob.is_some_and(|glob| glob.matches(text))
    }

    /// Whether a regular expression matches at the text's start.
    pub(crate) fn pcre(&self, pattern: &str, text: &str) -> bool {
        if self.is_too_long(pattern, text) {
            return false;
        }
        let compile = |pattern: &str| RegexMatch::new(pattern).ok();
        let regex = self.regexes.get(pattern, compile);
        regex.is_some_and(|regex| regex.matches(text))
    }
}

/// Patterns of one kind by their text; `None` for an invalid pattern.
#[derive(Debug)]
struct Kept<T>(Mutex<HashMap<String, Option<Arc<T>>>>);

impl<T> Default for Kept<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T> Kept<T> {
    fn get(&self, pattern: &str, compile: impl FnOnce(&str) -> Option<T>) -> Option<Arc<T>> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = kept.get(pattern) {
            return known.clone();
        }
        if kept.len() >= KEPT {
            kept.clear();
        }
        let compiled = compile(pattern).map(Arc::new);
        kept.insert(pattern.to_owned(), compiled.clone());
        compiled
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minions_patterns_are_not_compared_with_long_texts() {
        // A backtracking engine needs exponential time for this pattern.
        let (pattern, text) = (r"(?=(a+)+$)x\1", "a".repeat(100_000));
        assert!(!Patterns::for_minions().pcre(pattern, &text));
        assert!(!Patterns::for_minions().pcre(".*", &text));
        assert!(Patterns::for_minions().pcre(".*", "short"));
        assert!(Patterns::default().pcre("a*", &text));
    }
}
