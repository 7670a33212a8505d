//! What the bus and the machine spend, as the kernel counts it in `/proc`.

use core::time::Duration;
use std::fs;
use std::os::fd::OwnedFd;

use rustix::process::{Resource, Rlimit};
use rustix::time::{ClockId, clock_gettime};

/// What a bus process used in the time measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BusUse {
    /// The process.
    pub pid: u32,
    /// Processor time over all its threads.
    pub cpu: Duration,
    /// Resident memory before the load, in bytes.
    pub rss_before: u64,
    /// Resident memory at the end of the time measured, in bytes.
    pub rss_after: u64,
    /// The most memory it ever had resident, in bytes.
    pub rss_peak: u64,
}

/// Raises the limit on open files to what the system allows and gives it. Processes started
/// afterwards inherit it.
#[must_use]
pub fn raise_file_limit() -> u64 {
    let limit = rustix::process::getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    let set = rustix::process::setrlimit(Resource::Nofile, raised);
    let allowed = if set.is_ok() {
        limit.maximum
    } else {
        limit.current
    };
    allowed.unwrap_or(u64::MAX)
}

/// A process that is watched.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Process {
    pub(crate) pid: u32,
}

impl Process {
    /// The process at the other end of a connection, if it is on this machine and the kernel knows it.
    pub(crate) fn behind(socket: &OwnedFd) -> Option<Self> {
        let credentials = rustix::net::sockopt::socket_peercred(socket).ok()?;
        let pid = u32::try_from(credentials.pid.as_raw_nonzero().get()).ok()?;
        Some(Self { pid })
    }

    /// Processor time of all threads that live, from the scheduler (nanoseconds, not ticks).
    pub(crate) fn cpu(self) -> Duration {
        let Ok(threads) = fs::read_dir(format!("/proc/{}/task", self.pid)) else {
            return Duration::ZERO;
        };
        let run_ns = threads
            .flatten()
            .filter_map(|thread| fs::read_to_string(thread.path().join("schedstat")).ok())
            .filter_map(|text| text.split_whitespace().next()?.parse::<u64>().ok())
            .sum();
        Duration::from_nanos(run_ns)
    }

    /// Resident memory now, in bytes.
    pub(crate) fn rss(self) -> u64 {
        self.status("VmRSS:")
    }

    /// The most it ever had, in bytes.
    pub(crate) fn rss_peak(self) -> u64 {
        self.status("VmHWM:")
    }

    fn status(self, field: &str) -> u64 {
        let text = fs::read_to_string(format!("/proc/{}/status", self.pid)).unwrap_or_default();
        let value = text.lines().find_map(|line| line.strip_prefix(field));
        let kib = value.and_then(|value| value.split_whitespace().next()?.parse::<u64>().ok());
        kib.unwrap_or(0) * 1024
    }
}

/// Processor time of the whole machine since it started, over all processors.
pub(crate) fn machine_cpu() -> Duration {
    /// Columns of `/proc/stat` that are not work: idle and waiting for disks.
    const NOT_WORK: [usize; 2] = [3, 4];
    /// After these eight columns come guests, counted in the first already.
    const COLUMNS: usize = 8;
    let text = fs::read_to_string("/proc/stat").unwrap_or_default();
    let columns = text
        .lines()
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .skip(1);
    let ticks: u64 = columns
        .take(COLUMNS)
        .enumerate()
        .filter(|(at, _)| !NOT_WORK.contains(at))
        .filter_map(|(_, ticks)| ticks.parse::<u64>().ok())
        .sum();
    Duration::from_secs_f64(ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
}

/// Processor time of this process.
pub(crate) fn own_cpu() -> Duration {
    clock(ClockId::ProcessCPUTime)
}

/// Processor time of this thread.
pub(crate) fn thread_cpu() -> Duration {
    clock(ClockId::ThreadCPUTime)
}

fn clock(id: ClockId) -> Duration {
    Duration::try_from(clock_gettime(id)).unwrap_or_default()
}
