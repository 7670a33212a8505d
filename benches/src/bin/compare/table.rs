//! Results as Markdown, fit for `docs/benchmarks.md`.
//!
//! Works on the JSON that is written, so that results of several runs can be joined.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde_json::Value;

use crate::peer::PEERS;

/// All results as tables: throughput, paced loads, start, stuck readers.
pub(crate) fn markdown(measurements: &[Value]) -> String {
    let results = Results::new(measurements);
    let mut out = String::new();
    results.throughput(&mut out);
    results.paced(&mut out);
    results.start(&mut out);
    results.stuck_readers(&mut out);
    results.errors(&mut out);
    out
}

/// One measurement, shown while running.
pub(crate) fn one_line(measurement: &Value) -> String {
    if let Some(error) = measurement["error"].as_str() {
        return format!("failed: {error}");
    }
    let mut parts = Vec::new();
    let mut add = |path: &[&str], scale: f64, unit: &str| {
        if let Some(value) = number(measurement, path) {
            parts.push(format!("{} {unit}", figure(value * scale)));
        }
    };
    add(&["events_per_second"], 1.0, "ev/s");
    add(&["bus", "cpu_us_per_event"], 1.0, "us CPU");
    add(&["latency", "from_send", "p50_ns"], 1e-3, "us p50");
    add(&["generator", "others_cores"], 1.0, "cores foreign");
    add(&["first_event_s"], 1e3, "ms to start");
    if let Some(faults) = faults(measurement) {
        parts.push(faults);
    }
    parts.join(", ")
}

struct Results<'a> {
    all: &'a [Value],
    /// In the order of [`PEERS`].
    peers: Vec<&'static str>,
    /// In the order they were measured.
    cases: Vec<(&'a str, &'a str)>,
}

impl<'a> Results<'a> {
    fn new(all: &'a [Value]) -> Self {
        let named = |name: &str| all.iter().any(|one| one["peer"] == name);
        let mut cases = Vec::new();
        for one in all {
            let case = (text(one, "case"), text(one, "about"));
            if !cases.contains(&case) {
                cases.push(case);
            }
        }
        let peers = PEERS
            .iter()
            .map(|peer| peer.name)
            .filter(|name| named(name))
            .collect();
        Self { all, peers, cases }
    }

    fn throughput(&self, out: &mut String) {
        let closed = |case: &str| {
            self.of_case(case)
                .any(|one| one["load"].is_object() && one["load"]["rate"].is_null())
        };
        self.head(
            out,
            "Throughput, closed loop",
            closed,
            |this, out, case, about| {
                let title = format!("{case} {about}");
                this.row(out, &title, "ev/s", case, &["events_per_second"], 1.0);
                this.ratios(out, case, &["events_per_second"]);
                this.row(
                    out,
                    "",
                    "CPU us/event",
                    case,
                    &["bus", "cpu_us_per_event"],
                    1.0,
                );
                this.ratios(out, case, &["bus", "cpu_us_per_event"]);
                this.row(out, "", "MiB resident", case, &["bus", "rss_after"], MIB);
                this.others(out, case);
                this.faults(out, case);
            },
        );
    }

    fn paced(&self, out: &mut String) {
        let open = |case: &str| {
            self.of_case(case)
                .any(|one| one["load"]["rate"].is_number())
        };
        self.head(out, "Paced, open loop", open, |this, out, case, about| {
            let title = format!("{case} {about}");
            let from_send = |quantile| ["latency", "from_send", quantile];
            this.row(
                out,
                &title,
                "p50 us from send",
                case,
                &from_send("p50_ns"),
                1e-3,
            );
            this.ratios(out, case, &from_send("p50_ns"));
            this.row(
                out,
                "",
                "p50 us from due",
                case,
                &["latency", "from_due", "p50_ns"],
                1e-3,
            );
            this.row(
                out,
                "",
                "p99 us from due",
                case,
                &["latency", "from_due", "p99_ns"],
                1e-3,
            );
            this.row(
                out,
                "",
                "p99.9 us from due",
                case,
                &["latency", "from_due", "p999_ns"],
                1e-3,
            );
            this.row(out, "", "ev/s delivered", case, &["events_per_second"], 1.0);
            this.row(out, "", "bus cores", case, &["bus", "cores"], 1.0);
            this.row(
                out,
                "",
                "cycles/s",
                case,
                &["churn", "cycles_per_second"],
                1.0,
            );
            this.others(out, case);
            this.faults(out, case);
        });
    }

    fn start(&self, out: &mut String) {
        // Every measurement starts its peer; where `l` was requested, only those count.
        let asked = |case: &str| case == "l";
        self.head(out, "Start", asked, |this, out, case, about| {
            this.row(
                out,
                &format!("{case} {about}"),
                "ms",
                case,
                &["first_event_s"],
                1e3,
            );
        });
    }

    fn stuck_readers(&self, out: &mut String) {
        let crowded = |case: &str| self.of_case(case).any(|one| one["without"].is_array());
        self.head(
            out,
            "Subscribers that never read",
            crowded,
            |this, out, case, about| {
                let mut title = format!("{case} {about}");
                for (name, side) in [("without", "without"), ("beside them", "with")] {
                    for (what, path, scale) in [
                        ("ev/s", &["events_per_second"][..], 1.0),
                        ("p99 us", &["latency", "from_send", "p99_ns"][..], 1e-3),
                    ] {
                        let figure = |one: &Value| {
                            let runs = one[side].as_array()?;
                            spread(runs.iter().filter_map(|run| number(run, path)), scale)
                        };
                        this.any_row(out, &title, &format!("{what} {name}"), case, figure);
                        title.clear();
                    }
                }
                for (what, field) in [
                    ("MiB idle", "rss_idle"),
                    ("MiB after load alone", "rss_loaded"),
                    ("MiB connected", "rss_connected"),
                    ("MiB after load beside them", "rss_stuck"),
                    ("MiB after they left", "rss_left"),
                ] {
                    this.row(out, "", what, case, &[field], MIB);
                }
                this.row(
                    out,
                    "",
                    "cores, all connected, no event",
                    case,
                    &["idle_cores"],
                    1.0,
                );
            },
        );
    }

    fn errors(&self, out: &mut String) {
        let failed = self.all.iter().filter(|one| one["error"].is_string());
        for one in failed {
            let (peer, case) = (text(one, "peer"), text(one, "case"));
            line(out, &format!("\n{peer}, {case}: {}", text(one, "error")));
        }
    }

    fn head(
        &self,
        out: &mut String,
        title: &str,
        wanted: impl Fn(&str) -> bool,
        rows: impl Fn(&Self, &mut String, &str, &str),
    ) {
        let cases: Vec<_> = self.cases.iter().filter(|(case, _)| wanted(case)).collect();
        if cases.is_empty() {
            return;
        }
        line(out, &format!("\n### {title}\n"));
        line(out, &format!("| case | | {} |", self.peers.join(" | ")));
        line(
            out,
            &format!("|---|---|{}", "---|".repeat(self.peers.len())),
        );
        for (case, about) in cases {
            rows(self, out, case, about);
        }
    }

    /// Median, least and most of one figure, per peer.
    fn row(
        &self,
        out: &mut String,
        title: &str,
        what: &str,
        case: &str,
        path: &[&str],
        scale: f64,
    ) {
        let cells: Vec<_> = self
            .peers
            .iter()
            .map(|peer| spread(self.figures(peer, case, path), scale).unwrap_or_default())
            .collect();
        if cells.iter().any(|cell| !cell.is_empty()) {
            line(
                out,
                &format!("| {title} | {what} | {} |", cells.join(" | ")),
            );
        }
    }

    fn any_row(
        &self,
        out: &mut String,
        title: &str,
        what: &str,
        case: &str,
        figure: impl Fn(&Value) -> Option<String>,
    ) {
        let cell = |peer: &&str| self.of(peer, case).find_map(&figure).unwrap_or_default();
        let cells: Vec<_> = self.peers.iter().map(cell).collect();
        line(
            out,
            &format!("| {title} | {what} | {} |", cells.join(" | ")),
        );
    }

    /// The first peer's median as a multiple of each other's.
    fn ratios(&self, out: &mut String, case: &str, path: &[&str]) {
        let [first, others @ ..] = self.peers.as_slice() else {
            return;
        };
        let Some(own) = median(self.figures(first, case, path)) else {
            return;
        };
        let cells: Vec<_> = others
            .iter()
            .map(|peer| median(self.figures(peer, case, path)).filter(|theirs| *theirs > 0.0))
            .map(|theirs| theirs.map_or(String::new(), |theirs| figure(own / theirs)))
            .collect();
        line(
            out,
            &format!("| | {first} : each | 1 | {} |", cells.join(" | ")),
        );
    }

    /// How many cores others took, in cases in which they took enough to matter.
    fn others(&self, out: &mut String, case: &str) {
        const MATTERS: f64 = 0.15;
        let path = ["generator", "others_cores"];
        let mut taken = self.of_case(case).filter_map(|one| number(one, &path));
        if taken.any(|cores| cores > MATTERS) {
            self.row(out, "", "cores taken by others", case, &path, 1.0);
        }
    }

    fn faults(&self, out: &mut String, case: &str) {
        let cell = |peer: &&str| {
            let found: Vec<_> = self.of(peer, case).filter_map(faults).collect();
            found.join("; ")
        };
        let cells: Vec<_> = self.peers.iter().map(cell).collect();
        if cells.iter().any(|cell| !cell.is_empty()) {
            line(out, &format!("| | faults | {} |", cells.join(" | ")));
        }
    }

    fn figures(&self, peer: &str, case: &str, path: &[&str]) -> impl Iterator<Item = f64> {
        self.of(peer, case).filter_map(move |one| number(one, path))
    }

    fn of(&self, peer: &str, case: &str) -> impl Iterator<Item = &'a Value> {
        self.of_case(case).filter(move |one| one["peer"] == peer)
    }

    fn of_case(&self, case: &str) -> impl Iterator<Item = &'a Value> {
        self.all.iter().filter(move |one| one["case"] == case)
    }
}

const MIB: f64 = 1.0 / 1_048_576.0;

/// What went wrong in one measurement, if anything did.
fn faults(measurement: &Value) -> Option<String> {
    let named: BTreeMap<_, _> = measurement["faults"]
        .as_object()?
        .iter()
        .filter_map(|(what, events)| Some((what.as_str(), events.as_u64()?)))
        .filter(|(_, events)| *events > 0)
        .collect();
    let parts: Vec<_> = named
        .iter()
        .map(|(what, events)| format!("{events} {what}"))
        .collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}

/// `median (least-most)`, or the one value there is.
fn spread(values: impl Iterator<Item = f64>, scale: f64) -> Option<String> {
    let values: Vec<f64> = values.map(|value| value * scale).collect();
    let middle = median(values.iter().copied())?;
    let least = values.iter().copied().fold(f64::INFINITY, f64::min);
    let most = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    Some(match values.len() {
        1 => figure(middle),
        _ => format!("{} ({}-{})", figure(middle), figure(least), figure(most)),
    })
}

fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        odd if odd % 2 == 1 => Some(values[middle]),
        _ => Some(f64::midpoint(values[middle - 1], values[middle])),
    }
}

/// Three digits, with k and M.
fn figure(value: f64) -> String {
    let (value, unit) = match value {
        value if value >= 999_500.0 => (value / 1e6, "M"),
        value if value >= 9_995.0 => (value / 1e3, "k"),
        value => (value, ""),
    };
    let digits = match value {
        value if value >= 99.95 => 0,
        value if value >= 9.995 => 1,
        value if value >= 0.995 => 2,
        _ => 3,
    };
    format!("{value:.digits$}{unit}")
}

fn number(value: &Value, path: &[&str]) -> Option<f64> {
    path.iter()
        .try_fold(value, |value, key| value.get(key))?
        .as_f64()
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

fn line(out: &mut String, text: &str) {
    // Writing to a String cannot fail.
    let _ = writeln!(out, "{text}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn measurement(peer: &str, events_per_second: f64, lost: u64) -> Value {
        json!({
            "peer": peer, "case": "a", "about": "256 B 1>1",
            "load": { "rate": null },
            "events_per_second": events_per_second,
            "bus": { "cpu_us_per_event": 1.5, "rss_after": 2 << 20 },
            "faults": { "lost": lost, "owed": 0 },
        })
    }

    #[test]
    fn states_medians_ranges_ratios_and_faults() {
        let measurements = [
            measurement("relay", 1e6, 0),
            measurement("brine", 9e5, 0),
            measurement("brine", 7e5, 3),
            measurement("brine", 8e5, 0),
            json!({ "peer": "nats", "case": "a", "about": "256 B 1>1", "error": "no" }),
        ];
        let expected = "
### Throughput, closed loop

| case | | brine | nats | relay |
|---|---|---|---|---|
| a 256 B 1>1 | ev/s | 800k (700k-900k) |  | 1.00M |
| | brine : each | 1 |  | 0.800 |
|  | CPU us/event | 1.50 (1.50-1.50) |  | 1.50 |
| | brine : each | 1 |  | 1.00 |
|  | MiB resident | 2.00 (2.00-2.00) |  | 2.00 |
| | faults | 3 lost |  |  |

nats, a: no
";
        assert_eq!(markdown(&measurements), expected);
    }

    #[test]
    fn figures_have_three_digits() {
        for (value, text) in [
            (0.085, "0.085"),
            (0.996, "1.00"),
            (74.66, "74.7"),
            (99.97, "100"),
            (3912.0, "3912"),
            (13_340.0, "13.3k"),
            (999_600.0, "1.00M"),
        ] {
            assert_eq!(figure(value), text);
        }
    }
}
