//! `brine.sock` of the serving commands. What it answers in detail is tested in `brine-api`.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;

use crate::node::{Node, free_ports};
use crate::support::{Bus, Running, wait_for_reader, wait_until};

/// One request with a whole answer.
fn request(socket: &str, head: &str, body: &str) -> String {
    let mut stream = UnixStream::connect(socket).unwrap();
    let length = body.len();
    write!(
        stream,
        "{head}\r\nhost: x\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn a_bus_answers_events_once_they_are_on_disk_and_resumes() {
    let mut bus = Bus::absent();
    let history = bus.path("history");
    bus.begin(&["--history", &history]);
    let socket = format!("{}/brine.sock", bus.sock_dir());
    wait_until(|| fs::exists(&socket).unwrap());
    let mode = fs::metadata(&socket).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let status = request(&socket, "GET /status HTTP/1.1", "");
    assert!(status.contains("{\"kind\": \"bus\""), "{status}");
    assert!(status.contains(&history), "{status}");
    let events = "{\"tag\": \"my/1\"}\n{\"tag\": \"my/2\"}\n";
    let fired = request(&socket, "POST /events HTTP/1.1", events);
    let positions: Vec<_> = fired
        .lines()
        .filter_map(|line| line.strip_prefix("{\"position\": \"")?.strip_suffix("\"}"))
        .collect();
    assert_eq!(positions.len(), 2, "{fired}");
    let head = format!(
        "GET /events?follow=false HTTP/1.1\r\naccept: text/event-stream\r\nlast-event-id: {}",
        positions[0]
    );
    let resumed = request(&socket, &head, "");
    assert!(
        resumed.contains(&format!("id: {}\n", positions[1])),
        "{resumed}"
    );
    assert!(!resumed.contains("\"my/1\""), "{resumed}");
    assert_eq!(bus.end().code, Some(0));
    assert!(!fs::exists(&socket).unwrap());
}

#[test]
fn a_master_and_a_minion_run_commands() {
    let node = Node::accepted();
    let socket = |name: &str| node.root.path().join(name).to_str().unwrap().to_owned();
    let master = socket("m/var/run/salt/master/brine.sock");
    let up = request(
        &master,
        "POST /run HTTP/1.1",
        "{\"client\": \"runner\", \"fun\": \"manage.up\"}",
    );
    assert!(up.contains("{\"return\": [\"m1\"]}"), "{up}");
    // What is only started is answered by where its events will be.
    for (client, fun, prefix) in [
        ("runner_async", "manage.up", "salt/run/"),
        ("wheel_async", "key.list_all", "salt/wheel/"),
    ] {
        let command = format!("{{\"client\": \"{client}\", \"fun\": \"{fun}\"}}");
        let started = request(&master, "POST /run HTTP/1.1", &command);
        let tag = format!("{{\"return\": {{\"tag\": \"{prefix}");
        assert!(
            started.contains(&tag) && started.contains("\"jid\": \"2"),
            "{started}"
        );
        let jid = started
            .split("\"jid\": \"")
            .nth(1)
            .unwrap()
            .split('"')
            .next()
            .unwrap();
        let query = format!("GET /events?from=earliest&limit=1&tag={prefix}{jid}/ret HTTP/1.1");
        let ret = request(&master, &query, "");
        assert!(ret.contains("\"success\": true"), "{ret}");
    }
    let job = request(
        &master,
        "POST /run HTTP/1.1",
        "{\"client\": \"local_async\", \"tgt\": \"*\", \"fun\": \"test.ping\"}",
    );
    assert!(job.contains("\"minions\": [\"m1\"]"), "{job}");
    let echo = request(
        &socket("n/var/run/salt/minion/minion_event_ca0df2c95a_brine.sock"),
        "POST /run HTTP/1.1",
        "{\"client\": \"caller\", \"fun\": \"test.echo\", \"arg\": [\"hi\"]}",
    );
    assert!(echo.contains("{\"return\": {\"return\": \"hi\""), "{echo}");
}

#[test]
fn under_tcp_salts_commands_work_though_no_event_is_a_command() {
    let [publish, pull, own_publish, own_pull] = free_ports();
    let node = Node::accepted_with([
        &format!("ipc_mode: tcp\ntcp_master_pub_port: {publish}\ntcp_master_pull_port: {pull}\n"),
        &format!("ipc_mode: tcp\ntcp_pub_port: {own_publish}\ntcp_pull_port: {own_pull}\n"),
    ]);
    let token = "n/var/run/salt/minion/minion_event_ca0df2c95a_brine.token";
    let mode = fs::metadata(node.root.path().join(token))
        .unwrap()
        .permissions();
    assert_eq!(mode.mode() & 0o777, 0o600);
    for (words, stdout) in [
        (&["salt-call", "test.echo", "hi"][..], "local:\n    hi\n"),
        (&["salt", "*", "test.ping"][..], "m1:\n    True\n"),
        (&["salt-run", "manage.up"][..], "- m1\n"),
    ] {
        let left = node.run(words);
        assert_eq!(
            (left.code, left.stdout.as_str()),
            (Some(0), stdout),
            "{left:?}"
        );
    }
}

/// Who is neither root nor the bus's user, but in the list, uses every command for its tags.
#[test]
fn a_listed_user_watches_reads_fires_and_sees_the_status() {
    const NOBODY: u32 = 65_534;
    if !rustix::process::geteuid().is_root() {
        return; // only root can be somebody else
    }
    let mut bus = Bus::absent();
    let root = bus.root.path().to_owned();
    fs::set_permissions(&root, fs::Permissions::from_mode(0o755)).unwrap();
    let config = root.join("master");
    let options = fs::read_to_string(&config).unwrap();
    let acl = "brine: {acl: [{user: nobody, read: ['my/*'], fire: ['my/*']}]}\n";
    fs::write(&config, options + acl).unwrap();
    let config = config.to_str().unwrap().to_owned();
    let history = bus.path("h");
    bus.begin(&["--config", &config, "--history", &history]);
    let as_nobody = |arguments: &[&str]| {
        let mut command = bus.command(arguments);
        std::os::unix::process::CommandExt::uid(&mut command, NOBODY);
        std::os::unix::process::CommandExt::gid(&mut command, NOBODY);
        command
    };
    let run = |arguments: &[&str]| crate::support::run(&mut as_nobody(arguments), "");

    bus.send("other", "{}");
    let watch = Running::start(&mut as_nobody(&["watch", "-o", "tags", "-n", "2"]));
    wait_for_reader(&bus.sock_dir());
    let left = run(&["send", "my/1", "a=1"]);
    assert_eq!((left.code, left.stderr.as_str()), (Some(0), ""));
    let left = run(&["send", "--ack", "my/2", "a=2"]);
    assert_eq!(left.code, Some(0), "{left:?}");
    let position = left.stdout.trim_end().to_owned();
    assert!(position.ends_with("-3"), "{position}");
    assert_eq!(watch.left().stdout, "my/1\nmy/2\n");

    // Silence about what is hidden is told from silence on the bus, once, and only where something is hidden.
    let hidden = "brine: you may read only my/*, by acl, below brine in the bus's configuration; other events are not shown\n";
    for (words, is_told) in [
        (&["watch", "salt/auth", "-t", "0.2"][..], true),
        (&["watch", "-t", "0.2", "-o", "tags"], true),
        (&["watch", "--last", "2", "-n", "2", "-o", "tags"], true),
        (&["watch", "my/1", "-t", "0.2"], false),
        (&["history", "-o", "tags"], true),
        (&["history", "-r", "other"], true),
        (&["history", "--last-per-tag"], true),
        (&["history", "my/*"], false),
    ] {
        let left = run(words);
        let expected = usize::from(is_told);
        assert_eq!(left.code, Some(0), "{words:?}: {left:?}");
        assert_eq!(
            left.stderr.matches(hidden).count(),
            expected,
            "{words:?}: {left:?}"
        );
        assert!(
            !is_told || left.stderr.starts_with(hidden),
            "{words:?}: {left:?}"
        );
    }
    // Nor is silence about what this user cannot look at taken for health.
    let left = run(&["doctor"]);
    let unseen = "note     this user: may not read /proc/";
    assert!(left.stdout.contains(unseen), "{left:?}");

    // Also where both are one file.
    let words = as_nobody(&["history", "-o", "tags"]);
    let mut both = std::process::Command::new("sh");
    both.args(["-c", "exec \"$@\" 2>&1", "sh"]);
    both.arg(words.get_program()).args(words.get_args());
    std::os::unix::process::CommandExt::uid(&mut both, NOBODY);
    std::os::unix::process::CommandExt::gid(&mut both, NOBODY);
    let left = crate::support::run(&mut both, "");
    assert_eq!(left.stdout, format!("{hidden}my/1\nmy/2\n"), "{left:?}");

    let left = run(&["send", "other", "{}"]);
    assert_eq!(left.code, Some(1));
    assert!(
        left.stderr.contains("not among the tags you may fire"),
        "{left:?}"
    );
    assert_eq!(run(&["history", "-o", "tags"]).stdout, "my/1\nmy/2\n");
    let left = run(&[
        "history",
        "-o",
        "tags",
        "-r",
        "-g",
        "\"a\": [12]",
        "-n",
        "1",
    ]);
    assert_eq!(left.stdout, "my/2\n", "{left:?}");
    let left = run(&["watch", "-o", "line", "--seq", "--from", "2", "-n", "2"]);
    let lines: Vec<_> = left.stdout.lines().collect();
    assert!(
        lines[0].starts_with("       2 my/1\t{\"a\": 1, "),
        "{left:?}"
    );
    assert!(
        lines[1].starts_with("       3 my/2\t{\"a\": 2, "),
        "{left:?}"
    );
    let left = run(&["status"]);
    assert_eq!(left.code, Some(0), "{left:?}");
    assert!(
        left.stdout.contains(&format!("to {position} of ")),
        "{left:?}"
    );
    // What the list does not have is not there for it.
    assert_eq!(
        run(&["watch", "--last-per-tag", "-n", "1", "-o", "tags"]).stdout,
        "my/1\n"
    );
    // Nor is a store that it may not read taken for none.
    assert_eq!(bus.end().code, Some(0));
    let as_nobody = |arguments: &[&str]| {
        let mut command = bus.command(arguments);
        std::os::unix::process::CommandExt::uid(&mut command, NOBODY);
        std::os::unix::process::CommandExt::gid(&mut command, NOBODY);
        crate::support::run(&mut command, "")
    };
    let denied = "history: permission denied at ";
    let left = as_nobody(&["status", "--history", &history]);
    assert!(left.stdout.contains(denied), "{left:?}");
    let left = as_nobody(&["history", "--history", &history]);
    assert!(
        left.code == Some(1) && left.stderr.contains(denied),
        "{left:?}"
    );
}

#[test]
fn what_readers_of_the_local_socket_got_is_counted() {
    let mut bus = Bus::absent();
    let history = bus.path("h");
    bus.begin(&["--history", &history]);
    for tag in ["my/1", "other", "my/2"] {
        bus.send(tag, "{}");
    }
    let left = bus.run(&["watch", "my/*", "--last", "2", "-n", "2", "-o", "tags"]);
    assert_eq!(left.stdout, "my/1\nmy/2\n", "{left:?}");
    let status = bus.run(&["status", "--json"]).stdout;
    assert!(status.contains("\"stream_deliveries\": 2"), "{status}");
    let counted =
        "0 delivered to subscribers of Salt's sockets, 2 to readers of brine.sock and the API";
    // The command itself reads the store, and changes nothing of what it counts.
    for _ in 0..2 {
        let status = bus.run(&["status", "--history", &history]).stdout;
        assert!(status.contains(counted), "{status}");
        assert!(status.contains("history  3 events: 1 of "), "{status}");
    }
}

#[test]
fn lines_of_stdin_are_acknowledged_each() {
    let mut bus = Bus::absent();
    let history = bus.path("h");
    bus.begin(&["--history", &history]);
    let lines = "{\"tag\": \"a\"}\nnonsense\n{\"tag\": \"b\"}\n";
    let left = crate::support::run(&mut bus.command(&["send", "--ack", "--stdin"]), lines);
    assert_eq!(left.code, Some(1));
    let positions: Vec<_> = left.stdout.lines().collect();
    assert_eq!(positions.len(), 2, "{left:?}");
    assert!(positions[0].ends_with("-1") && positions[1].ends_with("-2"));
    assert!(
        left.stderr.starts_with("brine: line 2: invalid JSON"),
        "{left:?}"
    );
    // A bus that keeps nothing cannot say that an event is on disk.
    let bare = Bus::start();
    let left = bare.run(&["send", "--ack", "a"]);
    assert_eq!(left.code, Some(1));
    assert!(left.stderr.contains("keeps no history"), "{left:?}");
    let left = bare.run(&["send", "--ack=appended", "a"]);
    assert_eq!(left.code, Some(0), "{left:?}");
}

#[test]
fn a_start_that_is_gone_is_named_with_what_there_is() {
    let bus = Bus::start();
    for number in 1..=3 {
        bus.send(&format!("t/{number}"), "{}");
    }
    let left = bus.run(&["watch", "--from", "99", "-n", "1"]);
    assert_eq!(left.code, Some(3), "{left:?}");
    assert_eq!(
        left.stderr,
        "brine: event 99 is not there yet: the newest is 3\n"
    );
    let left = bus.run(&["watch", "--from", "7f3a-2", "-n", "1"]);
    assert_eq!(left.code, Some(3), "{left:?}");
    assert!(
        left.stderr
            .starts_with("brine: position 7f3a-2 is of another log; this one is ")
            && left.stderr.contains("the oldest is 1, of "),
        "{left:?}"
    );
    let left = bus.run(&[
        "watch",
        "--from",
        "7f3a-2",
        "--allow-gap",
        "-n",
        "1",
        "-o",
        "tags",
    ]);
    assert_eq!((left.code, left.stdout.as_str()), (Some(0), "t/1\n"));
}

/// With the bus running, a named position moves behind what was printed, and only that.
#[test]
fn a_named_position_moves_while_the_bus_runs() {
    let mut bus = Bus::absent();
    let history = bus.path("h");
    bus.begin(&["--history", &history]);
    let next = |arguments: &[&str]| {
        let left = bus.run(&[arguments, &["-o", "tags"]].concat());
        assert_eq!(
            (left.code, left.stderr.as_str()),
            (Some(0), ""),
            "{arguments:?}"
        );
        left.stdout
    };
    for number in 1..=4 {
        let left = bus.run(&["send", "--ack", &format!("t/{number}")]);
        assert_eq!(left.code, Some(0), "{left:?}");
    }
    assert_eq!(
        next(&["history", "--cursor", "mine", "-n", "2"]),
        "t/1\nt/2\n"
    );
    assert_eq!(next(&["consumer", "next", "mine", "--no-ack"]), "t/3\n");
    assert_eq!(next(&["consumer", "next", "mine"]), "t/3\n");
    assert_eq!(next(&["history", "--cursor", "mine", "-g", "nothing"]), "");
    assert_eq!(next(&["history", "--cursor", "mine"]), "");
    let left = bus.run(&["consumer", "next", "nobody"]);
    assert_eq!(left.code, Some(1), "{left:?}");
    assert!(left.stderr.contains("nobody"), "{left:?}");
}
