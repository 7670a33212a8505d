"""Generated sequences of calls, on Salt's library and on ours against the same bus."""

import ast
import os
import random
import subprocess
import sys
import time

import pytest
from conftest import ROOT, SALT

from brine.event import get_event

TAGS = ["a", "a/b", "a/b/c", "b", "salt/job/1/ret/m1", "salt/job/1/new", "x[1]", "é"]
PATTERNS = ["", "a", "a/", "b", "/c", "job", "salt/*/ret/*", "a|b", "x[[]1]", "é$", "a.b", "nothing"]
TYPES = [None, "startswith", "endswith", "find", "regex", "fnmatch"]
VALUES = [None, True, 0, -33, 2**64 - 1, 2**66, 1.5, "ü", b"\xff", [1, [2]], {"k": {1: b"v"}}]
SEQUENCES = int(os.environ.get("SEQUENCES", "150"))


class Salt:
    """Salt's library in a process of its own."""

    def __init__(self, release, bus):
        python = ROOT / ".salt" / release / "bin/python"
        self.process = subprocess.Popen(
            [python, SALT / "client.py", "master", bus.sock_dir, repr(bus.opts)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert "ready" in self.process.stdout.readline()

    def ask(self, call):
        self.process.stdin.write(call + "\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().rstrip("\n")

    def stop(self):
        self.process.kill()
        self.process.wait()


class Ours:
    def __init__(self, bus):
        self.bus = get_event("master", sock_dir=bus.sock_dir, opts=bus.opts)

    def ask(self, call):
        try:
            return f"= {eval(call, {'bus': self.bus})!r}"  # noqa: S307
        except Exception as error:  # noqa: BLE001
            return f"! {error!r}"


def sequence(random):
    """Calls for both; `FIRE` ones are made by a third client, so that both see the same stream."""
    calls = []
    for _ in range(random.randint(3, 12)):
        pattern, kind = random.choice(PATTERNS), random.choice(TYPES)
        options = f"tag={pattern!r}, match_type={kind!r}, full={random.random() < 0.7}"
        calls.append(
            random.choice(
                [
                    ("fire", random.choice(TAGS), random.choice(VALUES)),
                    ("fire", random.choice(TAGS), random.choice(VALUES)),
                    ("fire", random.choice(TAGS), random.choice(VALUES)),
                    ("ask", f"bus.get_event(wait=0.02, {options})"),
                    ("ask", f"bus.get_event(no_block=True, {options})"),
                    ("ask", f"bus.subscribe({pattern!r}, {kind!r})"),
                    ("ask", f"bus.unsubscribe({pattern!r}, {kind!r})"),
                    ("ask", "bus.get_event_noblock()"),
                    ("ask", "bus.fire_event({}, '')"),
                    ("ask", "bus.fire_event([], 'a')"),
                ]
            )
        )
    calls.append(("ask", "bus.get_event(wait=0.02, tag='', full=True)"))
    subscriptions = [call for kind, call, *_ in calls if kind == "ask" and ".subscribe" in call]
    return calls + [("ask", call.replace(".subscribe", ".unsubscribe")) for call in subscriptions]


def same(theirs, ours):
    if theirs == ours:
        return True
    # The same exception with the same text, or the same value printed.
    return theirs[:1] == ours[:1] == "=" and ast.literal_eval(theirs[2:]) == ast.literal_eval(ours[2:])


@pytest.mark.parametrize("release", ["3008.3"])
def test_salts_library_and_ours_answer_the_same(bus, release):
    if not (ROOT / ".salt" / release).exists():
        pytest.skip(f"Salt {release} is not installed")
    salt, ours = Salt(release, bus), Ours(bus)
    sender = get_event("master", sock_dir=bus.sock_dir, opts=bus.opts, listen=False)
    seed = int(os.environ.get("SEED", "20261124"))
    calls = answers = differences = 0
    try:
        for number in range(SEQUENCES):
            history = []
            for kind, *rest in sequence(random.Random(seed + number)):
                calls += 1
                if kind == "fire":
                    assert sender.fire_event({"v": rest[1]}, rest[0])
                    # A bus writes to one listener after the other; a call that does not wait
                    # must find the same with both.
                    time.sleep(0.01)
                    history.append(rest)
                    continue
                theirs, own = salt.ask(rest[0]), ours.ask(rest[0])
                history.append((rest[0], theirs, own))
                answers += "_stamp" in theirs
                if not same(theirs, own):
                    differences += 1
                    print(f"seed {seed + number}:", *history, sep="\n  ", file=sys.stderr)
                    break
            # Both start the next one with an empty stream.
            for library in (salt, ours):
                library.ask("bus.get_event(wait=0.05, tag='no such')")
    finally:
        salt.stop()
    print(f"{SEQUENCES} sequences, {calls} calls, {answers} events, {differences} differences")
    assert differences == 0
    assert answers > SEQUENCES // 2
