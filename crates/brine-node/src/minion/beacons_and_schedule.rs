//! Answers for Salt's execution modules `beacons` and `schedule`. They fire an event on the minion's bus and wait, for up
//! to a minute, for the event with which Salt's minion answers.
//!
//! A minion of ours has neither beacons nor a schedule, and says so at once: both are empty, and stay empty.
//! Facts: the events of Salt 3008.3 and 3006.28.

use brine_wire::{Map, Value};

pub(super) const MANAGE_BEACONS: &str = "manage_beacons";
pub(super) const MANAGE_SCHEDULE: &str = "manage_schedule";

/// What a request may ask for (`func`), and what the tag of its answer names. `schedule.modify` deletes and adds;
/// `reload` and `run_job` have no answer.
const BEACONS: [(&str, &str); 11] = [
    ("list", "beacons_list"),
    ("list_available", "beacons_list_available"),
    ("validate_beacon", "beacon_validation"),
    ("add", "beacon_add"),
    ("modify", "beacon_modify"),
    ("delete", "beacon_delete"),
    ("enable", "beacons_enabled"),
    ("disable", "beacons_disabled"),
    ("enable_beacon", "beacon_enabled"),
    ("disable_beacon", "beacon_disabled"),
    ("reset", "beacon_reset"),
];
const SCHEDULE: [(&str, &str); 11] = [
    ("list", "schedule_list"),
    ("add", "schedule_add"),
    ("delete", "schedule_delete"),
    ("enable", "schedule_enabled"),
    ("disable", "schedule_disabled"),
    ("enable_job", "schedule_enabled_job"),
    ("disable_job", "schedule_disabled_job"),
    ("postpone_job", "schedule_postpone_job"),
    ("skip_job", "schedule_skip_job"),
    ("get_next_fire_time", "schedule_next_fire_time"),
    ("job_status", "schedule_job_status"),
];

/// The answer to a request: tag and data. `None` for one that Salt's minion does not answer either.
pub(super) fn answer(request: &str, data: &Map) -> Option<(String, Map)> {
    let asked = data.get("func").and_then(Value::as_str)?;
    let mut answer = Map::new();
    if (request, asked) == (MANAGE_SCHEDULE, "save_schedule") {
        // Salt's word for "saved" would be a lie: there is nothing to save.
        answer.insert("complete", false);
        return Some(("/salt/minion/minion_schedule_saved".to_owned(), answer));
    }
    let table = match request {
        MANAGE_BEACONS => BEACONS,
        _ => SCHEDULE,
    };
    let (_, about) = table.iter().find(|(func, _)| *func == asked)?;
    answer.insert("complete", true);
    match (request, asked) {
        (MANAGE_BEACONS, "list_available") => answer.insert("beacons", Vec::<Value>::new()),
        (MANAGE_BEACONS, "validate_beacon") => {
            answer.insert("valid", false);
            answer.insert("vcomment", NO_BEACONS);
        }
        (MANAGE_BEACONS, _) => {
            answer.insert("comment", NO_BEACONS);
            answer.insert("beacons", Map::new());
        }
        (_, "get_next_fire_time") => answer.insert("next_fire_time", Value::Nil),
        (_, "job_status") => answer.insert("data", Map::new()),
        _ => answer.insert("schedule", Map::new()),
    }
    Some((format!("/salt/minion/minion_{about}_complete"), answer))
}

const NO_BEACONS: &str = "This minion has no beacons.";
