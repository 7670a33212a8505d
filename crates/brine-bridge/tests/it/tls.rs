//! TLS to databases: an authority of our own is trusted, another one is not, and it is said which it was.

use std::path::Path;

use brine_bridge::Sink;
use brine_bridge::mysql::{MysqlOptions, MysqlSink};
use brine_bridge::postgres::{PostgresOptions, PostgresSink, PostgresTls};
use brine_bridge::tls::{TlsOptions, Trust};
use brine_testkit::certificates::Certificates;
use brine_testkit::database::{Mariadb, Postgres};
use tempfile::tempdir;

use crate::support::{Bus, Running, wait_until};

fn trusting(roots: &Path) -> TlsOptions {
    TlsOptions {
        trust: Trust::Roots(roots.to_owned()),
        identity: None,
    }
}

/// Two sinks of a server get what is fired, one that trusts its authority and one that trusts anyone; a third, which
/// trusts another authority, says why not. They run until what is returned is dropped.
fn only_the_authority_that_is_given_counts<S: Sink + 'static>(
    directory: &Path,
    files: &Certificates,
    sink: impl Fn(&str, TlsOptions) -> S,
    table_is_there: impl Fn() -> bool,
    sql: impl Fn(&str) -> String,
) -> [Running; 3] {
    let bus = Bus::open(directory);
    let start = |name, tls| bus.start(directory, name, sink(name, tls));
    let running = [
        start("trusting", trusting(&files.authority)),
        start("wary", trusting(&files.stranger)),
        start("anyone", TlsOptions::default()),
    ];
    bus.fire_numbers(0..3);
    wait_until("it is said why not", || {
        let why = running[1].handle.figures().waits_for;
        why.is_some_and(|why| why.contains("option ca names who may"))
    });
    wait_until("the tables are there", table_is_there);
    let have_written = || {
        let rows = sql("SELECT name FROM brine_sink WHERE seq = 3 ORDER BY name");
        let names = rows.lines().filter_map(|row| row.split('@').next());
        names.eq(["anyone", "trusting"])
    };
    wait_until("both have written", have_written);
    running
}

#[test]
fn only_a_postgresql_of_the_authority_that_is_given_gets_events() {
    let directory = tempdir().unwrap();
    let files = Certificates::make(directory.path());
    let server = Postgres::start_with_tls(directory.path(), &files.certificate, &files.key);
    let sink = |name: &str, tls| {
        let options = PostgresOptions {
            host: "localhost".to_owned(),
            port: server.port(),
            tls: PostgresTls::Required(tls),
            ..crate::postgres::options(&server)
        };
        PostgresSink::new(name, options).unwrap()
    };
    let _running = only_the_authority_that_is_given_counts(
        directory.path(),
        &files,
        sink,
        || server.sql("SELECT to_regclass('brine_sink') IS NOT NULL") == "t",
        |query| server.sql(query),
    );
    let encrypted = "SELECT count(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) \
                     WHERE ssl AND application_name LIKE 'brine sink %'";
    assert_eq!(server.sql(encrypted), "2");
}

#[test]
fn only_a_mariadb_of_the_authority_that_is_given_gets_events() {
    let directory = tempdir().unwrap();
    let files = Certificates::make(directory.path());
    let server = Mariadb::start_with_tls(directory.path(), &files.certificate, &files.key);
    let sink = |name: &str, tls| {
        let options = MysqlOptions {
            host: "localhost".to_owned(),
            port: server.port(),
            user: "salt".to_owned(),
            tls: Some(tls),
            ..crate::mysql::options(&server)
        };
        MysqlSink::new(name, options).unwrap()
    };
    let _running = only_the_authority_that_is_given_counts(
        directory.path(),
        &files,
        sink,
        || server.sql("SHOW TABLES LIKE 'brine_sink'") == "brine_sink",
        |query| server.sql(query),
    );
}

#[test]
fn a_file_that_is_missing_is_said_before_anything_starts() {
    let tls = trusting(Path::new("/nonexistent/ca.pem"));
    let error = tls.client_config().unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("ca: /nonexistent/ca.pem: expected certificates in PEM: "),
        "{error}"
    );
}
