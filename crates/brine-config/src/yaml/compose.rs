//! Parser events put together to a tree of tagged nodes; an alias is a second way to a node.
//!
//! Knows tags and anchors, not values. Every node knows how high the tree below it is, aliases
//! followed, so that nothing that walks it can exhaust the stack.

use std::collections::HashMap;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, ScanError};

use super::scalar;
use super::{Fault, MAX_DEPTH, MAX_VALUES, YamlError};

/// A document's nodes; the root is the last one.
#[derive(Debug)]
pub(super) struct Document {
    nodes: Vec<Node>,
}

impl Document {
    pub(super) fn root(&self) -> &Node {
        &self.nodes[self.nodes.len() - 1]
    }

    pub(super) fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.0]
    }
}

/// A node's place in its document.
#[derive(Debug, Clone, Copy)]
pub(super) struct NodeId(usize);

/// One node with its tag, given or resolved.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) tag: Tag,
    pub(super) kind: Kind,
    place: Place,
    height: usize,
}

impl Node {
    /// An error about this node.
    pub(super) fn fault(&self, fault: Fault) -> YamlError {
        self.place.fault(fault)
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
    Unknown(String),
}

impl Tag {
    fn of_name(name: &str) -> Self {
        match name.strip_prefix("tag:yaml.org,2002:") {
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
            _ => Self::Unknown(name.to_owned()),
        }
    }
}

/// A line from 1 and a column from 0, as the parser counts.
#[derive(Debug, Clone, Copy)]
struct Place {
    line: usize,
    column: usize,
}

impl Place {
    fn of(marker: &Marker) -> Self {
        Self {
            line: marker.line(),
            column: marker.col(),
        }
    }

    const fn fault(self, fault: Fault) -> YamlError {
        YamlError {
            line: self.line,
            column: self.column + 1,
            fault,
        }
    }
}

/// Parses `text` to the nodes of its one document, or `None` when it holds none.
pub(super) fn compose(text: &str) -> Result<Option<Document>, YamlError> {
    let mut composer = Composer::default();
    let mut documents = 0;
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|error| syntax(&error))?;
        let place = Place::of(&span.start);
        match event {
            Event::DocumentStart(_) => {
                documents += 1;
                if documents > 1 {
                    return Err(place.fault(Fault::SecondDocument));
                }
            }
            Event::Alias(anchor) => composer.alias(anchor, place)?,
            Event::Scalar(text, style, anchor, tag) => {
                let tag = scalar_tag(tag.as_deref(), style, &text);
                composer.add(tag, Kind::Scalar(text.into_owned()), anchor, place)?;
            }
            Event::SequenceStart(anchor, tag) => {
                let tag = collection_tag(tag.as_deref(), Tag::Seq);
                composer.open(tag, Kind::Sequence(Vec::new()), anchor, place)?;
            }
            Event::MappingStart(anchor, tag) => {
                let tag = collection_tag(tag.as_deref(), Tag::Map);
                composer.open(tag, Kind::Mapping(Vec::new()), anchor, place)?;
            }
            Event::SequenceEnd | Event::MappingEnd => composer.close()?,
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => {}
        }
    }
    let nodes = composer.nodes;
    Ok((!nodes.is_empty()).then_some(Document { nodes }))
}

fn syntax(error: &ScanError) -> YamlError {
    Place::of(error.marker()).fault(Fault::Syntax(error.info().to_owned()))
}

/// A scalar's tag: the one given; by its text when plain or tagged `!`; else text.
///
/// A `!` before nothing is empty text, as in libyaml.
fn scalar_tag(given: Option<&saphyr_parser::Tag>, style: ScalarStyle, text: &str) -> Tag {
    match given.map(full_name) {
        Some(name) if name != "!" => Tag::of_name(&name),
        Some(_) if style == ScalarStyle::Plain && text.is_empty() => Tag::Str,
        None if style != ScalarStyle::Plain => Tag::Str,
        _ => scalar::resolve(text),
    }
}

fn collection_tag(given: Option<&saphyr_parser::Tag>, implied: Tag) -> Tag {
    match given.map(full_name) {
        Some(name) if name != "!" => Tag::of_name(&name),
        _ => implied,
    }
}

fn full_name(tag: &saphyr_parser::Tag) -> String {
    format!("{}{}", tag.handle, tag.suffix)
}

/// The nodes made so far and the collections still open.
#[derive(Default)]
struct Composer {
    nodes: Vec<Node>,
    open: Vec<Open>,
    anchors: HashMap<usize, Anchor>,
}

struct Open {
    node: Node,
    anchor: usize,
    /// In a mapping: the key whose value comes next.
    key: Option<NodeId>,
}

enum Anchor {
    Open,
    Done(NodeId),
}

impl Composer {
    fn add(&mut self, tag: Tag, kind: Kind, anchor: usize, place: Place) -> Result<(), YamlError> {
        let node = Node {
            tag,
            kind,
            place,
            height: 0,
        };
        self.finish(node, anchor)
    }

    fn open(&mut self, tag: Tag, kind: Kind, anchor: usize, place: Place) -> Result<(), YamlError> {
        if self.open.len() >= MAX_DEPTH {
            return Err(place.fault(Fault::TooDeep));
        }
        if anchor != 0 {
            self.anchors.insert(anchor, Anchor::Open);
        }
        let node = Node {
            tag,
            kind,
            place,
            height: 0,
        };
        self.open.push(Open {
            node,
            anchor,
            key: None,
        });
        Ok(())
    }

    fn close(&mut self) -> Result<(), YamlError> {
        match self.open.pop() {
            Some(open) => self.finish(open.node, open.anchor),
            None => Ok(()),
        }
    }

    fn alias(&mut self, anchor: usize, place: Place) -> Result<(), YamlError> {
        match self.anchors.get(&anchor) {
            Some(Anchor::Done(id)) => self.place_in_parent(*id, place),
            Some(Anchor::Open) => Err(place.fault(Fault::RecursiveAlias)),
            None => Err(place.fault(Fault::Syntax("alias to an unknown anchor".to_owned()))),
        }
    }

    fn finish(&mut self, node: Node, anchor: usize) -> Result<(), YamlError> {
        let place = node.place;
        if self.nodes.len() >= MAX_VALUES {
            return Err(place.fault(Fault::TooLarge));
        }
        let id = NodeId(self.nodes.len());
        self.nodes.push(node);
        if anchor != 0 {
            self.anchors.insert(anchor, Anchor::Done(id));
        }
        self.place_in_parent(id, place)
    }

    fn place_in_parent(&mut self, id: NodeId, place: Place) -> Result<(), YamlError> {
        let Some(parent) = self.open.last_mut() else {
            return Ok(());
        };
        parent.node.height = parent.node.height.max(self.nodes[id.0].height + 1);
        if parent.node.height > MAX_DEPTH {
            return Err(place.fault(Fault::TooDeep));
        }
        match (&mut parent.node.kind, parent.key.take()) {
            (Kind::Sequence(items), _) => items.push(id),
            (Kind::Mapping(pairs), Some(key)) => pairs.push((key, id)),
            (Kind::Mapping(_), None) => parent.key = Some(id),
            (Kind::Scalar(_), _) => {}
        }
        Ok(())
    }
}
