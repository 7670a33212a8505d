"""``brine.config`` and ``brine.client``."""

import pytest

import brine.client
import brine.config
import brine.exceptions
from brine.event import MinionEvent


def test_files_includes_and_defaults(tmp_path):
    (tmp_path / "master.d").mkdir()
    (tmp_path / "master").write_text("root_dir: /srv/x\ntimeout: 7\n")
    (tmp_path / "master.d/a.conf").write_text("timeout: 8\nmine: {a: [1, 2]}\n")
    opts = brine.config.master_config(str(tmp_path / "master"))
    assert (opts["timeout"], opts["mine"]) == (8, {"a": [1, 2]})
    assert opts["sock_dir"] == "/srv/x/var/run/salt/master"
    assert opts["transport"] == "zeromq"
    client = brine.config.client_config(str(tmp_path / "master"))
    assert client["master_uri"] == "tcp://127.0.0.1:4506"


def test_a_missing_file_means_the_defaults(tmp_path):
    opts = brine.config.minion_config(str(tmp_path / "none"), minion_id="m1")
    assert (opts["id"], opts["ipc_mode"]) == ("m1", "ipc")


def test_a_variable_names_another_file_only_for_the_default(tmp_path, monkeypatch):
    file = tmp_path / "named"
    file.write_text("timeout: 9\n")
    monkeypatch.setenv("SALT_MASTER_CONFIG", str(file))
    assert brine.config.master_config("/etc/salt/master")["timeout"] == 9
    assert brine.config.master_config(str(tmp_path / "other"))["timeout"] != 9


def test_a_broken_file_is_an_error(tmp_path):
    (tmp_path / "master").write_text("a: [")
    with pytest.raises(brine.exceptions.SaltConfigurationError, match="master"):
        brine.config.master_config(str(tmp_path / "master"))
    with pytest.raises(SystemExit):
        brine.config.master_config(str(tmp_path / "master"), exit_on_config_errors=True)


def test_a_caller_sends_through_the_minion(minion_bus, tmp_path):
    (tmp_path / "minion").write_text(f"sock_dir: {minion_bus.sock_dir}\nid: bus\n")
    caller = brine.client.Caller(str(tmp_path / "minion"))
    with MinionEvent(caller.opts) as event:
        assert caller.cmd("event.send", "myco/event/success", {"success": True}) is True
        got = event.get_event(wait=60, tag="fire_master")
    assert (got["tag"], got["data"]) == ("myco/event/success", {"success": True})


def test_a_dead_minion_is_false(tmp_path):
    (tmp_path / "minion").write_text(f"sock_dir: {tmp_path}\nid: bus\n")
    caller = brine.client.Caller(str(tmp_path / "minion"))
    assert caller.cmd("event.send", "a", {}) is False
