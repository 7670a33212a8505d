//! Values in templates: Python's lists and dictionaries, which a template may change, and their conversion from and
//! to the values of events.
//!
//! The engine's own lists and mappings cannot be changed, but templates collect with `{% do names.append(x) %}`. A
//! collection can never be put into itself, so walking one always ends.

use std::cell::Cell;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use brine_wire::{Map, Value as Data, python_text};
use minijinja::value::{DynObject, Enumerator, Object, ObjectRepr, Value, ValueKind};
use minijinja::{Error, ErrorKind, State};

use super::{FUEL, methods};

/// How deep collections may be nested.
pub(super) const MAX_DEPTH: usize = 128;
/// How many items one collection may hold.
pub(super) const MAX_ITEMS: usize = 100_000;
/// How many items are walked through at once: a list may hold another one twice, and that one another one twice.
const MAX_WALK: usize = 1_000_000;

/// How much text is copied at once, in bytes: a list may hold the same text many times. It is what the steps of a whole
/// template pay for.
const MAX_TEXT: usize = FUEL as usize * BYTES_PER_STEP;
/// How many bytes of text the engine lets a template make for one step.
const BYTES_PER_STEP: usize = 64;

/// How many items a whole template may walk through, in collections that the engine does not charge for: twice as many
/// as its steps pay for in those.
const MAX_WALKED: usize = 4 * FUEL as usize;

thread_local! {
    /// How many are left for the template that is rendered on this thread. Not in the template's state: the engine does not
    /// pass that when it adds two lists.
    static LEFT: Cell<usize> = const { Cell::new(MAX_WALKED) };
}

/// Begins to count for another template.
pub(super) fn begin() {
    LEFT.set(MAX_WALKED);
}

/// Charges for walking through so many items.
pub(super) fn spend(items: usize) -> Result<(), Error> {
    let left = LEFT.get().checked_sub(items);
    LEFT.set(left.unwrap_or(0));
    left.map(drop).ok_or(Error::from(ErrorKind::OutOfFuel))
}

/// Hands items to the engine. It stops at an error among them.
fn handed_out(items: Vec<Value>) -> Enumerator {
    // What it takes to begin, also with a list that has no items.
    const TO_BEGIN: usize = 8;
    match spend(items.len() + TO_BEGIN) {
        Ok(()) => Enumerator::Iter(Box::new(items.into_iter())),
        Err(error) => Enumerator::Iter(Box::new(std::iter::once(Value::from(error)))),
    }
}

/// How far a walk through collections has come.
#[derive(Default)]
struct Walk {
    items: usize,
    text: usize,
}

impl Walk {
    fn step(&mut self, depth: usize) -> Result<(), Error> {
        self.items += 1;
        spend(1)?;
        if depth > MAX_DEPTH {
            return Err(invalid(format!("nested deeper than {MAX_DEPTH} levels")));
        }
        if self.items > MAX_WALK {
            return Err(invalid(format!("more than {MAX_WALK} items in each other")));
        }
        Ok(())
    }

    /// Counts text that is about to be copied, in bytes.
    fn copy(&mut self, text: usize) -> Result<(), Error> {
        self.text = self.text.saturating_add(text);
        match self.text <= MAX_TEXT {
            true => Ok(()),
            false => Err(invalid(format!(
                "more than {MAX_TEXT} bytes of text in one value"
            ))),
        }
    }
}

/// Refuses a text of so many bytes before it is made, if the template has too few steps left to pay for it. The engine
/// charges only for a text that is there.
pub(super) fn pay_for(state: &State<'_, '_>, bytes: usize) -> Result<(), Error> {
    let left = state.fuel_levels().map_or(u64::MAX, |(_, left)| left);
    match (bytes / BYTES_PER_STEP) as u64 <= left {
        true => Ok(()),
        false => Err(Error::from(ErrorKind::OutOfFuel)),
    }
}

/// A list, as Python has it.
#[derive(Debug, Default)]
pub(super) struct List(Mutex<Vec<Value>>);

/// A dictionary, as Python has it: in the order in which its keys came.
#[derive(Debug, Default)]
pub(super) struct Dict(Mutex<Pairs>);

/// The pairs of a dictionary. Templates walk over the keys of events of a megabyte, and ask for each.
#[derive(Debug, Default)]
struct Pairs {
    all: Vec<(Value, Value)>,
    /// Where keys that are text stand, once there are many and somebody has asked.
    places: Option<HashMap<String, usize>>,
}

impl Pairs {
    /// How many are looked through one by one.
    const FEW: usize = 32;

    fn place(&mut self, key: &Value) -> Option<usize> {
        match key.as_str() {
            Some(key) => self.place_of_text(key),
            None => self.all.iter().position(|(own, _)| own == key),
        }
    }

    fn place_of_text(&mut self, key: &str) -> Option<usize> {
        if self.all.len() <= Self::FEW {
            let mut all = self.all.iter();
            return all.position(|(own, _)| own.as_str() == Some(key));
        }
        let places = self.places.get_or_insert_with(|| {
            let texts = self.all.iter().enumerate();
            let texts = texts.filter_map(|(at, (key, _))| Some((key.as_str()?.to_owned(), at)));
            texts.collect()
        });
        places.get(key).copied()
    }

    fn push(&mut self, key: Value, value: Value) {
        if let (Some(places), Some(text)) = (&mut self.places, key.as_str()) {
            places.insert(text.to_owned(), self.all.len());
        }
        self.all.push((key, value));
    }
}

/// A lock held for a few instructions; what it guards is whole after each of them.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl List {
    pub(super) fn of(items: Vec<Value>) -> Value {
        Value::from_object(Self(Mutex::new(items)))
    }

    pub(super) fn len(&self) -> usize {
        lock(&self.0).len()
    }

    /// What it holds now.
    pub(super) fn items(&self) -> Vec<Value> {
        lock(&self.0).clone()
    }

    /// Changes it; the items that it gets must have gone through [`insertable`].
    pub(super) fn change<T>(&self, change: impl FnOnce(&mut Vec<Value>) -> T) -> Result<T, Error> {
        let mut items = lock(&self.0);
        let changed = change(&mut items);
        bounded(items.len())?;
        Ok(changed)
    }
}

impl Dict {
    /// Of pairs with keys that differ.
    pub(super) fn of(pairs: Vec<(Value, Value)>) -> Value {
        let pairs = Pairs {
            all: pairs,
            places: None,
        };
        Value::from_object(Self(Mutex::new(pairs)))
    }

    pub(super) fn pairs(&self) -> Vec<(Value, Value)> {
        lock(&self.0).all.clone()
    }

    pub(super) fn get(&self, key: &Value) -> Option<Value> {
        let mut pairs = lock(&self.0);
        let at = pairs.place(key)?;
        Some(pairs.all[at].1.clone())
    }

    /// Sets a key; the value must have gone through [`insertable`].
    pub(super) fn set(&self, key: Value, value: Value) -> Result<(), Error> {
        let mut pairs = lock(&self.0);
        match pairs.place(&key) {
            Some(at) => pairs.all[at].1 = value,
            None => pairs.push(key, value),
        }
        bounded(pairs.all.len())
    }

    pub(super) fn remove(&self, key: &Value) -> Option<Value> {
        let mut pairs = lock(&self.0);
        let at = pairs.place(key)?;
        pairs.places = None;
        Some(pairs.all.remove(at).1)
    }

    pub(super) fn remove_last(&self) -> Option<(Value, Value)> {
        let mut pairs = lock(&self.0);
        pairs.places = None;
        pairs.all.pop()
    }

    pub(super) fn clear(&self) {
        *lock(&self.0) = Pairs::default();
    }
}

pub(super) fn bounded(items: usize) -> Result<(), Error> {
    match items <= MAX_ITEMS {
        true => Ok(()),
        false => Err(invalid(format!(
            "more than {MAX_ITEMS} items in one list or mapping"
        ))),
    }
}

/// An error about what a template does.
pub(super) fn invalid(text: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidOperation, text.into())
}

/// A value that may be put into the collection at this address.
pub(super) fn insertable(into: *const (), value: &Value) -> Result<Value, Error> {
    if holds(value, into, 0, &mut Walk::default())? {
        return Err(invalid("a list or mapping cannot be put into itself"));
    }
    Ok(value.clone())
}

fn holds(value: &Value, wanted: *const (), depth: usize, walk: &mut Walk) -> Result<bool, Error> {
    walk.step(depth)?;
    if let Some(list) = value.downcast_object::<List>() {
        if address(&list) == wanted {
            return Ok(true);
        }
        for item in list.items() {
            if holds(&item, wanted, depth + 1, walk)? {
                return Ok(true);
            }
        }
    } else if let Some(dict) = value.downcast_object::<Dict>() {
        if address(&dict) == wanted {
            return Ok(true);
        }
        for (_, value) in dict.pairs() {
            if holds(&value, wanted, depth + 1, walk)? {
                return Ok(true);
            }
        }
    } else if matches!(value.kind(), ValueKind::Seq | ValueKind::Map) {
        // The engine's own collections, as filters make them.
        for item in value.try_iter()?.checked() {
            let item = item?;
            let inner = match value.kind() {
                ValueKind::Map => value.get_item(&item)?,
                _ => item,
            };
            if holds(&inner, wanted, depth + 1, walk)? {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

pub(super) fn address<T>(shared: &Arc<T>) -> *const () {
    Arc::as_ptr(shared).cast()
}

impl Object for List {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Seq
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        let at = key.as_i64()?;
        let items = lock(&self.0);
        let length = i64::try_from(items.len()).ok()?;
        let at = if at < 0 { at + length } else { at };
        items.get(usize::try_from(at).ok()?).cloned()
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        handed_out(self.items())
    }

    fn enumerator_len(self: &Arc<Self>) -> Option<usize> {
        Some(self.len())
    }

    fn call_method(
        self: &Arc<Self>,
        _state: &mut State<'_, '_>,
        method: &str,
        args: &[Value],
    ) -> Result<Value, Error> {
        methods::of_list(self, method, args)
    }

    fn custom_cmp(self: &Arc<Self>, other: &DynObject) -> Option<std::cmp::Ordering> {
        let other = other.downcast_ref::<Self>()?;
        Some(self.items().cmp(&other.items()))
    }
}

impl Object for Dict {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Map
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        self.get(key)
    }

    fn get_value_by_str(self: &Arc<Self>, key: &str) -> Option<Value> {
        let mut pairs = lock(&self.0);
        let at = pairs.place_of_text(key)?;
        Some(pairs.all[at].1.clone())
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        let keys = self.pairs().into_iter().map(|(key, _)| key);
        handed_out(keys.collect())
    }

    fn enumerator_len(self: &Arc<Self>) -> Option<usize> {
        Some(lock(&self.0).all.len())
    }

    fn call_method(
        self: &Arc<Self>,
        _state: &mut State<'_, '_>,
        method: &str,
        args: &[Value],
    ) -> Result<Value, Error> {
        methods::of_dict(self, method, args)
    }
}

/// A value of an event, for a template.
pub(super) fn to_template(data: &Data) -> Value {
    match data {
        Data::Nil => Value::from(()),
        Data::Bool(flag) => Value::from(*flag),
        Data::Int(number) => match i64::try_from(*number) {
            Ok(number) => Value::from(number),
            Err(_) => Value::from(*number),
        },
        Data::Float(number) => Value::from(*number),
        Data::Str(text) => Value::from(text.as_str()),
        Data::Bin(bytes) => Value::from_bytes(bytes.clone()),
        Data::Array(items) => List::of(items.iter().map(to_template).collect()),
        Data::Map(map) => {
            let pairs = map.iter();
            let pairs = pairs.map(|(key, value)| (to_template(key), to_template(value)));
            Dict::of(pairs.collect())
        }
        Data::Ext(..) => Value::from(python_text::str(data)),
    }
}

/// A template's value, as data.
pub(super) fn to_data(value: &Value) -> Result<Data, Error> {
    convert(value, 0, &mut Walk::default())
}

fn convert(value: &Value, depth: usize, walk: &mut Walk) -> Result<Data, Error> {
    walk.step(depth)?;
    Ok(match value.kind() {
        ValueKind::Undefined => {
            return Err(Error::new(
                ErrorKind::UndefinedError,
                "a value is undefined",
            ));
        }
        ValueKind::None => Data::Nil,
        ValueKind::Bool => Data::Bool(value.is_true()),
        ValueKind::Number => number(value),
        ValueKind::Bytes => {
            let bytes = value.as_bytes().unwrap_or_default();
            walk.copy(bytes.len())?;
            Data::Bin(bytes.to_vec())
        }
        ValueKind::Seq | ValueKind::Iterable => {
            let mut items = Vec::new();
            for item in value.try_iter()?.checked() {
                bounded(items.len())?;
                items.push(convert(&item?, depth + 1, walk)?);
            }
            Data::Array(items)
        }
        ValueKind::Map => {
            let mut pairs = Vec::new();
            for key in value.try_iter()?.checked() {
                let key = key?;
                let inner = value.get_item(&key)?;
                bounded(pairs.len())?;
                let key = convert(&key, depth + 1, walk)?;
                pairs.push((key, convert(&inner, depth + 1, walk)?));
            }
            Data::Map(Map::from_pairs(pairs))
        }
        _ => {
            walk.copy(value.as_str().map_or(0, str::len))?;
            Data::Str(value.to_string())
        }
    })
}

fn number(value: &Value) -> Data {
    match i128::try_from(value.clone()) {
        Ok(number) if value.is_integer() => Data::Int(number),
        _ => {
            f64::try_from(value.clone()).map_or_else(|_| Data::Str(value.to_string()), Data::Float)
        }
    }
}

/// A value as Python's `str` writes it.
pub(super) fn text(value: &Value) -> Result<String, Error> {
    match value.as_str() {
        Some(text) => Ok(text.to_owned()),
        None => Ok(python_text::str(&to_data(value)?)),
    }
}
