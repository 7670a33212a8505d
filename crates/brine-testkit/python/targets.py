"""Who is meant by a target, asked of real Salt's matchers without any daemon.

argv: a directory for keys and caches. Standard input: a line of JSON per fleet,

    {"minions": [[id, grains, pillar], ...], "groups": {...}, "targets": [[type, target, delimiter], ...]}

where grains, pillar, groups and targets are msgpack in hex. Standard output: a line of JSON per fleet: under
`targets` for each target and each minion `[whether the minion takes the job, whether the master counts it in]`,
null where the minion's matcher raises; under `groups` what each node group stands for.
"""

import importlib
import json
import logging
import os
import pkgutil
import shutil
import sys
import warnings

import salt.cache
import salt.config
import salt.matchers
import salt.minion
import salt.payload
import salt.utils.minions
import salt.version

OPTS = salt.config.master_config(None)
logging.disable(logging.CRITICAL)
warnings.simplefilter("ignore")

MODULES = [
    importlib.import_module(f"salt.matchers.{module.name}")
    for module in pkgutil.iter_modules(salt.matchers.__path__)
    if module.name.endswith("_match")
]
MATCHERS = {
    f"{module.__name__.rpartition('.')[2]}.match": module.match for module in MODULES if hasattr(module, "match")
}


class Node(salt.minion.Minion):
    """A minion's question whether a job is for it, and nothing else."""

    def __init__(self, opts):  # pylint: disable=super-init-not-called
        self.opts = opts
        self.matchers = MATCHERS

    def __del__(self):
        pass


def load(packed):
    return salt.payload.loads(bytes.fromhex(packed))


def is_taken(node, kind, target, delimiter):
    for module in MODULES:
        module.__opts__ = node.opts
        module.__context__ = {"matchers": MATCHERS}
    try:
        if kind == "nodegroup":
            return bool(MATCHERS["nodegroup_match.match"](target, node.opts["nodegroups"]))
        if kind in ("pillar_pcre", "pillar_exact"):  # whose delimiter a minion's own code leaves out
            return bool(MATCHERS[f"{kind}_match.match"](target, delimiter=delimiter))
        job = dict(tgt=target, tgt_type=kind, jid="1", fun="test.ping", arg=[], delimiter=delimiter)
        return bool(node._target_load(job))
    except Exception:  # pylint: disable=broad-except
        return None


class Master:
    """A master's question whom a target means. Made once: what it loads takes longer than to ask it."""

    def __init__(self, root):
        self.opts = OPTS.copy()
        self.opts.update(root_dir=root, pki_dir=os.path.join(root, "pki"), cachedir=os.path.join(root, "cache"))
        self.cache = salt.cache.factory(self.opts)
        self.checks = salt.utils.minions.CkMinions(self.opts)

    def have(self, minions, groups):
        """Accepts these minions' keys, and takes what they show."""
        keys = os.path.join(self.opts["pki_dir"], "minions")
        for directory in (keys, self.opts["cachedir"]):
            shutil.rmtree(directory, ignore_errors=True)
            os.makedirs(directory)
        for name, grains, pillar in minions:
            with open(os.path.join(keys, name), "w", encoding="utf-8") as key:
                key.write("-----BEGIN PUBLIC KEY-----\nAA==\n-----END PUBLIC KEY-----\n")
            if salt.version.__version__.startswith("3006"):
                self.cache.store(f"minions/{name}", "data", {"grains": grains, "pillar": pillar})
            else:
                self.cache.store("grains", name, grains)
                self.cache.store("pillar", name, pillar)
        self.checks.opts["nodegroups"] = groups


def answer(master, question):
    groups = load(question["groups"])
    minions = [(name, load(grains), load(pillar)) for name, grains, pillar in question["minions"]]
    master.have(minions, groups)
    nodes = [
        Node({"id": name, "grains": grains, "pillar": pillar, "nodegroups": groups}) for name, grains, pillar in minions
    ]
    answers = []
    for kind, packed, delimiter in question["targets"]:
        target = load(packed)
        counted = master.checks.check_minions(target, kind, delimiter)["minions"]
        answers.append([[is_taken(node, kind, target, delimiter), node.opts["id"] in counted] for node in nodes])
    resolved = {name: salt.utils.minions.nodegroup_comp(name, groups) for name in groups}
    return {"targets": answers, "groups": resolved}


def main():
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    master = Master(sys.argv[1])
    for line in sys.stdin:
        print(json.dumps(answer(master, json.loads(line))), file=answers, flush=True)


main()
