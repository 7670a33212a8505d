//! Prepares texts of strangers for log lines: shortened, and without characters that control a terminal.

/// The most bytes of a text that a log line shows.
const MAX_BYTES: usize = 256;

/// A text that is safe to log.
pub(crate) fn log_text(text: &str) -> String {
    let end = (0..=MAX_BYTES.min(text.len())).rfind(|at| text.is_char_boundary(*at));
    let shown: String = text[..end.unwrap_or(0)].escape_debug().collect();
    if text.len() > MAX_BYTES {
        format!("{shown}… ({} bytes)", text.len())
    } else {
        shown
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_is_cut_and_controls_are_escaped() {
        assert_eq!(log_text("web-01"), "web-01");
        assert_eq!(log_text("a\u{1b}[2J\u{202e}"), "a\\u{1b}[2J\\u{202e}");
        let long = log_text(&"ю".repeat(1000));
        assert!(
            long.len() < 300 && long.ends_with("… (2000 bytes)"),
            "{long}"
        );
    }
}
