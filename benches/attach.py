#!/usr/bin/env python3
"""`brine attach` beside a whole salt-master that restarts under load: nothing is missed but what the log says may be.

    benches/attach.py --brine target/release/brine [--salt 3008.3] [--rate 5000] [--seconds 20] [--in-front]
                      [--library]

A real salt-master, with all its processes, gets numbered events at a steady rate on its pull socket. A listener in
Python hears them and never ends; it connects again when it has to. The master is restarted twice, once by SIGTERM and
once after `kill -9` of all its processes. What the listener heard and the history of attach does not have must lie in
a recorded gap. Prints one JSON object, and exits 1 if that is not so, or if the history has an
event twice or out of order. Needs the environment .salt/VERSION (`cargo xtask salt VERSION`).
"""

import argparse
import datetime
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import common
from common import accepts, free_port, in_scratch, kill_group, until

LIBRARY = """
import sys
import salt.config, salt.utils.event
opts = salt.config.client_config(sys.argv[1])
bus = salt.utils.event.get_event("master", opts=opts, listen=True)
with open(sys.argv[2], "w") as out:
    while True:
        try:
            event = bus.get_event(wait=1, tag="load/", full=True)
        except Exception as error:
            out.write("error %r\\n" % (error,))
            continue
        if event is None:
            continue
        if event["tag"] == "load/event":
            out.write("%d %s\\n" % (event["data"]["n"], event["data"]["_stamp"]))
        elif event["tag"] == "load/probe":
            out.write("ready\\n")
            out.flush()
        elif event["tag"] == "load/end":
            break
"""
PLAIN = """
import re, socket, struct, sys, time
import msgpack
path, prefixed = sys.argv[3], sys.argv[4] == "3006.28"
wanted = re.compile(rb"load/event\\n\\n.*?\\xa1n\\xce(....)\\xa6_stamp.(.{26})", re.DOTALL)

def bodies(rest):
    if not prefixed:
        unpacker = msgpack.Unpacker(raw=True, max_buffer_size=0)
        while True:
            unpacker.feed((yield))
            for frame in unpacker:
                yield frame[b"body"]
    while True:
        rest += (yield)
        while len(rest) >= 4 and len(rest) >= 4 + (size := struct.unpack(">I", rest[:4])[0]):
            yield msgpack.unpackb(rest[4:4 + size], raw=True)[b"body"]
            rest = rest[4 + size:]

with open(sys.argv[2], "w") as out:
    over = False
    while not over:
        bus = socket.socket(socket.AF_UNIX)
        try:
            bus.connect(path)
            reader = bodies(b"")
            next(reader)
            while not over and (data := bus.recv(1 << 16)):
                body = reader.send(data)
                while body is not None:
                    if found := wanted.match(body):
                        out.write("%d %s\\n" % (struct.unpack(">I", found[1])[0], found[2].decode()))
                    elif body.startswith(b"load/probe"):
                        out.write("ready\\n")
                        out.flush()
                    over = over or body.startswith(b"load/end")
                    body = next(reader)
        except OSError:
            pass
        time.sleep(0.002)
"""


def moment(text):
    parsed = datetime.datetime.fromisoformat(text)
    return parsed if parsed.tzinfo else parsed.replace(tzinfo=datetime.timezone.utc)


class Site:
    """A directory with the configuration of a whole master, and what runs there."""

    def __init__(self, options, root):
        self.options, self.root, self.running = options, root, []
        self.environment = common.salt_environment()
        (root / "master").write_text(
            f"root_dir: {root}\npki_dir: {root}/pki\ncachedir: {root}/cache\nsock_dir: {root}/s\n"
            f"interface: 127.0.0.1\nret_port: {free_port()}\npublish_port: {free_port()}\nworker_threads: 2\n"
            f"log_file: {root}/log\nuser: root\n")

    def salt(self, name):
        return common.salt(self.options.salt, name)

    def spawn(self, name, command, **more):
        log = (self.root / f"{name}.log").open("ab")
        process = subprocess.Popen(command, stderr=log, env=self.environment, start_new_session=True, **more)
        self.keep(process)
        return process

    def keep(self, process):
        self.running.append(process)
        if self.options.nice:
            pathlib.Path(f"/proc/{process.pid}/autogroup").write_text(str(self.options.nice))

    def start_master(self):
        self.master = self.spawn("master", [self.salt("salt-master"), "-c", self.root],
                                 stdout=subprocess.DEVNULL)
        until("the master's bus", lambda: accepts(self.root / "s/master_event_pull.ipc"))

    def restart_master(self, how):
        kill_group(self.master, how)
        self.master.wait()
        kill_group(self.master, signal.SIGKILL)
        self.start_master()

    def attach(self):
        command = [self.options.brine, "attach", "-c", self.root, "--history", self.root / "h"]
        command += ["--in-front"] * self.options.in_front
        self.attached = self.spawn("attach", command)
        self.has_joined(1)

    def has_joined(self, times):
        what = "in front: " if self.options.in_front else "joined the bus"
        until("attach beside the bus", lambda: (self.root / "attach.log").read_text().count(what) >= times)

    def fire(self, tag):
        command = [self.options.brine, "send", tag, "x=1", "-c", self.root, "--compat", self.options.salt]
        subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def stored(self, tag):
        command = [self.options.brine, "history", tag, "-o", "ndjson", "--history", self.root / "h"]
        lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
        return [event["data"] for event in map(json.loads, lines) if "tag" in event]

    def end(self):
        for process in self.running:
            kill_group(process, signal.SIGKILL)
            process.wait()


def run(options, root):
    site = Site(options, root)
    try:
        site.start_master()
        site.attach()
        heard_file = root / "heard"
        listener = site.spawn("listener", [site.salt("python"), "-c", LIBRARY if options.library else PLAIN,
                                           root / "master", heard_file, root / "s/master_event_pub.ipc", options.salt])

        def is_ready():
            site.fire("load/probe")
            return heard_file.exists() and "ready" in heard_file.read_text()

        until("the listener", is_ready)
        publisher = common.start_publisher(root / "s/master_event_pull.ipc", options.rate)
        site.keep(publisher)
        for restart, how in enumerate([signal.SIGTERM, signal.SIGKILL], 2):
            time.sleep(options.seconds)
            site.restart_master(how)
            site.has_joined(restart)
        time.sleep(options.seconds)
        fired = common.end_publisher(publisher)

        def is_over():
            site.fire("load/end")
            time.sleep(0.2)
            return listener.poll() is not None

        until("the listener to end", is_over)
        used = common.used(site.attached.pid)
        os.kill(site.attached.pid, signal.SIGTERM)
        if site.attached.wait():
            sys.exit((root / "attach.log").read_text())
        lines = [line.split() for line in heard_file.read_text().splitlines()]
        heard = {int(n): moment(stamp) for n, stamp in (line for line in lines if line[0].isdigit())}
        stored = [data["n"] for data in site.stored("load/event")]
        gaps = [(moment(gap["from"]), moment(gap["to"]), gap["reason"]) for gap in site.stored("brine/gap")]
    finally:
        site.end()
    missed = heard.keys() - set(stored)
    unsaid = [n for n in missed if not any(begin <= heard[n] <= end for begin, end, _ in gaps)]
    report = {
        "salt": options.salt, "listener": "library" if options.library else "plain", "in_front": options.in_front, **fired, "heard": len(heard), "stored": len(stored), "heard_and_in_a_gap": len(missed) - len(unsaid),
        "missed_without_a_word": len(unsaid), "stored_and_not_heard": len(set(stored) - heard.keys()),
        "in_order_and_once": all(one < following for one, following in zip(stored, stored[1:])),
        "gaps": [[reason, round((end - begin).total_seconds(), 2)] for begin, end, reason in gaps],
        "listener_errors": sum(line[0] == "error" for line in lines),
        "attach": used,
    }
    print(json.dumps(report))
    return bool(unsaid) or not report["in_order_and_once"] or len(gaps) != 2


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--brine", type=pathlib.Path, required=True)
    parser.add_argument("--salt", default="3008.3", help="a release in .salt")
    parser.add_argument("--rate", type=int, default=5000, help="events a second")
    parser.add_argument("--seconds", type=float, default=20, help="before, between and after the restarts")
    parser.add_argument("--library", action="store_true", help="listen by Salt's library, which takes a processor")
    parser.add_argument("--in-front", action="store_true")
    parser.add_argument("--nice", type=int, help="of everything here, where other programs use the processors (root)")
    parser.add_argument("--keep", action="store_true", help="leave the directory")
    options = parser.parse_args()
    options.brine = options.brine.resolve()
    sys.exit(in_scratch("attach", options.keep, lambda root: run(options, root)))


if __name__ == "__main__":
    main()
