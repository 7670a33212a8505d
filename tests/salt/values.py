"""What goes in comes out: every type and size of data, every way to fire. `docs/protocol/ipc.md`
sections 4 to 6 and 8."""

import collections
import datetime
import hashlib

import salt.utils.event

from checks import NODE, SERIES, SOCK_DIR, SOON, check, listening, open_bus, timed

MEGABYTE = 1_000_000

sender = open_bus(listen=False, max_event_size=64 * MEGABYTE)


def types():
    pairs = {
        "text": "plain",
        "text: unicode": "gr\u00fc\u00dfe \u4f60\u597d \U0001f9c2 \u0000 \ufffd",
        "text: empty": "",
        "text: blank lines": "a\n\nb\n\n\n",
        "bytes": b"\x00\xff\xfe\n\n\x80",
        "bytes: empty": b"",
        "bytes: 300": bytes(range(256)) + b"x" * 44,
        "none": None,
        "true and false": [True, False],
        "integers at every width": [0, 127, 128, 255, 256, 65535, 65536, 2**32 - 1, 2**32],
        "negative integers": [-1, -32, -33, -128, -129, -32768, -32769, -(2**31), -(2**31) - 1],
        "integers at the ends": [2**64 - 1, 2**63, -(2**63)],
        "floats": [0.0, -0.0, 1.5, 1e300, float("inf"), float("-inf")],
        "date and time": datetime.datetime(2026, 11, 23, 21, 30, 1, 42),
        "nested": {"a": [{"b": [{"c": {}}]}, []], "d": {"e": {"f": None}}},
        "deep": deep(60),
        "keys of other types": {1: "a", -2: "b", 1.5: "c", None: "d", b"k": "e", True: "f"},
        "many keys": {str(n): n for n in range(70_000)},
        "many items": list(range(70_000)),
    }
    # What is written as something else, and as what.
    changed = {
        "integers beyond 64 bits are text": ([2**64, -(2**63) - 1], [str(2**64), str(-(2**63) - 1)]),
        "tuples are lists": ((1, (2, 3)), [1, [2, 3]]),
        "sets are lists": ({7}, [7]),
        "ordered maps are maps": (collections.OrderedDict([("b", 1), ("a", 2)]), {"b": 1, "a": 2}),
        "a date is midnight": (datetime.date(2026, 11, 23), datetime.datetime(2026, 11, 23)),
    }
    with listening() as bus:
        for name, value in pairs.items():
            travels(bus, name, value, value)
        for name, (value, expected) in changed.items():
            travels(bus, name, value, expected)
        sender.fire_event({"v": {"z": 1, "a": 2, "m": 3}}, "t")
        check("maps keep their order", list(bus.get_event(wait=SOON)["v"]), ["z", "a", "m"])
        sender.fire_event({"v": float("nan")}, "t")
        check("not a number", bus.get_event(wait=SOON)["v"], lambda v: v != v)


def deep(levels):
    value = []
    for _ in range(levels):
        value = [value]
    return value


def travels(bus, name, value, expected):
    sent = sender.fire_event({"v": value}, "types")
    data = bus.get_event(wait=SOON)
    # repr tells 1 from 1.0 and True, bytes from text, and the order of keys.
    check(name, (sent, data and repr(data["v"])), (True, repr(expected)))


def tags():
    with listening() as bus:
        for name, tag in {
            "one character": "t",
            "19 characters": "a" * 19,
            "20 characters": "a" * 20,
            "21 characters": "a" * 21,
            "10,000 characters": "x/" * 5000,
            "unicode": "k\u00e4se/\u4f60\u597d/\U0001f9c2",
            "spaces and signs": " a b\t|*?[x]%s\\",
            "line feed inside": "a\nb",
        }.items():
            sender.fire_event({"n": 1}, tag)
            event = bus.get_event(wait=SOON, full=True)
            check(f"tag: {name}", event and event["tag"], tag)
        for name, call, expected in (
            ("empty tag", lambda: sender.fire_event({}, ""), "ValueError"),
            ("data not a map", lambda: sender.fire_event([], "t"), "ValueError"),
            ("data None", lambda: sender.fire_event(None, "t"), "ValueError"),
            ("a value that cannot be said", lambda: sender.fire_event({"v": 1j}, "t"), "TypeError"),
        ):
            check(f"refused: {name}", timed(call)[0], expected)
        sender.fire_event({"n": 2}, "after")
        check("refused: nothing was sent", bus.get_event(wait=SOON)["n"], 2)


def sizes():
    with listening() as bus:
        sender.fire_event({}, "t")
        check("size: the smallest event", list(bus.get_event(wait=SOON)), ["_stamp"])
        for size in (1, 100, 255, 256, 4096, 65_535, 65_536, 250_000, MEGABYTE, 5 * MEGABYTE, 20 * MEGABYTE):
            payload = (b"\x00\x01\n\n\xff" * (size // 5 + 1))[:size]
            sender.fire_event({"v": payload}, "size")
            data = bus.get_event(wait=SOON)
            digest = data and hashlib.sha256(data["v"]).hexdigest()
            check(f"size: {size} bytes", digest, hashlib.sha256(payload).hexdigest())
        text = "\u4f60" * (7 * MEGABYTE)
        sender.fire_event({"v": text}, "size")
        check("size: 21 MB of text", (bus.get_event(wait=SOON) or {}).get("v") == text, True)
        for n in range(8):
            sender.fire_event({"v": b"x" * (3 * MEGABYTE), "n": n}, "row")
        row = [bus.get_event(wait=SOON) or {} for _ in range(8)]
        check("size: large ones in a row", [data.get("n") for data in row], list(range(8)))


def trimming():
    small = open_bus(listen=False, max_event_size=2000)
    with listening() as bus:
        small.fire_event({"big": "x" * 5000, "kept": {"n": 1}}, "trim")
        data = bus.get_event(wait=SOON)
        check("trimming: the sender's limit", (data["big"], data["kept"]), ("VALUE_TRIMMED", {"n": 1}))
    small.destroy()


def other_ways():
    with listening() as bus:
        sender.fire_master({"a": 1}, "for/master")
        event = bus.get_event(wait=SOON, full=True)
        event["data"].pop("_stamp")
        check(
            "fire_master",
            event,
            {"tag": "fire_master", "data": {"tag": "for/master", "data": {"a": 1}, "events": None, "pretag": None}},
        )
        named = salt.utils.event.NamespacedEvent(sender, "salt/run/J")
        named.fire_event({"n": 1}, "my/tag")
        check("NamespacedEvent", bus.get_event(wait=SOON, full=True)["tag"], "salt/run/J/my/tag")
        chunk = {"result": False, "comment": "no"}
        load = {
            "fun": "state.sls",
            "retcode": 2,
            "jid": "20261123213001000042",
            "id": "m1",
            "return": {"pkg_|-web_|-nginx_|-installed": chunk},
        }
        sender.fire_ret_load(load)
        events = [bus.get_event(wait=SOON, full=True) for _ in range(2)]
        found = [event and event["tag"] for event in events]
        expected = ["pkg.installed", "salt/job/20261123213001000042/sub/m1/error/state.sls"]
        check("fire_ret_load", found, expected)
        fired = [sender.fire_event({"n": n}, "burst") for n in range(300)]
        found = [(bus.get_event(wait=SOON) or {}).get("n") for _ in range(300)]
        check("a burst of 300", (all(fired), found), (True, list(range(300))))


def handler():
    """What Salt's own daemons use: a function called with undecoded events, on a loop."""
    if SERIES == 3006:
        import salt.ext.tornado.ioloop as ioloop
    else:
        import tornado.ioloop as ioloop
    loop = ioloop.IOLoop()
    loop.make_current()
    seen = []

    def note(raw):
        seen.append(salt.utils.event.SaltEvent.unpack(raw))
        if len(seen) == 3:
            loop.stop()

    async def note_later(raw):
        note(raw)

    bus = salt.utils.event.get_event(
        NODE, sock_dir=SOCK_DIR, opts=sender.opts, listen=True, io_loop=loop
    )
    bus.set_event_handler(note if SERIES == 3006 else note_later)

    def fire():
        for n in range(3):
            sender.fire_event({"n": n}, f"async/{n}")

    # The handler connects on the loop; events before that are not for it.
    loop.call_later(1, fire)
    loop.call_later(SOON, loop.stop)
    loop.start()
    found = [(tag, data["n"]) for tag, data in seen]
    check("set_event_handler", found, [("async/0", 0), ("async/1", 1), ("async/2", 2)])
    bus.destroy()


if __name__ == "__main__":
    for group in (types, tags, sizes, trimming, other_ways, handler):
        group()
    sender.destroy()
