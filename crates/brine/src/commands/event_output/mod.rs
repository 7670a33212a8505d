//! How commands write an event: `brine watch`, `brine history`, `brine consumer next`.
//!
//! Knows forms, not where events come from. What people read on a terminal is in `people`; what `--exec` runs is in
//! `exec`.

mod exec;
mod missing;
mod people;

use std::io::{self, BufWriter, IsTerminal, Stdout, Write};
use std::time::{Duration, Instant};

use brine_bus::client::EventRef;
use brine_log::{Millis, Position};
use brine_view::Template;
use brine_wire::json::{self, Keys};
use brine_wire::stamp::{self, StampStyle};
use brine_wire::{Map, Value};

use self::exec::Exec;
pub(crate) use self::missing::Missing;
use self::people::People;
use crate::clock::Zone;
use crate::salt;
use crate::show::{self, Colour};
use crate::terminal::{self, Shown};

/// The options that say what output looks like.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct FormArgs {
    /// Output format [default: a sentence on a terminal, else ndjson]
    #[arg(short, long, value_name = "FORM", value_enum, group = "form")]
    pub(crate) output: Option<FormName>,
    /// As -o ndjson
    #[arg(long, group = "form")]
    pub(crate) json: bool,
    /// As -o yaml
    #[arg(long, group = "form")]
    pub(crate) yaml: bool,
    /// As -o raw
    #[arg(long, group = "form")]
    pub(crate) raw: bool,
    /// Print the whole sentence, and all data below it
    #[arg(long, group = "form")]
    pub(crate) full: bool,
    /// The tag, then the data indented over several lines, as `salt-run state.event pretty=True`
    #[arg(long, group = "form")]
    pub(crate) pretty: bool,
    /// A line of your own, such as '{time} {tag} {data.id}': fields are time, date, stamp, tag, seq,
    /// position, minion, fun, jid, user, ok, line, data and data.PATH
    #[arg(long, value_name = "FORMAT", group = "form", value_parser = Template::parse)]
    pub(crate) format: Option<Template>,
    /// Run this shell command for each event, one after the other, instead of printing it: the event is on
    /// its stdin as JSON, its fields in BRINE_TAG, BRINE_MINION, BRINE_FUN, BRINE_JID, BRINE_OK,
    /// BRINE_SEQ and BRINE_LINE. It has 30 s
    #[arg(long, value_name = "CMD", conflicts_with = "form", value_parser = shell_command)]
    pub(crate) exec: Option<String>,
    /// Print the sequence number; in JSON also position and time of arrival
    #[arg(long)]
    pub(crate) seq: bool,
    /// Print the time of arrival with date and milliseconds (in JSON: UTC)
    #[arg(long)]
    pub(crate) timestamps: bool,
    /// When to use colours; always also prints sentences into a pipe, for `| less -R`
    #[arg(long, value_name = "WHEN", value_enum, default_value_t)]
    pub(crate) color: Colour,
}

/// The forms by the names of `-o`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum FormName {
    /// Tag, tab, JSON: the line of `salt-run state.event`
    Line,
    /// A JSON object over several lines
    Json,
    /// A JSON object per line, {"tag": …, "data": …}, which `brine send --stdin` takes
    Ndjson,
    /// A YAML document
    Yaml,
    /// As ndjson, but nothing is lost: bytes are {"$bytes": "BASE64"}
    Raw,
    /// The tag alone
    Tags,
}

fn shell_command(text: &str) -> Result<String, String> {
    match text.trim().is_empty() {
        true => Err("expected a shell command, found nothing".to_owned()),
        false => Ok(text.to_owned()),
    }
}

impl FormArgs {
    pub(crate) fn form(&self) -> Form {
        // Colours are for people, also through a pipe into a pager.
        let is_terminal = io::stdout().is_terminal() || self.color == Colour::Always;
        match self.output {
            _ if self.pretty => Form::Pretty,
            _ if self.json => Form::JsonLines,
            _ if self.yaml => Form::Yaml,
            _ if self.raw => Form::Exact,
            _ if self.full || self.format.is_some() => Form::People,
            Some(FormName::Line) => Form::Line,
            Some(FormName::Json) => Form::Json,
            Some(FormName::Ndjson) => Form::JsonLines,
            Some(FormName::Yaml) => Form::Yaml,
            Some(FormName::Raw) => Form::Exact,
            Some(FormName::Tags) => Form::Tags,
            None if is_terminal => Form::People,
            None => Form::JsonLines,
        }
    }

    /// What writes events so; times are shown in this zone.
    pub(crate) fn printer(&self, zone: Zone) -> Printer {
        let style = match &self.format {
            Some(template) => people::Style::Template(template.clone()),
            None if self.full => people::Style::Full,
            None => people::Style::Line,
        };
        Printer {
            shows: Shows {
                seq: self.seq,
                time: self.timestamps,
            },
            people: People::new(style, zone),
            exec: self.exec.clone().map(Exec::new),
            ..Printer::new(self.form(), self.color.on_stdout())
        }
    }
}

/// Where a reader of a bus puts what it reads: a line for each event, or sums.
pub(crate) trait Output {
    /// Takes an event, with its position and its time of arrival where they are known; `false` if its data are
    /// malformed, which Salt's readers skip too.
    fn event_at(&mut self, event: EventRef<'_>, at: Option<(Position, Millis)>)
    -> io::Result<bool>;

    /// Takes a number of events that are missing; tells whether that is said.
    fn gap(&mut self, missing: &Missing<'_>) -> io::Result<bool>;

    /// The connection to a bus without positions broke: nobody knows what is missing.
    fn cut(&mut self) {}

    /// Shows all that was taken, as far as it is for now.
    fn flush(&mut self) -> io::Result<()>;

    /// Another line will be printed below: first shows the events that were taken.
    fn make_way(&mut self) -> io::Result<()> {
        self.flush()
    }

    /// When the next [`Output::tick`] has something to do.
    fn next_tick(&self) -> Option<Instant> {
        None
    }

    /// Shows what is due.
    fn tick(&mut self) -> io::Result<()> {
        Ok(())
    }

    /// Shows all that is left.
    fn finish(&mut self) -> io::Result<()> {
        self.flush()
    }
}

/// What is shown beside tag and data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Shows {
    seq: bool,
    time: bool,
}

impl Shows {
    const ALL: Self = Self {
        seq: true,
        time: true,
    };
}

/// The forms an event can be written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// The tag, a tab and the data as JSON.
    Line,
    /// A JSON object over several lines.
    Json,
    /// A YAML document.
    Yaml,
    /// The tag alone.
    Tags,
    /// `{"tag": …, "data": …}`, one per line, valid JSON.
    JsonLines,
    /// As [`Form::JsonLines`], but nothing is lost: `brine log import` reads the same event.
    Exact,
    /// The tag, then indented data: what `salt-run state.event pretty=True` prints.
    Pretty,
    /// A sentence, or a line of the user's own format.
    People,
}

/// Writes events to stdout, buffered.
#[derive(Debug)]
pub(crate) struct Printer {
    form: Form,
    shows: Shows,
    colour: bool,
    people: People,
    exec: Option<Exec>,
    stdout: BufWriter<Shown<Stdout>>,
    /// The line in the making, kept for its memory.
    line: String,
    /// How many events were printed.
    printed: u64,
}

/// Output is written when this much has come together, in bytes, if not before.
const BUFFER_BYTES: usize = 64 * 1024;

impl Output for Printer {
    fn event_at(
        &mut self,
        event: EventRef<'_>,
        at: Option<(Position, Millis)>,
    ) -> io::Result<bool> {
        let data = match event.decode() {
            Ok(data) => data,
            Err(error) => {
                tracing::warn!(tag = event.tag(), err = %error, "skipped a malformed event");
                return Ok(false);
            }
        };
        self.printed += 1;
        self.line.clear();
        if self.exec.is_some() {
            self.flush()?;
            self.json_line(event.tag(), data.clone(), at);
            if let (Some(exec), Value::Map(data)) = (&self.exec, &data) {
                exec.run(event.tag(), data, at, &self.line);
            }
            return Ok(true);
        }
        match self.form {
            Form::Line => self.tag_and_line(event.tag(), &data, at),
            Form::Json => self.json_document(event.tag(), data, at),
            Form::Yaml => self.yaml(event.tag(), data, at),
            Form::Tags => {
                self.columns_in_front(at);
                self.tag(event.tag());
            }
            Form::JsonLines => self.json_line(event.tag(), data, at),
            Form::Exact => self.exact_line(event.tag(), &data, at),
            Form::Pretty => self.pretty(event.tag(), &data, at),
            Form::People => self.people(event.tag(), data, at),
        }
        self.line.push('\n');
        self.stdout.write_all(self.line.as_bytes())?;
        Ok(true)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.people.look_at_width();
        self.stdout.flush()
    }

    /// Writes a line for missing events, where lines are objects with positions.
    fn gap(&mut self, missing: &Missing<'_>) -> io::Result<bool> {
        let is_shown = self.shows.seq && matches!(self.form, Form::JsonLines | Form::Exact);
        if is_shown {
            let Missing {
                from,
                to,
                missed,
                reason,
            } = missing;
            let missed = missed.map_or_else(|| "null".to_owned(), |missed| missed.to_string());
            writeln!(
                self.stdout,
                "{{\"gap\": {{\"from\": \"{from}\", \"to\": \"{to}\", \"missed\": {missed}, \"reason\": \"{reason}\"}}}}"
            )?;
        }
        Ok(is_shown)
    }
}

impl Printer {
    pub(crate) fn new(form: Form, colour: bool) -> Self {
        Self {
            form,
            shows: Shows::default(),
            colour,
            people: People::new(people::Style::Line, Zone::Local),
            exec: None,
            stdout: BufWriter::with_capacity(BUFFER_BYTES, terminal::stdout()),
            line: String::new(),
            printed: 0,
        }
    }

    /// How many events were printed.
    pub(crate) const fn printed(&self) -> u64 {
        self.printed
    }

    /// As this one, but with sequence, position and time of arrival.
    pub(crate) fn with_positions(self) -> Self {
        Self {
            shows: Shows::ALL,
            ..self
        }
    }

    fn tag_and_line(&mut self, tag: &str, data: &Value, at: Option<(Position, Millis)>) {
        self.columns_in_front(at);
        self.tag(tag);
        self.line.push('\t');
        self.data(data, json::to_line);
    }

    fn json_document(&mut self, tag: &str, mut data: Value, at: Option<(Position, Millis)>) {
        without_what_json_lacks(&mut data);
        let object = self.object(tag, data, at);
        self.data(&object, |value, out| {
            json::to_indented(value, 2, Keys::AsGiven, out);
        });
    }

    fn yaml(&mut self, tag: &str, data: Value, at: Option<(Position, Millis)>) {
        let object = self.object(tag, data, at);
        self.line.push_str("---\n");
        self.data(&object, |value, out| {
            out.push_str(&salt::to_visible_yaml(value))
        });
        let end = self.line.trim_end_matches('\n').len();
        self.line.truncate(end);
    }

    fn object(&self, tag: &str, data: Value, at: Option<(Position, Millis)>) -> Value {
        let mut object = Map::new();
        if let Some((position, time)) = at {
            if self.shows.seq {
                object.insert("seq", position.seq.0);
                object.insert("position", position.to_string());
            }
            if self.shows != Shows::default() {
                object.insert("time", utc(time));
            }
        }
        object.insert("tag", tag);
        object.insert("data", data);
        object.into()
    }

    /// Sequence and time in front of a line, as far as they are to be shown.
    fn columns_in_front(&mut self, at: Option<(Position, Millis)>) {
        let Some((position, time)) = at else {
            return;
        };
        if self.shows.seq {
            self.paint("2", &format!("{:>8} ", position.seq.0));
        }
        if self.shows.time {
            self.paint("2", &format!("{} ", utc(time)));
        }
    }

    fn json_line(&mut self, tag: &str, mut data: Value, at: Option<(Position, Millis)>) {
        without_what_json_lacks(&mut data);
        self.begin_object(at);
        self.line.push_str("\"tag\": ");
        self.data(&Value::from(tag), json::to_line);
        self.line.push_str(", \"data\": ");
        self.data(&data, json::to_line);
        self.line.push('}');
    }

    fn exact_line(&mut self, tag: &str, data: &Value, at: Option<(Position, Millis)>) {
        self.begin_object(at);
        self.line.push_str("\"tag\": ");
        self.data(&Value::from(tag), json::to_line);
        self.line.push_str(", \"data\": ");
        self.data(data, json::to_exact_line);
        self.line.push('}');
    }

    fn begin_object(&mut self, at: Option<(Position, Millis)>) {
        self.line.push('{');
        let Some((position, time)) = at else {
            return;
        };
        if self.shows.seq {
            self.line.push_str(&format!(
                "\"seq\": {}, \"position\": \"{position}\", ",
                position.seq
            ));
        }
        if self.shows != Shows::default() {
            self.line
                .push_str(&format!("\"time\": \"{}\", ", utc(time)));
        }
    }

    fn pretty(&mut self, tag: &str, data: &Value, at: Option<(Position, Millis)>) {
        self.columns_in_front(at);
        self.tag(tag);
        self.line.push('\t');
        self.data(data, json::to_pretty);
    }

    fn people(&mut self, tag: &str, data: Value, at: Option<(Position, Millis)>) {
        let Value::Map(data) = data else {
            return self.tag_and_line(tag, &data, at);
        };
        let (shows, colour) = (self.shows, self.colour);
        self.people
            .write(tag, &data, at, (shows, colour), &mut self.line);
    }

    /// Appends data, safe for a terminal: JSON leaves DEL and the C1 controls as they are.
    fn data(&mut self, data: &Value, write: fn(&Value, &mut String)) {
        let start = self.line.len();
        write(data, &mut self.line);
        let written = &self.line[start..];
        // In UTF-8, C1 controls begin with C2; so do a few letters, which stay.
        if written.bytes().any(|byte| matches!(byte, 0x7f | 0xc2)) {
            let escaped = show::escaped(written);
            self.line.truncate(start);
            self.line.push_str(&escaped);
        }
    }

    fn tag(&mut self, tag: &str) {
        self.paint("1;36", &show::visible(tag));
    }

    fn paint(&mut self, style: &str, text: &str) {
        if self.colour {
            self.line.extend(["\x1b[", style, "m", text, "\x1b[0m"]);
        } else {
            self.line.push_str(text);
        }
    }
}

/// A time of arrival: `2026-11-29T08:01:33.582Z`.
pub(crate) fn utc(time: Millis) -> String {
    let stamp = stamp::format(Duration::from_millis(time.0), StampStyle::Naive);
    let seconds = stamp.get(..19).unwrap_or(&stamp);
    format!("{seconds}.{:03}Z", time.0 % 1000)
}

/// Python's `NaN` and `Infinity` are not JSON; other programs write `null`.
fn without_what_json_lacks(value: &mut Value) {
    match value {
        Value::Float(number) if !number.is_finite() => *value = Value::Nil,
        Value::Array(items) => items.iter_mut().for_each(without_what_json_lacks),
        Value::Map(map) => map.values_mut().for_each(without_what_json_lacks),
        _ => {}
    }
}
