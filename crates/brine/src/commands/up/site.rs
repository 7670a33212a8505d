//! The life of a small Salt site, as events: three minions start, do jobs, return, report their
//! load. Tags and data are those of Salt 3008.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use brine_bus::client::PublishError;
use brine_bus::client::tokio::Publisher;
use brine_wire::{Map, Value};
use tokio::time::sleep;

use crate::jid;

const MINIONS: [&str; 3] = ["web1", "web2", "db1"];

/// What the minion of a number answers.
type Answer = fn(usize) -> Value;

/// What the site does in turn, and what each minion answers.
const JOBS: [(&str, Answer); 3] = [
    ("test.ping", |_| Value::Bool(true)),
    ("status.uptime", |minion| {
        Map::from_iter([("days", 12 + 30 * minion as u64), ("users", 1)]).into()
    }),
    ("pkg.version", |minion| {
        ["1.22.1-9", "1.22.1-9", "15.6-0"][minion].into()
    }),
];

/// How long a minion takes to answer.
const ANSWER: Duration = Duration::from_millis(150);

/// Fires events until dropped, a job at a time.
pub(super) async fn live(mut bus: Publisher, every: Duration) -> Result<(), PublishError> {
    for minion in MINIONS {
        sleep(ANSWER).await;
        start(&mut bus, minion).await?;
    }
    for turn in 0_usize.. {
        let (function, answer) = JOBS[turn % JOBS.len()];
        job(&mut bus, function, answer).await?;
        if turn % 2 == 1 {
            beacon(&mut bus, MINIONS[turn / 2 % MINIONS.len()], turn).await?;
        }
        sleep(every).await;
    }
    Ok(())
}

async fn start(bus: &mut Publisher, minion: &str) -> Result<(), PublishError> {
    let mut auth = Map::new();
    auth.insert("result", true);
    auth.insert("act", "accept");
    auth.insert("id", minion);
    auth.insert(
        "pub",
        "-----BEGIN PUBLIC KEY-----\n(a sample)\n-----END PUBLIC KEY-----",
    );
    fire(bus, "salt/auth", auth).await?;
    let tag = format!("salt/minion/{minion}/start");
    let mut started = Map::new();
    started.insert("id", minion);
    started.insert("cmd", "_minion_event");
    started.insert("pretag", Value::Nil);
    started.insert("data", format!("Minion {minion} started"));
    started.insert("tag", tag.as_str());
    started.insert("ts", now());
    fire(bus, &tag, started).await
}

async fn job(bus: &mut Publisher, function: &str, answer: Answer) -> Result<(), PublishError> {
    let jid = jid::now();
    let minions: Vec<Value> = MINIONS.iter().map(|minion| (*minion).into()).collect();
    let mut new = Map::new();
    new.insert("jid", jid.as_str());
    new.insert("tgt_type", "glob");
    new.insert("tgt", "*");
    new.insert("user", "root");
    new.insert("fun", function);
    new.insert("arg", Vec::new());
    new.insert("minions", minions);
    new.insert("missing", Vec::new());
    fire(bus, &format!("salt/job/{jid}/new"), new).await?;
    for (at, minion) in MINIONS.into_iter().enumerate() {
        sleep(ANSWER).await;
        let mut ret = Map::new();
        ret.insert("cmd", "_return");
        ret.insert("id", minion);
        ret.insert("success", true);
        ret.insert("return", answer(at));
        ret.insert("retcode", 0);
        ret.insert("jid", jid.as_str());
        ret.insert("fun", function);
        ret.insert("fun_args", Vec::new());
        ret.insert("user", "root");
        fire(bus, &format!("salt/job/{jid}/ret/{minion}"), ret).await?;
    }
    Ok(())
}

async fn beacon(bus: &mut Publisher, minion: &str, turn: usize) -> Result<(), PublishError> {
    let load = |share: f64| (share * (1.0 + (turn % 7) as f64) * 100.0).round() / 100.0;
    let mut data = Map::new();
    data.insert("1m", load(0.31));
    data.insert("5m", load(0.23));
    data.insert("15m", load(0.19));
    data.insert("id", minion);
    fire(bus, &format!("salt/beacon/{minion}/load/"), data).await
}

async fn fire(bus: &mut Publisher, tag: &str, mut data: Map) -> Result<(), PublishError> {
    bus.fire_event(tag, &mut data, Some(Duration::from_secs(5)))
        .await
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.unwrap_or_default().as_secs()
}
