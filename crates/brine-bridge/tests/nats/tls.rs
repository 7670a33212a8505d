//! TLS to NATS: an authority of our own is trusted, another one is not, and it is said which it was.

use brine_bridge::nats::{Connection, StreamOptions};
use brine_testkit::certificates::Certificates;
use brine_testkit::nats::Server;
use brine_testkit::wait_until;
use tempfile::tempdir;

use crate::member::Member;

#[test]
fn only_a_server_of_the_authority_that_is_given_is_talked_to() {
    let directory = tempdir().unwrap();
    let files = Certificates::make(directory.path());
    let server = Server::start_with(&format!(
        "tls {{ cert_file: {:?}, key_file: {:?} }}",
        files.certificate, files.key
    ));
    let connection = |ca| Connection {
        servers: vec![format!("tls://localhost:{}", server.port())],
        ca: Some(ca),
        ..Connection::default()
    };
    let of = |name, ca| Member::start_on(name, connection(ca), StreamOptions::default());
    let trusting = of("m1", files.authority.clone());
    let wary = of("m2", files.stranger.clone());
    trusting.wait_connected();
    trusting.fire(0);
    wait_until("it is published", || trusting.published() == 1);
    wait_until("the other says why not", || {
        let why = wary.waits_for();
        why.is_some_and(|why| why.contains("option ca names who may"))
    });
    assert!(!wary.figures().is_connected);
}
