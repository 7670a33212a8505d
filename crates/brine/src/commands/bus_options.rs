//! The options that `brine bus` and `brine attach` share: how to offer a bus, and which of its events to keep.

use std::path::PathBuf;
use std::str::FromStr;

use brine_wire::compat::Compat;

use crate::bus_location::BusLocation;
use crate::host::BusOptions;

/// How a bus is offered, and what is kept of it.
#[derive(Debug, clap::Args)]
pub(super) struct BusOptionArgs {
    /// Salt series or release of the bus's clients, or of the bus to join [default: as configured, else 3008; of a
    /// bus to join, detected]
    #[arg(long, value_name = "RELEASE")]
    compat: Option<Compat>,
    /// Offer the same bus in another directory to clients of another release; repeatable
    #[arg(long, value_name = "DIR=RELEASE")]
    also: Vec<Also>,
    /// Memory for events that slow subscribers have not read yet, such as 128MiB
    /// [default: as configured, else 64MiB]
    #[arg(long, value_name = "BYTES", value_parser = bytes)]
    log_bytes: Option<u64>,
    /// Keep events on disk in this directory, so that readers can go back and numbering continues after a restart
    /// [default: as configured; attach: else history in the node's cachedir]
    #[arg(long, value_name = "DIR")]
    history: Option<PathBuf>,
}

/// Another directory the bus is offered in.
#[derive(Debug, Clone)]
struct Also {
    sock_dir: PathBuf,
    compat: Compat,
}

impl FromStr for Also {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (sock_dir, release) = text
            .rsplit_once('=')
            .ok_or("expected DIR=RELEASE, such as /run/salt/old=3006.25")?;
        Ok(Self {
            sock_dir: sock_dir.into(),
            compat: release.parse().map_err(|error| format!("{error}"))?,
        })
    }
}

impl BusOptionArgs {
    /// In the form that a bus takes.
    pub(super) fn options(&self) -> BusOptions {
        let also = self.also.iter();
        BusOptions {
            compat: self.compat,
            also: also
                .map(|also| (also.sock_dir.clone(), also.compat))
                .collect(),
            log_bytes: self.log_bytes,
            history: self.history.clone(),
        }
    }

    /// Whether a history is asked for, whatever the configuration says.
    pub(super) const fn has_history(&self) -> bool {
        self.history.is_some()
    }

    /// The directories there will be sockets in.
    pub(super) fn folders(&self, location: &BusLocation) -> Vec<PathBuf> {
        let others = self.also.iter().map(|also| &also.sock_dir);
        location.sock_dir.iter().chain(others).cloned().collect()
    }
}

/// A size: `1048576`, `64MiB`, `64M`.
pub(super) fn bytes(text: &str) -> Result<u64, String> {
    let split = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let factor = match unit {
        "" => 1,
        // The short ones as journalctl has them.
        "KiB" | "K" => 1 << 10,
        "MiB" | "M" => 1 << 20,
        "GiB" | "G" => 1 << 30,
        _ => 0,
    };
    let bytes = number
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(factor));
    bytes
        .filter(|bytes| *bytes > 0)
        .ok_or_else(|| "expected bytes, such as 1048576 or 64MiB".to_owned())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn another_directory_is_named_with_its_release() {
        let also: Also = "/run/a=b=3006.25".parse().unwrap();
        assert_eq!(also.sock_dir, Path::new("/run/a=b"));
        assert_eq!(also.compat.to_string(), "3006.25");
        assert!("/run/a".parse::<Also>().is_err());
        assert!("/run/a=3005".parse::<Also>().is_err());
    }

    #[test]
    fn sizes_have_units() {
        assert_eq!(bytes("64MiB"), Ok(64 << 20));
        assert_eq!(bytes("5"), Ok(5));
        assert_eq!(bytes("10G"), bytes("10GiB"));
        for text in ["", "0", "MiB", "5MB", "-1", "99999999999GiB"] {
            assert!(bytes(text).is_err(), "{text}");
        }
    }
}
