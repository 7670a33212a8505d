"""Finds and imports users' modules and collects their functions.
"""

import functools
import inspect
import logging
import os
import sys
import types

from brine_worker.failures import traceback_of
from brine_worker.salt_modules import SaltModules, import_salt

BASE = "brine_loaded."  # prefix of the names under which Python knows users' modules

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
    """Modules imported before the fork, by path: those that a child has imported successfully."""

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
        except BaseException:  # children still import it themselves
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
        self.reported = None  # the module whose failure to import another child has logged

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
        """A function, or None: first from the module of that name, then from any that uses it as a virtual name."""
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
            if name != self.reported:
                logging.getLogger(__name__).error(
                    "Failed to import module %s: %s", name, traceback_of(exception).strip())
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
        """The names of a module; none, and the reason, if it refuses to be loaded."""
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
