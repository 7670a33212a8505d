//! A whole site beside real Salt's: a master and a minion that is connected to it.
//!
//! Each round starts both sites in turn, never together, and asks the same of each: how much memory
//! they hold, how long `salt-call event.send` takes from start to exit, how fast events of a program on
//! the minion reach the master's bus, and what the fleet simulator (`brine bench fleet`) gets out of the
//! master. Medians and ratios are printed; what is measured
//! and how: `docs/benchmarks.md`.
//!
//!     cargo build --release && cargo run --release -p brine-benches --bin site

mod fleet;
mod memory;
mod node;
mod program;

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use serde_json::{Value, json};

use crate::node::{Kind, Site, Transport};

/// Measure a master and a minion beside real Salt's.
#[derive(Debug, Parser)]
struct Arguments {
    /// Who is measured, in this order: brine, an earlier commit's as target/release/brine-before, or a release such as 3008.3
    #[arg(long, value_delimiter = ',', default_value = "brine,3008.3")]
    sites: Vec<String>,
    /// Between minion and master
    #[arg(long, value_enum, default_value_t = Transport::Tcp)]
    transport: Transport,
    /// How often each site is started
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Calls of `salt-call event.send` per round
    #[arg(long, default_value_t = 5)]
    calls: usize,
    /// Simulated minions of the small fleet
    #[arg(long, default_value_t = 100)]
    minions: usize,
    /// Events of each fleet run
    #[arg(long, default_value_t = 5_000)]
    events: usize,
    /// Events that a program fires on the minion's bus for the master
    #[arg(long, default_value_t = 1_000)]
    program_events: usize,
    /// Where the results go, as JSON
    #[arg(long, default_value = "target/bench/site.json")]
    out: PathBuf,
}

/// What was measured, by name, in the order of the rounds; one list per site.
type Figures = BTreeMap<String, Vec<f64>>;

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let kinds: Vec<_> = arguments
        .sites
        .iter()
        .map(|name| Kind::named(name))
        .collect();
    let mut found: Vec<Figures> = kinds.iter().map(|_| Figures::new()).collect();
    for round in 0..arguments.rounds {
        for (kind, figures) in kinds.iter().zip(&mut found) {
            progress(&format!(
                "round {} of {}: {kind}",
                round + 1,
                arguments.rounds
            ));
            measure(kind, &arguments, figures).with_context(|| kind.to_string())?;
        }
        save(&arguments, &kinds, &found)?;
    }
    print(&table(&kinds, &found));
    Ok(())
}

fn measure(kind: &Kind, arguments: &Arguments, figures: &mut Figures) -> Result<()> {
    let mut note = |name: &str, value: f64| {
        progress(&format!("  {name}: {value:.3}"));
        figures.entry(name.to_owned()).or_default().push(value);
    };
    let site = Site::start(kind, arguments.transport)?;
    note(
        "start of the minion to its first answer, s",
        site.started_in.as_secs_f64(),
    );
    for _ in 0..arguments.calls {
        note("salt-call event.send, ms", call(&site)?.as_secs_f64() * 1e3);
    }
    let mebibytes = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    note(
        "master memory, MiB",
        mebibytes(memory::of_tree(site.master.pid())),
    );
    note(
        "minion memory, MiB",
        mebibytes(memory::of_tree(site.minion.pid())),
    );
    let (came, rate) = program::measure(&site, arguments.program_events)?;
    note(
        "events of a program on the minion, a second on the master's bus",
        rate,
    );
    note("of those lost", (arguments.program_events - came) as f64);
    for (name, value) in fleet::measure(&site, arguments.minions, arguments.events)? {
        note(&name, value);
    }
    note(
        "master memory after the fleet, MiB",
        mebibytes(memory::of_tree(site.master.pid())),
    );
    Ok(())
}

/// One `salt-call event.send`, from its start to its exit.
fn call(site: &Site) -> Result<Duration> {
    let mut command: Command = site.program("salt-call");
    command
        .args([
            "event.send",
            "bench/call",
            "{success: True, message: 'It works!'}",
        ])
        .stdin(Stdio::null())
        .stderr(Stdio::null());
    let started = Instant::now();
    let output = command.output().context("salt-call")?;
    let took = started.elapsed();
    let text = String::from_utf8_lossy(&output.stdout);
    ensure!(
        output.status.success() && text.contains("True"),
        "expected salt-call to print True, found {text:?}"
    );
    Ok(took)
}

fn save(arguments: &Arguments, kinds: &[Kind], found: &[Figures]) -> Result<()> {
    if let Some(folder) = arguments.out.parent() {
        fs::create_dir_all(folder)?;
    }
    let sites: Vec<Value> = kinds
        .iter()
        .zip(found)
        .map(|(kind, figures)| json!({ "site": kind.to_string(), "figures": figures }))
        .collect();
    let all = json!({ "transport": format!("{:?}", arguments.transport), "sites": sites });
    fs::write(&arguments.out, serde_json::to_vec_pretty(&all)?)
        .with_context(|| format!("{}: cannot write", arguments.out.display()))
}

/// Medians, their ranges, and the ratio of each site to the first.
fn table(kinds: &[Kind], found: &[Figures]) -> String {
    let mut text = String::from("| |");
    for kind in kinds {
        text += &format!(" {kind} |");
    }
    text += &format!("\n|---|{}\n", "---:|".repeat(kinds.len()));
    let Some(first) = found.first() else {
        return text;
    };
    for (name, values) in first {
        text += &format!("| {name} |");
        let base = median(values);
        for (at, figures) in found.iter().enumerate() {
            text += &match figures.get(name).map(Vec::as_slice) {
                None | Some([]) => " – |".to_owned(),
                Some(values) if at == 0 => format!(" {} |", spread(values)),
                Some(values) => format!(" {}{} |", spread(values), factor(median(values), base)),
            };
        }
        text.push('\n');
    }
    text
}

/// How many times `base` a figure is, or which part of it; nothing beside zero.
fn factor(value: f64, base: f64) -> String {
    match (value, base) {
        (value, base) if value <= 0.0 || base <= 0.0 => String::new(),
        (value, base) if value >= base => format!(" ({:.1} x)", value / base),
        (value, base) => format!(" (1/{:.1} x)", base / value),
    }
}

fn spread(values: &[f64]) -> String {
    let least = values.iter().copied().fold(f64::INFINITY, f64::min);
    let most = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let show = |value: f64| {
        if value >= 100.0 {
            format!("{value:.0}")
        } else {
            format!("{value:.2}")
        }
    };
    format!("{} [{}..{}]", show(median(values)), show(least), show(most))
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

#[expect(clippy::print_stdout, reason = "the result is this program's output")]
fn print(text: &str) {
    print!("{text}");
}

#[expect(clippy::print_stderr, reason = "a run takes minutes; say where it is")]
fn progress(text: &str) {
    eprintln!("{text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_shows_medians_with_ranges_and_ratios_to_the_first() {
        let kinds = [Kind::named("brine"), Kind::named("3008.3")];
        let figures = |values: &[f64]| Figures::from([("x".to_owned(), values.to_vec())]);
        let more = table(&kinds, &[figures(&[1.0, 3.0, 2.0]), figures(&[200.0])]);
        assert!(
            more.ends_with("| x | 2.00 [1.00..3.00] | 200 [200..200] (100.0 x) |\n"),
            "{more}"
        );
        let less = table(&kinds, &[figures(&[50.0]), figures(&[2.0])]);
        assert!(
            less.ends_with("| 2.00 [2.00..2.00] (1/25.0 x) |\n"),
            "{less}"
        );
        let none = table(&kinds, &[figures(&[0.0]), figures(&[0.0])]);
        assert!(none.ends_with("| 0.00 [0.00..0.00] |\n"), "{none}");
    }
}
