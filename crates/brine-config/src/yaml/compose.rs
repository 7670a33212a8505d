//! Composes tokens to a tree of tagged nodes; an alias is a second path to a node.
//!
//! Knows the grammar, tags and anchors, not values. Every node knows the height of the tree below it, with aliases
//! followed, so that code that walks it cannot exhaust the stack.

use std::collections::HashMap;

use super::node::{CORE, Document, Kind, Node, NodeId, Tag};
use super::scalar;
use super::scan::{Mark, Scanner, TokenKind};
use super::{Fault, MAX_DEPTH, MAX_VALUES, YamlError, excerpt};

/// Composes the one document of `text`, or `None` when it holds none.
pub(super) fn compose(text: &str) -> Result<Option<Document>, YamlError> {
    let mut composer = Composer {
        scanner: Scanner::new(text),
        prefixes: HashMap::new(),
        nodes: Vec::new(),
        anchors: HashMap::new(),
        depth: 0,
    };
    let root = composer.document()?;
    let nodes = composer.nodes;
    Ok(root.map(|root| Document { nodes, root }))
}

struct Composer<'t> {
    scanner: Scanner<'t>,
    /// What the document's tag handles stand for.
    prefixes: HashMap<String, String>,
    nodes: Vec<Node>,
    anchors: HashMap<String, Anchor>,
    depth: usize,
}

/// An anchor's node, once that is complete.
enum Anchor {
    Open,
    Done(NodeId),
}

/// What may precede a node.
struct Properties {
    mark: Mark,
    anchor: Option<String>,
    tag: Option<String>,
}

/// Where a node is, which decides what it may be.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Context {
    /// Inside brackets or braces.
    Flow,
    /// At the top, or an item of a block list.
    Block,
    /// A key or value of a block mapping: a list may start here without more indentation.
    BlockPair,
}

impl Composer<'_> {
    fn document(&mut self) -> Result<Option<NodeId>, YamlError> {
        if self.next_is(|kind| *kind == TokenKind::StreamEnd)? {
            return Ok(None);
        }
        let is_explicit = self.next_is(|kind| {
            use TokenKind::{DocumentStart, TagPrefix, Version};
            matches!(kind, Version(..) | TagPrefix(..) | DocumentStart)
        })?;
        self.directives()?;
        if is_explicit {
            let token = self.scanner.next()?;
            if token.kind != TokenKind::DocumentStart {
                return Err(token.mark.syntax("expected `---` after the directives"));
            }
        }
        let is_empty = is_explicit
            && self.next_is(|kind| {
                use TokenKind::{DocumentEnd, DocumentStart, StreamEnd, TagPrefix, Version};
                matches!(
                    kind,
                    Version(..) | TagPrefix(..) | DocumentStart | DocumentEnd | StreamEnd
                )
            })?;
        let root = if is_empty {
            self.empty()?
        } else {
            self.node(Context::Block)?
        };
        while self.take_if(&TokenKind::DocumentEnd)? {}
        let rest = self.scanner.next()?;
        match rest.kind {
            TokenKind::StreamEnd => Ok(Some(root)),
            TokenKind::DocumentStart | TokenKind::Version(..) | TokenKind::TagPrefix(..) => {
                Err(rest.mark.fault(Fault::SecondDocument))
            }
            _ => Err(rest.mark.syntax("expected the end of the document")),
        }
    }

    fn directives(&mut self) -> Result<(), YamlError> {
        let mut has_version = false;
        while self
            .next_is(|kind| matches!(kind, TokenKind::Version(..) | TokenKind::TagPrefix(..)))?
        {
            let token = self.scanner.next()?;
            let is_first = match token.kind {
                TokenKind::Version(1, 1 | 2) => !std::mem::replace(&mut has_version, true),
                TokenKind::TagPrefix(handle, prefix) => {
                    self.prefixes.insert(handle, prefix).is_none()
                }
                _ => return Err(token.mark.syntax("expected YAML 1.1 or 1.2")),
            };
            if !is_first {
                return Err(token.mark.syntax("this directive is given twice"));
            }
        }
        for (handle, prefix) in [("!", "!"), ("!!", CORE)] {
            self.prefixes
                .entry(handle.to_owned())
                .or_insert_with(|| prefix.to_owned());
        }
        Ok(())
    }

    fn node(&mut self, context: Context) -> Result<NodeId, YamlError> {
        if self.next_is(|kind| matches!(kind, TokenKind::Alias(_)))? {
            return self.alias();
        }
        let Properties { mark, anchor, tag } = self.properties()?;
        if let Some(anchor) = &anchor {
            let old = self.anchors.insert(anchor.clone(), Anchor::Open);
            if old.is_some() {
                return Err(mark.fault(Fault::DuplicateAnchor(excerpt(anchor))));
            }
        }
        let may_be_empty = anchor.is_some() || tag.is_some();
        let (kind, implied) = self.content(context, may_be_empty)?;
        let tag = match (tag.as_deref(), implied) {
            (Some(name), _) if name != "!" => Tag::of_name(name),
            (_, Implied::Tag(tag)) => tag,
            (Some(_), Implied::ByText { is_empty: true }) | (None, Implied::Text) => Tag::Str,
            _ => resolved(&kind),
        };
        let id = self.add(tag, kind, mark)?;
        if let Some(anchor) = anchor {
            self.anchors.insert(anchor, Anchor::Done(id));
        }
        Ok(id)
    }

    fn alias(&mut self) -> Result<NodeId, YamlError> {
        let token = self.scanner.next()?;
        let TokenKind::Alias(name) = token.kind else {
            return Err(token.mark.syntax(EXPECTED_VALUE));
        };
        match self.anchors.get(&name) {
            Some(Anchor::Done(id)) => Ok(*id),
            Some(Anchor::Open) => Err(token.mark.fault(Fault::RecursiveAlias)),
            None => Err(token.mark.fault(Fault::UnknownAlias(excerpt(&name)))),
        }
    }

    /// An anchor and a tag, in either order, neither of them twice.
    fn properties(&mut self) -> Result<Properties, YamlError> {
        let mut properties = Properties {
            mark: self.scanner.peek()?.mark,
            anchor: None,
            tag: None,
        };
        loop {
            let is_one = match self.scanner.peek()?.kind {
                TokenKind::Anchor(_) => properties.anchor.is_none(),
                TokenKind::Tag(..) => properties.tag.is_none(),
                _ => false,
            };
            if !is_one {
                return Ok(properties);
            }
            let token = self.scanner.next()?;
            match token.kind {
                TokenKind::Anchor(name) => properties.anchor = Some(name),
                TokenKind::Tag(handle, suffix) if handle.is_empty() => {
                    properties.tag = Some(suffix);
                }
                TokenKind::Tag(handle, suffix) => {
                    let prefix = self.prefixes.get(&handle);
                    let prefix = prefix
                        .ok_or_else(|| token.mark.syntax("no %TAG directive for this tag"))?;
                    properties.tag = Some(format!("{prefix}{suffix}"));
                }
                _ => {}
            }
        }
    }

    /// A node without its tag and anchor.
    fn content(
        &mut self,
        context: Context,
        may_be_empty: bool,
    ) -> Result<(Kind, Implied), YamlError> {
        let is_block = context != Context::Flow;
        let token = self.scanner.peek()?;
        let mark = token.mark;
        let (read, tag): (fn(&mut Self) -> _, _) = match token.kind {
            TokenKind::BlockEntry if context == Context::BlockPair => {
                (Self::unindented_sequence, Tag::Seq)
            }
            TokenKind::BlockSequenceStart if is_block => (Self::block_sequence, Tag::Seq),
            TokenKind::BlockMappingStart if is_block => (Self::block_mapping, Tag::Map),
            TokenKind::FlowSequenceStart => (Self::flow_sequence, Tag::Seq),
            TokenKind::FlowMappingStart => (Self::flow_mapping, Tag::Map),
            TokenKind::Scalar { .. } => return self.scalar(),
            _ if may_be_empty => {
                return Ok((
                    Kind::Scalar(String::new()),
                    Implied::ByText { is_empty: true },
                ));
            }
            _ => return Err(mark.syntax(EXPECTED_VALUE)),
        };
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(mark.fault(Fault::TooDeep));
        }
        let kind = read(self)?;
        self.depth -= 1;
        Ok((kind, Implied::Tag(tag)))
    }

    fn scalar(&mut self) -> Result<(Kind, Implied), YamlError> {
        let token = self.scanner.next()?;
        match token.kind {
            TokenKind::Scalar { text, is_plain } => {
                let implied = if is_plain {
                    Implied::ByText { is_empty: false }
                } else {
                    Implied::Text
                };
                Ok((Kind::Scalar(text), implied))
            }
            _ => Err(token.mark.syntax(EXPECTED_VALUE)),
        }
    }

    fn block_sequence(&mut self) -> Result<Kind, YamlError> {
        self.scanner.next()?;
        let mut items = Vec::new();
        loop {
            let token = self.scanner.next()?;
            match token.kind {
                TokenKind::BlockEntry => items.push(self.node_unless(Context::Block, |kind| {
                    matches!(kind, TokenKind::BlockEntry | TokenKind::BlockEnd)
                })?),
                TokenKind::BlockEnd => return Ok(Kind::Sequence(items)),
                _ => return Err(token.mark.syntax("expected `-` as in the lines above")),
            }
        }
    }

    /// The items of a list that is not indented further than the key it belongs to.
    fn unindented_sequence(&mut self) -> Result<Kind, YamlError> {
        let mut items = Vec::new();
        while self.take_if(&TokenKind::BlockEntry)? {
            items.push(self.node_unless(Context::Block, |kind| {
                use TokenKind::{BlockEnd, BlockEntry, Key, Value};
                matches!(kind, BlockEntry | Key | Value | BlockEnd)
            })?);
        }
        Ok(Kind::Sequence(items))
    }

    fn block_mapping(&mut self) -> Result<Kind, YamlError> {
        const ENDS: fn(&TokenKind) -> bool = |kind| {
            matches!(
                kind,
                TokenKind::Key | TokenKind::Value | TokenKind::BlockEnd
            )
        };
        self.scanner.next()?;
        let mut pairs = Vec::new();
        loop {
            let token = self.scanner.next()?;
            match token.kind {
                TokenKind::Key => {}
                TokenKind::BlockEnd => return Ok(Kind::Mapping(pairs)),
                _ => return Err(token.mark.syntax("expected a key as in the lines above")),
            }
            let key = self.node_unless(Context::BlockPair, ENDS)?;
            let value = if self.take_if(&TokenKind::Value)? {
                self.node_unless(Context::BlockPair, ENDS)?
            } else {
                self.empty()?
            };
            pairs.push((key, value));
        }
    }

    fn flow_sequence(&mut self) -> Result<Kind, YamlError> {
        self.scanner.next()?;
        let mut items = Vec::new();
        loop {
            if self.take_if(&TokenKind::FlowSequenceEnd)? {
                return Ok(Kind::Sequence(items));
            }
            if !items.is_empty() {
                let token = self.scanner.next()?;
                if token.kind != TokenKind::FlowEntry {
                    return Err(token.mark.syntax("expected `,` or `]`"));
                }
                if self.take_if(&TokenKind::FlowSequenceEnd)? {
                    return Ok(Kind::Sequence(items));
                }
            }
            items.push(if self.next_is(|kind| *kind == TokenKind::Key)? {
                self.flow_pair()?
            } else {
                self.node(Context::Flow)?
            });
        }
    }

    /// `key: value` as an item of a list, a mapping of one pair.
    fn flow_pair(&mut self) -> Result<NodeId, YamlError> {
        const ENDS: fn(&TokenKind) -> bool =
            |kind| matches!(kind, TokenKind::FlowEntry | TokenKind::FlowSequenceEnd);
        let mark = self.scanner.next()?.mark;
        let key = if self.next_is(|kind| *kind == TokenKind::Value || ENDS(kind))? {
            // libyaml loses the token after a `?` without key, so `[?]` is never closed.
            self.scanner.next()?;
            self.empty()?
        } else {
            self.node(Context::Flow)?
        };
        let value = if self.take_if(&TokenKind::Value)? {
            self.node_unless(Context::Flow, ENDS)?
        } else {
            self.empty()?
        };
        self.add(Tag::Map, Kind::Mapping(vec![(key, value)]), mark)
    }

    fn flow_mapping(&mut self) -> Result<Kind, YamlError> {
        const ENDS: fn(&TokenKind) -> bool =
            |kind| matches!(kind, TokenKind::FlowEntry | TokenKind::FlowMappingEnd);
        self.scanner.next()?;
        let mut pairs = Vec::new();
        loop {
            if self.take_if(&TokenKind::FlowMappingEnd)? {
                return Ok(Kind::Mapping(pairs));
            }
            if !pairs.is_empty() {
                let token = self.scanner.next()?;
                if token.kind != TokenKind::FlowEntry {
                    return Err(token.mark.syntax("expected `,` or `}`"));
                }
                if self.take_if(&TokenKind::FlowMappingEnd)? {
                    return Ok(Kind::Mapping(pairs));
                }
            }
            let has_key_mark = self.take_if(&TokenKind::Key)?;
            let key = if has_key_mark {
                self.node_unless(Context::Flow, |kind| {
                    *kind == TokenKind::Value || ENDS(kind)
                })?
            } else {
                self.node(Context::Flow)?
            };
            let value = if has_key_mark && self.take_if(&TokenKind::Value)? {
                self.node_unless(Context::Flow, ENDS)?
            } else {
                self.empty()?
            };
            pairs.push((key, value));
        }
    }

    /// A node, or an empty one where the next token already belongs to what follows.
    fn node_unless(
        &mut self,
        context: Context,
        ends: fn(&TokenKind) -> bool,
    ) -> Result<NodeId, YamlError> {
        if self.next_is(ends)? {
            self.empty()
        } else {
            self.node(context)
        }
    }

    fn empty(&mut self) -> Result<NodeId, YamlError> {
        let mark = self.scanner.peek()?.mark;
        self.add(Tag::Null, Kind::Scalar(String::new()), mark)
    }

    fn add(&mut self, tag: Tag, kind: Kind, mark: Mark) -> Result<NodeId, YamlError> {
        if self.nodes.len() >= MAX_VALUES {
            return Err(mark.fault(Fault::TooLarge));
        }
        let height = |id: &NodeId| self.nodes[id.0].height;
        let below = match &kind {
            Kind::Scalar(_) => None,
            Kind::Sequence(items) => Some(items.iter().map(height).max()),
            Kind::Mapping(pairs) => Some(
                pairs
                    .iter()
                    .map(|(key, value)| height(key).max(height(value)))
                    .max(),
            ),
        };
        let height = below.map_or(0, |below| 1 + below.unwrap_or(0));
        if height > MAX_DEPTH {
            return Err(mark.fault(Fault::TooDeep));
        }
        self.nodes.push(Node {
            tag,
            kind,
            mark,
            height,
        });
        Ok(NodeId(self.nodes.len() - 1))
    }

    fn next_is(&mut self, is: impl Fn(&TokenKind) -> bool) -> Result<bool, YamlError> {
        Ok(is(&self.scanner.peek()?.kind))
    }

    fn take_if(&mut self, kind: &TokenKind) -> Result<bool, YamlError> {
        let is_there = self.next_is(|next| next == kind)?;
        if is_there {
            self.scanner.next()?;
        }
        Ok(is_there)
    }
}

const EXPECTED_VALUE: &str = "expected a value";

/// What decides on a node's tag when none is given.
enum Implied {
    /// A plain scalar's text. Nothing at all counts as one, but is text when tagged `!`.
    ByText {
        is_empty: bool,
    },
    /// Quotes, `|` or `>`: it is text, unless tagged `!`.
    Text,
    Tag(Tag),
}

fn resolved(kind: &Kind) -> Tag {
    match kind {
        Kind::Scalar(text) => scalar::resolve(text),
        Kind::Sequence(_) => Tag::Seq,
        Kind::Mapping(_) => Tag::Map,
    }
}
