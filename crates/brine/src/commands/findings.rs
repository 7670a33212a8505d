//! What `brine check` and `brine doctor` found: for people, as JSON, and as an exit code.

use std::collections::HashSet;
use std::io::{self, Write};
use std::process::ExitCode;

use brine_config::{Remark, Severity};
use brine_view::text::counted;
use brine_wire::{Map, Value, json};

use crate::show::{self, Colour};
use crate::terminal;

/// Something that is wrong, odd or good to know, and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) severity: Severity,
    /// A word for programs.
    pub(crate) kind: &'static str,
    /// A file with its line, a path, a port: whatever it is about.
    pub(crate) place: String,
    pub(crate) text: String,
    pub(crate) remedy: String,
}

#[allow(clippy::needless_pass_by_value)] // what is displayed is made for it, at every call
impl Finding {
    pub(crate) fn error(kind: &'static str, place: impl ToString) -> Self {
        Self {
            severity: Severity::Error,
            kind,
            place: place.to_string(),
            text: String::new(),
            remedy: String::new(),
        }
    }

    pub(crate) fn warning(kind: &'static str, place: impl ToString) -> Self {
        Self {
            severity: Severity::Warning,
            ..Self::error(kind, place)
        }
    }

    pub(crate) fn note(kind: &'static str, place: impl ToString) -> Self {
        Self {
            severity: Severity::Note,
            ..Self::error(kind, place)
        }
    }

    /// What is wrong, and what to do about it.
    pub(crate) fn says(mut self, text: impl Into<String>, remedy: impl Into<String>) -> Self {
        (self.text, self.remedy) = (text.into(), remedy.into());
        self
    }
}

impl From<Remark> for Finding {
    fn from(remark: Remark) -> Self {
        Self {
            severity: remark.severity,
            kind: remark.kind,
            place: remark
                .place
                .map(|place| place.to_string())
                .unwrap_or_default(),
            text: remark.text,
            remedy: remark.remedy,
        }
    }
}

/// How findings are shown.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct ShowArgs {
    /// One JSON object: {"findings": [{"severity", "kind", "place", "text", "remedy"}, …]}
    #[arg(long)]
    json: bool,
    /// Treat warnings as errors: exit code 1
    #[arg(long)]
    strict: bool,
    /// Colours
    #[arg(long, value_name = "WHEN", value_enum, default_value_t)]
    color: Colour,
}

impl ShowArgs {
    /// Prints findings, worst first; what they mean for scripts.
    pub(crate) fn print(
        &self,
        mut findings: Vec<Finding>,
        looked_at: &str,
    ) -> anyhow::Result<ExitCode> {
        findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
        // What was found in two ways is said once, by the worst.
        let mut said = HashSet::new();
        findings.retain(|finding| said.insert((finding.place.clone(), finding.text.clone())));
        let mut out = terminal::stdout();
        if self.json {
            writeln!(out, "{}", to_json(&findings))?;
        } else {
            let colour = self.color.on_stdout();
            for finding in &findings {
                print_one(finding, colour, &mut out)?;
            }
            let count = |severity| {
                findings
                    .iter()
                    .filter(|one| one.severity == severity)
                    .count()
            };
            let summary = format!(
                "{looked_at}: {}, {}, {}",
                counted(count(Severity::Error), "error"),
                counted(count(Severity::Warning), "warning"),
                counted(count(Severity::Note), "note")
            );
            out.prose(&summary, 2)?;
        }
        let limit = if self.strict {
            Severity::Warning
        } else {
            Severity::Error
        };
        let is_bad = findings.iter().any(|finding| finding.severity >= limit);
        Ok(if is_bad {
            ExitCode::FAILURE
        } else {
            ExitCode::SUCCESS
        })
    }
}

fn print_one(
    finding: &Finding,
    colour: bool,
    out: &mut terminal::Shown<io::Stdout>,
) -> io::Result<()> {
    let (word, style) = match finding.severity {
        Severity::Error => ("error", "1;31"),
        Severity::Warning => ("warning", "33"),
        Severity::Note => ("note", "2"),
    };
    let place = match finding.place.as_str() {
        "" => String::new(),
        place => format!("{}: ", show::visible(place)),
    };
    // Texts of libraries begin with the file, too.
    let text = show::visible(without_place(&finding.text, &finding.place));
    let word = match colour {
        true => format!("\x1b[{style}m{word:<8}\x1b[0m"),
        false => format!("{word:<8}"),
    };
    let line = format!("{word} {place}{text}");
    out.prose(&line, 9)?;
    if !finding.remedy.is_empty() {
        let remedy = format!("         → {}", show::visible(&finding.remedy));
        out.prose(&remedy, 2)?;
    }
    Ok(())
}

/// `/etc/salt/master: line 12, column 5: not YAML` at `/etc/salt/master:12` is `column 5: not YAML`.
fn without_place<'a>(text: &'a str, place: &str) -> &'a str {
    let after = |text: &'a str, start: &str| text.strip_prefix(start);
    if let Some(rest) = after(text, place).and_then(|rest| after(rest, ": ")) {
        return rest;
    }
    let rest = place.rsplit_once(':').and_then(|(file, line)| {
        let rest = after(text, file)?.strip_prefix(": ")?;
        let rest = after(rest, "line ")?.strip_prefix(line)?;
        rest.strip_prefix(", ").or(rest.strip_prefix(": "))
    });
    rest.unwrap_or(text)
}

fn to_json(findings: &[Finding]) -> String {
    let all: Vec<Value> = findings
        .iter()
        .map(|finding| {
            let severity = match finding.severity {
                Severity::Error => "error",
                Severity::Warning => "warning",
                Severity::Note => "note",
            };
            let map: Map = [
                ("severity", severity),
                ("kind", finding.kind),
                ("place", &finding.place),
                ("text", &finding.text),
                ("remedy", &finding.remedy),
            ]
            .into_iter()
            .collect();
            map.into()
        })
        .collect();
    let mut object = Map::new();
    object.insert("findings", all);
    let mut text = String::new();
    json::to_line(&object.into(), &mut text);
    text
}
