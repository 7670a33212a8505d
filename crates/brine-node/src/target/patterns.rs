//! Shell patterns and regular expressions, each compiled once for all minions that are asked.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use brine_wire::matching::{MatchType, TagMatch};

/// How many compiled patterns are kept. A target needs a few; one built to need more is compiled anew.
const KEPT: usize = 64;

/// Compiled patterns by kind and text.
#[derive(Debug, Default)]
pub(crate) struct Patterns(Mutex<HashMap<(MatchType, String), Compiled>>);

/// `None` for what is no pattern.
type Compiled = Option<Arc<TagMatch>>;

impl Patterns {
    /// Whether the whole text matches a shell pattern.
    pub(crate) fn glob(&self, pattern: &str, text: &str) -> bool {
        if !pattern.contains(['*', '?', '[']) {
            return pattern == text;
        }
        self.ask(MatchType::Fnmatch, pattern, text)
    }

    /// Whether a regular expression matches at the text's start.
    pub(crate) fn pcre(&self, pattern: &str, text: &str) -> bool {
        self.ask(MatchType::Regex, pattern, text)
    }

    fn ask(&self, kind: MatchType, pattern: &str, text: &str) -> bool {
        let mut compiled = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if compiled.len() >= KEPT {
            compiled.clear();
        }
        let key = (kind, pattern.to_owned());
        let found = compiled
            .entry(key)
            .or_insert_with(|| compile(kind, pattern))
            .clone();
        drop(compiled);
        found.is_some_and(|found| found.matches(text))
    }
}

fn compile(kind: MatchType, pattern: &str) -> Compiled {
    let compiled = match kind {
        // Of `a|b` both are bound to the start; flags, which stand first, must stay there.
        MatchType::Regex if !pattern.starts_with("(?") => {
            TagMatch::new(kind, format!("(?:{pattern})"))
        }
        _ => TagMatch::new(kind, pattern),
    };
    compiled.ok().map(Arc::new)
}
