//! Prints a job's results: returns as they arrive, minions that did not return, the summary.
//! Facts: Salt 3008.3 and 3006.28 as they behave.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::process::ExitCode;

use brine_node::client::{MinionReply, ReplyKind};
use brine_wire::{Map, Value};

use crate::salt::output::Printer;
use crate::terminal;

/// Salt's exit code when no minion returned.
const NO_RETURN: u8 = 2;

/// What is printed, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// Each return when it arrives.
    Streamed,
    /// All returns at the end, as one mapping.
    Static,
    /// The documentation in the returns, at the end.
    Docs,
}

/// Says that nothing came back; the exit code.
pub(super) fn no_return() -> anyhow::Result<ExitCode> {
    writeln!(terminal::stderr(), "ERROR: No return received")?;
    Ok(ExitCode::from(NO_RETURN))
}

/// The replies to a job so far.
pub(super) struct Report<'a> {
    printer: &'a Printer,
    mode: Mode,
    replies: Vec<MinionReply>,
}

impl<'a> Report<'a> {
    pub(super) const fn new(printer: &'a Printer, mode: Mode) -> Self {
        Self {
            printer,
            mode,
            replies: Vec::new(),
        }
    }

    /// Adds a minion's reply, and prints it if the mode requires it.
    pub(super) fn add(&mut self, reply: MinionReply) -> anyhow::Result<()> {
        if self.mode == Mode::Streamed {
            let one = Map::from_iter([(reply.id.as_str(), reply.ret.clone())]);
            self.printer
                .print(&one.into(), reply.out.as_deref(), reply.retcode)?;
        }
        self.replies.push(reply);
        Ok(())
    }

    /// Prints the rest; returns the exit code.
    pub(super) fn end(self) -> anyhow::Result<ExitCode> {
        match self.mode {
            Mode::Streamed if self.replies.is_empty() => self.nothing(),
            Mode::Streamed => self.code(),
            Mode::Static => {
                let returned = self.replies.iter();
                let returned = returned.filter(|reply| reply.kind == ReplyKind::Returned);
                let all: Map = returned
                    .map(|reply| (reply.id.as_str(), reply.ret.clone()))
                    .collect();
                if all.is_empty() {
                    return self.nothing();
                }
                let out = self.replies.iter().find_map(|reply| reply.out.as_deref());
                let out = out.filter(|out| *out == "highstate");
                self.printer.print(&all.into(), out, 0)?;
                Ok(ExitCode::SUCCESS)
            }
            Mode::Docs => self.docs(),
        }
    }

    fn nothing(&self) -> anyhow::Result<ExitCode> {
        self.printer.print(&Map::new().into(), None, 0)?;
        no_return()
    }

    fn code(&self) -> anyhow::Result<ExitCode> {
        if self.replies.iter().all(|reply| reply.retcode == 0) {
            return Ok(ExitCode::SUCCESS);
        }
        writeln!(
            terminal::stderr(),
            "ERROR: Minions returned with non-zero exit code"
        )?;
        Ok(ExitCode::FAILURE)
    }

    /// The documentation of each function, from the first minion that has it.
    fn docs(&self) -> anyhow::Result<ExitCode> {
        let mut docs = BTreeMap::new();
        let returned = self.replies.iter();
        for reply in returned.filter(|reply| reply.kind == ReplyKind::Returned) {
            let Value::Map(own) = &reply.ret else {
                continue;
            };
            for (fun, doc) in own {
                if let (Value::Str(fun), true) = (fun, doc.is_true()) {
                    docs.entry(fun.as_str()).or_insert(doc);
                }
            }
        }
        if self.replies.is_empty() {
            writeln!(terminal::stderr(), "No minions found to gather docs from")?;
            return Ok(ExitCode::from(NO_RETURN));
        }
        for (fun, doc) in docs {
            let doc = crate::salt::python::str(doc);
            writeln!(terminal::stdout(), "{fun}:\n{doc}\n")?;
        }
        Ok(ExitCode::SUCCESS)
    }

    /// `--summary`; with `--verbose`, by name.
    pub(super) fn summary(&self, names: bool) -> io::Result<()> {
        let of = |kind: ReplyKind| {
            let all = self.replies.iter().filter(move |reply| reply.kind == kind);
            all.map(|reply| reply.id.as_str()).collect::<Vec<_>>()
        };
        let (returned, not_connected) = (of(ReplyKind::Returned), of(ReplyKind::NotConnected));
        let no_response = of(ReplyKind::NoResponse);
        let failed = self.replies.iter();
        let failed = failed.filter(|reply| reply.kind == ReplyKind::Returned && reply.retcode != 0);
        let failed: Vec<_> = failed.map(|reply| reply.id.as_str()).collect();
        let mut out = terminal::stdout();
        let line = "-------------------------------------------";
        writeln!(out, "\n\n{line}\nSummary\n{line}")?;
        writeln!(out, "# of minions targeted: {}", self.replies.len())?;
        writeln!(out, "# of minions returned: {}", returned.len())?;
        let silent = not_connected.len() + no_response.len();
        writeln!(out, "# of minions that did not return: {silent}")?;
        writeln!(out, "# of minions with errors: {}", failed.len())?;
        for (what, ids) in [
            ("not connected", not_connected),
            ("not responding", no_response),
            ("with failures", failed),
        ] {
            if names && !ids.is_empty() {
                writeln!(out, "Minions {what}: {}", ids.join(" "))?;
            }
        }
        writeln!(out, "{line}")
    }
}
