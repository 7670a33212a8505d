//! What must hold for any input from minions, users and modules to a node: the bodies of fuzz targets, which tests
//! replay. Not part of the crate's interface.

use std::path::{Component, Path};

use brine_wire::network::MinionId;
use brine_wire::{Map, Value, msgpack};

use crate::files::SaltPath;
use crate::functions::fuzz_module_path;
use crate::master::{self, fuzz_acl, fuzz_mine};
use crate::python::fuzz_frame;
use crate::runner::fuzz_jobs;
use crate::target::{Candidate, DELIMITER, Target};

/// The bodies, by the first byte.
const BODIES: [fn(&[u8]); 6] = [
    fuzz_target,
    fuzz_acl,
    fuzz_mine,
    fuzz_path,
    fuzz_module_path,
    fuzz_frame,
];

/// Runs the body that the first byte names.
pub fn fuzz_node(bytes: &[u8]) {
    if let Some((first, rest)) = bytes.split_first() {
        BODIES[usize::from(*first) % BODIES.len()](rest);
    }
}

/// What the files of the job cache hold, which other programs of the master's user write, too, is read and shown.
pub fn fuzz_job_cache(bytes: &[u8]) {
    fuzz_jobs(bytes);
}

/// The load of a wheel call is one of a function that there is, or refused.
pub fn fuzz_wheel(bytes: &[u8]) {
    master::fuzz_wheel(bytes);
}

const TYPES: [&str; 9] = [
    "glob",
    "pcre",
    "list",
    "grain",
    "grain_pcre",
    "pillar_exact",
    "ipcidr",
    "compound",
    "nodegroup",
];

/// Matching a target that a minion names must end, whatever the target and the grains are, and must give the same
/// result for the same minion; once it has caused too much work it selects nobody. The first byte is its type; then
/// come target and grains.
fn fuzz_target(bytes: &[u8]) {
    let Some((kind, rest)) = bytes.split_first() else {
        return;
    };
    let Ok(Value::Array(parts)) = msgpack::decode_network(rest) else {
        return;
    };
    let (Some(tgt), Some(Value::Map(grains)), Ok(id)) =
        (parts.first(), parts.get(1), MinionId::parse("m1"))
    else {
        return;
    };
    let kind = TYPES[usize::from(*kind) % TYPES.len()];
    let groups: Map = [("g", "G@a:b or m1"), ("loop", "N@loop")]
        .into_iter()
        .collect();
    let Ok(target) = Target::parse(tgt, kind, DELIMITER, &groups) else {
        return;
    };
    let target = target.for_minions();
    let minion = Candidate {
        id: &id,
        grains,
        pillar: &Map::new(),
    };
    let (first, again) = (target.matches(minion), target.matches(minion));
    assert!(first == again || (target.is_spent() && !again));
    assert!(!(target.is_spent() && again && first && kind != "compound"));
}

/// A path stays below the folder that it is joined to, and reads the same when it is read again.
fn fuzz_path(bytes: &[u8]) {
    let Ok(path) = str::from_utf8(bytes).map(SaltPath::parse) else {
        return;
    };
    if let Ok(path) = path {
        stays_below(Path::new(path.as_str()));
        assert_eq!(SaltPath::parse(path.as_str()).as_ref(), Ok(&path));
    }
}

/// A relative path has ordinary names alone.
pub(crate) fn stays_below(path: &Path) {
    assert!(path.components().count() > 0);
    for part in path.components() {
        assert!(matches!(part, Component::Normal(_)), "{path:?}");
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn replay(target: &str, body: fn(&[u8])) {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus");
        let mut replayed = 0;
        for entry in fs::read_dir(corpus.join(target)).unwrap() {
            body(&fs::read(entry.unwrap().path()).unwrap());
            replayed += 1;
        }
        assert!(replayed > 5, "only {replayed} inputs of {target}");
    }

    #[test]
    fn the_corpora_of_nodes() {
        replay("node", fuzz_node);
        replay("job_cache", fuzz_job_cache);
        replay("wheel", fuzz_wheel);
    }
}
