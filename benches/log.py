#!/usr/bin/env python3
"""The log on disk under what it is for: a burst, frozen readers, a full disk, and `kill -9` again and again.

    benches/log.py burst  --brine target/release/brine [--events 2000]
    benches/log.py frozen --brine target/release/brine [--minutes 10]
    benches/log.py full   --brine target/release/brine [--seconds 60]
    benches/log.py kills  --brine target/release/brine [--minutes 10]
    benches/log.py replay --brine target/release/brine [--events 1000000]

`burst`: events of 50 kB for three listeners of Salt's own library (3006.28 and 3008.3) that take 2 ms for each.
`frozen`: two buses get 2,000 events a second; 50 listeners of one of them read nothing for the whole time, while
`brine bench` measures what another listener waits, on both in turn. Then they all read what they have missed.
`full`: the disk of the history is full in the middle of a run and has room again later (needs root, for a tmpfs).
`kills`: the bus is killed every five seconds, while one client fires over `brine.sock` and counts what was
acknowledged as on disk, and another reads and resumes where it was. `replay`: stored job returns, none like another,
are read as JSON lines by curl over `brine.sock`, three times. Each prints one JSON object and exits 1 if a promise was
broken.
"""

import argparse
import collections
import http.client
import json
import pathlib
import selectors
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import zlib

import common
from common import accepts, until

LISTENER = """
import sys, time
import salt.utils.event
events = int(sys.argv[2])
bus = salt.utils.event.get_event("master", sock_dir=sys.argv[1], opts={"sock_dir": sys.argv[1], "transport": "zeromq",
    "ipc_mode": "ipc", "id": "bench", "__role": "master", "hash_type": "sha256"}, listen=True)
while bus.get_event(wait=5, tag="probe") is None:
    pass
print("ready", flush=True)
in_order = 0
for number in range(events):
    event = bus.get_event(wait=120, tag="load/")
    if event is None or event["n"] != number:
        break
    in_order += 1
    time.sleep(0.002)
print(in_order, flush=True)
"""


class Bus:
    """`brine bus` in a directory."""

    def __init__(self, brine, directory, *arguments):
        self.brine, self.directory, self.arguments = brine, directory, arguments
        directory.mkdir()
        self.sock_dir, self.log = directory / "s", directory / "log"
        self.pull, self.publish = (self.sock_dir / f"master_event_{side}.ipc" for side in ("pull", "pub"))
        (directory / "master").write_text(f"root_dir: {directory}\ncachedir: {directory}\n")
        self.start()

    def start(self):
        command = [self.brine, "bus", "--compat", "3008.3", "--sock-dir", self.sock_dir, "--config",
                   self.directory / "master", *self.arguments]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(command, stderr=log, stdout=log)
        until("the bus", lambda: accepts(self.sock_dir / "brine.sock") and accepts(self.publish))

    def kill(self):
        self.process.kill()
        self.process.wait()

    def end(self):
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait()

    def request(self, method, target, body=None):
        connection = Local(self.sock_dir / "brine.sock")
        connection.request(method, target, body)
        return connection.getresponse()

    def status(self):
        return json.loads(self.request("GET", "/status").read())

    def used(self):
        return common.used(self.process.pid)

    def said(self, what):
        return [line for line in self.log.read_text().splitlines() if what in line]


class Local(http.client.HTTPConnection):
    """A connection to `brine.sock`."""

    def __init__(self, path):
        super().__init__("x")
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(str(self.path))


def burst(options, root):
    bus = Bus(options.brine, root / "b", f"--also={root}/old=3006.28")
    before = bus.used()
    listeners = []
    for version, sock_dir in (("3006.28", root / "old"), ("3008.3", bus.sock_dir), ("3008.3", bus.sock_dir)):
        command = [common.salt(version, "python"), "-c", LISTENER, sock_dir, str(options.events)]
        listeners.append((version, subprocess.Popen(command, stdout=subprocess.PIPE, text=True,
                                                    env=common.salt_environment())))
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(str(bus.pull))
    try:
        for _, listener in listeners:
            ready = threading.Thread(target=listener.stdout.readline)
            ready.start()
            while ready.is_alive():
                connection.sendall(common.frame(0, 1, b"probe"))
                ready.join(0.2)
        begun = time.monotonic()
        for number in range(options.events):
            connection.sendall(common.frame(number, 50_000))
        fired = time.monotonic() - begun
        peak = 0
        while any(listener.poll() is None for _, listener in listeners):
            peak = max(peak, bus.used()["mib"])
            time.sleep(0.1)
        took = time.monotonic() - begun
        heard = [[version, int(listener.stdout.read())] for version, listener in listeners]
        after = bus.used()
    finally:
        for _, listener in listeners:
            listener.kill()
        bus.kill()
    report = {"what": "burst", "events": options.events, "fired_in_s": round(fired, 1), "read_in_s": round(took, 1),
              "heard_in_order": heard, "bus": after, "mib_idle": before["mib"]}
    return report, all(count == options.events for _, count in heard)


def frozen(options, root):
    buses = [Bus(options.brine, root / name) for name in ("with", "without")]
    prompt, other = (Reader(bus.publish) for bus in buses)
    stuck = [Reader(buses[0].publish) for _ in range(options.readers)]
    until("all listeners", lambda: len(buses[0].status()["bus"]["subscribers"]) == len(stuck) + 1)
    publishers = [common.start_publisher(bus.pull, 2000, 200) for bus in buses]
    end = threading.Event()
    reading = threading.Thread(target=read_all, args=([prompt, other], end.is_set))
    reading.start()
    latencies, memory = collections.defaultdict(list), []
    try:
        stop = time.monotonic() + options.minutes * 60
        while time.monotonic() < stop:
            for bus in buses:
                command = [options.brine, "bench", "--live", "--json", "--rate", "200", "--duration", "10",
                           "--sock-dir", bus.sock_dir]
                done = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
                latencies[bus.directory.name].append(done["latency"]["from_send"])
            memory.append(buses[0].used()["mib"])
        fired = [common.end_publisher(publisher) for publisher in publishers]
        total = buses[0].status()["bus"]["appended_events"]
        until("the prompt reader", prompt.is_silent)
        end.set()
        reading.join()
        woken = time.monotonic()
        read_all(stuck, lambda: all(reader.bytes >= prompt.bytes or reader.is_closed for reader in stuck))
        caught_up = time.monotonic() - woken
        after = buses[0].used()
        overflow = buses[0].status()["log"]
    finally:
        for publisher in publishers:
            publisher.kill()
        for bus in buses:
            bus.kill()
    same = sum(reader.bytes == prompt.bytes and reader.sum == prompt.sum for reader in stuck)
    report = {
        "what": "frozen", "minutes": options.minutes, "readers": len(stuck), "events": total, "bytes_each": prompt.bytes,
        "readers_that_read_the_same_bytes": same, "fired": fired, "caught_up_in_s": round(caught_up, 1),
        "bus_mib_while_frozen": [min(memory), max(memory)], "bus": after, "log": overflow,
        "latency_us": {side: {name: summary([one[f"{name}_ns"] / 1000 for one in runs]) for name in ("p50", "p99")}
                       for side, runs in latencies.items()},
    }
    return report, same == len(stuck)


def summary(figures):
    return {"median": statistics.median(figures), "least": min(figures), "most": max(figures), "runs": len(figures)}


class Reader:
    """A listener on the publish socket, which reads bytes."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(str(path))
        self.bytes, self.sum, self.is_closed, self.last = 0, 0, False, time.monotonic()

    def read(self, buffer):
        count = self.socket.recv_into(buffer)
        self.is_closed = count == 0
        self.bytes += count
        self.sum = zlib.crc32(memoryview(buffer)[:count], self.sum)
        self.last = time.monotonic()

    def is_silent(self):
        return time.monotonic() - self.last > 2


def read_all(readers, is_over):
    """Reads whatever comes on these connections."""
    buffer = bytearray(1 << 20)
    with selectors.DefaultSelector() as selector:
        for reader in readers:
            selector.register(reader.socket, selectors.EVENT_READ, reader)
        while not is_over():
            for key, _ in selector.select(0.1):
                key.data.read(buffer)
                if key.data.is_closed:
                    selector.unregister(key.fileobj)


def full(options, root):
    disk = root / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=48m", "tmpfs", disk], check=True)
    bus = Bus(options.brine, root / "b", "--history", disk / "h")
    try:
        reader = Resumer(bus)
        reader.start()
        publisher = common.start_publisher(bus.pull, 2000, 200)
        third = options.seconds / 3
        time.sleep(third)
        ballast = disk / "ballast"
        with ballast.open("wb") as out:
            try:
                while out.write(bytes(1 << 20)):
                    out.flush()
            except OSError:
                pass
        until("the history to be in trouble", lambda: bus.status()["history"]["trouble"] is not None)
        begun = time.monotonic()
        until("events to be given up", lambda: bus.status()["history"]["missing_events"] > 0)
        given_up = time.monotonic() - begun
        time.sleep(third)
        ballast.unlink()
        until("the history to go on", lambda: bus.status()["history"]["trouble"] is None)
        time.sleep(third)
        fired = common.end_publisher(publisher)
        taken = bus.status()["bus"]["appended_events"]
        until("the listener to have everything", lambda: len(reader.heard) >= taken, seconds=60)
        closed = bus.end()
        command = [options.brine, "history", "load/*", "--seq", "-o", "ndjson", "--history", disk / "h"]
        lines = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()
        verify = subprocess.run([options.brine, "log", "verify", "--history", disk / "h"], stdout=subprocess.PIPE)
        said = [line for line in bus.log.read_text().splitlines() if "WARN" in line or "ERROR" in line]
    finally:
        bus.kill()
        subprocess.run(["umount", "-l", disk])
    records = [json.loads(line) for line in lines]
    numbers = [record["data"]["n"] for record in records if "tag" in record]
    gaps = [record["gap"] for record in records if "gap" in record]
    missing = sum(gap["missed"] or 0 for gap in gaps)
    heard = reader.heard
    report = {"what": "full", **fired, "live_listener_heard": len(heard), "and_in_order": heard == list(range(taken)),
              "stored": len(numbers), "gaps": gaps,
              "in_order_and_once": all(one < two for one, two in zip(numbers, numbers[1:])),
              "given_up_after_s": round(given_up, 1), "ended_with": closed, "verified": verify.returncode,
              "said": len(said)}
    good = report["in_order_and_once"] and report["and_in_order"] and not closed
    good = good and len(numbers) + missing == fired["fired"] == len(heard)
    return report, good and verify.returncode == 0


class Firer(threading.Thread):
    """Fires numbered events over one streamed request, 5,000 a second, and keeps which were acknowledged."""

    def __init__(self, bus):
        super().__init__()
        self.bus, self.acknowledged, self.number, self.is_over = bus, [], 0, False

    def run(self):
        while not self.is_over:
            try:
                self.fire()
            except OSError:
                time.sleep(0.01)

    def fire(self):
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(str(self.bus.sock_dir / "brine.sock"))
        connection.sendall(b"POST /events HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n")
        first = self.number
        answers = threading.Thread(target=self.take_answers, args=(connection, first))
        answers.start()
        begun = time.monotonic()
        try:
            while not self.is_over:
                due = int((time.monotonic() - begun) * 5000) - (self.number - first)
                lines = b"".join(b'{"tag": "load/%d", "data": {"n": %d}}\n' % (n % 10, n)
                                 for n in range(self.number, self.number + due))
                self.number += due
                if lines:
                    connection.sendall(b"%x\r\n%s\r\n" % (len(lines), lines))
                time.sleep(0.01)
            connection.sendall(b"0\r\n\r\n")
        finally:
            # What was sent and is not answered may be there or not.
            answers.join(None if self.is_over else 5)
            connection.close()

    def take_answers(self, connection, number):
        rest = b""
        try:
            while data := connection.recv(1 << 16):
                *lines, rest = (rest + data).split(b"\n")
                for line in lines:
                    if line.startswith(b"{"):
                        if line.startswith(b'{"position"'):
                            self.acknowledged.append(number)
                        number += 1
                if b"0\r\n\r" in data:
                    return
        except OSError:
            pass


class Resumer(threading.Thread):
    """Reads everything, and goes on behind the last event after each end of the bus."""

    def __init__(self, bus):
        super().__init__(daemon=True)
        self.bus, self.position, self.heard, self.gaps = bus, "earliest", [], []

    def run(self):
        while True:
            try:
                answer = self.bus.request("GET", f"/events?from={self.position}")
                for line in answer:
                    record = json.loads(line)
                    if "gap" in record:
                        self.gaps.append(record["gap"])
                    elif "tag" in record:
                        self.position = record["position"]
                        self.heard.append(record["data"]["n"])
            except (OSError, ValueError, http.client.HTTPException):
                time.sleep(0.02)


def kills(options, root):
    history = root / "h"
    bus = Bus(options.brine, root / "b", "--history", history)
    firer, reader = Firer(bus), Resumer(bus)
    firer.start()
    reader.start()
    count, ready = 0, []
    try:
        stop = time.monotonic() + options.minutes * 60
        while time.monotonic() < stop:
            time.sleep(5)
            bus.kill()
            count += 1
            begun = time.monotonic()
            bus.start()
            ready.append(time.monotonic() - begun)
        firer.is_over = True
        firer.join()
        last = firer.acknowledged[-1]
        until("the reader", lambda: last in reader.heard[-20_000:])
        closed = bus.end()
    finally:
        firer.is_over = True
        bus.kill()
    command = [options.brine, "history", "load/*", "-o", "ndjson", "--history", history]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    stored = [json.loads(line)["data"]["n"] for line in lines if '"tag"' in line]
    acknowledged, heard = set(firer.acknowledged), reader.heard
    report = {
        "what": "kills", "minutes": options.minutes, "kills": count, "fired": firer.number,
        "acknowledged": len(acknowledged), "stored": len(stored), "acknowledged_and_lost": len(acknowledged - set(stored)),
        "stored_twice": len(stored) - len(set(stored)), "heard": len(heard), "heard_twice": len(heard) - len(set(heard)),
        "heard_in_order": heard == sorted(heard), "acknowledged_and_not_heard": len(acknowledged - set(heard)),
        "gaps_heard": len(reader.gaps), "events_that_gaps_count": sum(gap["missed"] or 0 for gap in reader.gaps),
        "reasons": collections.Counter(gap["reason"] for gap in reader.gaps),
        "ready_again_in_ms": round(1000 * statistics.median(ready)), "ended_with": closed,
    }
    broken = ["acknowledged_and_lost", "stored_twice", "heard_twice", "acknowledged_and_not_heard",
              "events_that_gaps_count", "ended_with"]
    return report, report["heard_in_order"] and not any(report[name] for name in broken)


def job_return(number):
    """The return of a job as it is on a large site: ids, jids, times and texts differ from event to event."""
    jid = f"20261130{120000 + number % 60:06d}{number * 7919 % 1_000_000:06d}"
    minion = f"web{number * 31 % 50_000:05d}.example.com"
    result = {"changes": {}, "comment": f"package nginx-{number * 104_729 % 1_000_000} is already installed",
              "duration": number * 17 % 900_000 / 1000, "result": True}
    data = {"cmd": "_return", "id": minion, "success": True, "return": result, "retcode": 0, "jid": jid,
            "fun": ("state.apply", "test.ping", "cmd.run", "pkg.upgrade", "grains.items")[number % 5],
            "fun_args": [f"arg{number}"], "user": "root", "_stamp": f"2026-11-30T12:00:00.{number % 1_000_000:06d}"}
    return {"tag": f"salt/job/{jid}/ret/{minion}", "data": data}


def replay(options, root):
    bus = Bus(options.brine, root / "b", "--history", root / "h")
    reads = []
    try:
        command = [options.brine, "send", "--stdin", "--ack", "--sock-dir", bus.sock_dir]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as sender:
            for number in range(options.events):
                sender.stdin.write(json.dumps(job_return(number)) + "\n")
            sender.stdin.close()
        url = "http://brine/events?from=earliest&follow=false"
        command = ["curl", "--silent", "--unix-socket", bus.sock_dir / "brine.sock", url]
        for _ in range(3):
            before, begun = bus.used()["processor_s"], time.monotonic()
            subprocess.run([*command, "-o", "/dev/null"], check=True)
            took = time.monotonic() - begun
            spent = bus.used()["processor_s"] - before
            reads.append({"events_per_s": round(options.events / took), "processor_us": round(1e6 * spent / options.events, 2)})
        with subprocess.Popen(command, stdout=subprocess.PIPE) as reader:
            lines = sum(1 for _ in reader.stdout)
    finally:
        bus.kill()
    return {"what": "replay", "events": options.events, "reads": reads, "lines": lines}, lines == options.events


RUNS = {"burst": burst, "frozen": frozen, "full": full, "kills": kills, "replay": replay}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=list(RUNS))
    parser.add_argument("--brine", type=pathlib.Path, required=True)
    parser.add_argument("--events", type=int, default=2000, help="replay: a million shows what a machine can do")
    parser.add_argument("--readers", type=int, default=50)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seconds", type=float, default=60)
    options = parser.parse_args()
    options.brine = options.brine.resolve()
    root = pathlib.Path(tempfile.mkdtemp(prefix="log"))
    try:
        report, is_good = RUNS[options.what](options, root)
    finally:
        shutil.rmtree(root, ignore_errors=True)
    print(json.dumps(report))
    sys.exit(not is_good)


if __name__ == "__main__":
    main()
