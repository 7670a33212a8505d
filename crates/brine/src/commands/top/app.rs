//! What `brine top` shows and where the user is in it. Knows neither terminal nor bus: it takes time, keys and
//! events, and returns requests.

use brine_bus::client::local::EventQuery;
use brine_view::site::{Arrival, Gap, Row, Site};
use brine_wire::{Map, Value, msgpack};

use super::filter::Filter;
use super::rows::{Past, Rows};
use super::source::{BUS_AWAY, Item};
use crate::clock::Zone;
use crate::commands::{local_events, permitted};

/// Said while the bus that was joined is away; what matters is in what a narrow terminal shows.
const AWAY: &str = "away: the salt-master or salt-minion whose bus brine attach has joined";

/// A view.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum View {
    Events,
    Jobs,
    Minions,
    Tags,
    Functions,
    Bus,
}

impl View {
    pub(super) const ALL: [Self; 6] = [
        Self::Events,
        Self::Jobs,
        Self::Minions,
        Self::Tags,
        Self::Functions,
        Self::Bus,
    ];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Events => "Events",
            Self::Jobs => "Jobs",
            Self::Minions => "Minions",
            Self::Tags => "Tags",
            Self::Functions => "Functions",
            Self::Bus => "Bus",
        }
    }
}

/// The overlay on a view.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Overlay {
    /// The minions of a job.
    Job { jid: String },
    /// An event with its data.
    Event {
        tag: String,
        at: u64,
        seq: u64,
        data: Option<Map>,
    },
    /// The keys.
    Help,
}

/// A line that is being typed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Prompt {
    pub(super) kind: PromptKind,
    pub(super) text: String,
    pub(super) error: String,
}

/// What it is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PromptKind {
    Search,
    Filter,
}

/// Something that the source is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Wish {
    /// Read events from history that came before this one.
    Before { seq: u64 },
    /// Read this one event.
    One { seq: u64 },
}

/// Whether events come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Link {
    Connecting,
    Live,
    /// Not connected, and why.
    Lost(String),
    /// A file, read to its end.
    Complete,
}

/// A place in a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Place {
    pub(super) selected: usize,
    pub(super) top: usize,
}

/// Everything.
#[derive(Debug)]
pub(super) struct App {
    pub(super) site: Site,
    pub(super) source: String,
    pub(super) link: Link,
    /// Why nothing will come.
    pub(super) is_refused: Option<String>,
    /// A file and not a bus: its time does not advance.
    pub(super) is_recording: bool,
    /// The bus's status, and its consumers.
    pub(super) status: Option<Map>,
    pub(super) consumers: Vec<Map>,
    pub(super) zone: Zone,
    pub(super) colour: bool,
    /// The time, in milliseconds since 1970.
    pub(super) now: u64,
    pub(super) view: View,
    pub(super) overlays: Vec<(Overlay, Place)>,
    pub(super) prompt: Option<Prompt>,
    pub(super) filter: Filter,
    pub(super) only_failures: bool,
    pub(super) search: String,
    pub(super) past: Past,
    /// The selected row of events; `None` while the newest are followed.
    pub(super) selected: Option<i64>,
    /// The first row on the screen while one is selected.
    pub(super) top: i64,
    pub(super) places: [Place; 6],
    /// How many rows the list has on the screen; set when it is drawn.
    pub(super) height: usize,
    /// Where the list begins on the screen, and what it shows: for the mouse.
    pub(super) list_top: u16,
    pub(super) shown: Vec<i64>,
    pub(super) tabs: Vec<(u16, u16, View)>,
    /// How many rows the present list has.
    pub(super) list_len: usize,
    pub(super) as_json: bool,
    /// The plot has a column per minute instead of one per second.
    pub(super) has_minutes: bool,
    /// The full height of the plot, if the user holds it.
    pub(super) scale: Option<u32>,
    /// Its height when it was drawn last.
    pub(super) most: u32,
    pub(super) message: String,
    pub(super) is_over: bool,
    wishes: Vec<Wish>,
    /// Lines that the user wants in a file.
    pub(super) export: Option<String>,
}

impl App {
    pub(super) fn new(zone: Zone, colour: bool) -> Self {
        Self {
            site: Site::default(),
            source: String::new(),
            link: Link::Connecting,
            is_refused: None,
            is_recording: false,
            status: None,
            consumers: Vec::new(),
            zone,
            colour,
            now: 0,
            view: View::Events,
            overlays: Vec::new(),
            prompt: None,
            filter: Filter::default(),
            only_failures: false,
            search: String::new(),
            past: Past::default(),
            selected: None,
            top: 0,
            places: [Place::default(); 6],
            height: 10,
            list_top: 0,
            shown: Vec::new(),
            tabs: Vec::new(),
            list_len: 0,
            as_json: false,
            has_minutes: false,
            scale: None,
            most: 1,
            message: String::new(),
            is_over: false,
            wishes: Vec::new(),
            export: None,
        }
    }

    /// Takes what a source gives.
    pub(super) fn take(&mut self, item: Item) {
        match item {
            Item::Event { tag, data, at, seq } => {
                let arrival = Arrival {
                    tag: &tag,
                    data: &data,
                    at,
                    seq,
                };
                self.site.take(arrival);
            }
            Item::Gap(gap) => self.take_gap(gap),
            Item::Link(link) => self.link = link,
            Item::Status { status, consumers } => {
                if let (None, Some(status)) = (&self.status, &status) {
                    let hidden = permitted::hidden(status, &EventQuery::default());
                    self.message = hidden.unwrap_or_else(|| std::mem::take(&mut self.message));
                }
                (self.status, self.consumers) = (status, consumers);
            }
            Item::Past(rows) => {
                let first = self.first_known();
                self.past.prepend(rows, first);
            }
            Item::One { tag, data, at, seq } => self.fill_in(tag, data, at, seq),
            Item::Message(message) => self.message = message,
            Item::Refused(why) => self.is_refused = Some(why),
        }
    }

    /// Whether events come: a bus that has joined another is there when that one is away.
    pub(super) fn link(&self) -> Link {
        let attach = self.status.as_ref().and_then(|status| status.get("attach"));
        match &self.link {
            Link::Live if attach.is_some_and(local_events::is_cut_off) => {
                Link::Lost(AWAY.to_owned())
            }
            Link::Lost(why) if why == BUS_AWAY && attach.is_some() => {
                Link::Lost(local_events::ATTACH_ENDED.to_owned())
            }
            link => link.clone(),
        }
    }

    fn take_gap(&mut self, gap: Gap) {
        self.site.take_gap(gap);
    }

    /// The number of the oldest event in memory.
    fn first_known(&self) -> u64 {
        self.site
            .recent
            .get(self.site.recent.first())
            .map_or(u64::MAX, Row::seq)
    }

    /// An event that was asked for is there.
    fn fill_in(&mut self, tag: String, data: Option<Map>, at: u64, seq: u64) {
        if let Some((Overlay::Event { seq: wanted, .. }, _)) = self.overlays.last()
            && *wanted == seq
        {
            self.overlays.pop();
            self.overlays
                .push((Overlay::Event { tag, at, seq, data }, Place::default()));
        }
    }

    pub(super) fn take_wishes(&mut self) -> Vec<Wish> {
        std::mem::take(&mut self.wishes)
    }

    pub(super) fn wish(&mut self, wish: Wish) {
        self.wishes.push(wish);
    }

    /// A wish that cannot be met now.
    pub(super) fn refused(&mut self, wish: &Wish) {
        if matches!(wish, Wish::Before { .. }) {
            self.past.is_asked = false;
        }
        "the bus has not answered yet; try again".clone_into(&mut self.message);
    }

    /// The time that ages and rates are counted to.
    pub(super) fn now(&self) -> u64 {
        if !self.is_recording {
            return self.now;
        }
        let newest = self.rows().newest().and_then(|row| self.rows().get(row));
        newest.map_or(self.now, |row| row.at() + 1000)
    }

    pub(super) const fn rows(&self) -> Rows<'_> {
        Rows {
            past: &self.past,
            recent: &self.site.recent,
        }
    }

    /// Whether a row is shown.
    pub(super) fn wants(&self, row: &Row) -> bool {
        match row {
            Row::Gap(_) => true,
            Row::Event {
                is_failure: false, ..
            } if self.only_failures => false,
            Row::Event { tag, data, .. } => {
                self.filter.wants(tag, data.as_deref().unwrap_or(&[0x80]))
            }
        }
    }

    /// The nearest row in a direction that is shown, beginning with this one.
    pub(super) fn nearest(&self, from: i64, is_down: bool) -> Option<i64> {
        let rows = self.rows();
        let mut at = from;
        loop {
            let row = rows.get(at)?;
            if self.wants(row) {
                return Some(at);
            }
            at = if is_down {
                rows.after(at)?
            } else {
                rows.before(at)?
            };
        }
    }

    /// Moves by this many shown rows, as far as there are some.
    pub(super) fn step(&self, from: i64, count: usize, is_down: bool) -> i64 {
        let rows = self.rows();
        let mut at = from;
        for _ in 0..count {
            let next = if is_down {
                rows.after(at)
            } else {
                rows.before(at)
            };
            match next.and_then(|next| self.nearest(next, is_down)) {
                Some(next) => at = next,
                None => break,
            }
        }
        at
    }

    pub(super) fn set_filter(&mut self, text: &str) -> Result<(), String> {
        self.filter = Filter::parse(text)?;
        self.past.clear();
        if self.selected.is_some_and(|row| row < 0) {
            self.selected = None;
        }
        Ok(())
    }

    /// Reads back if the top is near and there is more.
    pub(super) fn read_back(&mut self) {
        let oldest = self
            .past
            .first()
            .or_else(|| self.site.recent.get(self.site.recent.first()));
        let Some(seq) = oldest.map(Row::seq) else {
            return;
        };
        if self.past.is_complete || self.past.is_asked || self.is_recording {
            return;
        }
        self.past.is_asked = true;
        self.wish(Wish::Before { seq });
    }

    /// The event of a row, for its detail.
    pub(super) fn open_row(&mut self, number: i64) {
        let Some(Row::Event {
            seq, at, tag, data, ..
        }) = self.rows().get(number)
        else {
            return;
        };
        let decoded = data.as_ref().and_then(|data| match msgpack::decode(data) {
            Ok(Value::Map(map)) => Some(map),
            _ => None,
        });
        let overlay = Overlay::Event {
            tag: tag.to_string(),
            at: *at,
            seq: *seq,
            data: decoded,
        };
        self.overlays.push((overlay, Place::default()));
    }

    /// The event of a number, from memory or from history.
    pub(super) fn open_event(&mut self, seq: u64) {
        let recent = &self.site.recent;
        let found = (recent.first()..recent.end())
            .rev()
            .find(|number| matches!(recent.get(*number), Some(Row::Event { seq: own, .. }) if *own == seq));
        if let Some(number) = found.and_then(|number| i64::try_from(number).ok()) {
            return self.open_row(number);
        }
        let overlay = Overlay::Event {
            tag: "reading from history …".to_owned(),
            at: 0,
            seq,
            data: None,
        };
        self.overlays.push((overlay, Place::default()));
        self.wish(Wish::One { seq });
    }

    pub(super) fn place(&mut self) -> &mut Place {
        if let Some((_, place)) = self.overlays.last_mut() {
            return place;
        }
        let at = View::ALL
            .iter()
            .position(|view| *view == self.view)
            .unwrap_or_default();
        &mut self.places[at]
    }
}
