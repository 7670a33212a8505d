//! Prometheus's text formats: 0.0.4, and OpenMetrics 1.0 for clients that accept it.
//!
//! Families are written one after the other into one text; nothing is registered anywhere. The two differ little:
//! OpenMetrics names a counter without its `_total` and ends with `# EOF`. No maintained library writes both.

use std::fmt::{Display, Write as _};

use hyper::header::HeaderValue;

/// A text form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// Prometheus's own, the default.
    Text,
    /// OpenMetrics.
    OpenMetrics,
}

impl Format {
    /// The form that an `Accept` header prefers: OpenMetrics if it names it.
    pub(crate) fn accepted(accept: Option<&str>) -> Self {
        let names = |accept: &str| accept.contains("application/openmetrics-text");
        if accept.is_some_and(names) {
            Self::OpenMetrics
        } else {
            Self::Text
        }
    }

    pub(crate) const fn content_type(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        })
    }
}

/// A text of metrics as it is written.
#[derive(Debug)]
pub(crate) struct Exposition {
    format: Format,
    text: String,
}

/// A family of which samples are written.
#[derive(Debug)]
pub(crate) struct Family<'a> {
    out: &'a mut Exposition,
    /// The name that samples have.
    name: String,
}

impl Exposition {
    pub(crate) const fn new(format: Format) -> Self {
        Self {
            format,
            text: String::new(),
        }
    }

    /// The whole text.
    pub(crate) fn finish(mut self) -> String {
        if self.format == Format::OpenMetrics {
            self.text.push_str("# EOF\n");
        }
        self.text
    }

    /// A family that only grows; `name` ends in `_total`.
    pub(crate) fn counter(&mut self, name: &str, help: &str) -> Family<'_> {
        let family = match self.format {
            Format::Text => name,
            Format::OpenMetrics => name.strip_suffix("_total").unwrap_or(name),
        };
        self.head(family, "counter", help);
        self.family(name)
    }

    /// A family that goes up and down.
    pub(crate) fn gauge(&mut self, name: &str, help: &str) -> Family<'_> {
        self.head(name, "gauge", help);
        self.family(name)
    }

    /// A histogram without labels: how many observations were at most each bound, in ascending order, the
    /// number of all, and their sum.
    pub(crate) fn histogram(
        &mut self,
        name: &str,
        help: &str,
        buckets: impl IntoIterator<Item = (f64, u64)>,
        count: u64,
        sum: f64,
    ) {
        self.head(name, "histogram", help);
        for (bound, below) in buckets {
            // OpenMetrics wants floats to look like floats.
            let _ = writeln!(self.text, "{name}_bucket{{le=\"{bound:?}\"}} {below}");
        }
        let _ = writeln!(self.text, "{name}_bucket{{le=\"+Inf\"}} {count}");
        let _ = writeln!(self.text, "{name}_sum {sum}");
        let _ = writeln!(self.text, "{name}_count {count}");
    }

    fn head(&mut self, name: &str, kind: &str, help: &str) {
        let help = help.replace('\\', "\\\\").replace('\n', "\\n");
        let _ = writeln!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn family(&mut self, name: &str) -> Family<'_> {
        Family {
            name: name.to_owned(),
            out: self,
        }
    }
}

impl Family<'_> {
    /// One sample. Values of labels may hold anything.
    pub(crate) fn sample(&mut self, labels: &[(&str, &str)], value: impl Display) -> &mut Self {
        let text = &mut self.out.text;
        text.push_str(&self.name);
        for (at, (name, value)) in labels.iter().enumerate() {
            let open = if at == 0 { '{' } else { ',' };
            let _ = write!(text, "{open}{name}=\"");
            for character in value.chars() {
                match character {
                    '\\' => text.push_str("\\\\"),
                    '"' => text.push_str("\\\""),
                    '\n' => text.push_str("\\n"),
                    other => text.push(other),
                }
            }
            text.push('"');
        }
        if !labels.is_empty() {
            text.push('}');
        }
        let _ = writeln!(text, " {value}");
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example(format: Format) -> String {
        let mut out = Exposition::new(format);
        out.counter("a_total", "What\nis \\ counted.")
            .sample(&[("x", "a\"b\\c\nd"), ("y", "")], 1)
            .sample(&[], 2);
        out.gauge("b_bytes", "Bytes.").sample(&[], 1.5);
        out.histogram("c_seconds", "Time.", [(0.5, 1), (1.0, 3)], 4, 7.25);
        out.finish()
    }

    #[test]
    fn both_forms_are_written() {
        let text = "# HELP a_total What\\nis \\\\ counted.\n# TYPE a_total counter\n\
            a_total{x=\"a\\\"b\\\\c\\nd\",y=\"\"} 1\na_total 2\n\
            # HELP b_bytes Bytes.\n# TYPE b_bytes gauge\nb_bytes 1.5\n\
            # HELP c_seconds Time.\n# TYPE c_seconds histogram\nc_seconds_bucket{le=\"0.5\"} 1\n\
            c_seconds_bucket{le=\"1.0\"} 3\nc_seconds_bucket{le=\"+Inf\"} 4\n\
            c_seconds_sum 7.25\nc_seconds_count 4\n";
        assert_eq!(example(Format::Text), text);
        let open = text
            .replace("HELP a_total", "HELP a")
            .replace("TYPE a_total", "TYPE a");
        assert_eq!(example(Format::OpenMetrics), open + "# EOF\n");
    }

    #[test]
    fn openmetrics_is_for_who_names_it() {
        let prometheus = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.4,*/*;q=0.1";
        assert_eq!(Format::accepted(Some(prometheus)), Format::OpenMetrics);
        assert_eq!(Format::accepted(Some("*/*")), Format::Text);
        assert_eq!(Format::accepted(None), Format::Text);
    }
}
