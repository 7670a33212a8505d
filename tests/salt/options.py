"""Every argument of `get_event`, and what is kept for later calls: `docs/protocol/ipc.md` section 8."""

import faulthandler
import itertools

import salt.utils.event

from checks import NODE, SERIES, SOON, check, listening, numbers, open_bus, timed

sender = open_bus(listen=False)


def fire(tag, n, **data):
    sent = sender.fire_event({"n": n, **data}, tag)
    assert sent is True, sent


def waiting():
    with listening() as bus:
        value, took = timed(lambda: bus.get_event(wait=0.05))
        check("wait: nothing within 0.05 s", value, None)
        check("wait: 0.05 s is kept", took, lambda took: 0.04 < took < 5)
        check("wait: None is refused", timed(lambda: bus.get_event(wait=None))[0], "TypeError")
    with listening() as bus:
        fire("a", 1)
        check("wait: an event that is there", bus.get_event(wait=SOON)["n"], 1)
    with listening() as bus:
        fire("other", 1)
        fire("wanted", 2)
        check("wait: 0 waits for the event", bus.get_event(wait=0, tag="wanted")["n"], 2)
    with listening() as bus:
        for n in range(20):
            fire("other", n)
        value, took = timed(lambda: bus.get_event(wait=0.6, tag="never"))
        check("wait: is for the call, not per event", (value, took < 5), (None, True))


def shapes():
    with listening() as bus:
        fire("x/y", 1)
        data = bus.get_event(wait=SOON)
        check("data alone", sorted(data), ["_stamp", "n"])
        fire("x/y", 2)
        event = bus.get_event(wait=SOON, full=True)
        check("full: tag and data", (sorted(event), event["tag"], event["data"]["n"]), (["data", "tag"], "x/y", 2))
        has_offset = data["_stamp"].endswith("+00:00")
        check("the stamp is of the release", has_offset, SERIES >= 3008)
        fire("x/y", 3)
        check("auto_reconnect: changes nothing", bus.get_event(wait=SOON, auto_reconnect=True)["n"], 3)
        fire("x/y", 4, _stamp="mine")
        check("a stamp of the caller's is replaced", bus.get_event(wait=SOON)["_stamp"] != "mine", True)
    with listening() as bus:
        fire("i", 1)
        fire("i", 2)
        found = itertools.islice(bus.iter_events(tag="i"), 2)
        check("iter_events", [data["n"] for data in found], [1, 2])
        fire("i", 3)
        found = itertools.islice(bus.iter_events(tag="i", full=True, match_type="fnmatch"), 1)
        check("iter_events: full, match_type", [event["tag"] for event in found], ["i"])


TAGS = ["salt/job/1/new", "salt/job/1/ret/m1", "salt/auth", "my/salt/job", "käse/ß"]

# Pattern and how many of TAGS it finds, in their order.
MATCHES = {
    "startswith": [("salt/job", [0, 1]), ("", [0, 1, 2, 3, 4]), ("k\u00e4", [4]), ("Salt", [])],
    "endswith": [("job", [3]), ("", [0, 1, 2, 3, 4]), ("new", [0])],
    "find": [("job", [0, 1, 3]), ("/ret/", [1]), ("", [0, 1, 2, 3, 4])],
    "regex": [
        (r"salt/(job|auth)", [0, 1, 2]),
        (r".*/ret/m\d$", [1]),
        (r"salt/auth|job", [0, 1, 2, 3]),
        (r"k.se/\w", [4]),
    ],
    "fnmatch": [
        ("salt/*", [0, 1, 2]),
        ("salt/job/?/new", [0]),
        ("salt/job/[!2]/*", [0, 1]),
        ("salt", []),
        ("*", [0, 1, 2, 3, 4]),
    ],
}


def matching():
    """All patterns of a type on one connection: what does not match is dropped on the way."""
    for match_type, rows in MATCHES.items():
        with listening() as bus:
            for pattern, expected in rows:
                for n, tag in enumerate(TAGS):
                    fire(tag, n)
                fire("end", 99)
                found = numbers(bus, len(expected), tag=pattern, match_type=match_type)
                name = f"match_type {match_type}: {pattern!r}"
                check(name, found, expected)
                bus.get_event(wait=SOON, tag="end", match_type="startswith")
    with listening(event_match_type="endswith") as bus:
        fire("a/b", 1)
        fire("b/a", 2)
        check("match_type: default from event_match_type", bus.get_event(wait=SOON, tag="a")["n"], 2)
    with listening() as bus:
        fire("b/a", 1)
        fire("a/b", 2)
        check("match_type: default is startswith", bus.get_event(wait=SOON, tag="a")["n"], 2)
        fire("b/a", 3)
        fire("a/b", 4)
        value = bus.get_event(wait=SOON, tag="a", match_type="no such type")
        check("match_type: an unknown one is the default", value["n"], 4)


def no_block():
    with listening() as bus:
        value, took = timed(lambda: bus.get_event(no_block=True))
        check("no_block: nothing there", (value, took < 2), (None, True))
    with listening() as bus:
        fire("a", 1)
        check("no_block: an event that is there", polled(bus, "", 1)["n"], 1)
    with listening() as bus:
        fire("unwanted", 1)
        fire("wanted", 2)
        check("no_block: skips what is unwanted", polled(bus, "wanted", 2)["n"], 2)
    if SERIES > 3006:
        with listening() as bus:
            fire("a/b", 1)
            fire("a/b", 2)
            event = bus.get_event_block()
            check("get_event_block", (event["tag"], event["data"]["n"]), ("a/b", 1))
            event = bus.get_event_noblock()
            check("get_event_noblock", event and event["data"]["n"], lambda n: n in (2, None))


def polled(bus, tag, n):
    """What the first of many calls with `no_block` finds. 3007 reconnects after each that finds
    nothing, and an event of that time is lost to it, so there the event is fired again."""
    for _ in range(500):
        found = bus.get_event(no_block=True, tag=tag)
        if found:
            return found
        if SERIES == 3007:
            fire(tag or "a", n)
    return {"n": None}


def pending():
    with listening() as bus:
        bus.subscribe("kept", "startswith")
        fire("kept/1", 1)
        fire("dropped", 2)
        fire("kept/2", 3)
        fire("wanted", 4)
        check("subscribe: other events come first", numbers(bus, 1, tag="wanted"), [4])
        check("subscribe: what was kept comes later", numbers(bus, 2, tag="kept"), [1, 3])
        fire("end", 9)
        check("subscribe: the rest is lost", numbers(bus, 1), [9])
    with listening() as bus:
        bus.subscribe("k*2", "fnmatch")
        fire("kept/1", 1)
        fire("kept/2", 2)
        fire("wanted", 3)
        check("subscribe: fnmatch", numbers(bus, 1, tag="wanted") + numbers(bus, 1), [3, 2])
    with listening() as bus:
        bus.subscribe("kept", "startswith")
        bus.subscribe("kept", "startswith")
        bus.unsubscribe("kept", "startswith")
        fire("kept", 1)
        fire("wanted", 2)
        check("unsubscribe: takes one of two", numbers(bus, 1, tag="wanted") + numbers(bus, 1, tag="kept"), [2, 1])
        fire("kept", 3)
        fire("wanted", 4)
        numbers(bus, 1, tag="wanted")
        bus.unsubscribe("kept", "startswith")
        fire("end", 5)
        check("unsubscribe: drops what it kept", numbers(bus, 1), [5])
        bus.unsubscribe("never", "startswith")
        check("unsubscribe: of nothing is nothing", bus.pending_tags, [])


def others():
    with listening() as one, listening() as two:
        fire("both", 1)
        check("two listeners both hear", numbers(one, 1) + numbers(two, 1), [1, 1])
    late = open_bus(listen=False)
    with listening() as bus:
        fire("early", 1)
        numbers(bus, 1)
    check("listen=False: hears from the first get_event on", late.get_event(wait=0.3), None)
    late.destroy()
    if NODE == "minion":
        import salt.config

        opts = {**salt.config.DEFAULT_MINION_OPTS, **sender.opts}
        minion = salt.utils.event.MinionEvent(opts, listen=True)
        fire("m", 1)
        check("MinionEvent listens", numbers(minion, 1), [1])
        with listening() as bus:
            check("MinionEvent fires", minion.fire_event({"n": 2}, "m"), True)
            check("MinionEvent is heard", numbers(bus, 1), [2])
        minion.destroy()


if __name__ == "__main__":
    # Some calls wait without end. Where their event was lost, this ends and says where it waited.
    faulthandler.dump_traceback_later(120, exit=True)
    for group in (waiting, shapes, matching, no_block, pending, others):
        group()
    sender.destroy()
