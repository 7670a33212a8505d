//! JSON straight to msgpack, with no value in between: several times as fast as reading and encoding,
//! for what events mostly are.
//!
//! Takes objects of few different keys and short arrays. What is larger, odd or wrong is `None`: it is
//! left to [`super::parse()`], which also says what is wrong. Where both take a text, the bytes are the
//! same.

use alloc::vec::Vec;
use core::ops::Range;

use super::parse::Parser;
use crate::msgpack;

/// The most members of an object and items of an array: as many as one byte of msgpack counts.
const MAX_ITEMS: usize = 15;
/// The deepest nesting.
const MAX_DEPTH: usize = 16;
/// The key of bytes, packed: [`super::BYTES_KEY`].
const BYTES: &[u8] = b"\xa6$bytes";

/// Reads a text and appends to `out`.
pub(crate) struct Packer<'a, 'o> {
    parser: Parser<'a>,
    pub(crate) out: &'o mut Vec<u8>,
}

/// A member that an object gets whether or not it is there, packed: key, then value.
pub(crate) type Extra<'a> = (&'a [u8], &'a [u8]);

impl<'a, 'o> Packer<'a, 'o> {
    pub(crate) fn new(text: &'a [u8], out: &'o mut Vec<u8>) -> Option<Self> {
        let parser = Parser::new(text).ok()?;
        Some(Self { parser, out })
    }

    /// Passes over white space and, if it comes next, over this.
    pub(crate) fn take(&mut self, token: &[u8]) -> bool {
        self.parser.space();
        let is_next = self.parser.rest().starts_with(token);
        if is_next {
            self.parser.at += token.len();
        }
        is_next
    }

    /// Whether nothing follows.
    pub(crate) fn is_done(&mut self) -> bool {
        self.parser.space();
        self.parser.rest().is_empty()
    }

    /// Passes over a string without escapes and gives its text.
    pub(crate) fn plain_text(&mut self) -> Option<&'a str> {
        self.parser.space();
        let start = self.parser.at + 1;
        if self.parser.rest().first() != Some(&b'"') {
            return None;
        }
        let length = plain_length(self.parser.bytes.get(start..)?)?;
        self.parser.at = start + length + 1;
        self.parser.text.get(start..start + length)
    }

    /// Packs an object; `extra` takes the place of its member of that key, or else comes last.
    pub(crate) fn object(&mut self, depth: usize, extra: Option<Extra<'_>>) -> Option<()> {
        let depth = (depth < MAX_DEPTH).then_some(depth + 1)?;
        let header = self.out.len();
        self.out.push(0);
        let mut keys = Keys::default();
        let mut has_extra = extra.is_none();
        if !self.take(b"{") {
            return None;
        }
        let mut is_over = self.take(b"}");
        while !is_over {
            let key = self.key(&mut keys)?;
            let value = self.out.len();
            self.value(depth)?;
            if let Some((name, instead)) = extra
                && self.out[key] == *name
            {
                self.out.truncate(value);
                self.out.extend_from_slice(instead);
                has_extra = true;
            }
            is_over = self.take(b"}");
            if !is_over && !self.take(b",") {
                return None;
            }
        }
        if let Some((name, value)) = extra.filter(|_| !has_extra) {
            keys.add(0..0)?;
            self.out.extend_from_slice(name);
            self.out.extend_from_slice(value);
        }
        self.out[header] = 0x80 | keys.count();
        Some(())
    }

    /// Packs a key that the object does not have yet, and passes over the colon.
    fn key(&mut self, keys: &mut Keys) -> Option<Range<usize>> {
        let start = self.out.len();
        self.string()?;
        let key = start..self.out.len();
        let text = &self.out[key.clone()];
        let is_known = (keys.all().iter()).any(|known| self.out[known.clone()] == *text);
        if is_known || text == BYTES || !self.take(b":") {
            return None;
        }
        keys.add(key.clone())?;
        Some(key)
    }

    fn array(&mut self, depth: usize) -> Option<()> {
        let depth = (depth < MAX_DEPTH).then_some(depth + 1)?;
        let header = self.out.len();
        self.out.push(0);
        self.parser.at += 1;
        let mut count = 0;
        let mut is_over = self.take(b"]");
        while !is_over {
            self.value(depth)?;
            count += 1;
            is_over = self.take(b"]");
            if !is_over && !self.take(b",") {
                return None;
            }
        }
        let count = u8::try_from(count).ok();
        self.out[header] = 0x90 | count.filter(|count| usize::from(*count) <= MAX_ITEMS)?;
        Some(())
    }

    fn value(&mut self, depth: usize) -> Option<()> {
        self.parser.space();
        match self.parser.rest().first()? {
            b'"' => self.string(),
            b'{' => self.object(depth, None),
            b'[' => self.array(depth),
            _ => {
                // Numbers and words are short.
                let value = self.parser.value(0).ok()?;
                msgpack::encode(&value, self.out);
                Some(())
            }
        }
    }

    fn string(&mut self) -> Option<()> {
        match self.plain_text() {
            Some(text) => msgpack::encode_str(text, self.out),
            None if self.parser.rest().first() == Some(&b'"') => {
                let text = self.parser.string().ok()?;
                msgpack::encode_str(&text, self.out);
            }
            None => return None,
        }
        Some(())
    }
}

/// How long a string is whose first character this is; `None` if it is not plain.
fn plain_length(text: &[u8]) -> Option<usize> {
    let end = (text.iter()).position(|byte| matches!(byte, b'"' | b'\\' | 0..=0x1f))?;
    (text[end] == b'"').then_some(end)
}

/// Where the keys of an object are, packed.
#[derive(Default)]
struct Keys {
    places: [Range<usize>; MAX_ITEMS],
    count: usize,
}

impl Keys {
    fn add(&mut self, key: Range<usize>) -> Option<()> {
        *self.places.get_mut(self.count)? = key;
        self.count += 1;
        Some(())
    }

    fn all(&self) -> &[Range<usize>] {
        &self.places[..self.count]
    }

    #[allow(clippy::cast_possible_truncation)] // 15 at most
    const fn count(&self) -> u8 {
        self.count as u8
    }
}
