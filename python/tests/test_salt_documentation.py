"""The Python blocks of Salt's event documentation, as printed.

With Salt's names on a machine without Salt, on Brine's bus; and with our names, on the buses of a
real salt-master and salt-minion. Only configuration files say where the buses are.
"""

import json
import pathlib
import subprocess
import sys
import threading

import pytest
from sites import has_command

from brine.event import MinionEvent, get_event

BLOCKS = pathlib.Path(__file__).with_name("salt_documentation")
RUN = BLOCKS.with_name("run_block.py")
# Our name for each of Salt's; longer ones first.
OURS = {
    "salt.utils.event": "brine.event",
    "salt.config": "brine.config",
    "salt.client": "brine.client",
    "salt.minion": "brine.config",
}


@pytest.fixture
def site(any_site):
    return any_site


@pytest.fixture
def blocks(site, tmp_path):
    """Runs blocks and returns what they got."""

    def run(*names):
        files = []
        for name in names:
            text = (BLOCKS / f"{name}.py").read_text()
            if site.release != "brine":
                for theirs, ours in OURS.items():
                    text = text.replace(theirs, ours)
                assert "salt." not in text.replace("/salt", "")
            files.append(tmp_path / f"{name}.py")
            files[-1].write_text(text)
        done = subprocess.run(
            [sys.executable, RUN, *files],
            env=site.env,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    return run


class Firing:
    """Something going on on a bus, again and again, until the block is done."""

    def __init__(self, fire):
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(fire,))

    def _run(self, fire):
        while not self._over.wait(0.05):
            fire()

    def __enter__(self):
        self._thread.start()

    def __exit__(self, *exc):
        self._over.set()
        self._thread.join()


@pytest.fixture
def busy_master(site):
    with get_event("master", opts=site.master_opts, listen=False) as event:

        def fire():
            assert event.fire_event({"id": "m1", "act": "accept", "result": True}, "salt/auth")
            assert event.fire_event({"id": "m1", "return": True, "jid": "1"}, "salt/job/1/ret/m1")

        with Firing(fire):
            yield


@pytest.mark.parametrize("name", ["one_event", "one_event_transport"])
def test_a_single_event(name, blocks, busy_master):
    assert blocks(name)["data"]["id"] == "m1"


def test_only_authentication_events(blocks, busy_master):
    assert blocks("one_event", "auth_event")["data"]["act"] == "accept"


def test_tag_and_data(blocks, busy_master):
    got = blocks("one_event", "full_event")
    assert got["tag"] == "salt/job/1/ret/m1" and got["data"]["return"] is True


def test_events_for_ever(blocks, busy_master):
    assert blocks("one_event", "auth_events")["data"]["id"] == "m1"


@pytest.mark.parametrize("name", ["job_returns", "job_returns_transport"])
def test_returns_by_glob(name, blocks, busy_master):
    assert blocks(name)["data"]["return"] is True


@pytest.mark.parametrize("name", ["minion_events", "minion_events_windows"])
def test_events_on_a_minion(name, site, blocks):
    opts = {"sock_dir": str(site.directory / "run/minion"), "id": "m1"}
    with MinionEvent(opts, listen=False) as event:
        with Firing(lambda: event.fire_event({"data": "message for the minion"}, "custom/african")):
            assert blocks(name)["evdata"]["data"] == "message for the minion"


def test_an_event_sent_to_the_master_from_a_script(site, blocks):
    with get_event("master", opts=site.master_opts) as event:
        assert blocks("caller")["ret"] is True
        got = event.get_event(wait=60, tag="myco/event/success")
    assert got["id"] == "m1"
    assert got["data"] == {"success": True, "message": "It works!"}


def test_an_event_sent_from_an_execution_module(site):
    if site.release == "brine" and not has_command("salt"):
        pytest.skip("this brine has no command `salt`")
    source = (BLOCKS / "my_custom_module.py").read_text()
    (site.directory / "srv/_modules/my_custom_module.py").write_text(source)
    with get_event("master", opts=site.master_opts) as event:
        event.subscribe("myco/")
        synced = site.run("salt", "m1", "saltutil.sync_modules", "--out", "json")
        assert json.loads(synced) == {"m1": ["modules.my_custom_module"]}
        site.run("salt", "m1", "my_custom_module.do_something")
        got = event.get_event(wait=60, tag="myco/my_custom_module/finished")
    assert got["id"] == "m1"
    assert got["data"] == {"finished": True, "message": "The something is finished!"}


def test_with_no_minion_the_event_could_not_be_sent(blocks, site, monkeypatch, tmp_path):
    (tmp_path / "minion").write_text(f"sock_dir: {tmp_path}\nid: m1\n")
    monkeypatch.setitem(site.env, "SALT_MINION_CONFIG", str(tmp_path / "minion"))
    assert blocks("caller")["ret"] is False
