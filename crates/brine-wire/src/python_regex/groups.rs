//! Everything in parentheses: captures, look-around, conditions, references and inline flags.

use alloc::format;
use alloc::string::String;

use super::{Flags, Group, Last, MAX_DEPTH, Translated, Translator, Width};

impl Translator {
    /// What is in parentheses; `None` for a comment.
    pub(super) fn group(&mut self, flags: Flags) -> Translated<Option<Last>> {
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

    pub(super) fn reference(&mut self, group: usize) -> Translated<Width> {
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
}

fn is_identifier(name: &str) -> bool {
    let mut characters = name.chars();
    characters
        .next()
        .is_some_and(|first| first == '_' || first.is_alphabetic())
        && characters.all(|next| next == '_' || next.is_alphanumeric())
}
