//! The history of a bus: whether there is one, where, and what it keeps.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, anyhow};
use brine_config::{Age, Brine, SyncOption};
use brine_log::history::{
    History, HistoryConfig, HistoryReader, OpenError, PreparedHistory, Read, Retention, Sync,
    TagAge, TagQuery,
};
use brine_log::{Log, Position, Seq};
use brine_wire::matching::{MatchType, TagMatch};

use crate::bus_location::BusLocation;

/// Whether a bus keeps a history if the configuration does not say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HistoryDefault {
    On,
    Off,
}

/// Opens the history of a bus, if it has one; before its sockets, so that a bus that may not open its history takes
/// nobody's sockets either.
pub(crate) fn prepare(
    location: &BusLocation,
    directory: Option<&Path>,
    default: HistoryDefault,
) -> anyhow::Result<Option<PreparedHistory>> {
    let enabled = location.brine.history.enabled;
    // Sinks have their positions there, and so has the cluster of a master.
    let has_cluster = location.brine.cluster.is_some() && default == HistoryDefault::On;
    let is_needed = enabled.is_none() && (has_cluster || !location.sinks.is_empty());
    let is_asked_for = directory.is_some() || enabled == Some(true) || is_needed;
    let is_on = is_asked_for || (enabled.is_none() && default == HistoryDefault::On);
    if !is_on {
        return Ok(None);
    }
    let directory = match directory {
        Some(directory) => std::path::absolute(directory)?,
        None => configured_directory(location)?,
    };
    let mut config = config(&location.brine, directory)?;
    let bus = location.local_address();
    config.bus = bus.and_then(|bus| std::path::absolute(bus.path()).ok());
    match PreparedHistory::open(config) {
        Ok(prepared) => Ok(Some(prepared)),
        // Nobody asked for it, and the bus is worth more.
        Err(error @ (OpenError::Directory { .. } | OpenError::Store { .. })) if !is_asked_for => {
            tracing::error!("{error}; the bus runs without history");
            Ok(None)
        }
        Err(error @ OpenError::InUse { pid, .. }) if is_attach(pid) => Err(anyhow!(
            "{error}, which is brine attach; stop that first: systemctl stop brine-attach, or kill {pid}"
        )),
        Err(error @ OpenError::InUse { .. }) => Err(anyhow!(
            "{error}; stop that one, or give this one a directory of its own: brine: {{history: {{directory: …}}}}, or --history"
        )),
        Err(error) => Err(error.into()),
    }
}

/// Whether a process is a `brine attach`.
fn is_attach(pid: u32) -> bool {
    let words = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let mut words = words.split(|byte| *byte == 0);
    words.nth(1) == Some(b"attach")
}

/// Where the history of a bus is if no argument says.
pub(crate) fn configured_directory(location: &BusLocation) -> anyhow::Result<PathBuf> {
    if let Some(directory) = &location.brine.history.directory {
        return Ok(directory.clone());
    }
    let opts = location.opts.as_ref();
    let opts = opts.context(
        "history without a directory; set brine: {history: {directory: …}} or --history",
    )?;
    Ok(Path::new(opts.text("cachedir")?).join("history"))
}

fn config(brine: &Brine, directory: PathBuf) -> anyhow::Result<HistoryConfig> {
    let options = &brine.history;
    let mut config = HistoryConfig::new(directory);
    config.redact.clone_from(&brine.redact);
    config.sync = match options.sync {
        None | Some(SyncOption::Group) => Sync::Group,
        Some(SyncOption::Each) => Sync::Each,
        Some(SyncOption::Os) => Sync::System,
    };
    config.retention = configured_retention(brine)?;
    Ok(config)
}

/// How long the configuration has events kept, and how many.
pub(crate) fn configured_retention(brine: &Brine) -> anyhow::Result<Retention> {
    let (options, defaults) = (&brine.history, Retention::default());
    let tags = options.max_age_of_tags.iter().map(|(pattern, age)| {
        let tags = TagMatch::new(MatchType::Fnmatch, pattern.clone())?;
        let max_age = duration(*age);
        anyhow::Ok(TagAge { tags, max_age })
    });
    Ok(Retention {
        max_age: options.max_age.map_or(defaults.max_age, duration),
        max_bytes: options.max_bytes.or(defaults.max_bytes),
        tags: tags.collect::<Result<_, _>>()?,
    })
}

const fn duration(age: Age) -> Option<std::time::Duration> {
    match age {
        Age::Forever => None,
        Age::For(duration) => Some(duration),
    }
}

/// A history that is written; closed when this is dropped, which waits for the disk.
pub(crate) struct RunningHistory {
    history: History,
    /// The last event that was stored before this start.
    pub(crate) stored: Position,
}

impl RunningHistory {
    /// The history, for those who wait for it or ask for its state.
    pub(crate) fn handle(&self) -> History {
        self.history.clone()
    }

    /// How many events of a minion are stored from a number on.
    pub(crate) fn held(&self, minion: &str, from: Seq) -> anyhow::Result<u64> {
        let mut reader = HistoryReader::open(&self.history.status().directory)?;
        reader.seek(from);
        let mut count = 0;
        while let Some(read) = reader.next(&TagQuery::default())? {
            if let Read::Events(events) = read {
                let of_minion = events.iter().filter(|event| event.sender == Some(minion));
                count += of_minion.count() as u64;
            }
        }
        Ok(count)
    }

    /// Begins to write a log.
    pub(crate) fn start(prepared: PreparedHistory, log: &Arc<Log>) -> anyhow::Result<Self> {
        let stored = Position {
            log: log.id(),
            seq: prepared.newest(),
        };
        let history = prepared.start(log)?;
        Ok(Self { history, stored })
    }
}

impl Drop for RunningHistory {
    fn drop(&mut self) {
        self.history.close();
    }
}
