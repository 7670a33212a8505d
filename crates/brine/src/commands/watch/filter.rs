//! How `brine watch` compares tags, in its own words for Salt's match types.

use brine_wire::matching::MatchType;

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
    pub(super) const fn match_type(self) -> MatchType {
        match self {
            Self::Glob => MatchType::Fnmatch,
            Self::Startswith => MatchType::StartsWith,
            Self::Endswith => MatchType::EndsWith,
            Self::Find => MatchType::Find,
            Self::Regex => MatchType::Regex,
        }
    }
}
