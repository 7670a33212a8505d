#!/usr/bin/env python3
"""Minions of Brine whose master is away: everything arrives once and in order when it is back, whoever was killed.

    benches/away.py --brine target/release/brine [--minutes 60] [--minions 1000] [--killed 20] [--events 100]

Every minion is a process of its own with a bus, a spool and connections of its own; they share one RSA key, since
making a thousand takes long. All connect, then the master is killed. While it is away, in real time, programs on the
minions fire numbered events for it (`fire_master` on the minion's pull socket), and some minions are killed with
`kill -9` again and again, each time when their spool has what was fired. Then the master is started; while it takes
what waited, the same minions are killed twice more, and so is the master. Prints one JSON object, and exits 1 if an
event was lost, came twice or out of order.
"""

import argparse
import collections
import hashlib
import json
import pathlib
import random
import shutil
import socket
import subprocess
import sys
import time

from common import accepts, free_port, in_scratch, until

EVENT, LAST = "away/event", "away/last"


def pack(value):
    """msgpack of what is fired here."""
    if value is None:
        return b"\xc0"
    if isinstance(value, int):
        return bytes([value]) if value < 128 else b"\xcd" + value.to_bytes(2, "big")
    if isinstance(value, str):
        return bytes([0xA0 | len(value)]) + value.encode()
    if isinstance(value, bytes):
        return b"\xc5" + len(value).to_bytes(2, "big") + value
    return bytes([0x80 | len(value)]) + b"".join(pack(key) + pack(one) for key, one in value.items())


class Node:
    """A daemon of Brine in a directory with its configuration."""

    def __init__(self, brine, name, directory, options):
        self.brine, self.name, self.directory, self.process = brine, name, directory, None
        directory.mkdir(exist_ok=True)
        own = {"root_dir": directory, "sock_dir": directory / "s", "cachedir": directory / "c", "log_level": "error",
               "pki_dir": directory / "p", "log_level_logfile": "quiet", **options}
        text = "".join(f"{key}: {value}\n" for key, value in own.items())
        (directory / name.removeprefix("salt-")).write_text(text)

    def start(self):
        with (self.directory / "log").open("ab") as log:
            self.process = subprocess.Popen([self.brine, self.name, "-c", self.directory], stdout=log, stderr=log,
                                            stdin=subprocess.DEVNULL)

    def kill(self):
        if self.process:
            self.process.kill()
            self.process.wait()


class Master(Node):
    def __init__(self, brine, directory, ports, transport):
        super().__init__(brine, "salt-master", directory, {
            "interface": "127.0.0.1", "ret_port": ports[0], "publish_port": ports[1], "auto_accept": True,
            "transport": transport})

    def start(self):
        super().start()
        until("the master's bus", lambda: accepts(self.directory / "s/master_event_pub.ipc"))

    def connected(self):
        accepted = self.directory / "p/minions"
        return len(list(accepted.iterdir())) if accepted.exists() else 0

    def stored(self, tag):
        """The minion and the number of every event with this tag, in the order of the history."""
        command = [self.brine, "history", tag, "-o", "ndjson", "-c", self.directory]
        lines = subprocess.run(command, capture_output=True, text=True).stdout.splitlines()
        events = [json.loads(line) for line in lines]
        return [(event["data"]["id"], event["data"]["data"]["n"]) for event in events if "tag" in event]


class Minion(Node):
    def __init__(self, brine, directory, identity, port, transport):
        super().__init__(brine, "salt-minion", directory, {
            "id": identity, "master": "127.0.0.1", "master_port": port, "transport": transport})
        self.identity, self.fired, self.kills = identity, 0, 0
        digest = hashlib.sha256(identity.encode()).hexdigest()[:10]
        self.pull = directory / f"s/minion_event_{digest}_pull.ipc"

    def ready(self):
        until(f"the bus of {self.identity}", lambda: accepts(self.pull))

    def fire(self, tag, count):
        out = b""
        for _ in range(count):
            load = {"tag": tag, "data": {"n": self.fired}, "events": None, "pretag": None}
            out += pack({"head": {}, "body": b"fire_master\n\n" + pack(load)})
            self.fired += 1
        with socket.socket(socket.AF_UNIX) as one:
            one.connect(str(self.pull))
            one.sendall(out)

    def has_spooled(self):
        """Whether the last event fired is in the spool, which is when a kill must lose none of them."""
        wanted = pack({"n": self.fired - 1})
        segments = sorted((self.directory / "c/spool/master").glob("*.spool"))
        try:
            return any(wanted in segment.read_bytes() for segment in reversed(segments))
        except FileNotFoundError:
            return False

    def kill_and_start(self):
        self.kill()
        self.kills += 1
        self.start()
        self.ready()


def spend_away(options, minions, chosen):
    """Fires all events in rounds, and kills the chosen minions after each."""
    began, rounds = time.monotonic(), min(options.rounds, options.events)
    for number in range(rounds):
        due = options.events * (number + 1) // rounds
        for minion in minions:
            minion.fire(EVENT, due - minion.fired)
        for minion in chosen:
            until(f"the spool of {minion.identity}", minion.has_spooled)
            minion.kill_and_start()
        ends = began + options.minutes * 60 * (number + 1) / rounds
        time.sleep(max(0, ends - time.monotonic()))
    for minion in minions:
        until(f"the spool of {minion.identity}", minion.has_spooled)
    return time.monotonic() - began


def drain(options, master, minions, chosen):
    """Starts the master, kills the chosen and the master while it takes what waits, and waits for the last event."""
    total, began = options.events * len(minions), time.monotonic()
    master.start()
    for part in (0.1, 0.5):
        until("a part of the events", lambda: len(master.stored(EVENT)) >= total * part, pause=0.2)
        for minion in chosen:
            minion.kill_and_start()
        if part == 0.1:
            master.kill()
            master.start()
    until("all events", lambda: len(set(master.stored(EVENT))) >= total, seconds=1800, pause=0.5)
    took = time.monotonic() - began
    # Nothing overtakes another: what comes twice has come when these are there.
    for minion in minions:
        minion.fire(LAST, 1)
    until("the last events", lambda: len(set(master.stored(LAST))) >= len(minions), seconds=1800, pause=0.5)
    return took


def count(options, stored, minions):
    of = collections.defaultdict(list)
    for identity, number in stored:
        of[identity].append(number)
    numbers = {minion.identity: of[minion.identity] for minion in minions}
    return {
        "expected": options.events * len(minions),
        "arrived": len(stored),
        "lost": sum(len(set(range(options.events)) - set(some)) for some in numbers.values()),
        "twice": sum(len(some) - len(set(some)) for some in numbers.values()),
        "minions_out_of_order": sum(some != sorted(some) for some in numbers.values()),
    }


def run(options, root):
    began, ports = time.monotonic(), (free_port(), free_port())
    random.seed(options.minions)
    master = Master(options.brine, root / "m", ports, options.transport)
    minions = [Minion(options.brine, root / f"n{n}", f"n{n}", ports[0], options.transport)
               for n in range(options.minions)]
    chosen = random.sample(minions, options.killed)
    try:
        master.start()
        for number, minion in enumerate(minions):
            if number:
                shutil.copytree(minions[0].directory / "p", minion.directory / "p",
                                ignore=shutil.ignore_patterns("*master*"))
            minion.start()
            if number % 20 == 0:
                minion.ready()
        until("all minions at the master", lambda: master.connected() == len(minions))
        for minion in minions:
            minion.ready()
        master.kill()
        started = time.monotonic() - began
        print(f"{len(minions)} minions were at their master after {started:.0f} s; it is away now", file=sys.stderr)
        away = spend_away(options, minions, chosen)
        print(f"{options.events * len(minions)} events are in the spools; the master comes back", file=sys.stderr)
        took = drain(options, master, minions, chosen)
        report = {"minutes_away": round(away / 60, 2), "minions": len(minions), "minions_killed": len(chosen),
                  "kills": sum(minion.kills for minion in minions), "transport": options.transport,
                  **count(options, master.stored(EVENT), minions), "drained_in_s": round(took, 1)}
    finally:
        for node in [*minions, master]:
            node.kill()
    print(json.dumps(report))
    return bool(report["lost"] or report["twice"] or report["minions_out_of_order"])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--brine", type=pathlib.Path, required=True)
    parser.add_argument("--minutes", type=float, default=60, help="how long the master is away")
    parser.add_argument("--minions", type=int, default=1000)
    parser.add_argument("--killed", type=int, default=20, help="how many of them are killed in every round")
    parser.add_argument("--events", type=int, default=100, help="for each minion")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--transport", choices=["zeromq", "tcp"], default="zeromq")
    parser.add_argument("--keep", action="store_true", help="leave the directory")
    options = parser.parse_args()
    options.brine = options.brine.resolve()
    sys.exit(in_scratch("away", options.keep, lambda root: run(options, root)))


if __name__ == "__main__":
    main()
