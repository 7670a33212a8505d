"""Every example of the documentation runs as printed, on Brine's bus and on real Salt's.

The masters and minions run, and only configuration files, which the environment names, say where.
"""

import re
import subprocess
import sys
import threading

import pytest
from conftest import ROOT

from brine.event import get_event

PAGES = sorted((ROOT / "docs/python").glob("*.md"))
EXAMPLES = [
    pytest.param(block, id=f"{page.stem}-{number}")
    for page in PAGES
    for number, block in enumerate(re.findall(r"```python\n(.*?)```", page.read_text(), re.S), 1)
]


@pytest.fixture
def site(any_site):
    """A site with something going on on its master's bus."""
    over = threading.Event()
    firing = threading.Thread(target=keep_firing, args=(any_site.master_opts, over))
    firing.start()
    yield any_site
    over.set()
    firing.join()


def keep_firing(opts, over):
    with get_event("master", opts=opts, listen=False) as event:
        while not over.wait(0.05):
            event.fire_event({"id": "m1", "act": "accept"}, "salt/auth")
            event.fire_event({"id": "m1", "return": True}, "salt/job/1/ret/m1")


def run(text, environment, tmp_path):
    file = tmp_path / "example.py"
    file.write_text(text)
    return subprocess.run(
        [sys.executable, file], env=environment, capture_output=True, text=True, timeout=60
    )


def skip_if_for_brine_alone(example, site):
    asks_brine = ("LocalClient", '"test.', "since=", "ack=")
    if site.release != "brine" and any(text in example for text in asks_brine):
        pytest.skip("only a Brine node answers over its bus, and keeps a log")


@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_runs_as_printed(example, site, tmp_path):
    skip_if_for_brine_alone(example, site)
    done = run(example, site.env, tmp_path)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "example", [example for example in EXAMPLES if "import brine\n" not in example.values[0]]
)
def test_an_example_of_salts_names_runs_without_salt(example, site, tmp_path):
    skip_if_for_brine_alone(example, site)
    example = example.replace("brine.event", "salt.utils.event").replace("brine.", "salt.")
    done = run(example, site.env, tmp_path)
    assert done.returncode == 0, done.stderr
