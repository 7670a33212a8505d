//! The relay is the limit only if it delivers: each shape of load goes through it without fault.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use brine_bench::{Churn, ChurnOf, Dialect, Load, Pace, Target, first_event, run};

struct Relay {
    child: Child,
    _dir: tempfile::TempDir,
    target: Target,
}

impl Relay {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_relay"))
            .arg(dir.path())
            .spawn()
            .unwrap();
        let target = Target {
            dialect: Dialect::prefixed_relay(),
            ..Target::salt_in(dir.path(), "3006".parse().unwrap())
        };
        let relay = Self {
            child,
            _dir: dir,
            target,
        };
        first_event(&relay.target, Instant::now(), Duration::from_secs(10)).unwrap();
        relay
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

#[test]
fn delivers_everything_once_and_in_order() {
    let relay = Relay::start();
    let churn = |of| {
        Some(Churn {
            of,
            per_second: Some(500.0),
        })
    };
    for load in [
        Load {
            publishers: 4,
            events_per_write: 5,
            ..Load::default()
        },
        Load {
            publishers: 2,
            subscribers: 10,
            data_bytes: 65_536,
            ..Load::default()
        },
        Load {
            data_bytes: 1 << 20,
            ..Load::default()
        },
        Load {
            pace: Pace::Rate(1000.0),
            churn: churn(ChurnOf::Subscribers),
            ..Load::default()
        },
        Load {
            pace: Pace::Rate(1000.0),
            churn: churn(ChurnOf::Publishers),
            ..Load::default()
        },
    ] {
        let load = Load {
            duration: Duration::from_millis(300),
            ..load
        };
        let report = run(&relay.target, &load).unwrap();
        assert!(
            report.faults.none() && report.faults.owed == 0,
            "{}",
            report.table()
        );
        assert_eq!(report.bus.unwrap().pid, relay.child.id());
    }
}

#[test]
fn names_the_directory_it_cannot_listen_in() {
    let nowhere = Path::new("/nonexistent");
    let output = Command::new(env!("CARGO_BIN_EXE_relay"))
        .arg(nowhere)
        .output()
        .unwrap();
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("/nonexistent/master_event_pub.ipc"));
}
