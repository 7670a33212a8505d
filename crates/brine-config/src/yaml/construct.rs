//! Makes values of tagged nodes: keys merged and checked, aliases repeated, all within a budget.
//!
//! Follows PyYAML's safe constructor with Salt's mapping rules. Recursion is as deep as `compose` allowed the tree to
//! be.

use std::collections::HashSet;

use brine_wire::{Map, Value};

use super::node::{Document, Kind, Node, NodeId, Tag};
use super::{Fault, MAX_TEXT, MAX_VALUES, YamlError, excerpt, scalar};

/// Makes the document's value.
pub(super) fn construct(document: &Document) -> Result<Value, YamlError> {
    Constructor::new(document, None).value(document.root())
}

/// The same, but the last of equal keys of a mapping counts; which keys those are.
pub(super) fn construct_last_wins(document: &Document) -> Result<(Value, Vec<String>), YamlError> {
    let mut constructor = Constructor::new(document, Some(Vec::new()));
    let value = constructor.value(document.root())?;
    Ok((value, constructor.duplicates.unwrap_or_default()))
}

struct Constructor<'d> {
    document: &'d Document,
    values_left: usize,
    text_left: usize,
    /// Keys that a mapping has more than once; `None` if that is an error.
    duplicates: Option<Vec<String>>,
}

type Pair<'d> = (&'d Node, &'d Node);

impl<'d> Constructor<'d> {
    const fn new(document: &'d Document, duplicates: Option<Vec<String>>) -> Self {
        Self {
            document,
            values_left: MAX_VALUES,
            text_left: MAX_TEXT,
            duplicates,
        }
    }

    fn value(&mut self, node: &'d Node) -> Result<Value, YamlError> {
        self.charge(node, 0)?;
        match &node.tag {
            Tag::Null => self.text(node, "null").map(|_| Value::Nil),
            Tag::Str => self
                .text(node, "str")
                .map(|text| Value::Str(text.to_owned())),
            Tag::Timestamp => self
                .text(node, "timestamp")
                .map(|text| Value::Str(text.to_owned())),
            Tag::Bool => self.read(node, "bool", |text| {
                scalar::bool_value(text).map(Value::Bool)
            }),
            Tag::Int => self.read(node, "int", scalar::int_value),
            Tag::Float => self.read(node, "float", |text| {
                scalar::float_value(text).map(Value::Float)
            }),
            Tag::Binary => self.read(node, "binary", |text| {
                scalar::binary_value(text).map(Value::Bin)
            }),
            Tag::Seq => self.sequence(node),
            Tag::Map => self.mapping(node, "map").map(Value::Map),
            Tag::Set => {
                let keys = self.mapping(node, "set")?.into_iter().map(|(key, _)| key);
                Ok(Value::Array(keys.collect()))
            }
            Tag::Omap => self.pairs(node, "omap"),
            Tag::Pairs => self.pairs(node, "pairs"),
            Tag::Merge => Err(node.fault(Fault::UnknownTag("<<".to_owned()))),
            Tag::Value => Err(node.fault(Fault::UnknownTag("=".to_owned()))),
            Tag::Unknown(name) => Err(node.fault(Fault::UnknownTag(name.clone()))),
        }
    }

    /// Takes one value and its text from what is left.
    fn charge(&mut self, node: &Node, bytes: usize) -> Result<(), YamlError> {
        let left = (
            self.values_left.checked_sub(1),
            self.text_left.checked_sub(bytes),
        );
        let (Some(values), Some(text)) = left else {
            return Err(node.fault(Fault::TooLarge));
        };
        (self.values_left, self.text_left) = (values, text);
        Ok(())
    }

    fn text(&mut self, node: &'d Node, tag: &'static str) -> Result<&'d str, YamlError> {
        match &node.kind {
            Kind::Scalar(text) => {
                self.charge(node, text.len())?;
                Ok(text)
            }
            _ => Err(wrong_kind(node, tag, "a scalar")),
        }
    }

    fn read(
        &mut self,
        node: &'d Node,
        tag: &'static str,
        read: impl Fn(&str) -> Option<Value>,
    ) -> Result<Value, YamlError> {
        let text = self.text(node, tag)?;
        read(text).ok_or_else(|| {
            let text = excerpt(text);
            node.fault(Fault::BadScalar { tag, text })
        })
    }

    fn sequence(&mut self, node: &'d Node) -> Result<Value, YamlError> {
        let Kind::Sequence(items) = &node.kind else {
            return Err(wrong_kind(node, "seq", "a list"));
        };
        let values = items
            .iter()
            .map(|item| self.value(self.document.node(*item)));
        Ok(Value::Array(values.collect::<Result<_, _>>()?))
    }

    fn mapping(&mut self, node: &'d Node, tag: &'static str) -> Result<Map, YamlError> {
        let Kind::Mapping(pairs) = &node.kind else {
            return Err(wrong_kind(node, tag, "a mapping"));
        };
        let pairs = self.merged(node, pairs)?;
        let mut values = Vec::with_capacity(pairs.len());
        let mut seen = HashSet::with_capacity(pairs.len());
        for (key_node, value_node) in pairs {
            let key = self.key(key_node)?;
            let identity =
                KeyIdentity::of(&key).ok_or_else(|| key_node.fault(Fault::UnusableKey))?;
            let value = self.value(value_node)?;
            if !seen.insert(identity) {
                let Some(duplicates) = &mut self.duplicates else {
                    return Err(key_node.fault(Fault::DuplicateKey(shown(&key))));
                };
                duplicates.push(shown(&key));
                values.retain(|(earlier, _)| *earlier != key);
            }
            values.push((key, value));
        }
        Ok(Map::from(values))
    }

    /// A key: `=` is only special as a value.
    fn key(&mut self, node: &'d Node) -> Result<Value, YamlError> {
        match node.tag {
            Tag::Value => self
                .text(node, "str")
                .map(|text| Value::Str(text.to_owned())),
            _ => self.value(node),
        }
    }

    /// The mapping's pairs with those its `<<` keys bring in, which come first and yield to its own.
    fn merged(
        &mut self,
        node: &'d Node,
        pairs: &[(NodeId, NodeId)],
    ) -> Result<Vec<Pair<'d>>, YamlError> {
        let document = self.document;
        let nodes = pairs
            .iter()
            .map(|&(k, v)| (document.node(k), document.node(v)));
        let (merges, own): (Vec<_>, Vec<_>) = nodes.partition(|(key, _)| key.tag == Tag::Merge);
        if merges.is_empty() {
            return Ok(own);
        }
        let mut all = Vec::new();
        for (_, source) in merges {
            self.merge_source(node, source, &mut all)?;
        }
        let own_keys: HashSet<&str> = own.iter().filter_map(|(key, _)| scalar_text(key)).collect();
        all.retain(|(key, _)| scalar_text(key).is_none_or(|text| !own_keys.contains(text)));
        all.extend(own);
        Ok(all)
    }

    /// Adds the pairs of one mapping, or of a list of mappings from the last to the first.
    fn merge_source(
        &mut self,
        node: &Node,
        source: &'d Node,
        all: &mut Vec<Pair<'d>>,
    ) -> Result<(), YamlError> {
        self.charge(node, 0)?;
        match &source.kind {
            Kind::Mapping(pairs) => {
                for pair in self.merged(source, pairs)? {
                    self.charge(node, 0)?;
                    all.push(pair);
                }
                Ok(())
            }
            Kind::Sequence(items) => items.iter().rev().try_for_each(|item| {
                let item = self.document.node(*item);
                match item.kind {
                    Kind::Mapping(_) => self.merge_source(node, item, all),
                    _ => Err(item.fault(Fault::BadMerge(item.kind.name()))),
                }
            }),
            Kind::Scalar(_) => Err(source.fault(Fault::BadMerge(source.kind.name()))),
        }
    }

    /// A list of one-pair mappings, as a list of two-item lists.
    fn pairs(&mut self, node: &'d Node, tag: &'static str) -> Result<Value, YamlError> {
        let Kind::Sequence(items) = &node.kind else {
            return Err(wrong_kind(node, tag, "a list"));
        };
        let pair = |item: &NodeId| {
            let item = self.document.node(*item);
            let Kind::Mapping(pairs) = &item.kind else {
                return Err(wrong_kind(item, tag, "mappings of one pair"));
            };
            let [(key, value)] = pairs[..] else {
                return Err(wrong_kind(item, tag, "mappings of one pair"));
            };
            let key = self.value(self.document.node(key))?;
            let value = self.value(self.document.node(value))?;
            Ok(Value::Array(vec![key, value]))
        };
        Ok(Value::Array(
            items.iter().map(pair).collect::<Result<_, _>>()?,
        ))
    }
}

fn wrong_kind(node: &Node, tag: &'static str, expected: &'static str) -> YamlError {
    let found = node.kind.name();
    node.fault(Fault::WrongKind {
        tag,
        expected,
        found,
    })
}

const fn scalar_text(node: &Node) -> Option<&str> {
    match &node.kind {
        Kind::Scalar(text) => Some(text.as_str()),
        _ => None,
    }
}

/// A key as Python compares keys: `1`, `1.0` and `true` are one.
#[derive(PartialEq, Eq, Hash)]
enum KeyIdentity {
    Nil,
    Number(i128),
    Fraction(u64),
    Text(String),
    Bytes(Vec<u8>),
}

impl KeyIdentity {
    /// `None` for what Python cannot hash.
    fn of(key: &Value) -> Option<Self> {
        match key {
            Value::Nil => Some(Self::Nil),
            Value::Bool(flag) => Some(Self::Number((*flag).into())),
            Value::Int(number) => Some(Self::Number(*number)),
            Value::Float(number) => Some(Self::of_float(*number)),
            Value::Str(text) => Some(Self::Text(text.clone())),
            Value::Bin(bytes) => Some(Self::Bytes(bytes.clone())),
            Value::Array(_) | Value::Map(_) | Value::Ext(..) => None,
        }
    }

    #[expect(clippy::cast_possible_truncation, clippy::cast_precision_loss)]
    fn of_float(number: f64) -> Self {
        // Converted back to be sure: only floats that are whole and in range compare equal.
        let whole = number as i128;
        if whole as f64 == number && whole != i128::MAX {
            Self::Number(whole)
        } else {
            Self::Fraction(number.to_bits())
        }
    }
}

fn shown(key: &Value) -> String {
    match key {
        Value::Str(text) => format!("{:?}", excerpt(text)),
        Value::Int(number) => number.to_string(),
        Value::Bool(flag) => flag.to_string(),
        Value::Float(number) => number.to_string(),
        Value::Nil => "null".to_owned(),
        other => format!("{other:?}"),
    }
}
