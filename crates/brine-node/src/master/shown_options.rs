//! The options that wheel `config.values` shows: those that web interfaces read, mainly SaltGUI. Salt shows all its
//! options, including secrets.

use brine_config::Opts;
use brine_wire::Map;

const SHOWN: [&str; 12] = [
    "cluster_id",
    "cluster_peers",
    "id",
    "nodegroups",
    "order_masters",
    "reactor",
    "state_compress_ids",
    "state_output",
    "state_output_pct",
    "state_verbose",
    "syndic_master",
    "test_providers_target",
];

/// What may be shown of a master's options; those of SaltGUI's own by their prefix.
pub(super) fn shown(opts: &Opts) -> Map {
    let known = SHOWN
        .iter()
        .filter_map(|name| Some((*name, opts.get(name)?)));
    let own = opts.iter().filter(|(name, _)| name.starts_with("saltgui_"));
    let all = known.chain(own);
    all.map(|(name, value)| (name, value.clone())).collect()
}
