//! Tags as Salt builds them: `salt/job/<jid>/ret/<minion id>`.
//!
//! Matching them is [`crate::matching`]'s, cutting them from events [`crate::envelope`]'s. Facts:
//! `docs/protocol/ipc.md` §8.

use alloc::string::String;

pub use crate::envelope::TAG_END;

/// What every tag of Salt's own begins with.
pub const SALT: &str = "salt";

/// What separates the parts of a tag.
pub const TAG_PARTER: &str = "/";

/// Salt's table of prefixes (`TAGS`). Each is mapped to itself, so that any other prefix serves as
/// well.
pub const TAGS: [&str; 10] = [
    "auth",
    "job",
    "key",
    "minion",
    "syndic",
    "run",
    "wheel",
    "cloud",
    "fileserver",
    "queue",
];

/// The tag of a base (usually [`SALT`]), a prefix and the parts of a suffix; empty parts are left
/// out. A suffix of one text is a list of one.
///
/// The caller decides what counts as a list, since the releases differ: 3006 and 3007
/// spread lists only and make text of everything else, 3008 spreads everything it can iterate over
/// except text (of bytes it takes the numbers). Parts that are not text are `str(part)` in all
/// three, so `None` is `None`.
///
/// ```
/// use brine_wire::tag::{SALT, tagify};
/// assert_eq!(tagify(["1", "ret", "m1"], "job", SALT), "salt/job/1/ret/m1");
/// assert_eq!(tagify(["x"], "refresh", "minion"), "minion/refresh/x");
/// ```
#[must_use]
pub fn tagify<S: AsRef<str>>(
    suffix: impl IntoIterator<Item = S>,
    prefix: &str,
    base: &str,
) -> String {
    let mut tag = String::with_capacity(64);
    push(&mut tag, base);
    push(&mut tag, prefix);
    for part in suffix {
        push(&mut tag, part.as_ref());
    }
    tag
}

fn push(tag: &mut String, part: &str) {
    if !tag.is_empty() && !part.is_empty() {
        tag.push_str(TAG_PARTER);
    }
    tag.push_str(part);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_parts_are_left_out() {
        assert_eq!(tagify(["a", "", "b"], "job", SALT), "salt/job/a/b");
        assert_eq!(tagify(["", "x"], "", ""), "x");
        assert_eq!(tagify([""; 0], "", SALT), "salt");
        assert_eq!(tagify([""], "auth", SALT), "salt/auth");
    }
}
