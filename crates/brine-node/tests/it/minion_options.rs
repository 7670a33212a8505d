//! A minion's options about masters and retries: failback, jobs at a time, pings, tries.

use std::fs;
use std::time::Duration;

use brine_bus::client::tokio::Publisher;
use brine_net::keys::minion::MinionKeys;
use brine_node::minion::MinionOptions;
use brine_node::minion::master_client::MasterClient;
use brine_wire::{Map, Value};
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use crate::detour::{Detour, Through};
use crate::support::{DEADLINE, Fixture, Listener, Running, accept, own_publisher, publish, send};

/// Two places whose masters stand in for each other: they have one key.
pub(crate) fn twins(transport: &str) -> [Fixture; 2] {
    let fixtures = [Fixture::new(transport), Fixture::new(transport)];
    for fixture in &fixtures {
        let pki = fixture.path("m/pki");
        fs::create_dir_all(&pki).unwrap();
        let options = Default::default();
        let from = fixtures[0].path("m/pki");
        brine_net::keys::master::open(&from, "master", &options).unwrap();
        // A real master's are below `r`.
        let real = fixture.path("r/pki");
        fs::create_dir_all(&real).unwrap();
        for name in ["master.pem", "master.pub"] {
            for to in [&pki, &real] {
                if *to != from {
                    fs::copy(from.join(name), to.join(name)).unwrap();
                }
            }
        }
    }
    fixtures
}

/// A minion that prefers the first.
pub(crate) fn minion_of(fixtures: &[Fixture; 2], more: &str) -> Running {
    let [first, second] = [0, 1].map(|at| fixtures[at].ports[0]);
    let config = format!(
        "master: ['127.0.0.1:{first}', '127.0.0.1:{second}']\nmaster_type: failover\n\
         master_failback: true\nmaster_failback_interval: 1\nauth_timeout: 2\n\
         request_channel_timeout: 2\n{more}"
    );
    fixtures[0].minion_of(first, &config)
}

/// Has the minion send numbered events, one after another, until told to stop; how many.
async fn keep_sending(mut publisher: Publisher, mut stopped: oneshot::Receiver<()>) -> i64 {
    let mut n = 0;
    while stopped.try_recv().is_err() {
        let data: Map = [("n", n)].into_iter().collect();
        let sent = publisher.fire_master("failback", data, Some(DEADLINE));
        sent.await.unwrap();
        n += 1;
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    n
}

fn n_of(event: &Map) -> i64 {
    let data = event.get("data").and_then(Value::as_map).unwrap();
    data.get("n").unwrap().as_int().unwrap().try_into().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_minion_goes_back_to_its_first_master_and_loses_nothing() {
    for transport in ["tcp", "zeromq"] {
        println!("{transport}");
        let fixtures = twins(transport);
        let [first, second] = &fixtures;
        let two = second.master("auto_accept: true").await;
        let mut second_bus = second.master_bus().await;
        let mut second_events = second.master_bus().await;
        let minion = minion_of(&fixtures, "");
        second_bus.next("salt/minion/m1/start").await;
        let mut own = first.minion_bus().await;

        let job = publish(&two, "test.sleep", &[2.into()]).await;
        let (stop, stopped) = oneshot::channel();
        let sending = tokio::spawn(keep_sending(own_publisher(first), stopped));
        second_events.next("failback").await;
        let one = first.master("").await;
        let mut first_bus = first.master_bus().await;
        first_bus.next("salt/auth").await;
        accept(first);
        first_bus.next("salt/minion/m1/start").await;
        let event = own.next("__master_failback").await;
        assert_eq!(event.get("master"), Some(&"127.0.0.1".into()));
        own.next("__master_disconnected").await;
        own.next("__master_connected").await;
        let from = n_of(&first_bus.next("failback").await);
        stop.send(()).unwrap();
        let sent = sending.await.unwrap();

        // The return goes to the master that asked, though the minion has left it.
        let ret = second_bus.next("salt/job/*/ret/m1").await;
        assert_eq!(ret.get("jid"), job.get("jid"));
        // What the second master had not taken the first has, in order, and nothing is missing.
        for n in 1..from {
            assert_eq!(n_of(&second_events.next("failback").await), n);
        }
        for n in from + 1..sent {
            assert_eq!(n_of(&first_bus.next("failback").await), n);
        }
        minion.end().await;
        one.end().await;
        two.end().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_first_master_that_answers_and_does_not_let_the_minion_in_costs_nothing() {
    let fixtures = twins("tcp");
    let [first, second] = &fixtures;
    let two = second.master("auto_accept: true").await;
    let mut second_bus = second.master_bus().await;
    let minion = minion_of(&fixtures, "");
    second_bus.next("salt/minion/m1/start").await;

    let one = first.master("").await;
    let mut first_bus = first.master_bus().await;
    for _ in 0..2 {
        let auth = first_bus.next("salt/auth").await;
        assert_eq!(auth.get("act"), Some(&"pend".into()));
    }
    publish(&two, "test.ping", &[]).await;
    second_bus.next("salt/job/*/ret/m1").await;
    send(first, "still/here", 0..1).await;
    let tags = second_bus.tags_until("still/here").await;
    assert!(!tags.iter().any(|tag| tag.contains("start")), "{tags:?}");
    minion.end().await;
    one.end().await;
    two.end().await;
}

/// One master and one minion over tcp.
async fn site(master: &str, minion: &str) -> (Fixture, [Running; 2], Listener) {
    let fixture = Fixture::new("tcp");
    let one = fixture
        .master(&format!("auto_accept: true\n{master}"))
        .await;
    let mut bus = fixture.master_bus().await;
    let minion = fixture.minion(one.ret_port, minion);
    bus.next("salt/minion/m1/start").await;
    (fixture, [minion, one], bus)
}

async fn end(nodes: [Running; 2]) {
    for node in nodes {
        node.end().await;
    }
}

fn text<'a>(map: &'a Map, key: &str) -> &'a str {
    map.get(key).and_then(Value::as_str).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn as_many_jobs_run_at_a_time_as_process_count_max_says_and_the_others_in_order() {
    let (fixture, nodes, mut bus) = site("", "process_count_max: 1").await;
    let mut jids = Vec::new();
    for seconds in ["300", "0", "300", "0.1"] {
        let job = publish(&nodes[1], "test.sleep", &[seconds.into()]).await;
        jids.push(text(&job, "jid").to_owned());
    }
    // Whoever asks about jobs need not wait. One that waits is found, is not among those that run, and can be
    // killed before it begins.
    let ask = async |bus: &mut Listener, fun: &str, arg: &[Value]| {
        let asked = publish(&nodes[1], fun, arg).await;
        let jid = text(&asked, "jid");
        let ret = bus.next(&format!("salt/job/{jid}/ret/m1")).await;
        ret.get("return").unwrap().clone()
    };
    let mut asking = fixture.master_bus().await;
    let third = Value::from(jids[2].as_str());
    let found = ask(
        &mut asking,
        "saltutil.find_job",
        std::slice::from_ref(&third),
    )
    .await;
    let found = found.as_map().unwrap();
    assert_eq!(found.get("queued"), Some(&true.into()));
    assert_eq!(found.get("jid"), Some(&third));
    let jobs_of = |ret: Value| -> Vec<String> {
        let Value::Array(jobs) = ret else {
            panic!("{ret:?}")
        };
        let jobs = jobs.iter().filter_map(Value::as_map);
        jobs.map(|job| text(job, "jid").to_owned()).collect()
    };
    let running = ask(&mut asking, "saltutil.running", &[]).await;
    assert_eq!(jobs_of(running), jids[..1], "nor is the one that asks");
    let asking_itself = ask(&mut asking, "saltutil.is_running", &["saltutil.*".into()]).await;
    assert_eq!(jobs_of(asking_itself), [""; 0]);
    ask(&mut asking, "saltutil.kill_job", &[third]).await;
    ask(&mut asking, "saltutil.kill_job", &[jids[0].as_str().into()]).await;

    for at in [1, 3] {
        let ret = loop {
            let ret = bus.next("salt/job/*/ret/m1").await;
            if text(&ret, "fun") == "test.sleep" {
                break ret;
            }
        };
        assert_eq!(text(&ret, "jid"), jids[at]);
    }
    end(nodes).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pings_show_on_the_masters_bus_and_one_unanswered_turns_the_minion_to_another() {
    let fixtures = twins("tcp");
    let [first, second] = &fixtures;
    let one = first.master("auto_accept: true").await;
    let detour = Detour::to(one.ret_port).await;
    let mut bus = first.master_bus().await;
    let config = format!(
        "master: ['127.0.0.1:{}', '127.0.0.1:{}']\nmaster_type: failover\nauth_safemode: true\n\
         ping_interval: 1\nauth_timeout: 1\nrequest_channel_timeout: 1\nrequest_channel_tries: 1",
        detour.port, second.ports[0],
    );
    let minion = first.minion_with(one.ret_port, &config, |options| {
        options.retry.ping_every = options.retry.ping_every.map(|every| every / 300);
    });
    let ping = bus.next("minion_ping").await;
    let keys: Vec<_> = ping.iter().map(|(key, _)| key.as_str().unwrap()).collect();
    assert_eq!(keys, ["id", "cmd", "pretag", "data", "tag", "ts", "_stamp"]);
    assert_eq!(ping.get("data"), Some(&"ping".into()));
    let two = second.master("auto_accept: true").await;
    let mut bus = second.master_bus().await;
    // Its connection stays, and so does the port.
    detour.let_through(Through::Nothing);
    bus.next("salt/minion/m1/start").await;
    bus.next("minion_ping").await;
    minion.end().await;
    one.end().await;
    two.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_return_whose_answer_is_lost_is_sent_again_after_its_timer_and_shown_once() {
    for transport in ["tcp", "zeromq"] {
        println!("{transport}");
        let fixture = Fixture::new(transport);
        let master = fixture.master("auto_accept: true").await;
        let detour = Detour::to(master.ret_port).await;
        let mut bus = fixture.master_bus().await;
        let more = "return_retry_timer: 1\nreturn_retry_timer_max: 1\n\
                    request_channel_timeout: 600";
        let minion = fixture.minion(detour.port, more);
        bus.next("salt/minion/m1/start").await;
        let mut own = fixture.minion_bus().await;
        until_answered(&fixture, &mut own).await;
        detour.let_through(Through::Requests);
        let job = publish(&master, "test.ping", &[]).await;
        let tag = format!("salt/job/{}/ret/m1", text(&job, "jid"));
        bus.next(&tag).await;
        detour.let_through(Through::All);
        send(&fixture, "behind", 0..1).await;
        assert_eq!(bus.next_of(&["behind", &tag]).await, "behind");
        minion.end().await;
        master.end().await;
    }
}

/// Nothing the minion has sent is without its answer any more: one to a request behind it all has come.
async fn until_answered(fixture: &Fixture, own: &mut Listener) {
    let mut request: Map = [("cmd", "_minion_event"), ("id", "m1"), ("tag", "in")]
        .into_iter()
        .collect();
    request.insert("pretag", Value::Nil);
    request.insert("data", Map::new());
    own_publisher(fixture)
        .fire_event(
            "__master_req_channel_payload/1/m1",
            &mut request,
            Some(DEADLINE),
        )
        .await
        .unwrap();
    own.next("__master_req_channel_return/1*").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sign_in_waits_for_a_master_as_long_as_auth_tries_take() {
    for transport in ["tcp", "zeromq"] {
        println!("{transport}");
        let fixture = Fixture::new(transport);
        let link = |more: &str| {
            let mut options = options(&fixture, more);
            options.masters.truncate(1);
            let keys = MinionKeys::open(&options.pki_dir, &options.key_options).unwrap();
            let master = options.masters[0].clone();
            MasterClient::new(options.into(), keys.into(), &Map::new(), master).unwrap()
        };
        let impatient = link("auth_tries: 1\nauth_timeout: 1");
        assert!(impatient.sign_in(None).await.is_err());
        let patient = link("auth_tries: 60\nauth_timeout: 1");
        // Something else listens at the master's port, and hangs up: the sign-in goes on trying.
        let stranger = TcpListener::bind(("127.0.0.1", fixture.ports[0])).await;
        let stranger = stranger.unwrap();
        let waiting = tokio::spawn(async move { patient.sign_in(None).await.map(drop) });
        drop(stranger.accept().await.unwrap());
        assert!(!waiting.is_finished());
        drop(stranger);
        let master = fixture.master("auto_accept: true").await;
        waiting.await.unwrap().unwrap();
        master.end().await;
    }
}

fn options(fixture: &Fixture, more: &str) -> MinionOptions {
    let more = format!("master: 127.0.0.1\n{more}");
    fixture.minion_options(fixture.ports[0], &more)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_minion_with_a_startup_delay_does_not_come_at_once() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let fixture = Fixture::new("tcp");
    let port = listener.local_addr().unwrap().port();
    let minion = fixture.minion(port, "random_startup_delay: 100000000");
    let mut bus = fixture.minion_bus().await;
    // Its bus is there, so programs on its machine need not wait.
    send(&fixture, "own", 0..1).await;
    bus.next("fire_master").await;
    assert!(listener.accept().is_err());
    minion.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_job_that_tells_of_a_new_shared_key_is_run_after_the_random_wait() {
    let config = "id: central\nloop_interval: 0.2\nping_on_rotate: true";
    let (fixture, nodes, mut bus) = site(config, "random_reauth_delay: 1").await;
    brine_net::keys::dropfile::request(&fixture.path("m/cache"), "central").unwrap();
    let published = bus.next("salt/job/*/new").await;
    let ret = bus.next("salt/job/*/ret/m1").await;
    assert_eq!(ret.get("jid"), published.get("jid"));
    end(nodes).await;
}
