//! Shell patterns and regular expressions, each compiled once for all minions that are asked.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use brine_wire::matching::{MatchType, RegexMatch, TagMatch};

/// How many compiled patterns are kept. A target needs a few; one built to need more is compiled anew.
const KEPT: usize = 64;

/// Compiled patterns by kind and text.
#[derive(Debug, Default)]
pub(crate) struct Patterns {
    globs: Kept<TagMatch>,
    regexes: Kept<RegexMatch>,
}

impl Patterns {
    /// Whether the whole text matches a shell pattern.
    pub(crate) fn glob(&self, pattern: &str, text: &str) -> bool {
        if !pattern.contains(['*', '?', '[']) {
            return pattern == text;
        }
        let compile = |pattern: &str| TagMatch::new(MatchType::Fnmatch, pattern).ok();
        let glob = self.globs.get(pattern, compile);
        glob.is_some_and(|glob| glob.matches(text))
    }

    /// Whether a regular expression matches at the text's start.
    pub(crate) fn pcre(&self, pattern: &str, text: &str) -> bool {
        let compile = |pattern: &str| RegexMatch::new(pattern).ok();
        let regex = self.regexes.get(pattern, compile);
        regex.is_some_and(|regex| regex.matches(text))
    }
}

/// Patterns of one kind by their text; `None` for what is no pattern.
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
