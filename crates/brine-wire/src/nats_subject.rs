//! From tags to NATS subjects and back: a rule that loses nothing.
//!
//! A tag may hold any bytes but a tag end. A NATS subject is words between dots, without white space, and `*` and `>`
//! are wildcards. So an event's subject is the stream's prefix, the master's id, and one word for each part of the tag
//! between slashes:
//!
//! * letters, digits and ASCII punctuation other than `.`, `*`, `>` and `%` stand for themselves,
//! * every other byte is `%` and two hexadecimal digits, in capitals,
//! * a part without any byte (`a//b`, a slash at either end) is `%` alone.
//!
//! A server reads lines of 4 KiB. Of a tag whose subject would be longer than [`MAX_SUBJECT`] the words that fit are
//! there, and `%%` behind them; the whole tag is then in a header, written by the same rule. It knows nothing of connections to NATS.

use alloc::string::String;
use alloc::vec::Vec;

/// The longest subject, in bytes, but for `.%%`.
pub const MAX_SUBJECT: usize = 1024;
/// The word that says that more of the tag follows, which is not here.
const CUT: &str = "%%";

/// An event's subject, and whether its tag is in it as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    /// The subject.
    pub text: String,
    /// Not the whole tag is in it.
    pub is_cut: bool,
}

/// What a subject says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// The id of the master on whose bus the event was fired.
    pub master: String,
    /// The tag, or `None` if the subject is cut.
    pub tag: Option<Vec<u8>>,
}

/// The subject of an event with this tag, of this master's.
#[must_use]
pub fn subject(prefix: &str, master: &str, tag: &[u8]) -> Subject {
    let mut text = String::with_capacity(prefix.len() + master.len() + tag.len() + 8);
    text.push_str(prefix);
    text.push('.');
    put_word(master.as_bytes(), &mut text);
    for part in tag.split(|byte| *byte == b'/') {
        let before = text.len();
        text.push('.');
        put_word(part, &mut text);
        if text.len() > MAX_SUBJECT {
            text.truncate(before);
            text.push('.');
            text.push_str(CUT);
            let is_cut = true;
            return Subject { text, is_cut };
        }
    }
    Subject {
        text,
        is_cut: false,
    }
}

/// What a subject says; `None` if no event has it.
#[must_use]
pub fn named(prefix: &str, subject: &str) -> Option<Named> {
    let rest = subject.strip_prefix(prefix)?.strip_prefix('.')?;
    let (master, words) = rest.split_once('.')?;
    let master = name(master)?;
    let tag = match words == CUT || words.ends_with(".%%") {
        true => None,
        false => Some(tag(words)?),
    };
    Some(Named { master, tag })
}

/// A tag's words, without the limit: what the header of a cut subject holds.
#[must_use]
pub fn words(tag: &[u8]) -> String {
    let mut text = String::with_capacity(tag.len() + 8);
    for (nth, part) in tag.split(|byte| *byte == b'/').enumerate() {
        if nth > 0 {
            text.push('.');
        }
        put_word(part, &mut text);
    }
    text
}

/// The tag that words stand for; `None` if they stand for none.
#[must_use]
pub fn tag(words: &str) -> Option<Vec<u8>> {
    let mut tag = Vec::with_capacity(words.len());
    for (nth, text) in words.split('.').enumerate() {
        if nth > 0 {
            tag.push(b'/');
        }
        tag.extend_from_slice(&word(text, Slash::Separates)?);
    }
    Some(tag)
}

/// One word, for a name that is no tag: a master's id in a subject of its own.
#[must_use]
pub fn name_word(name: &str) -> String {
    let mut text = String::with_capacity(name.len());
    put_word(name.as_bytes(), &mut text);
    text
}

/// The name that a word stands for; `None` if it stands for none.
#[must_use]
pub fn name(text: &str) -> Option<String> {
    String::from_utf8(word(text, Slash::IsPart)?).ok()
}

/// Whether a text may be a prefix: words of letters, digits, dashes and underscores, between dots, and not one of NATS's
/// own subjects.
#[must_use]
pub fn is_prefix(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    let is_word = |word: &str| !word.is_empty() && word.bytes().all(is_plain);
    text.len() <= 128 && text.split('.').all(is_word) && !text.starts_with("_INBOX")
}

fn put_word(bytes: &[u8], out: &mut String) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    if bytes.is_empty() {
        out.push('%');
    }
    for byte in bytes {
        if is_itself(*byte) {
            out.push(char::from(*byte));
        } else {
            out.push('%');
            out.push(char::from(DIGITS[usize::from(byte >> 4)]));
            out.push(char::from(DIGITS[usize::from(byte & 15)]));
        }
    }
}

/// What a slash is: between the parts of a tag, or a character of a name.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Slash {
    Separates,
    IsPart,
}

/// The bytes of a word; `None` if it was not written by this rule, which writes each in one way only.
fn word(text: &str, slash: Slash) -> Option<Vec<u8>> {
    if text == "%" {
        return Some(Vec::new());
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        if *first != b'%' {
            bytes.push(Some(*first).filter(|byte| is_itself(*byte))?);
            continue;
        }
        let (digits, after) = rest.split_at_checked(2)?;
        rest = after;
        let byte = digit(digits[0])? << 4 | digit(digits[1])?;
        let is_within = byte != b'/' || slash == Slash::IsPart;
        bytes.push(Some(byte).filter(|byte| !is_itself(*byte) && is_within)?);
    }
    (!bytes.is_empty()).then_some(bytes)
}

const fn is_itself(byte: u8) -> bool {
    byte.is_ascii_graphic() && !matches!(byte, b'.' | b'*' | b'>' | b'%' | b'/')
}

const fn digit(character: u8) -> Option<u8> {
    match character {
        b'0'..=b'9' => Some(character - b'0'),
        b'A'..=b'F' => Some(character - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fuzzing::fuzz_nats_subject;
    use alloc::format;
    use proptest::prelude::*;

    #[test]
    fn subjects_as_the_documentation_shows_them() {
        for (tag, expected) in [
            (
                &b"salt/job/20261129080100000000/ret/web1.example.org"[..],
                "salt.event.m1.salt.job.20261129080100000000.ret.web1%2Eexample%2Eorg",
            ),
            (b"minion_start", "salt.event.m1.minion_start"),
            (b"myco/my event", "salt.event.m1.myco.my%20event"),
            (b"a//b/", "salt.event.m1.a.%.b.%"),
            (b"50%/*/>", "salt.event.m1.50%25.%2A.%3E"),
            ("käse".as_bytes(), "salt.event.m1.k%C3%A4se"),
            (b"\xff\n", "salt.event.m1.%FF%0A"),
            (b"", "salt.event.m1.%"),
        ] {
            let made = subject("salt.event", "m1", tag);
            assert_eq!((made.text.as_str(), made.is_cut), (expected, false));
            let back = named("salt.event", expected).unwrap();
            assert_eq!(back.tag.as_deref(), Some(tag));
        }
        let made = subject("salt.event", "m.1", b"x");
        assert_eq!(made.text, "salt.event.m%2E1.x");
        assert_eq!(named("salt.event", &made.text).unwrap().master, "m.1");
        assert_eq!(name(&name_word("a/b c")).as_deref(), Some("a/b c"));
    }

    #[test]
    fn a_long_tag_is_cut_between_words() {
        let tag = [&b"first/"[..], &[b'x'; 600], b"/", &[b' '; 600], b"/last"].concat();
        let made = subject("p", "m1", &tag);
        assert_eq!(made.text, format!("p.m1.first.{}.%%", "x".repeat(600)));
        assert!(made.is_cut);
        assert_eq!(named("p", &made.text).unwrap().tag, None);
        let made = subject("p", "m1", &[b'x'; 5000]);
        assert_eq!(made.text, "p.m1.%%");
        assert_eq!(super::tag(&words(&tag)), Some(tag));
    }

    #[test]
    fn subjects_of_others_are_none_of_ours() {
        for text in [
            "salt.event",
            "salt.event.m1",
            "salt.events.m1.x",
            "salt.event..x",
            "salt.event.m1.a..b",
            "salt.event.m1.a%2fb",
            "salt.event.m1.a%2Fb",
            "salt.event.m1.%41",
            "salt.event.m1.%4",
            "salt.event.m1.a b",
            "salt.event.m1.a%",
            "salt.event.m1.%%.x",
            "salt.event.m1.ä",
            "salt.event.%FF.x",
            "other.event.m1.x",
        ] {
            assert_eq!(named("salt.event", text), None, "{text}");
        }
    }

    #[test]
    fn prefixes_are_plain_words() {
        for good in ["salt", "salt.event", "a-b.c_d.7"] {
            assert!(is_prefix(good), "{good}");
        }
        for bad in [
            "", ".", "a.", "a..b", "a b", "a.*", "a.>", "$JS.API", "_INBOX.x", "ä",
        ] {
            assert!(!is_prefix(bad), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn the_way_back_leads_to_the_tag(tag in proptest::collection::vec(any::<u8>(), 0..300)) {
            fuzz_nats_subject(&tag);
        }

        #[test]
        fn tags_as_people_write_them(tag in "[a-z./*>% ä]{0,40}") {
            fuzz_nats_subject(tag.as_bytes());
        }

        #[test]
        fn a_subject_is_refused_or_is_that_of_what_it_says(words in "(m1|%|%2E|[a-z%0-9A-F.]{0,12})\\.[a-z%0-9A-F.*]{0,30}") {
            fuzz_nats_subject(format!("salt.event.{words}").as_bytes());
        }
    }
}
