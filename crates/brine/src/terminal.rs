//! Stdout and stderr of the whole program: text from outside cannot act on a terminal.
//!
//! Minions, strangers and other programs choose tags, ids, returns and log fields. On a terminal, control characters
//! among them would move the cursor, rename the window or answer questions, and bidirectional ones would reorder a
//! line. Both writers here print them escaped (`\x1b`, `\u202e`) when they write to a terminal, and unchanged when
//! they write to a file or a pipe. Colours pass, since the program prints them itself: foreign text can at most be
//! coloured. Nothing else in this crate may open the two streams; `cargo xtask tidy` checks that.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io::{self, IsTerminal as _, Write};
use std::os::fd::AsFd;
use std::time::Duration;

use brine_view::text::width;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::termios::tcgetwinsize;

/// Prose is not broken where fewer columns than these are left for it.
const NARROW: usize = 16;

/// Stdout.
pub(crate) fn stdout() -> Shown<io::Stdout> {
    let stdout = io::stdout();
    let is_terminal = stdout.is_terminal();
    Shown::new("stdout", stdout, is_terminal)
}

/// Stderr.
pub(crate) fn stderr() -> Shown<io::StderrLock<'static>> {
    let stderr = io::stderr().lock();
    let is_terminal = stderr.is_terminal();
    Shown::new("stderr", stderr, is_terminal)
}

/// Stdout for a command that draws the whole screen: it needs every sequence, so nothing is escaped here. The caller
/// must pass text from outside through [`crate::show::visible`] first.
pub(crate) fn screen() -> io::Stdout {
    io::stdout()
}

/// How many columns and lines the terminal on stdout has; `None` if stdout is not a terminal.
pub(crate) fn size() -> Option<(usize, usize)> {
    if !io::stdout().is_terminal() {
        return None;
    }
    let (columns, lines) = ratatui::crossterm::terminal::size().ok()?;
    // A terminal that does not know says 0.
    (columns > 0).then_some((columns.into(), lines.into()))
}

/// Prose with lines of at most this many columns where words allow it: the continuation of a line is indented by
/// `hang` more than the line. A word that is longer than a line, such as a path, stays in one piece, so that it can be
/// copied.
fn wrapped_at(columns: usize, text: &str, hang: usize) -> String {
    let mut wrapped = String::with_capacity(text.len() + 32);
    for (nth, line) in text.split('\n').enumerate() {
        if nth > 0 {
            wrapped.push('\n');
        }
        let own = line.len() - line.trim_start_matches(' ').len();
        let indent = own + hang;
        let mut column = 0;
        for (nth, word) in line.split(' ').enumerate() {
            let width = columns_of(word);
            let is_over = column + 1 + width > columns && indent + width <= columns;
            if nth > 0 && is_over && column > indent {
                wrapped.push('\n');
                wrapped.extend(std::iter::repeat_n(' ', indent));
                column = indent;
            } else if nth > 0 {
                wrapped.push(' ');
                column += 1;
            }
            wrapped.push_str(word);
            column += width;
        }
    }
    wrapped
}

/// How many columns a word takes, without its colours.
fn columns_of(word: &str) -> usize {
    let mut parts = word.split("\x1b[");
    let first = parts.next().map_or(0, width);
    let after_colour = |part: &str| width(part.split_once('m').map_or(part, |(_, rest)| rest));
    first + parts.map(after_colour).sum::<usize>()
}

/// Whether stdout is a terminal on which lines can be taken back.
pub(crate) fn can_move() -> bool {
    size().is_some() && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// Whether stdout is a pipe whose reader has ended: a command that waits for events would else notice it only with the
/// next one.
pub(crate) fn reader_is_gone() -> bool {
    let stdout = io::stdout();
    let mut polled = [PollFd::new(&stdout, PollFlags::empty())];
    let now = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    rustix::event::poll(&mut polled, Some(&now)).is_ok()
        && polled[0].revents().contains(PollFlags::ERR)
}

/// Waits until there is something to read on stdin. Empty if a signal or the time ended the wait; with
/// [`PollFlags::HUP`] if the other end, or the terminal, is closed.
///
/// # Errors
/// What the system says.
pub(crate) fn wait_for_input(wait: Duration) -> io::Result<PollFlags> {
    let stdin = io::stdin();
    let mut polled = [PollFd::new(&stdin, PollFlags::IN)];
    let wait = Timespec::try_from(wait).ok();
    match rustix::event::poll(&mut polled, wait.as_ref()) {
        Ok(_) => Ok(polled[0].revents()),
        Err(Errno::INTR) => Ok(PollFlags::empty()),
        Err(error) => Err(error.into()),
    }
}

/// The characters that text from outside is shown without: text for a terminal that a program draws on itself.
pub(crate) fn shown(text: &str) -> Cow<'_, str> {
    if !text.contains(acts) {
        return text.into();
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        push(c, &mut shown);
    }
    shown.into()
}

/// Writes text that may come from outside; escapes it on a terminal. The rest of a character that arrives in
/// pieces is awaited until the writer is flushed or dropped.
#[derive(Debug)]
pub(crate) struct Shown<W: Write> {
    /// What errors call it.
    name: &'static str,
    out: W,
    is_terminal: bool,
    /// The beginning of a character or of a colour.
    pending: Vec<u8>,
}

impl<W: Write> Shown<W> {
    pub(crate) const fn new(name: &'static str, out: W, is_terminal: bool) -> Self {
        Self {
            name,
            out,
            is_terminal,
            pending: Vec::new(),
        }
    }

    /// Whether this is a terminal.
    pub(crate) const fn is_terminal(&self) -> bool {
        self.is_terminal
    }

    /// Prose of this program, broken between words at the terminal's width ([`wrapped_at`]); the text itself if this
    /// is not a terminal. Not for lines that are data.
    pub(crate) fn wrapped<'a>(&self, text: &'a str, hang: usize) -> Cow<'a, str>
    where
        W: AsFd,
    {
        let size = self.is_terminal.then(|| tcgetwinsize(&self.out));
        match size {
            // A terminal that does not know says 0; in very narrow ones no word would have room.
            Some(Ok(size)) if usize::from(size.ws_col) >= NARROW + hang => {
                wrapped_at(size.ws_col.into(), text, hang).into()
            }
            _ => text.into(),
        }
    }

    /// Writes a line of prose, [`Self::wrapped`].
    pub(crate) fn prose(&mut self, line: &str, hang: usize) -> io::Result<()>
    where
        W: AsFd,
    {
        let line = self.wrapped(line, hang);
        writeln!(self, "{line}")
    }

    /// Writes what has arrived, escaped. An incomplete end is kept, or escaped too if nothing can follow.
    fn show(&mut self, bytes: &[u8], is_last: bool) -> io::Result<()> {
        let bytes = [&std::mem::take(&mut self.pending)[..], bytes].concat();
        let mut text = String::with_capacity(bytes.len());
        let mut end = 0;
        for chunk in bytes.utf8_chunks() {
            end += chunk.valid().len() + chunk.invalid().len();
            let is_open = !is_last && end == bytes.len();
            let kept = show_text(
                chunk.valid(),
                is_open && chunk.invalid().is_empty(),
                &mut text,
            );
            self.pending.extend_from_slice(kept.as_bytes());
            if is_open && is_incomplete(chunk.invalid()) {
                self.pending.extend_from_slice(chunk.invalid());
            } else {
                for byte in chunk.invalid() {
                    let _ = write!(text, "\\x{byte:02x}"); // to a String: cannot fail
                }
            }
        }
        self.out.write_all(text.as_bytes())
    }
}

/// Adds text, escaped. Returns the beginning of a colour at its end, if more may follow.
fn show_text<'a>(mut rest: &'a str, is_open: bool, text: &mut String) -> &'a str {
    while let Some(at) = rest.find(acts) {
        text.push_str(&rest[..at]);
        rest = &rest[at..];
        let length = match colour(rest.as_bytes()) {
            Colour::Known(length) => {
                text.push_str(&rest[..length]);
                length
            }
            Colour::Incomplete if is_open => return rest,
            Colour::Incomplete | Colour::None => {
                let c = rest.chars().next().unwrap_or_default();
                push(c, text);
                c.len_utf8()
            }
        };
        rest = &rest[length..];
    }
    text.push_str(rest);
    ""
}

/// Whether the bytes are the beginning of a character.
fn is_incomplete(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_err_and(|error| error.error_len().is_none())
}

impl<W: Write> Write for Shown<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = match self.is_terminal {
            false => self.out.write(bytes),
            true => self.show(bytes, false).map(|()| bytes.len()),
        };
        written.map_err(|error| named(self.name, &error))
    }

    fn flush(&mut self) -> io::Result<()> {
        let shown = match self.pending.is_empty() {
            true => Ok(()),
            false => self.show(&[], true),
        };
        let flushed = shown.and_then(|()| self.out.flush());
        flushed.map_err(|error| named(self.name, &error))
    }
}

impl<W: Write> Drop for Shown<W> {
    fn drop(&mut self) {
        // As for any buffered writer, only a flush reports errors.
        let _ = match self.pending.is_empty() {
            true => Ok(()),
            false => self.show(&[], true),
        };
    }
}

/// The error with the name of the stream: `No space left on device` alone does not say where.
fn named(name: &str, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{name}: {error}"))
}

/// The longest colour, in bytes: `ESC [ 0 ; 1 ; 3 6 m` and some to spare.
const MAX_COLOUR: usize = 12;

enum Colour {
    /// One of this program's, of so many bytes.
    Known(usize),
    /// The beginning of one.
    Incomplete,
    None,
}

/// The colour at the start, as this program prints them. Hidden text, black and backgrounds are not among them.
fn colour(bytes: &[u8]) -> Colour {
    const KNOWN: [&[u8]; 14] = [
        b"", b"0", b"1", b"2", b"3", b"4", b"22", b"31", b"32", b"33", b"34", b"35", b"36", b"37",
    ];
    /// Salt's dark grey, in which `--out table` prints keys: bold, so that it is not black on black.
    const DARK_GREY: &[u8] = b"0;1;30";
    let start = &bytes[..bytes.len().min(MAX_COLOUR)];
    let Some(codes) = start.strip_prefix(b"\x1b[") else {
        return match start {
            b"\x1b" => Colour::Incomplete,
            _ => Colour::None,
        };
    };
    let is_code = |byte: &&u8| matches!(byte, b'0'..=b'9' | b';');
    let length = codes.iter().take_while(is_code).count();
    let is_known = |codes: &[u8]| {
        let mut each = codes.split(|byte| *byte == b';');
        codes == DARK_GREY || each.all(|code| KNOWN.contains(&code))
    };
    match codes.get(length) {
        Some(b'm') if is_known(&codes[..length]) => Colour::Known(2 + length + 1),
        None if start.len() < MAX_COLOUR => Colour::Incomplete,
        _ => Colour::None,
    }
}

/// Whether a terminal would act on it or show a line in another order, or show nothing where something is.
pub(crate) const fn acts(c: char) -> bool {
    matches!(c,
        '\0'..='\x08' | '\x0b'..='\x1f' | '\x7f'..='\u{9f}'
        // Bidirectional marks, embeddings, overrides and isolates.
        | '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
        // Line and paragraph separators; spaces without width; tags.
        | '\u{2028}' | '\u{2029}' | '\u{200b}' | '\u{2060}' | '\u{feff}' | '\u{e0000}'..='\u{e007f}')
}

fn push(c: char, text: &mut String) {
    // Writing to a String cannot fail.
    let _ = match u32::from(c) {
        _ if !acts(c) => {
            text.push(c);
            Ok(())
        }
        code @ ..=0xff => write!(text, "\\x{code:02x}"),
        code @ ..=0xffff => write!(text, "\\u{code:04x}"),
        code => write!(text, "\\U{code:08x}"),
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a terminal gets, however the bytes are cut.
    fn on_terminal(bytes: &[u8]) -> String {
        let cut = |step: usize| {
            let mut shown = Shown::new("stdout", Vec::new(), true);
            for part in bytes.chunks(step) {
                shown.write_all(part).unwrap();
            }
            shown.flush().unwrap();
            String::from_utf8(std::mem::take(&mut shown.out)).unwrap()
        };
        let whole = cut(bytes.len().max(1));
        for step in 1..5 {
            assert_eq!(cut(step), whole, "in pieces of {step} bytes");
        }
        whole
    }

    #[test]
    fn controls_and_bidirectional_characters_are_escaped() {
        for (text, shown) in [
            (
                "plain, größer, 日本, 👩‍👩‍👧\n\ttab",
                "plain, größer, 日本, 👩‍👩‍👧\n\ttab",
            ),
            ("a\x1b]0;title\x07b", "a\\x1b]0;title\\x07b"),
            ("over\rwritten", "over\\x0dwritten"),
            ("\u{9b}2J", "\\x9b2J"),
            ("ab\u{202e}cd\u{2069}", "ab\\u202ecd\\u2069"),
            ("m1\u{200b}", "m1\\u200b"),
            ("\u{e0041}", "\\U000e0041"),
        ] {
            assert_eq!(on_terminal(text.as_bytes()), shown);
            if !text.contains('\x1b') {
                assert_eq!(super::shown(text), shown);
            }
        }
        assert_eq!(on_terminal(b"\xff\xe2\x80"), "\\xff\\xe2\\x80");
    }

    #[test]
    fn colours_of_this_program_pass_and_nothing_else_does() {
        for colour in [
            "\x1b[0;32m",
            "\x1b[0;1;36m",
            "\x1b[0;37m",
            "\x1b[0;1;30m",
            "\x1b[0m",
            "\x1b[2m",
            "\x1b[m",
        ] {
            assert_eq!(on_terminal(colour.as_bytes()), colour);
        }
        for sequence in [
            "\x1b[8m",
            "\x1b[30m",
            "\x1b[41m",
            "\x1b[2J",
            "\x1b[1;1H",
            "\x1b[0;38;5;1m",
            "\x1bc",
            "\x1b[",
            "\x1b",
        ] {
            let shown = on_terminal(sequence.as_bytes());
            assert!(
                shown.starts_with("\\x1b") && !shown.contains('\x1b'),
                "{shown}"
            );
        }
        assert!(!shown("\x1b[0m").contains('\x1b'));
    }

    #[test]
    fn prose_is_broken_between_words_and_indented() {
        let cases = [
            (
                20,
                "brine: one two three four five",
                7,
                "brine: one two three\n       four five",
            ),
            (
                20,
                "  one two three four five",
                2,
                "  one two three four\n    five",
            ),
            (20, "short\n\n  and lines", 2, "short\n\n  and lines"),
            // As it is, for who copies it; what comes after it begins a line.
            (
                20,
                "see /a/very/long/path/to/x now",
                4,
                "see /a/very/long/path/to/x\n    now",
            ),
            (
                20,
                "日本 日本 日本 日本 日本",
                1,
                "日本 日本 日本 日本\n 日本",
            ),
            (
                12,
                "\x1b[1;31merror\x1b[0m   one two",
                4,
                "\x1b[1;31merror\x1b[0m   one\n    two",
            ),
        ];
        for (columns, text, hang, wrapped) in cases {
            assert_eq!(wrapped_at(columns, text, hang), wrapped);
        }
    }

    #[test]
    fn files_and_pipes_get_the_bytes_as_they_are() {
        let mut out = Shown::new("stdout", Vec::new(), false);
        out.write_all(b"\x1b]0;x\x07\xff").unwrap();
        assert_eq!(out.out, b"\x1b]0;x\x07\xff");
    }
}
