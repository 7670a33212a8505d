//! Tokens, and marks: positions in the text.

use super::Syntax;
use crate::yaml::{Fault, YamlError};

/// A position in the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::yaml) struct Mark {
    /// Bytes before it.
    pub(super) byte: usize,
    /// Characters before it.
    pub(super) index: usize,
    /// From 0.
    pub(super) line: usize,
    /// In characters, from 0.
    pub(super) column: usize,
}

impl Mark {
    /// Its line, from 1.
    pub(in crate::yaml) const fn line(self) -> usize {
        self.line + 1
    }

    /// An error here.
    pub(in crate::yaml) const fn fault(self, fault: Fault) -> YamlError {
        YamlError {
            line: self.line + 1,
            column: self.column + 1,
            fault,
        }
    }

    /// A syntax error here.
    pub(in crate::yaml) const fn syntax(self, syntax: Syntax) -> YamlError {
        self.fault(Fault::Syntax(syntax))
    }
}

/// A token and where it starts.
#[derive(Debug)]
pub(in crate::yaml) struct Token {
    pub(in crate::yaml) kind: TokenKind,
    pub(in crate::yaml) mark: Mark,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::yaml) enum TokenKind {
    StreamEnd,
    /// `%YAML` with its version.
    Version(u32, u32),
    /// `%TAG` with handle and prefix.
    TagPrefix(String, String),
    DocumentStart,
    DocumentEnd,
    BlockSequenceStart,
    BlockMappingStart,
    BlockEnd,
    FlowSequenceStart,
    FlowSequenceEnd,
    FlowMappingStart,
    FlowMappingEnd,
    BlockEntry,
    FlowEntry,
    Key,
    Value,
    Alias(String),
    Anchor(String),
    /// Handle (empty when there is none) and suffix.
    Tag(String, String),
    Scalar {
        text: String,
        is_plain: bool,
    },
}
