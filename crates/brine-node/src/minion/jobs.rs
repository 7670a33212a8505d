//! Jobs: which are for this minion, how they are run, and what goes back.
//!
//! Every job is a task of its own, so many at a time as `process_count_max` allows. Facts: `docs/protocol/network.md` §10.2, §10.3.

use std::collections::{HashMap, VecDeque};
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use brine_wire::compat::Series;
use brine_wire::network::job::Job;
use brine_wire::network::{Jid, job_return};
use brine_wire::stamp;
use brine_wire::{Map, Value};

use super::Node;
use super::link::Link;
use super::places::Places;
use crate::functions::{Call, Failure};
use crate::node_bus::since_epoch;
use crate::target::{Candidate, DELIMITER, Target};

/// Functions that ask about jobs, or end them. They begin at once, since they would else wait for what they are
/// about: `salt` would take a minion whose places are taken for gone, and no job could be killed.
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

/// The jobs that run or wait, and those that did lately.
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
    places: Places<Order>,
    lately: VecDeque<String>,
}

/// A job that is to be run.
#[derive(Debug)]
struct Order {
    job: Job,
    /// What `saltutil.running` says of it.
    about: Map,
    way: usize,
    /// The master that waits for its return.
    asked_by: Link,
}

impl Jobs {
    /// `None` for any number at a time.
    pub(super) fn new(remembered: usize, at_a_time: Option<NonZeroUsize>) -> Self {
        let state = State {
            running: HashMap::new(),
            places: Places::new(at_a_time),
            lately: VecDeque::new(),
        };
        Self {
            remembered,
            state: Mutex::new(state),
        }
    }

    /// The jobs that run now, as `saltutil.running` tells them, and those that wait, as `saltutil.find_job` does.
    pub(crate) fn known(&self) -> Vec<Map> {
        let state = self.state();
        let waiting = state.places.waiting().map(|order| {
            let mut about = order.about.clone();
            about.insert("pid", 0);
            about.insert("queued", true);
            about.insert("queue_type", "job_queue");
            about
        });
        state.running.values().cloned().chain(waiting).collect()
    }

    /// How many jobs wait.
    pub(super) fn waiting(&self) -> usize {
        self.state().places.waiting().count()
    }

    /// Takes a job out of those that wait; whether it did.
    pub(super) fn forget(&self, jid: &str) -> bool {
        let is_it = |order: &Order| order.job.jid.as_str() == jid;
        self.state().places.forget(is_it).is_some()
    }

    /// Whether a job of this id is new.
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

    /// Notes a job that begins.
    pub(crate) fn begins(&self, jid: &str, about: Map) {
        self.state().running.insert(jid.to_owned(), about);
    }

    /// Forgets one that has ended.
    pub(crate) fn ends(&self, jid: &str) {
        self.state().running.remove(jid);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes a published job, if it is one and for us.
pub(super) fn take(node: &Arc<Node>, way: usize, asked_by: &Link, published: &Map) {
    let Some(job) = Job::parse(published) else {
        tracing::debug!("a publish that is no job");
        return;
    };
    if !is_for_us(node, &job) || !node.jobs.is_new(&job.jid) {
        return;
    }
    tracing::info!(jid = %job.jid, fun = ?job.fun, user = %job.user, "job");
    let order = Order {
        about: about(asked_by, &job),
        job,
        way,
        asked_by: asked_by.clone(),
    };
    if order
        .job
        .fun
        .as_str()
        .is_some_and(|fun| ABOUT_JOBS.contains(&fun))
    {
        tokio::spawn(run(node.clone(), order));
        return;
    }
    let jid = order.job.jid.clone();
    let placed = node.jobs.state().places.take(order);
    match placed {
        Some(order) => drop(tokio::spawn(run_in_place(node.clone(), order))),
        None => tracing::warn!(%jid, "the job waits: so many run as process_count_max allows"),
    }
}

/// Runs a job, and in its place those that wait.
async fn run_in_place(node: Arc<Node>, mut order: Order) {
    loop {
        let jid = order.job.jid.clone();
        // In a task of its own, so that a fault of ours does not cost the place.
        if let Err(error) = tokio::spawn(run(node.clone(), order)).await {
            tracing::error!(%jid, %error, "job lost");
            node.jobs.ends(jid.as_str());
        }
        let next = node.jobs.state().places.give_back();
        match next {
            Some(next) => order = next,
            None => return,
        }
    }
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

/// Runs a job; its return goes to the master it came from.
async fn run(node: Arc<Node>, order: Order) {
    let Order {
        job,
        about,
        way,
        asked_by,
    } = order;
    node.jobs.begins(job.jid.as_str(), about);
    let ended = match &job.fun {
        Value::Array(funs) => run_several(&node, &job, funs).await,
        _ => run_one(&node, &job, &job.fun, &job.arg).await,
    };
    node.jobs.ends(job.jid.as_str());
    let Some(done) = ended else {
        // As in Salt, where the process that would have sent a return is gone.
        return tracing::info!(jid = %job.jid, "job killed: no return");
    };
    if !node.send_return(way, returned(&node, &job, done), asked_by) {
        tracing::error!(jid = %job.jid, "return lost: no room in the queue for the master");
    }
}

/// What a return says of how it went: of one function, or of several by name.
struct Done {
    success: Value,
    ret: Value,
    out: Option<String>,
    retcode: Value,
}

async fn run_one(node: &Node, job: &Job, fun: &Value, arg: &[Value]) -> Option<Done> {
    let call = call(node, job, fun, arg);
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

/// One after the other, each with its own list of arguments.
async fn run_several(node: &Node, job: &Job, funs: &[Value]) -> Option<Done> {
    let (mut success, mut ret, mut retcode) = (Map::new(), Map::new(), Map::new());
    for (at, fun) in funs.iter().enumerate() {
        let arg = match job.arg.get(at) {
            Some(Value::Array(arg)) => arg.as_slice(),
            _ => &[],
        };
        let done = run_one(node, job, fun, arg).await?;
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

/// What `saltutil.running` says of a job.
fn about(asked_by: &Link, job: &Job) -> Map {
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
