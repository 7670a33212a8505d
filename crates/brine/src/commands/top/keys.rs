//! What keys and the mouse do.

use brine_view::site::Row;
use brine_wire::{Map, Value, json, msgpack};
use ratatui::crossterm::event::{
    KeyCode, KeyEvent, KeyEventKind, KeyModifiers, MouseButton, MouseEvent, MouseEventKind,
};

use super::app::{App, Overlay, Place, Prompt, PromptKind, View};
use crate::clock;

/// The keys, for the page of help.
pub(super) const HELP: &[(&str, &str)] = &[
    ("1 … 6, Tab", "events, jobs, minions, tags, functions, bus"),
    ("j k ↓ ↑", "next and previous row"),
    (
        "PgUp PgDn",
        "a screen up, down; before the first row it reads history",
    ),
    ("g Home", "the oldest row in memory"),
    ("G End", "the newest row; goes on live"),
    ("Space p", "pause, go on"),
    (
        "Enter",
        "open: an event's data, a job's minions, a minion's return",
    ),
    ("Esc q", "back; q on a view ends the program"),
    ("/ n N", "search; next and previous match"),
    ("f", "filter: tags and fields, such as salt/job/* ok:false"),
    ("!", "only failures"),
    ("F", "no filter"),
    ("m", "the plot by minutes, by seconds"),
    ("s", "hold the plot's scale; let it go"),
    ("y", "an event's data as YAML or JSON"),
    ("w", "write the list of events to a file"),
    (
        "mouse",
        "wheel scrolls, a click selects, a second one opens",
    ),
];

impl App {
    /// Takes a key.
    pub(super) fn key(&mut self, key: KeyEvent) {
        if key.kind == KeyEventKind::Release {
            return;
        }
        self.message.clear();
        if key.modifiers.contains(KeyModifiers::CONTROL)
            && matches!(key.code, KeyCode::Char('c' | 'd'))
        {
            self.is_over = true;
            return;
        }
        if self.prompt.is_some() {
            return self.prompt_key(key);
        }
        match key.code {
            KeyCode::Char(' ' | 'p') if self.overlays.is_empty() && self.view == View::Events => {
                self.pause()
            }
            KeyCode::Char('?') => self.open(Overlay::Help),
            KeyCode::Char('/') => self.ask(PromptKind::Search, ""),
            KeyCode::Char('f') => {
                let text = self.filter.text.clone();
                self.ask(PromptKind::Filter, &text);
            }
            KeyCode::Char('F') => {
                self.only_failures = false;
                // Without a filter nothing can be wrong with it.
                let _ = self.set_filter("");
            }
            KeyCode::Char('!') => self.only_failures = !self.only_failures,
            KeyCode::Char('m') => (self.has_minutes, self.scale) = (!self.has_minutes, None),
            KeyCode::Char('s') => {
                self.scale = match self.scale {
                    Some(_) => None,
                    None => Some(self.most),
                }
            }
            KeyCode::Char('y') => self.as_json = !self.as_json,
            KeyCode::Char('w') => self.save(),
            KeyCode::Char('n') => self.find(true),
            KeyCode::Char('N') => self.find(false),
            KeyCode::Char('q') | KeyCode::Esc => self.back(key.code == KeyCode::Char('q')),
            KeyCode::Char(digit @ '1'..='6') => {
                let at = digit as usize - '1' as usize;
                self.go_to(View::ALL[at]);
            }
            KeyCode::Tab | KeyCode::Right => self.turn(1),
            KeyCode::BackTab | KeyCode::Left => self.turn(View::ALL.len() - 1),
            KeyCode::Enter => self.enter(),
            _ => {
                if let Some((count, is_down)) = self.motion(key.code) {
                    self.go(count, is_down);
                }
            }
        }
    }

    /// How many rows a key goes, and whether down.
    fn motion(&self, code: KeyCode) -> Option<(usize, bool)> {
        let page = self.height.saturating_sub(1).max(1);
        Some(match code {
            KeyCode::Char('j') | KeyCode::Down => (1, true),
            KeyCode::Char('k') | KeyCode::Up => (1, false),
            KeyCode::PageDown => (page, true),
            KeyCode::PageUp => (page, false),
            KeyCode::Char('g') | KeyCode::Home => (usize::MAX, false),
            KeyCode::Char('G') | KeyCode::End => (usize::MAX, true),
            _ => return None,
        })
    }

    pub(super) fn is_list_of_events(&self) -> bool {
        self.overlays.is_empty() && self.view == View::Events
    }

    fn go(&mut self, count: usize, is_down: bool) {
        if !self.is_list_of_events() {
            let len = self.list_len;
            let is_text = matches!(
                self.overlays.last(),
                Some((Overlay::Event { .. } | Overlay::Help, _))
            );
            let height = self.height;
            let place = self.place();
            let last = len.saturating_sub(1);
            let at = if is_text {
                &mut place.top
            } else {
                &mut place.selected
            };
            *at = if is_down {
                at.saturating_add(count).min(last)
            } else {
                at.saturating_sub(count)
            };
            if is_text {
                *at = (*at).min(len.saturating_sub(height));
            }
            return;
        }
        if count == usize::MAX {
            match is_down {
                true => self.follow(),
                false => self.select(self.rows().oldest().and_then(|row| self.nearest(row, true))),
            }
            return;
        }
        let Some(from) = self.selected.or_else(|| self.newest_shown()) else {
            return;
        };
        let to = self.step(from, count, is_down);
        if !is_down && (to == from || self.rows().before(to).is_none()) {
            self.read_back();
        }
        // Down from the newest row is live.
        match is_down && to == from {
            true => self.follow(),
            false => self.select(Some(to)),
        }
    }

    fn newest_shown(&self) -> Option<i64> {
        self.rows()
            .newest()
            .and_then(|row| self.nearest(row, false))
    }

    pub(super) fn select(&mut self, row: Option<i64>) {
        if self.selected.is_none() {
            // The picture stays as it was: the selected row is its last one.
            self.top = self.shown.first().copied().unwrap_or_default();
        }
        self.selected = row;
    }

    fn follow(&mut self) {
        self.selected = None;
        self.past.clear();
    }

    fn pause(&mut self) {
        match self.selected {
            Some(_) => self.follow(),
            None => self.select(self.newest_shown()),
        }
    }

    fn open(&mut self, overlay: Overlay) {
        if self.overlays.last().map(|(overlay, _)| overlay) != Some(&overlay) {
            self.overlays.push((overlay, Place::default()));
        }
    }

    fn back(&mut self, may_end: bool) {
        if self.overlays.pop().is_none() {
            match self.selected {
                Some(_) if !may_end => self.follow(),
                _ => self.is_over = may_end,
            }
        }
    }

    pub(super) fn go_to(&mut self, view: View) {
        self.overlays.clear();
        self.view = view;
    }

    fn turn(&mut self, by: usize) {
        let at = View::ALL
            .iter()
            .position(|view| *view == self.view)
            .unwrap_or_default();
        self.go_to(View::ALL[(at + by) % View::ALL.len()]);
    }

    fn enter(&mut self) {
        let now = self.now();
        let selected = self.place().selected;
        match self.overlays.last().map(|(overlay, _)| overlay.clone()) {
            Some(Overlay::Job { jid }) => {
                let job = self.site.jobs.get(&jid);
                let rows = job.map(|job| job.minions(now));
                let seq = rows.and_then(|rows| rows.get(selected)?.2.map(|returned| returned.seq));
                match seq {
                    Some(seq) => self.open_event(seq),
                    None if job.is_some_and(|job| job.is_summed()) => {}
                    None => "this minion has not returned".clone_into(&mut self.message),
                }
            }
            Some(Overlay::Event { .. } | Overlay::Help) => {}
            None => self.enter_row(selected),
        }
    }

    fn enter_row(&mut self, selected: usize) {
        match self.view {
            View::Events => {
                if let Some(row) = self.selected.or_else(|| self.newest_shown()) {
                    self.select(Some(row));
                    self.open_row(row);
                }
            }
            View::Jobs => {
                let jid = self
                    .site
                    .jobs
                    .newest()
                    .nth(selected)
                    .map(|(jid, _)| jid.to_owned());
                if let Some(jid) = jid {
                    self.open(Overlay::Job { jid });
                }
            }
            View::Minions => {
                let id = self
                    .site
                    .minions
                    .newest()
                    .get(selected)
                    .map(|(id, _)| (*id).to_owned());
                self.show_events(id.map(|id| format!("minion:{id}")));
            }
            View::Tags => {
                let shape = self
                    .site
                    .tags
                    .busiest(self.now())
                    .get(selected)
                    .map(|row| row.0.to_owned());
                // With a colon it would be a field.
                self.show_events(shape.map(|shape| shape.replace(':', "[:]")));
            }
            View::Functions => {
                let functions = &self.site.functions;
                let fun = functions
                    .busiest(self.now())
                    .get(selected)
                    .map(|row| row.0.to_owned());
                self.show_events(fun.map(|fun| format!("fun:{fun}")));
            }
            View::Bus => {}
        }
    }

    /// Goes to the list of events with this filter.
    fn show_events(&mut self, filter: Option<String>) {
        let Some(filter) = filter else { return };
        match self.set_filter(&filter) {
            Ok(()) => {
                self.selected = None;
                self.go_to(View::Events);
            }
            Err(error) => self.message = error,
        }
    }

    fn ask(&mut self, kind: PromptKind, text: &str) {
        self.prompt = Some(Prompt {
            kind,
            text: text.to_owned(),
            error: String::new(),
        });
    }

    /// Takes text that was pasted.
    pub(super) fn paste(&mut self, text: &str) {
        if let Some(prompt) = &mut self.prompt {
            prompt
                .text
                .extend(text.chars().filter(|c| !c.is_control()).take(4096));
        }
    }

    fn prompt_key(&mut self, key: KeyEvent) {
        let Some(prompt) = &mut self.prompt else {
            return;
        };
        match key.code {
            KeyCode::Esc => self.prompt = None,
            KeyCode::Backspace => drop(prompt.text.pop()),
            KeyCode::Char('u') if key.modifiers.contains(KeyModifiers::CONTROL) => {
                prompt.text.clear()
            }
            KeyCode::Char(c) if prompt.text.len() < 4096 => prompt.text.push(c),
            KeyCode::Enter => {
                let Prompt { kind, text, .. } = prompt.clone();
                match kind {
                    PromptKind::Search => {
                        (self.search, self.prompt) = (text.to_lowercase(), None);
                        self.find(false);
                    }
                    PromptKind::Filter => match self.set_filter(&text) {
                        Ok(()) => self.prompt = None,
                        Err(error) => {
                            if let Some(prompt) = &mut self.prompt {
                                prompt.error = error;
                            }
                        }
                    },
                }
            }
            _ => {}
        }
    }

    /// Writes what the list of events shows as JSON lines.
    fn save(&mut self) {
        let mut lines = String::new();
        let rows = self.rows();
        let mut at = rows.oldest().and_then(|row| self.nearest(row, true));
        let mut count = 0;
        while let Some(number) = at {
            if let Some(Row::Event {
                seq,
                at,
                tag,
                data: Some(data),
                ..
            }) = rows.get(number)
                && let Ok(Value::Map(data)) = msgpack::decode(data)
            {
                let object: Map = [
                    ("seq", Value::Int((*seq).into())),
                    ("time", clock::utc_text(*at).into()),
                    ("tag", Value::from(&**tag)),
                    ("data", Value::Map(data)),
                ]
                .into_iter()
                .collect();
                json::to_exact_line(&object.into(), &mut lines);
                lines.push('\n');
                count += 1;
            }
            at = rows.after(number).and_then(|row| self.nearest(row, true));
        }
        match count {
            0 => "no events to write".clone_into(&mut self.message),
            _ => self.export = Some(lines),
        }
    }

    /// Takes what the mouse does.
    pub(super) fn mouse(&mut self, mouse: MouseEvent) {
        match mouse.kind {
            MouseEventKind::ScrollUp => self.go(3, false),
            MouseEventKind::ScrollDown => self.go(3, true),
            MouseEventKind::Down(MouseButton::Left) => self.click(mouse.column, mouse.row),
            _ => {}
        }
    }

    fn click(&mut self, column: u16, row: u16) {
        let tab = self
            .tabs
            .iter()
            .find(|(from, to, _)| row == 1 && (*from..*to).contains(&column));
        if let Some((.., view)) = tab {
            return self.go_to(*view);
        }
        let Some(index) = row
            .checked_sub(self.list_top)
            .map(usize::from)
            .filter(|index| *index < self.height)
        else {
            return;
        };
        if self.is_list_of_events() {
            let Some(number) = self.shown.get(index).copied() else {
                return;
            };
            return match self.selected == Some(number) {
                true => self.enter(),
                false => self.select(Some(number)),
            };
        }
        let len = self.list_len;
        let place = self.place();
        let at = place.top + index;
        if at >= len {
            return;
        }
        match place.selected == at {
            true => self.enter(),
            false => place.selected = at,
        }
    }
}
