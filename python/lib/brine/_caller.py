"""``salt.client.Caller``: functions of the minion that runs on this machine.

Salt's own class loads a whole minion and signs in before the first call. This one asks the running
minion over its local socket. Events go to the minion's bus, so they work with a real Salt minion too.
"""

from __future__ import annotations

import functools
import os
from typing import Any, Callable, Dict, Iterator, Mapping, Optional, Tuple

from brine import _command, _native, config
from brine.event import MinionEvent
from brine.exceptions import CommandExecutionError, SaltClientError


class Caller:
    """Calls functions on this machine's minion, configured by ``c_path`` or ``mopts``."""

    def __init__(
        self, c_path: str = "/etc/salt/minion", mopts: Mapping[str, Any] | None = None
    ) -> None:
        self.opts: dict[str, Any] = dict(mopts) if mopts else config.minion_config(c_path)
        self.sminion = Sminion(self)

    def cmd(self, fun: str, *args: Any, **kwargs: Any) -> Any:
        """What the function returns.

        ``event.send`` is ``True`` when the running minion has the event and ``False`` when there is
        none; every other function without a minion that answers is a :class:`SaltClientError`. A
        function the minion has not is a ``KeyError``, one that failed a
        :class:`CommandExecutionError`, as with Salt.
        """
        direct = _DIRECT.get(fun)
        event = direct(*args, **kwargs) if direct else None
        if event is None:
            return self._call(fun, list(args), kwargs)
        tag, data = event
        if fun != "event.fire" and self.opts.get("file_client") == "local":
            return False
        with MinionEvent(self.opts, listen=False) as bus:
            return bus.fire_event(data, tag) if fun == "event.fire" else bus.fire_master(data, tag)

    def function(self, fun: str, *args: Any, **kwargs: Any) -> Any:
        """:meth:`cmd` with texts read as the command line reads them: ``"n=3"``, ``"{a: 1}"``."""
        texts, named = _native.parse_arguments(list(args))
        return self.cmd(fun, *texts, **{**named, **kwargs})

    def _call(self, fun: str, args: list[Any], kwargs: dict[str, Any]) -> Any:
        command = {"client": "caller", "fun": fun, "arg": args, "kwarg": kwargs, "pub": {}, "return": False}
        try:
            # A function takes the time it takes.
            answer = _command.run("minion", self.opts, command, None)
        except _command.NoNodeError as error:
            if fun in _DIRECT:
                return False
            raise SaltClientError(f"expected a Brine minion that runs here: {error}") from None
        if "error" in answer:
            raise SaltClientError(answer["error"]["message"])
        return _result(fun, answer["return"])


class Sminion:
    """The parts of Salt's minion object that scripts use: ``functions["test.ping"]()`` and ``opts``."""

    def __init__(self, caller: Caller) -> None:
        self.opts = caller.opts
        self.functions = Functions(caller)


class Functions:
    """The minion's functions by name. Fetched from the minion each time, since others may be added."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    def __contains__(self, fun: object) -> bool:
        if fun in _DIRECT:
            return True
        return isinstance(fun, str) and fun in self._caller.cmd("sys.list_functions", fun)

    def __getitem__(self, fun: str) -> Callable[..., Any]:
        if fun not in self:
            raise KeyError(fun)
        return functools.partial(self._caller.cmd, fun)

    def get(self, fun: str, default: Any = None) -> Any:
        """The function, or ``default`` if the minion does not have it."""
        return self[fun] if fun in self else default

    def __iter__(self) -> Iterator[str]:
        return iter(self._caller.cmd("sys.list_functions"))

    def __len__(self) -> int:
        return len(self._caller.cmd("sys.list_functions"))


_Event = Optional[Tuple[str, Dict[str, Any]]]


def _fire(data: Mapping[str, Any], tag: str, timeout: float | None = None) -> _Event:
    return tag, dict(data)


def _fire_master(data: Mapping[str, Any], tag: str, preload: Any = None) -> _Event:
    return None if preload else (tag, dict(data))


def _send(
    tag: str,
    data: Mapping[str, Any] | None = None,
    preload: Any = None,
    with_env: Any = False,
    with_grains: Any = False,
    with_pillar: Any = False,
    with_env_opts: Any = False,
    **more: Any,
) -> _Event:
    if preload or with_grains or with_pillar or with_env_opts:
        return None
    load: dict[str, Any] = {}
    if with_env:
        wanted = with_env if isinstance(with_env, list) else os.environ
        load["environ"] = {name: os.environ[name] for name in wanted if name in os.environ}
    load.update(data or {})
    load.update((name, value) for name, value in more.items() if not name.startswith("__"))
    return tag, load


# What these fire can be said without the minion; ``None`` where only it knows what goes in.
_DIRECT: dict[str, Callable[..., _Event]] = {
    "event.fire": _fire,
    "event.fire_master": _fire_master,
    "event.send": _send,
}


def _result(fun: str, answer: dict[str, Any]) -> Any:
    if answer.get("success") is not False:
        return answer.get("return")
    if str(answer.get("return")).startswith(f"'{fun}' is not available"):
        raise KeyError(fun)
    raise CommandExecutionError(str(answer.get("return")))
