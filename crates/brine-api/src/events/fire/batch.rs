//! Events cut out of a body as it arrives, and the answers to them.

use std::io::Write;

use brine_log::{Incoming, LogId, Seq};
use brine_wire::envelope::Envelope;
use brine_wire::event_line::{self, LineError};
use brine_wire::record::{self, Record};
use brine_wire::{Map, Value, json};
use bytes::BytesMut;

use super::super::lines::{Line, Lines};
use super::{Firing, Form, MAX_LINE};
use crate::state::Noticed;

/// Events one after the other, and those that were refused, in the order in which they came.
#[derive(Debug, Default)]
pub(super) struct Batch {
    bytes: Vec<u8>,
    outcomes: Vec<Outcome>,
    /// Whether the audit knows that one of them is not permitted.
    is_refusal_noted: bool,
}

/// What became of one event.
#[derive(Debug)]
pub(super) enum Outcome {
    /// Ready to be appended.
    Event {
        /// Where it ends among the bytes.
        end: usize,
        tag_bytes: usize,
    },
    Refused {
        /// The line, or the record, counted from 1.
        line: u64,
        code: &'static str,
        message: String,
    },
}

impl Batch {
    pub(super) fn outcomes(&self) -> &[Outcome] {
        &self.outcomes
    }

    /// What is to be appended.
    pub(super) fn events(&self) -> impl Iterator<Item = Incoming<'_>> {
        let mut start = 0;
        self.outcomes.iter().filter_map(move |outcome| {
            let Outcome::Event { end, tag_bytes } = *outcome else {
                return None;
            };
            let event = &self.bytes[start..end];
            start = end;
            Some(Incoming { event, tag_bytes })
        })
    }

    /// Writes an answer for each; `seqs` are the numbers of the events, in their order, or why one was not fired.
    pub(super) fn answer<'e>(
        &self,
        form: Form,
        log: LogId,
        mut seqs: impl Iterator<Item = Result<Seq, &'e str>>,
        out: &mut Vec<u8>,
    ) {
        out.reserve(self.outcomes.len() * 40);
        for outcome in &self.outcomes {
            match outcome {
                Outcome::Event { .. } => match seqs.next() {
                    Some(Ok(seq)) => accept(form, log, seq, out),
                    Some(Err(why)) => refuse(form, None, "not_fired", why, out),
                    None => {}
                },
                Outcome::Refused {
                    line,
                    code,
                    message,
                } => refuse(form, Some(*line), code, message, out),
            }
        }
    }
}

fn accept(form: Form, log: LogId, seq: Seq, out: &mut Vec<u8>) {
    match form {
        Form::Records => Record::Fired { sequence: seq.0 }.encode(out),
        // Writing to memory does not fail.
        Form::Lines => {
            let _ = writeln!(out, "{{\"position\": \"{log}-{seq}\"}}");
        }
    }
}

/// Writes an error; with the line it is about, if it is about one.
pub(super) fn refuse(form: Form, line: Option<u64>, code: &str, message: &str, out: &mut Vec<u8>) {
    match form {
        Form::Records => Record::Refused {
            code: code.to_owned(),
            message: message.to_owned(),
        }
        .encode(out),
        Form::Lines => {
            let mut error: Map = [("code", code), ("message", message)].into_iter().collect();
            if let Some(line) = line {
                error.insert("line", Value::Int(line.into()));
            }
            let outer: Map = [("error", error)].into_iter().collect();
            let mut text = String::new();
            json::to_line(&outer.into(), &mut text);
            text.push('\n');
            out.extend_from_slice(text.as_bytes());
        }
    }
}

/// Cuts events out of a body, however it comes.
pub(super) struct Cutter<'a> {
    firing: &'a Firing,
    source: Source,
    /// How many lines or records there were.
    number: u64,
    batch: Batch,
}

enum Source {
    Lines(Lines),
    Records(BytesMut),
    /// A stream of records that cannot be read on: nothing that follows is looked at.
    Broken,
}

impl<'a> Cutter<'a> {
    pub(super) fn new(firing: &'a Firing) -> Self {
        Self {
            firing,
            source: match firing.form {
                Form::Lines => Source::Lines(Lines::new(MAX_LINE)),
                Form::Records => Source::Records(BytesMut::new()),
            },
            number: 0,
            batch: Batch::default(),
        }
    }

    /// Takes the next bytes of the body.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        match &mut self.source {
            Source::Lines(lines) => {
                let mut events = Events {
                    firing: self.firing,
                    stamp: self.firing.stamp(),
                    number: &mut self.number,
                    batch: &mut self.batch,
                };
                lines.push(bytes, |line| events.line(&line));
            }
            Source::Records(records) => {
                records.extend_from_slice(bytes);
                self.cut_records();
            }
            Source::Broken => {}
        }
    }

    /// What has been cut out since the last time.
    pub(super) fn take(&mut self) -> Batch {
        std::mem::take(&mut self.batch)
    }

    /// The rest, at the end of the body.
    pub(super) fn finish(mut self) -> Batch {
        let mut events = Events {
            firing: self.firing,
            stamp: self.firing.stamp(),
            number: &mut self.number,
            batch: &mut self.batch,
        };
        match self.source {
            Source::Lines(lines) => lines.finish(|line| events.line(&line)),
            Source::Records(records) if !records.is_empty() => {
                *events.number += 1;
                events.refused("bad_event", NOT_A_RECORD.to_owned());
            }
            Source::Records(_) | Source::Broken => {}
        }
        self.batch
    }

    fn cut_records(&mut self) {
        let Source::Records(records) = &mut self.source else {
            return;
        };
        let mut events = Events {
            firing: self.firing,
            stamp: String::new(),
            number: &mut self.number,
            batch: &mut self.batch,
        };
        let mut used = 0;
        loop {
            match record::next(&records[used..], MAX_LINE) {
                Ok(None) => break,
                Ok(Some((record, length))) => {
                    *events.number += 1;
                    match record {
                        Record::Fire { event } => events.record(event),
                        _ => events.refused("bad_event", NOT_A_RECORD.to_owned()),
                    }
                    used += length;
                }
                Err(error) => {
                    *events.number += 1;
                    events.refused("bad_stream", error.to_string());
                    self.source = Source::Broken;
                    return;
                }
            }
        }
        drop(records.split_to(used));
    }
}

const NOT_A_RECORD: &str = "expected whole records [6, bytes], found something else";

/// Checks events and puts them into a batch.
struct Events<'a> {
    firing: &'a Firing,
    /// Of all events that come at once.
    stamp: String,
    number: &'a mut u64,
    batch: &'a mut Batch,
}

impl Events<'_> {
    fn line(&mut self, line: &Line<'_>) {
        *self.number += 1;
        let line = match line {
            Line::Whole(line) if line.trim_ascii().is_empty() => return,
            Line::Whole(line) => line,
            Line::TooLong => {
                let message = format!("expected a line of at most {MAX_LINE} bytes");
                return self.refused("bad_event", message);
            }
        };
        let start = self.batch.bytes.len();
        let limit = self.firing.state.config.max_event_size;
        match event_line::encode(line, &self.stamp, limit, &mut self.batch.bytes) {
            Ok(tag_bytes) => self.ready(start, tag_bytes),
            Err(LineError::NoEvent) => {}
            Err(error) => self.refused("bad_event", error.to_string()),
        }
    }

    /// An event that comes as it will be read.
    fn record(&mut self, event: &[u8]) {
        let envelope = match Envelope::parse(event) {
            Ok(envelope) => envelope,
            Err(error) => return self.refused("bad_event", error.to_string()),
        };
        let limit = self.firing.state.config.max_event_size;
        let bytes = envelope.data().len();
        if bytes > limit {
            let message =
                format!("expected at most {limit} bytes of data (max_event_size), found {bytes}");
            return self.refused("bad_event", message);
        }
        let start = self.batch.bytes.len();
        self.batch.bytes.extend_from_slice(event);
        self.ready(start, envelope.tag().len());
    }

    /// Takes the event at the end of the bytes, if its tag is permitted.
    fn ready(&mut self, start: usize, tag_bytes: usize) {
        let end = self.batch.bytes.len();
        let tag = &self.batch.bytes[start..start + tag_bytes];
        let tag = std::str::from_utf8(tag).unwrap_or_default();
        if self.firing.permitted.contains(tag) {
            return self.batch.outcomes.push(Outcome::Event { end, tag_bytes });
        }
        if let Some(subject) = &self.firing.audited
            && !self.batch.is_refusal_noted
        {
            let refused = Noticed::IsRefused { tag: Some(tag) };
            self.firing.state.note(subject, refused);
            self.batch.is_refusal_noted = true;
        }
        let tag: String = tag.chars().take(200).collect();
        self.batch.bytes.truncate(start);
        self.refused(
            "forbidden",
            format!("{tag:?} is not among the tags you may fire (brine: {{acl: …}})"),
        );
    }

    fn refused(&mut self, code: &'static str, message: String) {
        self.batch.outcomes.push(Outcome::Refused {
            line: *self.number,
            code,
            message,
        });
    }
}
