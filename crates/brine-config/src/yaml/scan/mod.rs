//! Characters to tokens, by the rules of YAML 1.1 as libyaml reads them.
//!
//! Indentation becomes start and end tokens; a `key:` is only known to be one at its colon, so
//! tokens wait in a queue while one of them may still turn out to be a key. Scalars are in
//! `text`, tags, anchors and directives in `names`, single characters in `characters`.

mod characters;
mod names;
mod text;
mod token;

use std::collections::VecDeque;

pub(super) use self::token::{Mark, Token, TokenKind};
use super::YamlError;

/// Why a text cannot be cut into tokens or put together from them.
type Syntax = &'static str;

/// How far before its colon a key may start, in characters, when it has no `?`.
const MAX_SIMPLE_KEY: usize = 1024;

/// Cuts a text into tokens; [`Scanner::peek`] and [`Scanner::next`] are all a parser needs.
pub(super) struct Scanner<'t> {
    text: &'t str,
    at: Mark,
    queue: VecDeque<Token>,
    /// How many tokens have left the queue.
    taken: usize,
    /// Open brackets and braces.
    flow_level: usize,
    /// The column of the innermost block collection; -1 outside of all.
    indent: isize,
    indents: Vec<isize>,
    /// Whether a key without `?` may start here.
    simple_key_allowed: bool,
    /// Per flow level, the token that may be a key.
    simple_keys: Vec<Option<SimpleKey>>,
    is_at_end: bool,
}

#[derive(Clone, Copy)]
struct SimpleKey {
    /// Only a key can be here, so a colon has to follow.
    is_required: bool,
    /// Which token it is, counted from the first.
    number: usize,
    mark: Mark,
}

impl<'t> Scanner<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        Self {
            text,
            at: Mark {
                byte: 0,
                index: 0,
                line: 0,
                column: 0,
            },
            queue: VecDeque::new(),
            taken: 0,
            flow_level: 0,
            indent: -1,
            indents: Vec::new(),
            simple_key_allowed: true,
            simple_keys: vec![None],
            is_at_end: false,
        }
    }

    /// The next token, which stays.
    pub(super) fn peek(&mut self) -> Result<&Token, YamlError> {
        self.fill()?;
        self.queue
            .front()
            .ok_or_else(|| self.at.syntax("unexpected end"))
    }

    /// The next token, which goes.
    pub(super) fn next(&mut self) -> Result<Token, YamlError> {
        self.fill()?;
        let token = self.queue.pop_front();
        self.taken += 1;
        token.ok_or_else(|| self.at.syntax("unexpected end"))
    }

    /// Reads on until it is certain what the next token is.
    fn fill(&mut self) -> Result<(), YamlError> {
        loop {
            self.drop_stale_keys()?;
            let taken = self.taken;
            let may_be_key = |key: &Option<SimpleKey>| key.is_some_and(|key| key.number == taken);
            let is_certain = !self.queue.is_empty() && !self.simple_keys.iter().any(may_be_key);
            if is_certain || self.is_at_end {
                return Ok(());
            }
            self.fetch()?;
        }
    }

    /// Reads one token, sometimes with others that it implies.
    fn fetch(&mut self) -> Result<(), YamlError> {
        self.skip_to_token();
        self.drop_stale_keys()?;
        self.unroll_indent(self.column());
        let is_flow = self.flow_level > 0;
        let next_is_blank = self.is_blank_or_end(1);
        match self.byte(0) {
            0 => self.fetch_stream_end(),
            b'%' if self.at.column == 0 => self.fetch_directive(),
            b'-' if self.is_document_mark(b"---") => {
                self.fetch_document_mark(TokenKind::DocumentStart)
            }
            b'.' if self.is_document_mark(b"...") => {
                self.fetch_document_mark(TokenKind::DocumentEnd)
            }
            b'[' => self.fetch_flow_start(TokenKind::FlowSequenceStart),
            b'{' => self.fetch_flow_start(TokenKind::FlowMappingStart),
            b']' => self.fetch_flow_end(TokenKind::FlowSequenceEnd),
            b'}' => self.fetch_flow_end(TokenKind::FlowMappingEnd),
            b',' => self.fetch_flow_entry(),
            b'-' if next_is_blank => self.fetch_block_entry(),
            b'?' if is_flow || next_is_blank => self.fetch_key(),
            b':' if is_flow || next_is_blank => self.fetch_value(),
            b'*' | b'&' => self.fetch_node_part(Self::scan_anchor),
            b'!' => self.fetch_node_part(Self::scan_tag),
            b'|' | b'>' if !is_flow => self.fetch_block_scalar(),
            b'\'' | b'"' => self.fetch_node_part(Self::scan_quoted),
            b'-' | b'?' | b':' => self.fetch_node_part(Self::scan_plain),
            b'#' | b'|' | b'>' | b'%' | b'@' | b'`' | b'\t' => {
                Err(self.at.syntax("no value can start with this character"))
            }
            _ => self.fetch_node_part(Self::scan_plain),
        }
    }

    fn fetch_stream_end(&mut self) -> Result<(), YamlError> {
        self.unroll_indent(-1);
        self.remove_simple_key()?;
        self.simple_key_allowed = false;
        self.is_at_end = true;
        self.push(TokenKind::StreamEnd, self.at);
        Ok(())
    }

    fn fetch_directive(&mut self) -> Result<(), YamlError> {
        self.unroll_indent(-1);
        self.remove_simple_key()?;
        self.simple_key_allowed = false;
        let token = self.scan_directive()?;
        self.queue.push_back(token);
        Ok(())
    }

    fn fetch_document_mark(&mut self, kind: TokenKind) -> Result<(), YamlError> {
        self.unroll_indent(-1);
        self.remove_simple_key()?;
        self.simple_key_allowed = false;
        self.push_indicator(kind, 3);
        Ok(())
    }

    fn fetch_flow_start(&mut self, kind: TokenKind) -> Result<(), YamlError> {
        self.save_simple_key()?;
        self.simple_keys.push(None);
        self.flow_level += 1;
        self.simple_key_allowed = true;
        self.push_indicator(kind, 1);
        Ok(())
    }

    fn fetch_flow_end(&mut self, kind: TokenKind) -> Result<(), YamlError> {
        self.remove_simple_key()?;
        if self.flow_level > 0 {
            self.flow_level -= 1;
            self.simple_keys.pop();
        }
        self.simple_key_allowed = false;
        self.push_indicator(kind, 1);
        Ok(())
    }

    fn fetch_flow_entry(&mut self) -> Result<(), YamlError> {
        self.remove_simple_key()?;
        self.simple_key_allowed = true;
        self.push_indicator(TokenKind::FlowEntry, 1);
        Ok(())
    }

    fn fetch_block_entry(&mut self) -> Result<(), YamlError> {
        if self.flow_level == 0 {
            if !self.simple_key_allowed {
                return Err(self.at.syntax("a list item cannot start here"));
            }
            self.roll_indent(self.at, None, TokenKind::BlockSequenceStart);
        }
        self.remove_simple_key()?;
        self.simple_key_allowed = true;
        self.push_indicator(TokenKind::BlockEntry, 1);
        Ok(())
    }

    fn fetch_key(&mut self) -> Result<(), YamlError> {
        if self.flow_level == 0 {
            if !self.simple_key_allowed {
                return Err(self.at.syntax("a key cannot start here"));
            }
            self.roll_indent(self.at, None, TokenKind::BlockMappingStart);
        }
        self.remove_simple_key()?;
        self.simple_key_allowed = self.flow_level == 0;
        self.push_indicator(TokenKind::Key, 1);
        Ok(())
    }

    fn fetch_value(&mut self) -> Result<(), YamlError> {
        if let Some(key) = self.simple_keys.last_mut().and_then(Option::take) {
            let token = Token {
                kind: TokenKind::Key,
                mark: key.mark,
            };
            self.queue.insert(key.number - self.taken, token);
            self.roll_indent(key.mark, Some(key.number), TokenKind::BlockMappingStart);
            self.simple_key_allowed = false;
        } else {
            if self.flow_level == 0 {
                if !self.simple_key_allowed {
                    return Err(self.at.syntax("a second `key: value` is not allowed here"));
                }
                self.roll_indent(self.at, None, TokenKind::BlockMappingStart);
            }
            self.simple_key_allowed = self.flow_level == 0;
        }
        self.push_indicator(TokenKind::Value, 1);
        Ok(())
    }

    /// Something that may be, or may begin, a key.
    fn fetch_node_part(
        &mut self,
        scan: fn(&mut Self) -> Result<TokenKind, YamlError>,
    ) -> Result<(), YamlError> {
        self.save_simple_key()?;
        self.simple_key_allowed = false;
        let mark = self.at;
        let kind = scan(self)?;
        self.push(kind, mark);
        Ok(())
    }

    fn fetch_block_scalar(&mut self) -> Result<(), YamlError> {
        self.remove_simple_key()?;
        self.simple_key_allowed = true;
        let mark = self.at;
        let kind = self.scan_block()?;
        self.push(kind, mark);
        Ok(())
    }

    fn push(&mut self, kind: TokenKind, mark: Mark) {
        self.queue.push_back(Token { kind, mark });
    }

    fn push_indicator(&mut self, kind: TokenKind, length: usize) {
        self.push(kind, self.at);
        for _ in 0..length {
            self.skip();
        }
    }

    /// Over blanks, comments and line breaks. Tabs are blanks where they cannot be indentation.
    fn skip_to_token(&mut self) {
        loop {
            if self.at.column == 0 && self.rest().starts_with('\u{FEFF}') {
                self.skip();
            }
            let tabs_are_fine = self.flow_level > 0 || !self.simple_key_allowed;
            while self.byte(0) == b' ' || (tabs_are_fine && self.byte(0) == b'\t') {
                self.skip();
            }
            if self.byte(0) == b'#' {
                self.skip_to_break();
            }
            if !self.is_break(0) {
                return;
            }
            self.skip_break();
            if self.flow_level == 0 {
                self.simple_key_allowed = true;
            }
        }
    }

    /// A key ends on its line and within [`MAX_SIMPLE_KEY`].
    fn drop_stale_keys(&mut self) -> Result<(), YamlError> {
        let at = self.at;
        for slot in &mut self.simple_keys {
            let is_stale = |key: &mut SimpleKey| {
                key.mark.line < at.line || key.mark.index + MAX_SIMPLE_KEY < at.index
            };
            if let Some(key) = slot.take_if(is_stale)
                && key.is_required
            {
                return Err(key.mark.syntax("expected `:` after this key"));
            }
        }
        Ok(())
    }

    /// Notes that the next token may be a key.
    fn save_simple_key(&mut self) -> Result<(), YamlError> {
        if !self.simple_key_allowed {
            return Ok(());
        }
        self.remove_simple_key()?;
        let key = SimpleKey {
            is_required: self.flow_level == 0 && self.indent == self.column(),
            number: self.taken + self.queue.len(),
            mark: self.at,
        };
        if let Some(slot) = self.simple_keys.last_mut() {
            *slot = Some(key);
        }
        Ok(())
    }

    fn remove_simple_key(&mut self) -> Result<(), YamlError> {
        match self.simple_keys.last_mut().and_then(Option::take) {
            Some(key) if key.is_required => Err(key.mark.syntax("expected `:` after this key")),
            _ => Ok(()),
        }
    }

    /// Opens a block collection when `mark` is further right than the innermost one.
    fn roll_indent(&mut self, mark: Mark, before: Option<usize>, kind: TokenKind) {
        let column = mark.column.cast_signed();
        if self.flow_level > 0 || self.indent >= column {
            return;
        }
        self.indents.push(self.indent);
        self.indent = column;
        let token = Token { kind, mark };
        match before {
            Some(number) => self.queue.insert(number - self.taken, token),
            None => self.queue.push_back(token),
        }
    }

    /// Closes the block collections that are further right than `column`.
    fn unroll_indent(&mut self, column: isize) {
        while self.flow_level == 0 && self.indent > column {
            self.push(TokenKind::BlockEnd, self.at);
            self.indent = self.indents.pop().unwrap_or(-1);
        }
    }
}
