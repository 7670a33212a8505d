"""Generated sequences of calls, on Salt's library and on ours against the same bus.

A third client fires, so that both see the same stream. `SEQUENCES` says how many (the full run is
`SEQUENCES=5000`), `SEED` where to begin. How many calls of which kind were compared is printed.
"""

import ast
import collections
import os
import random
import subprocess
import sys
import time

import pytest
from conftest import ROOT, SALT, running

from brine.event import get_event

TAGS = ["a", "a/b", "a/b/c", "b", "salt/job/1/ret/m1", "salt/job/1/new", "x[1]", "é"]
PATTERNS = ["", "a", "a/", "b", "/c", "job", "salt/*/ret/*", "a|b", "x[[]1]", "é$", "a.b", "nothing"]
TYPES = [None, "startswith", "endswith", "find", "regex", "fnmatch", "no such type"]
VALUES = [None, True, 0, -33, 2**64 - 1, 2**66, 1.5, "ü", b"\xff", [1, [2]], {"k": {1: b"v"}}]
SEQUENCES = int(os.environ.get("SEQUENCES", "300"))
SEED = int(os.environ.get("SEED", "20261124"))
# An event takes some 100 us to both listeners; where others use the machine, longer.
PAUSES = (0.002, 0.05, 0.3, 0.3, 1, 1)


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
    """Our library, in this process."""

    def __init__(self, bus):
        import brine.event

        self.names = {
            "bus": get_event("master", sock_dir=bus.sock_dir, opts=bus.opts),
            "event": brine.event,
        }

    def ask(self, call):
        try:
            return f"= {eval(call, self.names)!r}"  # noqa: S307
        except Exception as error:  # noqa: BLE001
            return f"! {error!r}"


def options(random):
    """Options of one `get_event`, every one of them in every combination sooner or later."""
    given = {}
    if random.random() < 0.85:
        given["tag"] = random.choice(PATTERNS)
    if random.random() < 0.8:
        given["match_type"] = random.choice(TYPES)
    if random.random() < 0.7:
        given["full"] = random.random() < 0.7
    if random.random() < 0.4:
        given["auto_reconnect"] = random.random() < 0.5
    if random.random() < 0.5:
        given["no_block"] = True
    # `wait=0` waits for ever, so that it stands with `no_block` alone.
    if "no_block" in given:
        given["wait"] = random.choice([0, 0.02, 5])
    else:
        given["wait"] = random.choice([0.005, 0.02])
    return ", ".join(f"{name}={value!r}" for name, value in given.items())


def call(random):
    """One step: an event fired by the third client, or an expression that both answer."""
    kind = random.choices(
        ["fire", "get", "subscribe", "unsubscribe", "noblock", "block", "iter", "tagify", "wrong"],
        [10, 12, 3, 2, 2, 1, 1, 1, 1],
    )[0]
    pattern, match_type = random.choice(PATTERNS), random.choice(TYPES)
    if "subscribe" in kind and match_type == "no such type":
        # Salt's next get_event then fails with a TypeError; docs/compatibility.md.
        match_type = None
    return kind, {
        "fire": lambda: (random.choice(TAGS), random.choice(VALUES)),
        "get": lambda: f"bus.get_event({options(random)})",
        "subscribe": lambda: f"bus.subscribe({pattern!r}, {match_type!r})",
        "unsubscribe": lambda: f"bus.unsubscribe({pattern!r}, {match_type!r})",
        "noblock": lambda: "bus.get_event_noblock()",
        "block": lambda: "bus.get_event_block()",
        "iter": lambda: f"next(bus.iter_events(tag={pattern!r}, full=True, match_type={match_type!r}))",
        "tagify": lambda: f"event.tagify({random.choice(VALUES)!r}, {random.choice(TAGS)!r})",
        "wrong": lambda: random.choice(
            ["bus.fire_event({}, '')", "bus.fire_event([], 'a')", "bus.fire_event('text', 'a')"]
        ),
    }[kind]()


def sequence(random):
    """Steps that always end: a call that waits for ever has an event to come to it."""
    steps = []
    for _ in range(random.randint(3, 12)):
        kind, step = call(random)
        if kind in ("block", "iter"):
            # Matches whatever the pattern is: each of them is fired itself.
            steps += [("fire", (tag, kind)) for tag in [*TAGS, "nothing", "/c", "ab"]]
            if kind == "iter" and "'nothing'" not in step:
                step = "next(bus.iter_events(tag='a', full=True))"
        steps.append((kind, step))
    # What is subscribed to must not reach into the next sequence.
    taken_back = [step.replace(".subscribe", ".unsubscribe") for kind, step in steps if kind == "subscribe"]
    return steps + [("unsubscribe", step) for step in taken_back]


def same(theirs, ours):
    if theirs == ours:
        return True
    # The same exception with the same text, or the same value printed.
    return theirs[:1] == ours[:1] == "=" and ast.literal_eval(theirs[2:]) == ast.literal_eval(ours[2:])


class Comparison:
    """Both libraries on one bus, and the count of what was compared."""

    def __init__(self, release, bus):
        self.salt, self.ours = Salt(release, bus), Ours(bus)
        self.sender = get_event("master", sock_dir=bus.sock_dir, opts=bus.opts, listen=False)
        self.compared = collections.Counter()
        self.events = 0
        self.marks = 0

    def drain(self):
        """Both start the next sequence with an empty stream."""
        self.marks += 1
        self.sender.fire_event({}, f"mark/{self.marks}")
        for library in (self.salt, self.ours):
            library.ask(f"bus.get_event(wait=20, tag='mark/{self.marks}')")

    def run(self, steps, pause):
        """The history up to the first difference; `None` if there is none."""
        history, settled = [], True
        for kind, step in steps:
            if kind == "fire":
                assert self.sender.fire_event({"v": step[1]}, step[0])
                history.append(step)
                settled = False
                continue
            if not settled:
                # A call that does not wait must find the same with both listeners.
                time.sleep(pause)
                settled = True
            theirs, own = self.salt.ask(step), self.ours.ask(step)
            history.append((step, theirs, own))
            self.compared[kind] += 1
            self.events += "_stamp" in theirs
            if not same(theirs, own):
                return history
        return None

    def agrees(self, seed):
        """Whether a sequence comes out the same, given time enough."""
        history = None
        for pause in PAUSES:
            steps = sequence(random.Random(seed))
            history = self.run(steps, pause)
            for library in (self.salt, self.ours):
                for kind, step in steps:
                    if history is not None and kind == "subscribe":
                        library.ask(step.replace(".subscribe", ".unsubscribe"))
            self.drain()
            if history is None:
                return True
        print(f"seed {seed}:", *history, sep="\n  ", file=sys.stderr)
        return False


@pytest.mark.parametrize(
    ("release", "host"), [("3008.3", "brine"), ("3008.3", "3008.3")]
)
def test_salts_library_and_ours_answer_the_same(release, host, capsys):
    if not (ROOT / ".salt" / release).exists():
        pytest.skip(f"Salt {release} is not installed: cargo xtask salt {release}")
    hosting = running(host)
    comparison = Comparison(release, next(hosting))
    try:
        differing = [seed for seed in range(SEED, SEED + SEQUENCES) if not comparison.agrees(seed)]
    finally:
        comparison.salt.stop()
        next(hosting, None)
    calls = ", ".join(f"{count} {kind}" for kind, count in comparison.compared.most_common())
    with capsys.disabled():
        print(
            f"\nlibrary of {release} and ours on the bus of {host}: {SEQUENCES} sequences, "
            f"{sum(comparison.compared.values())} calls ({calls}), {comparison.events} events, "
            f"{len(differing)} differences"
        )
    assert differing == []
    assert comparison.events > SEQUENCES // 2
