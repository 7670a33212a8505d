//! The bus as it sees itself: who reads it and how far behind, history, sinks, consumers.

use brine_view::{Meaning, data, text};
use brine_wire::{Map, Value};
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

use super::lists::list;
use super::{left, right, style};
use crate::commands::top::app::App;

pub(super) fn draw(app: &mut App, frame: &mut Frame<'_>, area: Rect) {
    let width = usize::from(area.width);
    let rows = rows(app);
    let heading = match app.status {
        Some(_) => format!("{} {} READER", right("PID", 8), right("LAG", 10)),
        None => "the bus says nothing of itself here".to_owned(),
    };
    let row = |app: &App, at: usize| {
        let Some((text, meaning)) = rows.get(at) else {
            return Line::default();
        };
        Line::from(Span::styled(
            text::cut(text, width).into_owned(),
            style(app, *meaning),
        ))
    };
    list(app, frame, area, &heading, rows.len(), &row);
}

fn rows(app: &App) -> Vec<(String, Meaning)> {
    let Some(status) = &app.status else {
        return Vec::new();
    };
    let bus = status.get("bus").and_then(Value::as_map);
    let mut readers: Vec<(i128, String)> = Vec::new();
    for (list, kind) in [
        (bus.and_then(|bus| bus.get("subscribers")), "subscriber"),
        (status.get("streams"), "stream"),
    ] {
        let readers_of = list.and_then(Value::as_array).unwrap_or_default();
        readers.extend(
            readers_of
                .iter()
                .filter_map(Value::as_map)
                .map(|one| reader(one, kind)),
        );
    }
    readers.sort_by_key(|(lag, _)| std::cmp::Reverse(*lag));
    let mut rows: Vec<(String, Meaning)> = readers
        .into_iter()
        .map(|(lag, text)| {
            (
                text,
                if lag > 100_000 {
                    Meaning::Bad
                } else {
                    Meaning::Plain
                },
            )
        })
        .collect();
    if let Some(bus) = bus {
        let mut bus = bus.clone();
        if let Some(streamed) = status.get("stream_deliveries") {
            bus.insert("stream_deliveries", streamed.clone());
        }
        rows.push((String::new(), Meaning::Plain));
        rows.push((
            format!(
                "{} {}",
                left("bus", 10),
                data::pairs(&bus, &["subscribers"])
            ),
            Meaning::Plain,
        ));
    }
    for consumer in &app.consumers {
        rows.push((
            format!(
                "{} {}",
                left("consumer", 10),
                data::pairs(consumer, &["filter"])
            ),
            Meaning::Plain,
        ));
    }
    for (name, part) in status {
        let (Some(name), Some(text)) = (name.as_str(), part_text(part)) else {
            continue;
        };
        if matches!(name, "bus" | "streams" | "stream_deliveries" | "consumers") {
            continue;
        }
        let trouble = part.as_map().and_then(|part| part.get("trouble"));
        if let Some(trouble) = trouble.filter(|trouble| trouble.is_true()) {
            let text = format!("{} TROUBLE: {}", left(name, 10), data::value(trouble));
            rows.push((text, Meaning::Bad));
        }
        rows.push((format!("{} {text}", left(name, 10)), Meaning::Plain));
    }
    rows
}

fn part_text(part: &Value) -> Option<String> {
    match part {
        Value::Map(map) => Some(data::pairs(map, &["trouble"])),
        Value::Nil => None,
        other => Some(data::value(other)),
    }
}

fn reader(one: &Map, kind: &str) -> (i128, String) {
    let lag = match one.get("lag") {
        Some(Value::Int(lag)) => *lag,
        _ => 0,
    };
    let text_of = |key| one.get(key).map(data::value).unwrap_or_default();
    let query = one
        .get("query")
        .or_else(|| one.get("position"))
        .map(data::value)
        .unwrap_or_default();
    let user = one
        .get("user")
        .or_else(|| one.get("uid"))
        .map(data::value)
        .unwrap_or_default();
    let behind = text::grouped(u64::try_from(lag).unwrap_or_default());
    let text = format!(
        "{} {} {kind} of {user}, {query}",
        right(&text_of("pid"), 8),
        right(&behind, 10)
    );
    (lag, text)
}
