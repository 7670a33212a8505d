"""``brine.Bus``: typed events, several tags, ``async for``."""

import asyncio
import datetime
import time

import pytest

import brine


@pytest.fixture
def door(bus):
    with brine.Bus(sock_dir=bus.sock_dir) as door:
        yield door


def test_a_stream_of_several_tags_with_exceptions(door):
    with door.events(["salt/job/*", "my/*"], exclude="*/ret/m2", timeout=0.5) as events:
        for tag in ("salt/job/1/ret/m1", "salt/job/1/ret/m2", "other", "my/a"):
            door.fire(tag, {"a": 1})
        got = list(events)
    assert [(event.tag, event.number) for event in got] == [("salt/job/1/ret/m1", 1), ("my/a", 2)]
    age = datetime.datetime.now(datetime.timezone.utc) - got[0].stamp
    assert abs(age.total_seconds()) < 60
    assert got[0].data["a"] == 1


def test_async_for(door):
    async def main():
        seen = []
        async with door.events(tag="n/*", timeout=5) as events:
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

    assert asyncio.run(main()) > 5


def test_a_stream_goes_on_when_the_bus_comes_back(bus, door):
    async def main():
        async with door.events(timeout=10) as events:
            bus.stop()
            bus.start()
            waiting = asyncio.ensure_future(events.__anext__())
            for _ in range(100):
                await asyncio.sleep(0.1)
                door.fire("back")
                if waiting.done():
                    break
            return (await waiting).tag

    assert asyncio.run(main()) == "back"


def test_no_bus_is_an_error_that_says_so(tmp_path):
    begin = time.monotonic()
    with pytest.raises(ConnectionError, match="no bus"):
        brine.Bus(sock_dir=tmp_path).fire("a", timeout=0.1)
    assert time.monotonic() - begin < 3


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
        with door.events("my/*", match_type=name, timeout=5) as events:
            door.fire("my/a")
            assert next(events).tag == "my/a"
