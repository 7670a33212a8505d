//! The text form of keys (PEM), read strictly: one block and nothing else.
//!
//! Lenient readers skip what they do not understand, so two of them may find different keys in one text. Here a
//! text either is exactly one block or is refused, and what is stored or shown is always written anew by
//! [`encode`]. Which keys are taken is [`super::rsa`]'s. Facts: `docs/protocol/network.md` §4.2, RFC 7468 §3.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// The base64 characters per line, as all of Salt's libraries write them.
const LINE_CHARACTERS: usize = 64;

/// The bytes in a text that is one block with this label. White space around the block is ignored, and lines may
/// end in CR LF, since files that people copy do; anything else beside the block makes it none.
pub(crate) fn decode(text: &str, label: &str) -> Option<Vec<u8>> {
    let mut lines = lines(text);
    if !is_boundary(lines.next()?, "BEGIN", label) || !is_boundary(lines.next_back()?, "END", label)
    {
        return None;
    }
    let mut base64 = String::with_capacity(text.len());
    for line in lines {
        let is_body = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=');
        // An empty line stands only between headers and body, and public keys have no headers.
        if line.is_empty() || !line.bytes().all(is_body) {
            return None;
        }
        base64.push_str(line);
    }
    STANDARD.decode(base64).ok() // padding and unused bits are checked
}

/// Whether a text is one block with one of these labels, whatever is in it.
pub(crate) fn is_one_block(text: &str, labels: &[&str]) -> bool {
    let mut lines = lines(text);
    let (Some(first), Some(last)) = (lines.next(), lines.next_back()) else {
        return false;
    };
    let is_framed =
        |label: &&str| is_boundary(first, "BEGIN", label) && is_boundary(last, "END", label);
    labels.iter().any(is_framed) && !lines.any(|line| line.contains("-----"))
}

/// A block with this label, without a line end behind it: as public keys travel.
pub(crate) fn encode(label: &str, bytes: &[u8]) -> String {
    let base64 = STANDARD.encode(bytes);
    let mut text = format!("-----BEGIN {label}-----\n");
    let mut rest = base64.as_str();
    while !rest.is_empty() {
        let (line, more) = rest.split_at(rest.len().min(LINE_CHARACTERS));
        text.push_str(line);
        text.push('\n');
        rest = more;
    }
    text + &format!("-----END {label}-----")
}

fn lines(text: &str) -> impl DoubleEndedIterator<Item = &str> {
    let text = text.trim_matches(|c: char| c.is_ascii_whitespace());
    text.split('\n')
        .map(|line| line.strip_suffix('\r').unwrap_or(line))
}

fn is_boundary(line: &str, which: &str, label: &str) -> bool {
    (line.strip_prefix("-----"))
        .and_then(|line| line.strip_suffix("-----"))
        .and_then(|line| line.strip_prefix(which))
        .and_then(|line| line.strip_prefix(' '))
        == Some(label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_read_as_it_was_written() {
        for length in [0, 1, 47, 48, 49, 294] {
            let bytes: Vec<u8> = (0..=255).cycle().take(length).collect();
            let text = encode("PUBLIC KEY", &bytes);
            assert_eq!(decode(&text, "PUBLIC KEY"), Some(bytes.clone()));
            let windows = format!("\n {}\r\n\n", text.replace('\n', "\r\n"));
            assert_eq!(decode(&windows, "PUBLIC KEY"), Some(bytes));
            assert!(is_one_block(&text, &["X", "PUBLIC KEY"]));
        }
    }

    #[test]
    fn a_text_with_anything_beside_one_block_is_refused() {
        let block = "-----BEGIN PUBLIC KEY-----\nAAAA\nBBBB\n-----END PUBLIC KEY-----";
        assert!(decode(block, "PUBLIC KEY").is_some());
        for text in [
            String::new(),
            "-----BEGIN PUBLIC KEY-----".into(),
            format!("note\n{block}"),
            format!("{block}\nnote"),
            format!("{block}\n{block}"),
            format!("{block}\u{a0}"),
            format!("\u{1b}[2K{block}"),
            block.replace("AAAA\n", "AAAA\n\n"),
            block.replace("AAAA\n", "Name: value\n\nAAAA\n"),
            block.replace("AAAA\n", " AAAA\n"),
            block.replace("AAAA", "AA A"),
            block.replace("AAAA", "A\u{1b}[0m"),
            block.replace("AAAA", "AA=="),
            block.replace("BBBB", "BB="),
            block.replace("BBBB", "BB"),
            block.replace("BBBB", "BB="),
            block.replace("BBBB", "BR=="), // bits left over
            block.replace("PUBLIC KEY", "RSA PUBLIC KEY"),
            block.replace("BEGIN PUBLIC KEY", "BEGIN  PUBLIC KEY"),
            block.replace("END PUBLIC KEY", "END KEY"),
            block.replace("-----END", "----END"),
        ] {
            assert_eq!(decode(&text, "PUBLIC KEY"), None, "{text:?}");
        }
    }
}
