//! Jobs: which are for this minion, how they are run, and what goes back.
//!
//! Every job is a task of its own. Facts: `docs/protocol/network.md` §10.2, §10.3.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use brine_wire::compat::Series;
use brine_wire::network::job::Job;
use brine_wire::network::{Jid, job_return};
use brine_wire::stamp;
use brine_wire::{Map, Value};

use super::Node;
use crate::functions::{Call, Failure, Outcome};
use crate::own_bus::since_epoch;
use crate::target::{Candidate, DELIMITER, Target};

/// How many job ids are remembered, so that none is run twice (`minion_jid_queue_hwm`).
const REMEMBERED: usize = 100;

/// The jobs that run, and those that did lately.
#[derive(Debug, Default)]
pub(crate) struct Jobs(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    running: HashMap<String, Map>,
    lately: VecDeque<String>,
}

impl Jobs {
    /// The jobs that run now, as `saltutil.running` tells them.
    pub(crate) fn running(&self) -> Vec<Map> {
        self.state().running.values().cloned().collect()
    }

    /// Whether a job of this id is new.
    fn is_new(&self, jid: &Jid) -> bool {
        let mut state = self.state();
        if state.lately.iter().any(|known| known == jid.as_str()) {
            return false;
        }
        if state.lately.len() == REMEMBERED {
            state.lately.pop_front();
        }
        state.lately.push_back(jid.as_str().to_owned());
        true
    }

    /// Notes a job that begins.
    pub(crate) fn begins(&self, jid: &str, about: Map) {
        self.state().running.insert(jid.to_owned(), about);
    }

    /// Forgets one that has ended.
    pub(crate) fn ends(&self, jid: &str) {
        self.state().running.remove(jid);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes a published job, if it is one and for us.
pub(super) fn take(node: &Arc<Node>, published: &Map) {
    let Some(job) = Job::parse(published) else {
        tracing::debug!("a publish that is no job");
        return;
    };
    if !is_for_us(node, &job) || !node.jobs.is_new(&job.jid) {
        return;
    }
    tracing::info!(jid = %job.jid, fun = ?job.fun, user = %job.user, "job");
    tokio::spawn(run(node.clone(), job));
}

fn is_for_us(node: &Node, job: &Job) -> bool {
    let delimiter = job.delimiter.as_deref().unwrap_or(DELIMITER);
    // Node groups are the master's, and it has put what they are in their place.
    let Ok(target) = Target::parse(&job.tgt, &job.tgt_type, delimiter, &Map::new()) else {
        return false;
    };
    target.matches(Candidate {
        id: &node.options.id,
        grains: &node.functions.grains(),
        pillar: &node.functions.pillar(),
    })
}

async fn run(node: Arc<Node>, job: Job) {
    let about = about(&node, &job);
    node.jobs.begins(job.jid.as_str(), about);
    let call = call(&node, &job);
    let fun = call.fun.clone();
    let ended = node.functions.call(call).await;
    node.jobs.ends(job.jid.as_str());
    let outcome = match ended {
        Ok(outcome) => outcome,
        // As in Salt, where the process that would have sent a return is gone.
        Err(Failure::Killed { jid }) => return tracing::info!(jid, "job killed: no return"),
        Err(failure) => failure.outcome(&fun),
    };
    let load = returned(&node, &job, outcome);
    if !node.send_up(&load) {
        tracing::error!(jid = %job.jid, "return lost: no room in the queue for the master");
    }
}

/// What `saltutil.running` says of a job.
fn about(node: &Node, job: &Job) -> Map {
    let mut about = Map::new();
    about.insert("fun", job.fun.clone());
    about.insert("arg", job.arg.clone());
    about.insert("tgt", job.tgt.clone());
    about.insert("jid", job.jid.as_str());
    about.insert("ret", job.ret.as_str());
    about.insert("tgt_type", job.tgt_type.as_str());
    about.insert("user", job.user.as_str());
    about.insert("pid", i64::from(std::process::id()));
    if let Some(master) = node.options.masters.first() {
        about.insert("master_id", master.host.as_str());
    }
    about
}

fn call(node: &Node, job: &Job) -> Call {
    let mut load = Map::new();
    load.insert("fun", job.fun.clone());
    load.insert("arg", job.arg.clone());
    load.insert("tgt", job.tgt.clone());
    load.insert("jid", job.jid.as_str());
    load.insert("ret", job.ret.as_str());
    load.insert("tgt_type", job.tgt_type.as_str());
    load.insert("user", job.user.as_str());
    if node.options.compat.series() == Series::S3008 {
        load.insert("resource_targets", Vec::<Value>::new());
        load.insert("pure_resource_target", false);
        load.insert("minion_is_target", true);
    }
    Call::new(job.fun.as_str().unwrap_or_default())
        .arguments(job.arg.clone())
        .published(&load)
}

/// The load of a job's return.
fn returned(node: &Node, job: &Job, outcome: Outcome) -> Map {
    let mut load = Map::new();
    load.insert("cmd", job_return::CMD);
    load.insert("id", node.options.id.as_str());
    load.insert("success", outcome.success);
    load.insert("return", outcome.ret);
    if let Some(out) = outcome.out {
        load.insert("out", out);
    }
    load.insert("retcode", outcome.retcode);
    load.insert("jid", job.jid.as_str());
    load.insert("fun", job.fun.clone());
    load.insert("fun_args", job.arg.clone());
    load.insert("user", job.user.as_str());
    if let Some(master_id) = &job.master_id {
        load.insert("master_id", master_id.as_str());
    }
    for (key, value) in &job.options {
        if matches!(key.as_str(), Some("metadata" | "ret_config" | "ret_kwargs")) {
            load.insert(key.clone(), value.clone());
        }
    }
    load.insert(
        "_stamp",
        stamp::format(since_epoch(), node.options.compat.stamp_style()),
    );
    load
}
