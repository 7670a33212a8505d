//! The filter of the list of events: tags and fields in one text, as people type it.

use brine_wire::field_filter::FieldFilter;
use brine_wire::matching::{MatchType, TagFilter};

/// A filter of the list of events.
#[derive(Debug, Default)]
pub(super) struct Filter {
    /// As it was typed.
    pub(super) text: String,
    tags: Option<TagFilter>,
    fields: FieldFilter,
}

impl Filter {
    /// Reads `salt/job/*/ret/* ok:false`; a word with `!` in front leaves tags out.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let (mut tags, mut without, mut fields) = (Vec::new(), Vec::new(), Vec::new());
        for word in words(text) {
            match word.strip_prefix('!') {
                Some(tag) if !tag.is_empty() => without.push(tag.to_owned()),
                _ if is_field(word) => fields.push(word),
                _ => tags.push(word.to_owned()),
            }
        }
        let has_tags = !tags.is_empty() || !without.is_empty();
        let tags = TagFilter::new(MatchType::Fnmatch, &tags, &without)
            .map_err(|error| error.to_string())?;
        Ok(Self {
            text: text.trim().to_owned(),
            tags: has_tags.then_some(tags),
            fields: FieldFilter::parse(&fields.join(" ")).map_err(|error| error.to_string())?,
        })
    }

    pub(super) fn wants(&self, tag: &str, data: &[u8]) -> bool {
        self.tags.as_ref().is_none_or(|tags| tags.matches(tag))
            && (self.fields.is_any() || self.fields.matches(tag, data))
    }

    pub(super) fn is_any(&self) -> bool {
        self.tags.is_none() && self.fields.is_any()
    }
}

/// Whether a word is `FIELD:PATTERN`, of a field that there is or not: a tag with a colon is written `[:]`.
fn is_field(word: &str) -> bool {
    let field = word.split_once(':').map(|(field, _)| field);
    field.is_some_and(|field| !field.contains(['/', '*', '?', '[']))
}

/// Words with blanks between them; in quotation marks a blank is part of a word.
fn words(text: &str) -> Vec<&str> {
    let mut is_quoted = false;
    let split = text.split(move |c: char| {
        is_quoted ^= c == '"';
        c.is_whitespace() && !is_quoted
    });
    split.filter(|word| !word.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_tags_and_fields() {
        let data = [0x81, 0xa2, b'i', b'd', 0xa4, b'w', b'e', b'b', b'1'];
        for (text, tag, wanted) in [
            ("", "a/b", true),
            ("a/*", "a/b", true),
            ("a/* c", "c", true),
            ("a/*", "c", false),
            ("!a/*", "a/b", false),
            ("!a/*", "c", true),
            ("minion:web*", "c", true),
            ("a/* minion:db*", "a/b", false),
            ("data.id:\"web1\"", "c", true),
            ("a[:]b", "a:b", true),
            ("salt/a:b", "salt/a:b", true),
        ] {
            assert_eq!(
                Filter::parse(text).unwrap().wants(tag, &data),
                wanted,
                "{text} {tag}"
            );
        }
        // As `brine watch --filter` has it.
        for (text, why) in [
            ("ok:perhaps", "ok is true or false"),
            ("minon:web*", "fields are sender"),
            ("a/* nosuch:x", "fields are sender"),
            (":x", "expected terms FIELD:PATTERN"),
        ] {
            let error = Filter::parse(text).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
