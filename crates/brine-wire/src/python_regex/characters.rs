//! Single characters and sets of them: escapes, classes such as `\w`, and what stands in brackets.

use alloc::format;
use alloc::string::String;

use super::{Flags, Last, Translated, Translator, Width};

impl Translator {
    /// What follows a backslash outside of sets.
    pub(super) fn escape(&mut self, flags: Flags) -> Translated<Last> {
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
    pub(super) fn set(&mut self, flags: Flags) -> Translated<()> {
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
