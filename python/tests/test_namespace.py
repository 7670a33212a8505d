"""``brine-salt-compat`` gives Salt's names where Salt is not, and gives way where it is."""

import hashlib
import os
import pathlib
import subprocess
import sys
import zipfile

import pytest

WHEELS = os.environ["WHEELS"]


def run(python, *arguments, cwd=None):
    done = subprocess.run(
        [python, *arguments], capture_output=True, text=True, timeout=120, cwd=cwd, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def pip(python, *arguments):
    return run(python, "-m", "pip", "-q", "--disable-pip-version-check", *arguments)


@pytest.fixture
def environment(tmp_path):
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "env"], check=True)
    return tmp_path / "env/bin/python"


def install_compat(python):
    pip(python, "install", "--no-index", "--find-links", WHEELS, "brine-events[salt]")


@pytest.fixture
def salt_wheel(tmp_path):
    """A distribution `salt` with a package `salt`, as real Salt's is."""
    wheel = tmp_path / "salt-3008.3-py3-none-any.whl"
    information = "salt-3008.3.dist-info"
    files = {
        "salt/__init__.py": "who = 'real'\n",
        "salt/client.py": "who = 'real client'\n",
        f"{information}/METADATA": "Metadata-Version: 2.1\nName: salt\nVersion: 3008.3\n",
        f"{information}/WHEEL": "Wheel-Version: 1.0\nGenerator: x\nTag: py3-none-any\n",
    }
    record = "".join(f"{name},,\n" for name in [*files, f"{information}/RECORD"])
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, text in {**files, f"{information}/RECORD": record}.items():
            archive.writestr(name, text)
    return wheel


def fingerprint(python):
    site = pathlib.Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"))
    files = (path for path in (site / "salt").rglob("*.py"))
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_without_salt_the_names_are_there(environment):
    install_compat(environment)
    names = "import salt.config, salt.utils.event, salt.client, salt.minion, salt.exceptions; print(1)"
    assert run(environment, "-c", names) == "1"
    assert "over brine-events" in run(environment, "-m", "brine_salt_compat")
    version = "import salt.version as v; print(v.__version__, v.__saltstack_version__ >= v.SaltStackVersion(3006, 9))"
    assert run(environment, "-c", version) == "3008.3 True"


@pytest.mark.parametrize("first", ["salt", "compat"])
def test_real_salt_is_neither_overwritten_nor_shadowed(environment, salt_wheel, first):
    if first == "compat":
        install_compat(environment)
    pip(environment, "install", "--no-index", salt_wheel)
    before = fingerprint(environment)
    if first == "salt":
        install_compat(environment)
    program = "import salt, salt.client; print(salt.who, salt.client.who)"
    assert run(environment, "-c", program) == "real real client"
    assert "stands back" in run(environment, "-m", "brine_salt_compat")
    pip(environment, "uninstall", "-y", "brine-salt-compat")
    assert len(before) == 2 and fingerprint(environment) == before
    assert run(environment, "-c", program) == "real real client"


def test_real_salt_later_on_the_path_is_what_is_imported(environment, salt_wheel, tmp_path):
    install_compat(environment)
    with zipfile.ZipFile(salt_wheel) as archive:
        archive.extractall(tmp_path / "later")
    program = f"import sys; sys.path.append({str(tmp_path / 'later')!r}); import salt; print(salt.who)"
    assert run(environment, "-c", program) == "real"


def test_a_directory_of_that_name_is_not_salt(environment, tmp_path):
    install_compat(environment)
    (tmp_path / "srv/salt").mkdir(parents=True)
    program = "import salt.utils.event; print(salt.utils.event.tagify('x'))"
    assert run(environment, "-c", program, cwd=tmp_path / "srv") == "salt/x"


def test_other_programs_pay_next_to_nothing_at_start_up(environment):
    install_compat(environment)
    loaded = run(environment, "-c", "import sys; print(*sys.modules)").split()
    assert "brine_salt_compat" in loaded
    assert not [name for name in loaded if name == "brine" or name.startswith("brine.")]
