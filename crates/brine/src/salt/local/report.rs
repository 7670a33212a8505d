//! What `salt` prints of a job: returns as they come, what became of the others, the summary.
//! Facts: Salt 3008.3 and 3006.28 as they behave.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::process::ExitCode;

use brine_wire::{Map, Value};

use crate::salt::output::Printer;

/// Salt's code when nothing came back.
const NO_RETURN: u8 = 2;

/// What is heard of one minion.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Heard {
    pub(crate) id: String,
    /// The return value, or why there is none.
    pub(crate) ret: Value,
    /// The outputter that suits it.
    pub(crate) out: Option<String>,
    pub(crate) retcode: i64,
    pub(crate) came: Came,
}

/// Whether a minion returned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Came {
    Returned,
    NotConnected,
    NoResponse,
}

impl Heard {
    /// A return, as it stands in the event.
    pub(crate) fn returned(id: &str, ret: &Map) -> Self {
        let value = ret.get("ret").or(ret.get("return"));
        Self {
            id: id.to_owned(),
            ret: value.cloned().unwrap_or(Value::Nil),
            out: ret.get("out").and_then(Value::as_str).map(str::to_owned),
            retcode: retcode(ret),
            came: Came::Returned,
        }
    }

    /// A minion that is not connected to the master.
    pub(crate) fn not_connected(id: &str) -> Self {
        Self {
            id: id.to_owned(),
            ret: "Minion did not return. [Not connected]".into(),
            out: Some("no_return".to_owned()),
            retcode: 1,
            came: Came::NotConnected,
        }
    }

    /// A minion of which nothing is heard.
    pub(crate) fn no_response(id: &str, jid: &str) -> Self {
        Self {
            ret: format!(
                "Minion did not return. [No response]\n\
                 The minions may not have all finished running and any remaining minions will \
                 return upon completion. To look up the return data for this job later, run the \
                 following command:\n\nsalt-run jobs.lookup_jid {jid}"
            )
            .into(),
            came: Came::NoResponse,
            ..Self::not_connected(id)
        }
    }
}

/// A return's exit code: of several functions the largest.
fn retcode(ret: &Map) -> i64 {
    let number = |value: &Value| value.as_int().and_then(|code| i64::try_from(code).ok());
    match ret.get("retcode") {
        Some(Value::Map(codes)) => codes
            .iter()
            .filter_map(|(_, code)| number(code))
            .max()
            .unwrap_or_default(),
        Some(code) => number(code).unwrap_or_default(),
        None => 0,
    }
}

/// What is printed when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// Each return as it comes.
    Streamed,
    /// All returns at the end, as one mapping.
    Static,
    /// The documentation that the returns bring, at the end.
    Docs,
}

/// A job's outcome so far.
pub(super) struct Report<'a> {
    printer: &'a Printer,
    mode: Mode,
    heard: Vec<Heard>,
}

impl<'a> Report<'a> {
    pub(super) const fn new(printer: &'a Printer, mode: Mode) -> Self {
        Self {
            printer,
            mode,
            heard: Vec::new(),
        }
    }

    /// Takes and perhaps prints what is heard of a minion.
    pub(super) fn hear(&mut self, heard: Heard) -> anyhow::Result<()> {
        if self.mode == Mode::Streamed {
            let one = Map::from_iter([(heard.id.as_str(), heard.ret.clone())]);
            self.printer
                .print(&one.into(), heard.out.as_deref(), heard.retcode)?;
        }
        self.heard.push(heard);
        Ok(())
    }

    /// Prints what is left to print; the exit code.
    pub(super) fn end(self) -> anyhow::Result<ExitCode> {
        match self.mode {
            Mode::Streamed if self.heard.is_empty() => self.nothing(),
            Mode::Streamed => self.code(),
            Mode::Static => {
                let returned = self.heard.iter();
                let returned = returned.filter(|heard| heard.came == Came::Returned);
                let all: Map = returned
                    .map(|heard| (heard.id.as_str(), heard.ret.clone()))
                    .collect();
                if all.is_empty() {
                    return self.nothing();
                }
                let out = self.heard.iter().find_map(|heard| heard.out.as_deref());
                let out = out.filter(|out| *out == "highstate");
                self.printer.print(&all.into(), out, 0)?;
                Ok(ExitCode::SUCCESS)
            }
            Mode::Docs => self.docs(),
        }
    }

    fn nothing(&self) -> anyhow::Result<ExitCode> {
        self.printer.print(&Map::new().into(), None, 0)?;
        writeln!(io::stderr(), "ERROR: No return received")?;
        Ok(ExitCode::from(NO_RETURN))
    }

    fn code(&self) -> anyhow::Result<ExitCode> {
        if self.heard.iter().all(|heard| heard.retcode == 0) {
            return Ok(ExitCode::SUCCESS);
        }
        writeln!(
            io::stderr(),
            "ERROR: Minions returned with non-zero exit code"
        )?;
        Ok(ExitCode::FAILURE)
    }

    /// The documentation of each function, from whichever minion brings it first.
    fn docs(&self) -> anyhow::Result<ExitCode> {
        let mut docs = BTreeMap::new();
        let returned = self.heard.iter();
        for heard in returned.filter(|heard| heard.came == Came::Returned) {
            let Value::Map(own) = &heard.ret else {
                continue;
            };
            for (fun, doc) in own {
                if let (Value::Str(fun), true) = (fun, doc.is_true()) {
                    docs.entry(fun.as_str()).or_insert(doc);
                }
            }
        }
        if self.heard.is_empty() {
            writeln!(io::stderr(), "No minions found to gather docs from")?;
            return Ok(ExitCode::from(NO_RETURN));
        }
        for (fun, doc) in docs {
            let doc = crate::salt::python::str(doc);
            writeln!(io::stdout(), "{fun}:\n{doc}\n")?;
        }
        Ok(ExitCode::SUCCESS)
    }

    /// `--summary`; with `--verbose`, by name.
    pub(super) fn summary(&self, names: bool) -> io::Result<()> {
        let of = |came: Came| {
            let all = self.heard.iter().filter(move |heard| heard.came == came);
            all.map(|heard| heard.id.as_str()).collect::<Vec<_>>()
        };
        let (returned, not_connected) = (of(Came::Returned), of(Came::NotConnected));
        let no_response = of(Came::NoResponse);
        let failed = self.heard.iter();
        let failed = failed.filter(|heard| heard.came == Came::Returned && heard.retcode != 0);
        let failed: Vec<_> = failed.map(|heard| heard.id.as_str()).collect();
        let mut out = io::stdout().lock();
        let line = "-------------------------------------------";
        writeln!(out, "\n\n{line}\nSummary\n{line}")?;
        writeln!(out, "# of minions targeted: {}", self.heard.len())?;
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
