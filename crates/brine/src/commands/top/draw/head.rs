//! The first lines: the bus, rates with their plot, sums, and the views.

use brine_view::site::Second;
use brine_view::{Meaning, text};
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::{Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

use super::style;
use crate::commands::top::app::{App, Link, View};

/// How many lines the head takes.
pub(super) const fn height(area: Rect) -> u16 {
    match area.height {
        0..10 => 2,
        10..24 => 3 + 1,
        _ => 3 + 3,
    }
}

pub(super) fn draw(app: &mut App, frame: &mut Frame<'_>, area: Rect) {
    let width = usize::from(area.width);
    let row = |number: u16| Rect {
        y: area.y + number,
        height: 1,
        ..area
    };
    frame.render_widget(Paragraph::new(Line::from(sums(app, width))), row(0));
    let tabs = tabs(app, area);
    frame.render_widget(Paragraph::new(Line::from(tabs)), row(1));
    if area.height <= 2 {
        return;
    }
    let columns = match app.has_minutes {
        true => app.site.rates.last_minutes(width, app.now()),
        false => app.site.rates.last(width, app.now()),
    };
    let most = columns.iter().flatten().map(|column| column.events).max();
    app.most = most.unwrap_or(0).max(1);
    frame.render_widget(Paragraph::new(Line::from(totals(app, width))), row(2));
    let plot = Rect {
        y: area.y + 3,
        height: area.height - 3,
        ..area
    };
    let lines = plot_lines(app, &columns, usize::from(plot.height));
    frame.render_widget(Paragraph::new(lines), plot);
}

/// The link, the rate and the source.
fn sums(app: &App, width: usize) -> Vec<Span<'static>> {
    let now = app.now();
    let link = app.link();
    let (word, meaning, why) = match &link {
        Link::Live => ("● ", Meaning::Good, ""),
        Link::Connecting => ("○ ", Meaning::Warning, "connecting "),
        Link::Complete => ("■ ", Meaning::Faint, ""),
        Link::Lost(why) => ("✗ ", Meaning::Bad, why.as_str()),
    };
    let rate = format!("{:.0}/s", app.site.rates.mean(5, now));
    let mean = format!("  {:.0}/s in 1 min", app.site.rates.mean(60, now));
    let mut spans = vec![
        Span::styled(word, style(app, meaning)),
        Span::styled(rate.clone(), style(app, Meaning::What)),
        Span::raw(mean.clone()),
    ];
    let used = 2 + rate.len() + mean.len() + 2;
    let rest = width.saturating_sub(used);
    let (shown, meaning) = if why.is_empty() {
        (app.source.as_str(), Meaning::Faint)
    } else {
        (why, meaning)
    };
    spans.push(Span::raw("  "));
    spans.push(Span::styled(
        text::cut(&text::visible(shown), rest).into_owned(),
        style(app, meaning),
    ));
    spans
}

/// Events, failures, what is missing, minions, jobs: as many as fit.
fn totals(app: &App, width: usize) -> Vec<Span<'static>> {
    let site = &app.site;
    let mut parts = vec![(text::counted(site.events, "event"), Meaning::Plain)];
    if site.failures > 0 {
        parts.push((
            format!("{} failed", text::grouped(site.failures)),
            Meaning::Bad,
        ));
    }
    if site.missed > 0 || site.may_have_missed {
        let text = match (site.missed, site.may_have_missed) {
            (0, _) => "some may be MISSED".to_owned(),
            (missed, true) => format!("{} or more MISSED", text::grouped(missed)),
            (missed, false) => format!("{} MISSED", text::grouped(missed)),
        };
        parts.push((text, Meaning::Warning));
    }
    parts.push(match site.minions.connected() {
        Some(connected) => (
            format!("{} connected", text::counted(connected, "minion")),
            Meaning::Plain,
        ),
        None => (text::counted(site.minions.len(), "minion"), Meaning::Plain),
    });
    parts.push((text::counted(site.jobs.len(), "job"), Meaning::Plain));
    let unit = if app.has_minutes { "min" } else { "s" };
    parts.push(match app.scale {
        Some(scale) => (
            format!("scale held at {}/{unit}", text::grouped(scale.into())),
            Meaning::Warning,
        ),
        None => (
            format!("peak {}/{unit}", text::grouped(app.most.into())),
            Meaning::Faint,
        ),
    });
    let mut spans = Vec::new();
    let mut used = 0;
    for (part, meaning) in parts {
        let gap = if used == 0 { "" } else { "  " };
        if used + gap.len() + part.len() > width {
            break;
        }
        used += gap.len() + part.len();
        spans.push(Span::raw(gap));
        spans.push(Span::styled(part, style(app, meaning)));
    }
    spans
}

fn tabs(app: &mut App, area: Rect) -> Vec<Span<'static>> {
    let is_narrow = area.width < 60;
    let mut spans = Vec::new();
    let mut column = area.x;
    app.tabs.clear();
    for (number, view) in View::ALL.into_iter().enumerate() {
        let name = match (is_narrow, view) {
            (true, View::Minions) => "Min",
            (true, View::Events) => "Evts",
            (true, View::Functions) => "Fun",
            (_, view) => view.name(),
        };
        let label = if is_narrow {
            format!("{} {name}", number + 1)
        } else {
            format!(" {} {name} ", number + 1)
        };
        let width = u16::try_from(label.len()).unwrap_or_default();
        app.tabs.push((column, column + width, view));
        column += width + 1;
        let shown = if view == app.view {
            Style::new().add_modifier(Modifier::REVERSED)
        } else {
            style(app, Meaning::Faint)
        };
        spans.push(Span::styled(label, shown));
        spans.push(Span::raw(" "));
    }
    spans
}

/// The plot: a column per second or minute, newest at the right. Where events are missing, or nothing is known, there is a dot
/// and not a zero.
fn plot_lines(app: &App, columns: &[Option<Second>], height: usize) -> Vec<Line<'static>> {
    const BLOCKS: [&str; 9] = [" ", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"];
    let most = app.scale.unwrap_or(app.most);
    let eighths = |count: u32| {
        let all = u64::from(count) * height as u64 * 8;
        // Whatever is there is seen.
        (all / u64::from(most))
            .min(height as u64 * 8)
            .max(u64::from(count > 0))
    };
    let cell = |second: Option<Second>, level: u64| -> Span<'static> {
        let is_lowest = level == 0;
        match second {
            None if is_lowest => Span::styled("·", style(app, Meaning::Faint)),
            None => Span::raw(" "),
            Some(second) if second.has_gap => {
                let dot = if is_lowest { "·" } else { " " };
                Span::styled(dot, style(app, Meaning::Warning))
            }
            Some(second) => {
                let filled = eighths(second.events).saturating_sub(level * 8).min(8);
                let is_bad = second.failures > 0 && eighths(second.failures) > level * 8;
                let meaning = if is_bad { Meaning::Bad } else { Meaning::Good };
                let block = match is_bad && !app.colour {
                    true => "▒",
                    false => BLOCKS[usize::try_from(filled).unwrap_or(8)],
                };
                Span::styled(block, style(app, meaning))
            }
        }
    };
    let levels = (0..height as u64).rev();
    levels
        .map(|level| {
            Line::from(
                columns
                    .iter()
                    .map(|column| cell(*column, level))
                    .collect::<Vec<_>>(),
            )
        })
        .collect()
}
