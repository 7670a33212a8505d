//! The life of a site: a job every now and then, as somebody might start it.

use std::time::Duration;

use brine_config::Opts;
use brine_wire::{Map, Value};
use tokio::time::sleep;

use crate::salt::local::client::{Came, Client, ClientError, Order, Patience, gather};

/// Has the minion fetch its own modules from the master. The first job may be published before the
/// minion's subscription has reached the master, and is repeated then.
pub(super) async fn sync(opts: &Opts) -> Result<(), ClientError> {
    const TRIES: usize = 15;
    let patience = Patience {
        timeout: Duration::from_secs(1),
        gather: Duration::from_secs(1),
    };
    let order = order("saltutil.sync_modules", Vec::new());
    for _ in 0..TRIES {
        let heard = gather(opts, &order, patience).await?;
        if heard.iter().any(|heard| heard.came == Came::Returned) {
            break;
        }
    }
    Ok(())
}

fn order(fun: &str, arg: Vec<Value>) -> Order {
    Order {
        tgt: "*".into(),
        tgt_type: "glob".to_owned(),
        fun: fun.into(),
        arg,
        ret: String::new(),
        kwargs: Map::from_iter([("delimiter", ":")]),
    }
}

/// What is run in turn.
fn orders() -> [Order; 3] {
    let data = Map::from_iter([("success", Value::from(true)), ("size_gb", 42.into())]);
    [
        order("test.ping", Vec::new()),
        order("event.send", vec!["myco/backup/done".into(), data.into()]),
        order("test.version", Vec::new()),
    ]
}

/// Publishes jobs until dropped.
pub(super) async fn live(opts: &Opts, every: Duration) -> Result<(), ClientError> {
    let client = Client::open(opts).await?;
    for order in orders().iter().cycle() {
        sleep(every).await;
        client.publish(order).await?;
    }
    Ok(())
}
