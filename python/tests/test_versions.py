"""The wheels install into a fresh environment of every Python found here, and work there."""

import os
import pathlib
import re
import shutil
import subprocess

import pytest

WHEELS = os.environ["WHEELS"]
PROGRAM = pathlib.Path(__file__).with_name("every_version.py")
SUPPORTED = ["3.9", "3.10", "3.11", "3.12", "3.13"]


def interpreters():
    """A Python of each series, from pyenv, uv and the path."""
    home = pathlib.Path.home()
    places = [
        *home.glob(".pyenv/versions/*/bin/python3"),
        *home.glob(".local/share/uv/python/*/bin/python3"),
    ]
    places += [found for series in SUPPORTED if (found := shutil.which(f"python{series}"))]
    found = {}
    for place in map(str, places):
        said = subprocess.run([place, "--version"], capture_output=True, text=True, check=False)
        series = re.match(r"Python (3\.\d+)", said.stdout)
        if series and has_venv(place):
            found.setdefault(series[1], place)
    return found


def has_venv(python):
    return not subprocess.run(
        [python, "-c", "import ensurepip, venv"], capture_output=True, check=False
    ).returncode


FOUND = interpreters()


@pytest.mark.parametrize("series", SUPPORTED)
def test_the_wheels_work_in_a_fresh_environment(series, bus, tmp_path):
    if series not in FOUND:
        pytest.skip(f"no Python {series} with venv on this machine")
    python = fresh_environment(FOUND[series], tmp_path / "env")
    done = subprocess.run(
        [python, PROGRAM, bus.sock_dir], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == f"all works on {series}"


def fresh_environment(base, directory):
    subprocess.run([base, "-m", "venv", directory], check=True)
    python = directory / "bin/python"
    subprocess.run(
        [python, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--no-index"]
        + ["--find-links", WHEELS, "brine-events[salt]"],
        check=True,
    )
    return python


def test_a_python_that_is_too_old_is_refused_by_pip(tmp_path):
    if "3.8" not in FOUND:
        pytest.skip("no Python 3.8 on this machine")
    with pytest.raises(subprocess.CalledProcessError):
        fresh_environment(FOUND["3.8"], tmp_path / "env")
