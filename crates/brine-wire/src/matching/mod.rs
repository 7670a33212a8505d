//! The five ways a listener matches tags, with Python's meaning; and `re.match`, by which targets are
//! compared.
//!
//! A [`TagMatch`] is made once and used often; matching allocates only for regular
//! expressions. A [`TagFilter`] is several of them with exceptions. Facts: `docs/protocol/ipc.md` §8.

mod tag_filter;

use alloc::boxed::Box;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;
use core::str::FromStr;

use fancy_regex::{Regex, RegexBuilder};

use crate::python_regex::{self, push_literal};

pub use tag_filter::TagFilter;

/// How a pattern is compared with a tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum MatchType {
    /// The tag begins with it.
    #[default]
    StartsWith,
    /// The tag ends with it.
    EndsWith,
    /// The tag contains it.
    Find,
    /// A regular expression that matches at the tag's start.
    Regex,
    /// A shell pattern for the whole tag.
    Fnmatch,
}

/// The name is none of Salt's match types.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected startswith, endswith, find, regex or fnmatch, found {found:?}")]
pub struct MatchTypeError {
    /// What came.
    pub found: String,
}

impl FromStr for MatchType {
    type Err = MatchTypeError;

    fn from_str(name: &str) -> Result<Self, MatchTypeError> {
        Ok(match name {
            "startswith" => Self::StartsWith,
            "endswith" => Self::EndsWith,
            "find" => Self::Find,
            "regex" => Self::Regex,
            "fnmatch" => Self::Fnmatch,
            _ => {
                return Err(MatchTypeError {
                    found: name.to_string(),
                });
            }
        })
    }
}

impl MatchType {
    /// The type by the name that Brine's own options give it: Salt's names, and `glob`.
    ///
    /// # Errors
    /// [`MatchTypeError`] for any other name.
    pub fn from_option(name: &str) -> Result<Self, MatchTypeError> {
        if name == "glob" {
            Ok(Self::Fnmatch)
        } else {
            name.parse()
        }
    }
}

impl fmt::Display for MatchType {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::StartsWith => "startswith",
            Self::EndsWith => "endswith",
            Self::Find => "find",
            Self::Regex => "regex",
            Self::Fnmatch => "fnmatch",
        })
    }
}

/// A pattern that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid regular expression {pattern:?}: {reason}")]
pub struct MatchError {
    /// The pattern.
    pub pattern: String,
    /// What is wrong with it.
    pub reason: String,
}

/// A pattern and how it is compared.
#[derive(Debug, Clone)]
pub struct TagMatch {
    kind: MatchType,
    pattern: String,
    /// For the two types that are matched by a regular expression.
    compiled: Option<Box<Regex>>,
}

/// Two are equal when a caller would write them the same, as in Salt's `unsubscribe`.
impl PartialEq for TagMatch {
    fn eq(&self, other: &Self) -> bool {
        self.kind == other.kind && self.pattern == other.pattern
    }
}

impl Eq for TagMatch {}

/// How many steps back a regular expression may take before it counts as no match: a pattern from
/// outside must not hold up its reader.
const BACKTRACK_LIMIT: usize = 1_000_000;

impl TagMatch {
    /// A pattern of this type.
    ///
    /// # Errors
    /// [`MatchError`] when it is to be a regular expression and is none.
    pub fn new(kind: MatchType, pattern: impl Into<String>) -> Result<Self, MatchError> {
        let pattern = pattern.into();
        let compiled = match kind {
            MatchType::Regex => {
                let expression = python_regex::translate_at_start(&pattern);
                let expression = expression.map_err(|error| MatchError {
                    pattern: pattern.clone(),
                    reason: error.to_string(),
                });
                Some(compile(&pattern, &expression?)?)
            }
            MatchType::Fnmatch => Some(compile(&pattern, &translate_fnmatch(&pattern))?),
            MatchType::StartsWith | MatchType::EndsWith | MatchType::Find => None,
        };
        Ok(Self {
            kind,
            pattern,
            compiled: compiled.map(Box::new),
        })
    }

    /// Every tag.
    #[must_use]
    pub const fn any() -> Self {
        Self {
            kind: MatchType::StartsWith,
            pattern: String::new(),
            compiled: None,
        }
    }

    /// Whether a tag matches. A regular expression that runs into its limit does not.
    #[must_use]
    pub fn matches(&self, tag: &str) -> bool {
        self.try_matches(tag).unwrap_or(false)
    }

    /// The same; `None` if a regular expression runs into its limit, for callers to whom a match is a refusal.
    #[must_use]
    pub fn try_matches(&self, tag: &str) -> Option<bool> {
        Some(match (&self.compiled, self.kind) {
            (Some(compiled), _) => return compiled.is_match(tag).ok(),
            (None, MatchType::EndsWith) => tag.ends_with(&self.pattern),
            (None, MatchType::Find) => {
                memchr::memmem::find(tag.as_bytes(), self.pattern.as_bytes()).is_some()
            }
            (None, _) => tag.starts_with(&self.pattern),
        })
    }

    /// A text that every matching tag begins with; empty when there is none, or none is known.
    #[must_use]
    pub fn literal_prefix(&self) -> String {
        match self.kind {
            MatchType::StartsWith => self.pattern.clone(),
            MatchType::Fnmatch => {
                let literal = self.pattern.split(['*', '?', '[']).next();
                literal.unwrap_or_default().to_string()
            }
            MatchType::EndsWith | MatchType::Find | MatchType::Regex => String::new(),
        }
    }

    /// How it compares.
    #[must_use]
    pub const fn match_type(&self) -> MatchType {
        self.kind
    }

    /// The pattern as it was given.
    #[must_use]
    pub fn pattern(&self) -> &str {
        &self.pattern
    }
}

/// A regular expression that matches at a text's start, as Python's `re.match` has it.
#[derive(Debug, Clone)]
pub struct RegexMatch(Box<Regex>);

impl RegexMatch {
    /// Reads one of Python's regular expressions.
    ///
    /// # Errors
    /// [`MatchError`] when it is none.
    pub fn new(pattern: &str) -> Result<Self, MatchError> {
        let expression = python_regex::translate_match(pattern).map_err(|error| MatchError {
            pattern: pattern.into(),
            reason: error.to_string(),
        })?;
        compile(pattern, &expression).map(|compiled| Self(Box::new(compiled)))
    }

    /// Whether a text matches. An expression that runs into its limit does not.
    #[must_use]
    pub fn matches(&self, text: &str) -> bool {
        self.0.is_match(text).unwrap_or(false)
    }

    /// What the groups of the expression matched, if it matches: Python's `match.groups()`.
    #[must_use]
    pub fn groups(&self, text: &str) -> Option<Vec<Option<String>>> {
        groups(&self.0, text)
    }
}

/// A regular expression that is looked for anywhere in a text, as Python's `re.search` has it.
#[derive(Debug, Clone)]
pub struct RegexSearch(Box<Regex>);

impl RegexSearch {
    /// Reads one of Python's regular expressions.
    ///
    /// # Errors
    /// [`MatchError`] when it is none.
    pub fn new(pattern: &str) -> Result<Self, MatchError> {
        let expression = python_regex::translate(pattern).map_err(|error| MatchError {
            pattern: pattern.into(),
            reason: error.to_string(),
        })?;
        compile(pattern, &expression).map(|compiled| Self(Box::new(compiled)))
    }

    /// Whether it is in a text. An expression that runs into its limit is not.
    #[must_use]
    pub fn is_in(&self, text: &str) -> bool {
        self.0.is_match(text).unwrap_or(false)
    }

    /// What the groups of the expression matched, if it is in a text: Python's `match.groups()`.
    #[must_use]
    pub fn groups(&self, text: &str) -> Option<Vec<Option<String>>> {
        groups(&self.0, text)
    }
}

fn groups(regex: &Regex, text: &str) -> Option<Vec<Option<String>>> {
    let captures = regex.captures(text).ok()??;
    let groups = captures.iter().skip(1);
    Some(
        groups
            .map(|group| group.map(|group| group.as_str().into()))
            .collect(),
    )
}

fn compile(pattern: &str, expression: &str) -> Result<Regex, MatchError> {
    RegexBuilder::new(expression)
        .backtrack_limit(BACKTRACK_LIMIT)
        .build()
        .map_err(|error| MatchError {
            pattern: pattern.into(),
            reason: error.to_string(),
        })
}

/// The regular expression of a shell pattern, as Python's `fnmatch` understands it: `*` crosses
/// `/` and line feeds, there is no escape, `!` alone negates a set.
#[must_use]
pub fn translate_fnmatch(pattern: &str) -> String {
    let mut expression = String::from(r"(?s)\A");
    let mut rest = pattern;
    while let Some(character) = rest.chars().next() {
        rest = &rest[character.len_utf8()..];
        match character {
            '*' => {
                rest = rest.trim_start_matches('*');
                expression.push_str(".*");
            }
            '?' => expression.push('.'),
            '[' => match set_end(rest) {
                Some(end) => {
                    push_set(&rest[..end], &mut expression);
                    rest = &rest[end + 1..];
                }
                None => expression.push_str(r"\["),
            },
            literal => push_literal(literal, &mut expression),
        }
    }
    expression.push_str(r"\z");
    expression
}

/// Where the set that begins before `rest` is closed. A `]` right at its start is a member.
fn set_end(rest: &str) -> Option<usize> {
    let negated = usize::from(rest.starts_with('!'));
    let first = negated + usize::from(rest[negated..].starts_with(']'));
    rest[first..].find(']').map(|at| first + at)
}

fn push_set(members: &str, expression: &mut String) {
    let mut ranges = ranges_of(members);
    // What negates is a `!` that comes first once the empty ranges are gone.
    let is_negated = match ranges.first() {
        Some(('!', '!')) => {
            ranges.remove(0);
            true
        }
        Some(&('!', high)) => {
            ranges.splice(..1, [('-', '-'), (high, high)]);
            true
        }
        _ => false,
    };
    expression.push_str(match (ranges.is_empty(), is_negated) {
        (true, false) => r"[^\s\S]",
        (true, true) => ".",
        (false, true) => "[^",
        (false, false) => "[",
    });
    if !ranges.is_empty() {
        let mut set = String::new();
        for (low, high) in ranges {
            python_regex::push_range(low.into(), high.into(), &mut set);
        }
        expression.push_str(&set);
        expression.push(']');
    }
}

/// The ranges of a set, characters being ranges of one; those that run backwards hold nothing and
/// are left out. A `-` is literal at either end, and right after a range.
fn ranges_of(members: &str) -> Vec<(char, char)> {
    let members: Vec<char> = members.chars().collect();
    let first = 1 + usize::from(members.first() == Some(&'!'));
    let (mut ranges, mut at, mut earliest) = (Vec::new(), 0, first);
    while let Some(&low) = members.get(at) {
        match members.get(at + 1..at + 3) {
            Some(&['-', high]) if at + 1 >= earliest => {
                if low <= high {
                    ranges.push((low, high));
                }
                earliest = at + 4;
                at += 3;
            }
            _ => {
                ranges.push((low, low));
                at += 1;
            }
        }
    }
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(kind: MatchType, pattern: &str, tag: &str) -> bool {
        TagMatch::new(kind, pattern).unwrap().matches(tag)
    }

    #[test]
    fn fnmatch_is_pythons() {
        for (pattern, tag, expected) in [
            ("salt/job/*/ret/*", "salt/job/1/ret/m/1", true),
            ("*", "", true),
            ("", "a", false),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("[abc]x", "bx", true),
            ("[!abc]x", "bx", false),
            ("[^a]x", "^x", true),
            ("[^a]x", "bx", false),
            ("[]]x", "]x", true),
            ("[!]]x", "ax", true),
            ("[a", "[a", true),
            ("[z-a]", "z", false),
            ("[!z-a]", "z", true),
            ("[a-c]", "b", true),
            ("[-a]", "-", true),
            ("[a-]", "-", true),
            (r"\*", r"\x", true),
            ("[*]", "*", true),
            ("[*]", "x", false),
            ("a.c", "abc", false),
            ("a*b*c", "a\nb\nc", true),
            ("ä?", "äö", true),
        ] {
            assert_eq!(
                matches(MatchType::Fnmatch, pattern, tag),
                expected,
                "{pattern} {tag}"
            );
        }
    }

    #[test]
    fn regular_expressions_are_bound_to_the_start_as_salt_does() {
        for (pattern, tag, expected) in [
            ("salt/job/", "salt/job/1", true),
            ("job", "salt/job/1", false),
            ("a|job", "salt/job/1", true),
            ("a$", "a\n", true),
            (r"a\Z", "a\n", false),
            ("[$]a", "$a", true),
            (r"\$a", "$a", true),
            ("(?:A)", "a", false),
            ("(?i:A)", "a", true),
            ("(?i)A|B", "a", true),
            ("(?i)A|B", "xb", true),
            ("(?i)A", "xa", false),
            ("(?s)a.b", "a\nb", true),
            ("(?x) a # start", "a", true),
            ("(?P<x>a)(?P=x)", "aa", true),
            ("a(?=b)", "ab", true),
        ] {
            assert_eq!(
                matches(MatchType::Regex, pattern, tag),
                expected,
                "{pattern} {tag:?}"
            );
        }
        for pattern in ["(", "x(?i)", "[a", "*", "(?i)*"] {
            assert!(
                TagMatch::new(MatchType::Regex, pattern).is_err(),
                "{pattern}"
            );
        }
    }

    #[test]
    fn a_whole_expression_is_bound_to_the_start() {
        for (pattern, text, expected) in [
            ("a|b", "ab", true),
            ("a|b", "xb", false),
            ("(?i)a|B", "b", true),
            ("(?i)a|B", "xb", false),
            ("(?m)a$", "a\nb", true),
            ("a$", "a\nb", false),
        ] {
            let compiled = RegexMatch::new(pattern).unwrap();
            assert_eq!(compiled.matches(text), expected, "{pattern} {text:?}");
        }
        assert!(RegexMatch::new("a|(").is_err());
    }

    #[test]
    fn flags_in_front_count_for_a_search() {
        let search = RegexSearch::new("(?i)B").unwrap();
        assert!(search.is_in("abc") && search.is_in("aBc") && !search.is_in("ac"));
    }

    #[test]
    fn an_error_says_what_is_wrong_and_where() {
        let error = TagMatch::new(MatchType::Regex, "job/[a").unwrap_err();
        assert_eq!(
            error.to_string(),
            "invalid regular expression \"job/[a\": unterminated character set at character 6"
        );
    }

    #[test]
    fn a_pattern_that_never_ends_is_no_match() {
        assert!(!matches(MatchType::Regex, r"(a+)+\1b", &"a".repeat(60)));
    }

    #[test]
    fn names_go_both_ways() {
        for name in ["startswith", "endswith", "find", "regex", "fnmatch"] {
            assert_eq!(name.parse::<MatchType>().unwrap().to_string(), name);
        }
        assert!("glob".parse::<MatchType>().is_err());
        assert_eq!(MatchType::from_option("glob"), Ok(MatchType::Fnmatch));
        assert_eq!(MatchType::from_option("find"), Ok(MatchType::Find));
        assert!(MatchType::from_option("globs").is_err());
    }
}
