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
use crate::functions::{Call, Failure};
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
pub(super) fn take(node: &Arc<Node>, way: usize, published: &Map) {
    let Some(job) = Job::parse(published) else {
        tracing::debug!("a publish that is no job");
        return;
    };
    if !is_for_us(node, &job) || !node.jobs.is_new(&job.jid) {
        return;
    }
    tracing::info!(jid = %job.jid, fun = ?job.fun, user = %job.user, "job");
    tokio::spawn(run(node.clone(), way, job));
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
async fn run(node: Arc<Node>, way: usize, job: Job) {
    let about = about(&node, way, &job);
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
    if !node.send_up_to(way, returned(&node, &job, done)) {
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
fn about(node: &Node, way: usize, job: &Job) -> Map {
    let mut about = Map::new();
    about.insert("fun", job.fun.clone());
    about.insert("arg", job.arg.clone());
    about.insert("tgt", job.tgt.clone());
    about.insert("jid", job.jid.as_str());
    about.insert("ret", job.ret.as_str());
    about.insert("tgt_type", job.tgt_type.as_str());
    about.insert("user", job.user.as_str());
    about.insert("pid", i64::from(std::process::id()));
    if let Some(master) = node.master(way) {
        about.insert("master_id", master.master().host.as_str());
    }
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
