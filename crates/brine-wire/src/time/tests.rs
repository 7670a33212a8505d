//! The forms of times and starts, one by one.

use super::*;
use alloc::format;

/// 2026-11-29T08:01:00Z, a Sunday.
const NOW: u64 = 1_795_939_260;

fn clock(zone: &dyn Fn(i64) -> i32) -> Clock<'_> {
    Clock {
        now: Duration::from_secs(NOW),
        zone,
    }
}

fn time(text: &str) -> Result<Duration, TimeFault> {
    let error = |error: TimeError| error.fault;
    parse_time(text, Bound::Since, clock(&|_| 3600)).map_err(error)
}

/// Two hours ahead in summer, one in winter, changed as in the European Union in 2026.
fn berlin(at: i64) -> i32 {
    let summer = 1_774_746_000..1_792_890_000;
    if summer.contains(&at) { 7200 } else { 3600 }
}

#[test]
fn every_form_is_read() {
    let ago = |seconds| Ok(Duration::from_secs(NOW - seconds));
    let at = |seconds| Ok(Duration::from_secs(seconds));
    for (text, expected) in [
        ("10m", ago(600)),
        ("2h", ago(7200)),
        ("1h30m", ago(5400)),
        ("1h 30min", ago(5400)),
        ("-2h", ago(7200)),
        ("10 min ago", ago(600)),
        ("1h30min ago", ago(5400)),
        ("1.5h", ago(5400)),
        ("3 days", ago(259_200)),
        ("2w", ago(1_209_600)),
        ("0s", ago(0)),
        ("now", ago(0)),
        ("@1700000000", at(1_700_000_000)),
        ("@0", at(0)),
        ("2026-11-29T08:01:00Z", ago(0)),
        ("2026-11-29T08:01:00z", ago(0)),
        ("2026-11-29t10:01:00+02:00", ago(0)),
        ("2026-11-29T10:01:00+0200", ago(0)),
        ("2026-11-29T03:01-05", ago(0)),
        ("2026-11-29T08:01:00", ago(0)),
        ("2026-11-29 08:01:00Z", ago(0)),
        ("2026-11-29 08:01 UTC", ago(0)),
        ("2026-11-29 09:01", ago(0)),
        ("2026-11-29 09:00:20", ago(40)),
        ("2026-11-29", ago(9 * 3600 + 60)),
        ("09:01", ago(0)),
        ("9:01", ago(0)),
        ("today", ago(9 * 3600 + 60)),
        ("yesterday", ago(33 * 3600 + 60)),
        (" 10m ", ago(600)),
        ("20261129080100000000", ago(0)),
        ("20261129080100000000_4711", ago(0)),
        ("2000-02-29T00:00:00Z", at(951_782_400)),
        ("1969-12-31T23:59:59Z", at(0)),
        ("9000000000w", at(0)),
    ] {
        assert_eq!(time(text), expected, "{text}");
    }
}

#[test]
fn fractions_are_kept() {
    for (text, nanoseconds) in [
        ("@1700000000.25", 250_000_000),
        ("2023-11-14T22:13:20.000042", 42_000),
        ("20231114221320000042", 42_000),
        ("2023-11-14T22:13:20.1234567891Z", 123_456_789),
    ] {
        assert_eq!(
            time(text),
            Ok(Duration::new(1_700_000_000, nanoseconds)),
            "{text}"
        );
    }
    assert_eq!(time("1.5s"), Ok(Duration::from_millis(NOW * 1000 - 1500)));
}

#[test]
fn what_is_no_time_is_refused_for_its_reason() {
    use TimeFault::{Form, Future, NoSuchTime, UnitVaries};
    for (text, fault) in [
        ("", Form),
        ("soon", Form),
        ("10", Form),
        ("10x", Form),
        ("m", Form),
        (".5h", Form),
        ("1.h", Form),
        ("1h30", Form),
        ("--1h", Form),
        ("@", Form),
        ("@1.x", Form),
        ("@-1", Form),
        ("@99999999999999", Form),
        ("ago", Form),
        ("2026-11-29X08:01", Form),
        ("2026-11-29T08", Form),
        ("2026-11-29T08:01:00.Z", Form),
        ("2026-11-29T08:01+2", Form),
        ("2026-11-29 08:01 CET", Form),
        ("08:01:02:03", Form),
        ("202611290801000000001", Form),
        ("1M", UnitVaries),
        ("2 months ago", UnitVaries),
        ("1y", UnitVaries),
        ("2026-02-29", NoSuchTime),
        ("2026-13-01", NoSuchTime),
        ("2026-11-00", NoSuchTime),
        ("25:00", NoSuchTime),
        ("2026-11-29T08:60:00Z", NoSuchTime),
        ("20261399080100000000", NoSuchTime),
        ("+5min", Future),
        ("tomorrow", Future),
    ] {
        assert_eq!(time(text), Err(fault), "{text}");
    }
    assert_eq!(time(&"1".repeat(100)), Err(Form));
}

#[test]
fn only_an_end_lies_ahead() {
    let until = |text| parse_time(text, Bound::Until, clock(&|_| 0));
    assert_eq!(until("+5min"), Ok(Duration::from_secs(NOW + 300)));
    assert_eq!(
        until("tomorrow"),
        Ok(Duration::from_secs(NOW - 8 * 3600 - 60 + 86_400))
    );
    // A date in the future is no mistake of form: nothing has arrived then.
    assert!(time("2030-01-01").is_ok());
}

#[test]
fn local_times_follow_the_zones_changes() {
    let local = |text| {
        parse_time(text, Bound::Since, clock(&berlin))
            .unwrap()
            .as_secs()
    };
    assert_eq!(local("2026-07-01 12:00"), 1_782_900_000);
    assert_eq!(local("2026-12-01 12:00"), 1_796_122_800);
    // Twice: the first of the two. Never: by the offset from before.
    assert_eq!(local("2026-10-25 02:30"), 1_792_888_200);
    assert_eq!(local("2026-03-29 02:30"), 1_774_747_800);
}

#[test]
fn a_start_is_a_word_a_sequence_a_position_or_a_time() {
    let start = |text| parse_start(text, clock(&|_| 0));
    assert_eq!(start("earliest"), Ok(StartText::Earliest));
    assert_eq!(start("new"), Ok(StartText::New));
    assert_eq!(start("latest"), Ok(StartText::New));
    assert_eq!(start("42"), Ok(StartText::Sequence(42)));
    let after = |log: &str, sequence| {
        Ok(StartText::After {
            log: log.into(),
            sequence,
        })
    };
    assert_eq!(start("7f3a-42"), after("7f3a", 42));
    assert_eq!(
        start("10m"),
        Ok(StartText::Time(Duration::from_secs(NOW - 600)))
    );
    assert!(matches!(
        start("20261129080100000000"),
        Ok(StartText::Time(_))
    ));
    assert!(matches!(start("2026-11-29"), Ok(StartText::Time(_))));
    assert_eq!(start("x-1").unwrap_err().fault, TimeFault::Form);
}

#[test]
fn errors_show_right_forms() {
    assert_eq!(
        format!(
            "{}",
            parse_time("2 months", Bound::Since, clock(&|_| 0)).unwrap_err()
        ),
        "expected a time, such as 10m, 2026-11-29 08:01 or 2026-11-29T08:01:00Z, found \"2 months\": \
         months and years differ in length; give days (d) or a date"
    );
    assert_eq!(
        format!("{}", parse_start("soon", clock(&|_| 0)).unwrap_err()),
        "expected a start: earliest, new, a sequence such as 42, a position such as 7f3a-42, or a \
         time such as 10m or 2026-11-29 08:01, found \"soon\""
    );
}
