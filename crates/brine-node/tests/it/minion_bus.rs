//! What Salt's own execution modules ask of a minion by events on its bus, and wait for.

use brine_wire::{Map, Value};

use crate::support::{DEADLINE, Fixture, own_publisher};

/// The functions wait up to a minute for these events. Salt's minion has them say what it has: ours has nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn beacons_and_schedule_are_empty_and_say_so_at_once() {
    let fixture = Fixture::new("tcp");
    let minion = fixture.minion(fixture.ports[0], "");
    let mut bus = fixture.minion_bus().await;
    let mut publisher = own_publisher(&fixture);
    let nothing = || Value::from(Map::new());
    for (tag, func, answer, name, value) in [
        (
            "manage_beacons",
            "list",
            "beacons_list_complete",
            "beacons",
            nothing(),
        ),
        (
            "manage_beacons",
            "list_available",
            "beacons_list_available_complete",
            "beacons",
            Value::Array(Vec::new()),
        ),
        (
            "manage_beacons",
            "validate_beacon",
            "beacon_validation_complete",
            "valid",
            false.into(),
        ),
        (
            "manage_beacons",
            "add",
            "beacon_add_complete",
            "beacons",
            nothing(),
        ),
        (
            "manage_beacons",
            "modify",
            "beacon_modify_complete",
            "beacons",
            nothing(),
        ),
        (
            "manage_beacons",
            "delete",
            "beacon_delete_complete",
            "beacons",
            nothing(),
        ),
        (
            "manage_beacons",
            "enable",
            "beacons_enabled_complete",
            "beacons",
            nothing(),
        ),
        (
            "manage_beacons",
            "disable",
            "beacons_disabled_complete",
            "beacons",
            nothing(),
        ),
        (
            "manage_beacons",
            "enable_beacon",
            "beacon_enabled_complete",
            "beacons",
            nothing(),
        ),
        (
            "manage_beacons",
            "disable_beacon",
            "beacon_disabled_complete",
            "beacons",
            nothing(),
        ),
        (
            "manage_beacons",
            "reset",
            "beacon_reset_complete",
            "beacons",
            nothing(),
        ),
        (
            "manage_schedule",
            "list",
            "schedule_list_complete",
            "schedule",
            nothing(),
        ),
        (
            "manage_schedule",
            "add",
            "schedule_add_complete",
            "schedule",
            nothing(),
        ),
        (
            "manage_schedule",
            "delete",
            "schedule_delete_complete",
            "schedule",
            nothing(),
        ),
        (
            "manage_schedule",
            "enable",
            "schedule_enabled_complete",
            "schedule",
            nothing(),
        ),
        (
            "manage_schedule",
            "disable",
            "schedule_disabled_complete",
            "schedule",
            nothing(),
        ),
        (
            "manage_schedule",
            "enable_job",
            "schedule_enabled_job_complete",
            "schedule",
            nothing(),
        ),
        (
            "manage_schedule",
            "disable_job",
            "schedule_disabled_job_complete",
            "schedule",
            nothing(),
        ),
        (
            "manage_schedule",
            "postpone_job",
            "schedule_postpone_job_complete",
            "schedule",
            nothing(),
        ),
        (
            "manage_schedule",
            "skip_job",
            "schedule_skip_job_complete",
            "schedule",
            nothing(),
        ),
        (
            "manage_schedule",
            "get_next_fire_time",
            "schedule_next_fire_time_complete",
            "next_fire_time",
            Value::Nil,
        ),
        (
            "manage_schedule",
            "job_status",
            "schedule_job_status_complete",
            "data",
            nothing(),
        ),
        (
            "manage_schedule",
            "save_schedule",
            "schedule_saved",
            "complete",
            false.into(),
        ),
    ] {
        let mut request = Map::from_iter([("func", func), ("name", "x")]);
        let sent = publisher.fire_event(tag, &mut request, Some(DEADLINE));
        sent.await.unwrap();
        let answer = bus.next(&format!("/salt/minion/minion_{answer}")).await;
        assert_eq!(answer.get(name), Some(&value), "{tag} {func}: {answer:?}");
    }
    minion.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_waits_for_a_refresh_gets_its_event() {
    let fixture = Fixture::new("tcp");
    let minion = fixture.minion(fixture.ports[0], "");
    let mut bus = fixture.minion_bus().await;
    let mut publisher = own_publisher(&fixture);
    for (tag, request, answer) in [
        ("module_refresh", Map::from_iter([("notify", true)]), "mod"),
        (
            "pillar_refresh",
            Map::from_iter([("clean_cache", true)]),
            "pillar",
        ),
        ("grains_refresh", Map::new(), "pillar"),
    ] {
        let mut request = request;
        let sent = publisher.fire_event(tag, &mut request, Some(DEADLINE));
        sent.await.unwrap();
        let tag = format!("/salt/minion/minion_{answer}_refresh_complete");
        let answer = bus.next(&tag).await;
        assert_eq!(answer.get("complete"), Some(&true.into()), "{answer:?}");
    }
    minion.end().await;
}
