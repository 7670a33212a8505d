//! The list of events: the event line, gaps as gaps. Wide screens also show the busiest tags and minions beside it.

use brine_view::site::{Gap, Row};
use brine_view::{Meaning, line, text};
use brine_wire::{Map, Value, msgpack};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

use super::{left, right, selected, spans, style};
use crate::clock::Zone;
use crate::commands::top::app::App;

/// From this width on there is room beside the list.
const WIDE: u16 = 120;
/// The width of what is beside it.
const SIDE: u16 = 44;

pub(super) fn draw(app: &mut App, frame: &mut Frame<'_>, area: Rect) {
    let side = if area.width >= WIDE { SIDE } else { 0 };
    let list = Rect {
        width: area.width - side,
        ..area
    };
    app.height = usize::from(list.height);
    app.shown = visible_rows(app);
    app.list_len = app.shown.len();
    let width = usize::from(list.width).saturating_sub(usize::from(side > 0));
    let mut lines = Vec::new();
    for number in &app.shown {
        let Some(row) = app.rows().get(*number) else {
            continue;
        };
        let line = Line::from(row_spans(app, row, width));
        lines.push(if app.selected == Some(*number) {
            line.patch_style(selected())
        } else {
            line
        });
    }
    if lines.is_empty() {
        let text = match app.filter.is_any() && !app.only_failures {
            true => "no events yet",
            false => "no event matches the filter",
        };
        lines.push(Line::from(Span::styled(text, style(app, Meaning::Faint))));
    }
    frame.render_widget(Paragraph::new(lines), list);
    if side > 0 {
        beside(
            app,
            frame,
            Rect {
                x: area.x + list.width,
                width: side,
                ..area
            },
        );
    }
}

/// The numbers of the rows on the screen, first one first; moves the top so that the selected one is among them.
fn visible_rows(app: &mut App) -> Vec<i64> {
    let height = app.height.max(1);
    let rows = app.rows();
    let Some(chosen) = app.selected else {
        let mut shown = Vec::new();
        let mut at = rows.newest().and_then(|row| app.nearest(row, false));
        while let Some(number) = at.filter(|_| shown.len() < height) {
            shown.push(number);
            at = rows.before(number).and_then(|row| app.nearest(row, false));
        }
        shown.reverse();
        return shown;
    };
    // Rows leave memory while the view stays in place.
    let oldest = rows.oldest().unwrap_or_default();
    let chosen = if rows.get(chosen).is_some() {
        chosen
    } else {
        oldest
    };
    let mut top = if rows.get(app.top).is_some() {
        app.top
    } else {
        oldest
    };
    top = top.min(chosen);
    let shown = downwards(app, top, height);
    let shown = if shown.contains(&chosen) {
        shown
    } else {
        let top = app.step(chosen, height - 1, false);
        downwards(app, top, height)
    };
    (app.selected, app.top) = (Some(chosen), shown.first().copied().unwrap_or(chosen));
    shown
}

fn downwards(app: &App, top: i64, height: usize) -> Vec<i64> {
    let rows = app.rows();
    let mut shown = Vec::new();
    let mut at = app.nearest(top, true);
    while let Some(number) = at.filter(|_| shown.len() < height) {
        shown.push(number);
        at = rows.after(number).and_then(|row| app.nearest(row, true));
    }
    shown
}

fn row_spans(app: &App, row: &Row, width: usize) -> Vec<Span<'static>> {
    match row {
        Row::Gap(gap) => vec![Span::styled(
            gap_text(gap, width),
            style(app, Meaning::Warning),
        )],
        Row::Event { at, tag, data, .. } => {
            let decoded = data.as_ref().and_then(|data| msgpack::decode(data).ok());
            let sentence = match decoded {
                Some(Value::Map(map)) => line::describe(tag, &map),
                _ => line::describe(tag, &Map::new()),
            };
            let time = time_of_day(app, *at);
            let room = width.saturating_sub(time.len() + 1);
            let mut all = vec![
                Span::styled(time, style(app, Meaning::Faint)),
                Span::raw(" "),
            ];
            all.extend(spans(app, &sentence.cut(room)));
            all
        }
    }
}

fn gap_text(gap: &Gap, width: usize) -> String {
    let missed = match gap.missed {
        Some(missed) => format!("{} missed", text::counted(missed, "event")),
        None => "events may be missed".to_owned(),
    };
    let middle = format!(" {missed}: {} ", text::visible(&gap.reason));
    let middle = text::cut(&middle, width.saturating_sub(4)).into_owned();
    let rest = width.saturating_sub(text::width(&middle) + 2);
    format!("··{middle}{}", "·".repeat(rest))
}

pub(super) fn time_of_day(app: &App, at: u64) -> String {
    show_time(app, at, "%H:%M:%S")
}

pub(super) fn show_time(app: &App, at: u64, format: &str) -> String {
    let zone = match app.zone {
        Zone::Local => TimeZone::system(),
        Zone::Utc => TimeZone::UTC,
    };
    let moment = i64::try_from(at)
        .ok()
        .and_then(|at| Timestamp::from_millisecond(at).ok());
    moment.map_or_else(
        || "--:--:--".to_owned(),
        |moment| moment.to_zoned(zone).strftime(format).to_string(),
    )
}

fn beside(app: &App, frame: &mut Frame<'_>, area: Rect) {
    let width = usize::from(area.width) - 2;
    let half = usize::from(area.height / 2);
    let mut lines = vec![Line::from(Span::styled(
        format!("{} {}", left("TAGS", width - 10), right("IN 1 MIN", 9)),
        style(app, Meaning::Faint),
    ))];
    for (shape, last, ..) in app
        .site
        .tags
        .busiest(app.now())
        .into_iter()
        .take(half.saturating_sub(2))
    {
        lines.push(Line::from(format!(
            "{} {}",
            left(&text::visible(shape), width - 10),
            right(&text::grouped(last), 9)
        )));
    }
    lines.resize(half, Line::default());
    lines.push(Line::from(Span::styled(
        format!(
            "{} {} {}",
            left("MINIONS", width - 18),
            right("EVENTS", 8),
            right("FAILED", 8)
        ),
        style(app, Meaning::Faint),
    )));
    for (id, events, failures) in app
        .site
        .minions
        .busiest(usize::from(area.height).saturating_sub(half + 1))
    {
        let meaning = if failures > 0 {
            Meaning::Bad
        } else {
            Meaning::Plain
        };
        lines.push(Line::from(vec![
            Span::raw(format!(
                "{} {} ",
                left(&text::visible(id), width - 18),
                right(&text::grouped(events), 8)
            )),
            Span::styled(right(&text::grouped(failures), 8), style(app, meaning)),
        ]));
    }
    let inner = Rect {
        x: area.x + 2,
        width: area.width - 2,
        ..area
    };
    frame.render_widget(Paragraph::new(lines), inner);
}
