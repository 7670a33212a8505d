//! In which order the reactions of one event run: `order`, names and requisites, as Salt's state compiler reads them.
//!
//! Pure. Reactions of equal order run as they are written, which differs from Salt: it sorts them alphabetically.

use brine_wire::{Value, python_text::str as shown};

use crate::low::{CompileErrors, Low};

/// A reaction with what its place depends on.
pub(crate) struct Chunk {
    low: Low,
    name_order: usize,
}

impl Chunk {
    pub(crate) const fn of(low: Low, name_order: usize) -> Self {
        Self { low, name_order }
    }

    /// `order`, as Salt counts it.
    #[allow(clippy::cast_precision_loss)] // orders are small numbers
    fn order(&self, cap: i128) -> f64 {
        const LAST: f64 = 1_000_000.0;
        let cap = cap as f64;
        let order = match self.low.args.get("order") {
            Some(Value::Int(order)) => *order as f64,
            Some(Value::Float(order)) => *order,
            Some(Value::Str(last)) if last == "last" => cap + LAST,
            Some(Value::Str(first)) if first == "first" => 0.0,
            _ => cap,
        };
        let order = order + self.name_order as f64 / 10_000.0;
        if order < 0.0 {
            order + cap + LAST
        } else {
            order
        }
    }

    /// The IDs or names this one waits for, with their kinds.
    fn requires(&self) -> Vec<(Option<&str>, String)> {
        let mut all = Vec::new();
        for requisite in [
            "require",
            "watch",
            "onchanges",
            "onfail",
            "listen",
            "prereq",
        ] {
            let required = self.low.args.get(requisite).and_then(Value::as_array);
            for one in required.unwrap_or_default() {
                match one {
                    Value::Map(map) => {
                        all.extend(map.iter().map(|(kind, id)| (kind.as_str(), shown(id))))
                    }
                    id => all.push((None, shown(id))),
                }
            }
        }
        all
    }

    fn is(&self, kind: Option<&str>, id: &str) -> bool {
        kind.is_none_or(|kind| kind == self.low.kind || kind == "id")
            && (self.low.id == id || self.low.name == id)
    }
}

/// Sorts by `order` and the order of writing; what others require goes before them.
pub(crate) fn in_order(mut chunks: Vec<Chunk>) -> Result<Vec<Low>, CompileErrors> {
    let given = chunks
        .iter()
        .filter_map(|chunk| chunk.low.args.get("order").and_then(Value::as_int));
    let cap = given.fold(1, |cap, order| {
        if order > cap - 1 && order > 0 {
            order + 100
        } else {
            cap
        }
    });
    chunks.sort_by(|one, other| one.order(cap).total_cmp(&other.order(cap)));
    let mut errors = Vec::new();
    for chunk in &chunks {
        for (kind, id) in chunk.requires() {
            if !chunks.iter().any(|other| other.is(kind, &id)) {
                errors.push(format!(
                    "reaction '{}' in '{}' requires '{}: {id}', which is not there",
                    chunk.low.id,
                    chunk.low.sls,
                    kind.unwrap_or("id"),
                ));
            }
        }
    }
    if !errors.is_empty() {
        return Err(CompileErrors(errors));
    }
    let mut ordered: Vec<Chunk> = Vec::with_capacity(chunks.len());
    while !chunks.is_empty() {
        let is_free = |chunk: &Chunk| {
            let required = chunk.requires();
            !required
                .iter()
                .any(|(kind, id)| chunks.iter().any(|other| other.is(*kind, id)))
        };
        let Some(next) = chunks.iter().position(is_free) else {
            let ids: Vec<_> = chunks.iter().map(|chunk| chunk.low.id.as_str()).collect();
            return Err(CompileErrors(vec![format!(
                "these reactions require each other: {}",
                ids.join(", ")
            )]));
        };
        ordered.push(chunks.remove(next));
    }
    let lows = ordered.into_iter().map(|chunk| {
        let mut low = chunk.low;
        if low.kind == "cmd" {
            "local".clone_into(&mut low.kind);
        }
        low
    });
    Ok(lows.collect())
}
