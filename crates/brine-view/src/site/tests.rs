//! What the site makes of events, and that nothing grows without limit.

use brine_wire::{Map, Value, msgpack};

use super::*;

fn packed(pairs: &[(&str, Value)]) -> Vec<u8> {
    let map: Map = pairs.iter().cloned().collect();
    let mut out = Vec::new();
    msgpack::encode_map(&map, &mut out);
    out
}

struct Fed {
    site: Site,
    seq: u64,
}

impl Fed {
    fn take(&mut self, tag: &str, at: u64, pairs: &[(&str, Value)]) -> &mut Self {
        self.seq += 1;
        let data = packed(pairs);
        self.site.take(Arrival {
            tag,
            data: &data,
            at,
            seq: self.seq,
        });
        self
    }
}

fn fed() -> Fed {
    Fed {
        site: Site::default(),
        seq: 0,
    }
}

fn ids(names: &[&str]) -> Value {
    Value::Array(names.iter().map(|name| Value::from(*name)).collect())
}

#[test]
fn a_job_counts_expected_returned_failed_and_missing() {
    let mut fed = fed();
    fed.take(
        "salt/job/1/new",
        1000,
        &[
            ("fun", "test.ping".into()),
            ("tgt", "*".into()),
            ("minions", ids(&["a", "b", "c"])),
            ("user", "root".into()),
        ],
    );
    fed.take(
        "salt/job/1/ret/a",
        1500,
        &[
            ("fun", "test.ping".into()),
            ("return", true.into()),
            ("retcode", 0.into()),
        ],
    );
    fed.take(
        "salt/job/1/ret/b",
        1600,
        &[
            ("fun", "test.ping".into()),
            ("return", false.into()),
            ("retcode", 1.into()),
        ],
    );
    let job = fed.site.jobs.get("1").unwrap();
    assert_eq!(
        (job.expected(), job.returned(), job.failed()),
        (Some(3), 2, 1)
    );
    assert_eq!(job.outstanding(2000), (1, Outcome::Waiting));
    assert_eq!(job.outstanding(100_000), (1, Outcome::Missing));
    let rows: Vec<_> = job
        .minions(100_000)
        .into_iter()
        .map(|(id, outcome, _)| (id, outcome))
        .collect();
    assert_eq!(
        rows,
        [
            ("b", Outcome::Failed),
            ("c", Outcome::Missing),
            ("a", Outcome::Good)
        ]
    );
    assert_eq!((fed.site.events, fed.site.failures), (3, 1));

    let gap = Gap {
        at: 3000,
        before: 9,
        missed: Some(5),
        reason: String::new(),
    };
    fed.site.take_gap(gap);
    assert_eq!(
        fed.site.jobs.get("1").unwrap().outstanding(100_000),
        (1, Outcome::Unknown)
    );
    assert_eq!(fed.site.missed, 5);
}

#[test]
fn a_job_whose_beginning_was_not_seen_expects_nobody() {
    let mut fed = fed();
    fed.take(
        "salt/job/2/ret/a",
        1000,
        &[
            ("fun", "test.ping".into()),
            ("return", true.into()),
            ("success", false.into()),
        ],
    );
    let job = fed.site.jobs.get("2").unwrap();
    assert_eq!((job.expected(), job.returned(), job.failed()), (None, 1, 1));
    // The same return again, better now, is still one.
    fed.take(
        "salt/job/2/ret/a",
        1000,
        &[
            ("fun", "test.ping".into()),
            ("return", true.into()),
            ("success", true.into()),
        ],
    );
    let job = fed.site.jobs.get("2").unwrap();
    assert_eq!((job.returned(), job.failed()), (1, 0));
}

#[test]
fn of_older_jobs_sums_are_kept_alone() {
    let mut fed = fed();
    let names: Vec<String> = (0..1000).map(|number| format!("m{number:03}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let jobs = jobs::MAX_RETURNS / 1000 + 2;
    let returned = |name: &str| {
        [
            ("fun", "test.ping".into()),
            ("return", true.into()),
            ("success", Value::from(name != "m007")),
        ]
    };
    for job in 0..jobs {
        let new = [("minions", ids(&names)), ("fun", "test.ping".into())];
        fed.take(&format!("salt/job/{job}/new"), 1000, &new);
        // One minion of the first job is slow.
        for name in names.iter().skip(usize::from(job == 0)) {
            let tag = format!("salt/job/{job}/ret/{name}");
            fed.take(&tag, 1000, &returned(name));
        }
    }
    let sums = |site: &Site, jid: &str| {
        let job = site.jobs.get(jid).unwrap();
        let sums = (job.expected(), job.returned(), job.failed());
        (
            sums,
            job.outstanding(2000),
            job.is_summed(),
            job.minions(2000).len(),
        )
    };
    assert_eq!(
        sums(&fed.site, "0"),
        ((Some(1000), 999, 1), (1, Outcome::Waiting), true, 0)
    );
    let last = (jobs - 1).to_string();
    assert_eq!(
        sums(&fed.site, &last),
        ((Some(1000), 1000, 1), (0, Outcome::Good), false, 1000)
    );
    assert_eq!(fed.site.jobs.len(), jobs);
    fed.take("salt/job/0/ret/m000", 1500, &returned("m000"));
    assert_eq!(
        sums(&fed.site, "0"),
        ((Some(1000), 1000, 1), (0, Outcome::Good), true, 0)
    );
    // Jobs go when there are too many, whatever is kept of them.
    for job in 0..jobs::MAX_JOBS {
        fed.take(
            &format!("salt/job/later{job}/new"),
            2000,
            &[("minions", ids(&["a"]))],
        );
    }
    assert_eq!(fed.site.jobs.len(), jobs::MAX_JOBS);
}

#[test]
fn presence_is_known_only_without_gaps() {
    let mut fed = fed();
    assert_eq!(fed.site.minions.connected(), None);
    fed.take(
        "salt/presence/present",
        1000,
        &[("present", ids(&["a", "b"]))],
    );
    fed.take(
        "salt/presence/change",
        2000,
        &[("new", ids(&["c"])), ("lost", ids(&["a"]))],
    );
    assert_eq!(fed.site.minions.connected(), Some(2));
    let rows = fed.site.minions.newest();
    assert_eq!(rows[0].0, "a");
    assert_eq!(rows[0].1.is_present, Some(false));
    fed.site.take_gap(Gap {
        at: 0,
        before: 0,
        missed: None,
        reason: String::new(),
    });
    assert_eq!(
        (fed.site.minions.connected(), fed.site.may_have_missed),
        (None, true)
    );
}

#[test]
fn rates_know_silence_from_ignorance() {
    let mut fed = fed();
    for at in [10_000, 10_500, 12_000] {
        fed.take("a", at, &[]);
    }
    fed.site.rates.mark_gap(11_000);
    let seconds = fed.site.rates.last(5, 14_000);
    let counts: Vec<_> = seconds
        .iter()
        .map(|second| second.map(|second| (second.events, second.has_gap)))
        .collect();
    assert_eq!(
        counts,
        [
            None,
            Some((2, false)),
            Some((0, true)),
            Some((1, false)),
            Some((0, false))
        ]
    );
    assert!((fed.site.rates.mean(4, 14_000) - 0.75).abs() < 1e-9);
    assert_eq!(Rates::default().last(2, 5000), [None, None]);
}

#[test]
fn tags_are_told_apart_by_kind() {
    for (tag, kind) in [
        ("salt/job/20261129080100000000/ret/web1", "salt/job/*/ret/*"),
        (
            "salt/job/20261129080100000000/prog/web1/3",
            "salt/job/*/prog/*/*",
        ),
        ("salt/job/20261129080100000000/new", "salt/job/*/new"),
        ("salt/run/20261129080100000000/ret", "salt/run/*/ret"),
        ("salt/minion/web1/start", "salt/minion/*/start"),
        ("salt/beacon/web1/ps/", "salt/beacon/*/ps/"),
        ("minion/refresh/web1", "minion/refresh/*"),
        ("20261129080100000000", "*"),
        ("myco/backup/done", "myco/backup/done"),
        ("", ""),
    ] {
        assert_eq!(shape(tag), kind, "{tag}");
    }
    let mut fed = fed();
    for at in [0, 30_000, 61_000] {
        fed.take("x", at, &[]);
    }
    assert_eq!(fed.site.tags.busiest(61_000), [("x", 2, 3, 0)]);
    assert_eq!(fed.site.tags.busiest(600_000), [("x", 0, 3, 0)]);
}

#[test]
fn nothing_grows_without_bound() {
    let mut fed = fed();
    let payload = Value::from("x".repeat(1500));
    for number in 0..25_000u64 {
        let jid = format!("{:020}", number / 3);
        let id = format!("minion-{number}");
        let data = [
            ("fun", "f".into()),
            ("return", payload.clone()),
            ("retcode", 0.into()),
        ];
        fed.take(&format!("salt/job/{jid}/ret/{id}"), number, &data);
        fed.take(&format!("own/tag-{number}"), number, &[]);
    }
    let site = &fed.site;
    assert!(site.jobs.len() <= 1000 && site.minions.len() <= 20_000);
    assert!(site.tags.busiest(0).len() <= 1001);
    assert!(site.recent.bytes() <= recent::MAX_BYTES);
    assert!(site.recent.end() - site.recent.first() <= recent::MAX_ROWS as u64);
    assert!(site.recent.get(site.recent.first()).is_some() && site.recent.get(0).is_none());
    assert_eq!(site.rates.last(5000, 50_000).len(), 5000);
    // A clock that jumps does not make the plot large either.
    fed.take("a", u64::MAX, &[]);
    fed.take("a", 0, &[]);
}

#[test]
fn returns_are_counted_by_function() {
    let mut site = Site::default();
    let take = |site: &mut Site, tag: &str, fun: &str, code: i32| {
        let data: Map = [
            ("fun", Value::from(fun)),
            ("retcode", code.into()),
            ("return", true.into()),
        ]
        .into_iter()
        .collect();
        let mut packed = Vec::new();
        msgpack::encode_map(&data, &mut packed);
        site.take(Arrival {
            tag,
            data: &packed,
            at: 60_000,
            seq: 1,
        });
    };
    take(&mut site, "salt/job/1/ret/a", "state.apply", 2);
    take(&mut site, "salt/job/1/ret/b", "state.apply", 0);
    take(&mut site, "salt/job/2/ret/b", "saltutil.find_job", 0);
    take(&mut site, "salt/run/3/ret", "runner.manage.up", 0);
    let rows = site.functions.busiest(60_000);
    assert_eq!(
        rows,
        [("state.apply", 2, 2, 1), ("runner.manage.up", 1, 1, 0)]
    );
}

#[test]
fn minutes_are_whole_and_keep_their_gaps() {
    let mut rates = Rates::default();
    for second in [60, 119, 120, 180] {
        rates.count(second * 1000, second == 119);
    }
    rates.mark_gap(130_000);
    let minutes = rates.last_minutes(3, 185_000);
    assert_eq!(minutes[0], None);
    let of = |events, failures, has_gap| {
        Some(Second {
            events,
            failures,
            has_gap,
        })
    };
    assert_eq!(minutes[1..], [of(2, 1, false), of(1, 0, true)]);
}
