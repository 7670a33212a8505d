//! Activity for the example site: a job now and then.

use std::time::Duration;

use brine_node::JobRequest;
use brine_node::client::{ClientError, ReplyKind};
use brine_node::master::MasterHandle;
use brine_wire::returns::Timeouts;
use brine_wire::{Map, Value};
use tokio::time::sleep;

/// Has the minion fetch its own modules from the master. The first job may be published before the
/// minion's subscription has reached the master, and is repeated then.
pub(super) async fn sync(master: &MasterHandle) -> Result<(), ClientError> {
    const TRIES: usize = 15;
    let timeouts = Timeouts {
        timeout: Duration::from_secs(1),
        gather: Duration::from_secs(1),
    };
    let caller = master.own_caller();
    for _ in 0..TRIES {
        let job = request("saltutil.sync_modules");
        let replies = master.gather(job, timeouts, &caller).await?;
        if (replies.iter()).any(|reply| reply.kind == ReplyKind::Returned) {
            break;
        }
    }
    Ok(())
}

fn request(fun: &str) -> JobRequest {
    JobRequest::new("*", "glob", fun)
}

/// The jobs that are run in turn.
fn requests() -> [JobRequest; 3] {
    let data = Map::from_iter([("success", Value::from(true)), ("size_gb", 42.into())]);
    let mut send = request("event.send");
    send.arg = vec!["myco/backup/done".into(), data.into()];
    [request("test.ping"), send, request("test.version")]
}

/// Publishes jobs until dropped.
pub(super) async fn live(master: &MasterHandle, every: Duration) -> Result<(), ClientError> {
    let caller = master.own_caller();
    for request in requests().iter().cycle() {
        sleep(every).await;
        master.publish(request.clone(), &caller).await?;
    }
    Ok(())
}
