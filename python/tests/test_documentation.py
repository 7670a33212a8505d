"""Every example of the documentation runs as printed, on Brine's bus and on real Salt's.

Where the bus is comes from configuration files alone, which the environment names.
"""

import os
import re
import subprocess
import sys
import threading

import pytest
from conftest import ROOT, running

from brine.event import MinionEvent, get_event

PAGES = sorted((ROOT / "docs/python").glob("*.md"))
EXAMPLES = [
    pytest.param(block, id=f"{page.stem}-{number}")
    for page in PAGES
    for number, block in enumerate(re.findall(r"```python\n(.*?)```", page.read_text(), re.S), 1)
]


@pytest.fixture(scope="module", params=["brine", "3006.28", "3008.3"])
def configured(request, tmp_path_factory):
    """The environment for examples; a master and a minion bus with something going on."""
    directory = tmp_path_factory.mktemp("etc")
    master, minion = running(request.param), running(request.param, "minion")
    buses = {"master": next(master), "minion": next(minion)}
    for node, bus in buses.items():
        (directory / node).write_text(f"sock_dir: {bus.sock_dir}\nid: bus\n")
    over = threading.Event()
    firing = threading.Thread(target=keep_firing, args=(buses["master"], over))
    firing.start()
    yield {
        **os.environ,
        "SALT_MASTER_CONFIG": str(directory / "master"),
        "SALT_MINION_CONFIG": str(directory / "minion"),
    }, buses
    over.set()
    firing.join()
    for one in (master, minion):
        next(one, None)


def keep_firing(bus, over):
    with get_event("master", opts=bus.opts, listen=False) as event:
        while not over.wait(0.05):
            event.fire_event({"id": "m1", "act": "accept"}, "salt/auth")
            event.fire_event({"id": "m1", "return": True}, "salt/job/1/ret/m1")


def run(text, environment, tmp_path):
    file = tmp_path / "example.py"
    file.write_text(text)
    return subprocess.run(
        [sys.executable, file], env=environment, capture_output=True, text=True, timeout=60
    )


@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_runs_as_printed(example, configured, tmp_path):
    done = run(example, configured[0], tmp_path)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "example", [example for example in EXAMPLES if "import brine\n" not in example.values[0]]
)
def test_an_example_of_salts_names_runs_without_salt(example, configured, tmp_path):
    example = example.replace("brine.event", "salt.utils.event").replace("brine.", "salt.")
    done = run(example, configured[0], tmp_path)
    assert done.returncode == 0, done.stderr


def test_an_event_goes_up_through_the_minion(configured, tmp_path):
    environment, buses = configured
    with MinionEvent(buses["minion"].opts) as event:
        text = (ROOT / "docs/python/client.md").read_text()
        done = run(re.search(r"```python\n(.*?)```", text, re.S)[1], environment, tmp_path)
        assert done.returncode == 0, done.stderr
        assert event.get_event(wait=5, tag="fire_master")["tag"] == "myco/event/success"
