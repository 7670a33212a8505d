//! The built-in functions by name: signature, documentation and implementation.
//!
//! Each module has its own table; this file combines them.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::LazyLock;

use brine_wire::Value;

use super::context::Context;
use super::signature::{Bound, Signature};
use super::{Failure, Functions};

/// An entry of a table.
pub(crate) struct Builtin {
    /// Its full name, such as `test.ping`.
    pub(crate) name: &'static str,
    /// Its parameters, as Python writes them.
    pub(crate) signature: &'static str,
    /// What `sys.doc` says.
    pub(crate) doc: &'static str,
    /// The implementation.
    pub(crate) run: Run,
}

impl Builtin {
    /// An entry for a function that does not wait.
    pub(crate) const fn now(
        name: &'static str,
        signature: &'static str,
        doc: &'static str,
        run: fn(&Context, &mut Bound) -> Result<Returned, Failure>,
    ) -> Self {
        Self {
            name,
            signature,
            doc,
            run: Run::Now(run),
        }
    }
}

/// A function's return value with its exit code and outputter.
pub(crate) struct Returned {
    /// The value.
    pub(crate) value: Value,
    /// The exit code it set; 0 when none.
    pub(crate) retcode: i64,
}

/// The implementation of a function.
pub(crate) enum Run {
    /// A function that does not wait.
    Now(fn(&Context, &mut Bound) -> Result<Returned, Failure>),
    /// A function that waits for its host, a file or the clock; dropping it ends it.
    Waits(for<'a> fn(&'a Context, Bound) -> Waiting<'a>),
    /// A function that calls or lists other functions.
    Calls(for<'a> fn(&'a Functions, Bound) -> Waiting<'a>),
}

/// The future of a function that waits.
pub(crate) type Waiting<'a> = Pin<Box<dyn Future<Output = Result<Returned, Failure>> + Send + 'a>>;

/// A function with its signature read.
pub(crate) struct Known {
    /// Its entry in the table.
    pub(crate) builtin: &'static Builtin,
    /// Its parameters.
    pub(crate) signature: Signature,
}

impl Known {
    /// The module it is in, such as `test`.
    pub(crate) fn module(&self) -> &'static str {
        let name = self.builtin.name;
        name.split_once('.').map_or(name, |(module, _)| module)
    }
}

impl From<Value> for Returned {
    fn from(value: Value) -> Self {
        Self { value, retcode: 0 }
    }
}

/// A built-in function by its full name.
pub(crate) fn find(name: &str) -> Option<&'static Known> {
    KNOWN.get(name)
}

/// All built-in functions, sorted by name.
pub(crate) fn all() -> impl Iterator<Item = &'static Known> {
    KNOWN.values()
}

static KNOWN: LazyLock<BTreeMap<&'static str, Known>> = LazyLock::new(|| {
    let tables = [
        super::cmd::TABLE,
        super::event::TABLE,
        super::filter_by::TABLE,
        super::grains_set::TABLE,
        super::key::TABLE,
        super::lookup::TABLE,
        super::saltutil::TABLE,
        super::sys::TABLE,
        super::test::TABLE,
    ];
    let known = |builtin: &'static Builtin| Known {
        builtin,
        signature: Signature::read(builtin.signature),
    };
    let builtins = tables.into_iter().flatten();
    builtins
        .map(|builtin| (builtin.name, known(builtin)))
        .collect()
});
