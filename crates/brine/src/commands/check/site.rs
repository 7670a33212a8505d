//! What a configuration names that does not fit it or this machine: node groups, the HTTP API, back ends of logins,
//! files and directories.

use std::path::Path;

use brine_config::{Loaded, Place, Role};
use brine_node::master::missing_backends;
use brine_node::target::{DELIMITER, Target};
use brine_wire::nodegroup::{nodegroups, resolve};
use brine_wire::{Value, python_text};

use super::{Finding, place_of};
use crate::host::http_api::ApiSettings;

pub(super) fn findings(role: Role, loaded: &Loaded, places: &[Place]) -> Vec<Finding> {
    let mut findings = of_groups(loaded, places);
    if role != Role::Minion {
        findings.extend(of_api(loaded, places));
        findings.extend(of_logins(loaded, places));
    }
    findings.extend(of_roots(loaded, places));
    findings.extend(of_brine(loaded, places));
    findings
}

/// Groups that select less than they say, or nobody.
fn of_groups(loaded: &Loaded, places: &[Place]) -> Vec<Finding> {
    let groups = nodegroups(loaded.opts.get("nodegroups"));
    let mut findings = Vec::new();
    for (name, value) in &groups {
        let Some(name) = name.as_str() else { continue };
        let faults = match value {
            Value::Nil => vec!["it has no target".to_owned()],
            _ => match Target::parse(&name.into(), "nodegroup", DELIMITER, &groups) {
                Err(error) => vec![error.to_string()],
                Ok(_) => resolve(name, &groups).map_or_else(
                    |error| vec![error.to_string()],
                    |resolved| resolved.faults.iter().map(ToString::to_string).collect(),
                ),
            },
        };
        let place = inner("nodegroups", name, places);
        findings.extend(faults.into_iter().map(|fault| {
            Finding::warning("wrong-value", &place).says(
                format!("nodegroups: {name}: {fault}"),
                "correct the group: it selects fewer minions than it says, or none",
            )
        }));
    }
    findings
}

/// What keeps the HTTP API from starting.
fn of_api(loaded: &Loaded, places: &[Place]) -> Option<Finding> {
    let option = ["rest_cherrypy", "rest_tornado"]
        .into_iter()
        .find(|option| {
            loaded
                .opts
                .get(option)
                .is_some_and(|value| *value != Value::Nil)
        })?;
    let error = ApiSettings::of_master(&loaded.opts, &loaded.brine).err()?;
    let remedy = "correct the option: salt-api does not start with it";
    let finding = Finding::error("wrong-value", place_of(option, places));
    Some(finding.says(crate::show::one_line(&error), remedy))
}

/// Back ends that this program does not have.
fn of_logins(loaded: &Loaded, places: &[Place]) -> Vec<Finding> {
    let missing = missing_backends(&loaded.opts).into_iter();
    let finding = |(name, text): (String, String)| {
        let remedy = match &*name {
            "pam" => "use the package, or build with --features pam",
            _ => "correct the name, unless a real master reads it",
        };
        Finding::warning("wrong-value", inner("external_auth", &name, places)).says(text, remedy)
    };
    missing.map(finding).collect()
}

/// Directories of files that are not there.
fn of_roots(loaded: &Loaded, places: &[Place]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for option in ["file_roots", "pillar_roots"] {
        // Salt's defaults need not be there.
        if !places.iter().any(|place| place.option == option) {
            continue;
        }
        let environments = loaded.opts.get(option).and_then(Value::as_map);
        for (name, roots) in environments.into_iter().flatten() {
            let name = python_text::str(name);
            let roots = roots.as_array().unwrap_or_default().iter();
            let roots = roots.filter_map(Value::as_str);
            // An environment may be a part of the path.
            let missing = roots.filter(|root| root.starts_with('/') && !root.contains("__env__"));
            findings.extend(
                missing
                    .filter(|root| !Path::new(root).exists())
                    .map(|root| {
                        Finding::warning("missing-path", inner(option, &name, places)).says(
                            format!("{option}: {name}: {root} does not exist on this machine"),
                            "create the directory, or correct the path",
                        )
                    }),
            );
        }
    }
    findings
}

/// Paths below `brine:`.
fn of_brine(loaded: &Loaded, places: &[Place]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let python = loaded.brine.python.as_deref();
    if let Some(python) =
        python.filter(|python| python.contains('/') && !Path::new(python).is_file())
    {
        findings.push(
            Finding::warning("missing-path", inner("brine", "python", places)).says(
                format!("brine: python: {python} is no file on this machine"),
                "correct the path: without it no modules of users run",
            ),
        );
    }
    let history = &loaded.brine.history;
    let directory = history.directory.as_deref();
    if let Some(directory) = directory.filter(|path| path.exists() && !path.is_dir()) {
        findings.push(
            Finding::error("wrong-value", inner("brine", "history", places)).says(
                format!(
                    "brine: history: directory: expected a directory, found a file: {}",
                    directory.display()
                ),
                "name a directory: no bus starts with it",
            ),
        );
    }
    findings
}

/// Where an option below another is, or at least that one.
fn inner(outer: &str, name: &str, places: &[Place]) -> String {
    let option = format!("{outer}: {name}");
    match places.iter().any(|place| place.option == option) {
        true => place_of(&option, places),
        false => place_of(outer, places),
    }
}
