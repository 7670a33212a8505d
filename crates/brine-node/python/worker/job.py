"""One job in its own process: finds the function, runs it, and sends the result.
"""

import collections.abc
import contextlib
import functools
import inspect
import logging
import os
import sys
import threading
import types

from brine_worker.failures import exception_of, failure_of, traceback_of
from brine_worker.loading import Data, Loader
from brine_worker.packing import pack, receive, send
from brine_worker.salt_modules import Running, SaltModules

class Job:
    def __init__(self, connection, data):
        self.connection = connection
        self.lock = threading.Lock()  # modules may call from threads of their own
        self.opts = Data(data.get("opts") or {})
        self.grains = Data(data.get("grains") or {})
        self.pillar = Data(data.get("pillar") or {})
        self.builtins = set(data.get("builtins") or ())
        self.context = {}
        self.imported = []
        self.salt = Salt(self)
        self.modules = Loader(self, data.get("module_dirs") or (), "")
        self.utils_loader = Loader(self, data.get("utils_dirs") or (), "utils_")
        self.utils = Utils(self.utils_loader)
        self.salt_modules = SaltModules(self, data.get("salt"), bool(data.get("bus_is_prefixed")))

    def give_dunders(self, module):
        for name, value in [
            ("__salt__", self.salt), ("__opts__", self.opts), ("__grains__", self.grains),
            ("__pillar__", self.pillar), ("__context__", self.context), ("__utils__", self.utils),
            ("__proxy__", {}),
        ]:
            setattr(module, name, value)

    def function(self, name):
        """The function with a name: a user's module of that file name replaces a built-in one."""
        if not isinstance(name, str) or "." not in name:
            return None
        own = name.split(".")[0] in self.modules.files
        if name in self.builtins and not own:
            return functools.partial(self.call_minion, name)
        found = self.modules.find(name)
        # A user's module replaces all of Salt's module of the same name.
        return found if found is not None or own else self.salt_modules.find(name)

    def call_minion(self, fun, *args, **kwargs):
        with self.lock:
            send(self.connection, {"op": "salt", "fun": fun, "args": args, "kwargs": kwargs})
            answer = receive(self.connection)
        if answer.get("retcode"):
            self.context["retcode"] = answer["retcode"]
        if "ret" in answer:
            return answer["ret"]
        raise exception_of(answer)

    def run(self, request):
        if request.get("op") == "list":
            return self.list(request.get("missing"))
        fun = request["fun"]
        self.salt_modules.master = request.get("master")
        function = self.function(fun)
        if function is None:
            kind, reason = self.modules.unloaded.get(fun.split(".")[0], (None, None))
            if kind is None:
                kind, reason = self.salt_modules.reason(fun)
            return {"op": "missing", "kind": kind, "reason": reason}
        try:
            args, kwargs = arguments(function, request)
            is_salts = fun in self.salt_modules.found
            running = Running(self.opts.get("cachedir"), request) if is_salts else contextlib.nullcontext()
            with running:
                value = collected(function(*args, **kwargs))
            out = self.modules.outputters.get(fun) or getattr(function, "__outputter__", None)
            retcode = self.context.get("retcode", 0)
            retcode = retcode if isinstance(retcode, int) else 1
            answer = {"op": "returned", "ret": value, "retcode": int(retcode), "out": out}
        except Exception as exception:
            answer = failure_of(exception)
            answer["doc"] = function.__doc__ or ""
            return answer
        return sendable(fun, answer)

    def list(self, missing):
        """All functions; a call that did not find `missing` has logged why its module cannot be imported."""
        self.modules.reported = missing.split(".")[0] if missing else None
        self.modules.load_all()
        functions, known = {}, self.modules.functions
        for name, function in self.salt_modules.all().items():
            if name not in self.builtins and name.split(".")[0] not in self.modules.files:
                known.setdefault(name, function)
        for name, function in known.items():
            functions[name] = {"doc": function.__doc__, "argspec": argspec(function)}
        return {"op": "listed", "functions": functions}


class Utils(collections.abc.Mapping):
    """`__utils__`: functions of users' own utility modules."""

    def __init__(self, loader):
        self.loader = loader

    def __getitem__(self, name):
        function = self.loader.find(name)
        if function is None:
            raise KeyError(name)
        return function

    def __iter__(self):
        self.loader.load_all()
        return iter(self.loader.functions)

    def __len__(self):
        return len(list(iter(self)))


def sendable(fun, answer):
    """The answer, or a failure if its value cannot be sent."""
    try:
        pack(answer)
        return answer
    except Exception as exception:
        message = "the return value of {} ({}) cannot be sent: {}".format(
            fun, type(answer["ret"]).__name__, exception)
        return {"op": "failed", "kind": "unsendable", "message": message}


def arguments(function, request):
    """A job's arguments for a function; unknown keywords are refused before Python sees them."""
    args, kwargs = request.get("args") or [], dict(request.get("kwargs") or {})
    parameters = parameters_of(function)
    if parameters is None:
        return args, kwargs
    if any(one.kind is one.VAR_KEYWORD for one in parameters):
        kwargs.update(request.get("pub") or {})
        return args, kwargs
    known = [one.name for one in parameters if one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY)]
    unknown = ["{}={}".format(key, value) for key, value in kwargs.items() if key not in known]
    if unknown:
        raise InvalidKeywords("The following keyword arguments are not valid: " + ", ".join(unknown))
    return args, kwargs


class InvalidKeywords(Exception):
    pass


InvalidKeywords.__name__ = "SaltInvocationError"


def parameters_of(function):
    try:
        return list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        return None


def argspec(function):
    parameters = parameters_of(function) or []
    named = [one for one in parameters if one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD)]
    defaults = [one.default for one in named if one.default is not one.empty]
    first = lambda kind: True if any(one.kind is kind for one in parameters) else None
    return {"args": [one.name for one in named] or None,
            "defaults": [packable(value) for value in defaults] or None,
            "varargs": first(inspect.Parameter.VAR_POSITIONAL),
            "kwargs": first(inspect.Parameter.VAR_KEYWORD)}


def packable(value):
    try:
        pack(value)
        return value
    except Exception:
        return repr(value)


def collected(value):
    """All that a generator yields, as one value."""
    if not isinstance(value, types.GeneratorType):
        return value
    whole = {}
    for part in value:
        if isinstance(part, dict) and isinstance(whole, dict):
            whole.update(part)
        else:
            if not whole:
                whole = []
            whole.append(part)
    return whole


class Gathering(logging.Handler):
    """Collects log records for the caller of the function, up to a limit."""

    MOST_RECORDS, MOST_CHARACTERS = 1000, 256 << 10

    def __init__(self, level):
        super().__init__(level)
        self.records, self.characters = [], 0

    def emit(self, record):
        text = self.format(record)
        self.characters += len(text)
        count = len(self.records)
        if count < self.MOST_RECORDS and self.characters <= self.MOST_CHARACTERS:
            self.records.append([record.levelno, text])
        elif count and self.records[-1] is not self.END:
            self.records.append(self.END)

    END = [logging.WARNING, "more was logged; it is in the minion's log"]


def gather_log(level):
    """Collects log records from now on; none without a level."""
    if not isinstance(level, int):
        return []
    gathering = Gathering(level)
    root = logging.getLogger()
    root.addHandler(gathering)
    root.setLevel(min(level, root.level))
    return gathering.records


def run_job(connection, data):
    """Runs a child from its start to its end."""
    os.setpgid(0, 0)
    if data.get("umask") is not None:
        os.umask(data["umask"])
    send(connection, {"op": "started", "pid": os.getpid()})
    request = receive(connection)
    logged = gather_log(request.get("log"))
    job = Job(connection, data)
    try:
        answer = job.run(request)
    except SystemExit as exception:
        answer = {"op": "failed", "kind": "raised", "class": "SystemExit",
                  "message": str(exception.code), "traceback": traceback_of(exception)}
    answer["imported"] = [] if threading.active_count() > 1 else job.imported
    answer["log"] = logged
    sys.stdout.flush()
    sys.stderr.flush()
    send(connection, answer)


class Salt(collections.abc.Mapping):
    """`__salt__`: users' functions run here, built-in ones in the minion."""

    def __init__(self, job):
        self.job = job

    def __getitem__(self, name):
        function = self.job.function(name)
        if function is None:
            raise KeyError(name)
        return function

    def __contains__(self, name):
        return isinstance(name, str) and self.job.function(name) is not None

    def __iter__(self):
        self.job.modules.load_all()
        return iter(sorted(set(self.job.modules.functions) | self.job.builtins))

    def __len__(self):
        return len(list(iter(self)))

    def __getattr__(self, module):
        if module.startswith("_"):
            raise AttributeError(module)
        return Attributes(self, module)


class Attributes:
    """`__salt__.event.send` as another way to write `__salt__["event.send"]`."""

    def __init__(self, salt, module):
        self._salt, self._module = salt, module

    def __getattr__(self, name):
        try:
            return self._salt["{}.{}".format(self._module, name)]
        except KeyError:
            raise AttributeError(name) from None
