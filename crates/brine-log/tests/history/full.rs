//! A disk that is full: a small file system in memory, which takes the right to mount one.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use brine_log::history::GapReason;

use crate::support::{Bus, config, read_directory, until, wait};

/// A file system of a few megabytes, unmounted when it is dropped.
struct SmallDisk {
    directory: tempfile::TempDir,
}

impl SmallDisk {
    /// `None` where this process may not mount.
    fn mount(megabytes: u32) -> Option<Self> {
        let directory = tempfile::tempdir().expect("a test's own files");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={megabytes}m"), "tmpfs"]);
        let output = mount.arg(directory.path()).output();
        match output.is_ok_and(|output| output.status.success()) {
            true => Some(Self { directory }),
            false => {
                eprintln!("not run: mounting a file system is not permitted here");
                None
            }
        }
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    fn history(&self) -> PathBuf {
        self.path().join("history")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.path()).output();
    }
}

#[test]
fn a_full_disk_is_a_gap_and_history_goes_on_by_itself() {
    let Some(disk) = SmallDisk::mount(16) else {
        return;
    };
    let mut options = config(&disk.history());
    options.give_up_after = Duration::from_millis(100);
    let bus = Bus::open(options).expect("a test's own files");
    let before = bus.fire_durably("before", "x").0;
    // Somebody else fills the disk.
    let ballast = disk.path().join("ballast");
    let filled = Command::new("dd")
        .args(["if=/dev/zero", "bs=64k"])
        .arg(format!("of={}", ballast.display()))
        .output()
        .expect("a test's own files");
    assert!(!filled.status.success(), "the disk should be full");

    let mut random = 1u64;
    let mut noise = || {
        let mut text = String::new();
        while text.len() < 30_000 {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            text += &format!("{random:x}");
        }
        text
    };
    let mut last = bus.fire("meanwhile", &noise(), 1000);
    until("trouble is reported", || {
        last = bus.fire("meanwhile", &noise(), 1000);
        bus.history.status().trouble.is_some()
    });
    assert!(wait(bus.history.durable(last)).is_err());

    std::fs::remove_file(&ballast).expect("a test's own files");
    until("history goes on", || bus.history.status().trouble.is_none());
    let after = bus.fire_durably("after", "x").0;
    bus.history.close();
    let found = read_directory(&disk.history());
    assert_eq!(found.events.first(), Some(&(before, "before".to_owned())));
    assert_eq!(found.events.last(), Some(&(after, "after".to_owned())));
    let [(gap, Some(GapReason::NotWritten))] = &found.gaps[..] else {
        panic!("{:?}", found.gaps);
    };
    assert_eq!(
        found.events.len() as u64,
        after - before + 1 - (gap.end - gap.start)
    );
}
