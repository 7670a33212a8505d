//! The picture: a head with rates, the views, and overlays. It needs at least 40 columns; when space is short, the
//! least important parts are left out. Colours are the terminal's own sixteen, and nothing is said by colour alone.

mod bus;
mod events;
mod head;
mod lists;
mod over;

use brine_view::{Meaning, text};
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

use super::app::{App, Link, Overlay, PromptKind, View};

/// Draws all of it.
pub(super) fn draw(app: &mut App, frame: &mut Frame<'_>) {
    let area = frame.area();
    if area.width < 20 || area.height < 5 {
        frame.render_widget(Paragraph::new("the terminal is too small"), area);
        return;
    }
    let head = head::height(area);
    let body = Rect {
        y: area.y + head,
        height: area.height - head - 1,
        ..area
    };
    head::draw(
        app,
        frame,
        Rect {
            height: head,
            ..area
        },
    );
    app.list_top = body.y;
    match app.overlays.last().map(|(overlay, _)| overlay.clone()) {
        Some(Overlay::Help) => over::help(app, frame, body),
        Some(Overlay::Event { tag, at, seq, data }) => {
            over::event(app, frame, body, (&tag, at, seq, data.as_ref()))
        }
        Some(Overlay::Job { jid }) => over::job(app, frame, body, &jid),
        None => match app.view {
            View::Events => events::draw(app, frame, body),
            View::Jobs => lists::jobs(app, frame, body),
            View::Minions => lists::minions(app, frame, body),
            View::Tags => lists::tags(app, frame, body),
            View::Functions => lists::functions(app, frame, body),
            View::Bus => bus::draw(app, frame, body),
        },
    }
    foot(
        app,
        frame,
        Rect {
            y: area.y + area.height - 1,
            height: 1,
            ..area
        },
    );
}

/// What is being typed, a message, or where the user is.
fn foot(app: &App, frame: &mut Frame<'_>, area: Rect) {
    let width = usize::from(area.width);
    if let Some(prompt) = &app.prompt {
        let name = match prompt.kind {
            PromptKind::Search => "search: ",
            PromptKind::Filter => "filter: ",
        };
        let mut spans = vec![
            Span::styled(name, style(app, Meaning::What)),
            Span::raw(text::visible(&prompt.text).into_owned()),
            Span::raw("▏"),
        ];
        if !prompt.error.is_empty() {
            spans.push(Span::styled(
                format!(" {}", text::visible(&prompt.error)),
                style(app, Meaning::Bad),
            ));
        }
        frame.render_widget(Paragraph::new(Line::from(spans)), area);
        return;
    }
    let (left, meaning) = if app.message.is_empty() {
        (where_it_is(app), Meaning::Faint)
    } else {
        (text::visible(&app.message).into_owned(), Meaning::Warning)
    };
    let help = "? keys";
    let left = text::cut(&left, width.saturating_sub(help.len() + 1)).into_owned();
    let gap = width.saturating_sub(text::width(&left) + help.len());
    let line = Line::from(vec![
        Span::styled(left, style(app, meaning)),
        Span::raw(" ".repeat(gap)),
        Span::styled(help, style(app, Meaning::Faint)),
    ]);
    frame.render_widget(Paragraph::new(line), area);
}

fn where_it_is(app: &App) -> String {
    let mut parts = Vec::new();
    if app.view == View::Events && app.overlays.is_empty() {
        parts.push(match app.selected {
            Some(row) if row < 0 => "history (End: live)".to_owned(),
            Some(_) => "paused (End: live)".to_owned(),
            None if app.is_recording => "recorded".to_owned(),
            None if app.link() == Link::Live => "live".to_owned(),
            None => "not connected".to_owned(),
        });
        if !app.filter.is_any() {
            parts.push(format!(
                "filter {} (F: none)",
                text::visible(&app.filter.text)
            ));
        }
        if app.only_failures {
            parts.push("only failures (!)".to_owned());
        }
    }
    parts.join(" · ")
}

/// How a meaning looks.
pub(super) fn style(app: &App, meaning: Meaning) -> Style {
    if !app.colour {
        // Without colour, only what every terminal has.
        return match meaning {
            Meaning::What | Meaning::Bad => Style::new().add_modifier(Modifier::BOLD),
            _ => Style::new(),
        };
    }
    match meaning {
        Meaning::Plain => Style::new(),
        Meaning::Faint => Style::new().add_modifier(Modifier::DIM),
        Meaning::Who => Style::new().fg(Color::Cyan),
        Meaning::What => Style::new().add_modifier(Modifier::BOLD),
        Meaning::Good => Style::new().fg(Color::Green),
        Meaning::Bad => Style::new().fg(Color::Red).add_modifier(Modifier::BOLD),
        Meaning::Warning => Style::new().fg(Color::Yellow),
    }
}

/// The selected row.
const fn selected() -> Style {
    Style::new().add_modifier(Modifier::REVERSED)
}

/// A sentence as ratatui draws it.
fn spans(app: &App, line: &brine_view::Line) -> Vec<Span<'static>> {
    let spans = line.spans().iter();
    spans
        .map(|span| Span::styled(span.text.clone(), style(app, span.meaning)))
        .collect()
}

/// An age in a few columns: `3 s`, `5 min`.
fn age(now: u64, at: u64) -> String {
    let seconds = now.saturating_sub(at) / 1000;
    match seconds {
        0..60 => format!("{seconds} s"),
        60..5400 => format!("{} min", seconds / 60),
        5400..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} d", seconds / 86_400),
    }
}

/// A text in exactly this many columns, left-aligned.
fn left(text: &str, columns: usize) -> String {
    let shown = text::cut(text, columns).into_owned();
    let gap = columns.saturating_sub(text::width(&shown));
    shown + &" ".repeat(gap)
}

/// The same, to the right.
fn right(text: &str, columns: usize) -> String {
    let shown = text::cut(text, columns);
    format!(
        "{}{shown}",
        " ".repeat(columns.saturating_sub(text::width(&shown)))
    )
}
