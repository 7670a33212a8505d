"""The package is typed throughout: for itself, and for a program that uses it."""

import subprocess
import sys

from conftest import ROOT

PROGRAM = '''
import asyncio

import brine
import brine.client
import brine.config
from brine.event import get_event

opts = brine.config.client_config("/etc/salt/master")
with get_event("master", sock_dir=opts["sock_dir"], transport=opts["transport"], opts=opts) as event:
    fired: bool = event.fire_event({"a": 1}, "my/tag", timeout=100)
    for data in event.iter_events(tag="salt/job", match_type="fnmatch", full=True):
        print(data["tag"])


async def main(bus: brine.Bus) -> None:
    async with bus.events(["a/*", "b/*"], exclude="*/c") as events:
        async for one in events:
            tag: str = one.tag
            print(tag, (one.seq or 0) + 1, one.position, one.stamp.year if one.stamp else None)
    position: str = bus.fire(tag, ack=True)
    for event in bus.history(after=position):
        if isinstance(event, brine.Gap):
            missed: int | None = event.missed
            print(missed)


asyncio.run(main(brine.Bus("minion", id="m1", sock_dir="/run")))
with brine.client.LocalClient(mopts=opts) as local:
    returns: dict[str, object] = local.cmd("*", "test.ping", timeout=3, tgt_type="glob")
    for some in local.cmd_iter(["m1"], "test.arg", [1], tgt_type="list", kwarg={"b": 2}):
        print(some)
brine.client.Caller().cmd("event.send", "my/tag", {"a": 1})
'''


def mypy(*arguments):
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_package_passes_strictly():
    mypy(ROOT / "python/lib/brine")


def test_a_program_passes_strictly(tmp_path):
    file = tmp_path / "program.py"
    file.write_text(PROGRAM)
    mypy(file)


def test_a_wrong_program_does_not_pass(tmp_path):
    file = tmp_path / "program.py"
    file.write_text("import brine\nbrine.Bus().fire(1)\n")
    done = subprocess.run(
        [sys.executable, "-m", "mypy", file], capture_output=True, text=True, check=False
    )
    assert "call-overload" in done.stdout
