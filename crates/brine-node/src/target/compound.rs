//! `G@os:Debian and not ( web* or L@m1,m2 )`: targets of all types combined.
//!
//! Words part at white space. Node groups are put in their place. The words become an expression with Python's
//! precedence: `not`, then `and`, then `or`. What Salt's master or its minions would not take for an expression
//! means nobody.

use brine_wire::{Map, Value};

use super::nodegroup::{self, nodegroup};
use super::patterns::Patterns;
use super::{Candidate, DELIMITER, Kind, TargetError};

/// How many words a target may have, node groups included.
pub(super) const MAX_WORDS: usize = 4096;
/// How deep node groups and parentheses may go.
pub(super) const MAX_DEPTH: usize = 64;

/// A compound target.
#[derive(Debug)]
pub(super) struct Compound(Expression);

#[derive(Debug)]
enum Expression {
    Is(Box<Kind>),
    Nobody,
    Not(Box<Self>),
    All(Vec<Self>),
    Any(Vec<Self>),
}

impl Compound {
    pub(super) fn parse(tgt: &Value, nodegroups: &Map) -> Result<Self, TargetError> {
        let words = words(tgt).ok_or(TargetError::Form)?;
        Self::of_words(&words, nodegroups).map_err(|why| TargetError::Compound {
            found: words.join(" "),
            why,
        })
    }

    pub(super) fn of_nodegroup(name: &str, nodegroups: &Map) -> Result<Self, TargetError> {
        let words = nodegroup(name, nodegroups)?;
        Self::of_words(&words, nodegroups).map_err(|why| TargetError::Compound {
            found: words.join(" "),
            why,
        })
    }

    fn of_words(words: &[String], nodegroups: &Map) -> Result<Self, &'static str> {
        if words.iter().all(|word| is_of_resources(word)) {
            return Ok(Self(Expression::Nobody));
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
            Self::Nobody => false,
            Self::Not(inner) => !inner.is_true(minion, patterns),
            Self::All(parts) => parts.iter().all(|part| part.is_true(minion, patterns)),
            Self::Any(parts) => parts.iter().any(|part| part.is_true(minion, patterns)),
        }
    }
}

/// The words of a compound target: of a text, or a list.
pub(super) fn words(tgt: &Value) -> Option<Vec<String>> {
    match tgt {
        Value::Str(text) => Some(split(text)),
        Value::Array(words) => words
            .iter()
            .map(|word| word.as_str().map(str::to_owned))
            .collect(),
        _ => None,
    }
}

/// A text's words, as Python's `split` parts them.
pub(super) fn split(text: &str) -> Vec<String> {
    let is_space = |c: char| c.is_whitespace() || matches!(c, '\x1c'..='\x1f');
    let words = text.split(is_space).filter(|word| !word.is_empty());
    words.map(str::to_owned).collect()
}

/// A word as targets have it that mean the resources of minions (3008), and none of these itself.
fn is_of_resources(word: &str) -> bool {
    matches!(word, "and" | "or" | "not" | "(" | ")")
        || word.starts_with("T@")
        || word.starts_with("M@")
}

/// The words with those of node groups in their place. A group that stands for nothing leaves nothing.
fn without_nodegroups(words: &[String], nodegroups: &Map) -> Result<Vec<String>, &'static str> {
    let mut all = Vec::new();
    for word in words {
        match nodegroup::named(word) {
            Some(name) => all.extend(nodegroup::resolve(name, nodegroups)?),
            None => all.push(word.clone()),
        }
        if all.len() > MAX_WORDS {
            return Err("it is too long");
        }
    }
    Ok(all)
}

/// `a not b` is `a and not b`; so is `not not b`, which is nothing then.
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
            return Err("it is too deep");
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
        None => Expression::Nobody,
    }
}

/// A word: an engine's letter with what it is to look for, else a shell pattern.
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
        // `M@` names the minion itself, whatever it manages.
        Some('L' | 'M') => "list",
        Some('S') => "ipcidr",
        Some('E') => "pcre",
        // Nobody manages resources here.
        Some('T') => return Ok(Expression::Nobody),
        Some(_) => return Err("it names an engine that there is not"),
    };
    let delimiter = delimiter.unwrap_or(DELIMITER);
    match Kind::parse(&pattern.into(), tgt_type, delimiter, &Map::new()) {
        Ok(kind) => Ok(Expression::Is(Box::new(kind))),
        Err(TargetError::Regex { .. }) => Err("it holds what is no regular expression"),
        // Of all else that cannot be understood, nobody is; and the rest of the target counts.
        Err(_) => Ok(Expression::Nobody),
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
        // Words of a list may hold line feeds: one at the end does not count, others hide the engine.
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
    fn words_are_parted_from_their_engines_as_salt_does() {
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
