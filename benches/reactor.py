"""Events into a reactor of ten rules while its master is killed: each reaction ran once, or is listed as uncertain.

    python3 benches/reactor.py target/release/brine --rate 1000 --seconds 600 --kills 3
    python3 benches/reactor.py target/release/brine --rate 500 --seconds 30 --kills 0 --rounds 3

Starts a master in a scratch directory. --trouble makes four of the rules a hanging, a broken, a self-triggering one and
one for nobody; times are always those of the other six. --rounds runs without and with them in turn. Prints one JSON
object a run, and exits 1 if a reaction is missing, was run twice, or is done on record while what it fired is gone.
"""
import argparse
import collections
import datetime
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

DONE = "x:\n  runner.event.send:\n    - tag: done/{n}\n    - data: {{id: {{{{ data.id }}}}, at: '{{{{ data.at }}}}'}}\n"
TROUBLE = {
    6: "x:\n  runner.manage.up:\n    - timeout: 600\n    - gather_job_timeout: 600\n",
    7: "x:\n  runner.event.send:\n    - tag: {{ data.nope }}\n",
    8: "x:\n  runner.event.send:\n    - tag: load/8\n    - data: {id: -1, at: '0'}\n",
    9: "x:\n  local.test.ping:\n    - tgt: nobody\n",
}


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


class Master:
    def __init__(self, program, root, trouble):
        self.program, self.root = program, root
        rules = []
        for n in range(10):
            file = os.path.join(root, "%d.sls" % n)
            with open(file, "w") as out:
                out.write(TROUBLE[n] if trouble and n in TROUBLE else DONE.format(n=n))
            rules.append("  - load/%d: %s\n" % (n, file))
        with open(os.path.join(root, "master"), "w") as out:
            out.write(
                "root_dir: {0}\nsock_dir: {0}/s\ncachedir: {0}/c\npki_dir: {0}/p\ninterface: 127.0.0.1\ntransport: tcp\n"
                "ret_port: {1}\npublish_port: {2}\nlog_level_logfile: quiet\nreactor:\n{3}brine: {{reactor: {{rate: 500}}}}\n".format(
                    root, free_port(), free_port(), "".join(rules)
                )
            )
        self.start()

    def start(self):
        log = open(os.path.join(self.root, "log"), "a")
        self.process = subprocess.Popen([self.program, "salt-master", "-c", self.root], stdout=log, stderr=log)
        while True:
            with socket.socket(socket.AF_UNIX) as one:
                try:
                    one.connect(os.path.join(self.root, "s", "master_event_pull.ipc"))
                    return
                except OSError:
                    time.sleep(0.02)

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def lines(self, *words):
        """One at a time: a long run has millions."""
        command = [self.program, *words, "-c", self.root]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
            for line in process.stdout:
                if line.startswith("{") and "gap" not in (line := json.loads(line)):
                    yield line

    def sender(self):
        command = [self.program, "send", "--stdin", "-t", "30", "-c", self.root]
        return subprocess.Popen(command, stdin=subprocess.PIPE, text=True, stderr=subprocess.DEVNULL)


class Record:
    """The reactor's record, read so often that nothing leaves it unseen: it is bounded, and a long run is not."""

    def __init__(self, master):
        self.master, self.runs = master, {}
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self.follow)
        self.thread.start()

    def follow(self):
        while not self.ended.wait(30):
            self.read()

    def read(self):
        for run in self.master.lines("reactor", "history", "--json"):
            self.runs[run["number"]] = (run["rule"], int(run["event"].split("-")[1]), run["outcome"])

    def whole(self):
        self.ended.set()
        self.thread.join()
        self.read()
        return list(self.runs.values())


def load(master, options):
    """Fires at the rate, and kills at even distances."""
    sender = master.sender()
    start, fired, killed = time.time(), 0, 0
    while (elapsed := time.time() - start) < options.seconds:
        if killed < options.kills and elapsed > options.seconds * (killed + 1) / (options.kills + 1):
            killed += 1
            sender.kill()
            sender.wait()
            master.kill()
            master.start()
            sender = master.sender()
        now = time.time()
        try:
            while fired < elapsed * options.rate:
                data = {"id": fired, "at": repr(now)}
                sender.stdin.write(json.dumps({"tag": "load/%d" % (fired % 10), "data": data}) + "\n")
                fired += 1
            sender.stdin.flush()
        except BrokenPipeError:
            sender.wait()
            sender = master.sender()
        time.sleep(0.01)
    sender.stdin.close()
    sender.wait()
    return fired


def settle(master, trouble, good):
    """Waits until no rule is behind, twice; a question moves the end on, and a rule that triggers itself does."""
    deadline = time.time() + 300
    enough, settled = (2000 if trouble else 100), 0
    while time.time() < deadline:
        rules = {rule["rule"]: rule for rule in master.lines("reactor", "ls", "--json")}
        is_settled = rules and all(rules[name]["behind"] < enough and rules[name]["running"] == 0 for name in good)
        settled = settled + 1 if is_settled else 0
        if settled == 3:
            return list(rules.values())
        time.sleep(1)
    sys.exit("the reactor stays behind")


def measure(options, trouble):
    root = tempfile.mkdtemp(prefix="b")
    master = Master(os.path.abspath(options.program), root, trouble)
    record = Record(master)
    try:
        good = ["load/%d" % n for n in range(10) if not (trouble and n in TROUBLE)]
        fired = load(master, options)
        rules = settle(master, trouble, good)
        runs = [run for run in record.whole() if run[0] in good]
        master.process.terminate()
        master.process.wait()
        stored = master.lines("history", "load/*", "--seq", "-o", "ndjson")
        stored = (event for event in stored if event["tag"] in good)
        events = {int(event["position"].split("-")[1]): event["data"]["id"] for event in stored}
        sound = {"done/%d" % n for n in range(10) if n not in TROUBLE}
        times, latencies = collections.Counter(), []
        for event in master.lines("history", "done/*", "-o", "ndjson"):
            times[event["data"]["id"]] += 1
            if event["tag"] in sound:
                latencies.append(stamp(event) - float(event["data"]["at"]))
    finally:
        record.ended.set()
        master.process.kill()
        shutil.rmtree(root, ignore_errors=True)
    starts = collections.Counter(seq for _, seq, _ in runs)
    # What the record calls done has left its event in the history.
    done = [seq for _, seq, outcome in runs if outcome == "done"]
    latencies.sort()
    return {
        "trouble": trouble,
        "fired": fired,
        "stored": len(events),
        "missing": sum(1 for seq in events if not starts[seq]),
        "done_and_lost": sum(1 for seq in done if seq in events and not times[events[seq]]),
        "started_twice": sum(1 for count in starts.values() if count > 1),
        "done_twice": sum(1 for count in times.values() if count > 1),
        "outcomes": dict(collections.Counter(outcome for _, _, outcome in runs)),
        "counted": {key: sum(rule[key] for rule in rules if rule["rule"] in good) for key in ("done", "failed", "uncertain")},
        "p50_ms": round(1000 * latencies[len(latencies) // 2], 2),
        "p99_ms": round(1000 * latencies[int(len(latencies) * 0.99)], 2),
    }


def stamp(event):
    return datetime.datetime.fromisoformat(event["data"]["_stamp"]).replace(tzinfo=datetime.timezone.utc).timestamp()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    parser.add_argument("--rate", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--kills", type=int, default=3)
    parser.add_argument("--trouble", action="store_true")
    parser.add_argument("--rounds", type=int)
    options = parser.parse_args()
    runs = [False, True] * options.rounds if options.rounds else [options.trouble]
    is_wrong = False
    for trouble in runs:
        report = measure(options, trouble)
        print(json.dumps(report), flush=True)
        is_wrong |= any(report[key] for key in ("missing", "done_and_lost", "started_twice", "done_twice"))
    sys.exit(is_wrong)


main()
