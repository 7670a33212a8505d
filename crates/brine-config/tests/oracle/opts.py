"""Asks real Salt what it makes of configuration files: tests/golden/opts-<release>.json.

    SALT_PYTHON opts.py > ../golden/opts-<release>.json

Each fixture is a tree of files in a directory of its own, ROOT in what follows. Noted is what
differs from the same role's configuration without any file; that one is noted in full.
"""

import json
import logging
import os
import pathlib
import re
import sys
import tempfile

from values import typed

# What Salt derives from the process, or keeps for itself.
NOT_COMPARED = {
    "__cachedir", "__cli", "__fs_update", "__role", "api_logfile", "api_pidfile", "features",
    "master_uri", "ssh_config_file", "syndic_user", "token", "token_file", "utils_dirs",
    "worker_pools", "pillar_source_merging_strategy", "nodegroups", "nodename_of_host",
}  # fmt: skip

GUESSED = "Guessed.Example.org"


def fixture(role, *files, main=None, env=None):
    """A fixture; `files` are texts by path, the first is the main file unless `main` says."""
    files = dict(files)
    main = main or next(iter(files), role)
    return {"role": role, "main": main, "files": files, "env": env or {}}


def fixtures():
    """All fixtures by name; the texts hold ROOT where their directory's path goes."""
    long_name = "/run/" + "x" * 40
    return {
        "master without files": fixture("master"),
        "minion without files": fixture("minion"),
        "empty master": fixture("master", ("master", "")),
        "only comments": fixture("minion", ("minion", "# id: x\n#master: y\n")),
        "false document": fixture("minion", ("minion", "false\n")),
        "empty list document": fixture("minion", ("minion", "[]\n")),
        "list document": fixture("minion", ("minion", "- a\n")),
        "text document": fixture("master", ("master", "just text\n")),
        "broken yaml": fixture("master", ("master", "a: [1\nb: 2\n")),
        "duplicate key": fixture("master", ("master", "sock_dir: /a\nsock_dir: /b\n")),
        "tab in yaml": fixture("minion", ("minion", "id:\tm1\n")),
        "plain minion": fixture(
            "minion", ("minion", "id: m1\nmaster: 10.0.0.1\nroot_dir: ROOT\nuser: salt\n")
        ),
        "plain master": fixture(
            "master",
            ("master", "id: top\nroot_dir: ROOT\nuser: salt\ninterface: 127.0.0.1\nworker_threads: 9\n"),
        ),
        "all bus options": fixture(
            "master",
            (
                "master",
                "id: b\nipc_mode: tcp\ntcp_master_pub_port: 14512\ntcp_master_pull_port: 14513\n"
                "tcp_pub_port: 14510\ntcp_pull_port: 14511\nipv6: true\nmax_event_size: 2_000_000\n"
                "event_match_type: regex\nipc_write_buffer: 4194304\npublish_drain_timeout: 5\n"
                "pub_server_write_queue_size: 77\nhash_type: MD5\nhash_id: other\nsubproxy: true\n"
                "publisher_acl: {fred: ['test.*', pkg.*], '^bob.*$': ['.*']}\n"
                "external_auth: {pam: {ann: ['*', '@runner', {'web*': [cmd.run]}]}}\n"
                "log_level: debug\nlog_level_logfile: garbage\npub_hwm: 5\n",
            ),
        ),
        "all minion bus options": fixture(
            "minion",
            (
                "minion",
                "id: b\nipc_mode: tcp\ntcp_pub_port: 14510\ntcp_pull_port: 14511\nipv6: false\n"
                "max_event_size: 100\nevent_match_type: fnmatch\nhash_type: SHA512\nhash_id: other\n"
                "subproxy: true\nbeacons: {load: [{interval: 5}]}\nstart_event_grains: [os, id]\n",
            ),
        ),
        "write buffer dynamic": fixture("master", ("master", "id: x\nipc_write_buffer: dynamic\n")),
        "write buffer dynamic on a minion": fixture(
            "minion", ("minion", "id: x\nipc_write_buffer: dynamic\n")
        ),
        "write buffer null": fixture("minion", ("minion", "id: x\nipc_write_buffer:\n")),
        "sock_dir ten longer": fixture(
            "master", ("master", f"id: x\ncachedir: /run/{'x' * 30}\nsock_dir: {long_name}\n")
        ),
        "sock_dir eleven longer": fixture(
            "master", ("master", f"id: x\ncachedir: /run/{'x' * 29}\nsock_dir: {long_name}\n")
        ),
        "sock_dir longer than a short cachedir": fixture(
            "minion", ("minion", f"id: x\nroot_dir: ROOT\ncachedir: /c\nsock_dir: {long_name}\n")
        ),
        "sock_dir in two-byte letters": fixture(
            "minion", ("minion", f"id: x\ncachedir: /run/{'x' * 30}\nsock_dir: /run/{'é' * 40}\n")
        ),
        "minion cachedir with id": fixture(
            "minion",
            (
                "minion",
                "id: m1.example.org\nappend_minionid_config_dirs: [cachedir, pki_dir, pidfile, "
                "default_include, extension_modules]\ncachedir: /c\n",
            ),
        ),
        "root_dir with paths": fixture(
            "master",
            (
                "master",
                "id: x\nroot_dir: ROOT/r/\ncachedir: ROOT/r/cache\npki_dir: pki\nsock_dir: /run/../s//t\n"
                "log_file: logs/m\nkey_logfile: /var/log/k\nautosign_file: /a/s\npidfile: ROOT/rest.pid\n"
                "extension_modules: /ext\nautoreject_file: r\n",
            ),
        ),
        "root_dir is cachedir": fixture(
            "minion", ("minion", "id: x\nroot_dir: ROOT/r\ncachedir: ROOT/r\nsock_dir: ROOT/r\n")
        ),
        "log_file to syslog": fixture(
            "master",
            (
                "master",
                "id: x\nroot_dir: ROOT\nlog_file: file:///dev/log\nkey_logfile: udp://h:514\nssh_log_file:\n",
            ),
        ),
        "log_dir": fixture("minion", ("minion", "id: x\nlog_dir: /l\n")),
        "log_dir and a relative log_file": fixture(
            "master", ("master", "id: x\nlog_dir: /l\nlog_file: m.log\n")
        ),
        "log_dir and an absolute log_file": fixture(
            "master", ("master", "id: x\nlog_dir: /l\nlog_file: /k/m.log\n")
        ),
        "empty extension_modules": fixture("minion", ("minion", "id: x\nextension_modules:\n")),
        "numeric id": fixture("minion", ("minion", "id: 42\n")),
        "zero id": fixture("minion", ("minion", "id: 0\n")),
        "octal-looking id": fixture("minion", ("minion", "id: 007\n")),
        "float id": fixture("minion", ("minion", "id: 1.50\n")),
        "boolean id": fixture("minion", ("minion", "id: yes\n")),
        "null id": fixture("minion", ("minion", "id:\n")),
        "empty id": fixture("minion", ("minion", "id: ''\n")),
        "date id": fixture("minion", ("minion", "id: 2024-01-02\n")),
        "unicode id": fixture("minion", ("minion", "id: jérôme\n")),
        "id with appended domain": fixture("minion", ("minion", "id: m1\nappend_domain: example.org\n")),
        "id that has the domain": fixture(
            "minion", ("minion", "id: m1.example.org\nappend_domain: example.org\n")
        ),
        "id that ends in a dot": fixture("minion", ("minion", "id: m1.\nappend_domain: example.org\n")),
        "guessed id": fixture("minion", ("minion", "root_dir: ROOT\n")),
        "guessed master id": fixture("master", ("master", "root_dir: ROOT\n")),
        "guessed master id with domain": fixture(
            "master", ("master", "root_dir: ROOT\nappend_domain: dom\n")
        ),
        "guessed lower-case id": fixture(
            "minion", ("minion", "root_dir: ROOT\nminion_id_lowercase: true\n")
        ),
        "guessed id without domain": fixture(
            "minion", ("minion", "root_dir: ROOT\nminion_id_remove_domain: true\n")
        ),
        "guessed id without that domain": fixture(
            "minion", ("minion", "root_dir: ROOT\nminion_id_remove_domain: example.ORG\n")
        ),
        "guessed id without another domain": fixture(
            "minion", ("minion", "root_dir: ROOT\nminion_id_remove_domain: other.org\n")
        ),
        "remembered id": fixture(
            "minion", ("minion", "root_dir: ROOT\n"), ("etc/salt/minion_id", "  kept.one  \nsecond\n")
        ),
        "remembered id with mark": fixture(
            "minion", ("minion", "root_dir: ROOT\n"), ("etc/salt/minion_id", "\ufeffkept\n")
        ),
        "remembered localhost": fixture(
            "minion", ("minion", "root_dir: ROOT\n"), ("etc/salt/minion_id", "localhost\n")
        ),
        "remembered id not wanted": fixture(
            "minion",
            ("minion", "root_dir: ROOT\nminion_id_caching: false\n"),
            ("etc/salt/minion_id", "kept\n"),
        ),
        "remembered id of a master": fixture(
            "master", ("master", "root_dir: ROOT\n"), ("etc/salt/minion_id", "kept\n")
        ),
        "default include": fixture(
            "master",
            ("master", "id: x\nsock_dir: /main\nworker_threads: 7\n"),
            ("master.d/b.conf", "sock_dir: /b\npub_hwm: 2\n"),
            ("master.d/a.conf", "sock_dir: /a\nret_port: 5\n"),
            ("master.d/.hidden.conf", "sock_dir: /hidden\n"),
            ("master.d/c.conf.bak", "sock_dir: /bak\n"),
            ("minion.d/m.conf", "sock_dir: /wrong\n"),
        ),
        "minion default include": fixture(
            "minion",
            ("minion", "id: x\nmaster: a\n"),
            ("minion.d/10.conf", "master: b\n"),
            ("minion.d/9.conf", "master: c\n"),
            ("minion.d/_schedule.conf", "schedule: {j: {function: test.ping}}\n"),
        ),
        "default include without main file": fixture(
            "minion", ("minion.d/a.conf", "id: inc\n"), main="minion"
        ),
        "another default include": fixture(
            "master",
            ("master", "id: x\ndefault_include: d/*.x\n"),
            ("d/a.x", "pub_hwm: 3\n"),
            ("master.d/a.conf", "pub_hwm: 4\n"),
        ),
        "no default include": fixture(
            "master", ("master", "id: x\ndefault_include:\n"), ("master.d/a.conf", "pub_hwm: 4\n")
        ),
        "include overrides default include": fixture(
            "master",
            ("master", "id: x\ninclude: extra/*.conf\npub_hwm: 1\n"),
            ("master.d/a.conf", "pub_hwm: 2\nret_port: 7\n"),
            ("extra/e.conf", "pub_hwm: 3\n"),
        ),
        "include list": fixture(
            "minion",
            ("minion", "id: x\ninclude:\n  - one.conf\n  - ROOT/two/*\n  - none/*.conf\n  - one.conf\n"),
            ("one.conf", "master: one\ngrains: {a: 1}\n"),
            ("two/x", "master: two\ngrains: {b: 2}\n"),
        ),
        "include from home": fixture(
            "minion", ("minion", "id: x\ninclude: ~/salt.conf\n"), ("home/salt.conf", "master: home\n")
        ),
        "nested include": fixture(
            "master",
            ("master", "id: x\n"),
            ("master.d/a.conf", "include: deep/*.conf\npub_hwm: 1\nret_port: 1\n"),
            ("master.d/deep/d.conf", "pub_hwm: 2\n"),
        ),
        "include as mapping": fixture("master", ("master", "id: x\ninclude: {}\n")),
        "wildcards in directories": fixture(
            "master",
            ("master", "id: x\ninclude: '[ab]?/*/[!x]*.conf'\n"),
            ("a1/d/ok.conf", "pub_hwm: 1\n"),
            ("a1/d/xx.conf", "pub_hwm: 2\n"),
            ("c1/d/ok.conf", "pub_hwm: 3\n"),
            ("b2/e/ok.conf", "ret_port: 4\n"),
        ),
        "merging of includes": fixture(
            "master",
            ("master", "id: x\nexternal_auth: {pam: {main: ['*']}}\nreactor: [{main: [m]}]\n"),
            (
                "master.d/a.conf",
                "external_auth: {pam: {fred: [a, b], ann: [c]}}\nreactor: [{t/a: [x]}, {t/b: [y]}]\n"
                "peer: {m: [1, 2]}\n",
            ),
            (
                "master.d/b.conf",
                "external_auth: {pam: {fred: [b, z, z]}, ldap: {bob: ['*']}}\nreactor: [{t/b: [y]}, {t/c: [z]}]\n"
                "peer: {m: [2, 3], n: [4]}\n",
            ),
            ("master.d/c.conf", "peer: [gone]\n"),
        ),
        "schedules of includes": fixture(
            "minion",
            ("minion", "id: x\n"),
            ("minion.d/a.conf", "schedule: {j: {function: a, args: [1]}, k: {function: k}}\n"),
            ("minion.d/b.conf", "schedule: {j: {args: [2]}}\n"),
        ),
        "broken include": fixture(
            "minion",
            ("minion", "id: x\nmaster: a\n"),
            ("minion.d/a.conf", "master: b\n  bad\n indent: [\n"),
            ("minion.d/b.conf", "master_port: 7\n"),
        ),
        "list in include": fixture(
            "master",
            ("master", "id: x\n"),
            ("master.d/a.conf", "- 1\n"),
            ("master.d/b.conf", "pub_hwm: 9\n"),
        ),
        "id in include": fixture(
            "minion", ("minion", "id: x\n"), ("minion.d/id.conf", "id: 1234\n")
        ),
        "anchors and merges": fixture(
            "master",
            (
                "master",
                "id: x\nbase: &b {pam: {fred: ['*']}}\nexternal_auth:\n  <<: *b\n  ldap: {ann: [a]}\n"
                "own_key: *b\n",
            ),
        ),
        "unknown keys": fixture(
            "master", ("master", "id: x\nno_such_option: 5\nbrine: {compat: 3006}\nmy.key: {a: [b]}\n")
        ),
        "wrong types": fixture(
            "master",
            (
                "master",
                "id: x\nmaster_stats_event_iter: many\npub_hwm: '5'\nret_port: 1.5\npublish_port: true\nauto_accept: 'yes'\n"
                "open_mode: 1\nexternal_auth: [pam]\nreactor: none\npublisher_acl:\nlog_level: 5\ntimeout: x\n"
                "ipv6: 'on'\nnodegroups: {}\nmax_event_size: null\ninterface: 7\nevent_return: [a, b]\n"
                "event_match_type: [regex]\npresence_events: 5\nstate_events: 0\nengines: {a: b}\n",
            ),
        ),
        "wrong types on a minion": fixture(
            "minion",
            (
                "minion",
                "id: x\nmaster_port: abc\nmaster: 5\nmaster_tries: '3'\nauth_timeout: 2.5\nacceptance_wait_time: true\n"
                "start_event_grains: os\nrecon_default: '1_000'\nbeacons: []\nmaster_type: [a]\nmultiprocessing: 1\n"
                "tcp_keepalive: null\nhash_type: sha1\nrandom_master: str\nretry_dns: ''\n",
            ),
        ),
        "right but unusual types": fixture(
            "minion",
            (
                "minion",
                "id: x\nmaster: [a, b]\nmaster_port: '4506'\nipv6: null\nevent_return: ''\nprocess_count_max: 5\n"
                "acceptance_wait_time: 3\nloop_interval: 2\nmaster_uri_format: sdb://x/y\nping_interval: sdb://a/b\n",
            ),
        ),
        "open doors": fixture("master", ("master", "id: x\nopen_mode: true\nauto_accept: yes\n")),
        "sock_dir is no text": fixture("master", ("master", "id: x\nsock_dir: 5\n")),
        "hash_type is no text": fixture("minion", ("minion", "id: x\nhash_type: 5\n")),
        "cachedir is null": fixture("minion", ("minion", "id: x\ncachedir:\n")),
        "rest back end": fixture(
            "master", ("master", "id: x\nexternal_auth: {rest: {'^url': 'http://h'}}\n")
        ),
        "variable names the master file": fixture(
            "master", ("other", "id: by-variable\n"), main="DEFAULT", env={"SALT_MASTER_CONFIG": "ROOT/other"}
        ),
        "variable names no file": fixture(
            "master", main="DEFAULT", env={"SALT_MASTER_CONFIG": "ROOT/none"}
        ),
        "variable names the directory": fixture(
            "minion", ("minion", "id: by-directory\n"), main="DEFAULT", env={"SALT_CONFIG_DIR": "ROOT"}
        ),
        "a given path beats the variable": fixture(
            "minion",
            ("minion", "id: by-path\n"),
            ("other", "id: by-variable\n"),
            env={"SALT_MINION_CONFIG": "ROOT/other"},
        ),
        "client": fixture("client", ("master", "id: x\nroot_dir: ROOT\n")),
        "client with own file": fixture(
            "client",
            ("master", "id: x\nroot_dir: ROOT\npub_hwm: 1\n"),
            ("home/.saltrc", "sock_dir: /mine\npub_hwm: 2\n"),
        ),
        "client with own file in the desktop's directory": fixture(
            "client",
            ("master", "id: x\nroot_dir: ROOT\ninterface: '::'\n"),
            ("home/.config/salt/saltrc", "pub_hwm: 3\n"),
            ("home/.saltrc", "pub_hwm: 2\n"),
        ),
        "client with a variable": fixture(
            "client",
            ("master", "id: x\nroot_dir: ROOT\ninterface: 10.0.0.1\n"),
            ("mine", "pub_hwm: 4\n"),
            env={"SALT_CLIENT_CONFIG": "ROOT/mine"},
        ),
    }


def load(case, root):
    """What Salt loads from a fixture written to `root`, and the options it warns of."""
    import salt.config

    defaults = {"master": "/etc/salt/master", "minion": "/etc/salt/minion", "client": "/etc/salt/master"}
    loaders = {
        "master": salt.config.master_config,
        "minion": salt.config.minion_config,
        "client": salt.config.client_config,
    }
    for name, text in case["files"].items():
        path = pathlib.Path(root, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.replace("ROOT", root), encoding="utf-8")
    for name in ("SALT_MASTER_CONFIG", "SALT_MINION_CONFIG", "SALT_CLIENT_CONFIG", "SALT_CONFIG_DIR", "XDG_CONFIG_HOME"):
        os.environ.pop(name, None)
    os.environ["HOME"] = f"{root}/home"
    os.environ.update((name, value.replace("ROOT", root)) for name, value in case["env"].items())
    main = defaults[case["role"]] if case["main"] == "DEFAULT" else f"{root}/{case['main']}"
    with Warned() as warned:
        opts = loaders[case["role"]](main)
    shown = {name: value for name, value in opts.items() if name not in NOT_COMPARED}
    return json.loads(json.dumps(typed(shown)["map"]).replace(root, "ROOT")), sorted(warned.options)


class Warned(logging.Handler):
    """Collects the options that Salt finds to be of the wrong type."""

    def __enter__(self):
        self.options = set()
        logging.getLogger().addHandler(self)
        return self

    def __exit__(self, *_):
        logging.getLogger().removeHandler(self)

    def emit(self, record):
        found = re.match(r"Config option '([^']+)' with value", record.getMessage())
        if found:
            self.options.add(found.group(1))


def main():
    """Prints all fixtures with what Salt makes of them."""
    import psutil
    import salt.utils.network
    import salt.version

    salt.utils.network.generate_minion_id = lambda: GUESSED
    baseline = {}
    rows = []
    for name, case in fixtures().items():
        row = {"name": name, **case}
        with tempfile.TemporaryDirectory() as root:
            try:
                opts, warned = load(case, root)
            # What Salt dies of is many things; here they all mean "refused".
            except (SystemExit, Exception) as error:  # pylint: disable=broad-except
                print(f"{name}: {type(error).__name__}: {error}", file=sys.stderr)
                rows.append({**row, "refused": True})
                continue
        role = "master" if case["role"] == "client" else case["role"]
        base = baseline.setdefault(role, opts)
        rows.append({**row, "opts": opts if base is opts else [pair for pair in opts if pair not in base], "warned": warned})
    head = {"salt": salt.version.__version__, "memory": psutil.virtual_memory().total, "host_name": GUESSED}
    print(json.dumps(head)[:-1] + ', "rows": [')
    print(",\n".join(json.dumps(row) for row in rows))
    print("]}")


if __name__ == "__main__":
    main()
