//! `yaml`: a value in PyYAML's block style, as `yaml.dump` writes it in 80 columns, Unicode allowed,
//! keys sorted.
//!
//! No crate writes YAML 1.1 that PyYAML, and so Salt, reads back unchanged. Facts:
//! PyYAML 6.0.3 over libyaml 0.2.5, compared in `super::tests`.

mod emitter;
mod scalar;

use brine_wire::{Map, Value};

use self::emitter::{Emitter, Place};
use self::scalar::Scalar;
pub(super) use self::scalar::Unescaped;
use crate::salt::python;

/// How containers are laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Layout {
    /// An item per line, indented by this many spaces.
    Block(usize),
    /// In brackets and braces.
    Flow,
}

/// Longer keys are written after a `?`.
const LONGEST_KEY_BYTES: usize = 128;

/// The document.
pub(super) fn show(value: &Value, layout: Layout, unescaped: Unescaped) -> String {
    // libyaml's limits for an indentation; outside them it uses 2.
    let step = match layout {
        Layout::Block(step @ 2..=9) => step,
        _ => 2,
    };
    let mut writer = Writer {
        out: Emitter::new(step, unescaped),
        is_flow: layout == Layout::Flow,
    };
    writer.node(value, Place::Item);
    writer.out.finish()
}

struct Writer {
    out: Emitter,
    /// All containers are in brackets, not only empty ones.
    is_flow: bool,
}

impl Writer {
    fn node(&mut self, value: &Value, place: Place) {
        match value {
            Value::Array(items) if self.is_flow || items.is_empty() || self.out.is_in_flow() => {
                self.flow_list(items);
            }
            Value::Array(items) => self.block_list(items, place),
            Value::Map(map) if self.is_flow || map.is_empty() || self.out.is_in_flow() => {
                self.flow_map(map);
            }
            Value::Map(map) => self.block_map(map),
            scalar => {
                let unescaped = self.out.unescaped;
                self.out.scalar(&Scalar::of(scalar, unescaped), place);
            }
        }
    }

    fn block_list(&mut self, items: &[Value], place: Place) {
        let outside = self.out.enter_list(place);
        for item in items {
            self.out.line();
            self.out.mark("-");
            self.node(item, Place::Item);
        }
        self.out.leave(outside);
    }

    fn block_map(&mut self, map: &Map) {
        let outside = self.out.enter();
        for (key, value) in members(map) {
            self.out.line();
            if is_simple_key(key, self.out.unescaped) {
                self.node(key, Place::SimpleKey);
                self.out.join(":");
            } else {
                self.out.mark("?");
                self.node(key, Place::Value);
                self.out.line();
                self.out.mark(":");
            }
            self.node(value, Place::Value);
        }
        self.out.leave(outside);
    }

    fn flow_list(&mut self, items: &[Value]) {
        let outside = self.out.enter_flow("[");
        for (at, item) in items.iter().enumerate() {
            self.next_in_flow(at);
            self.node(item, Place::Item);
        }
        self.out.leave_flow(outside, "]");
    }

    fn flow_map(&mut self, map: &Map) {
        let outside = self.out.enter_flow("{");
        for (at, (key, value)) in members(map).into_iter().enumerate() {
            self.next_in_flow(at);
            if is_simple_key(key, self.out.unescaped) {
                self.node(key, Place::SimpleKey);
                self.out.join(":");
            } else {
                self.out.mark_in_flow("?");
                self.node(key, Place::Value);
                self.out.break_if_wide();
                self.out.mark_in_flow(":");
            }
            self.node(value, Place::Value);
        }
        self.out.leave_flow(outside, "}");
    }

    fn next_in_flow(&mut self, at: usize) {
        if at > 0 {
            self.out.join(",");
        }
        self.out.break_if_wide();
    }
}

/// Sorted if Python can sort them.
fn members(map: &Map) -> Vec<&(Value, Value)> {
    python::sorted(map).unwrap_or_else(|| map.iter().collect())
}

/// Whether a key needs no `?` before it.
fn is_simple_key(key: &Value, unescaped: Unescaped) -> bool {
    match key {
        Value::Array(items) => items.is_empty(),
        Value::Map(map) => map.is_empty(),
        scalar => {
            let scalar = Scalar::of(scalar, unescaped);
            !scalar.is_multiline() && scalar.key_bytes() <= LONGEST_KEY_BYTES
        }
    }
}
