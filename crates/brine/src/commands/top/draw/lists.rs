//! The lists of jobs, minions and kinds of tags.

use brine_view::site::{Job, Outcome, Tags};
use brine_view::{Meaning, text};
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

use super::events::time_of_day;
use super::{age, left, right, selected, style};
use crate::commands::top::app::App;

/// Draws a list with its headings; `rows` are made only for the visible part.
pub(super) fn list<'a>(
    app: &mut App,
    frame: &mut Frame<'_>,
    area: Rect,
    heading: &str,
    len: usize,
    row: &dyn Fn(&App, usize) -> Line<'a>,
) {
    let height = usize::from(area.height).saturating_sub(1);
    (app.height, app.list_len, app.list_top) = (height, len, area.y + 1);
    let place = app.place();
    place.selected = place.selected.min(len.saturating_sub(1));
    place.top = place
        .top
        .min(place.selected)
        .max((place.selected + 1).saturating_sub(height));
    let (chosen, top) = (place.selected, place.top);
    let mut lines = vec![Line::from(Span::styled(
        heading.to_owned(),
        style(app, Meaning::Faint),
    ))];
    for at in top..len.min(top + height) {
        let line = row(app, at);
        lines.push(if at == chosen {
            line.patch_style(selected())
        } else {
            line
        });
    }
    if len == 0 {
        lines.push(Line::from(Span::styled(
            "nothing yet",
            style(app, Meaning::Faint),
        )));
    }
    frame.render_widget(Paragraph::new(lines), area);
}

pub(super) fn jobs(app: &mut App, frame: &mut Frame<'_>, area: Rect) {
    let width = usize::from(area.width);
    let is_wide = width >= 72;
    let numbers = if is_wide { 4 * 9 } else { 3 * 5 };
    let name = width.saturating_sub(numbers + 10);
    let heading = if is_wide {
        format!(
            "{:<9} {} EXPECTED RETURNED   FAILED  MISSING",
            "TIME",
            left("JOB", name)
        )
    } else {
        format!("{:<9} {}  RET FAIL MISS", "TIME", left("JOB", name))
    };
    let (len, now) = (app.site.jobs.len(), app.now());
    let row = |app: &App, at: usize| match app.site.jobs.newest().nth(at) {
        Some((_, job)) => job_row(app, job, now, (name, is_wide)),
        None => Line::default(),
    };
    list(app, frame, area, &heading, len, &row);
}

fn job_row(app: &App, job: &Job, now: u64, (name, is_wide): (usize, bool)) -> Line<'static> {
    let user = match job.user.as_str() {
        "" => String::new(),
        user => format!("({user})"),
    };
    let words = [&job.fun, &job.target, &user];
    let what: Vec<_> = words
        .into_iter()
        .filter(|word| !word.is_empty())
        .map(String::as_str)
        .collect();
    let what = what.join(" ");
    let (outstanding, state) = job.outstanding(now);
    let missing = match state {
        Outcome::Unknown => ("?".to_owned(), Meaning::Warning),
        Outcome::Missing => (outstanding.to_string(), Meaning::Bad),
        Outcome::Waiting => (format!("…{outstanding}"), Meaning::Warning),
        Outcome::Good | Outcome::Failed => ("0".to_owned(), Meaning::Faint),
    };
    let failed = match job.failed() {
        0 => ("0".to_owned(), Meaning::Faint),
        failed => (failed.to_string(), Meaning::Bad),
    };
    let columns = if is_wide { 8 } else { 4 };
    let mut spans = vec![
        Span::styled(
            format!("{:<9} ", time_of_day(app, job.began)),
            style(app, Meaning::Faint),
        ),
        Span::raw(left(&text::visible(&what), name)),
    ];
    if is_wide {
        let expected = job
            .expected()
            .map_or_else(|| "?".to_owned(), |expected| expected.to_string());
        spans.push(Span::raw(format!(" {}", right(&expected, columns))));
    }
    spans.push(Span::raw(format!(
        " {}",
        right(&job.returned().to_string(), columns)
    )));
    for (text, meaning) in [failed, missing] {
        spans.push(Span::styled(
            format!(" {}", right(&text, columns)),
            style(app, meaning),
        ));
    }
    Line::from(spans)
}

pub(super) fn minions(app: &mut App, frame: &mut Frame<'_>, area: Rect) {
    let width = usize::from(area.width);
    let id = (width / 3).clamp(12, 40);
    let is_wide = width >= 60;
    let events_text = |text: &str| match is_wide {
        true => format!(" {}", right(text, 7)),
        false => String::new(),
    };
    let what = width.saturating_sub(id + 2 + 7 + if is_wide { 8 } else { 0 } + 7);
    let heading = format!(
        "  {} {}{} {} LAST",
        left("MINION", id),
        right("AGE", 6),
        events_text("EVENTS"),
        right("FAIL", 5)
    );
    let now = app.now();
    let rows: Vec<_> = app
        .site
        .minions
        .newest()
        .into_iter()
        .map(|(id, minion)| (id.to_owned(), minion))
        .collect();
    let row = |app: &App, at: usize| {
        let Some((name, minion)) = rows.get(at) else {
            return Line::default();
        };
        let (mark, meaning) = match minion.is_present {
            Some(true) => ("● ", Meaning::Good),
            Some(false) => ("○ ", Meaning::Warning),
            None => ("  ", Meaning::Plain),
        };
        let bad = if minion.failures > 0 {
            Meaning::Bad
        } else {
            Meaning::Faint
        };
        Line::from(vec![
            Span::styled(mark, style(app, meaning)),
            Span::styled(left(&text::visible(name), id), style(app, Meaning::Who)),
            Span::raw(format!(
                " {}{} ",
                right(&age(now, minion.at), 6),
                events_text(&text::grouped(minion.events))
            )),
            Span::styled(right(&minion.failures.to_string(), 5), style(app, bad)),
            Span::raw(format!(
                " {}",
                text::cut(&text::visible(&minion.what), what)
            )),
        ])
    };
    list(app, frame, area, &heading, rows.len(), &row);
}

pub(super) fn tags(app: &mut App, frame: &mut Frame<'_>, area: Rect) {
    let rows = busiest(&app.site.tags, app.now());
    counted(app, frame, area, "TAG", &rows);
}

pub(super) fn functions(app: &mut App, frame: &mut Frame<'_>, area: Rect) {
    let rows = busiest(&app.site.functions, app.now());
    counted(app, frame, area, "RETURNS OF", &rows);
}

/// Name, how many in the last minute, all, failures.
type Counted = (String, u64, u64, u64);

fn busiest(tags: &Tags, now: u64) -> Vec<Counted> {
    let rows = tags.busiest(now).into_iter();
    rows.map(|row| (row.0.to_owned(), row.1, row.2, row.3))
        .collect()
}

fn counted(app: &mut App, frame: &mut Frame<'_>, area: Rect, what: &str, rows: &[Counted]) {
    // On a narrow screen the tags matter more than all that ever came.
    let is_wide = area.width >= 60;
    let all_columns = if is_wide { 10 } else { 0 };
    let name = usize::from(area.width).saturating_sub(9 + all_columns + 8);
    let all_text = |text: &str| match is_wide {
        true => format!(" {}", right(text, 9)),
        false => String::new(),
    };
    let heading = format!(
        "{} {}{} {}",
        left(what, name),
        right("IN 1 MIN", 8),
        all_text("ALL"),
        right("FAILED", 7)
    );
    let row = |app: &App, at: usize| {
        let Some((shape, last, all, failed)) = rows.get(at) else {
            return Line::default();
        };
        let bad = if *failed > 0 {
            Meaning::Bad
        } else {
            Meaning::Faint
        };
        Line::from(vec![
            Span::raw(left(&text::visible(shape), name)),
            Span::raw(format!(
                " {}{} ",
                right(&text::grouped(*last), 8),
                all_text(&text::grouped(*all))
            )),
            Span::styled(right(&text::grouped(*failed), 7), style(app, bad)),
        ])
    };
    list(app, frame, area, &heading, rows.len(), &row);
}
