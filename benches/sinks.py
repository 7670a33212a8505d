#!/usr/bin/env python3
"""Events into PostgreSQL: the sink, Salt's returner pgjsonb, and COPY by a client that does nothing else, in one run.

    benches/sinks.py rates --brine target/release/brine [--events 100000]
    benches/sinks.py jetstream --brine target/release/brine [--events 100000]
    benches/sinks.py endure --brine target/release/brine [--minutes 10] [--rate 1000]
    benches/sinks.py outage --brine target/release/brine [--minutes 10] [--rate 1000]

`rates` stores the same events in the same tables in each way. `jetstream` stores them in a stream, by the sink and by a
client that does nothing else (`cargo build --release -p brine-benches --bin jetstream`, beside the program). `endure` fires at a steady rate while the server is
stopped, killed and its table locked, and counts afterwards: every event once and in order. `outage` does the same while
the server is stopped once, for all of the time, between two minutes with it, and says how long events take to a reader
of the bus in each. Needs PostgreSQL, and for
Salt's returner the environment `.salt/3008.3` and psycopg2, which it installs beside the results; for `jetstream` the
nats-server of `cargo xtask nats`.
"""

import argparse
import json
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
BIN = max(pathlib.Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
TABLES = """SET client_min_messages = warning;
CREATE SEQUENCE IF NOT EXISTS seq_salt_events_id;
DROP TABLE IF EXISTS salt_events, jids, salt_returns;
CREATE TABLE salt_events (id bigint NOT NULL UNIQUE DEFAULT nextval('seq_salt_events_id'), tag varchar(255) NOT NULL,
    data jsonb NOT NULL, alter_time timestamptz NOT NULL DEFAULT now(), master_id varchar(255) NOT NULL);
CREATE INDEX idx_salt_events_tag ON salt_events (tag);
CREATE INDEX idx_salt_events_data ON salt_events USING gin (data) WITH (fastupdate = on);
"""
SALT = """
import json, sys, time
import salt.config
from salt.returners import pgjsonb
pgjsonb.__opts__ = {"id": "bench", "returner.pgjsonb.host": sys.argv[1], "returner.pgjsonb.port": 5432,
                    "returner.pgjsonb.user": "salt", "returner.pgjsonb.db": "salt", "returner.pgjsonb.pass": "x"}
pgjsonb.__salt__ = {}
events = [json.loads(line) for line in open(sys.argv[2])][:int(sys.argv[4])]
size = int(sys.argv[3])
start = time.monotonic()
for first in range(0, len(events), size):
    pgjsonb.event_return(events[first:first + size])
print(len(events) / (time.monotonic() - start))
"""
COPY = """
import io, json, sys, time
import psycopg2
rows = [json.loads(line) for line in open(sys.argv[2])]
escape = lambda text: text.replace("\\\\", "\\\\\\\\").replace("\\t", "\\\\t").replace("\\n", "\\\\n")
lines = [escape(row["tag"]) + "\\t" + escape(json.dumps(row["data"])) + "\\tbench\\n" for row in rows]
connection = psycopg2.connect(host=sys.argv[1], user="salt", dbname="salt")
size = int(sys.argv[3])
start = time.monotonic()
for first in range(0, len(lines), size):
    with connection, connection.cursor() as cursor:
        text = io.StringIO("".join(lines[first:first + size]))
        cursor.copy_expert("COPY salt_events (tag, data, master_id) FROM STDIN", text)
print(len(lines) / (time.monotonic() - start))
"""


class Server:
    """PostgreSQL with its own defaults, on a socket in a directory."""

    def __init__(self, directory):
        self.directory = directory / "postgres"
        self.directory.mkdir()
        self.account = {}
        if os.geteuid() == 0:
            shutil.chown(self.directory, "nobody", "nogroup")
            directory.chmod(0o755)
            self.account = {"user": "nobody", "group": "nogroup", "extra_groups": []}
        self.run("initdb", "-D", str(self.directory / "data"), "-U", "salt", "-A", "trust", "-E", "UTF8", "--no-locale")
        self.process = None
        self.start()
        self.sql("CREATE DATABASE salt", database="postgres")

    def run(self, program, *arguments):
        subprocess.run([BIN / program, *arguments], check=True, stdout=subprocess.DEVNULL, cwd=self.directory,
                       **self.account)

    def start(self):
        while True:
            self.process = subprocess.Popen(
                [BIN / "postgres", "-D", self.directory / "data", "-k", self.directory, "-c", "listen_addresses="],
                stderr=(self.directory / "log").open("ab"), cwd=self.directory, **self.account)
            for _ in range(200):
                if self.sql("SELECT 1", database="postgres", check=False) == "1":
                    return
                if self.process.poll() is not None:
                    break
                time.sleep(0.05)

    def kill(self):
        self.process.kill()
        self.process.wait()

    def stop(self):
        self.process.send_signal(2)
        self.process.wait()

    def sql(self, statement, database="salt", check=True):
        done = subprocess.run([BIN / "psql", "-X", "-q", "-A", "-t", "-U", "salt", "-d", database,
                               "-h", str(self.directory), "-c", statement], check=check, text=True,
                              stdout=subprocess.PIPE, stderr=None if check else subprocess.DEVNULL)
        return done.stdout.strip()


class Bus:
    """`brine bus` with a sink."""

    def __init__(self, brine, directory, sink):
        self.brine, self.sock_dir, self.history = brine, directory / "s", directory / "h"
        config = directory / "master"
        config.write_text(
            f"root_dir: {directory}\nid: bench\nbrine:\n  history: {{directory: {self.history}}}\n  sinks:\n"
            f"    db: {{{sink}}}\n")
        self.process = subprocess.Popen(
            [brine, "bus", "--sock-dir", self.sock_dir, "--config", config], stderr=subprocess.PIPE, text=True)
        while "ready" not in self.process.stderr.readline():
            pass
        self.log = (directory / "bus.log").open("w")
        self.drain = subprocess.Popen(["cat"], stdin=self.process.stderr, stdout=self.log)

    def run(self, *arguments):
        return subprocess.run([self.brine, *arguments, "--sock-dir", self.sock_dir], check=True, text=True,
                              stdout=subprocess.PIPE).stdout

    def fire_paused(self, lines, count):
        """Fires what is in a file while the sink rests, which then goes on; gives when that was."""
        self.run("consumer", "pause", "db")
        with lines.open() as text:
            subprocess.run([self.brine, "send", "--stdin", "--sock-dir", self.sock_dir], stdin=text, check=True)
        until("fired", lambda: self.sink()["last_seq"] >= count)
        start = time.monotonic()
        self.run("consumer", "resume", "db")
        return start

    def sink(self):
        return json.loads(self.run("consumer", "info", "db"))

    def end(self):
        self.process.terminate()
        self.process.wait()
        self.drain.wait()


def events(count):
    """Job returns as minions of a site send them."""
    for number in range(count):
        jid, minion = f"202611290801{number:08}", f"web{number % 300}.example.org"
        yield {"tag": f"salt/job/{jid}/ret/{minion}", "data": {
            "_stamp": "2026-11-29T08:01:00.123456+00:00", "cmd": "_return", "fun": "state.apply", "fun_args": ["web"],
            "id": minion, "jid": jid, "n": number, "retcode": 0, "success": True,
            "return": {"pkg_|-nginx_|-nginx_|-installed": {"changes": {}, "comment": "All packages are installed",
                                                           "duration": 12.3, "result": True}}}}


def until(what, is_so, seconds=900):
    deadline = time.monotonic() + seconds
    while not is_so():
        if time.monotonic() > deadline:
            sys.exit(f"{what}: still not so")
        time.sleep(0.05)


def written(arguments, directory):
    lines = directory / "events"
    with lines.open("w") as out:
        for event in events(arguments.events):
            out.write(json.dumps(event) + "\n")
    return lines


def show(results):
    for name, rows in results.items():
        print(f"{name:45} {sorted(rows)[len(rows) // 2]:10.0f} events/s   {[round(row) for row in rows]}")


def jetstream(arguments, directory):
    lines = written(arguments, directory)
    client = arguments.brine.parent / "jetstream"
    results = {}
    for nth in range(arguments.rounds):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        store = directory / f"nats{nth}"
        server = subprocess.Popen([ROOT / ".salt/nats/bin/nats-server", "-a", "127.0.0.1", "-p", str(port), "-js", "-sd",
                                   store], stderr=subprocess.DEVNULL)
        address = f"nats://127.0.0.1:{port}"
        until("up", lambda: socket.socket().connect_ex(("127.0.0.1", port)) == 0)
        for name, how in [("one client, data alone", "bare"), ("one client, the sink's headers too", "same")]:
            done = subprocess.run([client, address, lines, how], check=True, text=True, stdout=subprocess.PIPE)
            results.setdefault(name, []).append(float(done.stdout))
        place = pathlib.Path(tempfile.mkdtemp(dir=directory))
        bus = Bus(arguments.brine, place, f"type: nats, servers: '{address}'")
        until("connected", lambda: bus.sink()["state"] == "active")
        start = bus.fire_paused(lines, arguments.events)
        until("stored", lambda: bus.sink()["lag"] == 0)
        results.setdefault("the sink", []).append(arguments.events / (time.monotonic() - start))
        bus.end()
        server.terminate()
        server.wait()
    show(results)


def postgres(server):
    return f"type: postgres, host: {server.directory}, tables: [events], create_tables: true"


def rates(arguments, directory):
    lines = written(arguments, directory)
    salt = ROOT / ".salt/3008.3/bin/python"
    library = directory / "psycopg2"
    subprocess.run([salt, "-m", "pip", "install", "-q", "--target", library, "psycopg2-binary"], check=True)
    environment = {**os.environ, "PYTHONPATH": str(library), "PYTHONWARNINGS": "ignore"}
    server = Server(directory)

    def python(program, *words):
        server.sql(TABLES)
        done = subprocess.run([salt, "-c", program, str(server.directory), str(lines), *map(str, words)], check=True,
                              text=True, stdout=subprocess.PIPE, env=environment)
        return float(done.stdout)

    results = {}
    for _ in range(arguments.rounds):
        results.setdefault("COPY, 1,000 rows in a transaction", []).append(python(COPY, 1000))
        results.setdefault("Salt's pgjsonb, each event at once", []).append(
            python(SALT, 1, min(arguments.events, 2000)))
        results.setdefault("Salt's pgjsonb, event_return_queue: 1000", []).append(
            python(SALT, 1000, min(arguments.events, 20000)))
        place = pathlib.Path(tempfile.mkdtemp(dir=directory))
        server.sql(TABLES + "DROP TABLE IF EXISTS brine_sink;")
        bus = Bus(arguments.brine, place, postgres(server))
        until("connected", lambda: server.sql("SELECT to_regclass('brine_sink') IS NOT NULL") == "t")
        start = bus.fire_paused(lines, arguments.events)
        seq = "SELECT seq FROM brine_sink"
        until("stored", lambda: int(server.sql(seq)) >= arguments.events)
        results.setdefault("the sink", []).append(arguments.events / (time.monotonic() - start))
        assert int(server.sql("SELECT count(*) FROM salt_events")) == arguments.events
        bus.end()
    server.stop()
    show(results)


def endure(arguments, directory):
    server = Server(directory)
    bus = Bus(arguments.brine, directory, postgres(server))
    sender = subprocess.Popen([arguments.brine, "send", "--stdin", "--sock-dir", bus.sock_dir], stdin=subprocess.PIPE,
                              text=True)
    end = time.monotonic() + arguments.minutes * 60
    outage, number, start = max(arguments.minutes * 60 / 12, 5), 0, time.monotonic()
    next_trouble, troubles, down_until = start + outage, 0, None
    while time.monotonic() < end:
        due = int((time.monotonic() - start) * arguments.rate)
        for number in range(number, due):
            sender.stdin.write(json.dumps({"tag": "my/tag", "data": {"n": number}}) + "\n")
        number = max(number, due)
        sender.stdin.flush()
        now = time.monotonic()
        if down_until and now > down_until:
            server.start()
            down_until, next_trouble = None, now + outage
        elif not down_until and now > next_trouble:
            troubles += 1
            if troubles % 3 == 0:
                subprocess.Popen([BIN / "psql", "-X", "-q", "-U", "salt", "-d", "salt", "-h", str(server.directory), "-c",
                                  f"BEGIN; LOCK TABLE salt_events; SELECT pg_sleep({outage})"],
                                 stdout=subprocess.DEVNULL)
                next_trouble = now + 2 * outage
            else:
                (server.kill if troubles % 2 else server.stop)()
                down_until = now + outage
        time.sleep(0.01)
    sender.stdin.close()
    sender.wait()
    if down_until:
        server.start()
    check(bus, server, number, f"{arguments.minutes} min with {troubles} troubles of {outage:.0f} s")
    bus.end()
    server.stop()


def check(bus, server, number, what):
    """Waits until all is stored, and says what is."""
    end = time.monotonic()
    until("fired", lambda: bus.sink()["last_seq"] >= number)
    until("stored", lambda: bus.sink()["lag"] == 0)
    rows = server.sql("SELECT count(*), count(DISTINCT data->>'n'), bool_and((data->>'n')::int = nth) FROM (SELECT data, "
                      "row_number() OVER (ORDER BY id) - 1 AS nth FROM salt_events) AS numbered")
    sink = bus.sink()
    print(f"fired {number} in {what}; rows, different ones, in order: {rows}; failures {sink['failures']}, dead letters "
          f"{sink['dead']}; caught up {time.monotonic() - end:.1f} s after the end", flush=True)


class Latency:
    """A reader of the bus beside the sink: how long each event took from here to here, in phases."""

    def __init__(self, bus):
        self.phase, self.times = None, {}
        self.reader = subprocess.Popen(
            [bus.brine, "watch", "my/*", "-o", "ndjson", "--sock-dir", bus.sock_dir], stdout=subprocess.PIPE, text=True)
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        for line in self.reader.stdout:
            took = time.time() - json.loads(line)["data"]["t"]
            self.times.setdefault(self.phase, []).append(took)

    def say(self):
        self.reader.terminate()
        self.reader.wait()
        for phase, times in self.times.items():
            times.sort()
            p50, p99 = (times[int(len(times) * part)] * 1000 for part in (0.5, 0.99))
            print(f"{phase:30} {len(times):8} events to a reader of the bus: p50 {p50:6.2f} ms, p99 {p99:6.2f} ms, "
                  f"longest {times[-1] * 1000:.0f} ms", flush=True)


def outage(arguments, directory):
    server = Server(directory)
    bus = Bus(arguments.brine, directory, postgres(server))
    latency = Latency(bus)
    sender = subprocess.Popen([arguments.brine, "send", "--stdin", "--sock-dir", bus.sock_dir], stdin=subprocess.PIPE,
                              text=True)
    number = 0

    def fire(phase, seconds):
        nonlocal number
        latency.phase = phase
        start, before = time.monotonic(), number
        while time.monotonic() < start + seconds:
            due = before + int((time.monotonic() - start) * arguments.rate)
            for number in range(number, due):
                event = {"tag": "my/tag", "data": {"n": number, "t": time.time()}}
                sender.stdin.write(json.dumps(event) + "\n")
            number = max(number, due)
            sender.stdin.flush()
            time.sleep(0.005)

    beside = min(60, arguments.minutes * 60)
    fire("starting", 3)
    fire("the server is there", beside)
    server.stop()
    fire(f"stopped for {arguments.minutes} min", arguments.minutes * 60)
    waits = bus.sink()
    print(f"waiting for {waits['lag']} events: {waits['state']}", flush=True)
    server.start()
    fire("there again, catching up", beside)
    sender.stdin.close()
    sender.wait()
    check(bus, server, number, f"{arguments.minutes + 2 * beside / 60:.0f} min, stopped for {arguments.minutes} of them")
    latency.say()
    bus.end()
    server.stop()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["rates", "jetstream", "endure", "outage"])
    parser.add_argument("--brine", type=pathlib.Path, required=True)
    parser.add_argument("--events", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--rate", type=int, default=1000)
    arguments = parser.parse_args()
    arguments.brine = arguments.brine.resolve()
    with tempfile.TemporaryDirectory(prefix="sinks") as directory:
        {"rates": rates, "jetstream": jetstream, "endure": endure, "outage": outage}[arguments.what](arguments, pathlib.Path(directory))


if __name__ == "__main__":
    main()
