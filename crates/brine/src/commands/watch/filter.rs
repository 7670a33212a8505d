//! Which tags `brine watch` shows.

use brine_wire::matching::{MatchError, MatchType, TagMatch};

/// How tags are compared with a pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub(crate) enum MatchKind {
    /// Shell pattern for the whole tag; * crosses /
    #[default]
    Glob,
    /// The tag begins with it
    Startswith,
    /// The tag ends with it
    Endswith,
    /// The tag contains it
    Find,
    /// Python regular expression, matched at the tag's start
    Regex,
}

impl MatchKind {
    const fn match_type(self) -> MatchType {
        match self {
            Self::Glob => MatchType::Fnmatch,
            Self::Startswith => MatchType::StartsWith,
            Self::Endswith => MatchType::EndsWith,
            Self::Find => MatchType::Find,
            Self::Regex => MatchType::Regex,
        }
    }
}

/// Wanted and unwanted tags.
#[derive(Debug)]
pub(super) struct Filter {
    wanted: Vec<TagMatch>,
    unwanted: Vec<TagMatch>,
}

impl Filter {
    pub(super) fn new(
        kind: MatchKind,
        wanted: &[String],
        unwanted: &[String],
    ) -> Result<Self, MatchError> {
        let compile = |patterns: &[String]| {
            let patterns = patterns.iter();
            patterns
                .map(|pattern| TagMatch::new(kind.match_type(), pattern.as_str()))
                .collect::<Result<_, _>>()
        };
        Ok(Self {
            wanted: compile(wanted)?,
            unwanted: compile(unwanted)?,
        })
    }

    pub(super) fn wants(&self, tag: &str) -> bool {
        let matches = |patterns: &[TagMatch]| patterns.iter().any(|pattern| pattern.matches(tag));
        (self.wanted.is_empty() || matches(&self.wanted)) && !matches(&self.unwanted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(wanted: &[&str], unwanted: &[&str]) -> Filter {
        let owned =
            |patterns: &[&str]| patterns.iter().map(ToString::to_string).collect::<Vec<_>>();
        Filter::new(MatchKind::Glob, &owned(wanted), &owned(unwanted)).unwrap()
    }

    #[test]
    fn without_tags_everything_is_wanted() {
        assert!(filter(&[], &[]).wants("a/b"));
    }

    #[test]
    fn any_of_several_tags_is_enough_and_an_excluded_one_never_is() {
        let filter = filter(&["a/*", "b"], &["*/secret"]);
        assert!(filter.wants("a/x") && filter.wants("b"));
        assert!(!filter.wants("b/x") && !filter.wants("a/secret"));
    }
}
