//! The names of Salt's execution modules, and of the functions that Brine lacks in modules that it has: distinguishes
//! a function that Brine lacks from one that does not exist.
//!
//! From the files and virtual names of Salt 3006.28, 3007.14 and 3008.3.

use std::collections::HashSet;
use std::sync::LazyLock;

use super::table;

/// Whether Salt has a function of this name, as far as the names here tell, and Brine has not.
pub(super) fn has(fun: &str) -> bool {
    static NAMES: LazyLock<HashSet<&str>> =
        LazyLock::new(|| include_str!("salt_modules.txt").lines().collect());
    let Some((module, name)) = fun.split_once('.') else {
        return false;
    };
    if table::all().any(|known| known.module() == module) {
        let lacking = LACKING.iter().find(|(known, _)| *known == module);
        return lacking.is_some_and(|(_, names)| names.split_whitespace().any(|n| n == name));
    }
    NAMES.contains(module)
}

/// The functions that Brine lacks of modules it has; `docs/compatibility.md` lists the same.
const LACKING: &[(&str, &str)] = &[
    ("cmd", "powershell powershell_all run_chroot shell_info tty"),
    (
        "config",
        "backup_mode dot_vals gather_bootstrap_script manage_mode merge valid_fileproto",
    ),
    ("grains", "fetch"),
    ("pillar", "ext fetch file_exists obfuscate"),
    (
        "saltutil",
        "clear_cache clear_job_cache cmd cmd_iter find_cached_job list_extmods mmodule \
         refresh_beacons refresh_matchers refresh_resources regen_keys runner sync_clouds \
         sync_executors sync_log_handlers sync_outputters sync_pillar sync_proxymodules \
         sync_resources sync_sdb sync_serializers sync_thorium sync_tops sync_wrapper update wheel",
    ),
    (
        "sys",
        "list_renderers list_returner_functions list_returners list_runner_functions list_runners \
         list_state_functions list_state_modules renderer_doc returner_argspec returner_doc \
         runner_argspec runner_doc state_argspec state_doc state_schema",
    ),
    ("test", "deprecation_warning module_report stack"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documentation_lists_what_is_lacking() {
        let text = include_str!("../../../../docs/compatibility.md");
        let rows = text
            .lines()
            .filter(|row| row.ends_with("| through real Salt |"));
        let names = rows.filter_map(|row| row.split('`').nth(1));
        let (mut listed, mut known): (Vec<_>, Vec<_>) = (
            names
                .filter(|name| !name.starts_with("mine."))
                .map(str::to_owned)
                .collect(),
            Vec::new(),
        );
        for (module, functions) in LACKING {
            let functions = functions.split_whitespace();
            known.extend(functions.map(|name| format!("{module}.{name}")));
        }
        listed.sort();
        known.sort();
        assert_eq!(listed, known);
        assert!(has("saltutil.runner") && has("mine.get") && has("state.apply"));
        assert!(!has("saltutil.nonsense") && !has("test.ping") && !has("nonsense.x"));
    }
}
