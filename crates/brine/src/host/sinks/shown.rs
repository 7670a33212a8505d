//! Sinks as requests about consumers and metrics see them.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::time::Duration;

use brine_api::{Discarded, SinkFigures, Sinks};
use brine_bridge::{DeadLetter, DeadLetters, Discard, Figures, SinkHandle};
use brine_log::{Millis, Position};
use brine_wire::compat::StampStyle;
use brine_wire::{Map, Value, msgpack, stamp};

use super::dead_letters;

/// The sinks of a process; or none, but the dead letters that are left.
pub(crate) struct SinkList {
    handles: Vec<SinkHandle>,
    dead_letters: PathBuf,
}

impl SinkList {
    /// Those of a bus that runs, and its history's directory.
    pub(super) fn running(handles: Vec<SinkHandle>, history: &Path) -> Self {
        Self {
            handles,
            dead_letters: dead_letters(history),
        }
    }

    /// Those of a history whose bus does not run.
    pub(crate) fn left_in(history: &Path) -> Self {
        Self::running(Vec::new(), history)
    }

    fn find(&self, name: &str) -> Option<&SinkHandle> {
        self.handles
            .iter()
            .find(|handle| handle.name().as_str() == name)
    }
}

impl Sinks for SinkList {
    fn is_running(&self, name: &str) -> bool {
        self.find(name).is_some()
    }

    fn describe(&self, name: &str) -> Option<Map> {
        match self.find(name) {
            Some(handle) => Some(described(&handle.figures())),
            None => {
                let (_, dead) = self.dead(name, 0).ok()?;
                Some(Map::from_iter([("dead", number(dead as u64))]))
            }
        }
    }

    fn figures(&self) -> Vec<SinkFigures> {
        let figures = self.handles.iter().map(|handle| {
            let figures = handle.figures();
            SinkFigures {
                name: handle.name().to_string(),
                delivered: figures.delivered,
                failures: figures.failures,
                missed: figures.missed,
                dead: figures.dead,
                is_waiting: figures.waits_for.is_some(),
            }
        });
        figures.collect()
    }

    fn dead(&self, name: &str, most: usize) -> Result<(Vec<Map>, usize), String> {
        let file = self.dead_letters.join(name);
        let all = DeadLetters::read(&file).map_err(|error| error.to_string())?;
        let (mut shown, mut further) = (Vec::new(), 0);
        for letter in all {
            let letter = letter.map_err(|error| error.to_string())?;
            match shown.len() < most {
                true => shown.push(letter_shown(&letter)),
                false => further += 1,
            }
        }
        Ok((shown, further))
    }

    fn resend<'a>(
        &'a self,
        name: &'a str,
    ) -> Pin<Box<dyn Future<Output = Result<Map, String>> + Send + 'a>> {
        Box::pin(async move {
            let handle = self.find(name).ok_or_else(|| {
                format!("sink {name} does not run; its bus sends dead letters again")
            })?;
            let sent = handle.resend().await.map_err(|error| error.to_string())?;
            let mut answer = Map::new();
            answer.insert("name", name);
            answer.insert("delivered", number(sent.delivered));
            answer.insert("kept", number(sent.kept()));
            answer.insert("refused", number(sent.refused));
            answer.insert("failed", number(sent.failed));
            answer.insert("unsent", number(sent.unsent));
            for (name, why) in [("failure", sent.failure), ("away", sent.away)] {
                answer.insert(name, why.map_or(Value::Nil, Value::from));
            }
            Ok(answer)
        })
    }

    fn discard<'a>(
        &'a self,
        name: &'a str,
        which: Option<Vec<Position>>,
        execute: bool,
    ) -> Pin<Box<dyn Future<Output = Result<Discarded, String>> + Send + 'a>> {
        let which = which.map_or(Discard::All, Discard::These);
        let file = self.dead_letters.join(name);
        Box::pin(async move {
            let chosen = match (execute, self.find(name)) {
                (false, _) => DeadLetters::chosen(&file, &which).map_err(|error| error.to_string()),
                (true, Some(handle)) => {
                    let discarded = handle.discard(which).await;
                    discarded.map_err(|error| error.to_string())
                }
                // Nobody else has the file open: the history is this process's.
                (true, None) => {
                    let letters = DeadLetters::open(file);
                    let discarded = letters.and_then(|mut letters| letters.discard(&which));
                    discarded.map_err(|error| error.to_string())
                }
            }?;
            Ok(Discarded {
                count: chosen.positions.len() as u64,
                kept: chosen.kept,
            })
        })
    }
}

fn described(figures: &Figures) -> Map {
    let mut shown = Map::new();
    if let Some(why) = &figures.waits_for {
        shown.insert("state", format!("waiting: {why}"));
    }
    shown.insert("delivered", number(figures.delivered));
    shown.insert("batches", number(figures.batches));
    shown.insert("rate", Value::Float((figures.rate * 10.0).round() / 10.0));
    shown.insert("failures", number(figures.failures));
    shown.insert("missed", number(figures.missed));
    shown.insert("dead", number(figures.dead));
    let error = figures.last_error.as_ref().map(|error| {
        let mut shown = Map::new();
        shown.insert("time", time(error.at));
        shown.insert("reason", error.reason.as_str());
        Value::from(shown)
    });
    shown.insert("last_error", error.unwrap_or(Value::Nil));
    shown
}

fn letter_shown(letter: &DeadLetter) -> Map {
    let data = msgpack::decode(&letter.data);
    let data = data.unwrap_or_else(|_| Value::Bin(letter.data.clone()));
    let mut shown = Map::new();
    shown.insert("position", letter.position.to_string());
    shown.insert("time", time(letter.at));
    shown.insert("tag", String::from_utf8_lossy(&letter.tag).into_owned());
    shown.insert("reason", letter.reason.as_str());
    shown.insert("attempts", number(letter.attempts.into()));
    shown.insert("set_aside", time(letter.set_aside));
    shown.insert("data", data);
    shown
}

fn number(number: u64) -> Value {
    Value::Int(number.into())
}

fn time(at: Millis) -> String {
    let text = stamp::format(Duration::from_millis(at.0), StampStyle::Naive);
    format!("{text}Z")
}
