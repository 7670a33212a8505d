"""``brine.event`` on buses of Brine and of real Salt."""

import asyncio
import datetime
import os
import signal
import threading
import time

import pytest

import brine.event
from brine.event import MinionEvent, NamespacedEvent, get_event, get_master_event, tagify


def listener(bus, **kwargs):
    return get_event("master", sock_dir=bus.sock_dir, opts=bus.opts, **kwargs)


def test_an_event_comes_back_with_its_stamp_on_every_bus(any_bus):
    with listener(any_bus) as event:
        data = {"text": "ü", "bytes": b"\xff", "number": 2**63, "list": [1, None, True, 1.5]}
        assert event.fire_event(data, "myco/a") is True
        got = event.get_event(wait=60, tag="myco/a", full=True)
    assert got == {"tag": "myco/a", "data": data}
    assert datetime.datetime.fromisoformat(data["_stamp"])


def test_values_read_back_as_salts_do(any_bus):
    moment = datetime.datetime(2026, 11, 23, 21, 30, 1, 42)
    data = {
        "moment": moment,
        "day": datetime.date(2026, 11, 23),
        "big": 2**70,
        "low": -(2**63),
        "set": {1},
        "tuple": (1, "a"),
        1: "int key",
        None: "no key",
        "deep": {"a": [{"b": b"c"}]},
    }
    with listener(any_bus) as event:
        event.fire_event(data, "values")
        got = event.get_event(wait=60, tag="values")
    del got["_stamp"]
    assert got == {
        "moment": moment,
        "day": datetime.datetime(2026, 11, 23),
        "big": str(2**70),
        "low": -(2**63),
        "set": [1],
        "tuple": [1, "a"],
        1: "int key",
        None: "no key",
        "deep": {"a": [{"b": b"c"}]},
    }


@pytest.mark.parametrize(
    ("match_type", "pattern", "matches"),
    [
        (None, "my/", True),
        ("startswith", "y/", False),
        ("endswith", "/end", True),
        ("find", "middle", True),
        ("regex", "my/.*/e", True),
        ("regex", "middle", False),
        ("fnmatch", "my/*", True),
        ("fnmatch", "my", False),
        ("no such type", "my/", True),
    ],
)
def test_match_types(bus, match_type, pattern, matches):
    with listener(bus) as event:
        event.fire_event({}, "my/middle/end")
        event.fire_event({}, "last")
        got = event.get_event(wait=0.3, tag=pattern, match_type=match_type, full=True)
    assert (got is not None) == matches


def test_a_bad_regular_expression_is_pythons_error(bus):
    import re

    with listener(bus) as event, pytest.raises(re.error):
        event.get_event(wait=0.1, tag="(", match_type="regex")


def test_events_that_others_pass_over_are_lost_unless_subscribed_to(bus):
    with listener(bus) as event:
        event.subscribe("keep/")
        for tag in ("keep/1", "lost", "wanted"):
            event.fire_event({}, tag)
        assert event.get_event(wait=60, tag="wanted", full=True)["tag"] == "wanted"
        assert event.get_event(wait=0.1, tag="lost") is None
        assert event.get_event(wait=60, tag="keep/", full=True)["tag"] == "keep/1"
        event.unsubscribe("keep/")
        event.unsubscribe("never subscribed to")
        event.fire_event({}, "keep/2")
        event.fire_event({}, "wanted")
        event.get_event(wait=60, tag="wanted")
        assert event.get_event(wait=0.1, tag="keep/") is None


def test_pending_events_can_be_looked_at_and_forgotten(any_bus):
    with listener(any_bus) as event:
        event.subscribe("kept/")
        for tag in ("kept/1", "lost/1", "kept/2", "last"):
            event.fire_event({"tag": tag}, tag)
        assert event.get_event(wait=60, tag="last") is not None
        pending = event.pending_events
        assert [one["tag"] for one in pending] == ["kept/1", "kept/2"]
        assert pending[0]["data"]["tag"] == "kept/1"
        assert event.get_event(wait=60, tag="kept/", full=True)["tag"] == "kept/1"
        event.pending_events = []
        assert event.pending_events == []
        assert event.get_event(wait=0.1, tag="kept/") is None
        with pytest.raises(ValueError, match="not replaced"):
            event.pending_events = [{"tag": "x", "data": {}}]


def test_options_that_change_later_count(bus):
    with listener(bus) as event:
        event.opts["max_event_size"] = 100
        event.fire_event({"x": "y" * 200}, "small")
        assert event.get_event(wait=60, tag="small")["x"] == "VALUE_TRIMMED"
        event.opts["max_event_size"] = 0
        event.fire_event({"x": "y" * 2**21}, "unlimited")
        assert len(event.get_event(wait=60, tag="unlimited")["x"]) == 2**21
        event.opts["event_match_type"] = "endswith"
        event.fire_event({}, "my/end")
        assert event.get_event(wait=60, tag="/end") is not None


def test_no_block_takes_one_event_at_most(bus):
    with listener(bus) as event:
        event.fire_event({}, "other")
        event.fire_event({}, "wanted")
        time.sleep(0.2)
        assert event.get_event(tag="wanted", no_block=True) is None
        assert event.get_event(tag="wanted", no_block=True, full=True)["tag"] == "wanted"


def test_a_wait_takes_as_long_as_it_says(bus):
    with listener(bus) as event:
        begin = time.monotonic()
        assert event.get_event(wait=0.3) is None
        assert time.monotonic() - begin > 0.25


def test_no_bus_is_false_and_none(tmp_path):
    opts = {"sock_dir": str(tmp_path)}
    with get_event("master", opts=opts, listen=False) as event:
        data = {}
        assert event.fire_event(data, "a", timeout=100) is False
        assert data == {}
        assert event.get_event(wait=0.1) is None


def test_arguments_are_checked_as_salt_does(bus):
    with listener(bus) as event:
        with pytest.raises(ValueError, match="Empty tag."):
            event.fire_event({}, "")
        with pytest.raises(ValueError, match="Dict object expected, not 'text'."):
            event.fire_event("text", "a")
        with pytest.raises(TypeError, match="can not serialize 'complex' object"):
            event.fire_event({"a": 1j}, "a")
        with pytest.raises(ValueError):
            event.fire_event({}, "a\n\nb")


def test_raw_events(bus):
    with listener(bus) as event:
        assert event.get_event_noblock() is None
        event.fire_event({"a": 1}, "raw")
        got = event.get_event_block()
        assert got["tag"] == "raw" and got["data"]["a"] == 1


def test_pack_and_unpack():
    raw = brine.event.SaltEvent.pack("a/b", {"x": 1})
    assert raw == b"a/b\n\n\x81\xa1x\x01"
    assert brine.event.SaltEvent.unpack(raw) == ("a/b", {"x": 1})
    with pytest.raises(brine.exceptions.SaltDeserializationError):
        brine.event.SaltEvent.unpack(b"a\n\n\x81")


def test_text_that_is_not_utf_8_makes_all_text_bytes():
    raw = b"t\n\n\x82\xa1a\xa2\xff\xfe\xa1b\xa1x"
    assert brine.event.SaltEvent.unpack(raw)[1] == {b"a": b"\xff\xfe", b"b": b"x"}


@pytest.mark.parametrize(
    ("arguments", "tag"),
    [
        (("x", "refresh", "minion"), "minion/refresh/x"),
        ((["1", "ret"], "job"), "salt/job/1/ret"),
        ((("a", 2), "no such prefix"), "salt/no such prefix/a/2"),
        ((), "salt"),
        ((None,), "salt/None"),
        ((b"by",), "salt/98/121"),
    ],
)
def test_tagify(arguments, tag):
    assert tagify(*arguments) == tag


def test_a_namespaced_event_prints_and_fires(bus):
    printed = []
    with listener(bus) as event:
        NamespacedEvent(event, "salt/run/J", lambda *a: printed.append(a)).fire_event({}, "my/tag")
        assert event.get_event(wait=60, full=True)["tag"] == "salt/run/J/my/tag"
    assert printed[0][0] == "my/tag"


def test_fire_master_asks_the_minion(minion_bus):
    with MinionEvent(minion_bus.opts) as event:
        assert event.fire_master({"a": 1}, "up") is True
        got = event.get_event(wait=60, tag="fire_master")
    assert (got["tag"], got["data"]) == ("up", {"a": 1})
    assert got["events"] is None and got["pretag"] is None


def test_fire_ret_load_fires_both_forms(bus):
    load = {
        "jid": "1",
        "id": "m1",
        "fun": "state.sls",
        "retcode": 2,
        "return": {"file_|-a_|-b_|-managed": {"result": False, "comment": "no"}},
    }
    with listener(bus) as event:
        event.fire_ret_load(load)
        tags = [event.get_event(wait=60, full=True)["tag"] for _ in range(2)]
    assert tags == ["file.managed", "salt/job/1/sub/m1/error/state.sls"]


def test_iter_events_goes_on(bus):
    with get_master_event(bus.opts, bus.sock_dir) as event:
        for number in range(3):
            event.fire_event({"n": number}, "iter")
        stream = event.iter_events(tag="iter")
        assert [next(stream)["n"] for _ in range(3)] == [0, 1, 2]


def test_other_threads_run_while_one_waits(bus):
    with listener(bus) as event, listener(bus, listen=False) as sender:
        got = []
        waiting = threading.Thread(target=lambda: got.append(event.get_event(wait=60)))
        waiting.start()
        time.sleep(0.1)
        sender.fire_event({"a": 1}, "t")
        waiting.join(60)
        assert got[0]["a"] == 1


def test_threads_share_an_object(bus):
    with listener(bus) as event:
        got = []

        def take():
            while (one := event.get_event(wait=1)) is not None:
                got.append(one["n"])

        threads = [threading.Thread(target=take) for _ in range(4)]
        for thread in threads:
            thread.start()
        for number in range(400):
            event.fire_event({"n": number}, "t")
        for thread in threads:
            thread.join()
    assert sorted(got) == list(range(400))


def test_ctrl_c_is_the_exit_event(bus):
    # Shells start what runs in the background with the signal ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with listener(bus) as event:
            threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
            assert event.get_event(wait=20, full=True) == {"tag": "salt/event/exit", "data": {}}
    finally:
        signal.signal(signal.SIGINT, before)


def test_another_signals_exception_comes_through(bus):
    def alarm(*_):
        raise TimeoutError("alarm")

    before = signal.signal(signal.SIGALRM, alarm)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        with listener(bus) as event, pytest.raises(TimeoutError, match="alarm"):
            event.get_event(wait=20)
    finally:
        signal.signal(signal.SIGALRM, before)


def test_parent_and_child_listen_apart_after_a_fork(bus):
    with listener(bus) as event, listener(bus, listen=False) as sender:
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            event.connect_pub()
            event._subscriber.connect(60)
            os.write(write, b"r")
            got = event.get_event(wait=60, tag="both")
            os.write(write, b"y" if got and got["a"] == 1 else b"n")
            os._exit(0)
        assert os.read(read, 1) == b"r"
        sender.fire_event({"a": 1}, "both")
        assert event.get_event(wait=60, tag="both")["a"] == 1
        assert os.read(read, 1) == b"y"
        os.waitpid(child, 0)


def test_a_fork_while_another_thread_listens(bus):
    with listener(bus) as event:
        waiting = threading.Thread(target=lambda: event.get_event(wait=2, tag="end"))
        waiting.start()
        time.sleep(0.2)
        child = os.fork()
        if child == 0:
            event._subscriber.connect(60)
            fired = event.fire_event({}, "from the child")
            os._exit(0 if fired and event.get_event(wait=60, tag="from") is not None else 1)
        assert os.waitpid(child, 0)[1] == 0
        waiting.join()


def test_the_interpreter_ends_while_a_thread_waits(bus, script):
    for _ in range(5):
        out = script(
            f"""
import threading, time, brine.event
event = brine.event.get_event("master", sock_dir={bus.sock_dir!r}, opts={{}})
threading.Thread(target=event.get_event, kwargs=dict(wait=0), daemon=True).start()
time.sleep(0.1)
print("end")
"""
        )
        assert out == "end\n"


def test_dropped_objects_leave_no_descriptor(bus):
    def descriptors():
        return len(os.listdir("/proc/self/fd"))

    before = descriptors()
    for number in range(10_000):
        event = listener(bus)
        if number % 10 == 0:
            event.fire_event({}, "a")
        del event
    assert descriptors() <= before + 1


def test_a_listener_survives_a_restart_of_the_bus(bus):
    with listener(bus) as event:
        bus.stop()
        assert event.get_event(wait=0.2) is None
        bus.start()
        event._subscriber.connect(60)
        assert event.fire_event({"a": 1}, "again") is True
        assert event.get_event(wait=60, tag="again")["a"] == 1


def test_a_call_goes_on_when_the_bus_comes_back(bus):
    def restart():
        bus.stop()
        bus.start()
        with listener(bus, listen=False) as sender:
            while not got:
                sender.fire_event({"a": 1}, "back")
                time.sleep(0.05)

    got = []
    with listener(bus) as event:
        restarting = threading.Timer(0.2, restart)
        restarting.start()
        got.append(event.get_event(wait=60, tag="back", auto_reconnect=True))
        restarting.join()
    assert got[0]["a"] == 1


def test_a_proxy_sees_its_own_events_alone(bus):
    opts = {**bus.opts, "subproxy": True, "id": "p1"}
    with get_event("master", opts=opts) as proxy, listener(bus, listen=False) as sender:
        sender.fire_event({"proxy_target": "p2"}, "t")
        proxy.fire_event({"a": 1}, "t")
        assert proxy.get_event(wait=60, tag="t")["proxy_target"] == "p1"
        assert proxy.get_event(wait=0.2, tag="t") is None


def test_an_event_handler_on_a_loop(bus):
    async def main():
        got = asyncio.Queue()
        loop = asyncio.get_running_loop()
        event = listener(bus, io_loop=loop)

        async def handler(raw):
            await got.put(event.unpack(raw))

        event.set_event_handler(handler)
        await asyncio.sleep(0.3)
        assert event.fire_event({"a": 1}, "loop") is True
        tag, data = await asyncio.wait_for(got.get(), 60)
        assert (tag, data["a"]) == ("loop", 1)
        event.destroy()

    asyncio.run(main())


def test_fire_event_async(bus):
    with listener(bus) as event:
        assert asyncio.run(event.fire_event_async({"a": 1}, "async")) is True
        assert event.get_event(wait=60, tag="async")["a"] == 1


def test_large_values_are_trimmed(bus):
    opts = {**bus.opts, "max_event_size": 1000}
    with get_event("master", opts=opts) as event:
        event.fire_event({"large": "x" * 2000, "small": 1}, "trim")
        got = event.get_event(wait=60, tag="trim")
    assert (got["large"], got["small"]) == ("VALUE_TRIMMED", 1)


def test_the_old_transport_argument_is_ignored(bus):
    with get_event("master", sock_dir=bus.sock_dir, transport="zeromq", opts=bus.opts) as event:
        assert event.connect_pub() is True
