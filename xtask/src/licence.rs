//! Whether a licence expression can be met with licences we accept.

/// Whether an SPDX expression holds when just the `accepted` licences do; crates of old write `/`
/// for OR. What cannot be read is not accepted.
pub(crate) fn holds(expression: &str, accepted: impl Fn(&str) -> bool) -> bool {
    let spaced = expression
        .replace('(', " ( ")
        .replace(')', " ) ")
        .replace('/', " OR ");
    let mut words = Words {
        words: spaced.split_whitespace().collect(),
        at: 0,
    };
    any_of(&mut words, &accepted) == Some(true) && words.at == words.words.len()
}

struct Words<'a> {
    words: Vec<&'a str>,
    at: usize,
}

impl<'a> Words<'a> {
    fn next(&mut self) -> Option<&'a str> {
        let word = self.words.get(self.at).copied();
        self.at += 1;
        word
    }

    fn next_is(&mut self, wanted: &str) -> bool {
        let is = self.words.get(self.at) == Some(&wanted);
        self.at += usize::from(is);
        is
    }
}

fn any_of(words: &mut Words<'_>, accepted: &impl Fn(&str) -> bool) -> Option<bool> {
    let mut holds = all_of(words, accepted)?;
    while words.next_is("OR") {
        holds |= all_of(words, accepted)?;
    }
    Some(holds)
}

fn all_of(words: &mut Words<'_>, accepted: &impl Fn(&str) -> bool) -> Option<bool> {
    let mut holds = one(words, accepted)?;
    while words.next_is("AND") {
        holds &= one(words, accepted)?;
    }
    Some(holds)
}

fn one(words: &mut Words<'_>, accepted: &impl Fn(&str) -> bool) -> Option<bool> {
    if words.next_is("(") {
        let holds = any_of(words, accepted)?;
        return words.next_is(")").then_some(holds);
    }
    let licence = words.next()?;
    if matches!(licence, ")" | "AND" | "OR" | "WITH") {
        return None;
    }
    if words.next_is("WITH") {
        let exception = words.next()?;
        return Some(accepted(licence) || accepted(&format!("{licence} WITH {exception}")));
    }
    Some(accepted(licence))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_hold_when_their_licences_do() {
        for (expression, expected) in [
            ("MIT", true),
            ("GPL-3.0", false),
            ("GPL-3.0 OR MIT", true),
            ("GPL-3.0/MIT", true),
            ("GPL-3.0 AND MIT", false),
            ("(MIT OR GPL-3.0) AND Zlib", true),
            ("MIT AND (Zlib OR GPL-3.0) AND Zlib", true),
            ("GPL-2.0 WITH Linking OR GPL-3.0", true),
            ("GPL-2.0 WITH Other", false),
            ("", false),
            ("MIT OR", false),
            ("(MIT", false),
            ("MIT MIT", false),
        ] {
            let accepted =
                |licence: &str| ["MIT", "Zlib", "GPL-2.0 WITH Linking"].contains(&licence);
            assert_eq!(holds(expression, accepted), expected, "{expression:?}");
        }
    }
}
