//! The programs that listen: whether they can read what this bus writes, and how far behind they are.
//!
//! The framing of the publish socket changed within each series of Salt; a listener of the wrong release receives
//! nothing, and reports nothing. Facts: `docs/protocol/ipc.md` §1.

use std::fs;
use std::path::{Path, PathBuf};

use brine_view::text::grouped;
use brine_wire::compat::Compat;
use brine_wire::frame::Framing;
use brine_wire::{Map, Value};

use super::{Site, proc};
use crate::commands::findings::Finding;

/// Further behind than this, in events, is worth a word.
pub(super) const FAR_BEHIND: i128 = 100_000;

pub(super) fn findings(site: &Site) -> Vec<Finding> {
    let mut findings = Vec::new();
    let subscribers = site
        .part("bus")
        .and_then(|bus| bus.get("subscribers"))
        .and_then(Value::as_array);
    for subscriber in subscribers
        .unwrap_or_default()
        .iter()
        .filter_map(Value::as_map)
    {
        findings.extend(framing(site, subscriber));
        findings.extend(lag(subscriber));
    }
    let closed = site
        .part("bus")
        .and_then(|bus| bus.get("overrun_subscribers"));
    if let Some(Value::Int(closed @ 1..)) = closed {
        findings.push(Finding::note("closed-listeners", "bus").says(
            format!("{closed} listeners were disconnected since the start because they fell too far behind"),
            "raise brine: {overflow_bytes}, or fix the listener that does not read",
        ));
    }
    findings
}

fn pid(subscriber: &Map) -> Option<i32> {
    match subscriber.get("pid")? {
        Value::Int(pid) => i32::try_from(*pid).ok().filter(|pid| *pid > 0),
        _ => None,
    }
}

fn lag(subscriber: &Map) -> Option<Finding> {
    let pid = pid(subscriber)?;
    match subscriber.get("lag") {
        Some(Value::Int(lag)) if *lag > FAR_BEHIND => {
            let lag = grouped(u64::try_from(*lag).unwrap_or(u64::MAX));
            Some(Finding::warning("far-behind", proc::name(pid)).says(
                format!("is {lag} events behind"),
                "it reads too slowly, or not at all: restart it",
            ))
        }
        _ => None,
    }
}

fn framing(site: &Site, subscriber: &Map) -> Option<Finding> {
    let pid = pid(subscriber)?;
    let release = salt_release(pid)?;
    let reads: Compat = release.parse().ok()?;
    let (written, compat) = match site
        .part("bus")
        .and_then(|bus| bus.get("compat"))
        .and_then(Value::as_str)
    {
        Some(text) => (
            text.parse::<Compat>().ok()?.publish_framing(),
            text.to_owned(),
        ),
        // Attach finds out in which framing the master writes, and writes the same.
        None if site.part("attach").is_some() => return None,
        None => {
            let compat = site.location.brine.compat.unwrap_or(Compat::NEWEST);
            (compat.publish_framing(), compat.to_string())
        }
    };
    let name = |framing| match framing {
        Framing::Bare => "bare",
        Framing::Prefixed => "prefixed",
    };
    let reads_as = reads.publish_framing();
    (reads_as != written).then(|| {
        Finding::error("wrong-framing", proc::name(pid)).says(
            format!(
                "is Salt {release} and reads {} frames, but this bus writes {} ones (compat {compat}): it sees no event",
                name(reads_as),
                name(written)
            ),
            format!("set brine: {{compat: {release}}}, or offer it a directory of its own: --also DIR={release}"),
        )
    })
}

/// The release of Salt that a process runs, if it runs Salt's Python.
fn salt_release(pid: i32) -> Option<String> {
    let command = proc::command(pid);
    // A virtual environment is known by the path of its interpreter or of its script, not by the program behind it.
    let from_words = command
        .iter()
        .take(3)
        .map(PathBuf::from)
        .filter(|path| path.is_absolute());
    let program = proc::program(pid);
    from_words
        .chain(program)
        .find_map(|path| release_beside(&path))
}

/// Looks for Salt beside `<prefix>/bin/python`.
fn release_beside(program: &Path) -> Option<String> {
    let prefix = program.parent()?.parent()?;
    let mut folders = Vec::new();
    for lib in ["lib", "lib64"] {
        for entry in fs::read_dir(prefix.join(lib))
            .into_iter()
            .flatten()
            .flatten()
        {
            if entry.file_name().to_string_lossy().starts_with("python3") {
                folders.push(entry.path().join("site-packages"));
                folders.push(entry.path().join("dist-packages"));
            }
        }
    }
    folders.push(prefix.join("lib/python3/dist-packages"));
    folders.iter().find_map(|folder| {
        fs::read_dir(folder).ok()?.flatten().find_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let release = name.strip_prefix("salt-")?.strip_suffix(".dist-info")?;
            Some(release.to_owned())
        })
    })
}
