//! Compares the events that a session makes of bytes with plain lists as the model.

use std::collections::VecDeque;

use brine_wire::frame::{Framing, encode_frame};
use brine_wire::matching::MatchType;
use proptest::prelude::*;

use super::inbox::READ_BYTES;
use super::*;

const CONFIG: SubscriberConfig = SubscriberConfig {
    max_frame_bytes: 64 * 1024 * 1024,
    max_pending_bytes: 1024 * 1024,
    reconnect: crate::client::Reconnect::Always,
};

fn event(tag: &str, number: u8) -> Vec<u8> {
    [tag.as_bytes(), b"\n\n\x81\xa1n", &[number & 0x7f]].concat()
}

fn stream<T: AsRef<[u8]>>(framing: Framing, events: impl IntoIterator<Item = T>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for event in events {
        encode_frame(framing, event.as_ref(), &mut bytes);
    }
    bytes
}

fn feed(session: &mut Session, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        let room = session.room();
        let some = room.len().min(bytes.len());
        room[..some].copy_from_slice(&bytes[..some]);
        session.filled(some);
        bytes = &bytes[some..];
    }
}

fn starts_with(pattern: &str) -> TagMatch {
    TagMatch::new(MatchType::StartsWith, pattern).unwrap()
}

fn all_events(session: &mut Session) -> Vec<Vec<u8>> {
    let mut events = Vec::new();
    while session.advance().unwrap() {
        events.push(session.current().unwrap().as_bytes().to_vec());
    }
    events
}

fn tag(event: Option<Event>) -> Option<String> {
    event.map(|event| event.tag().to_owned())
}

#[test]
fn events_are_the_same_wherever_the_stream_is_cut() {
    let events = [
        event("a", 1),
        event("long/".repeat(60).as_str(), 2),
        event("", 3),
    ];
    for framing in [Framing::Bare, Framing::Prefixed] {
        let bytes = stream(framing, &events);
        for cut in 0..=bytes.len() {
            let mut session = Session::new(&CONFIG);
            feed(&mut session, &bytes[..cut]);
            let mut read = all_events(&mut session);
            feed(&mut session, &bytes[cut..]);
            read.extend(all_events(&mut session));
            assert_eq!(read, events, "{framing:?} cut at {cut}");
        }
    }
}

#[test]
fn frames_in_another_form_are_read_too() {
    let mut bytes = b"\x83\xc4\x04body\xa7t\n\n\x81\xa1n\x05\xa4head\x80\xa1x\x01".to_vec();
    bytes.extend(stream(Framing::Bare, [event("u", 6)]));
    let mut session = Session::new(&CONFIG);
    feed(&mut session, &bytes);
    assert_eq!(all_events(&mut session), [event("t", 5), event("u", 6)]);
}

#[test]
fn a_new_connection_may_have_the_other_framing() {
    let mut session = Session::new(&CONFIG);
    for framing in [Framing::Bare, Framing::Prefixed, Framing::Bare] {
        session.connected();
        let bytes = stream(framing, [event("whole", 1), event("cut", 2)]);
        feed(&mut session, &bytes[..bytes.len() - 1]);
        assert_eq!(all_events(&mut session), [event("whole", 1)]);
    }
    assert_eq!(session.counters().connections, 3);
}

#[test]
fn malformed_events_are_skipped_and_counted() {
    let events: [&[u8]; 6] = [
        b"no tag end \x80",
        b"not utf-8 \xff\n\n\x80",
        b"t/cut short\n\n\x81\xa1n",
        b"t/two values\n\n\x80\x80",
        b"t/no value\n\n",
        b"t/good\n\n\x80",
    ];
    let mut session = Session::new(&CONFIG);
    feed(&mut session, &stream(Framing::Bare, events));
    assert_eq!(
        tag(session.take(&starts_with("t/")).unwrap()).unwrap(),
        "t/good"
    );
    let Counters {
        received,
        malformed,
        ..
    } = session.counters();
    assert_eq!((received, malformed), (6, 5));
}

#[test]
fn data_that_are_no_map_are_the_callers_to_judge() {
    let mut session = Session::new(&CONFIG);
    feed(&mut session, &stream(Framing::Bare, [b"t\n\n\x91\x01"]));
    let event = session.take(&TagMatch::any()).unwrap().unwrap();
    assert_eq!(event.data(), b"\x91\x01");
}

#[test]
fn what_is_no_frame_ends_the_connection() {
    let mut session = Session::new(&CONFIG);
    feed(&mut session, b"\x80");
    assert_eq!(
        session.take(&TagMatch::any()),
        Err(FrameError::NoBody.into())
    );
    session.connected();
    feed(&mut session, &stream(Framing::Bare, [event("t", 1)]));
    assert!(session.take(&TagMatch::any()).unwrap().is_some());
}

#[test]
fn a_frame_over_the_limit_is_refused_by_its_header() {
    let mut session = Session::new(&SubscriberConfig {
        max_frame_bytes: 1000,
        ..CONFIG
    });
    feed(&mut session, b"\x00\x00\x03\xe9");
    assert_eq!(
        session.advance(),
        Err(FrameError::TooLarge {
            declared: 1001,
            limit: 1000
        })
    );
}

#[test]
fn memory_grows_with_what_arrives_and_not_with_what_is_announced() {
    let mut session = Session::new(&CONFIG);
    feed(&mut session, b"\x03\xff\xff\xff\x82\xa4head\x80");
    assert!(!session.advance().unwrap());
    assert!(session.room().len() <= READ_BYTES);

    session.connected();
    let large = [b"t\n\n\xc6\x00\x50\x00\x00".as_slice(), &[7; 0x50_0000]].concat();
    feed(
        &mut session,
        &stream(Framing::Bare, [&large, &event("small", 1)]),
    );
    assert_eq!(all_events(&mut session).len(), 2);
    session.room();
    assert!(session.inbox.capacity() <= 4 * READ_BYTES);
}

#[test]
fn an_event_passed_over_is_kept_only_if_subscribed_to() {
    let mut session = Session::new(&CONFIG);
    session.subscribe(starts_with("kept/"));
    let events = ["kept/1", "lost/1", "wanted/1", "kept/2", "wanted/2"];
    feed(
        &mut session,
        &stream(Framing::Bare, events.map(|tag| event(tag, 0))),
    );
    assert_eq!(
        tag(session.take(&starts_with("wanted/")).unwrap()).unwrap(),
        "wanted/1"
    );
    assert_eq!((session.pending(), session.counters().passed_over), (1, 1));
    assert_eq!(
        tag(session.take_pending(&starts_with("kept/"))).unwrap(),
        "kept/1"
    );
    assert_eq!(session.take_pending(&starts_with("kept/")), None);
    assert_eq!(
        tag(session.take(&starts_with("kept/")).unwrap()).unwrap(),
        "kept/2"
    );
    assert_eq!(session.take(&starts_with("lost/")).unwrap(), None);
}

#[test]
fn unsubscribing_takes_back_one_subscription_and_what_only_it_kept() {
    let mut session = Session::new(&CONFIG);
    session.subscribe(starts_with("a"));
    session.subscribe(starts_with("a"));
    session.subscribe(starts_with("b"));
    let events = ["a/1", "b/1", "x"];
    feed(
        &mut session,
        &stream(Framing::Bare, events.map(|tag| event(tag, 0))),
    );
    assert!(session.take(&starts_with("x")).unwrap().is_some());
    session.unsubscribe(&starts_with("never subscribed"));
    session.unsubscribe(&starts_with("a"));
    assert_eq!(session.pending(), 2);
    session.unsubscribe(&starts_with("a"));
    assert_eq!(session.pending(), 1);
    assert_eq!(tag(session.take_pending(&TagMatch::any())).unwrap(), "b/1");
}

#[test]
fn taking_one_takes_one_whether_it_matches_or_not() {
    let mut session = Session::new(&CONFIG);
    let events = ["other", "wanted"];
    feed(
        &mut session,
        &stream(Framing::Bare, events.map(|tag| event(tag, 0))),
    );
    let wanted = starts_with("wanted");
    assert_eq!(session.take_one(&wanted), Ok(Taken::Other));
    assert!(matches!(session.take_one(&wanted), Ok(Taken::Event(_))));
    assert_eq!(session.take_one(&wanted), Ok(Taken::Nothing));
}

#[test]
fn pending_events_are_bounded_and_a_lost_one_is_an_error() {
    let mut session = Session::new(&SubscriberConfig {
        max_pending_bytes: 80,
        ..CONFIG
    });
    session.subscribe(starts_with("p"));
    let events = ["p1", "p2", "p3", "wanted"];
    feed(
        &mut session,
        &stream(Framing::Bare, events.map(|tag| event(tag, 0))),
    );
    let wanted = starts_with("wanted");
    let full = PendingFull {
        tag: "p3".into(),
        limit: 80,
    };
    assert_eq!(session.take(&wanted), Err(full.into()));
    assert!(session.take(&wanted).unwrap().is_some());
    assert_eq!(
        (session.pending(), session.counters().pending_refused),
        (2, 1)
    );
    assert!(session.take_pending(&starts_with("p2")).is_some());
    feed(
        &mut session,
        &stream(Framing::Bare, [event("p4", 0), event("wanted", 0)]),
    );
    assert!(session.take(&wanted).unwrap().is_some());
    assert_eq!(session.pending(), 2);
}

/// What a call does, in the words of `docs/protocol/ipc.md` §8, on plain lists.
#[derive(Default)]
struct Model {
    stream: VecDeque<String>,
    pending: Vec<String>,
    subscriptions: Vec<String>,
}

impl Model {
    fn is_covered(&self, tag: &str) -> bool {
        self.subscriptions
            .iter()
            .any(|pattern| tag.starts_with(pattern))
    }

    fn get(&mut self, wanted: &str, once: bool) -> Option<String> {
        let mut found = None;
        for tag in std::mem::take(&mut self.pending) {
            if found.is_none() && tag.starts_with(wanted) {
                found = Some(tag);
            } else if tag.starts_with(wanted) || self.is_covered(&tag) {
                self.pending.push(tag);
            }
        }
        while found.is_none() {
            let tag = self.stream.pop_front()?;
            if tag.starts_with(wanted) {
                found = Some(tag);
            } else {
                if self.is_covered(&tag) {
                    self.pending.push(tag);
                }
                if once {
                    return None;
                }
            }
        }
        found
    }

    fn unsubscribe(&mut self, pattern: &str) {
        if let Some(at) = self.subscriptions.iter().position(|own| own == pattern) {
            self.subscriptions.remove(at);
        }
        let mut pending = std::mem::take(&mut self.pending);
        pending.retain(|tag| self.is_covered(tag));
        self.pending = pending;
    }
}

#[derive(Debug, Clone)]
enum Step {
    Arrive(String),
    Get(String),
    GetOnce(String),
    Subscribe(String),
    Unsubscribe(String),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => "[ab]{1,3}".prop_map(Step::Arrive),
        2 => "[ab]{0,2}".prop_map(Step::Get),
        1 => "[ab]{0,2}".prop_map(Step::GetOnce),
        1 => "[ab]{0,2}".prop_map(Step::Subscribe),
        1 => "[ab]{0,2}".prop_map(Step::Unsubscribe),
    ]
}

proptest! {
    #[test]
    fn calls_do_what_salt_does(steps in proptest::collection::vec(step(), 0..60)) {
        let (mut session, mut model) = (Session::new(&CONFIG), Model::default());
        for step in steps {
            match step {
                Step::Arrive(tag) => {
                    feed(&mut session, &stream(Framing::Prefixed, [event(&tag, 1)]));
                    model.stream.push_back(tag);
                }
                Step::Get(pattern) => {
                    let wanted = starts_with(&pattern);
                    let event = match session.take_pending(&wanted) {
                        None => session.take(&wanted).unwrap(),
                        event => event,
                    };
                    prop_assert_eq!(tag(event), model.get(&pattern, false));
                }
                Step::GetOnce(pattern) => {
                    let wanted = starts_with(&pattern);
                    let event = match session.take_pending(&wanted) {
                        None => match session.take_one(&wanted).unwrap() {
                            Taken::Event(event) => Some(event),
                            _ => None,
                        },
                        event => event,
                    };
                    prop_assert_eq!(tag(event), model.get(&pattern, true));
                }
                Step::Subscribe(pattern) => {
                    session.subscribe(starts_with(&pattern));
                    model.subscriptions.push(pattern);
                }
                Step::Unsubscribe(pattern) => {
                    session.unsubscribe(&starts_with(&pattern));
                    model.unsubscribe(&pattern);
                }
            }
            prop_assert_eq!(session.pending(), model.pending.len());
        }
    }

    #[test]
    fn events_are_the_same_in_whatever_pieces_they_come(
        sizes in proptest::collection::vec(0..3000_usize, 1..8),
        pieces in proptest::collection::vec(1..4000_usize, 1..20),
        is_prefixed: bool,
    ) {
        let framing = if is_prefixed { Framing::Prefixed } else { Framing::Bare };
        let events: Vec<_> = sizes.iter().map(|&size| event(&"t".repeat(size), 1)).collect();
        let bytes = stream(framing, &events);
        let (mut session, mut read) = (Session::new(&CONFIG), Vec::new());
        let (mut rest, mut pieces) = (bytes.as_slice(), pieces.iter().cycle());
        while let Some(&piece) = pieces.next().filter(|_| !rest.is_empty()) {
            let (some, more) = rest.split_at(piece.min(rest.len()));
            feed(&mut session, some);
            read.extend(all_events(&mut session));
            rest = more;
        }
        prop_assert_eq!(read, events);
    }

    #[test]
    fn any_bytes_are_read_without_panic(
        bytes in proptest::collection::vec(any::<u8>(), 0..300),
    ) {
        let mut session = Session::new(&CONFIG);
        feed(&mut session, &bytes);
        while let Ok(Taken::Event(_) | Taken::Other) = session.take_one(&TagMatch::any()) {}
    }
}
