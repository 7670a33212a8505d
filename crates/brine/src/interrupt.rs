//! Ctrl-C and `SIGTERM` as a flag, for commands that have to finish something first.

use std::io::{self, IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Once};

use anyhow::Context;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;
use signal_hook::iterator::Signals;

use crate::terminal;

/// Whether the process was asked to end.
#[derive(Debug, Clone)]
pub(crate) struct Interrupt {
    flag: Arc<AtomicBool>,
    line: Arc<Once>,
}

impl Interrupt {
    /// From now on the first signal sets the flag; a second ends the process as usual, in case
    /// the flag is never checked (a write to a full pipe).
    pub(crate) fn catch() -> anyhow::Result<Self> {
        let interrupt = Self {
            flag: Arc::default(),
            line: Arc::new(Once::new()),
        };
        for signal in [SIGINT, SIGTERM] {
            flag::register_conditional_default(signal, Arc::clone(&interrupt.flag))
                .and_then(|_| flag::register(signal, Arc::clone(&interrupt.flag)))
                .context("cannot catch signals")?;
        }
        Ok(interrupt)
    }

    /// Whether a signal has arrived.
    pub(crate) fn has_come(&self) -> bool {
        let has_come = self.flag.load(Ordering::Relaxed);
        if has_come {
            // So that the prompt does not follow the terminal's `^C` on the same line.
            self.line.call_once(|| {
                if io::stderr().is_terminal() {
                    let _ = writeln!(terminal::stderr()); // a terminal that is gone needs no line
                }
            });
        }
        has_come
    }
}

/// From now on a signal, that of a closed terminal included, removes a directory and ends the
/// process: for commands whose work cannot be interrupted otherwise.
pub(crate) fn remove_on_signal(directory: PathBuf) -> anyhow::Result<()> {
    let mut signals = Signals::new([SIGHUP, SIGINT, SIGTERM]).context("cannot catch signals")?;
    std::thread::spawn(move || {
        if let Some(signal) = signals.forever().next() {
            // Scratch: what cannot be removed is the system's to clear.
            let _ = std::fs::remove_dir_all(directory);
            std::process::exit(128 + signal);
        }
    });
    Ok(())
}
