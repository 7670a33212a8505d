//! Requests that come again, and those of another time.

use std::time::Duration;

use brine_net::channel::Limits;
use brine_net::replay::Seen;

use crate::honest::{Minion, now};
use crate::master::{ALL, Master};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_comes_again_is_known() {
    for transport in ALL {
        let master = Master::start(transport).await;
        let minion = Minion::sign_in(&master, "m1").await;
        master.reached();
        let sealed = minion.seal(minion.event("my/tag"));
        let thief = master.requester();
        for _ in 0..3 {
            thief.request(&sealed.payload).await;
        }
        let seen: Vec<_> = master.reached().iter().map(|one| one.seen).collect();
        assert_eq!(
            seen,
            [Some(Seen::First), Some(Seen::Again), Some(Seen::Again)]
        );
        minion.works().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_is_known_again_after_the_minion_signed_in_anew() {
    let [transport, ..] = ALL;
    let master = Master::start(transport).await;
    let minion = Minion::sign_in(&master, "m1").await;
    let sealed = minion.seal(minion.event("my/tag"));
    minion.requester.request(&sealed.payload).await;
    let again = brine_net::minion::SignIn::begin(
        &minion.id,
        &minion.key,
        brine_net::minion::Trust::default(),
        brine_wire::Map::new(),
    );
    minion.requester.request(&again.unwrap().payload()).await;
    master.reached();
    minion.requester.request(&sealed.payload).await;
    let reached = master.reached();
    let seen: Vec<_> = reached.iter().map(|one| one.seen).collect();
    assert_eq!(seen, [Some(Seen::Again)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_window_of_time_has_two_sides() {
    const WINDOW: i64 = 300;
    for transport in ALL {
        let master = Master::with(transport, Limits::default(), |config| {
            config.rules.auto_accept = true;
            config.request_server_ttl = Some(Duration::from_secs(300));
        })
        .await;
        let minion = Minion::sign_in(&master, "m1").await;
        master.reached();
        for off in [
            -86_400,
            -2 * WINDOW,
            2 * WINDOW,
            86_400,
            i64::MAX,
            -2 * now(),
        ] {
            let load = minion.event("my/tag");
            let at = now().saturating_add(off);
            let sealed = minion.session.seal(load, at).unwrap();
            let reply = minion.requester.request(&sealed.payload).await;
            assert_eq!(reply, "bad load".into(), "{off}");
        }
        assert_eq!(master.reached(), []);
        for off in [-WINDOW / 2, 0, WINDOW / 2] {
            let load = minion.event("my/tag");
            let sealed = minion.session.seal(load, now() + off).unwrap();
            let reply = minion.requester.request(&sealed.payload).await;
            assert!(minion.session.open(&reply, &sealed.nonce).is_ok(), "{off}");
        }
    }
}
