//! What `format_events` and `/formatted_events` send: after an event about a job, all jobs so far; after one about
//! minions, all minions. Salt's `SaltInfo`, without sockets.
//!
//! Salt keeps every job for ever; we keep the newest. Events that lack a field that Salt reads are skipped; Salt ends
//! the stream.

use brine_wire::{Map, Value, json};

/// The most jobs that are kept; each is in every message about jobs.
const MAX_JOBS: usize = 256;
/// The most minions that are kept.
const MAX_MINIONS: usize = 10_000;
/// The longest message about jobs, in bytes: over it, the oldest job goes.
const MAX_MESSAGE: usize = 4 << 20;

/// Which of Salt's two servers is followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    /// `rest_cherrypy`: minions are a list.
    Cherrypy,
    /// `rest_tornado`: minions are a mapping, and messages end with two line ends.
    Tornado,
}

/// Jobs and minions as known from events.
#[derive(Debug)]
pub(super) struct Formatted {
    style: Style,
    jobs: Map,
    minions: Map,
}

impl Formatted {
    pub(super) const fn new(style: Style) -> Self {
        Self {
            style,
            jobs: Map::new(),
            minions: Map::new(),
        }
    }

    /// Takes an event, `{"data": …, "tag": …}`, and gives the messages that it causes.
    pub(super) fn take(&mut self, event: &Value) -> Vec<String> {
        let fields = event.as_map();
        let tag = fields.and_then(|fields| fields.get("tag")?.as_str());
        let data = fields.and_then(|fields| fields.get("data")?.as_map());
        let (Some(tag), Some(data)) = (tag, data) else {
            return Vec::new();
        };
        let parts: Vec<&str> = tag.split('/').collect();
        let messages = match parts.as_slice() {
            [_, "job", _, "new", ..] => self.new_job(data),
            [_, "job", jid, "ret", minion] => self.job_return(jid, minion, data),
            [_, "key", ..] => self.key(data),
            [_, "presence", ..] => self.presence(data),
            _ => None,
        };
        messages.unwrap_or_default()
    }

    fn new_job(&mut self, data: &Map) -> Option<Vec<String>> {
        let Value::Array(expected) = data.get("minions")? else {
            return None;
        };
        let mut minions = Map::new();
        for minion in expected {
            let mut state = Map::new();
            state.insert("success", false);
            minions.insert(minion.clone(), state);
        }
        let mut job = Map::new();
        job.insert("jid", data.get("jid")?.clone());
        job.insert("start_time", data.get("_stamp")?.clone());
        job.insert("minions", minions);
        for field in ["fun", "tgt", "tgt_type"] {
            job.insert(field, data.get(field)?.clone());
        }
        job.insert("state", "running");
        self.jobs.insert(data.get("jid")?.clone(), job);
        if data.get("fun")?.as_str() == Some("grains.items") {
            self.minions = Map::new();
        }
        Some(vec![self.jobs_message()])
    }

    fn job_return(&mut self, jid: &str, minion: &str, data: &Map) -> Option<Vec<String>> {
        let (result, retcode, success) = (
            data.get("return")?,
            data.get("retcode")?,
            data.get("success")?,
        );
        let mut job = map_at(&self.jobs, jid);
        let mut minions = map_at(&job, "minions");
        let mut state = map_at(&minions, minion);
        state.insert("return", result.clone());
        state.insert("retcode", retcode.clone());
        state.insert("success", success.clone());
        minions.insert(minion, state);
        let is_complete = minions.iter().all(|(_, state)| {
            let success = state.as_map().and_then(|state| state.get("success"));
            success.is_some_and(Value::is_true)
        });
        job.insert("minions", minions);
        if is_complete {
            job.insert("state", "complete");
        }
        self.jobs.insert(jid, job);
        let mut messages = vec![self.jobs_message()];
        if data.get("fun").and_then(Value::as_str) == Some("grains.items") {
            let mut known = map_at(&self.minions, minion);
            known.insert("grains", result.clone());
            self.insert_minion(minion, known);
            messages.push(self.minions_message());
        }
        Some(messages)
    }

    fn key(&mut self, data: &Map) -> Option<Vec<String>> {
        let minion = data.get("id")?.as_str()?;
        match data.get("act")?.as_str()? {
            "delete" => drop(self.minions.remove(minion)),
            "accept" => {
                let known = map_at(&self.minions, minion);
                self.insert_minion(minion, known);
            }
            _ => {}
        }
        Some(vec![self.minions_message()])
    }

    /// Minions that are gone. New ones are shown once their grains arrive, which nothing here requests.
    fn presence(&mut self, data: &Map) -> Option<Vec<String>> {
        let Value::Array(present) = data.get("present")? else {
            return None;
        };
        let is_present = |minion: &Value| present.contains(minion);
        let (kept, gone): (Vec<_>, Vec<_>) = self
            .minions
            .iter()
            .partition(|(minion, _)| is_present(minion));
        if gone.is_empty() {
            return None;
        }
        let kept = kept
            .into_iter()
            .map(|(minion, known)| (minion.clone(), known.clone()));
        self.minions = kept.collect::<Vec<_>>().into();
        Some(vec![self.minions_message()])
    }

    fn insert_minion(&mut self, minion: &str, known: Map) {
        if self.minions.len() < MAX_MINIONS || self.minions.get(minion).is_some() {
            self.minions.insert(minion, known);
        }
    }

    fn jobs_message(&mut self) -> String {
        loop {
            let message = self.message("jobs", &self.jobs.clone().into());
            let is_over = self.jobs.len() > MAX_JOBS || message.len() > MAX_MESSAGE;
            if !is_over || self.jobs.len() <= 1 {
                return message;
            }
            let jobs = self.jobs.iter().skip(1);
            let jobs = jobs.map(|(jid, job)| (jid.clone(), job.clone()));
            self.jobs = jobs.collect::<Vec<_>>().into();
        }
    }

    fn minions_message(&self) -> String {
        let minions = self.minions.iter().map(|(id, known)| {
            let mut minion = known.as_map().cloned().unwrap_or_default();
            minion.insert("id", id.clone());
            (id.clone(), Value::from(minion))
        });
        let minions = match self.style {
            Style::Cherrypy => minions
                .map(|(_, minion)| minion)
                .collect::<Vec<Value>>()
                .into(),
            Style::Tornado => Value::from(Map::from(minions.collect::<Vec<_>>())),
        };
        self.message("minions", &minions)
    }

    fn message(&self, key: &str, value: &Value) -> String {
        let mut text = format!("{{\"{key}\": ");
        json::to_line(value, &mut text);
        text.push('}');
        if self.style == Style::Tornado {
            text.push_str("\n\n");
        }
        text
    }
}

fn map_at(map: &Map, key: &str) -> Map {
    map.get(key)
        .and_then(Value::as_map)
        .cloned()
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEW: &str = r#"{"tag": "salt/job/20261123212003365197/new", "data": {"jid": "20261123212003365197", "tgt_type": "glob", "tgt": "m1", "user": "root", "fun": "test.ping", "arg": [], "minions": ["m1"], "missing": [], "_stamp": "2026-11-23T21:20:03.365749+00:00"}}"#;
    const RET: &str = r#"{"tag": "salt/job/20261123212003365197/ret/m1", "data": {"id": "m1", "success": true, "return": true, "retcode": 0, "jid": "20261123212003365197", "fun": "test.ping"}}"#;

    fn taken(formatted: &mut Formatted, event: &str) -> Vec<String> {
        formatted.take(&json::parse(event.as_bytes()).unwrap())
    }

    #[test]
    fn jobs_are_told_as_real_salt_tells_them() {
        let mut formatted = Formatted::new(Style::Cherrypy);
        assert_eq!(
            taken(&mut formatted, NEW),
            [
                r#"{"jobs": {"20261123212003365197": {"jid": "20261123212003365197", "start_time": "2026-11-23T21:20:03.365749+00:00", "minions": {"m1": {"success": false}}, "fun": "test.ping", "tgt": "m1", "tgt_type": "glob", "state": "running"}}}"#
            ]
        );
        assert_eq!(
            taken(&mut formatted, RET),
            [
                r#"{"jobs": {"20261123212003365197": {"jid": "20261123212003365197", "start_time": "2026-11-23T21:20:03.365749+00:00", "minions": {"m1": {"success": true, "return": true, "retcode": 0}}, "fun": "test.ping", "tgt": "m1", "tgt_type": "glob", "state": "complete"}}}"#
            ]
        );
        assert!(taken(&mut formatted, r#"{"tag": "my/tag", "data": {}}"#).is_empty());
        assert!(taken(&mut formatted, r#"{"tag": "salt/job", "data": {}}"#).is_empty());
    }

    #[test]
    fn minions_are_a_list_or_a_mapping() {
        let accept =
            r#"{"tag": "salt/key", "data": {"act": "accept", "id": "m1", "result": true}}"#;
        let grains = r#"{"tag": "salt/job/1/ret/m1", "data": {"return": {"os": "Debian"}, "retcode": 0, "success": true, "fun": "grains.items"}}"#;
        let gone = r#"{"tag": "salt/presence/present", "data": {"present": ["m2"]}}"#;
        let mut cherrypy = Formatted::new(Style::Cherrypy);
        assert_eq!(
            taken(&mut cherrypy, accept),
            [r#"{"minions": [{"id": "m1"}]}"#]
        );
        assert_eq!(
            taken(&mut cherrypy, grains)[1],
            r#"{"minions": [{"grains": {"os": "Debian"}, "id": "m1"}]}"#
        );
        assert_eq!(taken(&mut cherrypy, gone), [r#"{"minions": []}"#]);
        let mut tornado = Formatted::new(Style::Tornado);
        assert_eq!(
            taken(&mut tornado, accept),
            ["{\"minions\": {\"m1\": {\"id\": \"m1\"}}}\n\n"]
        );
    }

    #[test]
    fn the_oldest_jobs_go() {
        let mut formatted = Formatted::new(Style::Cherrypy);
        for jid in 0..MAX_JOBS + 5 {
            let event = NEW.replace("20261123212003365197", &jid.to_string());
            taken(&mut formatted, &event);
        }
        assert_eq!(formatted.jobs.len(), MAX_JOBS);
        assert!(formatted.jobs.get("4").is_none() && formatted.jobs.get("5").is_some());
    }
}
