"""Buses for the tests: Brine's own and real Salt's, each in a directory of its own."""

import os
import pathlib
import shutil
import socket
import subprocess
import sys
import tempfile
import time

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BRINE = os.environ["BRINE"]
SALT = ROOT / "crates/brine-testkit/python"


def wait_for(path):
    for _ in range(600):
        probe = socket.socket(socket.AF_UNIX)
        try:
            probe.connect(str(path))
            return
        except OSError:
            time.sleep(0.05)
        finally:
            probe.close()
    raise TimeoutError(path)


class RunningBus:
    def __init__(self, release, node="master", history=None):
        self.release = release
        self.node = node
        self.history = history
        self.sock_dir = tempfile.mkdtemp(prefix="brine-py-")
        self.start()

    def command(self):
        if self.release == "brine":
            identity = [] if self.node == "master" else ["--id", "bus"]
            keep = ["--history", str(self.history)] if self.history else []
            return [BRINE, "bus", "--sock-dir", self.sock_dir, "--node", self.node, *identity, *keep]
        python = ROOT / ".salt" / self.release / "bin/python"
        return [python, SALT / "bus.py", self.node, self.sock_dir, self.sock_dir, "{}"]

    def start(self):
        self.process = subprocess.Popen(
            self.command(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        name = "master_event" if self.node == "master" else "minion_event_" + digest("bus")
        for side in ("pub", "pull"):
            wait_for(pathlib.Path(self.sock_dir, f"{name}_{side}.ipc"))
        if self.release == "brine":
            own = "brine.sock" if self.node == "master" else f"{name}_brine.sock"
            wait_for(pathlib.Path(self.sock_dir, own))

    def stop(self):
        self.process.kill()
        self.process.wait()

    @property
    def opts(self):
        opts = {"sock_dir": self.sock_dir, "id": "bus"}
        if self.release == "3007.14":
            opts["brine"] = {"compat": self.release}
        return opts


def digest(name):
    import hashlib

    return hashlib.sha256(name.encode()).hexdigest()[:10]


def running(release, node="master"):
    if release != "brine" and not (ROOT / ".salt" / release).exists():
        pytest.skip(f"Salt {release} is not installed: cargo xtask salt {release}")
    bus = RunningBus(release, node)
    yield bus
    bus.stop()
    shutil.rmtree(bus.sock_dir, ignore_errors=True)


@pytest.fixture
def bus():
    yield from running("brine")


@pytest.fixture
def minion_bus():
    yield from running("brine", "minion")


@pytest.fixture(scope="session", params=["brine", "3006.28", "3007.14", "3008.3"])
def any_bus(request):
    yield from running(request.param)


@pytest.fixture(scope="session")
def sites():
    """Gives the site of a release, a running master and minion; each is started once."""
    from sites import Site

    started = {}

    def site(release):
        if release != "brine" and not (ROOT / ".salt" / release).exists():
            pytest.skip(f"Salt {release} is not installed: cargo xtask salt {release}")
        if release not in started:
            started[release] = Site(release)
        return started[release]

    yield site
    for one in started.values():
        one.stop()


@pytest.fixture
def brine_site(sites):
    return sites("brine")


@pytest.fixture(params=["3006.28", "3008.3"])
def salt_site(request, sites):
    return sites(request.param)


@pytest.fixture(params=["brine", "3006.28", "3008.3"])
def any_site(request, sites):
    return sites(request.param)


@pytest.fixture
def script(tmp_path):
    """Runs a Python program; its standard output."""

    def run(text, timeout=60, **kwargs):
        file = tmp_path / "script.py"
        file.write_text(text)
        done = subprocess.run(
            [sys.executable, file], capture_output=True, text=True, timeout=timeout, **kwargs
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run
