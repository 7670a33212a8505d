//! A stream for others than masters: any client of NATS reads it.

use std::sync::Arc;

use brine_bridge::nats::{Connection, NatsSink, PublishOptions, StreamOptions};
use brine_bridge::{Filter, Pump};
use brine_log::history::{HistoryConfig, PreparedHistory};
use brine_log::{Incoming, Log, LogConfig, LogId, Millis, Source};
use brine_testkit::DEADLINE;
use brine_testkit::nats::Server;
use futures_util::StreamExt as _;
use tempfile::TempDir;
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::member::{event, sink_config};

#[tokio::test(flavor = "multi_thread")]
async fn what_a_filter_lets_through_is_read_by_subject_and_one_event_too_large_holds_up_nobody() {
    let server = Server::start();
    let client = async_nats::connect(server.address()).await.unwrap();
    let mut job_events = client
        .subscribe("a.b.event.*.salt.job.*.ret.*")
        .await
        .unwrap();
    let root = TempDir::new().unwrap();
    let prepared = PreparedHistory::open(HistoryConfig::new(root.path().join("history"))).unwrap();
    let log = Log::with_history(LogConfig::new(LogId(1)), &prepared);
    let history = prepared.start(&log).unwrap();
    let options = PublishOptions {
        connection: Connection {
            servers: vec![server.address()],
            ..Connection::default()
        },
        stream: StreamOptions {
            name: "OTHER".to_owned(),
            prefix: "a.b".to_owned(),
            ..StreamOptions::default()
        },
        master: "m.1".to_owned(),
    };
    let filter = Filter::new(&["salt/job/*"], &[], "").unwrap();
    let config = sink_config(root.path().join("dead"), filter);
    let (pump, handle) = Pump::new(&log, &history, config).unwrap();
    let (end, ended) = oneshot::channel::<()>();
    let end_of = async move {
        let _ = ended.await;
    };
    let running = tokio::spawn(pump.run(NatsSink::new(options, None), end_of));
    append(&log, &event("salt/auth", 1), None);
    append(
        &log,
        &event("salt/job/1/ret/web1.example", 2),
        Some("web1.example"),
    );
    let mut large = event("salt/job/1/ret/web2", 3);
    large.0.truncate("salt/job/1/ret/web2\n\n".len());
    large.0.extend_from_slice(b"\x81\xa1n\xc6\x00\x20\x00\x00");
    large.0.extend_from_slice(&vec![0; 2 << 20]);
    append(&log, &large, None);
    append(&log, &event("salt/job/1/ret/web3", 4), None);
    for (subject, nth, sender) in [
        (
            "a.b.event.m%2E1.salt.job.1.ret.web1%2Eexample",
            2u64,
            Some("web1%2Eexample"),
        ),
        ("a.b.event.m%2E1.salt.job.1.ret.web3", 4, None),
    ] {
        let message = timeout(DEADLINE, job_events.next()).await.unwrap().unwrap();
        assert_eq!(message.subject.as_str(), subject);
        assert_eq!(
            message.payload,
            [&b"\x81\xa1n\xcf"[..], &nth.to_be_bytes()].concat()
        );
        let headers = message.headers.unwrap();
        let header = |name: &str| headers.get(name).map(async_nats::HeaderValue::as_str);
        assert_eq!(header("Brine-Origin"), Some("m%2E1"));
        assert_eq!(header("Brine-Sender"), sender);
        assert_eq!(header("Nats-Msg-Id"), Some(&*format!("{}-{nth}", log.id())));
    }
    drop(end);
    timeout(DEADLINE, running).await.unwrap().unwrap();
    assert_eq!((handle.figures().delivered, handle.figures().dead), (2, 1));
    tokio::task::spawn_blocking(move || history.close())
        .await
        .unwrap();
}

fn append(log: &Arc<Log>, (event, tag_bytes): &(Vec<u8>, usize), sender: Option<&str>) {
    let incoming = Incoming {
        event,
        tag_bytes: *tag_bytes,
    };
    let source = Source {
        sender,
        origin: None,
    };
    log.append_sourced([(source, incoming)], Millis(0));
}
