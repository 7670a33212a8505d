//! What people read on a terminal: an event's sentence with its time, or a line in their own format.
//!
//! Knows colours, the terminal's width and the time zone; `brine_view` knows what an event means.

use brine_log::{Millis, Position};
use brine_view::{Context, Meaning, Template, line, text};
use brine_wire::{Map, Value};
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};

use super::Shows;
use crate::clock::{self, Zone};
use crate::salt;
use crate::terminal;

/// How an event is written for people.
#[derive(Debug)]
pub(super) enum Style {
    /// The sentence, cut to the terminal's width.
    Line,
    /// The sentence uncut, and all data below it.
    Full,
    /// As the user wrote.
    Template(Template),
}

/// Writes events for people.
#[derive(Debug)]
pub(super) struct People {
    style: Style,
    zone: TimeZone,
    /// The day of the lines so far.
    day: Option<Date>,
    /// The terminal's width; `None` where there is none.
    columns: Option<usize>,
}

impl People {
    pub(super) fn new(style: Style, zone: Zone) -> Self {
        let zone = match zone {
            Zone::Local => TimeZone::system(),
            Zone::Utc => TimeZone::UTC,
        };
        let mut people = Self {
            day: Some(Zoned::now().with_time_zone(zone.clone()).date()),
            style,
            zone,
            columns: None,
        };
        people.look_at_width();
        people
    }

    /// The terminal may have another width than before.
    pub(super) fn look_at_width(&mut self) {
        self.columns = terminal::size().map(|(columns, _)| columns);
    }

    /// Appends an event to `out`, without a line end.
    pub(super) fn write(
        &mut self,
        tag: &str,
        data: &Map,
        at: Option<(Position, Millis)>,
        (shows, colour): (Shows, bool),
        out: &mut String,
    ) {
        let time = at.map_or_else(|| stamp_of(data), |(_, at)| moment(at));
        let time = time.map(|time| time.to_zoned(self.zone.clone()));
        if let Style::Template(template) = &self.style {
            let position = at.map(|(position, _)| position.to_string());
            let show = |format| time.as_ref().map(|time| time.strftime(format).to_string());
            let context = Context {
                time: &show("%H:%M:%S").unwrap_or_default(),
                date: &show("%Y-%m-%d").unwrap_or_default(),
                seq: at.map(|(position, _)| position.seq.0),
                position: position.as_deref().unwrap_or_default(),
            };
            return template.write(tag, data, &context, out);
        }
        let mut pen = Pen { colour, out };
        let mut front = String::new();
        if let Some((position, _)) = at.filter(|_| shows.seq) {
            front = format!("{:>8} ", position.seq.0);
        }
        match time {
            Some(time) if shows.time => {
                front.push_str(&time.strftime("%Y-%m-%d %H:%M:%S%.3f").to_string());
            }
            Some(time) => {
                if self.day.replace(time.date()) != Some(time.date()) {
                    pen.paint(
                        Meaning::Faint,
                        &time.strftime("-- %a %Y-%m-%d --").to_string(),
                    );
                    pen.out.push('\n');
                }
                front.push_str(&time.strftime("%H:%M:%S").to_string());
            }
            None => front.push_str("--:--:--"),
        }
        pen.paint(Meaning::Faint, &front);
        pen.out.push(' ');
        let localized = with_times_shown(tag, data, &self.zone);
        let mut sentence = line::describe(tag, localized.as_ref().unwrap_or(data));
        if let (Style::Line, Some(columns)) = (&self.style, self.columns) {
            let left = columns.saturating_sub(text::width(&front) + 1);
            sentence = sentence.cut(left.max(8));
        }
        for span in sentence.spans() {
            pen.paint(span.meaning, &span.text);
        }
        if matches!(self.style, Style::Full) {
            pen.below(tag, data);
        }
    }
}

/// The data of a gap whose two ends are times, as they are shown beside other times.
fn with_times_shown(tag: &str, data: &Map, zone: &TimeZone) -> Option<Map> {
    if tag != "brine/gap" {
        return None;
    }
    let mut shown = data.clone();
    for end in ["from", "to"] {
        let time = clock::stamp(data.get(end)?.as_str()?)?;
        let time = time.to_zoned(zone.clone());
        shown.insert(end, time.strftime("%Y-%m-%d %H:%M:%S").to_string());
    }
    Some(shown)
}

/// Where text goes, in colour or not.
struct Pen<'a> {
    colour: bool,
    out: &'a mut String,
}

impl Pen<'_> {
    fn paint(&mut self, meaning: Meaning, text: &str) {
        match style(meaning).filter(|_| self.colour) {
            Some(style) => self.out.extend(["\x1b[", style, "m", text, "\x1b[0m"]),
            None => self.out.push_str(text),
        }
    }

    /// The tag, and the data as YAML, indented.
    fn below(&mut self, tag: &str, data: &Map) {
        self.out.push_str("\n    ");
        self.paint(Meaning::Faint, &text::visible(tag));
        for line in salt::to_visible_yaml(&Value::Map(data.clone())).lines() {
            self.out.push_str("\n    ");
            self.out.push_str(&text::visible(line));
        }
    }
}

/// The colours: only the sixteen that a terminal's theme chooses, so that they are readable on dark and on light
/// ground. Nothing is said by colour alone.
const fn style(meaning: Meaning) -> Option<&'static str> {
    match meaning {
        Meaning::Plain => None,
        Meaning::Faint => Some("2"),
        Meaning::Who => Some("36"),
        Meaning::What => Some("1"),
        Meaning::Good => Some("32"),
        Meaning::Bad => Some("1;31"),
        Meaning::Warning => Some("33"),
    }
}

fn moment(at: Millis) -> Option<Timestamp> {
    Timestamp::from_millisecond(i64::try_from(at.0).ok()?).ok()
}

/// When the event was fired, if it is not known when it arrived.
fn stamp_of(data: &Map) -> Option<Timestamp> {
    clock::stamp(data.get("_stamp")?.as_str()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ends_of_a_gap_are_times_of_the_zone_that_is_shown() {
        let zone = TimeZone::fixed(jiff::tz::offset(-5));
        let gap = |from: &str, to: &str| {
            let data: Map = [("from", from), ("to", to)].into_iter().collect();
            let shown = with_times_shown("brine/gap", &data, &zone);
            line::describe("brine/gap", shown.as_ref().unwrap_or(&data)).to_string()
        };
        assert_eq!(
            gap("2026-11-30T02:00:01.5+00:00", "2026-11-30T06:00:02+00:00"),
            "events may be MISSED between 2026-11-29 21:00:01 and 2026-11-30 01:00:02"
        );
        let positions = "events may be MISSED between 7f3a-42 and 7f3a-99";
        assert_eq!(gap("7f3a-42", "7f3a-99"), positions);
    }

    fn lines(style: Style, colour: bool, stamps: &[&str]) -> String {
        let mut people = People::new(style, Zone::Utc);
        (people.columns, people.day) = (Some(60), "2026-11-28".parse().ok());
        let mut out = String::new();
        for stamp in stamps {
            let data: Map = [
                ("id", Value::from("web1")),
                ("fun", "state.apply".into()),
                (
                    "return",
                    vec![Value::from(
                        "\u{1b}[2Jno such file, and more words than fit",
                    )]
                    .into(),
                ),
                ("retcode", 1.into()),
                ("_stamp", (*stamp).into()),
            ]
            .into_iter()
            .collect();
            people.write(
                "salt/job/1/ret/web1",
                &data,
                None,
                (Shows::default(), colour),
                &mut out,
            );
            out.push('\n');
        }
        out
    }

    #[test]
    fn the_date_is_said_when_it_changes() {
        let stamps = [
            "2026-11-28T23:59:59.5",
            "2026-11-29T00:00:01+00:00",
            "2026-11-29T00:00:02",
            "soon",
        ];
        insta::assert_snapshot!(lines(Style::Line, false, &stamps), @r#"
        23:59:59 web1 state.apply FAILED code 1: ["\x1b[2Jno such f…
        -- Sun 2026-11-29 --
        00:00:01 web1 state.apply FAILED code 1: ["\x1b[2Jno such f…
        00:00:02 web1 state.apply FAILED code 1: ["\x1b[2Jno such f…
        --:--:-- web1 state.apply FAILED code 1: ["\x1b[2Jno such f…
        "#);
    }

    #[test]
    fn colours_follow_the_meaning() {
        let shown = lines(Style::Line, true, &["2026-11-28T10:00:01"]).replace('\u{1b}', "␛");
        insta::assert_snapshot!(shown, @r#"␛[2m10:00:01␛[0m ␛[36mweb1␛[0m ␛[1mstate.apply␛[0m ␛[1;31mFAILED␛[0m code 1: ["\x1b[2Jno such f…"#);
    }

    #[test]
    fn all_data_stand_below_on_demand() {
        insta::assert_snapshot!(lines(Style::Full, false, &["2026-11-28T10:00:01"]), @r#"
        10:00:01 web1 state.apply FAILED code 1: ["\x1b[2Jno such file, and more words than fit"]
            salt/job/1/ret/web1
            _stamp: '2026-11-28T10:00:01'
            fun: state.apply
            id: web1
            retcode: 1
            return:
            - "\e[2Jno such file, and more words than fit"
        "#);
    }
}
