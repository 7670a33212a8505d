//! How many states succeeded and failed, how long they took: the summary of a minion.

use brine_wire::{Map, Value};

use crate::salt::output::Style;
use crate::salt::python;

/// The longest label, `Succeeded`, with what follows it.
const LABEL: usize = 9 + 2;

/// The states of a minion by result.
#[derive(Debug, Default)]
pub(super) struct Counts {
    succeeded: Option<usize>,
    failed: Option<usize>,
    /// With `test=True`.
    not_run: Option<usize>,
    /// Of results that no state should have, by Python's text for them.
    others: Vec<(String, usize)>,
    pub(super) warnings: usize,
    /// Milliseconds of states that ran one after another, and of those that ran in parallel.
    durations: Vec<f64>,
    parallel: Vec<f64>,
}

impl Counts {
    /// Counts a result; `None` for one that Python cannot count by.
    pub(super) fn add(&mut self, result: &Value, count: usize) -> Option<()> {
        let place = match result {
            Value::Nil => &mut self.not_run,
            Value::Array(_) | Value::Map(_) => return None,
            result if python::compare(result, &Value::Bool(true)).is_some_and(|o| o.is_eq()) => {
                &mut self.succeeded
            }
            result if is_zero(result) => &mut self.failed,
            result => {
                let text = python::repr(result);
                match self.others.iter_mut().find(|(known, _)| *known == text) {
                    Some((_, known)) => *known += count,
                    None => self.others.push((text, count)),
                }
                return Some(());
            }
        };
        *place = Some(place.unwrap_or(0) + count);
        Some(())
    }

    /// Adds how long a state took; `None` if Python stops at it.
    pub(super) fn add_duration(&mut self, ret: &Map) -> Option<()> {
        const ZERO: Value = Value::Int(0);
        let duration = ret.get("duration").unwrap_or(&ZERO);
        let milliseconds = match duration {
            Value::Str(text) => {
                let number = text.split(" ms").next().unwrap_or_default();
                let milliseconds = text.trim().parse().or_else(|_| number.trim().parse());
                if milliseconds.is_err() {
                    tracing::error!("Cannot parse a float from duration {text}");
                }
                milliseconds.ok()
            }
            other => Some(float(other)?),
        };
        let all = match ret.get("__parallel__") {
            Some(_) => &mut self.parallel,
            None => &mut self.durations,
        };
        all.extend(milliseconds);
        Some(())
    }

    /// The lines of the summary.
    pub(super) fn summary(&self, id: &Value, changes: usize, style: Style<'_>) -> Vec<String> {
        let colours = style.colours;
        let end = colours.end;
        let width = LABEL + self.digits();
        let line = "-".repeat(width);
        let count = |colour: &str, label: &str, count: String| {
            let rest = width - label.len() - 2;
            format!("{colour}{label}: {count:>rest$}{end}")
        };
        let (succeeded, failed) = (
            self.succeeded.unwrap_or(0) + self.not_run.unwrap_or(0),
            self.failed.unwrap_or(0),
        );
        let failure = if failed > 0 {
            colours.red
        } else {
            colours.cyan
        };
        let mut lines = vec![
            format!(
                "{}\nSummary for {}\n{line}{end}",
                colours.cyan,
                python::str(id)
            ),
            count(colours.green, "Succeeded", succeeded.to_string()) + &self.notes(changes, style),
            count(failure, "Failed", failed.to_string()),
        ];
        let total = self.total();
        if style.states.percentages && total > 0 {
            lines.push(count(colours.green, "Success %", percent(succeeded, total)));
            lines.push(count(failure, "Failure %", percent(failed, total)));
        }
        if self.warnings > 0 {
            let warnings = self.warnings.to_string();
            lines.push(count(colours.light_red, "Warnings", warnings));
        }
        let rest = width - 7;
        lines.push(format!(
            "{}{line}\nTotal states run: {total:>rest$}{end}",
            colours.cyan
        ));
        if style.states.profile {
            lines.push(self.run_time(width, style));
        }
        lines
    }

    /// `(unchanged=1, changed=2)`.
    fn notes(&self, changes: usize, style: Style<'_>) -> String {
        let colours = style.colours;
        let end = colours.end;
        let mut notes = Vec::new();
        if let Some(not_run) = self.not_run.filter(|count| *count > 0) {
            let colour = colours.light_yellow;
            notes.push(format!("{colour}unchanged={not_run}{end}"));
        }
        if changes > 0 {
            notes.push(format!("{}changed={changes}{end}", colours.green));
        }
        if notes.is_empty() {
            return String::new();
        }
        format!(" ({})", notes.join(", "))
    }

    fn run_time(&self, width: usize, style: Style<'_>) -> String {
        let longest = self.parallel.iter().copied().reduce(f64::max);
        let sum = self.durations.iter().sum::<f64>() + longest.unwrap_or(0.0);
        let (sum, unit) = if sum > 999.0 {
            (sum / 1000.0, "s")
        } else {
            (sum, "ms")
        };
        let rest = width - 5;
        let (colour, end) = (style.colours.cyan, style.colours.end);
        format!(
            "{colour}Total run time: {:>rest$} {unit}{end}",
            format!("{sum:.3}")
        )
    }

    fn total(&self) -> usize {
        let named = [self.succeeded, self.failed, self.not_run];
        let others = self.others.iter().map(|(_, count)| count);
        named.into_iter().flatten().sum::<usize>() + others.sum::<usize>()
    }

    /// The digits of the largest count.
    fn digits(&self) -> usize {
        let named = [self.succeeded, self.failed, self.not_run];
        let others = self.others.iter().map(|(_, count)| *count);
        let warnings = Some(self.warnings).filter(|count| *count > 0);
        let all = named.into_iter().chain([warnings]).flatten().chain(others);
        all.map(|count| count.to_string().len()).max().unwrap_or(0)
    }
}

fn is_zero(value: &Value) -> bool {
    python::compare(value, &Value::Bool(false)).is_some_and(std::cmp::Ordering::is_eq)
}

#[allow(clippy::cast_precision_loss)] // as Python's float()
fn float(value: &Value) -> Option<f64> {
    match value {
        Value::Bool(flag) => Some(f64::from(u8::from(*flag))),
        Value::Int(number) => Some(*number as f64),
        Value::Float(number) => Some(*number),
        _ => None,
    }
}

/// Python's `round(part / whole * 100, 2)`.
#[allow(clippy::cast_precision_loss)] // counts of states
fn percent(part: usize, whole: usize) -> String {
    let exact = part as f64 / whole as f64 * 100.0;
    let rounded = format!("{exact:.2}").parse().unwrap_or(exact);
    python::str(&Value::Float(rounded))
}
