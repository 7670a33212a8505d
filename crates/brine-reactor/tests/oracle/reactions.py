"""What real Salt's reactor does with reaction files: one JSON line for each, the calls it would make.

Arguments: a directory for Salt, then the files. The first line of each file names its event. Nothing is called: the
clients are replaced.
"""
import json
import logging
import os
import sys

import salt.config
import salt.runner
import salt.utils.args
import salt.utils.reactor
import salt.wheel

logging.disable(logging.CRITICAL)
root = sys.argv[1]
conf = os.path.join(root, "master")
with open(conf, "w") as file:
    file.write("root_dir: {0}\nfile_roots: {{base: [{0}/srv]}}\nreactor: [{{x: y}}]\nlog_level: quiet\n".format(root))
opts = salt.config.master_config(conf)
reactor = salt.utils.reactor.Reactor(opts)
functions = {
    "runner": salt.runner.RunnerClient(opts).functions,
    "wheel": salt.wheel.Wheel(opts).functions,
}
calls = []


class Local:
    def cmd_async(self, tgt, fun, arg=(), timeout=None, tgt_type="glob", ret="", jid="", kwarg=None, **kwargs):
        calls.append(
            {"fun": "local." + fun, "tgt": tgt, "tgt_type": tgt_type, "arg": list(arg), "kwarg": kwarg or {}, "ret": ret}
        )


class Master:
    def __init__(self, kind):
        self.kind = kind
        self.functions = functions[kind]

    def low(self, fun, low):
        arg, kwarg = list(low["arg"]), dict(low["kwarg"])
        if flat:
            # Named, and without what is only a default.
            spec = salt.utils.args.get_function_argspec(self.functions[fun])
            defaults = dict(zip(spec.args[::-1], (spec.defaults or ())[::-1]))
            kwarg = {k: v for k, v in kwarg.items() if k not in defaults or defaults[k] != v}
            kwarg.update(zip(spec.args, arg))
            arg = []
        calls.append({"fun": self.kind + "." + fun, "arg": arg, "kwarg": kwarg})


class Pool:
    def fire_async(self, func, args=None, kwargs=None):
        func(*args)


class Quiet(salt.utils.reactor.ReactWrap):
    def __init__(self):
        self.opts = opts
        self.pool = Pool()
        salt.utils.reactor.ReactWrap.client_cache = {
            "local": Local(),
            "runner": Master("runner"),
            "wheel": Master("wheel"),
        }

    def populate_client_cache(self, low):
        pass


wrap = Quiet()
for path in sys.argv[2:]:
    with open(path) as file:
        event = json.loads(file.readline().split(" ", 1)[1])
    del calls[:]
    for chunk in reactor.reactions(event["tag"], event["data"], [path]):
        flat = "args" not in chunk and not ("arg" in chunk and "kwarg" in chunk)
        wrap.run(chunk)
    print(json.dumps({"file": path, "calls": calls}, default=str), flush=True)
