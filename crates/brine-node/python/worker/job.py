"""Runs users' execution modules for a minion.

One parent waits for jobs and forks a child for each; a child loads what it needs, runs one function
and ends. The minion's program is at the other end of every socket. Works with Python 3.8 and later
and its standard library alone.

Control socket (descriptor 0), from the minion: b"J" with a descriptor: a job on that socket;
b"D" and a frame: data that children see; b"K" and four bytes: kill the child of that pid. To the
minion: a frame {"pid", "status"} for each child that ended. A job's socket carries frames only:
four bytes of length, big-endian, and a msgpack map.
"""

import array
import collections.abc
import datetime
import functools
import inspect
import logging
import os
import select
import signal
import socket
import struct
import sys
import threading
import traceback
import types

BASE = "brine_loaded."  # of the names under which users' modules are known to Python


# msgpack, as much of it as the minion speaks


def pack(value):
    out = bytearray()
    _pack(value, out, 0)
    return bytes(out)


def _pack(value, out, depth):
    if depth > 200:
        raise ValueError("a returned value is nested more than 200 levels deep")
    if value is None:
        out.append(0xC0)
    elif value is True:
        out.append(0xC3)
    elif value is False:
        out.append(0xC2)
    elif isinstance(value, int):
        _pack_int(int(value), out, depth)
    elif isinstance(value, float):
        out += struct.pack(">Bd", 0xCB, value)
    elif isinstance(value, str):
        raw = str(value).encode("utf-8", "replace")
        _head(out, len(raw), 0xA0, 32, 0xD9, 0xDA, 0xDB)
        out += raw
    elif isinstance(value, (bytes, bytearray, memoryview)):
        raw = bytes(value)
        _head(out, len(raw), None, 0, 0xC4, 0xC5, 0xC6)
        out += raw
    elif isinstance(value, collections.abc.Mapping):
        _head(out, len(value), 0x80, 16, None, 0xDE, 0xDF)
        for key, item in value.items():
            _pack(key, out, depth + 1)
            _pack(item, out, depth + 1)
    elif isinstance(value, (list, tuple, set, frozenset, collections.abc.KeysView,
                            collections.abc.ValuesView, collections.abc.ItemsView)):
        items = list(value)
        _head(out, len(items), 0x90, 16, None, 0xDC, 0xDD)
        for item in items:
            _pack(item, out, depth + 1)
    elif isinstance(value, (datetime.datetime, datetime.date)):
        raw = value.strftime("%Y%m%dT%H:%M:%S.%f").encode()
        out += struct.pack(">BBb", 0xC7, len(raw), 78) + raw
    else:
        raise TypeError("can not serialize '{}' object".format(type(value).__name__))


def _pack_int(number, out, depth):
    if 0 <= number < 128 or -32 <= number < 0:
        out.append(number & 0xFF)
    elif -(1 << 63) <= number < (1 << 63):
        out += struct.pack(">Bq", 0xD3, number)
    elif 0 < number < (1 << 64):
        out += struct.pack(">BQ", 0xCF, number)
    else:  # Salt's way with what msgpack cannot hold
        _pack(str(number), out, depth)


def _head(out, length, small, below, eight, sixteen, thirty_two):
    if length < below:
        out.append(small | length)
    elif eight is not None and length < 1 << 8:
        out += struct.pack(">BB", eight, length)
    elif length < 1 << 16:
        out += struct.pack(">BH", sixteen, length)
    else:
        out += struct.pack(">BI", thirty_two, length)


def unpack(raw):
    return _Reader(raw).value()


class _Reader:
    NUMBERS = {0xCA: ">f", 0xCB: ">d", 0xCC: ">B", 0xCD: ">H", 0xCE: ">I", 0xCF: ">Q",
               0xD0: ">b", 0xD1: ">h", 0xD2: ">i", 0xD3: ">q"}
    CONSTANTS = {0xC0: None, 0xC2: False, 0xC3: True}
    LENGTHS = {0xC4: ">B", 0xC5: ">H", 0xC6: ">I", 0xC7: ">B", 0xC8: ">H", 0xC9: ">I",
               0xD9: ">B", 0xDA: ">H", 0xDB: ">I", 0xDC: ">H", 0xDD: ">I", 0xDE: ">H", 0xDF: ">I"}

    def __init__(self, raw):
        self.raw = raw
        self.at = 0

    def take(self, length):
        start, self.at = self.at, self.at + length
        return self.raw[start:self.at]

    def number(self, form):
        return struct.unpack(form, self.take(struct.calcsize(form)))[0]

    def value(self):
        kind = self.raw[self.at]
        self.at += 1
        if kind < 0x80:
            return kind
        if kind >= 0xE0:
            return kind - 0x100
        if kind in self.CONSTANTS:
            return self.CONSTANTS[kind]
        if kind in self.NUMBERS:
            return self.number(self.NUMBERS[kind])
        if 0xD4 <= kind <= 0xD8:
            return self.extension(1 << (kind - 0xD4))
        if kind < 0xC0:
            length = kind & (0x1F if kind >= 0xA0 else 0x0F)
            kind = 0xD9 if kind >= 0xA0 else (0xDC if kind >= 0x90 else 0xDE)
        else:
            length = self.number(self.LENGTHS[kind])
        if kind in (0xC4, 0xC5, 0xC6):
            return bytes(self.take(length))
        if kind in (0xC7, 0xC8, 0xC9):
            return self.extension(length)
        if kind in (0xD9, 0xDA, 0xDB):
            return self.take(length).decode("utf-8", "surrogateescape")
        if kind in (0xDC, 0xDD):
            return [self.value() for _ in range(length)]
        return dict((self.key(), self.value()) for _ in range(length))

    def key(self):
        key = self.value()
        return tuple(key) if isinstance(key, list) else key

    def extension(self, length):
        kind, raw = self.number(">b"), self.take(length)
        if kind == 78:
            return datetime.datetime.strptime(raw.decode(), "%Y%m%dT%H:%M:%S.%f")
        return bytes(raw)


def receive(connection):
    (length,) = struct.unpack(">I", receive_exactly(connection, 4))
    return unpack(receive_exactly(connection, length))


def receive_exactly(connection, length):
    parts = []
    while length:
        part = connection.recv(min(length, 1 << 20))
        if not part:
            raise EOFError("the minion has closed the connection")
        parts.append(part)
        length -= len(part)
    return b"".join(parts)


def send(connection, message):
    raw = pack(message)
    connection.sendall(struct.pack(">I", len(raw)) + raw)


# Exceptions by Salt's names, where Salt itself is not installed


def offer_exceptions():
    """Lets `from salt.exceptions import CommandExecutionError` work without Salt."""
    import importlib.util

    try:
        if importlib.util.find_spec("salt") is not None:
            return
    except (ImportError, ValueError):
        pass
    package, module = types.ModuleType("salt"), types.ModuleType("salt.exceptions")
    package.__path__ = []
    package.exceptions = module

    class SaltException(Exception):
        def __init__(self, message=""):
            super().__init__(message)
            self.message = self.strerror = str(message)

    class CommandExecutionError(SaltException):
        def __init__(self, message="", info=None):
            self.error, self.info = str(message), info
            text = self.strerror_without_changes = self.error
            if info:
                if text and text[-1] not in ".?!":
                    text += "."
                text = (text + " Additional info follows:\n\n").lstrip()
                text, beginning = text + nested(info), text
                self.strerror_without_changes = text
                if isinstance(info, dict):
                    rest = {key: value for key, value in info.items() if key != "changes"}
                    self.strerror_without_changes = beginning + nested(rest) if rest else self.error
            super().__init__(text)

    bases = {"SaltException": SaltException, "CommandExecutionError": CommandExecutionError}
    for name, base in [
        ("SaltInvocationError", SaltException), ("SaltClientError", SaltException),
        ("ArgumentValueError", CommandExecutionError), ("TimeoutError", SaltException),
        ("CommandNotFoundError", SaltException), ("CheckError", CommandExecutionError),
        ("NotImplemented", SaltException), ("PermissionError", CommandExecutionError),
        ("SaltReqTimeoutError", SaltException), ("MinionError", CommandExecutionError),
        ("FileserverConfigError", SaltException), ("SaltRenderError", SaltException),
        ("LoaderError", SaltException), ("InvalidConfigError", CommandExecutionError),
    ]:
        bases[name] = type(name, (base,), {})
    for name, exception in bases.items():
        exception.__module__ = "salt.exceptions"
        setattr(module, name, exception)
    sys.modules["salt"], sys.modules["salt.exceptions"] = package, module


def nested(value, indent=0, prefix=""):
    """A value as Salt's outputter `nested` prints it, without colours."""
    return "\n".join(nested_lines(value, indent, prefix)).rstrip()


def nested_lines(value, indent, prefix):
    start = " " * indent + prefix
    if isinstance(value, collections.abc.Mapping):
        lines = [" " * indent + "----------"] if indent else []
        for key in sorted(value, key=str):
            lines.append("{}{}:".format(start, key))
            lines += nested_lines(value[key], indent + 4, "")
        return lines
    if isinstance(value, (list, tuple, set)):
        lines = []
        for item in value:
            if isinstance(item, (list, tuple, collections.abc.Mapping)):
                lines.append(" " * indent + "|_")
                is_map = isinstance(item, collections.abc.Mapping)
                lines += nested_lines(item, indent + 2, "" if is_map else "- ")
            else:
                lines += nested_lines(item, indent, "- ")
        return lines
    if isinstance(value, str):
        return [start + line for line in value.splitlines() or [""]]
    return [start + str(value)]


def failure_of(exception):
    """How Salt words a failure depends on the exception's class, ours or real Salt's."""
    names = [base.__name__ for base in type(exception).__mro__]
    for name, kind in [("CommandNotFoundError", "command_not_found"),
                       ("CommandExecutionError", "execution"),
                       ("SaltInvocationError", "invocation"), ("SaltClientError", "invocation"),
                       ("TypeError", "arguments")]:
        if name in names:
            return {"op": "failed", "kind": kind, "message": str(exception)}
    return {"op": "failed", "kind": "raised", "class": names[0], "message": str(exception),
            "traceback": traceback_of(exception)}


def traceback_of(exception):
    frames = exception.__traceback__
    while frames is not None and frames.tb_frame.f_code.co_filename == __file__:
        frames = frames.tb_next
    return "".join(traceback.format_exception(type(exception), exception, frames))


# Loading


class Data(dict):
    """Grains, pillar and options as modules see them."""

    def value(self):
        return dict(self)


class Source:
    """A module's file as it was when it was read."""

    def __init__(self, path):
        self.path = path
        self.stat = stat_of(path)

    def is_current(self):
        return self.stat == stat_of(self.path)


def stat_of(path):
    try:
        stat = os.stat(path)
        return stat.st_mtime_ns, stat.st_size, stat.st_ino
    except OSError:
        return None


class Preloaded:
    """Modules imported before the fork, by path: those a child has imported without harm."""

    modules = {}

    @classmethod
    def add(cls, path):
        name = os.path.basename(os.path.dirname(path) if path.endswith("__init__.py") else path)
        name = name[:-3] if name.endswith(".py") else name
        if path == SaltModules.PRELOAD:
            import_salt()
            return
        known = cls.modules.get(path)
        if known is not None and known[0].is_current():
            return
        cls.modules.pop(path, None)
        try:
            source = Source(path)
            cls.modules[path] = (source, import_file(path, name))
        except BaseException:  # it worked in a child: what differs here is no one's concern
            pass


def import_file(path, name):
    """Imports a file without Python's cache of compiled files, which misses quick changes."""
    full_name = BASE + name
    module = types.ModuleType(full_name)
    module.__file__ = path
    if path.endswith("__init__.py"):
        module.__path__ = [os.path.dirname(path)]
        module.__package__ = full_name
    else:
        module.__package__ = BASE[:-1]
    with open(path, "rb") as file:
        code = compile(file.read(), path, "exec", dont_inherit=True)
    sys.modules[full_name] = module
    try:
        exec(code, module.__dict__)
    except BaseException:
        sys.modules.pop(full_name, None)
        raise
    return module


class Loader:
    """The functions of the modules in some directories; a job's own."""

    def __init__(self, job, directories, kind):
        self.job = job
        self.kind = kind  # "" for execution modules, a prefix of names for others
        self.files = {}  # name -> path, the first directory wins
        for directory in directories:
            self.add_directory(directory)
        self.functions = {}
        self.outputters = {}
        self.unloaded = {}  # name -> (kind, reason)
        self.done = set()

    def add_directory(self, directory):
        try:
            entries = sorted(os.listdir(directory))
        except OSError:
            return
        for entry in entries:
            path = os.path.join(directory, entry)
            name, extension = os.path.splitext(entry)
            if name.startswith(("_", ".")):
                continue
            if extension == ".py" and os.path.isfile(path):
                self.files.setdefault(name, path)
            elif not extension and os.path.isfile(os.path.join(path, "__init__.py")):
                self.files.setdefault(name, os.path.join(path, "__init__.py"))

    def find(self, full_name):
        """A function, or None: first the module of that name, then any that takes it as its own."""
        module = full_name.split(".")[0]
        if full_name not in self.functions:
            self.load(module)
        if full_name not in self.functions and module not in self.files:
            self.load_all()
        return self.functions.get(full_name)

    def load_all(self):
        for name in list(self.files):
            self.load(name)

    def load(self, name):
        path = self.files.get(name)
        if path is None or name in self.done:
            return
        self.done.add(name)
        try:
            module = self.module(path, name)
        except BaseException as exception:  # a module may call sys.exit when imported
            if isinstance(exception, (KeyboardInterrupt, GeneratorExit)):
                raise
            logging.getLogger(__name__).error(
                "Failed to import module %s, this is due most likely to a syntax error or an "
                "import that is not there:\n%s", name, traceback_of(exception))
            self.unloaded[name] = ("import", str(exception) or type(exception).__name__)
            return
        self.job.give_dunders(module)
        try:
            names, reason = self.names_of(module, name)
        except Exception as exception:  # from its __init__
            names, reason = (), ("import", str(exception))
        if not names:
            self.unloaded[name] = reason
            virtual = getattr(module, "__virtualname__", name)
            self.unloaded.setdefault(virtual, reason)
            return
        self.add_functions(module, names)

    def module(self, path, name):
        known = Preloaded.modules.get(path)
        if known is not None and known[0].is_current():
            return known[1]
        module = import_file(path, self.kind + name)
        if not self.kind:
            self.job.imported.append(path)
        return module

    def names_of(self, module, name):
        """The names a module goes by; none and why when it does not want to be loaded."""
        if hasattr(module, "__init__") and inspect.isfunction(module.__init__):
            module.__init__(self.job.opts)
        virtual = True
        if inspect.isfunction(getattr(module, "__virtual__", None)):
            reason = None
            try:
                virtual = module.__virtual__()
            except Exception as exception:
                virtual, reason = False, "Exception raised when processing __virtual__ function " \
                    "for {}. Module will not be loaded: {}".format(module.__name__, exception)
            if isinstance(virtual, tuple):
                virtual, reason = (tuple(virtual) + (None,))[:2]
            if not virtual:
                return (), ("virtual", None if reason is None else str(reason))
            if virtual is not True:
                name = str(virtual)
            else:
                name = getattr(module, "__virtualname__", name)
        return [name] + list(getattr(module, "__virtual_aliases__", ())), None

    def add_functions(self, module, names):
        aliases = getattr(module, "__func_alias__", None) or {}
        outputters = getattr(module, "__outputter__", None) or {}
        for attribute in getattr(module, "__load__", None) or dir(module):
            function = getattr(module, attribute, None)
            if attribute.startswith("_") or not (
                    inspect.isfunction(function) or isinstance(function, functools.partial)):
                continue
            home = getattr(function, "__module__", None) or module.__name__
            if not home.startswith(BASE) and not isinstance(function, functools.partial):
                continue  # imported from elsewhere
            alias = aliases.get(attribute, attribute)
            for name in names:
                full_name = "{}.{}".format(name, alias)
                self.functions.setdefault(full_name, function)
                if attribute in outputters or alias in outputters:
                    self.outputters[full_name] = outputters.get(attribute, outputters.get(alias))


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


# Salt's own modules, where this Python has Salt


class SaltModules:
    """Salt's execution modules through Salt's loader, for what neither the minion nor a user has."""

    PRELOAD = "salt:"  # what the minion has the parent import once a child has used it

    def __init__(self, job, wanted):
        self.job = job
        self.loader = None
        self.is_there = bool(wanted) and has_salt()
        self.failure = None

    def functions(self):
        """Salt's loader, which loads a module when a function of it is asked for."""
        if not self.is_there or self.loader is not None:
            return self.loader
        try:
            self.loader = self.load()
        except Exception as exception:
            self.is_there, self.failure = False, str(exception) or type(exception).__name__
            logging.getLogger(__name__).error("Salt's modules cannot be loaded:\n%s",
                                              traceback_of(exception))
        else:
            self.job.imported.append(self.PRELOAD)
        return self.loader

    def load(self):
        import_salt()
        import salt.config
        import salt.loader

        opts = salt.config.DEFAULT_MINION_OPTS.copy()
        opts.update(self.job.opts)
        opts["grains"], opts["pillar"] = dict(self.job.grains), dict(self.job.pillar)
        opts["__role"] = "minion"
        if isinstance(opts.get("master"), (list, tuple)) and opts["master"]:
            opts["master"] = opts["master"][0]
        if opts.get("file_client") != "local" and isinstance(opts.get("master"), str):
            self.add_master(opts)
        utils = salt.loader.utils(opts, context=self.job.context)
        return salt.loader.minion_mods(opts, context=self.job.context, utils=utils)

    @staticmethod
    def add_master(opts):
        """Where Salt's own client of the master connects: for files and the pillar of states."""
        import salt.minion

        try:
            opts.update(salt.minion.prep_ip_port(opts))
            opts.update(salt.minion.resolve_dns(opts, fallback=False))
        except Exception as exception:  # functions that need no master still run
            logging.getLogger(__name__).warning("master not resolved: %s", exception)

    def find(self, name):
        functions = self.functions()
        try:
            return functions[name] if functions is not None else None
        except KeyError:
            return None

    def reason(self, name):
        """Why a module is not there, as Salt says it."""
        functions = self.functions()
        if functions is None:
            return None, self.failure
        missing = getattr(functions, "missing_modules", None) or {}
        module = name.split(".")[0]
        if module not in missing:
            return None, None
        reason = missing[module]
        return "virtual", None if reason is None else str(reason)

    def all(self):
        functions = self.functions()
        return {} if functions is None else {name: functions[name] for name in list(functions)}


def has_salt():
    """Whether this is a Python with Salt itself, not only its exceptions' names."""
    import importlib.util

    try:
        return importlib.util.find_spec("salt.loader") is not None
    except (ImportError, ValueError, AttributeError):
        return False


def import_salt():
    """Imports of Salt take half a second: once a child has needed them, the parent has them."""
    import salt.config
    import salt.fileclient
    import salt.loader
    import salt.minion  # noqa: F401


# A job, in its own process


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
        self.salt_modules = SaltModules(self, data.get("salt"))

    def give_dunders(self, module):
        for name, value in [
            ("__salt__", self.salt), ("__opts__", self.opts), ("__grains__", self.grains),
            ("__pillar__", self.pillar), ("__context__", self.context), ("__utils__", self.utils),
            ("__proxy__", {}),
        ]:
            setattr(module, name, value)

    def function(self, name):
        """What runs under a name: a user's module of that file name replaces a built-in one."""
        if not isinstance(name, str) or "." not in name:
            return None
        own = name.split(".")[0] in self.modules.files
        if name in self.builtins and not own:
            return functools.partial(self.call_minion, name)
        found = self.modules.find(name)
        # A user's module stands in place of Salt's of the same name, all of it.
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
            return self.list()
        fun = request["fun"]
        function = self.function(fun)
        if function is None:
            kind, reason = self.modules.unloaded.get(fun.split(".")[0], (None, None))
            if kind is None:
                kind, reason = self.salt_modules.reason(fun)
            return {"op": "missing", "kind": kind, "reason": reason}
        try:
            args, kwargs = arguments(function, request)
            value = function(*args, **kwargs)
            value = collected(value)
            out = self.modules.outputters.get(fun) or getattr(function, "__outputter__", None)
            retcode = self.context.get("retcode", 0)
            retcode = retcode if isinstance(retcode, int) else 1
            answer = {"op": "returned", "ret": value, "retcode": int(retcode), "out": out}
        except Exception as exception:
            answer = failure_of(exception)
            answer["doc"] = function.__doc__ or ""
            return answer
        return sendable(fun, answer)

    def list(self):
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
    """The answer, or a failure that says that its value cannot be sent: not the caller's mistake."""
    try:
        pack(answer)
        return answer
    except Exception as exception:
        message = "the return value of {} ({}) cannot be sent: {}".format(
            fun, type(answer["ret"]).__name__, exception)
        return {"op": "failed", "kind": "unsendable", "message": message}


def exception_of(answer):
    """The exception that a built-in function's failure is in Python."""
    import builtins

    kind, message = answer.get("kind"), answer.get("message", "")
    if kind == "raised":
        name = answer.get("class", "Exception")
        known = getattr(builtins, name, None)
        if name == "KeyError":
            message = message.strip("'")
        if isinstance(known, type) and issubclass(known, Exception):
            try:
                return known(message)
            except TypeError:
                pass
        return Exception("{}: {}".format(name, message))
    if kind == "arguments":
        return TypeError(message)
    name = {"execution": "CommandExecutionError", "invocation": "SaltInvocationError",
            "command_not_found": "CommandNotFoundError"}.get(kind)
    try:
        import salt.exceptions

        return getattr(salt.exceptions, name)(message)
    except (ImportError, AttributeError, TypeError):
        return Exception(message)


def arguments(function, request):
    """What a job gives a function: unknown keywords are refused before Python sees them."""
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
    """What a generator yields, as one value."""
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


def run_job(connection, data):
    """All of a child's life."""
    os.setpgid(0, 0)
    if data.get("umask") is not None:
        os.umask(data["umask"])
    send(connection, {"op": "started", "pid": os.getpid()})
    request = receive(connection)
    job = Job(connection, data)
    try:
        answer = job.run(request)
    except SystemExit as exception:
        answer = {"op": "failed", "kind": "raised", "class": "SystemExit",
                  "message": str(exception.code), "traceback": traceback_of(exception)}
    answer["imported"] = [] if threading.active_count() > 1 else job.imported
    sys.stdout.flush()
    sys.stderr.flush()
    send(connection, answer)


# The parent


class Parent:
    def __init__(self):
        self.control = socket.socket(fileno=os.dup(0))
        self.data = {}
        self.children = set()
        self.wake, wake = os.pipe()
        os.set_blocking(wake, False)
        os.set_blocking(self.wake, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        for ignored in (signal.SIGINT, signal.SIGHUP):  # the minion decides when to end
            signal.signal(ignored, signal.SIG_IGN)

    def serve(self):
        while True:
            ready = select.select([self.control, self.wake], [], [])[0]
            if self.wake in ready:
                try:
                    os.read(self.wake, 4096)
                except BlockingIOError:
                    pass
            self.reap()
            if self.control in ready and not self.handle():
                break
        for pid in self.children:
            self.kill(pid)

    def handle(self):
        kind, ancillary, _, _ = self.control.recvmsg(1, socket.CMSG_SPACE(4), socket.MSG_CMSG_CLOEXEC)
        if kind == b"J":
            descriptors = array.array("i")
            for level, name, raw in ancillary:
                if level == socket.SOL_SOCKET and name == socket.SCM_RIGHTS:
                    descriptors.frombytes(raw[:4])
            if descriptors:
                self.fork(descriptors[0])
        elif kind == b"D":
            self.data.update(receive(self.control))
            for path in self.data.pop("preload", None) or ():
                Preloaded.add(path)
        elif kind == b"K":
            self.kill(struct.unpack(">I", receive_exactly(self.control, 4))[0])
        else:
            return False
        return True

    def fork(self, descriptor):
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if pid:
            self.children.add(pid)
            os.close(descriptor)
            return
        status = 1
        try:
            self.become_child()
            with socket.socket(fileno=descriptor) as connection:
                run_job(connection, self.data)
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)

    def become_child(self):
        signal.set_wakeup_fd(-1)
        for usual in (signal.SIGCHLD, signal.SIGHUP):
            signal.signal(usual, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        self.control.close()
        os.close(self.wake)
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        os.close(null)

    def kill(self, pid):
        if pid not in self.children:
            return
        for kill in (os.killpg, os.kill):  # the group first: what the job started ends with it
            try:
                kill(pid, signal.SIGKILL)
            except OSError:
                pass

    def reap(self):
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid in self.children:
                self.children.discard(pid)
                send(self.control, {"pid": pid, "status": status})


def main():
    logging.basicConfig(stream=sys.stderr, level=logging.INFO,
                        format="[%(levelname)s] %(name)s: %(message)s")
    sys.dont_write_bytecode = True
    offer_exceptions()
    package = types.ModuleType(BASE[:-1])
    package.__path__ = []
    sys.modules[BASE[:-1]] = package
    Parent().serve()


if __name__ == "__main__":
    main()
