//! OpenTelemetry logs: records as the protocol has them, and those that a receiver rejects.

use std::collections::BTreeMap;

use brine_bridge::http::HttpOptions;
use brine_bridge::otlp::{OtlpOptions, OtlpSink};
use brine_bridge::tls::TlsOptions;
use brine_testkit::DEADLINE;
use tempfile::tempdir;

use crate::support::{Bus, wait_until};
use crate::webhook::{Answer, Poison, Receiver};

fn sink(receiver: &Receiver) -> OtlpSink {
    let options = OtlpOptions {
        http: HttpOptions {
            url: receiver.address.clone(),
            headers: BTreeMap::new(),
            timeout: DEADLINE,
            tls: TlsOptions::default(),
        },
        service: "salt".to_owned(),
        master_id: "master1".to_owned(),
    };
    OtlpSink::new(options).unwrap()
}

#[test]
fn an_event_is_a_log_record() {
    let directory = tempdir().unwrap();
    let bus = Bus::open(directory.path());
    let receiver = Receiver::start(vec![Answer::Status("503 Later")], None);
    let _running = bus.start(directory.path(), "logs", sink(&receiver));
    bus.fire("my/tag", &[("n", 7.into()), ("retcode", 1.into())]);
    wait_until("taken", || receiver.taken() == [7]);
    let expected = concat!(
        r#"{"resourceLogs":[{"resource":{"attributes":["#,
        r#"{"key":"service.name","value":{"stringValue":"salt"}},"#,
        r#"{"key":"service.instance.id","value":{"stringValue":"master1"}}]},"#,
        r#""scopeLogs":[{"scope":{"name":"brine","version":"VERSION"},"logRecords":["#,
        r#"{"timeUnixNano":"1795939260000000000","observedTimeUnixNano":"1795939260000000000","#,
        r#""severityNumber":17,"severityText":"ERROR","body":{"kvlistValue":{"values":["#,
        r#"{"key":"n","value":{"intValue":"7"}},{"key":"retcode","value":{"intValue":"1"}}]}},"#,
        r#""attributes":[{"key":"salt.tag","value":{"stringValue":"my/tag"}},"#,
        r#"{"key":"brine.position","value":{"stringValue":"LOG-1"}}]}]}]}]}"#,
    );
    let expected = expected.replace("VERSION", env!("CARGO_PKG_VERSION"));
    let expected = expected.replace("LOG", &bus.log.id().to_string());
    assert_eq!(receiver.first(), expected);
}

#[test]
fn a_record_that_is_rejected_is_set_aside_and_the_others_are_taken() {
    let directory = tempdir().unwrap();
    let bus = Bus::open(directory.path());
    let poison = Poison {
        number: 13,
        status: "200 OK",
        says: r#"{"partialSuccess":{"rejectedLogRecords":"1","errorMessage":"too old"}}"#,
    };
    let receiver = Receiver::start(Vec::new(), Some(poison));
    let running = bus.start(directory.path(), "logs", sink(&receiver));
    bus.fire_numbers(0..40);
    wait_until("set aside", || running.handle.figures().dead == 1);
    wait_until("taken", || receiver.taken().len() == 39);
    let others = (0..40).filter(|number| *number != 13);
    assert!(receiver.taken().into_iter().eq(others));
    let why = running.handle.figures().last_error.unwrap().reason;
    assert!(why.contains("1 log records rejected: too old"), "{why}");
}
