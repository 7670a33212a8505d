//! Something wrong with the reactor's configuration or files, with where it is.

use std::fmt;

/// What is wrong, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The file.
    pub file: String,
    /// The line in it, if it is known.
    pub line: Option<usize>,
    /// The option, if it is about one.
    pub option: Option<String>,
    /// What was expected, what came, what to do.
    pub text: String,
    /// Whether something will not run because of it.
    pub is_error: bool,
}

impl Problem {
    /// Something that will not run.
    #[must_use]
    pub fn error(file: impl Into<String>, line: Option<usize>, text: impl Into<String>) -> Self {
        Self {
            file: file.into(),
            line,
            option: None,
            text: text.into(),
            is_error: true,
        }
    }

    /// Something that has no effect, or another one than it seems.
    #[must_use]
    pub fn warning(file: impl Into<String>, line: Option<usize>, text: impl Into<String>) -> Self {
        Self {
            is_error: false,
            ..Self::error(file, line, text)
        }
    }

    /// The same about an option.
    #[must_use]
    pub fn of_option(mut self, option: &str) -> Self {
        self.option = Some(option.to_owned());
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}:", self.file)?;
        if let Some(line) = self.line {
            write!(out, "{line}:")?;
        }
        if let Some(option) = &self.option {
            write!(out, " {option}:")?;
        }
        write!(out, " {}", self.text)
    }
}
