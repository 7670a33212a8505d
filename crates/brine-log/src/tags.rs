//! Which tags may be in a block: a small filter for each block, so that a search for a rare tag reads few blocks
//! besides those that contain it.
//!
//! The Bloom filter holds the words of all tags (the parts between slashes), their prefixes that end with a slash,
//! and every prefix of up to [`PREFIX_BYTES`]. So it can answer for any fixed beginning of a pattern, and for whole
//! words anywhere in it. "No" is certain, "yes" is not; a query with several terms rarely gets a wrong "yes". This
//! file knows nothing of blocks and stores.

use brine_wire::matching::{MatchType, TagMatch};

/// Prefixes are known up to this length, in bytes: `salt/job/` and a jid.
const PREFIX_BYTES: usize = 30;
/// How many of those prefixes a filter takes in; with more of them it knows shorter ones only.
const MAX_PREFIXES: usize = 1024;
/// Bits for each thing a filter knows, and how many of them it sets. One wrong "yes" in about a
/// hundred, for each term of a query.
const BITS_PER_ITEM: usize = 10;
const PROBES: u32 = 5;
/// Before the bits: how long the known prefixes are.
const HEADER_BYTES: usize = 1;

/// Gathers what a filter is made of.
#[derive(Default)]
pub(crate) struct TagsOfBlock {
    /// Words, and prefixes that end with a slash.
    items: Vec<u64>,
    /// Prefixes by their length.
    prefixes: Vec<(u8, u64)>,
    last: Vec<u8>,
    /// For each byte of the last tag, the hashes of what ends with it: of the tag so far, and of the
    /// word so far.
    hashes: Vec<(Hash, Hash)>,
}

impl TagsOfBlock {
    pub(crate) fn clear(&mut self) {
        self.items.clear();
        self.prefixes.clear();
        self.last.clear();
        self.hashes.clear();
    }

    pub(crate) fn push(&mut self, tag: &[u8]) {
        // Consecutive tags are much alike: what this one shares with the last is known.
        let pairs = tag.iter().zip(&self.last);
        let shared = pairs.take_while(|(new, old)| new == old).count();
        if shared == tag.len() && shared == self.last.len() {
            return;
        }
        self.hashes.truncate(shared);
        let start = (Hash::PREFIX, Hash::WORD);
        let (mut prefix, mut word) = self.hashes.last().copied().unwrap_or(start);
        for (&byte, length) in tag.iter().zip(1..).skip(shared) {
            prefix = prefix.with(byte);
            if length <= PREFIX_BYTES {
                #[allow(clippy::cast_possible_truncation)] // at most PREFIX_BYTES
                self.prefixes.push((length as u8, prefix.finish()));
            }
            if byte == b'/' {
                self.items.extend([prefix.finish(), word.finish()]);
                word = Hash::WORD;
            } else {
                word = word.with(byte);
            }
            self.hashes.push((prefix, word));
        }
        self.items.push(word.finish());
        self.last.clear();
        self.last.extend_from_slice(tag);
    }

    pub(crate) fn finish(&mut self) -> Vec<u8> {
        self.prefixes.sort_unstable();
        self.prefixes.dedup();
        let known = match self.prefixes.get(MAX_PREFIXES) {
            // Shorter ones than the first that is too many.
            Some((length, _)) => length - 1,
            None => PREFIX_BYTES as u8,
        };
        let kept = self
            .prefixes
            .iter()
            .take_while(|(length, _)| *length <= known);
        self.items.extend(kept.map(|(_, hash)| hash));
        self.items.sort_unstable();
        self.items.dedup();
        let bytes = (self.items.len() * BITS_PER_ITEM).div_ceil(8).max(8);
        let mut filter = vec![0; HEADER_BYTES + bytes];
        filter[0] = known;
        for item in &self.items {
            for bit in bits(*item, bytes) {
                filter[HEADER_BYTES + bit / 8] |= 1 << (bit % 8);
            }
        }
        filter
    }
}

/// The bits of one item in a filter of this many bytes.
fn bits(item: u64, bytes: usize) -> impl Iterator<Item = usize> {
    #[allow(clippy::cast_possible_truncation)] // halves of it
    let (start, step) = (item as u32, (item >> 32) as u32 | 1);
    let count = bytes as u64 * 8;
    (0..PROBES).map(move |nth| {
        let hash = start.wrapping_add(nth.wrapping_mul(step));
        usize::try_from((u64::from(hash) * count) >> 32).unwrap_or(0)
    })
}

/// FNV-1a, which gives the hashes of all prefixes of a text in one pass, mixed at the end. Stored
/// filters depend on it: it must never change.
#[derive(Clone, Copy)]
struct Hash(u64);

impl Hash {
    const PREFIX: Self = Self(0xcbf2_9ce4_8422_2325);
    const WORD: Self = Self(0x9ae1_6a3b_2f90_404f);

    const fn with(self, byte: u8) -> Self {
        Self((self.0 ^ byte as u64).wrapping_mul(0x0100_0000_01b3))
    }

    const fn finish(self) -> u64 {
        let mixed = (self.0 ^ self.0 >> 32).wrapping_mul(0xd6e8_feb8_6659_fd93);
        (mixed ^ mixed >> 32).wrapping_mul(0xd6e8_feb8_6659_fd93)
    }

    fn of(self, text: &[u8]) -> u64 {
        text.iter()
            .fold(self, |hash, byte| hash.with(*byte))
            .finish()
    }
}

/// What a block's tags must have for one of some patterns to match.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TagQuery {
    /// One list of terms for each pattern; all of a list must be there. No list: anything matches.
    any: Vec<Vec<Term>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Term {
    hash: u64,
    /// For a prefix that does not end with a slash: its length.
    prefix: Option<u8>,
}

impl TagQuery {
    /// For events whose tag matches at least one of these; for all events if there are none.
    #[must_use]
    pub fn new(patterns: &[TagMatch]) -> Self {
        let any: Vec<Vec<Term>> = patterns.iter().map(terms).collect();
        // A pattern without terms may match anything.
        if any.iter().any(Vec::is_empty) {
            return Self::default();
        }
        Self { any }
    }

    /// Whether every block may match, so that nothing is gained by asking.
    #[must_use]
    pub const fn is_any(&self) -> bool {
        self.any.is_empty()
    }

    /// Whether a block with this filter may hold a matching event. A filter that cannot be read
    /// rules nothing out.
    #[must_use]
    pub fn may_match(&self, filter: &[u8]) -> bool {
        let Some((&known, bits_of)) = filter.split_first().filter(|(_, bits)| !bits.is_empty())
        else {
            return true;
        };
        let has = |term: &Term| {
            term.prefix.is_some_and(|length| length > known)
                || bits(term.hash, bits_of.len()).all(|bit| bits_of[bit / 8] & 1 << (bit % 8) != 0)
        };
        self.is_any() || self.any.iter().any(|terms| terms.iter().all(has))
    }
}

/// What a tag that matches a pattern surely contains.
fn terms(pattern: &TagMatch) -> Vec<Term> {
    let text = pattern.pattern().as_bytes();
    let mut terms = Vec::new();
    match pattern.match_type() {
        MatchType::StartsWith => literal(
            text,
            Ends {
                start: true,
                end: false,
            },
            &mut terms,
        ),
        MatchType::EndsWith => literal(
            text,
            Ends {
                start: false,
                end: true,
            },
            &mut terms,
        ),
        MatchType::Find => literal(text, Ends::default(), &mut terms),
        MatchType::Fnmatch => {
            let is_special = |byte: &u8| b"*?[".contains(byte);
            // After a `[` it is not worth knowing where the set ends.
            let set = text.iter().position(|byte| *byte == b'[');
            let plain = &text[..set.unwrap_or(text.len())];
            let mut pieces = plain.split(is_special).enumerate().peekable();
            while let Some((nth, piece)) = pieces.next() {
                let ends = Ends {
                    start: nth == 0,
                    end: pieces.peek().is_none() && set.is_none(),
                };
                literal(piece, ends, &mut terms);
            }
        }
        MatchType::Regex => {
            literal(
                fixed_beginning(text),
                Ends {
                    start: true,
                    end: false,
                },
                &mut terms,
            );
        }
    }
    terms
}

/// Whether a literal text is where a tag starts or ends.
#[derive(Clone, Copy, Default)]
struct Ends {
    start: bool,
    end: bool,
}

fn literal(text: &[u8], ends: Ends, terms: &mut Vec<Term>) {
    if ends.start {
        let mut prefix = Hash::PREFIX;
        for (&byte, length) in text.iter().zip(1usize..) {
            prefix = prefix.with(byte);
            let short = u8::try_from(length).ok().filter(|_| length <= PREFIX_BYTES);
            if byte == b'/' || short.is_some() {
                terms.push(Term {
                    hash: prefix.finish(),
                    prefix: short.filter(|_| byte != b'/'),
                });
            }
        }
    }
    // A word is whole if there is a slash, or the tag's end, on both sides.
    let mut words = text.split(|byte| *byte == b'/').enumerate().peekable();
    while let Some((nth, word)) = words.next() {
        let starts = nth > 0 || ends.start;
        let is_whole = match words.peek() {
            Some(_) => starts,
            None => starts && ends.end,
        };
        if is_whole {
            terms.push(Term {
                hash: Hash::WORD.of(word),
                prefix: None,
            });
        }
    }
}

/// The text a regular expression begins with, as far as that is plain.
fn fixed_beginning(pattern: &[u8]) -> &[u8] {
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"/_-:@,".contains(byte);
    // An alternative may begin with anything.
    if pattern.contains(&b'|') {
        return b"";
    }
    let plain = pattern.iter().take_while(|byte| is_plain(byte)).count();
    // What follows may make the last character optional.
    let optional = matches!(pattern.get(plain), Some(b'*' | b'?' | b'{'));
    &pattern[..plain - usize::from(optional && plain > 0)]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn filter(tags: &[impl AsRef<[u8]>]) -> Vec<u8> {
        let mut block = TagsOfBlock::default();
        for tag in tags {
            block.push(tag.as_ref());
        }
        block.finish()
    }

    fn query(kind: MatchType, pattern: &str) -> TagQuery {
        TagQuery::new(&[TagMatch::new(kind, pattern).unwrap()])
    }

    proptest! {
        /// The one thing that must hold: what matches is never ruled out.
        #[test]
        fn a_block_with_a_match_is_never_ruled_out(
            tags in proptest::collection::vec("[ab/]{0,12}(/[ab0-9]{0,30}){0,2}", 1..30),
            pattern in "[ab/]{0,4}[*?]?[ab/]{0,4}(\\[ab\\])?[ab/*]{0,3}",
            kind in prop_oneof![
                Just(MatchType::StartsWith), Just(MatchType::EndsWith), Just(MatchType::Find),
                Just(MatchType::Regex), Just(MatchType::Fnmatch),
            ],
        ) {
            let Ok(matcher) = TagMatch::new(kind, pattern.clone()) else { return Ok(()) };
            if tags.iter().any(|tag| matcher.matches(tag)) {
                prop_assert!(query(kind, &pattern).may_match(&filter(&tags)), "{tags:?}");
            }
        }
    }

    fn returns(jobs: std::ops::Range<u64>, minions: u64) -> Vec<String> {
        let tags = jobs.flat_map(|job| {
            (0..minions).map(move |minion| {
                let jid = 261_129_104_421_000_000 + job * 977;
                format!("salt/job/20{jid}/ret/minion-{minion}")
            })
        });
        tags.collect()
    }

    #[test]
    fn rare_tags_are_told_from_ordinary_ones() {
        let ordinary = filter(&returns(0..10, 80));
        assert!(ordinary.len() < 600, "{}", ordinary.len());
        for (kind, pattern) in [
            (MatchType::Fnmatch, "deploy/*"),
            (MatchType::Fnmatch, "dep*"),
            (MatchType::Fnmatch, "salt/job/20261130*"),
            (MatchType::Fnmatch, "salt/job/*/ret/minion-977"),
            (MatchType::Fnmatch, "salt/run/*"),
            (MatchType::StartsWith, "deploy"),
            (MatchType::EndsWith, "/ret/other"),
            (MatchType::Find, "/new/"),
            (MatchType::Regex, "deploy/[0-9]+"),
        ] {
            assert!(!query(kind, pattern).may_match(&ordinary), "{pattern}");
        }
    }

    #[test]
    fn a_block_of_many_jobs_knows_shorter_prefixes() {
        let many = filter(&returns(0..800, 1));
        assert!(many[0] < 30, "{}", many[0]);
        assert!(many.len() < 5000, "{}", many.len());
        assert!(!query(MatchType::Fnmatch, "dep*").may_match(&many));
        assert!(!query(MatchType::Fnmatch, "salt/job/20271130104421000000/*").may_match(&many));
        assert!(query(MatchType::Fnmatch, "salt/job/20261129104421000977/*").may_match(&many));
    }

    #[test]
    fn one_pattern_of_several_is_enough() {
        let tags = filter(&["a/b", "c/d"]);
        let patterns = |texts: &[&str]| {
            let matches = texts
                .iter()
                .map(|text| TagMatch::new(MatchType::Fnmatch, *text).unwrap());
            TagQuery::new(&matches.collect::<Vec<_>>())
        };
        assert!(patterns(&["x/*", "c/*"]).may_match(&tags));
        assert!(!patterns(&["x/*", "y/*"]).may_match(&tags));
        assert!(patterns(&["x/*", "*"]).is_any());
        assert!(patterns(&[]).may_match(&tags));
        assert!(patterns(&["x/*"]).may_match(b""));
    }
}
