//! Overlays on a view: an event with its data, a job's minions, the keys.

use brine_view::site::Outcome;
use brine_view::{Meaning, line, text};
use brine_wire::{Map, Value, json};
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

use super::events::show_time;
use super::lists::list;
use super::{left, spans, style};
use crate::commands::top::app::App;
use crate::commands::top::keys::HELP;
use crate::salt;

pub(super) fn help(app: &mut App, frame: &mut Frame<'_>, area: Rect) {
    let keys = if area.width < 60 { 12 } else { 18 };
    let width = usize::from(area.width).saturating_sub(keys);
    let mut lines = Vec::new();
    for (key, does) in HELP {
        let mut beside = Span::styled(left(key, keys), style(app, Meaning::What));
        for part in by_words(does, width) {
            lines.push(Line::from(vec![beside, Span::raw(part)]));
            beside = Span::raw(" ".repeat(keys));
        }
    }
    text_lines(app, frame, area, lines);
}

/// The text in lines that end between words.
fn by_words(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if text::width(line) + 1 + text::width(word) <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

pub(super) fn event(
    app: &mut App,
    frame: &mut Frame<'_>,
    area: Rect,
    (tag, at, seq, data): (&str, u64, u64, Option<&Map>),
) {
    let width = usize::from(area.width);
    let mut lines = vec![Line::from(Span::styled(
        text::cut(&text::visible(tag), width).into_owned(),
        style(app, Meaning::What),
    ))];
    if at > 0 {
        let when = show_time(app, at, "%a %Y-%m-%d %H:%M:%S%.3f %Z");
        lines.push(Line::from(Span::styled(
            format!("{when}  #{seq}"),
            style(app, Meaning::Faint),
        )));
    }
    match data {
        None if at > 0 => lines.push(Line::from(format!(
            "too large to be kept here: brine history --from {seq} -n 1 --full"
        ))),
        None => {}
        Some(data) => {
            lines.push(Line::from(spans(
                app,
                &line::describe(tag, data).cut(width),
            )));
            lines.push(Line::default());
            lines.extend(wrapped(&whole(app, data), width));
        }
    }
    text_lines(app, frame, area, lines);
}

/// All data, as YAML or JSON.
fn whole(app: &App, data: &Map) -> String {
    let value = Value::Map(data.clone());
    if !app.as_json {
        return salt::to_visible_yaml(&value);
    }
    let mut out = String::new();
    json::to_indented(&value, 2, json::Keys::AsGiven, &mut out);
    out
}

/// Lines no wider than the screen, and no more than anybody scrolls through.
fn wrapped(whole: &str, width: usize) -> Vec<Line<'static>> {
    const MOST: usize = 20_000;
    let mut lines = Vec::new();
    for line in whole.lines() {
        let shown = text::visible(line);
        let mut rest: &str = &shown;
        loop {
            let part = text::fitting(rest, width.max(1));
            lines.push(Line::from(part.to_owned()));
            rest = &rest[part.len()..];
            if rest.is_empty() || part.is_empty() || lines.len() >= MOST {
                break;
            }
        }
        if lines.len() >= MOST {
            lines.push(Line::from("…"));
            break;
        }
    }
    lines
}

/// Text that can be scrolled.
fn text_lines(app: &mut App, frame: &mut Frame<'_>, area: Rect, lines: Vec<Line<'static>>) {
    (app.height, app.list_len) = (usize::from(area.height), lines.len());
    let last = lines.len().saturating_sub(app.height);
    let place = app.place();
    place.top = place.top.min(last);
    let top = place.top;
    let shown: Vec<Line<'static>> = lines
        .into_iter()
        .skip(top)
        .take(usize::from(area.height))
        .collect();
    frame.render_widget(Paragraph::new(shown), area);
}

pub(super) fn job(app: &mut App, frame: &mut Frame<'_>, area: Rect, jid: &str) {
    let now = app.now();
    let Some(job) = app.site.jobs.get(jid) else {
        frame.render_widget(Paragraph::new("this job is not kept any more"), area);
        return;
    };
    let expected = job
        .expected()
        .map_or_else(|| "?".to_owned(), |expected| expected.to_string());
    let (outstanding, state) = job.outstanding(now);
    let open = match state {
        Outcome::Unknown => "some may be missing: events were lost".to_owned(),
        Outcome::Missing => format!("{outstanding} MISSING"),
        Outcome::Waiting => format!("{outstanding} waited for"),
        Outcome::Good | Outcome::Failed => "complete".to_owned(),
    };
    let heading = text::cut(
        &text::visible(&format!(
            "{} {}: {} of {expected} returned, {} failed, {open}",
            job.fun,
            job.target,
            job.returned(),
            job.failed()
        )),
        usize::from(area.width),
    )
    .into_owned();

    let width = usize::from(area.width);
    // Rows are made only for the visible part; the order is made once for all of them.
    let rows: Vec<(String, Outcome, Option<brine_view::Line>)> = job
        .minions(now)
        .into_iter()
        .map(|(id, outcome, returned)| {
            (
                id.to_owned(),
                outcome,
                returned.map(|returned| returned.sentence.line()),
            )
        })
        .collect();
    let summed = job.is_summed().then(|| {
        let text =
            format!("its returns are not kept here any more: brine history 'salt/job/{jid}/*'");
        text::cut(&text::visible(&text), width).into_owned()
    });
    let row = |app: &App, at: usize| match rows.get(at) {
        None => Line::from(summed.clone().unwrap_or_default()),
        Some((_, _, Some(sentence))) => Line::from(spans(app, &sentence.clone().cut(width))),
        Some((id, outcome, None)) => {
            let (word, meaning) = match outcome {
                Outcome::Missing => ("MISSING", Meaning::Bad),
                Outcome::Unknown => ("unknown: events were lost", Meaning::Warning),
                _ => ("waited for", Meaning::Faint),
            };
            Line::from(vec![
                Span::styled(text::visible(id).into_owned(), style(app, Meaning::Who)),
                Span::raw(" "),
                Span::styled(word, style(app, meaning)),
            ])
        }
    };
    let count = rows.len() + usize::from(summed.is_some());
    list(app, frame, area, &heading, count, &row);
}
