"""Real Salt's part of the reactor: renders files and runs runner and wheel functions that Brine has not.

Reads requests, one JSON object a line, from standard input, and answers on standard output in the same way. Each
request is a child of this process, so that one that hangs holds up no other and can be killed. Facts: the classes that
Salt's own reactor uses, of 3006.28 and 3008.3.
"""
import fcntl
import json
import os
import signal
import sys


def plain(value):
    """What JSON can hold."""
    if isinstance(value, dict):
        return {k if isinstance(k, str) else str(k): plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(item) for item in value]
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    return str(value)


class Failed(Exception):
    """A function that ended, and did not do what it should."""

    def __str__(self):
        value = self.args[0]
        if not isinstance(value, str):
            return "it reports a failure: " + json.dumps(plain(value))
        lines = [line for line in value.splitlines() if line.strip()]
        if len(lines) > 1 and lines[0].startswith("Exception occurred"):
            return lines[0].split("Traceback")[0] + lines[-1]
        return lines[0] if lines else "it reports a failure"


class Salt:
    """Salt as its reactor has it."""

    def __init__(self, conf):
        import salt.config

        self.opts = salt.config.master_config(conf)
        self._compiler = None

    def compiler(self):
        if self._compiler is None:
            import salt.minion
            import salt.state

            local = dict(self.opts, file_client="local")
            minion = salt.minion.MasterMinion(local)
            self._compiler = salt.state.Compiler(self.opts, minion.rend)
            self._minion = minion
        return self._compiler

    def render(self, file, tag, data):
        from salt.template import compile_template

        compiler = self.compiler()
        return compile_template(
            file,
            compiler.rend,
            self.opts["renderer"],
            self.opts["renderer_blacklist"],
            self.opts["renderer_whitelist"],
            tag=tag,
            data=data,
        )

    def client(self, kind):
        if kind == "runner":
            import salt.runner

            return salt.runner.RunnerClient(self.opts)
        import salt.wheel

        return salt.wheel.Wheel(self.opts)

    def call(self, kind, fun, arg, kwarg, flat):
        client = self.client(kind)
        if fun not in client.functions:
            raise LookupError("function not available")
        if flat:
            import salt.utils.args

            bound = salt.utils.args.format_call(
                client.functions[fun],
                kwarg,
                expected_extra_kws=("name", "order", "fun", "key", "state"),
            )
            arg, kwarg = arg or bound["args"], bound["kwargs"]
        low = {"arg": arg, "kwarg": kwarg, "__user__": "Reactor"}
        data = client.low(fun, low, print_event=False, full_return=True)
        value = data["return"]
        # Salt returns the text of an exception, and says so beside it.
        is_refused = isinstance(value, str) and value.startswith("\nPassed invalid arguments: ")
        if is_refused or not data.get("success", True):
            raise Failed(value)
        return value

    def functions(self):
        return {
            kind: sorted(name for name in self.client(kind).functions if "." in name)
            for kind in ("runner", "wheel")
        }


def answer(out, request, salt):
    try:
        op = request["op"]
        if op == "render":
            value = salt.render(request["file"], request["tag"], request["data"])
        elif op == "functions":
            value = salt.functions()
        else:
            value = salt.call(op, request["fun"], request["arg"], request["kwarg"], request["flat"])
        said = {"id": request["id"], "value": plain(value)}
    except Failed as error:
        said = {"id": request["id"], "error": str(error)}
    except BaseException as error:  # whatever a function raises, SystemExit too
        said = {"id": request["id"], "error": "{}: {}".format(type(error).__name__, error)}
    line = (json.dumps(said) + "\n").encode()
    with open(os.devnull) if not out.lock else open(out.lock, "a") as lock:
        fcntl.lockf(lock, fcntl.LOCK_EX) if out.lock else None
        while line:
            line = line[os.write(out.number, line):]


class Output:
    """Where answers go: the first standard output, which functions that print must not write to."""

    def __init__(self, lock):
        self.number = os.dup(1)
        os.dup2(2, 1)
        self.lock = lock


def main():
    conf, lock = sys.argv[1:3]
    out = Output(lock)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    salt = Salt(conf)
    salt.compiler()
    children = {}
    for line in sys.stdin:
        request = json.loads(line)
        for number, child in list(children.items()):
            if os.waitpid(child, os.WNOHANG)[0]:
                del children[number]
        if request["op"] == "kill":
            child = children.get(request["id"])
            if child:
                try:
                    os.killpg(child, signal.SIGKILL)
                except ProcessLookupError:
                    pass
            continue
        child = os.fork()
        if child == 0:
            os.setsid()
            answer(out, request, salt)
            os._exit(0)
        children[request["id"]] = child
    for child in children.values():
        try:
            os.killpg(child, signal.SIGKILL)
        except ProcessLookupError:
            pass


main()
