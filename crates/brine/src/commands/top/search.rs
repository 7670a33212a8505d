//! Finding text in the list of events and in the other lists. Knows no keys.

use brine_view::line;
use brine_view::site::Row;
use brine_wire::{Value, json, msgpack};

use super::app::{App, Overlay, View};

impl App {
    /// Goes to the next row that has the text; in the list of events `is_down` is towards the newest.
    pub(super) fn find(&mut self, is_down: bool) {
        if self.search.is_empty() {
            return;
        }
        let is_found = if self.is_list_of_events() {
            self.find_event(is_down)
        } else {
            self.find_in_list(is_down)
        };
        if !is_found {
            self.message = format!("no other match of {}", self.search);
        }
    }

    fn find_event(&mut self, is_down: bool) -> bool {
        let rows = self.rows();
        let Some(mut at) = self.selected.or_else(|| rows.newest()) else {
            return false;
        };
        let mut is_first = self.selected.is_none();
        loop {
            let next = match is_first {
                true => Some(at),
                false if is_down => rows.after(at),
                false => rows.before(at),
            };
            is_first = false;
            let Some(next) = next.and_then(|next| self.nearest(next, is_down)) else {
                return false;
            };
            at = next;
            if rows.get(at).is_some_and(|row| self.has_search(row)) {
                self.select(Some(at));
                return true;
            }
        }
    }

    fn has_search(&self, row: &Row) -> bool {
        match row {
            Row::Gap(_) => false,
            Row::Event { tag, data, .. } => {
                tag.to_lowercase().contains(&self.search) || {
                    let data = data.as_ref().and_then(|data| msgpack::decode(data).ok());
                    match data {
                        Some(Value::Map(map)) => {
                            let mut text = String::new();
                            json::to_line(&Value::Map(map.clone()), &mut text);
                            text.to_lowercase().contains(&self.search)
                                || line::describe(tag, &map)
                                    .to_string()
                                    .to_lowercase()
                                    .contains(&self.search)
                        }
                        _ => false,
                    }
                }
            }
        }
    }

    fn find_in_list(&mut self, is_down: bool) -> bool {
        let names = self.list_names();
        let from = self.place().selected;
        let found = match is_down {
            true => (from + 1..names.len()).find(|at| names[*at].contains(&self.search)),
            false => (0..names.len())
                .map(|step| (from + names.len() - step) % names.len().max(1))
                .find(|at| names[*at].contains(&self.search)),
        };
        if let Some(found) = found {
            self.place().selected = found;
        }
        found.is_some()
    }

    /// What a list's rows are found by, in lower case.
    fn list_names(&self) -> Vec<String> {
        let now = self.now();
        let names: Vec<String> = match (self.overlays.last(), self.view) {
            (Some((Overlay::Job { jid }, _)), _) => {
                let minions = self.site.jobs.get(jid).map(|job| job.minions(now));
                minions
                    .unwrap_or_default()
                    .into_iter()
                    .map(|(id, ..)| id.to_owned())
                    .collect()
            }
            (Some(_), _) | (None, View::Events | View::Bus) => Vec::new(),
            (None, View::Jobs) => {
                let jobs = self.site.jobs.newest();
                jobs.map(|(jid, job)| format!("{jid} {} {} {}", job.fun, job.target, job.user))
                    .collect()
            }
            (None, View::Minions) => {
                let minions = self.site.minions.newest();
                minions
                    .into_iter()
                    .map(|(id, minion)| format!("{id} {}", minion.what))
                    .collect()
            }
            (None, View::Functions) => {
                let functions = self.site.functions.busiest(now);
                functions
                    .into_iter()
                    .map(|(fun, ..)| fun.to_owned())
                    .collect()
            }
            (None, View::Tags) => {
                let tags = self.site.tags.busiest(now);
                tags.into_iter()
                    .map(|(shape, ..)| shape.to_owned())
                    .collect()
            }
        };
        names.into_iter().map(|name| name.to_lowercase()).collect()
    }
}
