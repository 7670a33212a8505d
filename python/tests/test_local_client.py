"""``LocalClient`` on a Brine master, beside Salt's on a real one: the same calls, the same results."""

import json
import pathlib
import shutil
import subprocess
import sys
import threading

import pytest
from conftest import ROOT

import brine
from brine.client import LocalClient
from brine.exceptions import SaltClientError

CALLS = pathlib.Path(__file__).with_name("local_calls.py")
# What the minion itself says is not the client's: Salt's own traceback, `__pub_*` keys of 3008, and
# jobs of several functions, which Brine's minion does not run.
FROM_THE_MINION = ("a function that raises", "arguments", "several functions")


def answers(python, library, site, *names):
    done = subprocess.run(
        [python, CALLS, library, *names],
        env=site.env,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stderr + site.logs()
    return dict(json.loads(line) for line in done.stdout.splitlines())


def test_every_call_comes_out_as_with_salts_client(sites):
    theirs = answers(ROOT / ".salt/3008.3/bin/python", "salt", sites("3008.3"))
    ours = answers(sys.executable, "brine", sites("brine"))
    for name in FROM_THE_MINION:
        del theirs[name], ours[name]
    assert ours == theirs


@pytest.fixture
def local(brine_site):
    with LocalClient(str(brine_site.directory / "etc/master")) as client:
        yield client


@pytest.fixture
def absent(brine_site):
    """A minion the master knows and that does not run."""
    accepted = brine_site.directory / "pki/master/minions"
    shutil.copy(accepted / "m1", accepted / "m9")
    yield "m9"
    (accepted / "m9").unlink()


def test_arguments_reach_the_function(local):
    got = local.cmd("m1", "test.arg", [1, "a", [2]], kwarg={"x": {"y": None}})["m1"]
    assert got["args"] == [1, "a", [2]]
    assert got["kwargs"]["x"] == {"y": None}
    assert local.cmd("m1", "test.echo", "one text")["m1"] == "one text"


def test_a_minion_that_does_not_answer_is_false(local, absent):
    short = {"timeout": 1, "gather_job_timeout": 1}
    assert local.cmd("*", "test.ping", **short) == {"m1": True, absent: False}
    assert [list(one) for one in local.cmd_iter("*", "test.ping", **short)] == [["m1"]]
    failed = list(local.cmd_iter("*", "test.ping", expect_minions=True, **short))
    assert failed[-1] == {absent: {"failed": True}}
    printed = list(local.cmd_cli("*", "test.ping", **short))
    assert printed[-1][absent]["ret"].startswith("Minion did not return. [No response]")
    assert (printed[-1][absent]["out"], printed[-1][absent]["retcode"]) == ("no_return", 1)


def test_nodegroups_are_those_of_the_configuration(local):
    local.opts["nodegroups"] = {"all": "L@m1,m2 or N@more", "more": ["m8", "m9"]}
    assert local.cmd("all", "test.ping", tgt_type="nodegroup") == {"m1": True}
    assert local.cmd("N@all and not m2", "test.ping", tgt_type="compound") == {"m1": True}
    assert local.cmd("m1", "test.ping", expr_form="list") == {"m1": True}
    with pytest.raises(SaltClientError, match="Node group none unavailable"):
        local.cmd("none", "test.ping", tgt_type="nodegroup")


def test_jobs_of_one_client_at_the_same_time_do_not_mix(local):
    first = local.cmd_iter("*", "test.echo", ["first"])
    second = local.cmd_iter("*", "test.echo", ["second"])
    got = [next(first), next(second)]
    assert [one["m1"]["ret"] for one in got] == ["first", "second"]


def test_threads_with_a_client_each(brine_site):
    got = []

    def run(number):
        with LocalClient(str(brine_site.directory / "etc/master")) as client:
            got.append(client.cmd("m1", "test.echo", [number])["m1"])

    threads = [threading.Thread(target=run, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(got) == list(range(8))


def test_the_jobs_are_on_the_bus_like_everybodys(local, brine_site):
    with brine.Bus(sock_dir=brine_site.directory / "run/master").events(
        "salt/job/*", timeout=20
    ) as events:
        jid = local.cmd_async("m1", "test.ping")
        tags = [next(events).tag for _ in range(2)]
    assert tags[0] == f"salt/job/{jid}/new"


def test_without_a_master_it_says_so(tmp_path):
    opts = {"sock_dir": str(tmp_path), "publish_timeout": 0.3, "timeout": 1, "gather_job_timeout": 1}
    with LocalClient(mopts=opts) as client:
        with pytest.raises(SaltClientError, match="Is master running"):
            client.cmd("*", "test.ping")


def test_a_real_master_does_not_answer(salt_site):
    with LocalClient(str(salt_site.directory / "etc/master")) as client:
        client.opts["publish_timeout"] = 1
        with pytest.raises(SaltClientError, match="expected a Brine master"):
            client.cmd("*", "test.ping")
