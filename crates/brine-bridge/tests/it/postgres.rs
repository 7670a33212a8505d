//! PostgreSQL: a real server that is stopped, killed, locked and full.

use std::path::Path;
use std::time::Duration;

use brine_bridge::postgres::{PostgresOptions, PostgresSink, PostgresTls};
use brine_bridge::rows::{AlterTime, Tables};
use brine_log::Seq;
use brine_log::history::ConsumerName;
use brine_testkit::database::Postgres;
use brine_wire::Value;
use tempfile::tempdir;

use crate::support::{Bus, Running, wait_until};

pub(crate) fn options(server: &Postgres) -> PostgresOptions {
    PostgresOptions {
        host: server.host(),
        port: 5432,
        user: "salt".to_owned(),
        password: None,
        database: "salt".to_owned(),
        connect_timeout: Duration::from_secs(10),
        tls: PostgresTls::Off,
        tables: Tables {
            events: true,
            jobs: true,
        },
        create_tables: true,
        alter_time: AlterTime::Stored,
        master_id: "master1".to_owned(),
    }
}

fn start(bus: &Bus, directory: &Path, server: &Postgres) -> Running {
    let sink = PostgresSink::new("audit", options(server)).unwrap();
    let running = bus.start(directory, "audit", sink);
    if server.is_running() {
        wait_until("tables are there", || {
            server.sql("SELECT to_regclass('brine_sink') IS NOT NULL") == "t"
        });
    }
    running
}

fn count(server: &Postgres) -> usize {
    let count = server.sql("SELECT count(*) FROM salt_events");
    count.parse().unwrap()
}

/// That the numbers below `count` are there, each once and in order.
fn has_all(server: &Postgres, count: i64) {
    wait_until("all rows are there", || {
        self::count(server) >= count as usize
    });
    let wrong = server.sql(
        "SELECT count(*) FROM (SELECT (data->>'n')::int AS n, row_number() OVER (ORDER BY id) - 1 AS nth \
         FROM salt_events) AS numbered WHERE n <> nth",
    );
    assert_eq!((self::count(server), wrong.as_str()), (count as usize, "0"));
}

#[test]
fn a_server_that_is_killed_and_locked_has_each_event_once_and_in_order() {
    let directory = tempdir().unwrap();
    let mut server = Postgres::start(directory.path());
    let bus = Bus::open(directory.path());
    let mut running = start(&bus, directory.path(), &server);
    let mut fired = 0;
    let mut fire = |count: i64| {
        bus.fire_numbers(fired..fired + count);
        fired += count;
        fired
    };
    fire(3000);
    wait_until("some rows are there", || {
        running.handle.figures().delivered > 0
    });
    for round in 0..6 {
        // In the middle of whatever it does.
        fire(2000);
        server.kill();
        fire(500);
        if round % 2 == 0 {
            running = {
                drop(running);
                start(&bus, directory.path(), &server)
            };
        }
        server.restart();
    }
    // Nobody writes while the table is locked, and nothing is lost.
    let mut locked = std::process::Command::new("psql")
        .args(["-X", "-q", "-U", "salt", "-d", "salt", "-h", &server.host()])
        .args([
            "-c",
            "BEGIN; LOCK TABLE salt_events; SELECT pg_sleep(2); COMMIT",
        ])
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let all = fire(1000);
    assert!(locked.wait().unwrap().success());
    has_all(&server, all);
    let row = server.sql("SELECT name, log, seq FROM brine_sink");
    let log = bus.log.id();
    assert_eq!(row, format!("audit@{log}|{log}|{all}"));
    assert_eq!(running.handle.figures().dead, 0);
}

#[test]
fn masters_with_sinks_of_one_name_have_a_position_each() {
    let (directory, others) = (tempdir().unwrap(), tempdir().unwrap());
    let server = Postgres::start(directory.path());
    let bus = Bus::open(directory.path());
    let other = Bus::open(others.path());
    let running = start(&bus, directory.path(), &server);
    bus.fire_numbers(0..3);
    has_all(&server, 3);
    let _others = start(&other, others.path(), &server);
    other.fire_numbers(3..6);
    has_all(&server, 6);
    drop(running);
    // As a process leaves it that is killed between the database's commit and its own.
    let name = ConsumerName::parse("audit").unwrap();
    let mut consumer = bus.history.consumer(&name).unwrap();
    consumer.position.seq = Seq(0);
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    let saved = runtime.unwrap().block_on(bus.history.save(consumer));
    saved.unwrap();
    let _running = start(&bus, directory.path(), &server);
    bus.fire_numbers(6..7);
    has_all(&server, 7);
}

#[test]
fn a_row_is_as_salts_returners_write_it() {
    let directory = tempdir().unwrap();
    let server = Postgres::start(directory.path());
    let bus = Bus::open(directory.path());
    let running = start(&bus, directory.path(), &server);
    let ping = |id: &str, more: &[(&'static str, Value)]| {
        let mut data = vec![
            ("fun", "test.ping".into()),
            ("fun_args", Value::Array(Vec::new())),
            ("id", id.into()),
            ("jid", "20261129080100123456".into()),
            ("return", true.into()),
            ("retcode", 0.into()),
        ];
        data.extend(more.iter().cloned());
        bus.fire(&format!("salt/job/20261129080100123456/ret/{id}"), &data);
    };
    let published = [("user", "root".into()), ("fun", "test.ping".into())];
    bus.fire("salt/job/20261129080100123456/new", &published);
    ping("web1", &[("success", true.into())]);
    ping("web2", &[]);
    wait_until("stored", || count(&server) == 3);
    let rows = server
        .sql("SELECT id, fun, jid, success, full_ret->>'retcode' FROM salt_returns ORDER BY id");
    let row = |id| format!("{id}|test.ping|20261129080100123456|true|0");
    assert_eq!(rows, [row("web1"), row("web2")].join("\n"));
    // The load that was published, not the last return.
    let loads = server.sql("SELECT load->>'user' FROM jids");
    assert_eq!(loads, "root");
    assert_eq!(
        server.sql("SELECT DISTINCT master_id FROM salt_events"),
        "master1"
    );
    drop(running);
}

#[test]
fn events_that_salts_returners_lose_are_stored_between_good_ones() {
    let directory = tempdir().unwrap();
    let server = Postgres::start(directory.path());
    let bus = Bus::open(directory.path());
    let running = start(&bus, directory.path(), &server);
    let long_tag = "x".repeat(300);
    let poison: [(&str, Value); 8] = [
        ("nan", f64::NAN.into()),
        ("infinity", f64::INFINITY.into()),
        ("nul", "a\0b".into()),
        ("bytes", Value::Bin(b"\xff\xfe".to_vec())),
        ("text/bytes", Value::Bin(b"text".to_vec())),
        (&long_tag, 1.into()),
        ("emoji", "\u{1f600}".into()),
        ("large", Value::Int(i128::from(u64::MAX))),
    ];
    for (tag, value) in poison {
        bus.fire("good", &[("n", 1.into())]);
        bus.fire(tag, &[("v", value)]);
    }
    bus.fire("tag\0with\tall\\sorts\nof", &[("n", 1.into())]);
    bus.fire("good", &[("n", 1.into())]);
    wait_until("stored", || count(&server) == 18);
    assert_eq!(running.handle.figures().dead, 0);
    let value = |tag: &str| {
        server.sql(&format!(
            "SELECT data->'v' FROM salt_events WHERE tag = '{tag}'"
        ))
    };
    assert_eq!(value("nan"), "\"NaN\"");
    assert_eq!(value("infinity"), "\"Infinity\"");
    assert_eq!(value("nul"), "\"a\u{fffd}b\"");
    assert_eq!(value("bytes"), "{\"$bytes\": \"//4=\"}");
    assert_eq!(value("text/bytes"), "\"text\"");
    assert_eq!(value("emoji"), "\"\u{1f600}\"");
    assert_eq!(value("large"), "18446744073709551615");
    let whole = server.sql("SELECT data->>'brine_tag' FROM salt_events WHERE length(tag) = 255");
    assert_eq!(whole, long_tag);
}

#[test]
fn what_a_constraint_forbids_becomes_a_dead_letter() {
    let directory = tempdir().unwrap();
    let server = Postgres::start(directory.path());
    let bus = Bus::open(directory.path());
    let running = start(&bus, directory.path(), &server);
    bus.fire_numbers(0..1);
    wait_until("stored", || count(&server) == 1);
    server.sql("ALTER TABLE salt_events ADD CONSTRAINT no CHECK (data->>'n' <> '13')");
    bus.fire_numbers(1..100);
    wait_until("stored", || count(&server) == 99);
    wait_until("set aside", || running.handle.figures().dead == 1);
    server.sql("ALTER TABLE salt_events DROP CONSTRAINT no");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let sent = runtime.block_on(running.handle.resend()).unwrap();
    assert_eq!((sent.delivered, sent.kept()), (1, 0));
    assert_eq!(count(&server), 100);
    // A letter does not move the position back.
    bus.fire_numbers(100..101);
    wait_until("stored", || count(&server) == 101);
}

#[test]
fn an_event_at_which_a_trigger_fails_holds_up_nobody() {
    let directory = tempdir().unwrap();
    let server = Postgres::start(directory.path());
    let bus = Bus::open(directory.path());
    let running = start(&bus, directory.path(), &server);
    // The code says nothing of whose fault it is.
    server.sql(
        "CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            IF NEW.data->>'n' = '13' THEN RAISE EXCEPTION 'unlucky'; END IF; RETURN NEW; END $$;
         CREATE TRIGGER no BEFORE INSERT ON salt_events FOR EACH ROW EXECUTE FUNCTION no()",
    );
    bus.fire_numbers(0..40);
    wait_until("set aside", || running.handle.figures().dead == 1);
    wait_until("stored", || count(&server) == 39);
    let numbers = server.sql("SELECT string_agg(data->>'n', ' ' ORDER BY id) FROM salt_events");
    let others = (0..40).filter(|number| *number != 13);
    let others = others.map(|number: i32| number.to_string());
    assert_eq!(numbers, others.collect::<Vec<_>>().join(" "));
    let why = running.handle.figures().last_error.unwrap().reason;
    assert!(why.contains("unlucky"), "{why}");
}

#[test]
fn a_sink_that_is_moved_while_its_database_is_away_is_moved_after_a_restart() {
    let directory = tempdir().unwrap();
    let mut server = Postgres::start(directory.path());
    let bus = Bus::open(directory.path());
    let running = start(&bus, directory.path(), &server);
    bus.fire_numbers(0..10);
    wait_until("stored", || count(&server) == 10);
    server.kill();
    let name = ConsumerName::parse("audit").unwrap();
    let moved = bus.history.change(&name, |consumer| {
        consumer.position.seq = Seq(4);
    });
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime.block_on(moved).unwrap().unwrap();
    drop(running);
    server.restart();
    let _running = start(&bus, directory.path(), &server);
    wait_until("stored again", || count(&server) == 16);
}

#[test]
fn tables_that_are_missing_are_named() {
    let directory = tempdir().unwrap();
    let server = Postgres::start(directory.path());
    let bus = Bus::open(directory.path());
    let mut options = options(&server);
    options.create_tables = false;
    let sink = PostgresSink::new("audit", options).unwrap();
    let running = bus.start(directory.path(), "audit", sink);
    wait_until("it waits", || running.handle.figures().waits_for.is_some());
    let why = running.handle.figures().waits_for.unwrap();
    assert!(
        why.contains("no table salt_events, jids, salt_returns"),
        "{why}"
    );
    // As Salt's returner `postgres` has them: texts, not jsonb, and short job ids.
    server.sql(
        "CREATE TABLE jids (jid varchar(20) PRIMARY KEY, load text NOT NULL);
         CREATE TABLE salt_returns (fun varchar(50) NOT NULL, jid varchar(255) NOT NULL, return text NOT NULL,
            full_ret text, id varchar(255) NOT NULL, success varchar(10) NOT NULL,
            alter_time timestamptz DEFAULT now());
         CREATE TABLE salt_events (id bigserial PRIMARY KEY, tag varchar(255) NOT NULL, data text NOT NULL,
            alter_time timestamptz DEFAULT now(), master_id varchar(255) NOT NULL)",
    );
    bus.fire(
        "salt/job/20261129080100123456_7/new",
        &[("user", "root".into())],
    );
    wait_until("stored", || count(&server) == 1);
    assert_eq!(
        server.sql("SELECT jid, load FROM jids"),
        "20261129080100123456|{\"user\": \"root\"}"
    );
}

#[test]
fn the_tables_of_postgres_local_cache_are_written_as_salt_writes_them() {
    let directory = tempdir().unwrap();
    let server = Postgres::start(directory.path());
    // As Salt's documentation has them.
    server.sql(
        "CREATE TABLE jids (jid varchar(20) PRIMARY KEY, started timestamptz DEFAULT now(), tgt_type text NOT NULL,
            cmd text NOT NULL, tgt text NOT NULL, kwargs text NOT NULL, ret text NOT NULL, username text NOT NULL,
            arg text NOT NULL, fun text NOT NULL);
         CREATE TABLE salt_returns (added timestamptz DEFAULT now(), fun text NOT NULL, jid varchar(20) NOT NULL,
            return text NOT NULL, id text NOT NULL, success boolean);
         CREATE TABLE salt_events (id SERIAL, tag text NOT NULL, data text NOT NULL, alter_time timestamptz
            DEFAULT now(), master_id text NOT NULL)",
    );
    let bus = Bus::open(directory.path());
    let mut options = options(&server);
    (options.create_tables, options.alter_time) = (false, AlterTime::Event);
    let sink = PostgresSink::new("audit", options).unwrap();
    let _running = bus.start(directory.path(), "audit", sink);
    let returned = |jid: &str, value: Value| {
        let data = [
            ("cmd", "_return".into()),
            ("fun", "test.ping".into()),
            ("return", value),
            ("retcode", 0.into()),
            ("success", true.into()),
        ];
        bus.fire(&format!("salt/job/{jid}/ret/web1"), &data);
    };
    let map: brine_wire::Map = [("a", Value::from(true))].into_iter().collect();
    // A return of a job that nobody published, then one that somebody did.
    returned("req", true.into());
    let published = [
        ("tgt", Value::Array(vec!["web1".into()])),
        ("tgt_type", "list".into()),
        ("user", "root".into()),
        ("fun", "test.ping".into()),
        ("arg", Value::Array(vec![1.into()])),
    ];
    bus.fire("salt/job/20261129080100123456/new", &published);
    returned("20261129080100123456", map.into());
    wait_until("stored", || count(&server) == 3);
    assert_eq!(
        server.sql(
            "SELECT jid, started AT TIME ZONE 'UTC', tgt_type, cmd, tgt, kwargs, ret, username, arg, fun FROM jids \
             WHERE jid <> 'req'"
        ),
        "20261129080100123456|2026-11-29 08:01:00.123456|list|publish|['web1']|None||root|[1]|test.ping"
    );
    assert_eq!(
        server.sql(
            "SELECT tgt_type, cmd, tgt, kwargs, ret, username, arg, fun FROM jids WHERE jid = 'req'"
        ),
        "glob|_return|web1|None|None|None|[]|test.ping"
    );
    assert_eq!(
        server.sql(
            "SELECT jid, return, id, success, extract(epoch FROM added)::int FROM salt_returns"
        ),
        "req|{\"return\": \"True\", \"retcode\": 0, \"success\": true}|web1|t|1795939260\n\
         20261129080100123456|{\"return\": \"{'a': True}\", \"retcode\": 0, \"success\": true}|web1|t|1795939260"
    );
}

#[test]
fn a_table_that_another_sink_is_making_is_no_fault() {
    let directory = tempdir().unwrap();
    let server = Postgres::start(directory.path());
    // Not to be seen before the end of its transaction, and in the way of the same table.
    let mut making = std::process::Command::new("psql")
        .args(["-X", "-q", "-U", "salt", "-d", "salt", "-h", &server.host()])
        .args([
            "-c",
            "BEGIN; CREATE TABLE brine_sink (name text PRIMARY KEY, log text NOT NULL, seq bigint NOT NULL); \
             SELECT pg_advisory_lock(1); SELECT pg_sleep(2); COMMIT",
        ])
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    wait_until("it is being made", || {
        server.sql("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'") == "1"
    });
    let bus = Bus::open(directory.path());
    let running = start(&bus, directory.path(), &server);
    bus.fire_numbers(0..3);
    has_all(&server, 3);
    assert_eq!(running.handle.figures().failures, 0);
    assert!(making.wait().unwrap().success());
}
