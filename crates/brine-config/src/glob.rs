//! File name patterns of `include`, `default_include` and `reactor`, as Python's `glob` reads them.
//!
//! `*` does not match names that start with a dot, `**` is just `*`, and names that are
//! not UTF-8 are not looked at.

use std::fs;
use std::path::Path;

use crate::paths;

/// The paths a pattern matches, sorted; without wildcards the path itself if it is there.
#[must_use]
pub fn glob(pattern: &str) -> Vec<String> {
    let mut found = expand(pattern);
    found.sort();
    found
}

fn expand(pattern: &str) -> Vec<String> {
    if !has_wildcard(pattern) {
        let exists = fs::symlink_metadata(pattern).is_ok();
        return exists.then(|| pattern.to_owned()).into_iter().collect();
    }
    let directory = paths::directory(pattern);
    let name = paths::file_name(pattern);
    let directories = if has_wildcard(directory) {
        expand(directory)
    } else {
        vec![directory.to_owned()]
    };
    let inside = |directory: String| -> Vec<String> {
        if has_wildcard(name) {
            let names = names_in(&directory).into_iter();
            let matching = names.filter(|found| {
                (name.starts_with('.') || !found.starts_with('.')) && matches(name, found)
            });
            matching
                .map(|found| paths::join(&directory, &found))
                .collect()
        } else {
            expand(&paths::join(&directory, name))
        }
    };
    directories.into_iter().flat_map(inside).collect()
}

fn names_in(directory: &str) -> Vec<String> {
    let directory = if directory.is_empty() { "." } else { directory };
    let Ok(entries) = fs::read_dir(Path::new(directory)) else {
        return Vec::new();
    };
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    names.collect()
}

fn has_wildcard(pattern: &str) -> bool {
    pattern.contains(['*', '?', '['])
}

/// Whether a name matches a pattern of Python's `fnmatch`.
fn matches(pattern: &str, name: &str) -> bool {
    let pattern = pieces(pattern);
    let name: Vec<char> = name.chars().collect();
    let (mut at, mut piece) = (0, 0);
    // Where to go on when what follows the last `*` does not match: one character later.
    let mut retry: Option<(usize, usize)> = None;
    loop {
        match (pattern.get(piece), name.get(at)) {
            (None, None) => return true,
            (Some(Piece::Any), _) => {
                retry = Some((at, piece + 1));
                piece += 1;
                continue;
            }
            (Some(wanted), Some(&c)) if wanted.takes(c) => {
                (at, piece) = (at + 1, piece + 1);
                continue;
            }
            _ => {}
        }
        match retry {
            Some((from, star)) if from < name.len() => {
                (at, piece) = (from + 1, star);
                retry = Some((from + 1, star));
            }
            _ => return false,
        }
    }
}

enum Piece {
    Char(char),
    One,
    Any,
    Class {
        negated: bool,
        ranges: Vec<(char, char)>,
    },
}

impl Piece {
    fn takes(&self, c: char) -> bool {
        match self {
            Self::Char(own) => *own == c,
            Self::One => true,
            Self::Any => false,
            Self::Class { negated, ranges } => {
                ranges.iter().any(|&(low, high)| (low..=high).contains(&c)) != *negated
            }
        }
    }
}

fn pieces(pattern: &str) -> Vec<Piece> {
    let chars: Vec<char> = pattern.chars().collect();
    let mut pieces = Vec::new();
    let mut at = 0;
    while let Some(&c) = chars.get(at) {
        at += 1;
        pieces.push(match c {
            '*' => Piece::Any,
            '?' => Piece::One,
            '[' => match class(&chars[at..]) {
                Some((class, length)) => {
                    at += length;
                    class
                }
                None => Piece::Char('['),
            },
            _ => Piece::Char(c),
        });
    }
    pieces
}

/// A class and its length, without the opening bracket; `None` when nothing closes it.
fn class(chars: &[char]) -> Option<(Piece, usize)> {
    let negated = chars.first() == Some(&'!');
    let start = usize::from(negated);
    // A bracket right at the start is one of the class.
    let length = chars.iter().skip(start + 1).position(|&c| c == ']')?;
    let end = start + 1 + length;
    let mut ranges = Vec::new();
    let mut at = start;
    while at < end {
        if at + 2 < end && chars[at + 1] == '-' {
            ranges.push((chars[at], chars[at + 2]));
            at += 3;
        } else {
            ranges.push((chars[at], chars[at]));
            at += 1;
        }
    }
    Some((Piece::Class { negated, ranges }, end + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_match_as_in_python() {
        for (pattern, name, expected) in [
            ("*.conf", "a.conf", true),
            ("*.conf", "a.conf~", false),
            ("*a*b*", "xaybz", true),
            ("*a*b", "xaybz", false),
            ("?.conf", "é.conf", true),
            ("[a-c]x", "bx", true),
            ("[!a-c]x", "bx", false),
            ("[]]x", "]x", true),
            ("[x", "[x", true),
            ("[a-]", "-", true),
            ("", "", true),
            ("**", "anything", true),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn files_come_sorted_and_hidden_ones_only_when_asked_for() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["b.conf", "a.conf", ".h.conf", "c.txt"] {
            fs::write(dir.path().join(name), "").unwrap();
        }
        let base = dir.path().to_str().unwrap();
        let found = |pattern: &str| -> Vec<String> {
            let names = glob(&format!("{base}/{pattern}")).into_iter();
            names
                .map(|path| path[base.len() + 1..].to_owned())
                .collect()
        };
        assert_eq!(found("*.conf"), ["a.conf", "b.conf"]);
        assert_eq!(found(".*.conf"), [".h.conf"]);
        assert_eq!(found("c.txt"), ["c.txt"]);
        assert_eq!(found("none*"), [""; 0]);
        let up = format!("../{}/*.txt", paths::file_name(base));
        assert_eq!(glob(&format!("{base}/{up}")).len(), 1);
    }
}
