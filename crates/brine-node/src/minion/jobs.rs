//! Jobs: which ones target this minion, how they run, and the returns that go back.
//!
//! Each job is a task, owned by [`super::tasks`]; at most `process_count_max` run at a time. Facts: `docs/protocol/network.md` §10.2, §10.3.

use std::collections::{HashMap, VecDeque};
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use brine_wire::compat::Series;
use brine_wire::network::job::Job;
use brine_wire::network::{Jid, job_return};
use brine_wire::stamp;
use brine_wire::{Map, Value};
use tokio::task::JoinSet;

use super::Node;
use super::job_slots::JobSlots;
use super::master_client::MasterClient;
use crate::functions::{Call, Failure};
use crate::node_bus::since_epoch;
use crate::target::{Candidate, DELIMITER, Target};

/// Functions that ask about jobs or end them. They start at once: if they had to wait for a slot, `salt` would think
/// that a busy minion is gone, and no job could be killed.
const ABOUT_JOBS: [&str; 8] = [
    "saltutil.find_job",
    "saltutil.is_running",
    "saltutil.kill_all_jobs",
    "saltutil.kill_job",
    "saltutil.running",
    "saltutil.signal_job",
    "saltutil.term_all_jobs",
    "saltutil.term_job",
];

/// Running and waiting jobs, and the ids of recent ones.
#[derive(Debug)]
pub(crate) struct Jobs {
    /// How many job ids are remembered, so that none is run twice (`minion_jid_queue_hwm`).
    remembered: usize,
    /// Held for a look or a change, never across an await.
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    running: HashMap<String, Map>,
    slots: JobSlots<QueuedJob>,
    lately: VecDeque<String>,
}

/// A job to run.
#[derive(Debug)]
struct QueuedJob {
    job: Job,
    /// Its entry in `saltutil.running`.
    about: Map,
    uplink: usize,
    /// The master that waits for its return.
    asked_by: MasterClient,
}

impl Jobs {
    /// `None` for any number at a time.
    pub(super) fn new(remembered: usize, at_a_time: Option<NonZeroUsize>) -> Self {
        let state = State {
            running: HashMap::new(),
            slots: JobSlots::new(at_a_time),
            lately: VecDeque::new(),
        };
        Self {
            remembered,
            state: Mutex::new(state),
        }
    }

    /// Running jobs as `saltutil.running` shows them, then waiting ones as `saltutil.find_job` does.
    pub(crate) fn known(&self) -> Vec<Map> {
        let state = self.state();
        let waiting = state.slots.waiting().map(|queued| {
            let mut about = queued.about.clone();
            about.insert("pid", 0);
            about.insert("queued", true);
            about.insert("queue_type", "job_queue");
            about
        });
        state.running.values().cloned().chain(waiting).collect()
    }

    /// How many jobs wait for a slot.
    pub(super) fn waiting(&self) -> usize {
        self.state().slots.waiting().count()
    }

    /// Removes a waiting job; whether there was one.
    pub(super) fn remove(&self, jid: &str) -> bool {
        let is_it = |queued: &QueuedJob| queued.job.jid.as_str() == jid;
        self.state().slots.remove(is_it).is_some()
    }

    /// Whether this job id has not been seen lately.
    fn is_new(&self, jid: &Jid) -> bool {
        let mut state = self.state();
        if state.lately.iter().any(|known| known == jid.as_str()) {
            return false;
        }
        state.lately.push_back(jid.as_str().to_owned());
        if state.lately.len() > self.remembered {
            state.lately.pop_front();
        }
        true
    }

    /// Records that a job begins.
    pub(crate) fn begins(&self, jid: &str, about: Map) {
        self.state().running.insert(jid.to_owned(), about);
    }

    /// Records that a job has ended.
    pub(crate) fn ends(&self, jid: &str) {
        self.state().running.remove(jid);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Runs a published job if it targets this minion.
pub(super) fn take(node: &Arc<Node>, uplink: usize, asked_by: &MasterClient, published: &Map) {
    let Some(job) = Job::parse(published) else {
        tracing::debug!("ignoring a publish that is not a job");
        return;
    };
    if !is_for_us(node, &job) || !node.jobs.is_new(&job.jid) {
        return;
    }
    tracing::info!(jid = %job.jid, fun = ?job.fun, user = %job.user, "job");
    let queued = QueuedJob {
        about: about(asked_by, &job),
        job,
        uplink,
        asked_by: asked_by.clone(),
    };
    if queued
        .job
        .fun
        .as_str()
        .is_some_and(|fun| ABOUT_JOBS.contains(&fun))
    {
        node.tasks.spawn(run(node.clone(), queued));
        return;
    }
    let jid = queued.job.jid.clone();
    let started = node.jobs.state().slots.take(queued);
    match started {
        Some(queued) => node.tasks.spawn(run_in_slot(node.clone(), queued)),
        None => tracing::warn!(%jid, "job queued: process_count_max jobs are running"),
    }
}

/// Runs a job, then in the same slot jobs that wait.
async fn run_in_slot(node: Arc<Node>, mut queued: QueuedJob) {
    loop {
        let jid = queued.job.jid.clone();
        // In its own task, so that a panic does not cost the slot.
        let mut job = JoinSet::new();
        job.spawn(run(node.clone(), queued));
        if let Some(Err(error)) = job.join_next().await {
            tracing::error!(%jid, %error, "job failed without a return");
            node.jobs.ends(jid.as_str());
        }
        let next = node.jobs.state().slots.release();
        match next {
            Some(next) => queued = next,
            None => return,
        }
    }
}

fn is_for_us(node: &Node, job: &Job) -> bool {
    let delimiter = job.delimiter.as_deref().unwrap_or(DELIMITER);
    // The master has already replaced node groups by their definition.
    let Ok(target) = Target::parse(&job.tgt, &job.tgt_type, delimiter, &Map::new()) else {
        return false;
    };
    target.matches(Candidate {
        id: &node.options.id,
        grains: &node.functions.grains(),
        pillar: &node.functions.pillar(),
    })
}

/// Runs a job and queues its return for the master it came from.
async fn run(node: Arc<Node>, queued: QueuedJob) {
    let QueuedJob {
        job,
        about,
        uplink,
        asked_by,
    } = queued;
    node.jobs.begins(job.jid.as_str(), about);
    let ended = match &job.fun {
        Value::Array(funs) => run_several(&node, &job, &asked_by, funs).await,
        _ => run_one(&node, &job, &asked_by, (&job.fun, &job.arg)).await,
    };
    node.jobs.ends(job.jid.as_str());
    let Some(done) = ended else {
        // As in Salt, where the process that would have sent a return is gone.
        return tracing::info!(jid = %job.jid, "job killed; no return is sent");
    };
    if !node.send_return(uplink, returned(&node, &job, done), asked_by) {
        tracing::error!(jid = %job.jid, "return lost: the queue for the master is full");
    }
}

/// The result fields of a return: of one function, or of several by name.
struct Done {
    success: Value,
    ret: Value,
    out: Option<String>,
    retcode: Value,
}

async fn run_one(
    node: &Node,
    job: &Job,
    asked_by: &MasterClient,
    (fun, arg): (&Value, &[Value]),
) -> Option<Done> {
    let mut call = call(node, job, fun, arg);
    call.master = Some(asked_by.name());
    let fun = call.fun.clone();
    let outcome = match node.functions.call(call).await {
        Ok(outcome) => outcome,
        Err(Failure::Killed { .. }) => return None,
        Err(failure) => failure.outcome(&fun),
    };
    Some(Done {
        success: outcome.success.into(),
        ret: outcome.ret,
        out: outcome.out,
        retcode: outcome.retcode.into(),
    })
}

/// Runs functions one after the other, each with its own argument list.
async fn run_several(
    node: &Node,
    job: &Job,
    asked_by: &MasterClient,
    funs: &[Value],
) -> Option<Done> {
    let (mut success, mut ret, mut retcode) = (Map::new(), Map::new(), Map::new());
    for (at, fun) in funs.iter().enumerate() {
        let arg = match job.arg.get(at) {
            Some(Value::Array(arg)) => arg.as_slice(),
            _ => &[],
        };
        let done = run_one(node, job, asked_by, (fun, arg)).await?;
        success.insert(fun.clone(), done.success);
        ret.insert(fun.clone(), done.ret);
        retcode.insert(fun.clone(), done.retcode);
    }
    Some(Done {
        success: success.into(),
        ret: ret.into(),
        out: None,
        retcode: retcode.into(),
    })
}

/// A job's entry in `saltutil.running`.
fn about(asked_by: &MasterClient, job: &Job) -> Map {
    let mut about = Map::new();
    about.insert("fun", job.fun.clone());
    about.insert("arg", job.arg.clone());
    about.insert("tgt", job.tgt.clone());
    about.insert("jid", job.jid.as_str());
    about.insert("ret", job.ret.as_str());
    about.insert("tgt_type", job.tgt_type.as_str());
    about.insert("user", job.user.as_str());
    about.insert("pid", i64::from(std::process::id()));
    about.insert("master_id", asked_by.master().host.as_str());
    about
}

fn call(node: &Node, job: &Job, fun: &Value, arg: &[Value]) -> Call {
    let mut load = Map::new();
    load.insert("fun", fun.clone());
    load.insert("arg", arg.to_vec());
    load.insert("tgt", job.tgt.clone());
    load.insert("jid", job.jid.as_str());
    load.insert("ret", job.ret.as_str());
    load.insert("tgt_type", job.tgt_type.as_str());
    for (name, value) in &job.options {
        if name
            .as_str()
            .is_some_and(|name| SHOWN_OPTIONS.contains(&name))
        {
            load.insert(name.clone(), value.clone());
        }
    }
    load.insert("user", job.user.as_str());
    if node.options.compat.series() == Series::S3008 {
        load.insert("resource_targets", Vec::<Value>::new());
        load.insert("pure_resource_target", false);
        load.insert("minion_is_target", true);
    }
    Call::new(fun.as_str().unwrap_or_default())
        .arguments(arg.to_vec())
        .published(&load)
}

/// What of a publish's options a function sees (`__pub_metadata` and its like), in Salt's order.
const SHOWN_OPTIONS: [&str; 5] = [
    "ret_config",
    "metadata",
    "module_executors",
    "executor_opts",
    "ret_kwargs",
];

/// The load of a job's return.
fn returned(node: &Node, job: &Job, done: Done) -> Map {
    let mut load = Map::new();
    load.insert("cmd", job_return::CMD);
    load.insert("id", node.options.id.as_str());
    load.insert("success", done.success);
    load.insert("return", done.ret);
    if let Some(out) = done.out {
        load.insert("out", out);
    }
    load.insert("retcode", done.retcode);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_job_ids_are_remembered_as_the_option_says() {
        let jid = |n| Jid::at(std::time::Duration::from_secs(n));
        let jobs = Jobs::new(2, None);
        assert!((1..=3).all(|n| jobs.is_new(&jid(n))));
        assert!(!jobs.is_new(&jid(3)) && !jobs.is_new(&jid(2)));
        assert!(jobs.is_new(&jid(1)));
        let forgetful = Jobs::new(0, None);
        assert!(forgetful.is_new(&jid(1)) && forgetful.is_new(&jid(1)));
    }
}
