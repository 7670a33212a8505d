//! Python's regular expressions, written anew for the engine we have.
//!
//! The two languages look alike and differ in detail: in what is an error, in what `$`, `\b`, `\w`,
//! `\Z` or `[[a]` mean. So a pattern is read as Python 3.11's `re` reads text, and what it means is
//! written in the few forms on which both agree. Knows nothing of tags. That the meaning is Python's
//! is tried in `tests/python_oracle`.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

/// Why a text is no regular expression of Python's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason} at character {position}")]
pub struct SyntaxError {
    /// What is wrong.
    pub reason: &'static str,
    /// Where, in characters from the start.
    pub position: usize,
}

/// The engine's expression for one of Python's. Flags for the whole expression, `(?i)`, are refused:
/// Python takes them only at the very start, where Salt puts something else.
///
/// # Errors
/// [`SyntaxError`] where Python's `re.compile` raises, and for characters by name (`\N{…}`).
pub fn translate(pattern: &str) -> Result<String, SyntaxError> {
    let mut translator = Translator::new(pattern);
    translator.whole(Flags::default())?;
    Ok(translator.out)
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

    /// What is in parentheses; `None` for a comment.
    fn group(&mut self, flags: Flags) -> Translated<Option<Last>> {
        let from = self.out.len();
        if !self.takes('?') {
            let width = self.capture(None, flags)?;
            return Ok(Some(Last::Item(from, width)));
        }
        let width = match self.next() {
            Some('#') => {
                self.until(')')?;
                return Ok(None);
            }
            Some(':') => self.inside("(?:", flags)?,
            Some('>') => self.inside("(?>", flags)?,
            Some('=') => self.look("(?=", flags)?,
            Some('!') => self.look("(?!", flags)?,
            Some('<') => match self.next() {
                Some('=') => self.look_behind("(?<=", flags)?,
                Some('!') => self.look_behind("(?<!", flags)?,
                _ => return self.refuse("unknown extension ?<"),
            },
            Some('P') => match self.next() {
                Some('<') => {
                    let name = self.until('>')?;
                    self.capture(Some(name), flags)?
                }
                Some('=') => {
                    let name = self.until(')')?;
                    let Some(group) = self.names.get(&name).copied() else {
                        return self.refuse("unknown group name");
                    };
                    self.reference(group)?
                }
                _ => return self.refuse("unknown extension ?P"),
            },
            Some('(') => self.condition(flags)?,
            Some(flag) if flag == '-' || Flags::is_flag(flag) => {
                self.at -= 1;
                self.flagged(flags)?
            }
            _ => return self.refuse("unknown extension"),
        };
        Ok(Some(Last::Item(from, width)))
    }

    /// The rest of a group: what is in it, and its end.
    fn inside(&mut self, opening: &str, flags: Flags) -> Translated<Width> {
        self.out.push_str(opening);
        self.depth += 1;
        let width = self.alternatives(flags)?;
        self.depth -= 1;
        if !self.takes(')') {
            return self.refuse("missing ), unterminated subpattern");
        }
        self.out.push(')');
        Ok(width)
    }

    fn look(&mut self, opening: &str, flags: Flags) -> Translated<Width> {
        self.inside(opening, flags)?;
        Ok(Width::default())
    }

    fn look_behind(&mut self, opening: &str, flags: Flags) -> Translated<Width> {
        let outer = self.lookbehind;
        self.lookbehind = outer.or(Some(self.groups.len()));
        let width = self.inside(opening, flags)?;
        self.lookbehind = outer;
        if width.least != width.most {
            return self.refuse("look-behind requires fixed-width pattern");
        }
        Ok(Width::default())
    }

    fn capture(&mut self, name: Option<String>, flags: Flags) -> Translated<Width> {
        self.groups.push(Group { width: None });
        let number = self.groups.len();
        if let Some(name) = name {
            if !is_identifier(&name) {
                return self.refuse("bad character in group name");
            }
            if self.names.insert(name, number).is_some() {
                return self.refuse("redefinition of group name");
            }
        }
        let width = self.inside("(", flags)?;
        self.groups[number - 1].width = Some(width);
        Ok(width)
    }

    fn reference(&mut self, group: usize) -> Translated<Width> {
        let width = match group
            .checked_sub(1)
            .and_then(|place| self.groups.get(place))
        {
            Some(Group { width: Some(width) }) => *width,
            Some(_) => return self.refuse("cannot refer to an open group"),
            None => return self.refuse("invalid group reference"),
        };
        self.check_look_behind(group)?;
        self.out.push_str(&format!("(?:\\{group})"));
        Ok(width)
    }

    fn check_look_behind(&self, group: usize) -> Translated<()> {
        if self.lookbehind.is_some_and(|outside| group > outside) {
            return self.refuse("cannot refer to group defined in the same lookbehind subpattern");
        }
        Ok(())
    }

    /// `(?(1)yes|no)`.
    fn condition(&mut self, flags: Flags) -> Translated<Width> {
        let name = self.until(')')?;
        let group = match (self.names.get(&name), name.parse()) {
            (Some(group), _) => *group,
            (None, Ok(group)) if group > 0 => group,
            _ => return self.refuse("bad group number or unknown group name"),
        };
        self.check_look_behind(group)?;
        self.conditions.push(group);
        self.out.push_str(&format!("(?({group})"));
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return self.refuse("expected fewer groups inside each other");
        }
        let mut width = self.sequence(flags)?;
        let mut otherwise = Width::default();
        if self.takes('|') {
            self.out.push('|');
            otherwise = self.sequence(flags)?;
        }
        width = width.or(otherwise);
        self.depth -= 1;
        if self.peek() == Some('|') {
            return self.refuse("conditional backref with more than two branches");
        }
        if !self.takes(')') {
            return self.refuse("missing ), unterminated subpattern");
        }
        self.out.push(')');
        Ok(width)
    }

    /// `(?i-s:…)`.
    fn flagged(&mut self, flags: Flags) -> Translated<Width> {
        let on = self.up_to(usize::MAX, Flags::is_flag);
        if on.contains('L') || (on.contains('a') && on.contains('u')) {
            return self.refuse("bad inline flags");
        }
        if self.takes(')') {
            return self.refuse("global flags not at the start of the expression");
        }
        let mut off = String::new();
        if self.takes('-') {
            off = self.up_to(usize::MAX, |flag| "imsx".contains(flag));
            if off.is_empty() || off.chars().any(|flag| on.contains(flag)) {
                return self.refuse("bad inline flags");
            }
        }
        if !self.takes(':') {
            return self.refuse("unknown flag, or missing -, : or )");
        }
        let inner = Flags {
            ascii: flags.ascii,
            dot_all: flags.dot_all && !off.contains('s'),
            multi_line: flags.multi_line && !off.contains('m'),
            verbose: flags.verbose && !off.contains('x'),
        }
        .with(&on);
        let opening = match (on.contains('i'), off.contains('i')) {
            (true, _) => "(?i:",
            (_, true) => "(?-i:",
            _ => "(?:",
        };
        self.inside(opening, inner)
    }

    /// What follows a backslash outside of sets.
    fn escape(&mut self, flags: Flags) -> Translated<Last> {
        let from = self.out.len();
        match self.peek() {
            Some('A') => return Ok(self.skip_to_place(r"\A")),
            Some('Z') => return Ok(self.skip_to_place(r"\z")),
            Some('b') => {
                let word = word_class(flags);
                let place = format!("(?:(?<={word})(?!{word})|(?<!{word})(?={word}))");
                return Ok(self.skip_to_place(&place));
            }
            Some('B') => {
                // An empty text has no boundaries and no places between them either.
                let word = word_class(flags);
                let place = format!(r"(?:(?<={word})(?={word})|(?<!{word})(?!{word}))(?!\A\z)");
                return Ok(self.skip_to_place(&place));
            }
            Some('1'..='9') => return self.numbered(from),
            _ => {}
        }
        match self.escaped(flags)? {
            Member::Character(code) => push_code(code, &mut self.out),
            Member::Class(class) => self.out.push_str(&format!("[{class}]")),
        }
        Ok(Last::Item(from, Width::ONE))
    }

    fn skip_to_place(&mut self, expression: &str) -> Last {
        self.at += 1;
        self.place(expression)
    }

    /// `\1` to `\99` refer to groups, three octal digits name a character.
    fn numbered(&mut self, from: usize) -> Translated<Last> {
        let start = self.at;
        let octal = self.up_to(3, |digit| ('0'..='7').contains(&digit));
        if octal.len() == 3 {
            let code = self.octal(&octal)?;
            push_code(code, &mut self.out);
            return Ok(Last::Item(from, Width::ONE));
        }
        self.at = start;
        let digits = self.up_to(2, |digit| digit.is_ascii_digit());
        let width = self.reference(digits.parse().unwrap_or(0))?;
        Ok(Last::Item(from, width))
    }

    fn octal(&self, digits: &str) -> Translated<u32> {
        match u32::from_str_radix(digits, 8) {
            Ok(code) if code <= 0o377 => Ok(code),
            _ => self.refuse("octal escape value outside of range 0-0o377"),
        }
    }

    /// What follows a backslash anywhere: a character or a class of them.
    fn escaped(&mut self, flags: Flags) -> Translated<Member> {
        let Some(character) = self.next() else {
            return self.refuse("bad escape (end of pattern)");
        };
        let code = match character {
            'd' | 'D' | 's' | 'S' | 'w' | 'W' => {
                return Ok(Member::Class(class(character, flags)));
            }
            'a' => 0x07,
            'b' => 0x08,
            'f' => 0x0c,
            'n' => 0x0a,
            'r' => 0x0d,
            't' => 0x09,
            'v' => 0x0b,
            'x' => self.hexadecimal(2)?,
            'u' => self.hexadecimal(4)?,
            'U' => self.hexadecimal(8)?,
            'N' => return self.refuse("characters by name (\\N) are not supported; use \\u"),
            '0'..='7' => {
                self.at -= 1;
                let digits = self.up_to(3, |digit| ('0'..='7').contains(&digit));
                self.octal(&digits)?
            }
            other if other.is_ascii_alphanumeric() => return self.refuse("bad escape"),
            other => other.into(),
        };
        Ok(Member::Character(code))
    }

    fn hexadecimal(&mut self, digits: usize) -> Translated<u32> {
        let found = self.up_to(digits, |digit| digit.is_ascii_hexdigit());
        match u32::from_str_radix(&found, 16) {
            Ok(code) if found.len() == digits && code <= u32::from(char::MAX) => Ok(code),
            _ => self.refuse("incomplete or bad escape"),
        }
    }

    /// `[…]`, whose bracket is taken.
    fn set(&mut self, flags: Flags) -> Translated<()> {
        let is_negated = self.takes('^');
        let (mut members, mut is_first) = (String::new(), true);
        loop {
            let member = match self.set_member(flags)? {
                None if !is_first => break,
                None => Member::Character(']'.into()),
                Some(member) => member,
            };
            is_first = false;
            if !self.takes('-') {
                member.push(&mut members);
                continue;
            }
            match (member, self.set_member(flags)?) {
                (member, None) => {
                    member.push(&mut members);
                    Member::Character('-'.into()).push(&mut members);
                    break;
                }
                (Member::Character(low), Some(Member::Character(high))) if low <= high => {
                    push_range(low, high, &mut members);
                }
                _ => return self.refuse("bad character range"),
            }
        }
        self.out.push_str(match (members.is_empty(), is_negated) {
            (true, false) => "(?!)",
            (true, true) => "(?s:.)",
            (false, false) => "[",
            (false, true) => "[^",
        });
        if !members.is_empty() {
            self.out.push_str(&members);
            self.out.push(']');
        }
        Ok(())
    }

    /// The next member; `None` for a closing bracket.
    fn set_member(&mut self, flags: Flags) -> Translated<Option<Member>> {
        match self.next() {
            None => self.refuse("unterminated character set"),
            Some(']') => Ok(None),
            Some('\\') if matches!(self.peek(), Some('A' | 'B' | 'Z' | '8' | '9')) => {
                self.refuse("bad escape")
            }
            Some('\\') => self.escaped(flags).map(Some),
            Some(character) => Ok(Some(Member::Character(character.into()))),
        }
    }
}

/// A member of a set.
enum Member {
    /// By its code, which may be one that no text contains.
    Character(u32),
    /// What replaces it in brackets.
    Class(String),
}

impl Member {
    fn push(&self, members: &mut String) {
        match self {
            Self::Character(code) => push_range(*code, *code, members),
            Self::Class(class) => members.push_str(&format!("[{class}]")),
        }
    }
}

/// The inside of the brackets for `\d` and its like. Python's words are letters and numbers, not
/// marks, and its spaces include the separators among the control characters.
fn class(kind: char, flags: Flags) -> String {
    let members = match (kind.to_ascii_lowercase(), flags.ascii) {
        ('d', false) => r"\p{Nd}",
        ('d', true) => "0-9",
        ('s', false) => r"\t-\r\x1c-\x1f\x85\p{Z}",
        ('s', true) => r"\t-\r ",
        (_, false) => r"\p{L}\p{N}_",
        (_, true) => "0-9A-Za-z_",
    };
    let negation = if kind.is_ascii_uppercase() { "^" } else { "" };
    [negation, members].concat()
}

fn word_class(flags: Flags) -> String {
    format!("[{}]", class('w', flags))
}

/// A range of codes in a set, without those that no text contains.
pub(crate) fn push_range(low: u32, high: u32, members: &mut String) {
    let low = if (0xd800..0xe000).contains(&low) {
        0xe000
    } else {
        low
    };
    let high = if (0xd800..0xe000).contains(&high) {
        0xd7ff
    } else {
        high
    };
    match low.cmp(&high) {
        core::cmp::Ordering::Less => members.push_str(&format!(r"\x{{{low:x}}}-\x{{{high:x}}}")),
        core::cmp::Ordering::Equal => members.push_str(&format!(r"\x{{{low:x}}}")),
        core::cmp::Ordering::Greater => {}
    }
}

/// One character by its code; nothing matches one that no text contains.
fn push_code(code: u32, out: &mut String) {
    match char::from_u32(code) {
        Some(character) => push_literal(character, out),
        None => out.push_str("(?!)"),
    }
}

/// A literal character outside of sets.
pub(crate) fn push_literal(character: char, out: &mut String) {
    if r"\.+*?()|[]{}^$".contains(character) {
        out.push('\\');
    }
    out.push(character);
}

const fn is_space(character: char) -> bool {
    matches!(character, ' ' | '\t'..='\r')
}

fn is_identifier(name: &str) -> bool {
    let mut characters = name.chars();
    characters
        .next()
        .is_some_and(|first| first == '_' || first.is_alphabetic())
        && characters.all(|next| next == '_' || next.is_alphanumeric())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_means_the_same_is_written_in_forms_both_know() {
        for (python, ours) in [
            ("a|b", "a|b"),
            ("^a$", r"\Aa(?=\n?\z)"),
            (r"a\Z", r"a\z"),
            ("(?m:^a$)", "(?:(?m:^)a(?m:$))"),
            ("(?i:a.)", r"(?i:a[^\n])"),
            ("(?s:.)", "(?:(?s:.))"),
            (r"[\d-]", r"[[\p{Nd}]\x{2d}]"),
            ("[]a]", r"[\x{5d}\x{61}]"),
            ("[^a-c]", r"[^\x{61}-\x{63}]"),
            ("[[a]", r"[\x{5b}\x{61}]"),
            (r"\ud800", "(?!)"),
            (r"\101\n", "A\n"),
            ("(a)\\1", r"(a)(?:\1)"),
            ("(?P<x>a)(?P=x)(?(x)b|c)", r"(a)(?:\1)(?(1)b|c)"),
            ("a{,2}b{3}?c++{", r"(?:a){0,2}(?:b){3,3}?(?>(?:c)+)\{"),
            ("(?x: a # b\n c)", "(?:ac)"),
            ("a(?#b)*", "(?:a)*"),
            ("<>", "<>"),
        ] {
            assert_eq!(translate(python).as_deref(), Ok(ours), "{python}");
        }
    }

    #[test]
    fn errors_are_pythons_and_say_where() {
        for (pattern, reason, position) in [
            ("(", "missing ), unterminated subpattern", 1),
            ("a)", "unbalanced parenthesis", 1),
            ("a**", "multiple repeat", 3),
            ("^*", "nothing to repeat", 2),
            ("a|*", "nothing to repeat", 3),
            ("[a", "unterminated character set", 2),
            ("[b-a]", "bad character range", 4),
            (r"\h", "bad escape", 2),
            (r"\1", "invalid group reference", 2),
            (r"(\1)", "cannot refer to an open group", 3),
            (
                "(?i)a",
                "global flags not at the start of the expression",
                4,
            ),
            ("(?<=a*)b", "look-behind requires fixed-width pattern", 7),
            ("a{2,1}", "min repeat greater than max repeat", 6),
            ("(?P<1>a)", "bad character in group name", 6),
            ("(?(2)a)", "invalid group reference", 7),
        ] {
            let expected = SyntaxError { reason, position };
            assert_eq!(translate(pattern), Err(expected), "{pattern}");
        }
    }

    #[test]
    fn a_whole_expressions_flags_stand_first() {
        for (python, ours) in [
            ("a|b", r"\A(?:a|b)"),
            ("(?i)a|b", r"\A(?i:a|b)"),
            ("(?#x)(?s)(?i).", r"\A(?i:(?s:.))"),
            ("(?x) # a\n (?i) b # c", r"\A(?i:b)"),
            ("(?i:a)b", r"\A(?:(?i:a)b)"),
        ] {
            assert_eq!(translate_match(python).as_deref(), Ok(ours), "{python}");
        }
        for pattern in [
            "a(?i)",
            "|(?i)a",
            "(?au)a",
            "(?a)(?u)a",
            "(?L)a",
            "(?i",
            "(?)a",
        ] {
            assert!(translate_match(pattern).is_err(), "{pattern}");
        }
    }

    #[test]
    fn nesting_is_bounded() {
        let deep = "(".repeat(10_000) + &")".repeat(10_000);
        assert!(translate(&deep).is_err());
        let bearable = "(".repeat(40) + &")".repeat(40);
        assert!(fancy_regex::Regex::new(&translate(&bearable).unwrap()).is_ok());
    }
}
