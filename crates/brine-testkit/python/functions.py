"""Runs execution functions in real Salt as a published job does, without a master.

argv: a directory for caches. Standard input: lines of JSON `[fun, arg, load]`. Standard output: for
each a line of JSON `[repr of the return, retcode, success, out]`; null where nothing was returned.
"""

import json
import os
import sys

import salt.config
import salt.loader
import salt.minion
import salt.payload


def options(root):
    opts = salt.config.minion_config(None, minion_id="m1")
    opts.update(
        root_dir=root,
        cachedir=os.path.join(root, "cache"),
        extension_modules=os.path.join(root, "cache", "extmods"),
        pki_dir=os.path.join(root, "pki"),
        sock_dir=os.path.join(root, "sock"),
        conf_file=os.path.join(root, "minion"),
        file_client="local",
        master_type="disable",
        file_roots={"base": [os.path.join(root, "roots")]},
        pillar_roots={"base": [os.path.join(root, "pillar")]},
        enable_fqdns_grains=False,
        enable_gpu_grains=False,
    )
    for directory in ("cache", "sock", "pki"):
        os.makedirs(os.path.join(root, directory), exist_ok=True)
    return opts


def minion(opts):
    """A minion that is told of its jobs here, and whose returns stay here."""
    small = salt.minion.SMinion(opts)
    node = salt.minion.Minion.__new__(salt.minion.Minion)
    node.opts = small.opts
    node.functions = small.functions
    node.executors = small.executors if hasattr(small, "executors") else salt.loader.executors(small.opts, small.functions)
    node.function_errors = getattr(small, "function_errors", {})
    node.proc_dir = salt.minion.get_proc_dir(small.opts["cachedir"])
    node.connected = True
    node.returned = None
    node._return_pub = lambda ret, *args, **kwargs: setattr(node, "returned", ret)
    node._fire_master = lambda *args, **kwargs: None
    node.req_channel = node.periodic_callbacks = node.subprocess_list = None
    node._fire_master_prepare = lambda *args, **kwargs: None
    return node


def main():
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    opts = options(sys.argv[1])
    node = minion(opts)
    for line in sys.stdin:
        fun, arg, load = json.loads(line)
        node.returned = None
        node.functions.pack["__context__"].clear()
        data = dict(load, fun=fun, arg=arg)
        try:
            salt.minion.Minion._thread_return(node, node.opts, data)
        except BaseException as exc:
            print(repr(exc), file=sys.stderr)
        ret = node.returned
        if ret:  # as it would travel: tuples as lists
            ret = salt.payload.loads(salt.payload.dumps(ret))
        answer = ret and [repr(ret.get("return")), ret.get("retcode"), ret.get("success"), ret.get("out")]
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


main()
