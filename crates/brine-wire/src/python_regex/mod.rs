//! Translates Python's regular expressions into the syntax of the engine we have.
//!
//! The two languages look alike and differ in detail: in what is an error, in what `$`, `\b`, `\w`,
//! `\Z` or `[[a]` mean. So a pattern is parsed as Python 3.11's `re` parses it, and its meaning is
//! written in the few forms on which both agree. Knows nothing of tags. The test `tests/python_oracle` compares
//! the results with Python's.

mod characters;
mod groups;

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

pub(crate) use self::characters::{push_literal, push_range};

/// Why a text is not a regular expression of Python's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason} at character {position}")]
pub struct SyntaxError {
    /// What is wrong.
    pub reason: &'static str,
    /// Where, in characters from the start.
    pub position: usize,
}

/// The engine's expression for one of Python's. Flags for the whole expression, `(?i)`, stand first.
///
/// # Errors
/// [`SyntaxError`] where Python's `re.compile` raises, and for characters by name (`\N{…}`).
pub fn translate(pattern: &str) -> Result<String, SyntaxError> {
    let mut translator = Translator::new(pattern);
    let on = translator.leading_flags()?;
    translator.with_flags(&on)
}

/// The same for an expression before which Salt puts `^`, so that of `a|b` only `a` is bound to the start. Flags in front
/// count as they do before CPython 3.11, which finds them behind the `^` and raises.
///
/// # Errors
/// As [`translate`].
pub fn translate_at_start(pattern: &str) -> Result<String, SyntaxError> {
    let mut flags = Translator::new(pattern);
    let on = flags.leading_flags()?;
    let behind = flags.at;
    let mut anchored = String::from("^");
    anchored.extend(&flags.pattern[behind..]);
    let translated = Translator::new(&anchored).with_flags(&on);
    translated.map_err(|mut error| {
        error.position = (behind + error.position).saturating_sub(1); // as the caller counts
        error
    })
}

/// The same for what Python's `re.match` takes: all of it is bound to the text's start, and flags for
/// the whole expression may stand first.
///
/// # Errors
/// As [`translate`].
pub fn translate_match(pattern: &str) -> Result<String, SyntaxError> {
    let mut translator = Translator::new(pattern);
    let on = translator.leading_flags()?;
    let opening = if on.contains('i') {
        r"\A(?i:"
    } else {
        r"\A(?:"
    };
    translator.out.push_str(opening);
    translator.whole(Flags::default().with(&on))?;
    translator.out.push(')');
    Ok(translator.out)
}

/// The deepest nesting of groups: as much as the engine takes.
const MAX_DEPTH: usize = 50;

/// The flags that change what is written; that of case is the engine's.
#[derive(Debug, Clone, Copy, Default)]
struct Flags {
    ascii: bool,
    dot_all: bool,
    multi_line: bool,
    verbose: bool,
}

impl Flags {
    /// Whether a letter between `(?` and `)` is one.
    fn is_flag(letter: char) -> bool {
        "aiLmsux".contains(letter)
    }

    /// These, and those of some letters.
    fn with(self, on: &str) -> Self {
        Self {
            ascii: on.contains('a') || (self.ascii && !on.contains('u')),
            dot_all: self.dot_all || on.contains('s'),
            multi_line: self.multi_line || on.contains('m'),
            verbose: self.verbose || on.contains('x'),
        }
    }
}

/// How many characters something can match: look-behind needs to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Width {
    least: usize,
    most: usize,
}

impl Width {
    const ONE: Self = Self { least: 1, most: 1 };

    const fn plus(self, other: Self) -> Self {
        Self {
            least: self.least.saturating_add(other.least),
            most: self.most.saturating_add(other.most),
        }
    }

    fn or(self, other: Self) -> Self {
        Self {
            least: self.least.min(other.least),
            most: self.most.max(other.most),
        }
    }
}

/// A capturing group; its width is known once it is closed.
struct Group {
    width: Option<Width>,
}

/// What a repetition would repeat.
enum Last {
    Nothing,
    /// A place in the text, such as `^`: cannot be repeated.
    Place,
    /// Is repeated already.
    Repeated(Width),
    /// Begins here in what is written.
    Item(usize, Width),
}

impl Last {
    fn width(&self) -> Width {
        match self {
            Self::Nothing | Self::Place => Width::default(),
            Self::Repeated(width) | Self::Item(_, width) => *width,
        }
    }
}

struct Translator {
    pattern: Vec<char>,
    at: usize,
    out: String,
    groups: Vec<Group>,
    names: BTreeMap<String, usize>,
    /// Groups that conditions refer to, perhaps before they are opened.
    conditions: Vec<usize>,
    /// How many groups there were when the outermost look-behind around us began.
    lookbehind: Option<usize>,
    depth: usize,
}

type Translated<T> = Result<T, SyntaxError>;

impl Translator {
    fn new(pattern: &str) -> Self {
        Self {
            pattern: pattern.chars().collect(),
            at: 0,
            out: String::with_capacity(pattern.len() * 2),
            groups: Vec::new(),
            names: BTreeMap::new(),
            conditions: Vec::new(),
            lookbehind: None,
            depth: 0,
        }
    }

    /// The pattern from here to its end.
    /// All that follows, under the flags of some letters.
    fn with_flags(mut self, on: &str) -> Translated<String> {
        self.whole(Flags::default().with(on))?;
        Ok(match on.contains('i') {
            true => format!("(?i:{})", self.out),
            false => self.out,
        })
    }

    fn whole(&mut self, flags: Flags) -> Translated<()> {
        self.alternatives(flags)?;
        if self.at < self.pattern.len() {
            return self.refuse("unbalanced parenthesis");
        }
        let groups = self.groups.len();
        if self.conditions.iter().any(|group| *group > groups) {
            return self.refuse("invalid group reference");
        }
        Ok(())
    }

    /// The letters of all `(?i)` before anything else; comments may stand between them.
    fn leading_flags(&mut self) -> Translated<String> {
        let mut on = String::new();
        loop {
            let from = self.at;
            if on.contains('x')
                && self
                    .peek()
                    .is_some_and(|next| is_space(next) || next == '#')
            {
                self.skip_verbose();
                continue;
            }
            if self.takes('(') && self.takes('?') {
                if self.takes('#') {
                    self.until(')')?;
                    continue;
                }
                let letters = self.up_to(usize::MAX, Flags::is_flag);
                if !letters.is_empty() && self.takes(')') {
                    on.push_str(&letters);
                    if on.contains('L') || (on.contains('a') && on.contains('u')) {
                        return self.refuse("bad inline flags");
                    }
                    continue;
                }
            }
            self.at = from;
            return Ok(on);
        }
    }

    /// White space, or a comment up to the end of its line.
    fn skip_verbose(&mut self) {
        if self.next() == Some('#') {
            while !matches!(self.next(), None | Some('\n')) {}
        }
    }

    fn refuse<T>(&self, reason: &'static str) -> Translated<T> {
        Err(SyntaxError {
            reason,
            position: self.at,
        })
    }

    fn peek(&self) -> Option<char> {
        self.pattern.get(self.at).copied()
    }

    fn next(&mut self) -> Option<char> {
        let next = self.peek();
        self.at += usize::from(next.is_some());
        next
    }

    fn takes(&mut self, wanted: char) -> bool {
        let found = self.peek() == Some(wanted);
        self.at += usize::from(found);
        found
    }

    /// The characters up to `end`, which is taken too.
    fn until(&mut self, end: char) -> Translated<String> {
        let from = self.at;
        while let Some(character) = self.next() {
            if character == end {
                return Ok(self.pattern[from..self.at - 1].iter().collect());
            }
        }
        self.refuse("missing end of a name")
    }

    /// Up to `most` characters of a kind.
    fn up_to(&mut self, most: usize, wanted: fn(char) -> bool) -> String {
        let mut taken = String::new();
        while taken.len() < most
            && let Some(character) = self.peek().filter(|character| wanted(*character))
        {
            taken.push(character);
            self.at += 1;
        }
        taken
    }

    /// `a|b|c`, up to a closing parenthesis or the end.
    fn alternatives(&mut self, flags: Flags) -> Translated<Width> {
        if self.depth > MAX_DEPTH {
            return self.refuse("expected fewer groups inside each other");
        }
        let mut width = self.sequence(flags)?;
        while self.takes('|') {
            self.out.push('|');
            width = width.or(self.sequence(flags)?);
        }
        Ok(width)
    }

    /// What is between `|`, one item after the other.
    fn sequence(&mut self, flags: Flags) -> Translated<Width> {
        let (mut width, mut last) = (Width::default(), Last::Nothing);
        while let Some(character) = self.peek() {
            if matches!(character, '|' | ')') {
                break;
            }
            self.at += 1;
            let from = self.out.len();
            let next = match character {
                _ if flags.verbose && (is_space(character) || character == '#') => {
                    self.at -= 1;
                    self.skip_verbose();
                    continue;
                }
                '*' | '+' | '?' => {
                    let (least, most) = match character {
                        '*' => (0, None),
                        '+' => (1, None),
                        _ => (0, Some(1)),
                    };
                    last = self.repeat(&last, least, most)?;
                    continue;
                }
                '{' => match self.bounds()? {
                    Some((least, most)) => {
                        last = self.repeat(&last, least, most)?;
                        continue;
                    }
                    None => self.literal('{', from),
                },
                '(' => match self.group(flags)? {
                    Some(next) => next,
                    None => continue,
                },
                '\\' => self.escape(flags)?,
                '[' => {
                    self.set(flags)?;
                    Last::Item(from, Width::ONE)
                }
                '.' => {
                    self.out
                        .push_str(if flags.dot_all { "(?s:.)" } else { r"[^\n]" });
                    Last::Item(from, Width::ONE)
                }
                '^' => self.place(if flags.multi_line { "(?m:^)" } else { r"\A" }),
                '$' if flags.multi_line => self.place("(?m:$)"),
                '$' => self.place(r"(?=\n?\z)"),
                literal => self.literal(literal, from),
            };
            width = width.plus(last.width());
            last = next;
        }
        Ok(width.plus(last.width()))
    }

    fn place(&mut self, expression: &str) -> Last {
        self.out.push_str(expression);
        Last::Place
    }

    fn literal(&mut self, character: char, from: usize) -> Last {
        push_literal(character, &mut self.out);
        Last::Item(from, Width::ONE)
    }

    /// The bounds after `{`; `None`, and nothing taken, if it is a brace only.
    fn bounds(&mut self) -> Translated<Option<(u32, Option<u32>)>> {
        let from = self.at;
        if self.peek() == Some('}') {
            return Ok(None);
        }
        let least = self.up_to(usize::MAX, |character| character.is_ascii_digit());
        let most = if self.takes(',') {
            self.up_to(usize::MAX, |character| character.is_ascii_digit())
        } else {
            least.clone()
        };
        if !self.takes('}') {
            self.at = from;
            return Ok(None);
        }
        let number = |digits: &str| match digits {
            "" => Some(None),
            digits => digits.parse().ok().map(Some),
        };
        match (number(&least), number(&most)) {
            (Some(Some(least)), Some(Some(most))) if most < least => {
                self.refuse("min repeat greater than max repeat")
            }
            (Some(least), Some(most)) => Ok(Some((least.unwrap_or(0), most))),
            _ => self.refuse("the repetition number is too large"),
        }
    }

    fn repeat(&mut self, last: &Last, least: u32, most: Option<u32>) -> Translated<Last> {
        let (from, width) = match last {
            Last::Item(from, width) => (*from, *width),
            Last::Nothing | Last::Place => return self.refuse("nothing to repeat"),
            Last::Repeated(_) => return self.refuse("multiple repeat"),
        };
        let (is_possessive, is_lazy) = (self.takes('+'), self.takes('?'));
        if is_possessive && is_lazy {
            return self.refuse("multiple repeat");
        }
        let mut repeated = format!("(?:{})", self.out.split_off(from));
        match (least, most) {
            // The engine does not repeat what is empty.
            _ if width.most == 0 && least > 0 => {}
            _ if width.most == 0 && (is_lazy || most == Some(0)) => repeated.insert(3, '|'),
            _ if width.most == 0 => repeated.insert(repeated.len() - 1, '|'),
            (0, None) => repeated.push('*'),
            (1, None) => repeated.push('+'),
            (0, Some(1)) => repeated.push('?'),
            (least, None) => repeated.push_str(&format!("{{{least},}}")),
            (least, Some(most)) => repeated.push_str(&format!("{{{least},{most}}}")),
        }
        if is_lazy && width.most > 0 {
            repeated.push('?');
        }
        if is_possessive {
            repeated = format!("(?>{repeated})");
        }
        self.out.push_str(&repeated);
        let times = |count: Option<u32>| match count {
            Some(count) => usize::try_from(count).unwrap_or(usize::MAX),
            None => usize::MAX,
        };
        Ok(Last::Repeated(Width {
            least: width.least.saturating_mul(times(Some(least))),
            most: width.most.saturating_mul(times(most)),
        }))
    }
}

const fn is_space(character: char) -> bool {
    matches!(character, ' ' | '\t'..='\r')
}

#[cfg(test)]
mod tests;
