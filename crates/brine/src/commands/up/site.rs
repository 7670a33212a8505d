//! The life of a site: a job every now and then, as somebody might start it.

use std::time::Duration;

use brine_config::Opts;
use brine_wire::{Map, Value};
use tokio::time::sleep;

use crate::salt::local::client::{Client, ClientError, Order};

/// What is run in turn.
fn orders() -> [Order; 3] {
    let order = |fun: &str, arg: Vec<Value>| Order {
        tgt: "*".into(),
        tgt_type: "glob".to_owned(),
        fun: fun.into(),
        arg,
        ret: String::new(),
        kwargs: Map::from_iter([("delimiter", ":")]),
    };
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
