"""Exceptions: Salt's by name where Salt is not installed, and failures as the minion expects them.
"""

import collections.abc
import sys
import traceback
import types

OURS = "<brine worker"  # how the file names of this program begin

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
    """The failure of an exception: its kind depends on the exception's class, ours or real Salt's."""
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
    """The traceback without our own frames at its beginning: it starts in the user's file."""
    frames = exception.__traceback__
    while frames is not None and frames.tb_frame.f_code.co_filename.startswith(OURS):
        frames = frames.tb_next
    return "".join(traceback.format_exception(type(exception), exception, frames))


def exception_of(answer):
    """The Python exception for a built-in function's failure."""
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
