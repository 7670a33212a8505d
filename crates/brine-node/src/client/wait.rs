//! Waits for the returns of a job: drives the pure rule ([`Returns`]) with events and the clock.

use std::ops::ControlFlow;
use std::time::Instant;

use brine_wire::returns::{Returns, Step, Taken, Timeouts};
use brine_wire::{Map, Value};

use super::{ClientError, MinionReply};
use crate::job_request::{JobRequest, Published};

/// How a waiting client reaches the master: from beside it or from inside it.
pub(crate) trait MasterLink {
    /// Publishes a job.
    async fn publish(&mut self, request: JobRequest) -> Result<Published, ClientError>;

    /// The next event of any job, until a moment. Begins where the link was opened.
    async fn next_event(&mut self, until: Instant) -> Result<Option<(String, Map)>, ClientError>;
}

/// Waits for the returns of a published job and passes each to `report` as it arrives; at the end, the minions that
/// did not return, sorted. Ends early if `report` breaks.
pub(crate) async fn wait(
    link: &mut impl MasterLink,
    job: &Published,
    timeouts: Timeouts,
    mut report: impl FnMut(MinionReply) -> ControlFlow<()>,
) -> Result<(), ClientError> {
    let Some(jid) = &job.jid else {
        return Ok(());
    };
    let began = Instant::now();
    let now = || began.elapsed();
    let texts = |ids: &[_]| ids.iter().map(ToString::to_string).collect::<Vec<_>>();
    let (minions, missing) = (texts(&job.minions), texts(&job.missing));
    let mut returns = Returns::new(jid.as_str(), minions, missing, timeouts, now());
    loop {
        match returns.poll(now()) {
            Step::Done => break,
            Step::WaitUntil(until) => {
                let Some((tag, data)) = link.next_event(began + until).await? else {
                    continue;
                };
                if let Taken::Return { id, data } = returns.take(&tag, &data, now())
                    && report(MinionReply::returned(id, data)).is_break()
                {
                    return Ok(());
                }
            }
            Step::Ask(ids) => {
                let ids: Vec<Value> = ids.into_iter().map(Value::from).collect();
                let mut request = JobRequest::new(ids, "list", "saltutil.find_job");
                request.arg = vec![jid.as_str().into()];
                let asked = link.publish(request).await?;
                returns.asked(asked.jid.as_ref().map(|jid| jid.as_str()), now());
            }
        }
    }
    for id in returns.unreturned().chain(returns.missing()) {
        if report(MinionReply::no_response(id, jid.as_str())).is_break() {
            break;
        }
    }
    Ok(())
}
