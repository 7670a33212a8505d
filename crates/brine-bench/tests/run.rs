//! The generator against buses that misbehave in known ways: what they do wrong must be in the
//! report, and nothing else.
#![allow(clippy::unwrap_used, reason = "a test may")]

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use brine_bench::{BenchError, Churn, ChurnOf, Faults, Load, Pace, Report, Target, run};

/// What a bus does to the frames of a publisher. Frames come in order, one call each.
type Treatment = fn(number: u64, frame: Vec<u8>, out: &mut Vec<Vec<u8>>);

/// A bus of threads that forwards each frame as `treatment` says.
fn bus(dir: &Path, treatment: Treatment) -> Target {
    let publish = UnixListener::bind(dir.join("master_event_pub.ipc")).unwrap();
    let pull = UnixListener::bind(dir.join("master_event_pull.ipc")).unwrap();
    let subscribers: Arc<Mutex<Vec<UnixStream>>> = Arc::default();
    let joining = Arc::clone(&subscribers);
    thread::spawn(move || {
        for socket in publish.incoming() {
            joining.lock().unwrap().push(socket.unwrap());
        }
    });
    thread::spawn(move || {
        for socket in pull.incoming() {
            let subscribers = Arc::clone(&subscribers);
            thread::spawn(move || forward(socket.unwrap(), &subscribers, treatment));
        }
    });
    Target::salt_in(dir, "3006".parse().unwrap())
}

fn forward(mut from: UnixStream, to: &Mutex<Vec<UnixStream>>, treatment: Treatment) {
    let mut prefix = [0; 4];
    for number in 0.. {
        if from.read_exact(&mut prefix).is_err() {
            return;
        }
        let mut frame = prefix.to_vec();
        frame.resize(4 + u32::from_be_bytes(prefix) as usize, 0);
        from.read_exact(&mut frame[4..]).unwrap();
        let mut out = Vec::new();
        treatment(number, frame, &mut out);
        let mut to = to.lock().unwrap();
        match out.is_empty() {
            // An empty frame list closes nobody; one empty frame closes everybody.
            false if out[0].is_empty() => to.clear(),
            _ => to.retain_mut(|socket| out.iter().all(|frame| socket.write_all(frame).is_ok())),
        }
    }
}

/// Treatments leave the first frames alone: they are the generator's question who hears.
const FIRST_FRAMES: u64 = 500;

fn honest(_: u64, frame: Vec<u8>, out: &mut Vec<Vec<u8>>) {
    out.push(frame);
}

fn loses_one_in_a_hundred(number: u64, frame: Vec<u8>, out: &mut Vec<Vec<u8>>) {
    if number < FIRST_FRAMES || !number.is_multiple_of(100) {
        out.push(frame);
    }
}

fn repeats_one_in_a_hundred(number: u64, frame: Vec<u8>, out: &mut Vec<Vec<u8>>) {
    if number > FIRST_FRAMES && number.is_multiple_of(100) {
        out.push(frame.clone());
    }
    out.push(frame);
}

fn swaps_one_pair(number: u64, frame: Vec<u8>, out: &mut Vec<Vec<u8>>) {
    static HELD: Mutex<Option<Vec<u8>>> = Mutex::new(None);
    if number == FIRST_FRAMES {
        *HELD.lock().unwrap() = Some(frame);
        return;
    }
    out.push(frame);
    out.extend(HELD.lock().unwrap().take());
}

fn damages_the_end(number: u64, mut frame: Vec<u8>, out: &mut Vec<Vec<u8>>) {
    if number > FIRST_FRAMES {
        *frame.last_mut().unwrap() ^= 1;
    }
    out.push(frame);
}

fn closes_everybody(number: u64, frame: Vec<u8>, out: &mut Vec<Vec<u8>>) {
    out.push(if number == FIRST_FRAMES {
        Vec::new()
    } else {
        frame
    });
}

fn never_forwards(_: u64, _: Vec<u8>, _: &mut Vec<Vec<u8>>) {}

fn measure(treatment: Treatment, mut load: Load) -> Report {
    load.warm_up = Duration::from_millis(50);
    load.duration = Duration::from_millis(300);
    let dir = tempfile::tempdir().unwrap();
    run(&bus(dir.path(), treatment), &load).unwrap()
}

fn default_load() -> Load {
    Load {
        subscribers: 2,
        ..Load::default()
    }
}

#[test]
fn an_honest_bus_has_no_faults_and_every_figure() {
    for load in [
        default_load(),
        Load {
            publishers: 4,
            subscribers: 3,
            reader_threads: 2,
            ..Load::default()
        },
        Load {
            data_bytes: 65_536,
            events_per_write: 3,
            ..Load::default()
        },
        Load {
            pace: Pace::Rate(2000.0),
            ..Load::default()
        },
    ] {
        let report = measure(honest, load);
        assert_eq!(report.faults, Faults::default(), "{}", report.table());
        assert_eq!(
            report.deliveries,
            report.published * report.load.subscribers as u64
        );
        assert!(report.events_per_second > 100.0, "{}", report.table());
        assert!(report.latency.from_due.count > 0);
        assert!(report.bus.unwrap().cpu > Duration::ZERO);
        assert_eq!(report.json()["published"], report.published);
    }
}

#[test]
fn open_loop_sends_at_its_rate() {
    let report = measure(
        honest,
        Load {
            pace: Pace::Rate(1000.0),
            ..Load::default()
        },
    );
    assert!(
        (900.0..1100.0).contains(&report.events_per_second),
        "{}",
        report.table()
    );
    assert!(report.latency.from_due.p50_ns >= report.latency.from_send.p50_ns);
}

#[test]
fn a_bus_that_waits_for_one_that_never_reads_owes_the_others() {
    let report = measure(
        honest,
        Load {
            stuck: 1,
            ..default_load()
        },
    );
    assert!(report.faults.owed > 0, "{:?}", report.faults);
    assert!(
        report.faults.none(),
        "late is not lost: {:?}",
        report.faults
    );
}

#[test]
fn lost_events_are_counted() {
    let report = measure(loses_one_in_a_hundred, default_load());
    let faults = report.faults;
    let expected = report.published / 100 * 2;
    assert!(
        faults.lost.abs_diff(expected) <= 20,
        "{} of {expected}",
        faults.lost
    );
    let others = Faults {
        lost: 0,
        owed: 0,
        ..faults
    };
    assert!(!faults.none() && others == Faults::default(), "{faults:?}");
}

#[test]
fn repeated_events_are_counted() {
    let report = measure(repeats_one_in_a_hundred, default_load());
    let expected = report.published / 100 * 2;
    assert!(
        report.faults.duplicated.abs_diff(expected) <= 20,
        "{:?}",
        report.faults
    );
    let others = Faults {
        duplicated: 0,
        ..report.faults
    };
    assert_eq!(others, Faults::default());
}

#[test]
fn reordered_events_are_counted_for_each_subscriber() {
    let report = measure(swaps_one_pair, default_load());
    assert_eq!(
        report.faults,
        Faults {
            reordered: 2,
            ..Faults::default()
        }
    );
}

#[test]
fn damaged_events_are_noticed() {
    let report = measure(damages_the_end, default_load());
    let others = Faults {
        corrupt: 0,
        ..report.faults
    };
    assert!(
        report.faults.corrupt > 0 && others == Faults::default(),
        "{:?}",
        report.faults
    );
}

#[test]
fn a_bus_that_closes_its_subscribers_ends_the_run_early_with_the_rest_lost() {
    let report = measure(closes_everybody, default_load());
    assert_eq!(report.faults.disconnected, 2);
    assert!(report.faults.lost > 0, "{:?}", report.faults);
    assert!(report.measured < Duration::from_millis(300));
}

#[test]
fn short_lived_publishers_are_counted_beside_the_load() {
    for of in [ChurnOf::Publishers, ChurnOf::Subscribers] {
        let churn = Some(Churn {
            of,
            per_second: Some(200.0),
        });
        let load = Load {
            pace: Pace::Rate(1000.0),
            churn,
            ..Load::default()
        };
        let report = measure(honest, load);
        let churned = report.churn.unwrap();
        assert!(
            (100.0..250.0).contains(&churned.cycles_per_second),
            "{churned:?}"
        );
        assert!(report.faults.none(), "{:?}", report.faults);
    }
}

#[test]
fn a_bus_that_is_not_there_or_says_nothing_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let nowhere = Target::salt_in(dir.path(), "3006".parse().unwrap());
    assert!(matches!(
        run(&nowhere, &Load::default()),
        Err(BenchError::Connect { .. })
    ));
    let silent = bus(dir.path(), never_forwards);
    let found = run(&silent, &Load::default());
    assert!(
        matches!(found, Err(BenchError::Deaf { hearing: 0, .. })),
        "{found:?}"
    );
}

#[test]
fn impossible_loads_are_refused() {
    let target = Target::salt_in(Path::new("/nonexistent"), "3008".parse().unwrap());
    for load in [
        Load {
            publishers: 0,
            ..Load::default()
        },
        Load {
            subscribers: 0,
            ..Load::default()
        },
        Load {
            reader_threads: 2,
            ..Load::default()
        },
        Load {
            events_per_write: 0,
            ..Load::default()
        },
        Load {
            data_bytes: 10,
            ..Load::default()
        },
    ] {
        assert!(
            matches!(run(&target, &load), Err(BenchError::Load { .. })),
            "{load:?}"
        );
    }
    let crowded = Load {
        stuck: usize::MAX >> 8,
        ..Load::default()
    };
    assert!(matches!(
        run(&target, &crowded),
        Err(BenchError::TooFewFiles { .. })
    ));
}
