//! A path inside the file roots, as minions and masters name it.

/// The longest path, in bytes.
const MAX_BYTES: usize = 4096;

/// A relative path of ordinary names separated by `/`. Joined to a folder it stays below it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SaltPath(String);

/// The path could lead out of the folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the path must be relative, without '..', control characters and backslashes")]
pub struct PathError;

impl SaltPath {
    /// Checks a path. `a//b` and `./a/b` are `a/b`.
    ///
    /// # Errors
    /// [`PathError`].
    pub fn parse(text: &str) -> Result<Self, PathError> {
        let strange = |character: char| character.is_control() || character == '\\';
        if text.len() > MAX_BYTES || text.starts_with(['/', '|', '~']) || text.contains(strange) {
            return Err(PathError);
        }
        let names: Vec<&str> = text
            .split('/')
            .filter(|name| !matches!(*name, "" | "."))
            .collect();
        if names.is_empty() || names.contains(&"..") {
            return Err(PathError);
        }
        Ok(Self(names.join("/")))
    }

    /// The path.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::path::{Component, Path};

    #[test]
    fn what_could_lead_elsewhere_is_no_path() {
        for text in [
            "",
            ".",
            "/etc/passwd",
            "../x",
            "a/../../x",
            "a/..",
            "a\0b",
            "a\nb",
            "..\\x",
            "~root/x",
            "|x",
        ] {
            assert_eq!(SaltPath::parse(text), Err(PathError), "{text:?}");
        }
        assert_eq!(SaltPath::parse("./a//b/.").unwrap().as_str(), "a/b");
        assert_eq!(SaltPath::parse("..a/b..").unwrap().as_str(), "..a/b..");
    }

    proptest! {
        #[test]
        fn joined_to_a_folder_it_stays_below_it(text in "[./a~|\\\\\0\n]{0,12}") {
            if let Ok(path) = SaltPath::parse(&text) {
                let components: Vec<_> = Path::new(path.as_str()).components().collect();
                prop_assert!(!components.is_empty());
                prop_assert!(components.iter().all(|part| matches!(part, Component::Normal(_))));
            }
        }
    }
}
