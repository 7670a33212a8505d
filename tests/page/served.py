"""A running Brine with its HTTP API, in a directory of its own, and ways to put events on its bus."""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

BRINE = os.environ["BRINE"]
SOON = 120  # much longer than anything takes on a busy machine
USER, PASSWORD, EAUTH = "fred", "secret", "sharedsecret"


class Served:
    """A master with the API. `history` decides whether it remembers anything over a restart."""

    def __init__(self, directory: Path, history: bool = True):
        self.directory = directory
        self.history = history
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.sock = directory / "sock" / "master" / "brine.sock"
        self.process = None

    def start(self):
        if not self.directory.exists():
            self.directory.mkdir()
            (self.directory / "master").write_text(json.dumps(self.configuration()))
        self.log = open(self.directory / "log", "ab")
        command = [BRINE, "salt-master", "-c", str(self.directory), "-l", "info"]
        self.process = subprocess.Popen(command, stdout=self.log, stderr=self.log)
        self.wait()
        return self

    def configuration(self):
        return {
            "root_dir": str(self.directory),
            "sock_dir": "/sock/master",  # below root_dir
            "interface": "127.0.0.1",
            "publish_port": free_port(),
            "ret_port": free_port(),
            "default_include": "none",
            "sharedsecret": PASSWORD,
            "external_auth": {EAUTH: {USER: [".*", "@jobs", "@runner", "@wheel"]}},
            "netapi_enable_clients": ["local", "local_async", "runner", "wheel"],
            "reactor": [{"no/such/tag": []}],  # one rule, so that its metrics are there
            "rest_cherrypy": {"host": "127.0.0.1", "port": self.port, "disable_ssl": True, "debug": True},
            "brine": {"api": {"in_master": True}, "history": self.history, "sinks": self.sinks()},
        }

    def sinks(self):
        """One, so that its metrics are there; it needs a history."""
        return {"lines": {"type": "file", "path": str(self.directory / "events")}} if self.history else {}

    def wait(self):
        end = time.monotonic() + SOON
        while True:
            try:
                urllib.request.urlopen(f"{self.url}/readyz", timeout=5).read()
                return
            except OSError:
                if time.monotonic() > end or self.process.poll() is not None:
                    raise RuntimeError((self.directory / "log").read_text()) from None
                time.sleep(0.05)

    def stop(self):
        if self.process:
            self.process.terminate()
            self.process.wait(SOON)
            self.process = None
            self.log.close()

    def kill(self):
        """Ends it as a crash does, once its events are on the disk."""
        self.fire_durably("kill/soon")
        self.process.kill()
        self.process.wait(SOON)
        self.process = None
        self.log.close()

    def fire_durably(self, tag):
        with Local(self.sock) as local:
            answer = local.request("POST", "/events", (json.dumps({"tag": tag, "data": {}}) + "\n").encode())
        assert b"position" in answer, answer[:500]

    def log_in(self):
        """The token of a new session."""
        body = json.dumps({"username": USER, "password": PASSWORD, "eauth": EAUTH}).encode()
        request = urllib.request.Request(f"{self.url}/login", body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=SOON) as answer:
            return json.load(answer)["return"][0]["token"]

    def fire(self, *events):
        """Puts (tag, data) on the bus; they can be read afterwards."""
        lines = "".join(json.dumps({"tag": tag, "data": data}) + "\n" for tag, data in events)
        body = lines.encode()
        with Local(self.sock) as local:
            answer = local.request("POST", "/events?durable=false", body)
        assert answer.count(b"position") == len(events), answer[:500]

    def read(self, path):
        """The events of a stream that ends, over the network."""
        headers = {"X-Auth-Token": self.log_in(), "Accept": "application/x-ndjson"}
        request = urllib.request.Request(f"{self.url}{path}&follow=false", headers=headers)
        with urllib.request.urlopen(request, timeout=SOON) as answer:
            return [json.loads(line) for line in answer]

    def get(self, path):
        """An answer of the local socket."""
        with Local(self.sock) as local:
            return local.request("GET", path)


class Local:
    """A connection to brine.sock."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(SOON)
        self.socket.connect(str(path))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def request(self, method, path, body=b""):
        head = f"{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {len(body)}\r\n"
        head += "content-type: application/x-ndjson\r\n\r\n"
        self.socket.sendall(head.encode() + body)
        answer = b""
        while piece := self.socket.recv(1 << 16):
            answer += piece
        head, _, body = answer.partition(b"\r\n\r\n")
        assert b" 200 " in head.split(b"\r\n")[0], answer[:500]
        return body


class Flood:
    """Fires events at a rate for a time, from a thread of its own process, and counts them."""

    def __init__(self, served, rate, seconds):
        self.process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("flood.py")), str(served.sock), str(rate), str(seconds)],
            stdout=subprocess.PIPE,
            text=True,
        )

    def wait(self):
        """How many were fired."""
        out, _ = self.process.communicate(timeout=300)
        return int(out)


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]
