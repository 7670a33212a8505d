"""``Caller``: functions of the minion that runs here, and events sent through any minion."""

import threading
import time

import pytest

from brine.client import Caller
from brine.event import MinionEvent, get_event
from brine.exceptions import CommandExecutionError, SaltClientError


@pytest.fixture
def caller(brine_site):
    return Caller(str(brine_site.directory / "etc/minion"))


def test_functions_return_their_values(caller):
    assert caller.cmd("test.ping") is True
    assert caller.cmd("test.echo", "a text") == "a text"
    got = caller.cmd("test.arg", 1, "2", [3], a={"b": None})
    assert got["args"] == [1, "2", [3]]
    assert got["kwargs"]["a"] == {"b": None}


def test_a_call_reads_texts_as_the_command_line_does(caller):
    got = caller.function("test.arg", "1", "[2, a]", "x={y: 3}", z="4")
    assert got["args"] == [1, [2, "a"]]
    assert (got["kwargs"]["x"], got["kwargs"]["z"]) == ({"y": 3}, "4")


def test_a_function_that_takes_its_time_is_waited_for(caller):
    begin = time.monotonic()
    assert caller.cmd("test.sleep", 7) is True
    assert time.monotonic() - begin >= 7


def test_a_function_the_minion_has_not_is_a_key_error(caller):
    with pytest.raises(KeyError, match="no.such"):
        caller.cmd("no.such")


def test_a_function_that_raises_is_an_error_with_its_text(caller):
    with pytest.raises(CommandExecutionError, match="sorry"):
        caller.cmd("test.exception", "sorry")


def test_functions_are_called_through_sminion(brine_site, caller):
    assert "test.ping" in caller.sminion.functions
    assert "no.such" not in caller.sminion.functions
    assert caller.sminion.functions["test.echo"]("hi") == "hi"
    assert "test.ping" in list(caller.sminion.functions)
    assert caller.sminion.functions.get("no.such") is None
    assert caller.sminion.opts["id"] == "m1"
    with pytest.raises(KeyError):
        caller.sminion.functions["no.such"]
    with get_event("master", opts=brine_site.master_opts) as event:
        assert caller.sminion.functions["event.send"]("case/x", {"ok": True}) is True
        assert event.get_event(wait=60, tag="case/x")["data"] == {"ok": True}


def test_threads_share_a_caller(caller):
    got = []
    threads = [
        threading.Thread(target=lambda n=n: got.append(caller.cmd("test.echo", n)))
        for n in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(got) == list(range(8))


def sent(site, *args, **kwargs):
    """What comes to the master's bus of an `event.send`."""
    caller = Caller(str(site.directory / "etc/minion"))
    with get_event("master", opts=site.master_opts) as event:
        assert caller.cmd("event.send", *args, **kwargs) is True
        got = event.get_event(wait=60, tag=args[0])
    assert got, site.logs()
    assert got["id"] == "m1"
    return got["data"]


def test_an_event_has_data_and_keywords(any_site, monkeypatch):
    monkeypatch.setenv("BUILD", "7")
    got = sent(any_site, "my/a", {"a": 1}, with_env=["BUILD", "NO_SUCH"], b=2, __hidden=3)
    assert got == {"environ": {"BUILD": "7"}, "a": 1, "b": 2}


def test_fire_master_has_data_before_the_tag(any_site):
    caller = Caller(str(any_site.directory / "etc/minion"))
    with get_event("master", opts=any_site.master_opts) as event:
        assert caller.cmd("event.fire_master", {"a": 1}, "my/b") is True
        assert event.get_event(wait=60, tag="my/b")["data"] == {"a": 1}


def test_fire_stays_on_the_minion(any_site):
    caller = Caller(str(any_site.directory / "etc/minion"))
    with MinionEvent(caller.opts) as event:
        assert caller.cmd("event.fire", {"a": 1}, "my/local") is True
        assert event.get_event(wait=60, tag="my/local")["a"] == 1


def test_what_only_the_minion_knows_is_put_in_by_it(brine_site):
    got = sent(brine_site, "my/grains", {"a": 1}, with_grains=["id"])
    assert (got["a"], got["grains"]["id"]) == (1, "m1")


def test_a_real_minion_does_not_answer_calls(salt_site):
    caller = Caller(str(salt_site.directory / "etc/minion"))
    with pytest.raises(SaltClientError, match="expected a Brine minion that runs here"):
        caller.cmd("test.ping")


def test_without_a_minion_nothing_is_sent(tmp_path):
    (tmp_path / "minion").write_text(f"sock_dir: {tmp_path}\nid: m1\n")
    caller = Caller(str(tmp_path / "minion"))
    assert caller.cmd("event.send", "a", {}) is False
    assert caller.cmd("event.send", "a", {}, with_grains=True) is False
    with pytest.raises(SaltClientError, match="expected a Brine minion"):
        caller.cmd("test.ping")


def test_a_masterless_minion_sends_nothing(brine_site):
    opts = {**Caller(str(brine_site.directory / "etc/minion")).opts, "file_client": "local"}
    assert Caller(mopts=opts).cmd("event.send", "a", {}) is False
