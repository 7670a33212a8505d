//! `grains.filter_by` and `pillar.filter_by`: select a value by the value of a grain or pillar key.
//!
//! Facts: Salt 3006.28 and 3008.3, by running them.

use brine_wire::matching::{MatchType, TagMatch};
use brine_wire::{Map, Value, python_text};

use super::context::Context;
use super::signature::Bound;
use super::table::{Builtin, Returned};
use super::{Failure, lookup};

pub(super) const TABLE: &[Builtin] = &[
    Builtin::now(
        "grains.filter_by",
        "lookup_dict, grain='os_family', merge=None, default='default', base=None",
        "
    Return the value whose key, a glob, matches a grain; that of the default if none does. merge is put on top of it,
    the value of base below.

        salt '*' grains.filter_by '{Debian: apache2, RedHat: httpd, default: apache}'
        salt '*' grains.filter_by '{web*: front, default: back}' id
    ",
        |context, bound| {
            let grains = context.grains();
            filter_by(&grains, bound)
        },
    ),
    Builtin::now(
        "pillar.filter_by",
        "lookup_dict, pillar, merge=None, default='default', base=None",
        "
    Return the value whose key, a glob, matches a value of the pillar; that of the default if none does. merge is put on
    top of it, the value of base below.

        salt '*' pillar.filter_by '{web: Serve it up, db: I query, default: x_x}' role
    ",
        |context: &Context, bound| {
            let pillar = context.pillar();
            filter_by(&pillar, bound)
        },
    ),
];

fn filter_by(data: &Map, bound: &mut Bound) -> Result<Returned, Failure> {
    let (table, merge, base) = (bound.take(0), bound.take(2), bound.take(4));
    let Value::Map(table) = table else {
        return Err(Failure::raised(
            "AttributeError",
            format!(
                "'{}' object has no attribute 'get'",
                python_text::class_name(&table)
            ),
        ));
    };
    let mut found = match lookup::find(data, bound.get(1), ":") {
        None => None,
        Some(Value::Array(each)) => each.iter().find_map(|one| matching(&table, one)),
        Some(one) => matching(&table, one),
    };
    found = found.or_else(|| {
        let default = table.get_key(bound.get(3));
        default.filter(|value| **value != Value::Nil).cloned()
    });
    if base.is_true()
        && let Some(below) = table.get_key(&base)
    {
        found = Some(match (found, below) {
            (None, below) => below.clone(),
            (Some(Value::Map(over)), Value::Map(below)) => merged(below.clone(), over).into(),
            (Some(_), Value::Map(_)) => {
                return Err(salt_exception(
                    "filter_by default and look-up values must both be dictionaries.",
                ));
            }
            (Some(found), _) => found,
        });
    }
    if merge.is_true() {
        let Value::Map(over) = merge else {
            return Err(salt_exception(
                "filter_by merge argument must be a dictionary.",
            ));
        };
        found = Some(match found {
            None => over.into(),
            Some(Value::Map(found)) => merged(found, over).into(),
            Some(_) => {
                // Salt takes any TypeError for arguments that do not fit.
                return Err(Failure::Arguments {
                    message: "Cannot update using non-dict types in dictupdate.update()".into(),
                    doc: String::new(),
                });
            }
        });
    }
    Ok(found.unwrap_or(Value::Nil).into())
}

/// The value of the first key, a glob, that matches; `None` also for one that is `None`.
fn matching(table: &Map, value: &Value) -> Option<Value> {
    let text = python_text::str(value);
    let matches = |key: &Value| {
        let glob = TagMatch::new(MatchType::Fnmatch, python_text::str(key));
        glob.is_ok_and(|glob| glob.matches(&text))
    };
    let (_, found) = table.iter().find(|(key, _)| matches(key))?;
    (*found != Value::Nil).then(|| found.clone())
}

/// `under` with the members of `over`; mappings in both are merged likewise.
fn merged(mut under: Map, over: Map) -> Map {
    for (key, value) in over {
        let value = match (under.get_key(&key).cloned(), value) {
            (Some(Value::Map(under)), Value::Map(over)) => merged(under, over).into(),
            (_, value) => value,
        };
        under.insert(key, value);
    }
    under
}

fn salt_exception(message: &str) -> Failure {
    Failure::raised("salt.exceptions.SaltException", message)
}
