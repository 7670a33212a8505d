"""Events into a reactor of ten rules while its master is killed: each reaction ran once, or is listed as uncertain.

    python3 benches/reactor.py target/release/brine --rate 1000 --seconds 600 --kills 3 [--trouble]

Starts a master in a scratch directory. --trouble makes four of the rules a hanging, a broken, a self-triggering one and
one for nobody; the figures are those of the other six. Prints one JSON object and exits 1 if a reaction is missing or
was run twice.
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
        command = [self.program, *words, "-c", self.root]
        out = subprocess.run(command, capture_output=True, text=True).stdout
        lines = [json.loads(line) for line in out.splitlines() if line.startswith("{")]
        return [line for line in lines if "gap" not in line]

    def sender(self):
        command = [self.program, "send", "--stdin", "-t", "30", "-c", self.root]
        return subprocess.Popen(command, stdin=subprocess.PIPE, text=True, stderr=subprocess.DEVNULL)


def load(master, options):
    """Fires at the rate, and kills at even distances."""
    sender = master.sender()
    start, fired, killed = time.time(), 0, 0
    while (elapsed := time.time() - start) < options.seconds:
        if killed < options.kills and elapsed > options.seconds * (killed + 1) / (options.kills + 1):
            killed += 1
            sender.kill()
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
            sender = master.sender()
        time.sleep(0.01)
    sender.stdin.close()
    sender.wait()
    return fired


def settle(master, options):
    """Waits until no rule is behind."""
    deadline = time.time() + 300
    good = ["load/%d" % n for n in range(10) if not (options.trouble and n in TROUBLE)]
    while time.time() < deadline:
        rules = {rule["rule"]: rule for rule in master.lines("reactor", "ls", "--json")}
        if rules and all(rules[name]["behind"] < 100 and rules[name]["running"] == 0 for name in good):
            return good
        time.sleep(0.5)
    sys.exit("the reactor stays behind")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    parser.add_argument("--rate", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--kills", type=int, default=3)
    parser.add_argument("--trouble", action="store_true")
    options = parser.parse_args()
    root = tempfile.mkdtemp(prefix="b")
    master = Master(os.path.abspath(options.program), root, options.trouble)
    try:
        fired = load(master, options)
        good = settle(master, options)
        time.sleep(1)
        runs = master.lines("reactor", "history", "--json")
        master.process.terminate()
        master.process.wait()
        stored = master.lines("history", "load/*", "--seq", "-o", "ndjson")
        done = master.lines("history", "done/*", "-o", "ndjson")
    finally:
        master.process.kill()
        shutil.rmtree(root, ignore_errors=True)
    starts = collections.Counter(run["event"].split("-")[1] for run in runs if run["rule"] in good)
    outcomes = collections.Counter(run["outcome"] for run in runs if run["rule"] in good)
    events = [event["position"].split("-")[1] for event in stored if event["tag"] in good]
    times = collections.Counter(event["data"]["id"] for event in done)
    latencies = sorted(stamp(event) - float(event["data"]["at"]) for event in done)
    report = {
        "fired": fired,
        "stored": len(events),
        "missing": sum(1 for seq in events if not starts[seq]),
        "started_twice": sum(1 for count in starts.values() if count > 1),
        "done_twice": sum(1 for count in times.values() if count > 1),
        "outcomes": dict(outcomes),
        "p50_ms": round(1000 * latencies[len(latencies) // 2], 2),
        "p99_ms": round(1000 * latencies[int(len(latencies) * 0.99)], 2),
    }
    print(json.dumps(report))
    sys.exit(bool(report["missing"] or report["started_twice"] or report["done_twice"]))


def stamp(event):
    return datetime.datetime.fromisoformat(event["data"]["_stamp"]).timestamp()


main()
