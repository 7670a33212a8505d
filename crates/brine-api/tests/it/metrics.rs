//! Metrics over both listeners, health, and status on the network.

use brine_log::{Incoming, Millis};
use brine_wire::event::encode_event;
use brine_wire::json;

use crate::network::{Network, TOKEN};
use crate::support::Api;

impl Network {
    /// An answer to a GET request, its head and its body.
    pub(crate) fn get(&self, path: &str, headers: &str) -> (String, String) {
        let request =
            format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{headers}\r\n");
        let answer = self.raw(request.as_bytes());
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.to_ascii_lowercase(), body.to_owned())
    }

    fn append(&self, tag: &str, data: &str) {
        let mut data = json::parse(data.as_bytes())
            .unwrap()
            .as_map()
            .unwrap()
            .clone();
        let event = encode_event(tag, &mut data, "2026-11-29T14:00:00", usize::MAX).unwrap();
        let incoming = Incoming {
            event: &event,
            tag_bytes: tag.len(),
        };
        self.state.api().log.append([incoming], Millis(1));
    }
}

#[test]
fn metrics_are_for_everybody_and_in_both_forms() {
    let network = Network::start();
    network.append("my/tag", "{}");
    let (head, body) = network.get("/metrics", "");
    assert!(head.starts_with("http/1.1 200 "), "{head}");
    assert!(head.contains("content-type: text/plain; version=0.0.4; charset=utf-8"));
    assert!(body.contains("\n# TYPE brine_events_total counter\nbrine_events_total 1\n"));
    let (head, body) = network.get(
        "/metrics",
        "accept: application/openmetrics-text;version=1.0.0\r\n",
    );
    assert!(head.contains("content-type: application/openmetrics-text; version=1.0.0"));
    assert!(body.contains("\n# TYPE brine_events counter\nbrine_events_total 1\n"));
    assert!(body.ends_with("\n# EOF\n"));
    let answered = "brine_api_answers_total{code=\"2xx\"} 1\n";
    assert!(body.contains(answered), "{body}");
    assert!(
        network
            .get("/metrics/nope", &format!("x-auth-token: {TOKEN}\r\n"))
            .0
            .starts_with("http/1.1 404 ")
    );
}

#[test]
fn the_names_of_salt_exporter_are_counted_from_the_first_look() {
    let network = Network::start();
    let token = format!("x-auth-token: {TOKEN}\r\n");
    let job = r#"{"fun": "test.ping", "arg": [], "minions": ["m1", "m2"]}"#;
    network.append("salt/job/1/new", job);
    assert!(
        network
            .get("/metrics/salt-exporter", "")
            .0
            .starts_with("http/1.1 401 ")
    );
    let (_, body) = network.get("/metrics/salt-exporter", &token);
    assert!(!body.contains("salt_new_job_total"), "{body}");
    network.append("salt/job/2/new", job);
    let counted = "salt_expected_responses_total{function=\"test.ping\",state=\"\"} 2\n";
    let found = (0..1000).any(|_| {
        network
            .get("/metrics/salt-exporter", &token)
            .1
            .contains(counted)
    });
    assert!(found);
}

#[test]
fn whom_the_acl_does_not_name_sees_no_minions_in_the_names_of_salt_exporter() {
    let head = format!("x-auth-token: {TOKEN}\r\n");
    for (user, status) in [("ann", 403), ("fred", 200)] {
        let acl = format!(r#"[{{"api_user": "{user}", "read": ["*"]}}]"#);
        let network = Network::with_acl(&acl);
        let (answer, _) = network.get("/metrics/salt-exporter", &head);
        assert!(
            answer.starts_with(&format!("http/1.1 {status} ")),
            "{answer}"
        );
    }
}

#[test]
fn the_local_socket_has_them_too() {
    let api = Api::start();
    for (path, holds) in [
        ("/metrics", "brine_events_total 0"),
        ("/metrics/salt-exporter", "salt_health_minions_total 0"),
    ] {
        let (status, body) = api.get(path);
        assert!(status == 200 && body.contains(holds), "{body}");
    }
}

#[test]
fn health_is_for_everybody_and_readiness_ends_with_the_shutdown() {
    let network = Network::start();
    assert_eq!(network.get("/healthz", "").1, "{\"status\": \"ok\"}");
    assert_eq!(network.get("/readyz", "").1, "{\"status\": \"ready\"}");
    network.state.api().shut_down();
    let (head, body) = network.get("/readyz", "");
    assert!(head.starts_with("http/1.1 503 "));
    assert_eq!(
        body,
        "{\"status\": \"not ready\", \"reasons\": [\"shutting down\"]}"
    );
    assert!(network.get("/healthz", "").0.starts_with("http/1.1 200 "));
}

#[test]
fn status_is_for_who_is_logged_in() {
    let network = Network::start();
    assert!(network.get("/status", "").0.starts_with("http/1.1 401 "));
    let (head, body) = network.get("/status", &format!("x-auth-token: {TOKEN}\r\n"));
    assert!(head.starts_with("http/1.1 200 "), "{head}");
    assert!(body.contains("\"node\": {\"kind\": \"master\""), "{body}");
}
