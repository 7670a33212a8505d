//! Tags, anchors, aliases and directives.

use super::{Mark, Scanner, Syntax, Token, TokenKind, YamlError};

/// The longest prefix a `%TAG` directive may give a handle, in bytes.
const MAX_PREFIX: usize = 1024;

impl Scanner<'_> {
    /// `&name` and `*name`.
    pub(super) fn scan_anchor(&mut self) -> Result<TokenKind, YamlError> {
        const EXPECTED: Syntax = "expected a name of ASCII letters, digits, `-` and `_`";
        let is_alias = self.byte(0) == b'*';
        self.skip();
        let name = self.scan_word();
        let ends_well = self.is_blank_or_end(0)
            || matches!(
                self.byte(0),
                b'?' | b':' | b',' | b']' | b'}' | b'%' | b'@' | b'`'
            );
        if name.is_empty() || !ends_well {
            return Err(self.at.syntax(EXPECTED));
        }
        Ok(if is_alias {
            TokenKind::Alias(name)
        } else {
            TokenKind::Anchor(name)
        })
    }

    /// ASCII letters, digits, `-` and `_`.
    fn scan_word(&mut self) -> String {
        let mut word = String::new();
        while is_word(self.byte(0)) {
            self.read_into(&mut word);
        }
        word
    }

    /// `!`, `!suffix`, `!!suffix`, `!handle!suffix` and `!<the whole tag>`.
    pub(super) fn scan_tag(&mut self) -> Result<TokenKind, YamlError> {
        let (handle, suffix) = if self.byte(1) == b'<' {
            self.skip();
            self.skip();
            let tag = self.scan_uri(Within::Brackets, String::new())?;
            if self.byte(0) != b'>' {
                return Err(self.at.syntax("expected `>` at the end of the tag"));
            }
            self.skip();
            (String::new(), tag)
        } else {
            let handle = self.scan_tag_handle();
            if handle.len() > 1 && handle.ends_with('!') {
                let suffix = self.scan_uri(Within::Handle, String::new())?;
                (handle, suffix)
            } else {
                let start = handle[1..].to_owned();
                let suffix = self.scan_uri(Within::Nothing, start)?;
                match suffix.as_str() {
                    "" => (String::new(), "!".to_owned()),
                    _ => ("!".to_owned(), suffix),
                }
            }
        };
        let ends_well = self.is_blank_or_end(0) || (self.flow_level > 0 && self.byte(0) == b',');
        if !ends_well {
            return Err(self.at.syntax("expected a blank after the tag"));
        }
        Ok(TokenKind::Tag(handle, suffix))
    }

    /// `!`, a word, and a second `!` if there is one.
    fn scan_tag_handle(&mut self) -> String {
        let mut handle = String::new();
        self.read_into(&mut handle);
        handle.push_str(&self.scan_word());
        if self.byte(0) == b'!' {
            self.read_into(&mut handle);
        }
        handle
    }

    /// A tag's text with its `%xx` read, appended to `uri`.
    fn scan_uri(&mut self, within: Within, uri: String) -> Result<String, YamlError> {
        let mut uri = uri.into_bytes();
        let may_be_empty = within == Within::Nothing;
        loop {
            let c = self.byte(0);
            match c {
                b'%' => uri.push(self.scan_percent()?),
                b',' | b'[' | b']' if within == Within::Brackets => {
                    uri.push(c);
                    self.skip();
                }
                b';' | b'/' | b'?' | b':' | b'@' | b'&' | b'=' | b'+' | b'$' | b'.' | b'!'
                | b'~' | b'*' | b'\'' | b'(' | b')' => {
                    uri.push(c);
                    self.skip();
                }
                _ if is_word(c) => {
                    uri.push(c);
                    self.skip();
                }
                _ => break,
            }
        }
        if uri.is_empty() && !may_be_empty {
            return Err(self.at.syntax("expected a tag"));
        }
        String::from_utf8(uri).map_err(|_| self.at.syntax("the tag's `%` escapes are not UTF-8"))
    }

    fn scan_percent(&mut self) -> Result<u8, YamlError> {
        let digit = |c: u8| char::from(c).to_digit(16);
        let (Some(high), Some(low)) = (digit(self.byte(1)), digit(self.byte(2))) else {
            return Err(self.at.syntax("expected two hexadecimal digits after `%`"));
        };
        for _ in 0..3 {
            self.skip();
        }
        Ok(u8::try_from(high << 4 | low).unwrap_or(0))
    }

    /// `%YAML` and `%TAG`.
    pub(super) fn scan_directive(&mut self) -> Result<Token, YamlError> {
        let mark = self.at;
        self.skip();
        let name = self.scan_word();
        if !self.is_blank_or_end(0) {
            return Err(self
                .at
                .syntax("expected a blank after the directive's name"));
        }
        let kind = match name.as_str() {
            "YAML" => self.scan_version()?,
            "TAG" => self.scan_tag_prefix(mark)?,
            _ => {
                return Err(
                    mark.syntax("expected %YAML or %TAG; quote a text that starts with `%`")
                );
            }
        };
        self.skip_blanks();
        if self.byte(0) == b'#' {
            self.skip_to_break();
        }
        if !self.is_break_or_end(0) {
            return Err(self.at.syntax("expected a new line after the directive"));
        }
        self.skip_break();
        Ok(Token { kind, mark })
    }

    fn scan_version(&mut self) -> Result<TokenKind, YamlError> {
        self.skip_blanks();
        let major = self.scan_number()?;
        if self.byte(0) != b'.' {
            return Err(self.at.syntax("expected a version such as 1.1"));
        }
        self.skip();
        let minor = self.scan_number()?;
        Ok(TokenKind::Version(major, minor))
    }

    fn scan_number(&mut self) -> Result<u32, YamlError> {
        const MAX_DIGITS: usize = 9;
        let mut digits = String::new();
        while self.byte(0).is_ascii_digit() && digits.len() <= MAX_DIGITS {
            self.read_into(&mut digits);
        }
        digits
            .parse()
            .ok()
            .filter(|_| digits.len() <= MAX_DIGITS)
            .ok_or_else(|| self.at.syntax("expected a version such as 1.1"))
    }

    fn scan_tag_prefix(&mut self, mark: Mark) -> Result<TokenKind, YamlError> {
        const EXPECTED: Syntax = "expected `%TAG !handle! prefix`";
        self.skip_blanks();
        if self.byte(0) != b'!' {
            return Err(mark.syntax(EXPECTED));
        }
        let handle = self.scan_tag_handle();
        if !handle.ends_with('!') || !self.is_blank(0) {
            return Err(mark.syntax(EXPECTED));
        }
        self.skip_blanks();
        let prefix = self.scan_uri(Within::Brackets, String::new())?;
        // Each tag with this handle is as long as the prefix: a short text could fill the memory.
        if prefix.len() > MAX_PREFIX {
            return Err(mark.syntax("the prefix of a %TAG directive is too long"));
        }
        if !self.is_blank_or_end(0) {
            return Err(self.at.syntax("expected a blank after the tag's prefix"));
        }
        Ok(TokenKind::TagPrefix(handle, prefix))
    }
}

/// What comes before a tag's text.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Within {
    /// `!` alone, after which nothing need come.
    Nothing,
    /// `!handle!`.
    Handle,
    /// `!<`, or a directive: `,`, `[` and `]` are allowed.
    Brackets,
}

const fn is_word(c: u8) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_')
}
