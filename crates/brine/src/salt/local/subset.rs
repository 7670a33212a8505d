//! `salt --subset`: a few of the minions that the target selects, at random.

use std::ops::ControlFlow;

use anyhow::Context;
use brine_config::Opts;
use brine_node::JobRequest;
use brine_node::client::{LocalClient, MinionReply, ReplyKind};
use brine_wire::Value;
use brine_wire::returns::Timeouts;
use rustix::rand::{GetRandomFlags, getrandom};

use super::report::Mode;
use super::{Shown, nobody};

/// Asks the minions for their functions, and targets this many of those that have the job's function.
pub(super) async fn narrow(
    client: &mut LocalClient,
    opts: &Opts,
    request: &mut JobRequest,
    count: usize,
    timeouts: Timeouts,
    shown: Shown,
) -> anyhow::Result<()> {
    let mut ask = JobRequest::new(request.tgt.clone(), &request.tgt_type, "sys.list_functions");
    if let Some(delimiter) = request.kwargs.get("delimiter") {
        ask.kwargs.insert("delimiter", delimiter.clone());
    }
    let job = client.publish(&ask).await?;
    // As in Salt, of this job too.
    match &job.jid {
        Some(jid) => shown.announce(Mode::Streamed, jid)?,
        None => nobody(opts)?,
    }
    let mut able = Vec::new();
    let note = |reply: MinionReply| {
        let has_it = match &reply.ret {
            Value::Array(functions) => functions.contains(&request.fun),
            _ => false,
        };
        if reply.kind == ReplyKind::Returned && has_it {
            able.push(reply.id);
        }
        ControlFlow::Continue(())
    };
    client.wait(&job, timeouts, note).await?;
    let mut chosen = Vec::new();
    while chosen.len() < count && !able.is_empty() {
        chosen.push(able.swap_remove(below(able.len())?).into());
    }
    request.tgt = Value::Array(chosen);
    "list".clone_into(&mut request.tgt_type);
    Ok(())
}

/// A random number below an end. (That some are more likely by the number of minions in 2^64 does no harm here.)
fn below(end: usize) -> anyhow::Result<usize> {
    let mut bytes = [0; 8];
    getrandom(&mut bytes, GetRandomFlags::empty()).context("the system gives no random number")?;
    Ok(usize::try_from(u64::from_le_bytes(bytes) % end as u64)?)
}
