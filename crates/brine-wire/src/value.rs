//! A msgpack value as Salt's Python sees it: text and bytes apart, maps in wire order.
//!
//! Knows the types and how to look things up in them; encoding and decoding are in
//! [`crate::msgpack`]. Facts: `docs/protocol/ipc.md` §5.

use alloc::borrow::Cow;
use alloc::string::String;
use alloc::vec::Vec;

/// One value of an event's data, or of a network message.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Python's `None`.
    Nil,
    /// A boolean.
    Bool(bool),
    /// An integer. Outside −2⁶³ … 2⁶⁴−1 it travels as decimal text, as Salt's does.
    Int(i128),
    /// A float, always 64 bits on the wire.
    Float(f64),
    /// Text.
    Str(String),
    /// Bytes.
    Bin(Vec<u8>),
    /// A list (Python's tuples and sets arrive as lists too).
    Array(Vec<Self>),
    /// A mapping in insertion order.
    Map(Map),
    /// Any extension type, undecoded: 78 is a date, 79 a constant of Salt's, −1 a timestamp.
    Ext(i8, Vec<u8>),
}

/// A mapping that keeps the order of its keys, as the wire and Python do.
///
/// Look-up is linear: event data have a dozen keys.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Map(Vec<(Value, Value)>);

impl Map {
    /// An empty map.
    #[must_use]
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// The value under a text key.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.0
            .iter()
            .find(|(k, _)| matches!(k, Value::Str(s) if s == key))
            .map(|(_, v)| v)
    }

    /// The value under any key, of those that are the same to Python: `1`, `1.0` and `True`.
    #[must_use]
    pub fn get_key(&self, key: &Value) -> Option<&Value> {
        let same = same_key(key);
        let mut pairs = self.0.iter();
        pairs
            .find(|(own, _)| same_key(own) == same)
            .map(|(_, value)| value)
    }

    /// Sets `key`: in its old place if it is there, at the end if not, as a Python dict does.
    pub fn insert(&mut self, key: impl Into<Value>, value: impl Into<Value>) {
        let (key, value) = (key.into(), value.into());
        let same = same_key(&key);
        match self.0.iter_mut().find(|(k, _)| same_key(k) == same) {
            Some((_, old)) => *old = value,
            None => self.0.push((key, value)),
        }
    }

    /// Removes a text key, keeping the order of the rest.
    pub fn remove(&mut self, key: &str) -> Option<Value> {
        let at = self
            .0
            .iter()
            .position(|(k, _)| matches!(k, Value::Str(s) if s == key))?;
        Some(self.0.remove(at).1)
    }

    /// The map of these pairs; of equal keys the last value counts, in the first one's place, as in
    /// Python. Takes time in proportion to their number.
    #[must_use]
    pub fn from_pairs(pairs: Vec<(Value, Value)>) -> Self {
        /// Below this, comparing all pairs costs less than a look-up table.
        const FEW: usize = 16;
        if pairs.len() <= FEW {
            let mut map = Self(Vec::with_capacity(pairs.len()));
            for (key, value) in pairs {
                map.insert(key, value);
            }
            return map;
        }
        let mut places = alloc::collections::BTreeMap::new();
        let mut map = Self(Vec::with_capacity(pairs.len()));
        for (key, value) in pairs {
            if matches!(key, Value::Float(number) if number.is_nan()) {
                map.0.push((key, value)); // not equal to itself
                continue;
            }
            let mut encoded = Vec::new();
            crate::msgpack::encode(&same_key(&key), &mut encoded);
            match places.entry(encoded) {
                alloc::collections::btree_map::Entry::Occupied(place) => {
                    let at: usize = *place.get();
                    map.0[at].1 = value;
                }
                alloc::collections::btree_map::Entry::Vacant(place) => {
                    place.insert(map.0.len());
                    map.0.push((key, value));
                }
            }
        }
        map
    }

    /// How many keys there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The pairs in order.
    pub fn iter(&self) -> core::slice::Iter<'_, (Value, Value)> {
        self.0.iter()
    }

    /// The values in order; they can be changed.
    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut Value> {
        self.0.iter_mut().map(|(_, v)| v)
    }

    /// The pairs in order; values can be changed.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (&Value, &mut Value)> {
        self.0.iter_mut().map(|(key, value)| (&*key, value))
    }
}

/// A key in the form in which Python compares it: `True`, `1` and `1.0` are one key.
fn same_key(key: &Value) -> Cow<'_, Value> {
    /// The integers that msgpack holds, as floats: −2⁶³ and 2⁶⁴.
    const BOUNDS: core::ops::Range<f64> =
        -9_223_372_036_854_775_808.0..18_446_744_073_709_551_616.0;
    match key {
        Value::Bool(flag) => Cow::Owned(Value::Int((*flag).into())),
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_precision_loss,
            clippy::float_cmp
        )]
        // a whole number in bounds survives both casts, and only such a one counts
        Value::Float(number) if BOUNDS.contains(number) && (*number as i128) as f64 == *number => {
            Cow::Owned(Value::Int(*number as i128))
        }
        other => Cow::Borrowed(other),
    }
}

/// Pairs as they stand; equal keys are the caller's to avoid.
impl From<Vec<(Value, Value)>> for Map {
    fn from(pairs: Vec<(Value, Value)>) -> Self {
        Self(pairs)
    }
}

impl IntoIterator for Map {
    type Item = (Value, Value);
    type IntoIter = alloc::vec::IntoIter<(Value, Value)>;
    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<'a> IntoIterator for &'a Map {
    type Item = &'a (Value, Value);
    type IntoIter = core::slice::Iter<'a, (Value, Value)>;
    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl<K: Into<Value>, V: Into<Value>> FromIterator<(K, V)> for Map {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(pairs: I) -> Self {
        let mut map = Self::new();
        for (key, value) in pairs {
            map.insert(key, value);
        }
        map
    }
}

impl Value {
    /// Whether Python takes it for true.
    #[must_use]
    pub fn is_true(&self) -> bool {
        match self {
            Self::Nil => false,
            Self::Bool(flag) => *flag,
            Self::Int(number) => *number != 0,
            Self::Float(number) => *number != 0.0,
            Self::Str(text) => !text.is_empty(),
            Self::Bin(bytes) => !bytes.is_empty(),
            Self::Array(items) => !items.is_empty(),
            Self::Map(map) => !map.is_empty(),
            Self::Ext(..) => true,
        }
    }

    /// The text, if it is text.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::Str(s) => Some(s),
            _ => None,
        }
    }

    /// The map, if it is one.
    #[must_use]
    pub const fn as_map(&self) -> Option<&Map> {
        match self {
            Self::Map(map) => Some(map),
            _ => None,
        }
    }

    /// The items, if it is an array.
    #[must_use]
    pub fn as_array(&self) -> Option<&[Self]> {
        match self {
            Self::Array(items) => Some(items),
            _ => None,
        }
    }

    /// The integer, if it is one.
    #[must_use]
    pub const fn as_int(&self) -> Option<i128> {
        match self {
            Self::Int(n) => Some(*n),
            _ => None,
        }
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Str(text.into())
    }
}
impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Str(text)
    }
}
impl From<bool> for Value {
    fn from(flag: bool) -> Self {
        Self::Bool(flag)
    }
}
impl From<f64> for Value {
    fn from(number: f64) -> Self {
        Self::Float(number)
    }
}
impl From<Vec<Self>> for Value {
    fn from(items: Vec<Self>) -> Self {
        Self::Array(items)
    }
}
impl From<Map> for Value {
    fn from(map: Map) -> Self {
        Self::Map(map)
    }
}
impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Int(number.into())
    }
}
impl From<i32> for Value {
    fn from(number: i32) -> Self {
        Self::Int(number.into())
    }
}
impl From<u64> for Value {
    fn from(number: u64) -> Self {
        Self::Int(number.into())
    }
}
