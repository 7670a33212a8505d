//! Text on a terminal: how many columns it takes, where to cut it, and what must not be printed as it is.
//!
//! Anyone who can fire an event chooses its text. Control characters would move the cursor, and characters that
//! change the direction or have no width would make a line look like another one.

use std::borrow::Cow;
use std::fmt::Write as _;

use unicode_width::UnicodeWidthChar;

/// A text in which whatever a terminal would obey, or not show, is written as an escape.
#[must_use]
pub fn visible(text: &str) -> Cow<'_, str> {
    if !text.contains(is_hidden) {
        return text.into();
    }
    let mut shown = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match c {
            '\n' => shown.push_str("\\n"),
            '\t' => shown.push_str("\\t"),
            '\r' => shown.push_str("\\r"),
            c if is_hidden(c) => escape(c, &mut shown),
            c => shown.push(c),
        }
    }
    shown.into()
}

/// Appends `\x1b` or `\u202e`.
fn escape(c: char, out: &mut String) {
    let code = u32::from(c);
    let _ = match code {
        0..=0xff => write!(out, "\\x{code:02x}"), // to memory: cannot fail
        code => write!(out, "\\u{code:04x}"),
    };
}

/// Whether a character does something instead of being seen.
fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{feff}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}'
        )
}

/// How many columns a text takes at most.
#[must_use]
pub fn width(text: &str) -> usize {
    text.chars().map(char_width).sum()
}

fn char_width(c: char) -> usize {
    match c {
        // Makes a wide picture of the character before it, on terminals that have it.
        '\u{fe0f}' => 1,
        c => c.width().unwrap_or(0),
    }
}

/// The longest beginning of a text that takes no more than `columns`.
#[must_use]
pub fn fitting(text: &str, columns: usize) -> &str {
    let mut taken = 0;
    for (at, c) in text.char_indices() {
        taken += char_width(c);
        if taken > columns {
            return &text[..at];
        }
    }
    text
}

/// A text in no more than `columns`; one that was longer ends in `…`.
#[must_use]
pub fn cut(text: &str, columns: usize) -> Cow<'_, str> {
    if width(text) <= columns {
        return text.into();
    }
    match columns {
        0 => "".into(),
        columns => format!("{}…", fitting(text, columns - 1)).into(),
    }
}

/// A text that ends in a traceback of Python's, with what was raised instead: what went wrong is in its last line.
#[must_use]
pub fn without_traceback(text: &str) -> Cow<'_, str> {
    const TRACEBACK: &str = "Traceback (most recent call last):";
    let Some((before, traceback)) = text.split_once(TRACEBACK) else {
        return text.into();
    };
    let raised = traceback
        .lines()
        .map(str::trim_end)
        .rfind(|line| !line.is_empty());
    // Salt cuts long returns.
    let raised = raised.filter(|line| !line.starts_with(' '));
    match (before.trim().trim_end_matches(':'), raised) {
        ("", None) => text.into(),
        ("", Some(raised)) => raised.into(),
        (before, None) => before.into(),
        (before, Some(raised)) => format!("{before}: {raised}").into(),
    }
}

/// A number with separators between thousands: `170,856`.
#[must_use]
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// A count with its noun: `1 minion`, `3 minions`.
#[must_use]
pub fn counted(number: impl TryInto<u64>, noun: &str) -> String {
    let number = number.try_into().unwrap_or(u64::MAX);
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {noun}{plural}", grouped(number))
}

/// A time span as people read it: `0.47 s` becomes `0.5 s`, half an hour `30 min`.
#[must_use]
pub fn span(seconds: f64) -> String {
    match seconds {
        seconds if seconds < 0.0095 => format!("{:.1} ms", (seconds * 1000.0).max(0.0)),
        seconds if seconds < 0.95 => format!("{:.0} ms", seconds * 1000.0),
        seconds if seconds < 99.95 => format!("{seconds:.1} s"),
        seconds if seconds < 600.0 => format!("{seconds:.0} s"),
        seconds if seconds < 36_000.0 => format!("{:.0} min", seconds / 60.0),
        seconds => format!("{:.0} h", seconds / 3600.0),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_a_terminal_would_obey_is_escaped() {
        assert_eq!(visible("a\u{1b}[2Jb"), "a\\x1b[2Jb");
        assert_eq!(visible("\u{9b}31m"), "\\x9b31m");
        assert_eq!(visible("x\u{202e}y\n"), "x\\u202ey\\n");
        assert_eq!(visible("é 東 🙂"), "é 東 🙂");
    }

    #[test]
    fn wide_characters_take_two_columns() {
        assert_eq!(width("東京"), 4);
        assert_eq!(cut("東京都", 5), "東京…");
        assert_eq!(cut("東京都", 4), "東…");
        assert_eq!(cut("abc", 3), "abc");
        assert_eq!(cut("abcd", 1), "…");
        assert_eq!(cut("abcd", 0), "");
    }

    #[test]
    fn a_traceback_is_what_was_raised() {
        let raised = "The function failed: Traceback (most recent call last):\n  File \"x.py\", line 1\n    1/0\n\
                      ZeroDivisionError: division by zero\n";
        for (text, shown) in [
            (
                raised,
                "The function failed: ZeroDivisionError: division by zero",
            ),
            (&raised[21..], "ZeroDivisionError: division by zero"),
            (&raised[..80], "The function failed"),
            ("no such thing", "no such thing"),
        ] {
            assert_eq!(without_traceback(text), shown);
        }
    }

    #[test]
    fn numbers_and_spans() {
        for (number, text) in [
            (0, "0"),
            (999, "999"),
            (1000, "1,000"),
            (1_170_856, "1,170,856"),
        ] {
            assert_eq!(grouped(number), text);
        }
        for (seconds, text) in [
            (0.000_4, "0.4 ms"),
            (0.47, "470 ms"),
            (12.34, "12.3 s"),
            (240.0, "240 s"),
            (1800.0, "30 min"),
            (86_400.0, "24 h"),
        ] {
            assert_eq!(span(seconds), text);
        }
    }

    proptest! {
        #[test]
        fn what_is_cut_fits_and_hides_nothing(text in "\\PC*|.*", columns in 0usize..50) {
            let shown = visible(&text);
            prop_assert!(!shown.contains(is_hidden));
            prop_assert!(width(&cut(&shown, columns)) <= columns);
        }
    }
}
