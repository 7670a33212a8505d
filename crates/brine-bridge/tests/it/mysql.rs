//! MariaDB: a real server that is killed and locked.

use std::path::Path;
use std::time::Duration;

use brine_bridge::mysql::{MysqlOptions, MysqlSink};
use brine_bridge::rows::{AlterTime, Tables};
use brine_testkit::database::Mariadb;
use brine_wire::Value;
use tempfile::tempdir;

use crate::support::{Bus, Running, wait_until};

pub(crate) fn options(server: &Mariadb) -> MysqlOptions {
    MysqlOptions {
        host: server.host(),
        port: 3306,
        user: "root".to_owned(),
        password: None,
        database: "salt".to_owned(),
        connect_timeout: Duration::from_secs(10),
        tls: None,
        tables: Tables {
            events: true,
            jobs: true,
        },
        create_tables: true,
        alter_time: AlterTime::Event,
        master_id: "master1".to_owned(),
    }
}

fn start(bus: &Bus, directory: &Path, server: &Mariadb) -> Running {
    let running = bus.start(
        directory,
        "audit",
        MysqlSink::new("audit", options(server)).unwrap(),
    );
    if server.is_running() {
        wait_until("tables are there", || {
            server.sql("SHOW TABLES LIKE 'salt_events'") == "salt_events"
        });
    }
    running
}

fn count(server: &Mariadb) -> usize {
    let count = server.sql("SELECT count(*) FROM salt_events");
    count.parse().unwrap()
}

#[test]
fn a_server_that_is_killed_has_each_event_once_and_in_order() {
    let directory = tempdir().unwrap();
    let mut server = Mariadb::start(directory.path());
    let bus = Bus::open(directory.path());
    let mut running = start(&bus, directory.path(), &server);
    let mut fired = 0;
    for round in 0..4 {
        bus.fire_numbers(fired..fired + 2000);
        fired += 2000;
        wait_until("some are there", || {
            round > 0 || running.handle.figures().delivered > 0
        });
        server.kill();
        bus.fire_numbers(fired..fired + 500);
        fired += 500;
        if round % 2 == 0 {
            drop(running);
            running = start(&bus, directory.path(), &server);
        }
        server.restart();
    }
    wait_until("all are there", || count(&server) >= fired as usize);
    let numbers = server.sql("SELECT json_value(data, '$.n') FROM salt_events ORDER BY id");
    let numbers: Vec<i64> = numbers.lines().map(|n| n.parse().unwrap()).collect();
    let odd = (0..fired).zip(&numbers).find(|(n, found)| n != *found);
    assert_eq!((odd, numbers.len()), (None, fired as usize));
    assert_eq!(
        server.sql("SELECT DISTINCT unix_timestamp(alter_time), master_id FROM salt_events"),
        "1795939260\tmaster1"
    );
    assert_eq!(running.handle.figures().dead, 0);
}

#[test]
fn jobs_and_odd_values_are_stored_even_in_the_old_utf8() {
    let directory = tempdir().unwrap();
    let server = Mariadb::start(directory.path());
    // As Salt's documentation has it.
    server.sql(
        "CREATE TABLE salt_events (id BIGINT NOT NULL AUTO_INCREMENT, tag varchar(255) NOT NULL, \
         data mediumtext NOT NULL, alter_time TIMESTAMP DEFAULT CURRENT_TIMESTAMP, master_id varchar(255) NOT NULL, \
         PRIMARY KEY (id), KEY tag (tag)) ENGINE=InnoDB DEFAULT CHARSET=utf8",
    );
    let bus = Bus::open(directory.path());
    let running = start(&bus, directory.path(), &server);
    let published = [("user", "root".into()), ("fun", "test.ping".into())];
    bus.fire("salt/job/20261129080100123456/new", &published);
    let returned = [
        ("fun", Value::from("x".repeat(60))),
        ("return", "\u{1f600}".into()),
        ("retcode", 0.into()),
    ];
    bus.fire("salt/job/20261129080100123456/ret/web1", &returned);
    bus.fire(
        &"\u{1f600}".repeat(300),
        &[("v", f64::NAN.into()), ("w", "\u{1f600}".into())],
    );
    wait_until("stored", || count(&server) == 3);
    assert_eq!(running.handle.figures().dead, 0);
    let row =
        server.sql("SELECT id, fun, success, json_value(full_ret, '$.return') FROM salt_returns");
    assert_eq!(row, format!("web1\t{}\t1\t\u{1f600}", "x".repeat(50)));
    assert_eq!(
        server.sql("SELECT json_value(`load`, '$.user') FROM jids"),
        "root"
    );
    let odd = server.sql(
        "SELECT char_length(tag), json_value(data, '$.v'), data LIKE '%\\\\\\\\ud83d\\\\\\\\ude00%' FROM salt_events \
         WHERE tag LIKE '\u{fffd}%'",
    );
    assert_eq!(odd, "255\tNaN\t1");
}
