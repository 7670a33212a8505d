//! Every fixture of `golden/opts-*.json`, which is what real Salt makes of configuration files.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::{fs, iter};

use brine_config::{ConfigError, Environment, Loaded, Opts, Role, Warning};
use brine_wire::{Map, Value};
use serde_json::Value as Json;

use crate::typed;

#[test]
fn configurations_read_as_salt_3008_reads_them() {
    check(include_str!("../golden/opts-3008.3.json"), &[]);
}

#[test]
fn configurations_read_as_salt_3006_reads_them_but_for_some_defaults() {
    // The newest defaults are everybody's; three options were dropped, four changed.
    let newer = [
        "azurefs_update_interval",
        "gpg_decrypt_must_succeed",
        "master_pubkey_signature",
        "master_tries",
        "minion_memory_headroom",
        "minion_memory_max",
        "zmq_monitor",
    ];
    check(include_str!("../golden/opts-3006.28.json"), &newer);
}

fn check(golden: &str, not_compared: &[&str]) {
    let golden: Json = serde_json::from_str(golden).unwrap();
    let mut baseline: BTreeMap<&str, BTreeMap<String, Value>> = BTreeMap::new();
    let mut wrong = Vec::new();
    for row in golden["rows"].as_array().unwrap() {
        let name = row["name"].as_str().unwrap();
        if row["main"] == "DEFAULT" && Path::new("/etc/salt").exists() {
            // This machine's own configuration would be read with it.
            continue;
        }
        let root = tempfile::tempdir().unwrap();
        let loaded = load(&golden, row, root.path());
        if row["refused"] == true {
            if loaded.is_ok() {
                wrong.push(format!("{name}: Salt refuses it"));
            }
            continue;
        }
        let loaded = match loaded {
            Ok(loaded) => loaded,
            Err(error) => {
                wrong.push(format!("{name}: {error}"));
                continue;
            }
        };
        let role = row["role"].as_str().unwrap();
        let base = baseline
            .entry(if role == "minion" { role } else { "master" })
            .or_default();
        let mut expected = base.clone();
        for (option, value) in typed::map(&row["opts"]) {
            expected.insert(option.as_str().unwrap().to_owned(), value);
        }
        if base.is_empty() {
            base.clone_from(&expected);
        }
        for (option, value) in &expected {
            let ours = loaded
                .opts
                .get(option)
                .map(|ours| without_root(ours, root.path()));
            if !not_compared.contains(&option.as_str())
                && !ours.as_ref().is_some_and(|ours| typed::same(ours, value))
            {
                wrong.push(format!("{name}: {option}: Salt {value:?}, ours {ours:?}"));
            }
        }
        let warned = row["warned"].as_array().unwrap().iter();
        let warned: BTreeSet<_> = warned.map(|option| option.as_str().unwrap()).collect();
        let ours = wrong_types(&loaded);
        if warned != ours {
            wrong.push(format!("{name}: warnings: Salt {warned:?}, ours {ours:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Writes a fixture to `root` and loads it in the surroundings Salt had.
fn load(golden: &Json, row: &Json, root: &Path) -> Result<Loaded, ConfigError> {
    let root_text = root.to_str().unwrap();
    let put_in = |text: &Json| text.as_str().unwrap().replace("ROOT", root_text);
    for (name, text) in row["files"].as_object().unwrap() {
        let path = root.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, put_in(text)).unwrap();
    }
    let variables = row["env"].as_object().unwrap().iter();
    let home = ("HOME".to_owned(), format!("{root_text}/home"));
    let environment = Environment {
        variables: variables
            .map(|(name, value)| (name.clone(), put_in(value)))
            .chain(iter::once(home))
            .collect(),
        current_dir: "/".to_owned(),
        user: "root".to_owned(),
        host_names: vec![golden["host_name"].as_str().unwrap().to_owned()],
        memory: golden["memory"].as_u64().unwrap(),
    };
    let role = match row["role"].as_str().unwrap() {
        "master" => Role::Master,
        "minion" => Role::Minion,
        _ => Role::Client,
    };
    let main = match row["main"].as_str().unwrap() {
        "DEFAULT" => role.default_file().into(),
        name => root.join(name),
    };
    Opts::load(role, &main, &environment)
}

fn wrong_types(loaded: &Loaded) -> BTreeSet<&str> {
    let warnings = loaded.warnings.iter();
    warnings
        .filter_map(|warning| match warning {
            // Salt overwrites these two before it looks at their types.
            Warning::WrongType { option, .. } => Some(option.as_str())
                .filter(|option| !matches!(*option, "include" | "open_mode" | "auto_accept")),
            _ => None,
        })
        .collect()
}

fn without_root(value: &Value, root: &Path) -> Value {
    let inner = |value: &Value| without_root(value, root);
    match value {
        Value::Str(text) => text.replace(root.to_str().unwrap(), "ROOT").into(),
        Value::Array(items) => Value::Array(items.iter().map(inner).collect()),
        Value::Map(map) => {
            let pairs = map.iter().map(|(key, value)| (inner(key), inner(value)));
            Value::Map(Map::from(pairs.collect::<Vec<_>>()))
        }
        other => other.clone(),
    }
}
