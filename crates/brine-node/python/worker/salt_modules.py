"""Salt's own execution modules, if this Python has Salt.
"""

import functools
import logging
import os
import time

from brine_worker.failures import traceback_of
from brine_worker.packing import pack

class SaltModules:
    """Salt's execution modules through Salt's loader: functions that neither the minion nor a user has."""

    PRELOAD = "salt:"  # a child that used Salt reports this, and the parent then imports Salt
    READ_THE_BUS = ("beacons", "schedule")  # they wait there for an answer, up to a minute

    def __init__(self, job, wanted, bus_is_prefixed):
        self.job = job
        self.bus_is_prefixed = bus_is_prefixed
        self.loader = None
        self.master = None  # the one that asked for this job
        self.found = set()
        self.is_there = bool(wanted) and has_salt()
        self.failure = None

    def functions(self):
        """Salt's loader, which loads a module when one of its functions is needed."""
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
        if self.master is not None:
            opts["master"] = self.master
        elif isinstance(opts.get("master"), (list, tuple)) and opts["master"]:
            opts["master"] = opts["master"][0]
        if opts.get("file_client") != "local" and isinstance(opts.get("master"), str):
            self.add_master(opts)
        utils = salt.loader.utils(opts, context=self.job.context)
        return salt.loader.minion_mods(opts, context=self.job.context, utils=utils)

    @staticmethod
    def add_master(opts):
        """Adds the master's address for Salt's own client, which fetches files and pillar for states."""
        import salt.minion

        try:
            opts.update(salt.minion.prep_ip_port(opts))
            opts.update(salt.minion.resolve_dns(opts, fallback=False))
        except Exception as exception:  # functions that need no master still run
            logging.getLogger(__name__).warning("master not resolved: %s", exception)

    def find(self, name):
        functions = self.functions()
        try:
            function = functions[name] if functions is not None else None
        except KeyError:
            return None
        self.found.add(name)
        if name.split(".")[0] in self.READ_THE_BUS:
            return self.unless_deaf(name, function)
        return function

    def unless_deaf(self, name, function):
        """Refuses at once what would hear nothing on the minion's bus."""
        from salt.exceptions import CommandExecutionError
        from salt.version import __saltstack_version__ as version

        reads_prefixed = version.major == 3006 and (version.minor or 0) >= 26
        if reads_prefixed == self.bus_is_prefixed:
            return function

        @functools.wraps(function)
        def refuse(*_, **__):
            raise CommandExecutionError(
                f"{name} of Salt {version.string} cannot read the bus of this minion, which is in the form of another "
                f"release: set brine: {{compat: {version.major}}} beside python")

        return refuse

    def reason(self, name):
        """Why a module is not loaded, in Salt's words."""
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


class Running:
    """Lists a job where Salt's `saltutil.is_running` looks: `state.apply` refuses to run beside another."""

    def __init__(self, cachedir, request):
        jid = str(request.get("jid") or "") or time.strftime("%Y%m%d%H%M%S000000", time.gmtime())
        published = request.get("pub") or {}
        self.entry = {name[len("__pub_"):]: value for name, value in published.items()}
        self.entry.update(fun=request["fun"], jid=jid, pid=os.getpid())
        self.path = os.path.join(cachedir, "proc", jid) if cachedir and jid.isalnum() else None

    def __enter__(self):
        if self.path is None:
            return
        try:
            os.makedirs(os.path.dirname(self.path), mode=0o755, exist_ok=True)
            with open(self.path, "wb") as file:
                file.write(pack(self.entry))
        except OSError as error:
            logging.getLogger(__name__).warning("other jobs do not see this one: %s", error)

    def __exit__(self, *_):
        try:
            if self.path is not None:
                os.remove(self.path)
        except OSError:
            pass  # Salt removes what a job that ended has left


def has_salt():
    """Whether this Python has Salt itself, not only its exceptions' names."""
    import importlib.util

    try:
        return importlib.util.find_spec("salt.loader") is not None
    except (ImportError, ValueError, AttributeError):
        return False


def import_salt():
    """Imports what takes half a second; the parent does it as soon as a child has needed it."""
    import salt.config
    import salt.fileclient
    import salt.loader
    import salt.minion  # noqa: F401
