//! Makes rows of Salt's returner tables from events: the part that all databases share. Pure.

use std::collections::BTreeMap;

use brine_wire::{Map, Value};

use crate::batch::Event;
use crate::jobs::{JobEvent, Return};
use crate::local_cache;
use crate::text::{self, Taker, clean, cut};

/// Which of Salt's tables are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tables {
    /// `salt_events`: `event_return` in Salt.
    pub events: bool,
    /// `jids` and `salt_returns`: `master_job_cache` in Salt.
    pub jobs: bool,
}

/// When a row is said to be from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AlterTime {
    /// When it is stored, as with Salt: tools page by it.
    #[default]
    Stored,
    /// When the event arrived, which tells more after a database was away.
    Event,
}

/// How many characters the columns have room for; no limit for `None`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Widths {
    pub(crate) tag: Option<usize>,
    pub(crate) jid: Option<usize>,
    pub(crate) fun: Option<usize>,
    pub(crate) id: Option<usize>,
}

/// A row of `salt_events`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct EventRow {
    pub(crate) tag: String,
    pub(crate) data: String,
    pub(crate) at: u64,
    /// The master on whose bus it was fired.
    pub(crate) master: String,
}

/// A row of `salt_returns`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ReturnRow {
    pub(crate) fun: String,
    pub(crate) jid: String,
    pub(crate) value: String,
    pub(crate) id: String,
    pub(crate) is_success: bool,
    pub(crate) full: String,
    pub(crate) at: u64,
}

/// A row of `jids`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct JobRow {
    pub(crate) jid: String,
    pub(crate) load: String,
    /// The same in the columns of `postgres_local_cache`, where those are asked for.
    pub(crate) columns: Vec<String>,
    /// Whether it is what was published, rather than what a return tells of a job nobody published here.
    pub(crate) is_published: bool,
}

/// What a batch adds to Salt's job cache.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct JobRows {
    /// One for each job, in the order of their first events.
    pub(crate) jobs: Vec<JobRow>,
    pub(crate) returns: Vec<ReturnRow>,
}

/// Which of Salt's returners the tables of the job cache are of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum JobTables {
    /// `pgjsonb`, `postgres`, `mysql`: JSON.
    #[default]
    Json,
    /// `postgres_local_cache`: columns.
    #[cfg_attr(
        not(feature = "postgres"),
        allow(dead_code, reason = "these tables are in PostgreSQL alone")
    )]
    LocalCache,
}

/// What rows are made with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RowMaker {
    pub(crate) job_tables: JobTables,
    pub(crate) tables: Tables,
    pub(crate) widths: Widths,
    pub(crate) taker: Taker,
    pub(crate) master_id: String,
}

impl RowMaker {
    /// The rows of the job cache, out of some events.
    pub(crate) fn jobs<'a>(&self, events: impl Iterator<Item = Event<'a>>) -> JobRows {
        let mut rows = JobRows::default();
        let mut jobs = BTreeMap::new();
        for event in events.filter(|_| self.tables.jobs) {
            match JobEvent::of(&event, &self.master_id) {
                Some(JobEvent::Published { jid, load }) => {
                    self.add_job(&mut rows, &mut jobs, &jid, &load, true);
                }
                Some(JobEvent::Returned(returned)) => {
                    // Readers look a return's job up there, whoever started it.
                    let load = match self.job_tables {
                        JobTables::Json => load_of(&returned),
                        JobTables::LocalCache => local_cache::told(&returned),
                    };
                    self.add_job(&mut rows, &mut jobs, &returned.jid, &load, false);
                    rows.returns.push(self.returned(&returned, event.at.0));
                }
                None => {}
            }
        }
        rows
    }

    /// The rows of `salt_events`, made one by one as they are asked for.
    pub(crate) fn events<'a>(
        &self,
        events: impl Iterator<Item = Event<'a>>,
    ) -> impl Iterator<Item = EventRow> {
        let wanted = events.filter(|_| self.tables.events);
        wanted.map(|event| self.event(&event))
    }

    /// A tag that is too long is cut; then the whole one is in the data.
    fn event(&self, event: &Event<'_>) -> EventRow {
        let tag = clean(&event.tag_text(), self.taker);
        let data = text::of_data(event.data, self.taker).json;
        let short = self.fitted(&tag, self.widths.tag);
        let data = match short.len() < tag.len() {
            true => with_tag(&data, &tag),
            false => data,
        };
        EventRow {
            tag: short,
            data,
            at: event.at.0,
            master: clean(
                event
                    .origin
                    .map_or(&self.master_id, |origin| origin.master()),
                self.taker,
            ),
        }
    }

    fn add_job(
        &self,
        rows: &mut JobRows,
        jobs: &mut BTreeMap<String, usize>,
        jid: &str,
        load: &Map,
        is_published: bool,
    ) {
        let jid = self.fitted(&clean(jid, self.taker), self.widths.jid);
        let place = jobs.get(&jid).copied();
        if place.is_some() && !is_published {
            return;
        }
        let row = JobRow {
            jid: jid.clone(),
            load: match self.job_tables {
                JobTables::Json => text::of_value(&load.clone().into(), self.taker).json,
                JobTables::LocalCache => String::new(),
            },
            columns: match self.job_tables {
                JobTables::Json => Vec::new(),
                JobTables::LocalCache if is_published => {
                    local_cache::columns(&local_cache::published(load), self.taker)
                }
                JobTables::LocalCache => local_cache::columns(load, self.taker),
            },
            is_published,
        };
        match place.and_then(|place| rows.jobs.get_mut(place)) {
            Some(known) => *known = row,
            None => {
                jobs.insert(jid, rows.jobs.len());
                rows.jobs.push(row);
            }
        }
    }

    fn returned(&self, returned: &Return, at: u64) -> ReturnRow {
        let fitted = |text: &str, width| self.fitted(&clean(text, self.taker), width);
        ReturnRow {
            fun: fitted(&returned.fun, self.widths.fun),
            jid: fitted(&returned.jid, self.widths.jid),
            value: match self.job_tables {
                JobTables::Json => text::of_value(&returned.value, self.taker).json,
                JobTables::LocalCache => local_cache::returned(returned, self.taker),
            },
            id: fitted(&returned.id, self.widths.id),
            is_success: returned.is_success,
            full: text::of_value(&returned.full.clone().into(), self.taker).json,
            at,
        }
    }

    #[allow(clippy::unused_self)] // reads as one of them
    fn fitted(&self, text: &str, width: Option<usize>) -> String {
        width.map_or(text, |width| cut(text, width)).to_owned()
    }
}

/// What is known of a job that was not published here (scheduled, `salt-call`, a runner), in the form of one that was.
fn load_of(returned: &Return) -> Map {
    let mut load = Map::new();
    load.insert("jid", returned.jid.as_str());
    load.insert("fun", returned.fun.as_str());
    load.insert("tgt", returned.id.as_str());
    load.insert("tgt_type", "glob");
    let arguments = returned.full.get("fun_args").cloned();
    load.insert("arg", arguments.unwrap_or(Value::Array(Vec::new())));
    let user = returned.full.get("user").cloned();
    load.insert("user", user.unwrap_or_else(|| "".into()));
    load
}

/// The data with one more member: the tag that its column has no room for.
fn with_tag(data: &str, tag: &str) -> String {
    let mut member = b"{\"brine_tag\": ".to_vec();
    brine_wire::json::quote(tag, &mut member);
    let member = String::from_utf8_lossy(&member);
    match data.strip_prefix('{') {
        Some("}") => format!("{member}}}"),
        Some(rest) => format!("{member}, {rest}"),
        None => data.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use brine_log::{LogId, Millis, Position, Seq};
    use brine_wire::msgpack;

    fn maker() -> RowMaker {
        RowMaker {
            job_tables: JobTables::Json,
            tables: Tables {
                events: true,
                jobs: true,
            },
            widths: Widths {
                tag: Some(40),
                fun: Some(5),
                ..Widths::default()
            },
            taker: Taker::Postgres,
            master_id: "master1".to_owned(),
        }
    }

    /// What a test looks at.
    struct Rows {
        events: Vec<EventRow>,
        jobs: Vec<JobRow>,
        returns: Vec<ReturnRow>,
    }

    fn rows(events: &[(&str, &[(&str, Value)])]) -> Rows {
        let packed: Vec<_> = events
            .iter()
            .map(|(tag, data)| {
                let map: Map = data.iter().cloned().collect();
                let mut packed = Vec::new();
                msgpack::encode_map(&map, &mut packed);
                (tag.as_bytes(), packed)
            })
            .collect();
        let events = packed.iter().zip(1..).map(|((tag, data), seq)| Event {
            position: Position {
                log: LogId(1),
                seq: Seq(seq),
            },
            at: Millis(seq),
            tag,
            data,
            sender: None,
            origin: None,
        });
        let JobRows { jobs, returns } = maker().jobs(events.clone());
        Rows {
            events: maker().events(events).collect(),
            jobs,
            returns,
        }
    }

    #[test]
    fn a_long_tag_is_cut_and_whole_in_the_data() {
        let long = "x".repeat(50);
        let rows = rows(&[(&long, &[("n", 1.into())]), (&long, &[]), ("a\0", &[])]);
        let [first, second, third] = &rows.events[..] else {
            panic!("expected three rows")
        };
        assert_eq!(first.tag.len(), 40);
        assert_eq!(
            first.data,
            format!("{{\"brine_tag\": \"{long}\", \"n\": 1}}")
        );
        assert_eq!(second.data, format!("{{\"brine_tag\": \"{long}\"}}"));
        assert_eq!((third.tag.as_str(), third.at), ("a\u{fffd}", 3));
        assert_eq!(third.master, "master1");
    }

    #[test]
    fn a_job_has_one_row_with_what_was_published() {
        let ret = |id: &str| format!("salt/job/7/ret/{id}");
        let data = [
            ("fun", Value::from("test.ping")),
            ("return", true.into()),
            ("success", true.into()),
        ];
        let rows = rows(&[
            (&ret("a"), &data),
            ("salt/job/7/new", &[("user", "root".into())]),
            (&ret("b"), &data),
            ("salt/job/8/ret/a", &data),
        ]);
        assert_eq!(rows.returns.len(), 3);
        assert_eq!(rows.returns[0].fun, "test.");
        let [published, told] = &rows.jobs[..] else {
            panic!("expected two jobs")
        };
        assert_eq!(published.load, "{\"user\": \"root\"}");
        assert!(published.is_published && !told.is_published);
        assert!(
            told.load.contains("\"fun\": \"test.ping\""),
            "{}",
            told.load
        );
    }
}
