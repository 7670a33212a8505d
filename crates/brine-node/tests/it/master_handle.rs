//! A master held from outside, through its handle: events, jobs, wheel functions and counters.

use brine_config::Arguments;
use brine_node::JobRequest;
use brine_node::functions::Call;
use brine_node::master::{RequestOutcome, SignInOutcome, WheelError};
use brine_node::runner::RunnerError;
use brine_wire::{Map, Value};

use crate::support::{Fixture, send};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handle_fires_publishes_runs_functions_and_counts() {
    let fixture = Fixture::new("tcp");
    let master = fixture
        .master("auto_accept: true\npublisher_acl: {fred: [test.ping]}")
        .await;
    let handle = master.handle.clone().unwrap();
    let mut bus = fixture.master_bus().await;
    let minion = fixture.minion(master.ret_port, "");
    bus.next("salt/minion/m1/start").await;

    handle.fire("my/tag", Map::from_iter([("n", 1)])).unwrap();
    assert_eq!(bus.next("my/tag").await.get("n"), Some(&1.into()));

    let own = handle.own_caller();
    let job = JobRequest::new("*", "glob", "test.ping");
    let published = handle.publish(job.clone(), &own).await.unwrap();
    let jid = published.jid.unwrap();
    let returned = bus.next(&format!("salt/job/{jid}/ret/m1")).await;
    assert_eq!(returned.get("return"), Some(&true.into()));
    let nobody = JobRequest::new("nobody", "glob", "test.ping");
    assert_eq!(handle.publish(nobody, &own).await.unwrap().jid, None);

    let fred = handle.local_caller("fred").unwrap();
    assert!(handle.publish(job, &fred).await.unwrap().jid.is_some());
    let other = JobRequest::new("*", "glob", "test.version");
    assert!(handle.publish(other, &fred).await.is_err());
    assert!(handle.local_caller("eve").is_none());

    let keys = handle.wheel(Call::new("key.list_all"), &own).await.unwrap();
    let accepted = keys.as_map().and_then(|keys| keys.get("minions"));
    assert_eq!(accepted, Some(&Value::Array(vec!["m1".into()])));
    // SaltGUI sends `match` with every call; any other keyword that a function lacks is a mistake.
    let wheel = |name: &str, keyword: &str, value: &str| {
        let mut call = Call::new(name);
        call.kwargs = Map::from_iter([(keyword, value)]);
        call
    };
    for name in [
        "key.list_all",
        "minions.connected",
        "config.values",
        "key.finger_master",
        "key.master_key_str",
    ] {
        assert!(
            handle.wheel(wheel(name, "match", "*"), &own).await.is_ok(),
            "{name}"
        );
        assert!(
            handle.wheel(wheel(name, "mach", "*"), &own).await.is_err(),
            "{name}"
        );
    }
    let listed = handle
        .wheel(wheel("key.list", "match", "all"), &own)
        .await
        .unwrap();
    assert_eq!(listed, keys);
    let refused = handle.wheel(Call::new("key.list_all"), &fred).await;
    assert!(matches!(refused, Err(WheelError::NotPermitted)));

    let up = handle.runner("manage.up", Arguments::default(), &own).await;
    assert_eq!(up.unwrap().value, Value::Array(vec!["m1".into()]));
    let refused = handle
        .runner("manage.up", Arguments::default(), &fred)
        .await;
    assert!(matches!(refused, Err(RunnerError::NotPermitted)));

    send(&fixture, "counted", 0..1).await;
    bus.next("counted").await;
    let stats = handle.stats();
    assert_eq!(stats.sign_ins(SignInOutcome::Accepted), 1);
    assert!(stats.requests(RequestOutcome::Answered) >= 3, "{stats:?}");
    assert_eq!(stats.jobs_published, 3);
    assert!(stats.returns >= 1 && stats.minion_events >= 1, "{stats:?}");
    minion.end().await;
    master.end().await;
}
