//! Looking at single characters and moving over them.

use super::Scanner;

impl<'t> Scanner<'t> {
    pub(super) const fn column(&self) -> isize {
        self.at.column.cast_signed()
    }

    pub(super) fn rest(&self) -> &'t str {
        &self.text[self.at.byte..]
    }

    /// The byte `ahead` of here; 0 at the end, since no readable text holds a 0.
    pub(super) fn byte(&self, ahead: usize) -> u8 {
        let bytes = self.text.as_bytes();
        bytes.get(self.at.byte + ahead).copied().unwrap_or(0)
    }

    /// CR, LF, NEL, LS and PS.
    pub(super) fn is_break(&self, ahead: usize) -> bool {
        match self.byte(ahead) {
            b'\r' | b'\n' => true,
            0xC2 => self.byte(ahead + 1) == 0x85,
            0xE2 => self.byte(ahead + 1) == 0x80 && matches!(self.byte(ahead + 2), 0xA8 | 0xA9),
            _ => false,
        }
    }

    pub(super) fn is_blank(&self, ahead: usize) -> bool {
        matches!(self.byte(ahead), b' ' | b'\t')
    }

    pub(super) fn is_break_or_end(&self, ahead: usize) -> bool {
        self.byte(ahead) == 0 || self.is_break(ahead)
    }

    pub(super) fn is_blank_or_end(&self, ahead: usize) -> bool {
        self.is_blank(ahead) || self.is_break_or_end(ahead)
    }

    pub(super) fn is_document_mark(&self, mark: &[u8; 3]) -> bool {
        self.at.column == 0
            && self.rest().as_bytes().starts_with(mark)
            && self.is_blank_or_end(mark.len())
    }

    /// Skips one character that is not a line break.
    pub(super) fn skip(&mut self) {
        if let Some(c) = self.rest().chars().next() {
            self.at.byte += c.len_utf8();
            self.at.index += 1;
            self.at.column += 1;
        }
    }

    pub(super) fn skip_blanks(&mut self) {
        while self.is_blank(0) {
            self.skip();
        }
    }

    pub(super) fn skip_to_break(&mut self) {
        while !self.is_break_or_end(0) {
            self.skip();
        }
    }

    /// Over one line break, if there is one, and what it counts as in a text.
    pub(super) fn skip_break(&mut self) -> Option<char> {
        let c = self.rest().chars().next().filter(|_| self.is_break(0))?;
        let is_pair = c == '\r' && self.byte(1) == b'\n';
        self.at.byte += c.len_utf8() + usize::from(is_pair);
        self.at.index += 1 + usize::from(is_pair);
        self.at.line += 1;
        self.at.column = 0;
        Some(match c {
            '\u{2028}' | '\u{2029}' => c,
            _ => '\n',
        })
    }

    /// Moves one character to `text`.
    pub(super) fn read_into(&mut self, text: &mut String) {
        text.extend(self.rest().chars().next());
        self.skip();
    }
}
