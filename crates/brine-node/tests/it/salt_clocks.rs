//! Real minions whose clocks are off: served within `request_server_ttl`, refused beyond.
//!
//! The minion's Python gets another `time.time`, which is where Salt takes a request's time from. That the refusal
//! states how far the clock is off: `the_window_has_two_sides` in `brine-wire`.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use brine_node::master::RequestOutcome;
use brine_testkit::program::{Program, command};
use brine_testkit::salt::VERSIONS;

use crate::support::{DEADLINE, Fixture, Running};

/// Read by every Python that has its folder on its path.
const CLOCK: &str = "import time\n_time, _time_ns = time.time, time.time_ns\n\
    time.time = lambda: _time() + OFF\ntime.time_ns = lambda: _time_ns() + OFF * 10**9\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn real_minions_are_served_within_the_window_and_refused_beyond() {
    for (at, version) in VERSIONS.into_iter().enumerate() {
        // Half a minute for the run itself; ahead in one release, behind in the next.
        let sign = if at % 2 == 0 { 1 } else { -1 };
        for (off, is_served) in [(sign * 270, true), (sign * -330, false)] {
            println!("Salt {version}, {off} s off");
            let fixture = Fixture::new("tcp");
            let master = fixture.master("auto_accept: true").await;
            let mut bus = fixture.master_bus().await;
            let config = minion_config(&fixture, &master);
            let clock = fixture.path("clock");
            fs::create_dir_all(&clock).unwrap();
            let customize = CLOCK.replace("OFF", &off.to_string());
            fs::write(clock.join("sitecustomize.py"), customize).unwrap();
            let mut call = command(version, "salt-call", &config);
            call.args(["event.send", "from/minion", "{}"]);
            call.env("PYTHONPATH", &clock);
            let call = Program::start(call, fixture.path("call.out"));
            let count = |outcome| master.handle.as_ref().unwrap().stats().requests(outcome);
            let refused = || count(RequestOutcome::Load) > 0;
            if is_served {
                bus.next("from/minion").await;
                assert!(!refused(), "{version} {off}");
            } else {
                let deadline = tokio::time::Instant::now() + DEADLINE;
                while !refused() {
                    assert!(tokio::time::Instant::now() < deadline, "{}", call.stderr());
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                assert_eq!(count(RequestOutcome::Answered), 0, "{version} {off}");
            }
            drop(call);
            master.end().await;
        }
    }
}

fn minion_config(fixture: &Fixture, master: &Running) -> PathBuf {
    let root = fixture.path("minion");
    fs::create_dir_all(root.join("pki")).unwrap(); // 3007's salt-call does not make it
    let (port, path) = (master.ret_port, root.display());
    let config = format!(
        "id: m1\nmaster: 127.0.0.1\nmaster_port: {port}\ntransport: tcp\nroot_dir: {path}\npki_dir: {path}/pki\n\
         cachedir: {path}/cache\nsock_dir: {path}/sock\nlog_file: {path}/log\nuser: {user}\n",
        user = brine_config::Environment::current().user,
    );
    fs::write(root.join("minion"), config).unwrap();
    root
}
