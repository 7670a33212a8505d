"""Asks real Salt which options it knows: src/options.tsv.

    python3 options.py NEWEST_SALT_PYTHON OLDER_SALT_PYTHON... > ../../src/options.tsv

Names and types come from all releases given, defaults from the first. Columns: name, type,
default on a master, default on a minion; `-` where there is none. Defaults are JSON.
"""

import json
import subprocess
import sys

# Defaults that Salt takes from the process that asks.
OF_THE_PROCESS = {"ipc_write_buffer", "ssh_config_file", "syndic_user", "user"}


def dump():
    """Prints this Salt's options as JSON."""
    import salt.config

    def types(valid):
        valid = valid if isinstance(valid, tuple) else (valid,)
        return "|".join("none" if one is type(None) else one.__name__ for one in valid)

    def defaults(opts):
        return json.loads(json.dumps(dict(opts.items()), default=list))

    json.dump(
        {
            "types": {name: types(valid) for name, valid in salt.config.VALID_OPTS.items()},
            "master": defaults(salt.config.DEFAULT_MASTER_OPTS.copy()),
            "minion": defaults(salt.config.DEFAULT_MINION_OPTS.copy()),
        },
        sys.stdout,
    )


def table(pythons):
    """Prints the table."""
    releases = [
        json.loads(subprocess.run([python, __file__, "--dump"], check=True, capture_output=True).stdout)
        for python in pythons
    ]
    types = {}
    for release in reversed(releases):
        types.update(release["types"])
    newest = releases[0]
    names = set(types) | set(newest["master"]) | set(newest["minion"])

    def default(role, name):
        if name not in newest[role] or name in OF_THE_PROCESS:
            return "-"
        return json.dumps(newest[role][name], ensure_ascii=False)

    for name in sorted(names):
        row = (name, types.get(name, "-"), default("master", name), default("minion", name))
        print("\t".join(row))


if __name__ == "__main__":
    if sys.argv[1:] == ["--dump"]:
        dump()
    else:
        table(sys.argv[1:])
