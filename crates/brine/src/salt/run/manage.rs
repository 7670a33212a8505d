//! `manage.*` and `jobs.active`: what minions answer when they are asked now.
//!
//! Facts: Salt 3008.3 and 3006.28 as they behave.

use std::time::Duration;

use anyhow::Context;
use brine_config::Opts;
use brine_wire::{Map, Value};

use super::jobs;
use crate::salt::local::client::{self, Came, Heard, Order, Patience};

/// What is asked of minions.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Asked {
    pub(super) what: What,
    pub(super) tgt: Value,
    pub(super) tgt_type: String,
    /// Instead of the configured ones, in seconds.
    pub(super) timeout: Option<u64>,
    pub(super) gather_job_timeout: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    Up,
    Down,
    Status,
    Active,
}

/// Asks, and gives back what the runner function returns.
pub(super) fn answer(asked: &Asked, opts: &Opts) -> anyhow::Result<Value> {
    let order = Order {
        tgt: asked.tgt.clone(),
        tgt_type: asked.tgt_type.clone(),
        fun: match asked.what {
            What::Active => "saltutil.running".into(),
            _ => "test.ping".into(),
        },
        arg: Vec::new(),
        ret: String::new(),
        kwargs: Map::new(),
    };
    let wait = |said: Option<u64>, name| {
        said.map_or_else(
            || client::seconds(opts, name),
            |seconds| Ok(Duration::from_secs(seconds)),
        )
    };
    let patience = Patience {
        timeout: wait(asked.timeout, "timeout")?,
        gather: wait(asked.gather_job_timeout, "gather_job_timeout")?,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let heard = runtime.block_on(client::gather(opts, &order, patience))?;
    if asked.what == What::Active {
        return jobs::active(&heard, opts);
    }
    let (up, down): (Vec<_>, Vec<_>) = heard.iter().partition(|heard| heard.came == Came::Returned);
    Ok(match asked.what {
        What::Down => ids(&down),
        What::Status => Map::from_iter([("up", ids(&up)), ("down", ids(&down))]).into(),
        What::Up | What::Active => ids(&up),
    })
}

fn ids(heard: &[&Heard]) -> Value {
    let mut ids: Vec<_> = heard.iter().map(|heard| heard.id.as_str()).collect();
    ids.sort_unstable();
    Value::Array(ids.into_iter().map(Value::from).collect())
}
