"""``brine.Bus``: typed events, several tags, ``async for``."""

import asyncio
import datetime
import os
import shutil
import time

import pytest
from conftest import RunningBus

import brine


@pytest.fixture
def door(bus):
    with brine.Bus(sock_dir=bus.sock_dir) as door:
        yield door


def test_a_stream_of_several_tags_with_exceptions(door):
    with door.events(["salt/job/*", "my/*"], exclude="*/ret/m2", timeout=60) as events:
        for tag in ("salt/job/1/ret/m1", "salt/job/1/ret/m2", "other", "my/a"):
            door.fire(tag, {"a": 1})
        got = [next(events), next(events)]
    assert [(event.tag, event.seq) for event in got] == [("salt/job/1/ret/m1", 1), ("my/a", 4)]
    assert got[1].position.endswith("-4")
    age = datetime.datetime.now(datetime.timezone.utc) - got[0].stamp
    assert abs(age.total_seconds()) < 60
    assert got[0].data["a"] == 1


def test_async_for(door):
    async def main():
        seen = []
        async with door.events(tag="n/*", timeout=60) as events:
            for number in range(100):
                await door.fire_async(f"n/{number}", {"n": number})
            async for event in events:
                seen.append(event.data["n"])
                if len(seen) == 100:
                    break
        return seen

    assert asyncio.run(main()) == list(range(100))


def test_the_loop_does_other_work_meanwhile(door):
    async def main():
        async with door.events(timeout=0.4) as events:
            ticks = 0

            async def tick():
                nonlocal ticks
                while True:
                    await asyncio.sleep(0.02)
                    ticks += 1

            ticking = asyncio.ensure_future(tick())
            assert [event async for event in events] == []
            ticking.cancel()
            return ticks

    assert asyncio.run(main()) > 0


def test_a_stream_goes_on_when_the_bus_comes_back(bus, door):
    async def main():
        async with door.events(timeout=60) as events:
            # Until the bus has answered, the stream has no position to go on from.
            door.fire("before")
            tags = [(await events.__anext__()).tag]
            bus.stop()
            bus.start()
            door.fire("back")
            return tags + [(await events.__anext__()).tag for _ in range(2)]

    # A bus without history does not know what was fired before it started.
    assert asyncio.run(main()) == ["before", "brine/gap", "back"]


def test_no_bus_is_an_error_that_says_so(tmp_path):
    with pytest.raises(ConnectionError, match="no bus"):
        brine.Bus(sock_dir=tmp_path).fire("a", timeout=0.1)


def test_the_callers_data_are_left_alone(door):
    data = {}
    door.fire("a", data)
    assert data == {}


def test_large_values_are_refused_and_named(door):
    """Salt's programs replace them by ``VALUE_TRIMMED``, and call that success."""
    with pytest.raises(ValueError, match="since x would be replaced by VALUE_TRIMMED"):
        door.fire("big", {"a": 1, "x": "x" * 2_000_000})


def test_a_stream_without_a_bus_warns_once(tmp_path, caplog):
    with brine.Bus(sock_dir=tmp_path).events(timeout=0.2) as events:
        assert list(events) == []
    assert [record.name for record in caplog.records] == ["brine"]
    assert f"no bus of a master in {tmp_path}" in caplog.text


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"node": "mastr"}, ValueError, "not 'mastr'"),
        ({"config": "/nowhere/nosuch"}, FileNotFoundError, "/nowhere/nosuch"),
        ({"sock_dir": "/run", "compat": "2019"}, ValueError, "2019"),
    ],
)
def test_nonsense_is_refused_at_once(options, error, text):
    with pytest.raises(error, match=text):
        brine.Bus(**options)


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"tag": 5}, TypeError, "tag must be a string or several, not int"),
        ({"exclude": ["a", 5]}, TypeError, "exclude must hold strings, not int"),
        ({"match_type": "globs"}, ValueError, "globs"),
    ],
)
def test_nonsense_patterns_are_refused(door, options, error, text):
    with pytest.raises(error, match=text):
        door.events(**options)


def test_data_that_no_event_carries_are_named(door):
    with pytest.raises(TypeError, match="data must be a mapping of names to values, not list"):
        door.fire("a", [1])
    with pytest.raises(TypeError, match=r"data\['odd'\]: .*object"):
        door.fire("a", {"fine": 1, "odd": object()})


def test_both_names_of_globs_match(door):
    for name in ("glob", "fnmatch"):
        with door.events("my/*", match_type=name, timeout=60) as events:
            door.fire("my/a")
            assert next(events).tag == "my/a"


@pytest.fixture
def kept(tmp_path):
    """A bus with history, and the way to it."""
    bus = RunningBus("brine", history=tmp_path / "history")
    with brine.Bus(sock_dir=bus.sock_dir) as door:
        yield bus, door
    bus.stop()
    shutil.rmtree(bus.sock_dir, ignore_errors=True)


def test_an_acknowledged_event_is_on_disk_and_has_a_position(kept):
    bus, door = kept
    data = {"a": 1}
    position = door.fire("my/1", data, ack=True)
    assert data == {"a": 1}
    bus.stop()
    bus.start()
    event = next(door.history("my/*"))
    assert (event.tag, event.data["a"], event.position) == ("my/1", 1, position)
    assert position == f"{position.split('-')[0]}-{event.seq}"


def test_a_bus_without_history_cannot_say_that_an_event_is_on_disk(bus, door):
    with pytest.raises(RuntimeError, match="keeps no history"):
        door.fire("my/1", ack=True)
    assert door.fire("my/1", ack="appended").endswith("-1")


def test_a_stream_begins_where_it_is_told(door):
    positions = [door.fire(f"my/{number}", {"n": number}, ack="appended") for number in range(5)]

    def numbers(**where):
        with door.events("my/*", timeout=1, **where) as events:
            return [event.data["n"] for event in events]

    assert numbers() == []
    assert numbers(from_="earliest") == [0, 1, 2, 3, 4]
    assert numbers(from_=4) == [3, 4]
    assert numbers(after=positions[2]) == [3, 4]
    assert numbers(last=2) == [3, 4]
    assert numbers(from_="earliest", filter="data.n:[12]") == [1, 2]
    assert numbers(from_="earliest", limit=1) == [0]
    assert numbers(since="1h") == [0, 1, 2, 3, 4]
    assert numbers(since=datetime.timedelta(hours=1)) == [0, 1, 2, 3, 4]
    assert numbers(since=datetime.datetime.now() + datetime.timedelta(hours=1)) == []
    assert [event.data["n"] for event in door.history("my/*", last=1)] == [4]


def test_a_stream_goes_on_after_a_restart_without_a_hole(kept):
    bus, door = kept
    with door.events("my/*", timeout=60) as events:
        door.fire("my/1", ack=True)
        first = next(events)
        bus.stop()
        bus.start()
        door.fire("my/2", ack=True)
        # A bus that was killed may have used more numbers than it stored: that is a gap.
        rest = [next(events)]
        if isinstance(rest[0], brine.Gap):
            rest = [next(events)]
    assert (first.tag, rest[0].tag) == ("my/1", "my/2")
    assert rest[0].seq > first.seq


def test_what_is_missing_is_a_gap(bus, door):
    with door.events("my/*", timeout=60) as events:
        door.fire("my/1")
        assert next(events).tag == "my/1"
        # Without history a bus begins a new log.
        bus.stop()
        bus.start()
        door.fire("my/2", ack="appended")
        gap = next(events)
        assert isinstance(gap, brine.Gap)
        assert gap.missed is None and gap.from_ != gap.to
        assert (gap.tag, gap.data["to"], gap.position) == ("brine/gap", gap.to, gap.to)
        assert gap.seq is None and gap.stamp is None
        assert next(events).tag == "my/2"


def test_a_position_serves_another_stream(door):
    door.fire("my/1", ack="appended")
    with door.events("my/*", from_="earliest", timeout=60) as events:
        next(events)
        assert events.position.endswith("-1")
        position = events.position
    door.fire("my/2", ack="appended")
    with door.events("my/*", after=position, timeout=60) as events:
        assert next(events).tag == "my/2"


def test_async_for_over_the_past_and_a_restart(kept):
    bus, door = kept

    async def main():
        seen = []
        door.fire("my/0", ack=True)
        async with door.events("my/*", from_="earliest", timeout=60) as events:
            async for event in events:
                if isinstance(event, brine.Gap):
                    continue
                seen.append(event.tag)
                if len(seen) == 1:
                    bus.stop()
                    bus.start()
                    door.fire("my/1", ack=True)
                if len(seen) == 2:
                    return seen

    assert asyncio.run(main()) == ["my/0", "my/1"]


def test_status_says_who_reads(door):
    with door.events("my/*"):
        status = door.status()
    assert [stream["pid"] for stream in status["streams"]] == [os.getpid()]
    assert status["log"]["id"] in status["log"]["newest"]


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"from_": 1, "last": 2}, ValueError, "only one of from_ and last"),
        ({"after": "7"}, ValueError, "after must be a position"),
        ({"last": 0}, ValueError, "at least 1"),
        ({"since": 5}, TypeError, "since must be a string"),
        ({"since": "soon"}, ValueError, "expected a time"),
        ({"filter": "nonsense"}, ValueError, "nonsense"),
    ],
)
def test_nonsense_starts_are_refused(door, options, error, text):
    with pytest.raises(error, match=text):
        door.events(**options)


def test_nobody_is_asked_for_the_past_of_a_real_bus(any_bus):
    if any_bus.release == "brine":
        pytest.skip("Brine's bus has a past")
    door = brine.Bus(config=any_bus.opts)
    with pytest.raises(ConnectionError, match="keeps no log"):
        door.events(since="1h")
    with door.events("my/*", timeout=60) as events:
        door.fire("my/1")
        event = next(events)
    assert (event.tag, event.seq, event.position) == ("my/1", None, None)


def test_a_fork_goes_on_with_connections_of_its_own(door):
    """What the child reads is not missing for the parent."""
    with door.events("my/*", timeout=60) as events:
        door.fire("my/1", ack="appended")
        assert next(events).tag == "my/1"
        child = os.fork()
        if child == 0:
            try:
                door.fire("my/2", ack="appended")
                os._exit(0 if next(events).tag == "my/2" else 1)
            finally:
                os._exit(2)
        assert os.waitpid(child, 0)[1] == 0
        assert next(events).tag == "my/2"
