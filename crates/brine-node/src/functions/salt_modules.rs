//! The names of Salt's execution modules: distinguishes a function that Brine lacks from one that does not exist.
//!
//! From the files and virtual names of Salt 3006.28, 3007.14 and 3008.3.

use std::collections::HashSet;
use std::sync::LazyLock;

use super::table;

/// Whether Salt has a module of this name and Brine has none.
pub(super) fn has(fun: &str) -> bool {
    static NAMES: LazyLock<HashSet<&str>> =
        LazyLock::new(|| include_str!("salt_modules.txt").lines().collect());
    let Some((module, _)) = fun.split_once('.') else {
        return false;
    };
    NAMES.contains(module) && !table::all().any(|known| known.module() == module)
}
