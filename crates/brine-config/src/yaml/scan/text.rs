//! Scalars: plain, quoted, and the block forms `|` and `>`, with YAML's folding of lines.

use super::{Scanner, TokenKind, YamlError};

/// The blanks and line breaks between two pieces of a scalar.
#[derive(Default)]
struct Gap {
    blanks: String,
    /// The first line break.
    first_break: Option<char>,
    /// The line breaks after it.
    more_breaks: String,
    /// A line break was passed, also an escaped one.
    has_break: bool,
}

impl Gap {
    /// Adds the meaning of the gap to `text`, and empties it.
    fn fold_into(&mut self, text: &mut String) {
        if !self.has_break {
            text.push_str(&self.blanks);
        } else if self.first_break == Some('\n') && self.more_breaks.is_empty() {
            text.push(' ');
        } else {
            text.extend(self.first_break.filter(|first| *first != '\n'));
            text.push_str(&self.more_breaks);
        }
        *self = Self::default();
    }
}

impl Scanner<'_> {
    pub(super) fn scan_plain(&mut self) -> Result<TokenKind, YamlError> {
        let indent = self.indent + 1;
        let mut text = String::new();
        let mut gap = Gap::default();
        while !self.is_any_document_mark() && self.byte(0) != b'#' {
            while !self.is_blank_or_end(0) && !self.is_end_of_plain()? {
                gap.fold_into(&mut text);
                self.read_into(&mut text);
            }
            if !self.is_blank(0) && !self.is_break(0) {
                break;
            }
            self.scan_gap(&mut gap, Some(indent))?;
            if self.flow_level == 0 && self.column() < indent {
                break;
            }
        }
        if gap.has_break {
            self.simple_key_allowed = true;
        }
        Ok(TokenKind::Scalar {
            text,
            is_plain: true,
        })
    }

    /// A colon before a blank, or inside brackets one of their signs.
    fn is_end_of_plain(&self) -> Result<bool, YamlError> {
        let is_flow = self.flow_level > 0;
        match self.byte(0) {
            b':' if is_flow && matches!(self.byte(1), b',' | b'?' | b'[' | b']' | b'{' | b'}') => {
                Err(self.at.syntax("expected a blank after `:`"))
            }
            b':' => Ok(self.is_blank_or_end(1)),
            b',' | b'[' | b']' | b'{' | b'}' => Ok(is_flow),
            _ => Ok(false),
        }
    }

    fn is_any_document_mark(&self) -> bool {
        self.is_document_mark(b"---") || self.is_document_mark(b"...")
    }

    /// Takes blanks and line breaks; in a plain scalar a tab cannot be indentation.
    fn scan_gap(&mut self, gap: &mut Gap, indent: Option<isize>) -> Result<(), YamlError> {
        loop {
            if self.is_blank(0) {
                let is_indentation = gap.has_break && indent > Some(self.column());
                if is_indentation && self.byte(0) == b'\t' {
                    return Err(self
                        .at
                        .syntax("expected spaces as indentation, found a tab"));
                }
                if gap.has_break {
                    self.skip();
                } else {
                    self.read_into(&mut gap.blanks);
                }
            } else if let Some(line_break) = self.skip_break() {
                if gap.has_break {
                    gap.more_breaks.push(line_break);
                } else {
                    gap.first_break = Some(line_break);
                    gap.has_break = true;
                }
            } else {
                return Ok(());
            }
        }
    }

    pub(super) fn scan_quoted(&mut self) -> Result<TokenKind, YamlError> {
        let start = self.at;
        let quote = self.byte(0);
        let mut text = String::new();
        self.skip();
        loop {
            if self.is_any_document_mark() {
                return Err(self
                    .at
                    .syntax("a document starts or ends inside a quoted text"));
            }
            if self.byte(0) == 0 {
                return Err(start.syntax("this quote is never closed"));
            }
            let mut gap = Gap::default();
            self.scan_quoted_word(quote, &mut text, &mut gap)?;
            if self.byte(0) == quote && !gap.has_break {
                self.skip();
                return Ok(TokenKind::Scalar {
                    text,
                    is_plain: false,
                });
            }
            self.scan_gap(&mut gap, None)?;
            gap.fold_into(&mut text);
        }
    }

    /// Up to the closing quote, a blank, a line break or an escaped line break.
    fn scan_quoted_word(
        &mut self,
        quote: u8,
        text: &mut String,
        gap: &mut Gap,
    ) -> Result<(), YamlError> {
        while !self.is_blank_or_end(0) {
            match (quote, self.byte(0)) {
                (b'\'', b'\'') if self.byte(1) == b'\'' => {
                    text.push('\'');
                    self.skip();
                    self.skip();
                }
                (_, c) if c == quote => return Ok(()),
                (b'"', b'\\') if self.is_break(1) => {
                    self.skip();
                    self.skip_break();
                    gap.has_break = true;
                    return Ok(());
                }
                (b'"', b'\\') => text.push(self.scan_escape()?),
                _ => self.read_into(text),
            }
        }
        Ok(())
    }

    fn scan_escape(&mut self) -> Result<char, YamlError> {
        let start = self.at;
        self.skip();
        let escaped = match self.byte(0) {
            b'0' => '\0',
            b'a' => '\x07',
            b'b' => '\x08',
            b't' | b'\t' => '\t',
            b'n' => '\n',
            b'v' => '\x0B',
            b'f' => '\x0C',
            b'r' => '\r',
            b'e' => '\x1B',
            c @ (b' ' | b'"' | b'/' | b'\\') => char::from(c),
            b'N' => '\u{85}',
            b'_' => '\u{A0}',
            b'L' => '\u{2028}',
            b'P' => '\u{2029}',
            length @ (b'x' | b'u' | b'U') => {
                self.skip();
                let length = match length {
                    b'x' => 2,
                    b'u' => 4,
                    _ => 8,
                };
                return self.scan_code_point(length);
            }
            _ => return Err(start.syntax("no such escape; write a backslash as `\\\\`")),
        };
        self.skip();
        Ok(escaped)
    }

    fn scan_code_point(&mut self, length: usize) -> Result<char, YamlError> {
        let mut code = 0_u32;
        for _ in 0..length {
            let Some(digit) = char::from(self.byte(0)).to_digit(16) else {
                return Err(self.at.syntax("expected a hexadecimal digit"));
            };
            code = code << 4 | digit;
            self.skip();
        }
        char::from_u32(code).ok_or_else(|| self.at.syntax("no character has this number"))
    }

    pub(super) fn scan_block(&mut self) -> Result<TokenKind, YamlError> {
        let is_literal = self.byte(0) == b'|';
        self.skip();
        let header = self.scan_block_header()?;
        let mut indent = header.indentation.map(|more| self.indent.max(0) + more);
        let mut text = String::new();
        let mut first_break: Option<char> = None;
        let mut more_breaks = self.scan_block_breaks(&mut indent)?;
        let mut was_indented = false;
        while Some(self.column()) == indent && self.byte(0) != 0 {
            let is_indented = self.is_blank(0);
            let folds = !is_literal && first_break == Some('\n') && !was_indented && !is_indented;
            match first_break.take() {
                Some(_) if folds => text.extend(more_breaks.is_empty().then_some(' ')),
                kept => text.extend(kept),
            }
            text.push_str(&more_breaks);
            was_indented = is_indented;
            let line = self.at.byte;
            self.skip_to_break();
            text.push_str(&self.text[line..self.at.byte]);
            first_break = self.skip_break();
            more_breaks = self.scan_block_breaks(&mut indent)?;
        }
        if header.chomping != Chomping::Strip {
            text.extend(first_break);
        }
        if header.chomping == Chomping::Keep {
            text.push_str(&more_breaks);
        }
        Ok(TokenKind::Scalar {
            text,
            is_plain: false,
        })
    }

    /// `+` or `-` and a digit, in either order, then nothing but a comment.
    fn scan_block_header(&mut self) -> Result<BlockHeader, YamlError> {
        let mut header = BlockHeader {
            chomping: Chomping::Clip,
            indentation: None,
        };
        loop {
            match self.byte(0) {
                c @ (b'+' | b'-') if header.chomping == Chomping::Clip => {
                    header.chomping = match c {
                        b'+' => Chomping::Keep,
                        _ => Chomping::Strip,
                    };
                }
                c @ b'1'..=b'9' if header.indentation.is_none() => {
                    header.indentation = Some(isize::from(c - b'0'));
                }
                _ => break,
            }
            self.skip();
        }
        self.skip_blanks();
        if self.byte(0) == b'#' {
            self.skip_to_break();
        }
        if !self.is_break_or_end(0) {
            return Err(self.at.syntax("expected a new line after `|` or `>`"));
        }
        self.skip_break();
        Ok(header)
    }

    /// Takes empty lines and indentation; the first line with text says how much that is.
    fn scan_block_breaks(&mut self, indent: &mut Option<isize>) -> Result<String, YamlError> {
        let mut breaks = String::new();
        let mut widest = 0;
        loop {
            let is_inside = |column: isize| indent.is_none_or(|indent| column < indent);
            while is_inside(self.column()) && self.byte(0) == b' ' {
                self.skip();
            }
            widest = widest.max(self.column());
            if is_inside(self.column()) && self.byte(0) == b'\t' {
                return Err(self
                    .at
                    .syntax("expected spaces as indentation, found a tab"));
            }
            match self.skip_break() {
                Some(line_break) => breaks.push(line_break),
                None => break,
            }
        }
        indent.get_or_insert(widest.max(self.indent + 1).max(1));
        Ok(breaks)
    }
}

struct BlockHeader {
    chomping: Chomping,
    /// How much further than its parent the text is indented.
    indentation: Option<isize>,
}

/// What becomes of the line breaks at the end of a block scalar.
#[derive(PartialEq, Eq)]
enum Chomping {
    /// One stays.
    Clip,
    /// None stays: `-`.
    Strip,
    /// All stay: `+`.
    Keep,
}
