//! Which types Salt accepts for an option.
//!
//! Salt warns only of values that do not convert: `"5"` passes for an integer, 5 for text, but
//! `true` does not pass for an integer. The rules follow its checks as Python runs them.

use brine_wire::Value;

/// A type of Python's, as an option's list of types names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Type {
    None,
    Bool,
    Int,
    Float,
    Str,
    List,
    Tuple,
    Dict,
}

impl Type {
    /// The type of a name such as `int`.
    pub(crate) fn of_name(name: &str) -> Option<Self> {
        Some(match name {
            "none" => Self::None,
            "bool" => Self::Bool,
            "int" => Self::Int,
            "float" => Self::Float,
            "str" => Self::Str,
            "list" => Self::List,
            "tuple" => Self::Tuple,
            "dict" => Self::Dict,
            _ => return None,
        })
    }

    const fn of(value: &Value) -> Self {
        match value {
            Value::Nil => Self::None,
            Value::Bool(_) => Self::Bool,
            Value::Int(_) => Self::Int,
            Value::Float(_) => Self::Float,
            Value::Str(_) | Value::Bin(_) | Value::Ext(..) => Self::Str,
            Value::Array(_) => Self::List,
            Value::Map(_) => Self::Dict,
        }
    }

    /// Its name for users.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::None => "null",
            Self::Bool => "true or false",
            Self::Int => "an integer",
            Self::Float => "a number",
            Self::Str => "text",
            Self::List | Self::Tuple => "a list",
            Self::Dict => "a mapping",
        }
    }

    /// Whether Python's constructor of this type takes the value.
    fn converts(self, value: &Value) -> bool {
        match (self, value) {
            (Self::Str | Self::Bool, _)
            | (Self::List | Self::Tuple, Value::Str(_) | Value::Array(_) | Value::Map(_))
            | (Self::Int | Self::Float, Value::Bool(_) | Value::Int(_))
            | (Self::Float, Value::Float(_))
            | (Self::Dict, Value::Map(_)) => true,
            (Self::Int, Value::Float(number)) => number.is_finite(),
            (Self::Int, Value::Str(text)) => is_int_text(text),
            (Self::Float, Value::Str(text)) => text.trim().replace('_', "").parse::<f64>().is_ok(),
            (Self::Dict, Value::Str(text)) => text.is_empty(),
            (Self::Dict, Value::Array(items)) => items
                .iter()
                .all(|item| matches!(item, Value::Array(pair) if pair.len() == 2)),
            _ => false,
        }
    }

    /// Types whose values convert to this one, but not meaningfully.
    const fn distorts(self) -> &'static [Self] {
        match self {
            Self::Str => &[Self::List, Self::Tuple, Self::Dict],
            Self::List | Self::Tuple => &[Self::Dict, Self::Str],
            Self::Bool => &[
                Self::List,
                Self::Tuple,
                Self::Str,
                Self::Int,
                Self::Float,
                Self::Dict,
                Self::None,
            ],
            Self::Int => &[Self::Bool, Self::Float],
            Self::Float => &[Self::Bool],
            Self::None | Self::Dict => &[],
        }
    }

    /// Whether Python's `isinstance` would say so; a boolean is an integer too.
    fn is_instance(self, value: &Value) -> bool {
        let of = Self::of(value);
        of == self || (of == Self::Bool && self == Self::Int)
    }
}

fn is_int_text(text: &str) -> bool {
    let digits = text.trim();
    let digits = digits.strip_prefix(['-', '+']).unwrap_or(digits);
    !digits.is_empty()
        && digits
            .split('_')
            .all(|part| !part.is_empty() && part.bytes().all(|c| c.is_ascii_digit()))
}

/// Whether Salt takes the value without a warning.
pub(crate) fn accepts(types: &[Type], value: &Value) -> bool {
    let fits = match value {
        // A boolean is accepted only where nothing but a boolean is expected.
        Value::Bool(_) => types == [Type::Bool],
        _ => types.iter().any(|one| one.is_instance(value)),
    };
    if fits || matches!(value, Value::Str(text) if text.starts_with("sdb://")) {
        return true;
    }
    if let [only] = types {
        let distorted = only.distorts().iter().any(|other| other.is_instance(value));
        return only.converts(value) && !distorted;
    }
    let converted = [
        Type::Str,
        Type::List,
        Type::Tuple,
        Type::Bool,
        Type::Int,
        Type::Float,
    ];
    types.contains(&Type::of(value))
        || converted
            .into_iter()
            .filter(|one| types.contains(one))
            .any(|one| {
                let distorts = one.distorts().iter().filter(|other| !types.contains(other));
                one.converts(value) && !distorts.into_iter().any(|other| other.is_instance(value))
            })
}

/// A value's type in error texts.
pub(crate) const fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Nil => "nothing",
        Value::Bool(_) => "a boolean",
        Value::Int(_) => "an integer",
        Value::Float(_) => "a number",
        Value::Str(_) => "text",
        Value::Bin(_) | Value::Ext(..) => "bytes",
        Value::Array(_) => "a list",
        Value::Map(_) => "a mapping",
    }
}
