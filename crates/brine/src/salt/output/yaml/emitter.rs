//! Writing YAML: indentation, breaking long scalars, escapes. Facts: libyaml 0.2.5.

use std::fmt::Write;

use super::scalar::{Kind, Quotes, Scalar, Unescaped, is_break};

/// Longer lines are broken where YAML permits it.
const WIDTH: usize = 80;

/// The position of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// In a list, or the document itself.
    Item,
    /// A key on the line of its colon.
    SimpleKey,
    /// A value, or a long key.
    Value,
}

/// The text so far, and the state at its end.
#[derive(Debug)]
pub(super) struct Emitter {
    out: String,
    step: usize,
    pub(super) unescaped: Unescaped,
    /// `None` before the first container.
    indent: Option<usize>,
    flow_level: usize,
    column: usize,
    /// The last character was a blank, or a mark that needs no blank after it.
    after_blank: bool,
    /// Nothing but blanks and marks of block containers on this line.
    at_line_start: bool,
}

impl Emitter {
    pub(super) const fn new(step: usize, unescaped: Unescaped) -> Self {
        Self {
            out: String::new(),
            step,
            unescaped,
            indent: None,
            flow_level: 0,
            column: 0,
            after_blank: true,
            at_line_start: true,
        }
    }

    /// The document.
    pub(super) fn finish(mut self) -> String {
        self.indent = None;
        self.line();
        self.out
    }

    pub(super) const fn is_in_flow(&self) -> bool {
        self.flow_level > 0
    }

    /// Begins a block container; returns the outer indentation.
    pub(super) fn enter(&mut self) -> Option<usize> {
        let outside = self.indent;
        self.indent = Some(outside.map_or(0, |indent| indent + self.step));
        outside
    }

    /// Begins a block list, which is not indented further than its key.
    pub(super) fn enter_list(&mut self, place: Place) -> Option<usize> {
        let outside = self.indent;
        if place == Place::Value && !self.at_line_start {
            self.indent = Some(outside.unwrap_or(0));
            return outside;
        }
        self.enter()
    }

    pub(super) const fn leave(&mut self, outside: Option<usize>) {
        self.indent = outside;
    }

    pub(super) fn enter_flow(&mut self, bracket: &str) -> Option<usize> {
        self.indicator(bracket, true, true, false);
        self.flow_level += 1;
        self.move_in()
    }

    /// Indents the lines that follow in a scalar or in brackets, those of the document too.
    fn move_in(&mut self) -> Option<usize> {
        let outside = self.indent;
        self.indent = Some(outside.unwrap_or(0) + self.step);
        outside
    }

    pub(super) fn leave_flow(&mut self, outside: Option<usize>, bracket: &str) {
        self.flow_level -= 1;
        self.indent = outside;
        self.join(bracket);
    }

    /// A new line, where a container has grown wide.
    pub(super) fn break_if_wide(&mut self) {
        if self.column > WIDTH {
            self.line();
        }
    }

    /// A mark, separated by a blank, that begins a nested block: `-`, `?`, `:`.
    pub(super) fn mark(&mut self, mark: &str) {
        self.indicator(mark, true, false, true);
    }

    pub(super) fn mark_in_flow(&mut self, mark: &str) {
        self.indicator(mark, true, false, false);
    }

    /// A mark without a blank before it.
    pub(super) fn join(&mut self, mark: &str) {
        self.indicator(mark, false, false, false);
    }

    /// Moves to the indentation, on a new line unless this one is empty.
    pub(super) fn line(&mut self) {
        let indent = self.indent.unwrap_or(0);
        if !self.at_line_start
            || self.column > indent
            || (self.column == indent && !self.after_blank)
        {
            self.put_break('\n');
        }
        while self.column < indent {
            self.put(' ');
        }
        self.after_blank = true;
        self.at_line_start = true;
    }

    pub(super) fn scalar(&mut self, scalar: &Scalar<'_>, place: Place) {
        let is_key = place == Place::SimpleKey;
        let may_break = !is_key;
        if scalar.kind == Kind::Binary {
            self.indicator("!!binary", true, false, false);
            if !is_key && !self.is_in_flow() && !scalar.text.is_empty() {
                return self.literal(&scalar.text);
            }
            return self.double(&scalar.text, may_break);
        }
        let outside = self.move_in();
        match scalar.quotes(self.is_in_flow(), is_key) {
            Quotes::None => self.plain(&scalar.text, may_break),
            Quotes::Single => self.single(&scalar.text, may_break),
            Quotes::Double => self.double(&scalar.text, may_break),
        }
        self.indent = outside;
    }

    fn plain(&mut self, text: &str, may_break: bool) {
        if !self.after_blank && (!text.is_empty() || self.is_in_flow()) {
            self.put(' ');
        }
        let mut chars = text.chars().peekable();
        let mut after_space = false;
        while let Some(c) = chars.next() {
            let is_followed_by_space = chars.peek() == Some(&' ');
            let may_break = may_break && !after_space && !is_followed_by_space;
            after_space = c == ' ';
            if after_space && may_break && self.column > WIDTH {
                self.line();
            } else {
                self.put(c);
            }
            self.at_line_start &= after_space;
        }
        self.after_blank = false;
        self.at_line_start = false;
    }

    fn single(&mut self, text: &str, may_break: bool) {
        self.indicator("'", true, false, false);
        let (mut after_space, mut after_break) = (false, false);
        let mut chars = text.char_indices().peekable();
        while let Some((at, c)) = chars.next() {
            let next = chars.peek().map(|(_, next)| *next);
            if c == ' ' {
                let is_inside = at != 0 && next.is_some_and(|next| next != ' ');
                if may_break && !after_space && self.column > WIDTH && is_inside {
                    self.line();
                } else {
                    self.put(' ');
                }
                after_space = true;
            } else if is_break(c) {
                if !after_break && c == '\n' {
                    self.put_break('\n');
                }
                self.put_break(c);
                self.at_line_start = true;
                after_break = true;
            } else {
                if after_break {
                    self.line();
                }
                if c == '\'' {
                    self.put('\'');
                }
                self.put(c);
                self.at_line_start = false;
                (after_space, after_break) = (false, false);
            }
        }
        if after_break {
            self.line();
        }
        self.join("'");
        self.after_blank = false;
        self.at_line_start = false;
    }

    fn double(&mut self, text: &str, may_break: bool) {
        self.indicator("\"", true, false, false);
        let mut after_space = false;
        let mut chars = text.char_indices().peekable();
        while let Some((at, c)) = chars.next() {
            let next = chars.peek().map(|(_, next)| *next);
            if !self.unescaped.contains(c) || is_break(c) || matches!(c, '"' | '\\') {
                self.escape(c);
                after_space = false;
            } else if c == ' ' {
                let is_inside = at != 0 && next.is_some();
                if may_break && !after_space && self.column > WIDTH && is_inside {
                    self.line();
                    if next == Some(' ') {
                        self.put('\\');
                    }
                } else {
                    self.put(' ');
                }
                after_space = true;
            } else {
                self.put(c);
                after_space = false;
            }
        }
        self.join("\"");
        self.after_blank = false;
        self.at_line_start = false;
    }

    fn escape(&mut self, c: char) {
        let short = match c {
            '\0' => '0',
            '\u{7}' => 'a',
            '\u{8}' => 'b',
            '\t' => 't',
            '\n' => 'n',
            '\u{b}' => 'v',
            '\u{c}' => 'f',
            '\r' => 'r',
            '\u{1b}' => 'e',
            '"' => '"',
            '\\' => '\\',
            '\u{85}' => 'N',
            '\u{a0}' => '_',
            '\u{2028}' => 'L',
            '\u{2029}' => 'P',
            _ => {
                let before = self.out.len();
                // Writing to a String cannot fail.
                let _ = match u32::from(c) {
                    code @ ..=0xff => write!(self.out, "\\x{code:02X}"),
                    code @ ..=0xffff => write!(self.out, "\\u{code:04X}"),
                    code => write!(self.out, "\\U{code:08X}"),
                };
                self.column += self.out.len() - before;
                return;
            }
        };
        self.put('\\');
        self.put(short);
    }

    /// A block with its line breaks kept: base64.
    fn literal(&mut self, text: &str) {
        self.indicator("|", true, false, false);
        let outside = self.move_in();
        for line in text.lines() {
            self.at_line_start = false;
            self.line();
            for c in line.chars() {
                self.put(c);
            }
        }
        self.at_line_start = false;
        self.after_blank = false;
        self.indent = outside;
    }

    fn indicator(&mut self, mark: &str, needs_blank: bool, is_blank: bool, nests: bool) {
        if needs_blank && !self.after_blank {
            self.put(' ');
        }
        for c in mark.chars() {
            self.put(c);
        }
        self.after_blank = is_blank;
        self.at_line_start &= nests;
    }

    fn put(&mut self, c: char) {
        self.out.push(c);
        self.column += 1;
    }

    fn put_break(&mut self, c: char) {
        self.out.push(c);
        self.column = 0;
    }
}
