//! The page's files and headers, and the description of the API.

use std::collections::BTreeSet;

use crate::network::Network;

#[test]
fn browsers_get_the_page_and_nothing_else_may_run_in_it() {
    let network = Network::start();
    let (head, page) = network.get("/", "accept: text/html,application/xhtml+xml,*/*;q=0.8\r\n");
    assert!(head.starts_with("http/1.1 200 "), "{head}");
    assert!(page.starts_with("<!doctype html>"));
    for header in [
        "content-security-policy: default-src 'none'; script-src 'self'; style-src 'self';",
        "x-content-type-options: nosniff",
        "referrer-policy: no-referrer",
        "x-frame-options: deny",
    ] {
        assert!(head.contains(header), "{head}");
    }
    assert_eq!(network.get("/brine", "").1, page);
    let (head, _) = network.get("/brine/app.js", "");
    assert!(head.contains("content-type: text/javascript"), "{head}");
    for path in [
        "/brine/",
        "/brine/nope.js",
        "/brine/../app.js",
        "/brine/assets/app.js",
        "/brine/%2e%2e%2fapp.js",
    ] {
        let (head, _) = network.get(path, "");
        assert!(head.starts_with("http/1.1 404 "), "{path}: {head}");
    }
}

/// The router is a match in Rust: its patterns are read from its text.
#[test]
fn the_description_names_what_the_router_serves() {
    let network = Network::start();
    let (_, text) = network.get("/openapi.json", "");
    let described: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(described["openapi"], "3.1.0");
    let paths = described["paths"].as_object().unwrap();
    let mut operations = BTreeSet::new();
    for (path, methods) in paths {
        for (method, operation) in methods.as_object().unwrap() {
            operations.insert(operation["operationId"].as_str().unwrap());
            let path = path.replace(['{', '}'], "");
            let upper = method.to_ascii_uppercase();
            let request = format!(
                "{upper} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
            );
            let answer = network.raw(request.as_bytes());
            // A file of the page, or what is only there for a WebSocket.
            let may_be_unknown = path.starts_with("/brine/")
                || path.starts_with("/ws")
                || path.ends_with("_events/token");
            assert!(
                may_be_unknown || !answer.starts_with("HTTP/1.1 404 "),
                "{upper} {path} is described, but not served"
            );
            assert!(
                !answer.starts_with("HTTP/1.1 405 "),
                "{upper} {path}: {answer}"
            );
        }
    }
    let count: usize = paths
        .values()
        .map(|methods| methods.as_object().unwrap().len())
        .sum();
    assert_eq!(
        operations.len(),
        count,
        "every operation has a name of its own"
    );

    let router = concat!(
        include_str!("../../src/router.rs"),
        include_str!("../../src/rest/mod.rs")
    );
    let router = router.split("async fn route(").nth(1).unwrap();
    let mut first_parts = BTreeSet::new();
    for list in router.split('[').skip(1) {
        let pattern = list.split([']', ',']).next().unwrap();
        let parts = pattern.split('|').map(str::trim);
        let names = parts.filter_map(|part| part.strip_prefix('"')?.strip_suffix('"'));
        first_parts.extend(names.map(str::to_owned));
    }
    assert!(
        ["events", "healthz", "login"].map(|part| first_parts.contains(part)) == [true; 3],
        "{first_parts:?}"
    );
    for part in first_parts.iter().filter(|part| !part.is_empty()) {
        let found = paths
            .keys()
            .any(|path| path.split('/').nth(1) == Some(part));
        assert!(
            found,
            "/{part} is served, but not in crates/brine-api/src/openapi/table.rs"
        );
    }
}
