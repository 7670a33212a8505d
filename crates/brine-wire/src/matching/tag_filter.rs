//! Which tags a reader wants: any of several patterns, none of some others.
//!
//! One filter for the commands, the local socket and the Python package. It looks only at tags, never at data.

use alloc::string::String;
use alloc::vec::Vec;

use super::{MatchError, MatchType, TagMatch};

/// Wanted and unwanted tags.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TagFilter {
    wanted: Vec<TagMatch>,
    excluded: Vec<TagMatch>,
}

impl TagFilter {
    /// Any of `wanted` (none: every tag) and none of `excluded`, all compared as `kind` says.
    ///
    /// # Errors
    /// [`MatchError`] names the first pattern that is to be a regular expression and is none.
    pub fn new<T: AsRef<str>>(
        kind: MatchType,
        wanted: &[T],
        excluded: &[T],
    ) -> Result<Self, MatchError> {
        let compile = |patterns: &[T]| {
            let patterns = patterns.iter();
            patterns
                .map(|pattern| TagMatch::new(kind, pattern.as_ref()))
                .collect::<Result<_, _>>()
        };
        Ok(Self {
            wanted: compile(wanted)?,
            excluded: compile(excluded)?,
        })
    }

    /// The filter of patterns that are compiled already.
    #[must_use]
    pub const fn of(wanted: Vec<TagMatch>, excluded: Vec<TagMatch>) -> Self {
        Self { wanted, excluded }
    }

    /// Whether a tag passes.
    #[must_use]
    pub fn matches(&self, tag: &str) -> bool {
        (self.wanted.is_empty() || any(&self.wanted, tag)) && !self.excludes(tag)
    }

    /// Whether a tag is one of those that never pass.
    #[must_use]
    pub fn excludes(&self, tag: &str) -> bool {
        any(&self.excluded, tag)
    }

    /// Whether every tag passes.
    #[must_use]
    pub fn is_any(&self) -> bool {
        self.wanted.is_empty() && self.excluded.is_empty()
    }

    /// The patterns of which a tag must match one; none for every tag.
    pub fn wanted(&self) -> impl Iterator<Item = &TagMatch> {
        self.wanted.iter()
    }

    /// Texts of which every tag that passes begins with at least one, for an index by prefix;
    /// `None` when a tag may begin with anything.
    #[must_use]
    pub fn prefixes(&self) -> Option<Vec<String>> {
        if self.wanted.is_empty() {
            return None;
        }
        let prefixes = self.wanted.iter().map(TagMatch::literal_prefix);
        prefixes
            .map(|prefix| Some(prefix).filter(|prefix| !prefix.is_empty()))
            .collect()
    }
}

fn any(patterns: &[TagMatch], tag: &str) -> bool {
    patterns.iter().any(|pattern| pattern.matches(tag))
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    fn globs(wanted: &[&str], excluded: &[&str]) -> TagFilter {
        TagFilter::new(MatchType::Fnmatch, wanted, excluded).unwrap()
    }

    #[test]
    fn without_patterns_every_tag_passes() {
        assert!(globs(&[], &[]).matches("a/b"));
        assert!(globs(&[], &[]).is_any());
        assert!(!globs(&[], &["x"]).is_any());
    }

    #[test]
    fn any_of_several_patterns_is_enough_and_an_excluded_tag_never_passes() {
        let filter = globs(&["a/*", "b"], &["*/secret"]);
        assert!(filter.matches("a/x") && filter.matches("b"));
        assert!(!filter.matches("b/x") && !filter.matches("a/secret"));
    }

    #[test]
    fn a_bad_pattern_is_named() {
        let error = TagFilter::new(MatchType::Regex, &["ok", "("], &[]).unwrap_err();
        assert_eq!(error.pattern, "(");
        assert!(TagFilter::new(MatchType::Regex, &[], &["["]).is_err());
    }

    #[test]
    fn prefixes_hold_every_tag_that_passes() {
        let prefixes =
            |kind, wanted: &[&str]| TagFilter::new(kind, wanted, &[]).unwrap().prefixes();
        assert_eq!(
            prefixes(MatchType::Fnmatch, &["salt/job/*/ret/*", "my/tag"]),
            Some(vec!["salt/job/".into(), "my/tag".into()])
        );
        assert_eq!(prefixes(MatchType::Fnmatch, &["salt/*", "*/x"]), None);
        assert_eq!(prefixes(MatchType::Fnmatch, &[]), None);
        assert_eq!(
            prefixes(MatchType::StartsWith, &["salt/"]),
            Some(vec!["salt/".into()])
        );
        for kind in [MatchType::EndsWith, MatchType::Find, MatchType::Regex] {
            assert_eq!(prefixes(kind, &["salt/"]), None, "{kind}");
        }
    }
}
