//! TLS to databases: an authority of our own is trusted, another one is not, and it is said which it was.

use std::path::Path;

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

fn says_why(running: &Running) {
    wait_until("it is said why not", || {
        let why = running.handle.figures().waits_for;
        why.is_some_and(|why| why.contains("option ca names who may"))
    });
}

#[test]
fn only_a_postgresql_of_the_authority_that_is_given_gets_events() {
    let directory = tempdir().unwrap();
    let files = Certificates::make(directory.path());
    let server = Postgres::start_with_tls(directory.path(), &files.certificate, &files.key);
    let bus = Bus::open(directory.path());
    let of = |name: &str, tls| {
        let options = PostgresOptions {
            host: "localhost".to_owned(),
            port: server.port(),
            tls: PostgresTls::Required(tls),
            ..crate::postgres::options(&server)
        };
        bus.start(
            directory.path(),
            name,
            PostgresSink::new(name, options).unwrap(),
        )
    };
    let _trusting = of("trusting", trusting(&files.authority));
    let wary = of("wary", trusting(&files.stranger));
    let _anyone = of("anyone", TlsOptions::default());
    bus.fire_numbers(0..3);
    says_why(&wary);
    wait_until("the tables are there", || {
        server.sql("SELECT to_regclass('brine_sink') IS NOT NULL") == "t"
    });
    let names = || server.sql("SELECT name FROM brine_sink WHERE seq = 3 ORDER BY name");
    wait_until("both have written", || names() == "anyone\ntrusting");
    let encrypted = "SELECT count(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) \
                     WHERE ssl AND application_name LIKE 'brine sink %'";
    assert_eq!(server.sql(encrypted), "2");
}

#[test]
fn only_a_mariadb_of_the_authority_that_is_given_gets_events() {
    let directory = tempdir().unwrap();
    let files = Certificates::make(directory.path());
    let server = Mariadb::start_with_tls(directory.path(), &files.certificate, &files.key);
    let bus = Bus::open(directory.path());
    let of = |name: &str, tls| {
        let options = MysqlOptions {
            host: "localhost".to_owned(),
            port: server.port(),
            user: "salt".to_owned(),
            tls: Some(tls),
            ..crate::mysql::options(&server)
        };
        bus.start(
            directory.path(),
            name,
            MysqlSink::new(name, options).unwrap(),
        )
    };
    let _trusting = of("trusting", trusting(&files.authority));
    let wary = of("wary", trusting(&files.stranger));
    let _anyone = of("anyone", TlsOptions::default());
    bus.fire_numbers(0..3);
    says_why(&wary);
    wait_until("the tables are there", || {
        server.sql("SHOW TABLES LIKE 'brine_sink'") == "brine_sink"
    });
    let names = || server.sql("SELECT name FROM brine_sink WHERE seq = 3 ORDER BY name");
    wait_until("both have written", || names() == "anyone\ntrusting");
}

#[test]
fn a_file_that_is_missing_is_said_before_anything_starts() {
    let tls = trusting(Path::new("/nonexistent/ca.pem"));
    let error = tls.client_config().unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("/nonexistent/ca.pem: expected certificates in PEM: "),
        "{error}"
    );
}
