//! Compares minions' clocks with the master's, from recent events: a minion puts its own time into what it sends
//! (`ts`), and the bus knows when it arrived.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use brine_bus::client::Wait;
use brine_bus::client::local::{Delivery, EventQuery};
use brine_view::text::span;
use brine_wire::Value;

use super::Site;
use crate::bus_location::NodeKind;
use crate::commands::findings::Finding;

/// How many of the last events are looked at.
const EVENTS: u64 = 5000;
/// How many of them count for each minion: a clock may have been set since, either way.
const NEWEST: usize = 3;
/// More than this, in seconds, is worth a word: `ts` has whole seconds, and a request may wait.
const MUCH: i64 = 10;
/// More than this breaks things: certificates, tokens, a `request_server_ttl`.
const TOO_MUCH: i64 = 60;

pub(super) fn findings(site: &Site) -> Vec<Finding> {
    if site.kind != NodeKind::Master {
        return Vec::new();
    }
    let Some(skews) = skews(site) else {
        return Vec::new();
    };
    let mut findings: Vec<Finding> = skews
        .into_iter()
        .filter(|(_, skew)| skew.abs() > MUCH)
        .map(|(id, skew)| {
            #[allow(clippy::cast_precision_loss)] // seconds, for people
            let by = span(skew.unsigned_abs() as f64);
            let way = if skew > 0 { "ahead of" } else { "behind" };
            let finding = if skew.abs() > TOO_MUCH {
                Finding::error("clock-skew", format!("minion {id}"))
            } else {
                Finding::warning("clock-skew", format!("minion {id}"))
            };
            finding.says(
                format!("its clock is {by} {way} the master's"),
                "set the clocks by NTP: chronyc tracking, or timedatectl, on both machines",
            )
        })
        .collect();
    /// A master whose own clock is wrong is one finding, not one for each minion.
    const FEW: usize = 10;
    let left_out = findings.len().saturating_sub(FEW);
    findings.truncate(FEW);
    if left_out > 0 {
        findings.push(Finding::note("clock-skew", "minions").says(
            format!("{left_out} more minions have other clocks"),
            "if it is most of them, the master's clock is wrong",
        ));
    }
    findings
}

/// By minion, how many seconds its clock is ahead: the smallest value in its newest events, since a request that
/// waited looks like a slow clock.
fn skews(site: &Site) -> Option<BTreeMap<String, i64>> {
    let client = site.client()?;
    let query = EventQuery {
        last: Some(EVENTS),
        filter: "data.ts:*".to_owned(),
        ..EventQuery::default()
    };
    let mut stream = client.history(query, Some(Duration::from_secs(10))).ok()?;
    let mut skews: BTreeMap<String, VecDeque<i64>> = BTreeMap::new();
    while let Ok(Some(delivery)) = stream.next(Wait::For(Duration::from_secs(10))) {
        let stored = match delivery {
            Delivery::Event(stored) => stored,
            Delivery::Gap { .. } => continue,
            Delivery::End => break,
        };
        let Ok(Value::Map(data)) = stored.event.decode() else {
            continue;
        };
        let (Some(Value::Int(ts)), Some(id)) =
            (data.get("ts"), data.get("id").and_then(Value::as_str))
        else {
            continue;
        };
        let Ok(ts) = i64::try_from(*ts) else { continue };
        let arrived = i64::try_from(stored.at.0 / 1000).unwrap_or(i64::MAX);
        let skew = ts.saturating_sub(arrived);
        let newest = skews.entry(id.to_owned()).or_default();
        newest.push_back(skew);
        if newest.len() > NEWEST {
            newest.pop_front();
        }
    }
    let least = |skews: VecDeque<i64>| skews.into_iter().min_by_key(|skew| skew.abs());
    let by_minion = skews.into_iter();
    Some(
        by_minion
            .filter_map(|(id, skews)| Some((id, least(skews)?)))
            .collect(),
    )
}
