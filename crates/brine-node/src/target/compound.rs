//! Compound targets such as `G@os:Debian and not ( web* or L@m1,m2 )`.
//!
//! A target is split into words at white space, and node groups are replaced by theirs. The words are parsed with
//! Python's precedence: `not`, then `and`, then `or`. A target that Salt's master or its minions would not accept as
//! an expression selects no minion.

use brine_wire::nodegroup::{self, MAX_DEPTH, MAX_WORDS, nodegroup};
use brine_wire::{Map, Value};

use super::patterns::Patterns;
use super::{Candidate, DELIMITER, Kind, TargetError};

/// Why an expression is refused.
const TOO_LONG: &str = "too long";

/// A compound target.
#[derive(Debug)]
pub(super) struct Compound(Expression);

#[derive(Debug)]
enum Expression {
    Is(Box<Kind>),
    Never,
    Not(Box<Self>),
    All(Vec<Self>),
    Any(Vec<Self>),
}

impl Compound {
    pub(super) fn parse(tgt: &Value, nodegroups: &Map) -> Result<Self, TargetError> {
        let words = nodegroup::words(tgt).ok_or(TargetError::Form)?;
        Self::of_words(&words, nodegroups).map_err(|why| TargetError::Compound {
            found: words.join(" "),
            why,
        })
    }

    pub(super) fn of_nodegroup(name: &str, nodegroups: &Map) -> Result<Self, TargetError> {
        let words = nodegroup(name, nodegroups)?.words;
        Self::of_words(&words, nodegroups).map_err(|why| TargetError::Compound {
            found: words.join(" "),
            why,
        })
    }

    fn of_words(words: &[String], nodegroups: &Map) -> Result<Self, &'static str> {
        if words.iter().all(|word| is_of_resources(word)) {
            return Ok(Self(Expression::Never));
        }
        let words = with_and_before_not(without_nodegroups(words, nodegroups)?);
        let mut reader = Reader {
            words: &words,
            at: 0,
            depth: 0,
        };
        let expression = reader.any()?;
        if reader.at < words.len() {
            return Err("an operator or a parenthesis is missing");
        }
        Ok(Self(expression))
    }

    pub(super) fn matches(&self, minion: Candidate<'_>, patterns: &Patterns) -> bool {
        self.0.is_true(minion, patterns)
    }
}

impl Expression {
    fn is_true(&self, minion: Candidate<'_>, patterns: &Patterns) -> bool {
        match self {
            Self::Is(kind) => kind.matches(minion, patterns),
            Self::Never => false,
            Self::Not(inner) => !inner.is_true(minion, patterns),
            Self::All(parts) => parts.iter().all(|part| part.is_true(minion, patterns)),
            Self::Any(parts) => parts.iter().any(|part| part.is_true(minion, patterns)),
        }
    }
}

/// A word that selects only resources of minions (3008), which Brine's minions do not have.
fn is_of_resources(word: &str) -> bool {
    matches!(word, "and" | "or" | "not" | "(" | ")")
        || word.starts_with("T@")
        || word.starts_with("M@")
}

/// The words with node groups replaced by their definitions. An empty group leaves nothing.
fn without_nodegroups(words: &[String], nodegroups: &Map) -> Result<Vec<String>, &'static str> {
    let mut all = Vec::new();
    for word in words {
        match nodegroup::named(word) {
            Some(name) => {
                let group = nodegroup::resolve(name, nodegroups).map_err(|_| TOO_LONG)?;
                all.extend(group.words);
            }
            None => all.push(word.clone()),
        }
        if all.len() > MAX_WORDS {
            return Err(TOO_LONG);
        }
    }
    Ok(all)
}

/// Reads `a not b` as `a and not b`. `not not b` becomes invalid that way, as in Salt.
fn with_and_before_not(words: Vec<String>) -> Vec<String> {
    let mut all: Vec<String> = Vec::with_capacity(words.len());
    for word in words {
        let stands_well = |last: &String| matches!(last.as_str(), "and" | "or" | "(");
        if word == "not" && !all.last().is_none_or(stands_well) {
            all.push("and".to_owned());
        }
        all.push(word);
    }
    all
}

struct Reader<'a> {
    words: &'a [String],
    at: usize,
    depth: usize,
}

impl Reader<'_> {
    fn next_is(&mut self, word: &str) -> bool {
        let is = self.words.get(self.at).is_some_and(|next| next == word);
        self.at += usize::from(is);
        is
    }

    fn any(&mut self) -> Result<Expression, &'static str> {
        let mut parts = vec![self.all()?];
        while self.next_is("or") {
            parts.push(self.all()?);
        }
        Ok(one_or(parts, Expression::Any))
    }

    fn all(&mut self) -> Result<Expression, &'static str> {
        let mut parts = vec![self.one()?];
        while self.next_is("and") {
            parts.push(self.one()?);
        }
        Ok(one_or(parts, Expression::All))
    }

    fn one(&mut self) -> Result<Expression, &'static str> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err("nested too deeply");
        }
        let expression = if self.next_is("not") {
            Expression::Not(Box::new(self.one()?))
        } else if self.next_is("(") {
            let inner = self.any()?;
            if !self.next_is(")") {
                return Err("a parenthesis is not closed");
            }
            inner
        } else {
            self.leaf()?
        };
        self.depth -= 1;
        Ok(expression)
    }

    fn leaf(&mut self) -> Result<Expression, &'static str> {
        let word = self.words.get(self.at).ok_or("it ends too early")?;
        if matches!(word.as_str(), "and" | "or" | ")") {
            return Err("an operand is missing");
        }
        self.at += 1;
        leaf(word)
    }
}

fn one_or(
    mut parts: Vec<Expression>,
    many: impl FnOnce(Vec<Expression>) -> Expression,
) -> Expression {
    match parts.pop() {
        Some(one) if parts.is_empty() => one,
        Some(last) => {
            parts.push(last);
            many(parts)
        }
        None => Expression::Never,
    }
}

/// Parses a word: an engine's letter and its pattern, else a shell pattern.
fn leaf(word: &str) -> Result<Expression, &'static str> {
    let Word {
        engine,
        delimiter,
        pattern,
    } = Word::parse(word);
    let tgt_type = match engine {
        None => "glob",
        Some('G') => "grain",
        Some('P') => "grain_pcre",
        Some('I') => "pillar",
        Some('J') => "pillar_pcre",
        // `M@` names the minion itself, whatever resources it manages.
        Some('L' | 'M') => "list",
        Some('S') => "ipcidr",
        Some('E') => "pcre",
        // Brine's minions manage no resources.
        Some('T') => return Ok(Expression::Never),
        Some(_) => return Err("unknown engine"),
    };
    let delimiter = delimiter.unwrap_or(DELIMITER);
    match Kind::parse(&pattern.into(), tgt_type, delimiter, &Map::new()) {
        Ok(kind) => Ok(Expression::Is(Box::new(kind))),
        Err(TargetError::Regex { .. }) => Err("bad regular expression"),
        // Any other target that cannot be parsed selects no minion; the rest of the expression still counts.
        Err(_) => Ok(Expression::Never),
    }
}

/// `G@…`, `G|@…`, or neither.
#[derive(Debug, PartialEq)]
struct Word<'a> {
    engine: Option<char>,
    delimiter: Option<&'a str>,
    pattern: &'a str,
}

impl<'a> Word<'a> {
    fn parse(word: &'a str) -> Self {
        // Words of a list may contain line feeds: one at the end does not count, others hide the engine.
        let line = word.strip_suffix('\n').unwrap_or(word);
        let marked = if line.contains('\n') {
            None
        } else {
            Self::marked(line)
        };
        marked.unwrap_or(Self {
            engine: None,
            delimiter: None,
            pattern: word,
        })
    }

    fn marked(word: &'a str) -> Option<Self> {
        const ENGINES: &str = "GPIJLNSERTM";
        const WITH_DELIMITER: &str = "GPIJ";
        let engine = word.chars().next().filter(|c| ENGINES.contains(*c))?;
        let rest = &word[1..];
        let after_mark =
            |rest: &'a str| rest.strip_prefix('@').filter(|pattern| !pattern.is_empty());
        // `G@@x` has the delimiter `@`.
        if WITH_DELIMITER.contains(engine)
            && let Some(delimiter) = rest.chars().next()
            && let (delimiter, rest) = rest.split_at(delimiter.len_utf8())
            && let Some(pattern) = after_mark(rest)
        {
            return Some(Self {
                engine: Some(engine),
                delimiter: Some(delimiter),
                pattern,
            });
        }
        after_mark(rest).map(|pattern| Self {
            engine: Some(engine),
            delimiter: None,
            pattern,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn engines_are_recognised_as_in_salt() {
        for (word, engine, delimiter, pattern) in [
            ("web*", None, None, "web*"),
            ("G@os:x", Some('G'), None, "os:x"),
            ("G|@os|x", Some('G'), Some("|"), "os|x"),
            ("G☃@os☃x", Some('G'), Some("☃"), "os☃x"),
            ("G@@os@x", Some('G'), Some("@"), "os@x"),
            ("G@@", Some('G'), None, "@"),
            ("L|@x", None, None, "L|@x"),
            ("L@@x", Some('L'), None, "@x"),
            ("G@", None, None, "G@"),
            ("Ga", None, None, "Ga"),
            ("", None, None, ""),
            ("G@a\n", Some('G'), None, "a"),
            ("G@a\nb", None, None, "G@a\nb"),
        ] {
            let expected = Word {
                engine,
                delimiter,
                pattern,
            };
            assert_eq!(Word::parse(word), expected, "{word:?}");
        }
    }
}
