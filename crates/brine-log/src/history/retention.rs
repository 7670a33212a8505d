//! How long history is kept, and how much of it.
//!
//! Whole blocks are removed where possible: by age, and the oldest first when there are too many bytes. Where some
//! tags have their own ages, blocks are rewritten without the events that are too old; the numbers of those stay, so that
//! nothing else moves, and their tags. This module knows no engine and no thread.

use std::time::Duration;

use brine_wire::matching::TagMatch;

use crate::history::block::{About, Block, BlockEvent, Decoder, Effort, Encoder};
use crate::history::open::no_memory;
use crate::history::store::{Batch, BlockStore, StoreError};
use crate::position::{Millis, Seq};
use crate::source::MAX_NAME;

/// How long history is kept, and how much of it.
#[derive(Debug, Clone)]
pub struct Retention {
    /// How long events are kept; `None` for ever.
    pub max_age: Option<Duration>,
    /// What the store may use on the disk, in bytes; `None` for no limit.
    pub max_bytes: Option<u64>,
    /// Tag patterns with their own ages. The first that matches counts.
    pub tags: Vec<TagAge>,
}

/// How long events of some tags are kept.
#[derive(Debug, Clone)]
pub struct TagAge {
    /// The tags.
    pub tags: TagMatch,
    /// How long; `None` for ever.
    pub max_age: Option<Duration>,
}

impl Retention {
    /// Everything is kept.
    pub const UNLIMITED: Self = Self {
        max_age: None,
        max_bytes: None,
        tags: Vec::new(),
    };
}

impl Default for Retention {
    fn default() -> Self {
        Self {
            max_age: Some(Duration::from_secs(7 * 24 * 3600)),
            max_bytes: Some(2 << 30),
            tags: Vec::new(),
        }
    }
}

/// What retention leaves.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Left {
    /// The oldest event, if any is left.
    pub(crate) oldest: Option<Seq>,
    pub(crate) used_bytes: u64,
}

/// Blocks removed in one commit.
const REMOVED_AT_ONCE: usize = 64;

impl Retention {
    /// Removes what is too old or too much. `is_asked` says that something else is more urgent: then only some is
    /// removed, and the rest is left for the next time.
    pub(crate) fn apply(
        &self,
        store: &mut dyn BlockStore,
        (encoder, decoder): (&mut Encoder, &mut Decoder),
        now: Millis,
        is_asked: &dyn Fn() -> bool,
    ) -> Result<Left, StoreError> {
        let oldest_kept = self.longest().map(|age| before(now, age));
        while self.remove_oldest(store, oldest_kept)? && !is_asked() {}
        while !is_asked()
            && let Some((block, rules)) = self.next_to_prune(store, now)?
        {
            let limits = self.limits(now);
            let pruned = prune(&block, rules, (encoder, decoder), |tag, at| {
                match tag.is_empty() || at >= limits.of(tag) {
                    true => Fate::Stays,
                    false => Fate::LeavesTag,
                }
            })?;
            store.commit(&Batch {
                blocks: vec![pruned],
                ..Batch::default()
            })?;
        }
        Ok(Left {
            oldest: store.reading().first_after(Seq(0))?,
            used_bytes: store.reading().used_bytes()?,
        })
    }

    /// The age at which nothing is kept any more.
    fn longest(&self) -> Option<Duration> {
        let ages = self.tags.iter().map(|rule| rule.max_age);
        // `None` is for ever.
        ages.chain([self.max_age])
            .try_fold(Duration::ZERO, |longest, age| {
                age.map(|age| age.max(longest))
            })
    }

    /// Removes some of the oldest blocks, if they are too old or too much is used; tells whether
    /// there may be more.
    fn remove_oldest(
        &self,
        store: &mut dyn BlockStore,
        oldest_kept: Option<Millis>,
    ) -> Result<bool, StoreError> {
        let mut surplus = match self.max_bytes {
            Some(limit) => store.reading().used_bytes()?.saturating_sub(limit),
            None => 0,
        };
        let heads = store.reading().oldest(REMOVED_AT_ONCE)?;
        let mut removed = Vec::new();
        for head in &heads {
            let is_old = oldest_kept.is_some_and(|limit| head.until < limit);
            if !is_old && surplus == 0 {
                break;
            }
            // What a block takes is less, compressed; what is too much goes in several rounds.
            surplus = surplus.saturating_sub(head.event_bytes.max(1));
            removed.push(head.first);
        }
        let Some(last) = removed.last() else {
            return Ok(false);
        };
        let is_last = |head: &&crate::history::Head| head.first == *last;
        let end = heads.iter().find(is_last).map(|head| Seq(head.last.0 + 1));
        store.commit(&Batch {
            removed,
            forget_gaps: end,
            ..Batch::default()
        })?;
        Ok(true)
    }

    /// A block that has events which are too old by the rule of their tag, and which rules those
    /// are.
    fn next_to_prune(
        &self,
        store: &mut dyn BlockStore,
        now: Millis,
    ) -> Result<Option<(Block, u64)>, StoreError> {
        if self.tags.is_empty() {
            return Ok(None);
        }
        let mut ages: Vec<Duration> = self.tags.iter().filter_map(|rule| rule.max_age).collect();
        ages.extend(self.max_age);
        ages.sort_unstable();
        ages.dedup();
        for (nth, age) in ages.iter().enumerate() {
            // Older blocks than the next rule's belong to that.
            let from = ages
                .get(nth + 1)
                .map_or(Millis(0), |older| before(now, *older));
            let rules = self.fingerprint(*age);
            let until = from..before(now, *age);
            if let Some(block) = store.reading().unpruned(until, rules)? {
                return Ok(Some((block, rules)));
            }
        }
        Ok(None)
    }

    /// A number for the rules that have come into force at an age: another one when they are
    /// changed, so that blocks are looked through again. Never 0.
    fn fingerprint(&self, age: Duration) -> u64 {
        let mut hash = 0xcbf2_9ce4_8422_2325;
        let mut take = |bytes: &[u8]| {
            for byte in bytes {
                hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
            }
        };
        for rule in &self.tags {
            take(rule.tags.pattern().as_bytes());
            take(&[0]);
            let in_force = rule.max_age.filter(|limit| *limit <= age);
            take(
                &in_force
                    .map_or(0, |limit| limit.as_secs() + 1)
                    .to_le_bytes(),
            );
        }
        take(
            &self
                .max_age
                .filter(|limit| *limit <= age)
                .map_or(0, |limit| limit.as_secs() + 1)
                .to_le_bytes(),
        );
        hash | 1
    }

    fn limits(&self, now: Millis) -> Limits<'_> {
        Limits {
            retention: self,
            now,
        }
    }
}

struct Limits<'r> {
    retention: &'r Retention,
    now: Millis,
}

impl Limits<'_> {
    /// From when on events of a tag are kept.
    fn of(&self, tag: &str) -> Millis {
        let rules = &self.retention.tags;
        let rule = rules.iter().find(|rule| rule.tags.matches(tag));
        let age = rule.map_or(self.retention.max_age, |rule| rule.max_age);
        age.map_or(Millis(0), |age| before(self.now, age))
    }
}

fn before(now: Millis, age: Duration) -> Millis {
    let age = u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
    Millis(now.0.saturating_sub(age))
}

/// As much of a tag as is left of a removed event.
fn beginning(tag: &str) -> &str {
    let mut ends = (0..=MAX_NAME.min(tag.len())).rev();
    let end = ends.find(|end| tag.is_char_boundary(*end));
    &tag[..end.unwrap_or(0)]
}

/// What becomes of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    Stays,
    /// Only number, time and tag stay: a reader who would have read it gets a gap.
    LeavesTag,
    /// Only number and time stay.
    IsForgotten,
}

/// A block of what becomes of its events, by tag and time. One that is not stored has an empty tag.
pub(crate) fn prune(
    block: &Block,
    rules: u64,
    (encoder, decoder): (&mut Encoder, &mut Decoder),
    fate: impl Fn(&str, Millis) -> Fate,
) -> Result<Block, StoreError> {
    let head = &block.head;
    let events = match decoder.decode(&block.data) {
        Ok(events) if events.check_head(head).is_ok() => events,
        // It stays, and its readers report it.
        _ => {
            let mut same = block.clone();
            same.head.pruned = rules;
            return Ok(same);
        }
    };
    encoder.begin(head.first, head.until);
    for event in events.iter() {
        let tag = event.event.get(..event.tag_bytes).unwrap_or_default();
        let tag = match event.removed() {
            Some(tag) => tag.into(),
            None => String::from_utf8_lossy(tag),
        };
        let origin = match fate(&tag, event.at) {
            Fate::Stays => {
                encoder.push(&event);
                continue;
            }
            Fate::LeavesTag => Some(beginning(&tag)),
            Fate::IsForgotten => None,
        };
        encoder.push(&BlockEvent {
            at: event.at,
            event: &[],
            tag_bytes: 0,
            about: About {
                origin,
                ..About::default()
            },
        });
    }
    let mut pruned = encoder.finish(Effort::Ordinary).map_err(no_memory)?;
    pruned.head.since = head.since;
    pruned.head.until = head.until;
    pruned.head.sealed = true;
    pruned.head.pruned = rules;
    Ok(pruned)
}
