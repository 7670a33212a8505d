//! Splitting a command line into words as Python's `shlex.split` does, by POSIX rules.
//!
//! Facts: CPython 3.11.

/// Why a line has no words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ShlexError {
    /// A quotation mark without its counterpart.
    Quotation,
    /// A backslash at the end.
    Escape,
}

impl ShlexError {
    /// Python's words.
    pub(super) const fn message(self) -> &'static str {
        match self {
            Self::Quotation => "No closing quotation",
            Self::Escape => "No escaped character",
        }
    }
}

/// The words of a line.
pub(super) fn split(line: &str) -> Result<Vec<String>, ShlexError> {
    let (mut words, mut word, mut is_word) = (Vec::new(), String::new(), false);
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match c {
            ' ' | '\t' | '\r' | '\n' => {
                if is_word {
                    words.push(std::mem::take(&mut word));
                }
                is_word = false;
                continue;
            }
            '\'' => loop {
                match chars.next().ok_or(ShlexError::Quotation)? {
                    '\'' => break,
                    c => word.push(c),
                }
            },
            '"' => loop {
                match chars.next().ok_or(ShlexError::Quotation)? {
                    '"' => break,
                    '\\' => match chars.next().ok_or(ShlexError::Escape)? {
                        c @ ('"' | '\\') => word.push(c),
                        c => word.extend(['\\', c]),
                    },
                    c => word.push(c),
                }
            },
            '\\' => word.push(chars.next().ok_or(ShlexError::Escape)?),
            c => word.push(c),
        }
        is_word = true;
    }
    if is_word {
        words.push(word);
    }
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_split_as_python_splits_them() {
        for (line, words) in [
            ("a  b\tc", &["a", "b", "c"][..]),
            ("'a b' \"c d\"", &["a b", "c d"]),
            (r#"a"b 'c'"d ''"#, &["ab 'c'd", ""]),
            (r#""a\"b\\c\d" x\ y"#, &["a\"b\\c\\d", "x y"]),
            ("", &[]),
        ] {
            assert_eq!(split(line).unwrap(), words, "{line}");
        }
        assert_eq!(split("'a"), Err(ShlexError::Quotation));
        assert_eq!(split("a\\"), Err(ShlexError::Escape));
    }
}
