//! Salt's REST surface.

use crate::network::Network;

#[test]
fn who_is_not_logged_in_gets_salts_page() {
    let network = Network::start();
    let answer = network.raw(b"GET /events HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    assert!(
        answer.starts_with("HTTP/1.1 401 Unauthorized\r\n"),
        "{answer}"
    );
    assert!(answer.contains("<p>No permission -- see authorization schemes</p>"));
    let answer = network.raw(b"DELETE /login HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 405 "), "{answer}");
    assert!(answer.contains("allow: GET, HEAD, POST\r\n"), "{answer}");
}
