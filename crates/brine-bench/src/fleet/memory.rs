//! What the master's processes spend, and this one: memory and processor time, as the kernel counts
//! them in `/proc`.

use std::collections::HashMap;
use std::fs;
use std::time::Duration;

use crate::process::Process;

/// Memory at one moment, in bytes.
#[derive(Debug, Clone, Copy, Default)]
pub struct MemoryReport {
    /// The master and its children: their proportional share, so that what forks share counts
    /// once. `None` if its process is not known.
    pub master: Option<u64>,
    /// The same before the fleet came.
    pub master_before: Option<u64>,
    /// More than before, per minion.
    pub master_per_minion: Option<u64>,
    /// This process, per minion.
    pub fleet_per_minion: u64,
}

/// The time between two looks at whether the master still works.
const BETWEEN_LOOKS: Duration = Duration::from_millis(100);

/// After so long a master counts as settled, for it may have work of its own.
const SETTLED_AFTER: Duration = Duration::from_secs(5);

/// Watches a master's processes.
pub(super) struct Watch {
    pid: Option<u32>,
    before: Option<u64>,
    own_before: u64,
}

impl Watch {
    pub(super) fn new(pid: Option<u32>) -> Self {
        Self {
            pid,
            before: pid.map(memory),
            own_before: share_of(std::process::id()),
        }
    }

    /// Processor time of the master so far, over all its living threads.
    pub(super) fn cpu(&self) -> Option<Duration> {
        let processes = family(self.pid?);
        Some(processes.into_iter().map(|pid| Process { pid }.cpu()).sum())
    }

    /// Waits until the master has dealt with what came before, such as connections that were closed, so that the next
    /// measurement does not include it: until it has used hardly any processor time for a while, or [`SETTLED_AFTER`].
    pub(super) async fn settle(&self) {
        let mut before = self.cpu();
        for _ in 0..SETTLED_AFTER.as_millis() / BETWEEN_LOOKS.as_millis() {
            tokio::time::sleep(BETWEEN_LOOKS).await;
            let now = self.cpu();
            let spent = now
                .zip(before)
                .map(|(now, before)| now.saturating_sub(before));
            if spent.is_none_or(|spent| spent < BETWEEN_LOOKS / 50) {
                return;
            }
            before = now;
        }
    }

    pub(super) fn report(&self, minions: usize) -> MemoryReport {
        let minions = minions as u64;
        let master = self.pid.map(memory);
        let more = master.zip(self.before);
        MemoryReport {
            master,
            master_before: self.before,
            master_per_minion: more.map(|(now, before)| now.saturating_sub(before) / minions),
            fleet_per_minion: share_of(std::process::id()).saturating_sub(self.own_before)
                / minions,
        }
    }
}

fn memory(pid: u32) -> u64 {
    family(pid).into_iter().map(share_of).sum()
}

/// A process and all its descendants.
fn family(pid: u32) -> Vec<u32> {
    let mut children = HashMap::<u32, Vec<u32>>::new();
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    for process in processes {
        let id = process.file_name().to_str().and_then(|id| id.parse().ok());
        if let Some((id, parent)) = id.and_then(|id| Some((id, parent(id)?))) {
            children.entry(parent).or_default().push(id);
        }
    }
    let mut found = vec![pid];
    let mut at = 0;
    while let Some(pid) = found.get(at) {
        found.extend(children.remove(pid).unwrap_or_default());
        at += 1;
    }
    found
}

fn parent(pid: u32) -> Option<u32> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("PPid:"))?;
    line.trim().parse().ok()
}

/// The proportional share if the kernel has it, else what is resident.
fn share_of(pid: u32) -> u64 {
    let kib = |file: &str, field: &str| -> Option<u64> {
        let text = fs::read_to_string(format!("/proc/{pid}/{file}")).ok()?;
        let line = text.lines().find_map(|line| line.strip_prefix(field))?;
        line.split_whitespace().next()?.parse().ok()
    };
    let share = kib("smaps_rollup", "Pss:").or_else(|| kib("status", "VmRSS:"));
    share.unwrap_or(0) * 1024
}
