//! `G@os:Debian and not ( web* or L@m1,m2 )`: targets of all types combined.
//!
//! Words part at white space. Node groups are put in their place, each once on the way down. The words
//! become an expression with Python's precedence: `not`, then `and`, then `or`.

use brine_wire::{Map, Value};

use super::patterns::Patterns;
use super::{Candidate, DELIMITER, Kind, TargetError};

/// How many words a target may have, node groups included.
const MAX_WORDS: usize = 4096;
/// How deep node groups and parentheses may go.
const MAX_DEPTH: usize = 64;

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
        let shown = || words.join(" ");
        let wrong = |why| TargetError::Compound {
            found: shown(),
            why,
        };
        let mut flat = Vec::new();
        expand(&words, nodegroups, &mut Vec::new(), &mut flat).map_err(wrong)?;
        let flat = with_and_before_not(flat);
        let mut reader = Reader {
            words: &flat,
            at: 0,
            depth: 0,
        };
        let expression = reader.any().map_err(wrong)?;
        if reader.at < flat.len() {
            return Err(wrong("an operator or a parenthesis is missing"));
        }
        Ok(Self(expression))
    }

    pub(super) fn of_nodegroup(name: &str, nodegroups: &Map) -> Result<Self, TargetError> {
        Self::parse(&format!("N@{name}").into(), nodegroups)
    }

    pub(super) fn matches(&self, minion: Candidate<'_>, patterns: &Patterns) -> bool {
        self.0.is_true(minion, patterns)
    }
}

/// The words of a node group, those of groups it names in their place, in parentheses.
///
/// # Errors
/// [`TargetError`] if there is no such group, or one that names itself.
pub fn nodegroup(name: &str, nodegroups: &Map) -> Result<Vec<String>, TargetError> {
    let word = format!("N@{name}");
    let mut flat = Vec::new();
    let expanded = expand(
        std::slice::from_ref(&word),
        nodegroups,
        &mut Vec::new(),
        &mut flat,
    );
    expanded.map_err(|why| TargetError::Compound { found: word, why })?;
    // Its own parentheses are of use only beside other words.
    flat.pop();
    flat.remove(0);
    Ok(flat)
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

fn words(tgt: &Value) -> Option<Vec<String>> {
    match tgt {
        Value::Str(text) => Some(text.split_whitespace().map(str::to_owned).collect()),
        Value::Array(words) => words
            .iter()
            .map(|word| word.as_str().map(str::to_owned))
            .collect(),
        _ => None,
    }
}

/// Puts node groups in their place.
fn expand(
    words: &[String],
    nodegroups: &Map,
    inside: &mut Vec<String>,
    flat: &mut Vec<String>,
) -> Result<(), &'static str> {
    for word in words {
        if flat.len() >= MAX_WORDS {
            return Err("it is too long");
        }
        let Some(name) = word.strip_prefix("N@") else {
            flat.push(word.clone());
            continue;
        };
        if inside.iter().any(|known| known == name) || inside.len() >= MAX_DEPTH {
            return Err("a node group names itself");
        }
        let group = nodegroups.get(name).and_then(self::words);
        let group = group.ok_or("there is no such node group")?;
        inside.push(name.to_owned());
        flat.push("(".to_owned());
        expand(&group, nodegroups, inside, flat)?;
        flat.push(")".to_owned());
        inside.pop();
    }
    Ok(())
}

/// `a not b` is `a and not b`.
fn with_and_before_not(words: Vec<String>) -> Vec<String> {
    let mut all: Vec<String> = Vec::with_capacity(words.len());
    for word in words {
        let operand_before = all
            .last()
            .is_some_and(|last| !matches!(last.as_str(), "and" | "or" | "(" | "not"));
        if word == "not" && operand_before {
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
    let (engine, delimiter, pattern) = split(word);
    let tgt_type = match engine {
        None => "glob",
        Some('G') => "grain",
        Some('P') => "grain_pcre",
        Some('I') => "pillar",
        Some('J') => "pillar_pcre",
        Some('L') => "list",
        Some('S') => "ipcidr",
        Some('E') => "pcre",
        Some(_) => return Err("it names an engine that there is not"),
    };
    let delimiter = delimiter.unwrap_or(DELIMITER);
    // What cannot be understood matches nobody, and the rest of the target counts.
    Ok(
        match Kind::parse(&pattern.into(), tgt_type, delimiter, &Map::new()) {
            Ok(kind) => Expression::Is(Box::new(kind)),
            Err(_) => Expression::Nobody,
        },
    )
}

/// `G@…`, `G|@…` or neither.
fn split(word: &str) -> (Option<char>, Option<&str>, &str) {
    const ENGINES: &str = "GPIJLNSERTM";
    const WITH_DELIMITER: &str = "GPIJ";
    let mut characters = word.char_indices();
    let Some((_, engine)) = characters
        .next()
        .filter(|(_, letter)| ENGINES.contains(*letter))
    else {
        return (None, None, word);
    };
    let rest = characters.as_str();
    if let Some(pattern) = rest.strip_prefix('@').filter(|pattern| !pattern.is_empty()) {
        // `G@@x` has the delimiter `@`.
        if WITH_DELIMITER.contains(engine) && pattern.starts_with('@') && pattern.len() > 1 {
            return (Some(engine), Some("@"), &pattern[1..]);
        }
        return (Some(engine), None, pattern);
    }
    let mut rest_characters = rest.chars();
    if WITH_DELIMITER.contains(engine)
        && let Some(delimiter) = rest_characters.next()
        && let Some(pattern) = rest_characters
            .as_str()
            .strip_prefix('@')
            .filter(|pattern| !pattern.is_empty())
    {
        return (Some(engine), rest.get(..delimiter.len_utf8()), pattern);
    }
    (None, None, word)
}
