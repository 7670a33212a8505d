//! What a document is made of: nodes with their tags, before anything has a value.

use super::scan::Mark;
use super::{Fault, YamlError, excerpt};

/// A document's nodes.
#[derive(Debug)]
pub(super) struct Document {
    pub(super) nodes: Vec<Node>,
    pub(super) root: NodeId,
}

impl Document {
    pub(super) fn root(&self) -> &Node {
        self.node(self.root)
    }

    pub(super) fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.0]
    }

    /// Adds the keys of a mapping, and of mappings in it, with their lines from 1. As deep as options are nested; an
    /// alias that repeats a mapping adds its keys again, within a limit.
    pub(super) fn key_lines(&self, id: NodeId, outer: &str, lines: &mut Vec<(String, usize)>) {
        const DEPTH: usize = 3;
        const MOST: usize = 10_000;
        let Kind::Mapping(pairs) = &self.node(id).kind else {
            return;
        };
        for (key, value) in pairs {
            let node = self.node(*key);
            let Kind::Scalar(name) = &node.kind else {
                continue;
            };
            if lines.len() >= MOST {
                return;
            }
            let name = match outer {
                "" => name.clone(),
                outer => format!("{outer}: {name}"),
            };
            lines.push((name.clone(), node.mark.line()));
            if name.matches(": ").count() + 1 < DEPTH {
                self.key_lines(*value, &name, lines);
            }
        }
    }
}

/// Identifies a node in its document.
#[derive(Debug, Clone, Copy)]
pub(super) struct NodeId(pub(super) usize);

/// One node with its tag, given or resolved.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) tag: Tag,
    pub(super) kind: Kind,
    pub(super) mark: Mark,
    /// How many collections lie in each other here; 0 for a scalar.
    pub(super) height: usize,
}

impl Node {
    /// An error about this node.
    pub(super) const fn fault(&self, fault: Fault) -> YamlError {
        self.mark.fault(fault)
    }
}

/// What a node is made of.
#[derive(Debug)]
pub(super) enum Kind {
    Scalar(String),
    Sequence(Vec<NodeId>),
    Mapping(Vec<(NodeId, NodeId)>),
}

impl Kind {
    /// The kind's name in error texts.
    pub(super) const fn name(&self) -> &'static str {
        match self {
            Self::Scalar(_) => "a scalar",
            Self::Sequence(_) => "a list",
            Self::Mapping(_) => "a mapping",
        }
    }
}

/// The tags that PyYAML's safe loader and Salt's know, and all others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Tag {
    Null,
    Bool,
    Int,
    Float,
    Str,
    Binary,
    Timestamp,
    Seq,
    Map,
    Omap,
    Pairs,
    Set,
    /// `<<`, which only means something as a key.
    Merge,
    /// `=`, which as a key is just text.
    Value,
    /// As much of it as an error can show.
    Unknown(String),
}

impl Tag {
    /// The tag of a name in full, such as `tag:yaml.org,2002:str`.
    pub(super) fn of_name(name: &str) -> Self {
        match name.strip_prefix(CORE) {
            Some("null") => Self::Null,
            Some("bool") => Self::Bool,
            Some("int") => Self::Int,
            Some("float") => Self::Float,
            Some("str" | "python/unicode") => Self::Str,
            Some("binary") => Self::Binary,
            Some("timestamp") => Self::Timestamp,
            Some("seq") => Self::Seq,
            Some("map") => Self::Map,
            Some("omap") => Self::Omap,
            Some("pairs") => Self::Pairs,
            Some("set") => Self::Set,
            Some("merge") => Self::Merge,
            Some("value") => Self::Value,
            _ => Self::Unknown(excerpt(name)),
        }
    }
}

/// What `!!` stands for.
pub(super) const CORE: &str = "tag:yaml.org,2002:";
