//! What all sinks share, against an other side that is away, refuses, forgets.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use brine_bridge::{Batch, Batching, DeadLetters, Filter, Sink, SinkError};
use brine_log::history::{ConsumerName, History, Paused};
use brine_log::{LogId, Position, Seq};
use tempfile::tempdir;

use crate::support::{Bus, Scripted, config, wait_until};

#[test]
fn events_are_delivered_in_order_and_the_position_follows() {
    let directory = tempdir().unwrap();
    let bus = Bus::open(directory.path());
    let other = Scripted::default();
    let running = bus.start(directory.path(), "s", other.clone());
    bus.fire_numbers(0..5000);
    wait_until("delivered", || other.has().len() == 5000);
    assert!(other.has().into_iter().eq(0..5000));
    wait_until("saved", || bus.position_of("s") == bus.log.position());
    let figures = running.handle.figures();
    assert_eq!((figures.delivered, figures.failures), (5000, 0));
    assert!(figures.rate > 0.0 && figures.waits_for.is_none());
}

#[test]
fn an_other_side_that_is_away_gets_everything_later() {
    let directory = tempdir().unwrap();
    let bus = Bus::open(directory.path());
    let other = Scripted::default();
    other.script(|script| script.is_away = true);
    let running = bus.start(directory.path(), "s", other.clone());
    bus.fire_numbers(0..100);
    wait_until("tried twice", || running.handle.figures().failures >= 2);
    assert_eq!(running.handle.figures().waits_for.as_deref(), Some("away"));
    assert_eq!(bus.position_of("s").seq, Seq(0));
    other.script(|script| script.is_away = false);
    wait_until("delivered", || other.has().len() == 100);
    assert!(running.handle.figures().last_error.is_some());
}

#[test]
fn one_poison_event_blocks_nothing_and_is_sent_again_on_request() {
    let directory = tempdir().unwrap();
    let bus = Bus::open(directory.path());
    let other = Scripted::default();
    other.script(|script| script.refuses = [17, 18, 400].into());
    let running = bus.start(directory.path(), "s", other.clone());
    bus.fire_numbers(0..500);
    wait_until("delivered", || other.has().len() == 497);
    wait_until("set aside", || running.handle.figures().dead == 3);
    let good: Vec<_> = (0..500).filter(|n| ![17, 18, 400].contains(n)).collect();
    assert_eq!(other.has(), good);
    let letters = DeadLetters::read(running.handle.dead_letters()).unwrap();
    let seqs = letters.map(|letter| letter.unwrap().position.seq);
    assert_eq!(seqs.collect::<Vec<_>>(), [Seq(18), Seq(19), Seq(401)]);
    other.script(|script| script.refuses = [400].into());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let sent = runtime.block_on(running.handle.resend()).unwrap();
    assert_eq!((sent.delivered, sent.refused, sent.kept()), (2, 1, 1));
    assert_eq!(other.has()[497..], [17, 18]);
    assert_eq!(running.handle.figures().dead, 1);
    // One that is away refuses nothing; of one that breaks nobody knows.
    other.script(|script| (script.refuses, script.breaks_at) = ([].into(), [400].into()));
    let sent = runtime.block_on(running.handle.resend()).unwrap();
    assert_eq!((sent.failed, sent.failure.as_deref()), (1, Some("broken")));
    other.script(|script| (script.is_away, script.breaks_at) = (true, [].into()));
    let sent = runtime.block_on(running.handle.resend()).unwrap();
    assert_eq!((sent.unsent, sent.away.as_deref()), (1, Some("away")));
    assert_eq!((sent.refused, sent.failed, sent.kept()), (0, 0, 1));
    other.script(|script| script.is_away = false);
    let sent = runtime.block_on(running.handle.resend()).unwrap();
    assert_eq!((sent.delivered, sent.kept()), (1, 0));
}

#[test]
fn a_part_that_is_taken_does_not_come_again() {
    let directory = tempdir().unwrap();
    let bus = Bus::open(directory.path());
    let other = Scripted::default();
    other.script(|script| script.takes = Some(3));
    let _running = bus.start(directory.path(), "s", other.clone());
    bus.fire_numbers(0..20);
    wait_until("delivered", || other.has().len() >= 20);
    assert!(other.has().into_iter().eq(0..20));
}

#[test]
fn a_sink_goes_on_where_it_was_after_a_restart() {
    let directory = tempdir().unwrap();
    let other = Scripted::default();
    {
        let bus = Bus::open(directory.path());
        let running = bus.start(directory.path(), "s", other.clone());
        bus.fire_numbers(0..10);
        drop(running); // delivers what is there
        assert_eq!(other.has().len(), 10);
        bus.fire_numbers(10..20);
        bus.history.close();
    }
    let bus = Bus::open(directory.path());
    bus.fire_numbers(20..30);
    let _running = bus.start(directory.path(), "s", other.clone());
    wait_until("delivered", || other.has().len() >= 30);
    assert!(other.has().into_iter().eq(0..30));
}

#[test]
fn what_the_other_side_knows_it_has_does_not_come_again() {
    let directory = tempdir().unwrap();
    let bus = Bus::open(directory.path());
    let other = Scripted::default();
    let log = bus.log.id();
    let seq = Seq(5);
    other.script(|script| script.own = Some(Position { log, seq }));
    let running = bus.start(directory.path(), "s", other.clone());
    bus.fire_numbers(0..10);
    wait_until("delivered", || other.has().len() >= 5);
    drop(running);
    assert!(other.has().into_iter().eq(5..10));
}

#[test]
fn a_new_sink_begins_with_what_is_kept_or_with_what_comes() {
    let directory = tempdir().unwrap();
    let bus = Bus::open(directory.path());
    bus.fire_numbers(0..10);
    let (all, new) = (Scripted::default(), Scripted::default());
    let mut from_oldest = config(directory.path(), "all");
    from_oldest.from_oldest = true;
    let _all = bus.start_with(from_oldest, all.clone());
    let _new = bus.start(directory.path(), "new", new.clone());
    bus.fire_numbers(10..12);
    wait_until("delivered", || {
        all.has().len() == 12 && new.has().len() == 2
    });
    assert_eq!(new.has(), [10, 11]);
}

#[test]
fn a_paused_sink_rests_and_a_moved_one_delivers_again() {
    let directory = tempdir().unwrap();
    let bus = Bus::open(directory.path());
    let other = Scripted::default();
    let _running = bus.start(directory.path(), "s", other.clone());
    bus.fire_numbers(0..3);
    wait_until("delivered", || other.has().len() == 3);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let name = ConsumerName::parse("s").unwrap();
    let change = |paused, seq: Option<u64>| {
        let changed = bus.history.change(&name, |consumer| {
            consumer.paused = paused;
            if let Some(seq) = seq {
                consumer.position.seq = Seq(seq);
            }
        });
        runtime.block_on(changed).unwrap().unwrap();
    };
    change(Paused::UntilResumed, None);
    bus.fire_numbers(3..5);
    // Another sink has them, so this one could have had them.
    let beside = Scripted::default();
    let mut from_oldest = config(directory.path(), "beside");
    from_oldest.from_oldest = true;
    let _beside = bus.start_with(from_oldest, beside.clone());
    wait_until("delivered beside", || beside.has().len() == 5);
    assert_eq!(other.has().len(), 3);
    change(Paused::No, Some(1));
    wait_until("delivered again", || other.has().len() >= 7);
    assert_eq!(other.has(), [0, 1, 2, 1, 2, 3, 4]);
}

#[test]
fn a_filter_and_the_limits_of_a_batch_hold() {
    let directory = tempdir().unwrap();
    let bus = Bus::open(directory.path());
    let other = Scripted::default();
    let mut config = config(directory.path(), "s");
    config.filter = Filter::new(&["my/*"], &["my/other"], "").unwrap();
    config.batching = Batching {
        max_events: 10,
        wait: Duration::from_millis(500),
        ..Batching::default()
    };
    let _running = bus.start_with(config, other.clone());
    for number in 0..20 {
        bus.fire("my/other", &[("n", (-number).into())]);
        bus.fire("else", &[]);
        bus.fire("my/tag", &[("n", number.into())]);
    }
    bus.fire("salt/auth/creds", &[]);
    bus.fire("my/tag", &[("n", 20.into())]);
    wait_until("delivered", || other.has().len() == 21);
    assert!(other.has().into_iter().eq(0..21));
    other.script(|script| assert!(script.sizes.iter().all(|size| *size <= 10)));
    // Events that do not pass are behind it too.
    bus.fire("else", &[]);
    wait_until("passed over", || bus.position_of("s") == bus.log.position());
}

#[test]
fn fields_that_are_redacted_do_not_leave() {
    let directory = tempdir().unwrap();
    let bus = Bus::open(directory.path());
    let other = Scripted::default();
    let mut config = config(directory.path(), "s");
    config.redact = vec!["n".to_owned()];
    let _running = bus.start_with(config, other.clone());
    bus.fire("my/tag", &[("n", 77.into())]);
    wait_until("delivered", || other.has().len() == 1);
    assert_ne!(other.has(), [77]);
}

#[test]
fn what_breaks_for_some_events_is_told_from_what_is_away() {
    let directory = tempdir().unwrap();
    let bus = Bus::open(directory.path());
    let other = Scripted::default();
    // For all of them: nobody is to blame.
    other.script(|script| script.breaks_at = (0..100).collect());
    let running = bus.start(directory.path(), "s", other.clone());
    bus.fire_numbers(0..10);
    wait_until("tried often", || running.handle.figures().failures >= 5);
    assert_eq!(running.handle.figures().dead, 0);
    other.script(|script| script.breaks_at = [3, 4].into());
    wait_until("set aside", || running.handle.figures().dead == 2);
    wait_until("delivered", || other.has().last() == Some(&9));
    let mut has = other.has();
    // The one before them was asked for once more each time.
    has.dedup();
    assert_eq!(has, [0, 1, 2, 5, 6, 7, 8, 9]);
}

/// Notes for each batch whether the history had all of it on disk.
struct BehindTheDisk {
    history: History,
    has: Arc<Mutex<Vec<bool>>>,
}

impl Sink for BehindTheDisk {
    async fn begin(&mut self, _log: LogId) -> Result<Option<Position>, SinkError> {
        Ok(None)
    }

    async fn deliver(&mut self, batch: &Batch<'_>) -> Result<usize, SinkError> {
        let is_stored = self.history.status().next > batch.through().seq;
        self.has.lock().unwrap().push(is_stored);
        Ok(batch.len())
    }
}

#[test]
fn no_sink_has_what_the_history_may_lose() {
    let directory = tempdir().unwrap();
    let bus = Bus::open(directory.path());
    let has = Arc::new(Mutex::new(Vec::new()));
    let sink = BehindTheDisk {
        history: bus.history.clone(),
        has: Arc::clone(&has),
    };
    let running = bus.start(directory.path(), "s", sink);
    for number in 0..20 {
        bus.fire_numbers([number]);
        wait_until("delivered", || has.lock().unwrap().len() as i64 > number);
    }
    drop(running);
    let has = has.lock().unwrap();
    assert!(
        has.len() == 20 && has.iter().all(|is_stored| *is_stored),
        "{has:?}"
    );
}
