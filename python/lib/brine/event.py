"""The event bus with the names of ``salt.utils.event``.

Signatures, defaults, return values and side effects are Salt 3008's; where they differ on purpose,
``docs/python/event.md`` says so. Objects may be shared by threads and used after a fork.
"""

from __future__ import annotations

import atexit
import logging
import os
import time
import weakref
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from typing import Any, TypeVar

from brine import _native, _address, config
from brine._loop import Pump
from brine._tags import SALT, SUB_EVENT, TAGEND, TAGPARTER, TAGS, tagify
from brine.exceptions import SaltDeserializationError, SaltInvocationError

__all__ = [
    "SALT",
    "SUB_EVENT",
    "TAGEND",
    "TAGPARTER",
    "TAGS",
    "LocalClientEvent",
    "MasterEvent",
    "MinionEvent",
    "NamespacedEvent",
    "SaltEvent",
    "fire_args",
    "get_event",
    "get_master_event",
    "tagify",
]

log = logging.getLogger(__name__)

_MATCH_TYPES = frozenset(("startswith", "endswith", "find", "regex", "fnmatch"))
_EXIT = {"tag": "salt/event/exit", "data": {}}
_live: weakref.WeakSet[SaltEvent] = weakref.WeakSet()

# What an event carries: the event object puts `_stamp` into it.
Data = MutableMapping[str, Any]
Opts = Mapping[str, Any]
Self = TypeVar("Self", bound="SaltEvent")

atexit.register(_native.leave)


def get_event(
    node: str | None,
    sock_dir: str | os.PathLike[str] | None = None,
    opts: Opts | None = None,
    listen: bool = True,
    io_loop: Any = None,
    keep_loop: bool = False,
    raise_errors: bool = False,
    *,
    transport: object = None,
) -> SaltEvent:
    """The event object of a node's bus. ``transport`` is accepted and ignored, as in 3006."""
    sock_dir = sock_dir or (opts or {})["sock_dir"]
    arguments: dict[str, Any] = {
        "listen": listen,
        "io_loop": io_loop,
        "keep_loop": keep_loop,
        "raise_errors": raise_errors,
    }
    if node == "master":
        return MasterEvent(sock_dir, opts, **arguments)
    return SaltEvent(node, sock_dir, opts, **arguments)


def get_master_event(
    opts: Opts | None,
    sock_dir: str | os.PathLike[str] | None,
    listen: bool = True,
    io_loop: Any = None,
    raise_errors: bool = False,
) -> MasterEvent:
    """The event object of a master's bus."""
    return MasterEvent(
        sock_dir, opts, listen=listen, io_loop=io_loop, raise_errors=raise_errors
    )


def fire_args(opts: Opts, jid: str, tag_data: Data, prefix: str = "") -> None:
    """Fires the arguments of an orchestration job; failures are only logged."""
    tag = tagify([jid, "args"], prefix)
    try:
        with get_master_event(opts, opts["sock_dir"], listen=False) as event:
            event.fire_event(tag_data, tag=tag)
    except Exception as error:  # noqa: BLE001
        log.warning("cannot fire %s: %s", tag, error)


class SaltEvent:
    """A client of a node's bus."""

    def __init__(
        self,
        node: str | None,
        sock_dir: str | os.PathLike[str] | None = None,
        opts: Opts | None = None,
        listen: bool = True,
        io_loop: Any = None,
        keep_loop: bool = False,
        raise_errors: bool = False,
    ) -> None:
        self.node = node
        self.keep_loop = keep_loop
        self.io_loop = None if io_loop is None else getattr(io_loop, "asyncio_loop", io_loop)
        self.raise_errors = raise_errors
        self.opts: dict[str, Any] = dict(config._default_opts("master" if node == "master" else "minion"))
        self.opts.update(opts or {})
        if sock_dir is not None:
            self.opts["sock_dir"] = os.fspath(sock_dir)
        self.pending_tags: list[list[str]] = []
        self.cpub = self.cpush = False
        self._pump: Pump | None = None
        # The id of a proxy that shares its minion's bus with others.
        self._subproxy: str | None = self.opts["id"] if self.opts.get("subproxy") else None
        self._subscriber = self._new_subscriber()
        self._publisher = self._new_publisher()
        _live.add(self)
        if listen:
            self.connect_pub()

    def __enter__(self: Self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.destroy()

    def _new_subscriber(self) -> _native.Subscriber:
        return _native.Subscriber(_address.address(self.node, self.opts))

    def _new_publisher(self) -> _native.Publisher:
        return _native.Publisher(
            _address.address(self.node, self.opts), _address.compat(self.opts), self._max_event_size()
        )

    def _max_event_size(self) -> int:
        # Looked at for each event: programs change the option of an object that is in use.
        return int(self.opts.get("max_event_size") or 0) or (1 << 62)

    def _after_fork(self) -> None:
        # What another of the parent's threads was at work in stays locked for ever.
        if not self._subscriber.is_free():
            self._subscriber = self._new_subscriber()
            for tag, match_type in self.pending_tags:
                self._subscriber.subscribe(tag, match_type)
        if not self._publisher.is_free():
            self._publisher = self._new_publisher()

    # Connections

    def connect_pub(self, timeout: float | None = None) -> bool:
        """Connects the listening side; whether there is a bus."""
        if not self.cpub:
            if self.io_loop is not None:
                self.cpub = True
                return True
            self.cpub = self._subscriber.connect(1.0 if timeout is None else float(timeout))
        return self.cpub

    def close_pub(self) -> None:
        """Closes the listening side and forgets pending events."""
        self._stop_pump()
        self._subscriber.close()
        self.cpub = False

    def connect_pull(self, timeout: float | None = 1) -> bool:
        """Connects the firing side within ``timeout`` seconds; whether there is a bus."""
        self.cpush = self._publisher.connect(timeout)
        return self.cpush

    def close_pull(self) -> None:
        """Closes the firing side."""
        self._publisher.close()
        self.cpush = False

    def destroy(self) -> None:
        """Closes both sides. The next call connects again."""
        self.close_pub()
        self.close_pull()

    def fileno(self) -> int:
        """The listening socket's number, for ``select``; it changes with a reconnect."""
        number = self._subscriber.fileno()
        if number is None:
            raise ValueError("not connected: call connect_pub() first")
        return number

    # Listening

    def _match_type(self, match_type: str | None) -> str:
        if match_type is None:
            match_type = self.opts.get("event_match_type")
        return match_type if match_type in _MATCH_TYPES else "startswith"

    def subscribe(self, tag: str | None = None, match_type: str | None = None) -> None:
        """Keeps matching events that other calls pass over, for later calls."""
        if tag is None:
            return
        match_type = self._match_type(match_type)
        self._subscriber.subscribe(tag, match_type)
        self.pending_tags.append([tag, match_type])

    def unsubscribe(self, tag: str | None, match_type: str | None = None) -> None:
        """Removes one such subscription."""
        if tag is None:
            return
        match_type = self._match_type(match_type)
        self._subscriber.unsubscribe(tag, match_type)
        if [tag, match_type] in self.pending_tags:
            self.pending_tags.remove([tag, match_type])

    @property
    def pending_events(self) -> list[dict[str, Any]]:
        """The events that a subscription keeps and no call has returned yet, oldest first: a copy."""
        return [{"data": data, "tag": tag} for tag, data in self._subscriber.pending()]

    @pending_events.setter
    def pending_events(self, events: list[dict[str, Any]]) -> None:
        if events:
            raise ValueError("pending events can be forgotten, by setting [], and not replaced")
        self._subscriber.forget_pending()

    def get_event(
        self,
        wait: float = 5,
        tag: str = "",
        full: bool = False,
        match_type: str | None = None,
        no_block: bool = False,
        auto_reconnect: bool = False,
    ) -> Any:
        """The next matching event's data, or with ``full`` a dict of data and tag; ``None`` when
        ``wait`` seconds are over. ``wait=0`` waits for ever, ``no_block=True`` not at all.

        Events that do not match are lost unless they are subscribed to. If the bus ends and
        comes back within ``wait``, this reconnects, as Salt 3008 does; ``auto_reconnect`` and
        ``raise_errors`` change nothing.
        """
        if self.io_loop is not None:
            raise SaltInvocationError("get_event needs an event object without io_loop")
        match_type = self._match_type(match_type)
        take = self._take_own if self._subproxy else self._subscriber.get
        try:
            got = take(tag, match_type, wait or None, no_block is True)
        except KeyboardInterrupt:
            return {"tag": _EXIT["tag"], "data": {}} if full else {}
        if got is None:
            return None
        return {"data": got[1], "tag": got[0]} if full else got[1]

    def _take_own(
        self, tag: str, match_type: str, wait: float | None, once: bool
    ) -> tuple[str, Any] | None:
        """Skips the events of other proxies."""
        deadline = None if wait is None else time.monotonic() + wait
        while True:
            left = None if deadline is None else max(deadline - time.monotonic(), 0.0)
            got = self._subscriber.get(tag, match_type, left, once)
            if got is None or got[1].get("proxy_target") == self._subproxy:
                return got
            if once:
                return None

    def get_event_noblock(self) -> Any:
        """The next event whatever its tag, if one is there."""
        return self._next(0.0)

    def get_event_block(self) -> Any:
        """The next event whatever its tag, however long it takes."""
        return self._next(None)

    def _next(self, wait: float | None) -> Any:
        if self.io_loop is not None:
            raise SaltInvocationError("this needs an event object without io_loop")
        got = self._subscriber.next(_EVERY, wait)
        return None if got is None else {"data": got[1], "tag": got[0]}

    def iter_events(
        self,
        tag: str = "",
        full: bool = False,
        match_type: str | None = None,
        auto_reconnect: bool = False,
    ) -> Iterator[Any]:
        """Matching events for ever."""
        while True:
            event = self.get_event(
                tag=tag, full=full, match_type=match_type, auto_reconnect=auto_reconnect
            )
            if event is not None:
                yield event

    # Firing

    def fire_event(self, data: Data, tag: str, timeout: float | None = 1000) -> bool:
        """Fires an event, setting ``_stamp`` in ``data``. ``True``: written to the bus's socket;
        ``False``: no bus within ``timeout`` milliseconds (``None``: waits for ever).
        """
        if self._subproxy:
            data["proxy_target"] = self._subproxy
        if isinstance(tag, bytes):
            tag = tag.decode()
        elif not isinstance(tag, str):
            tag = str(tag)
        if not tag:
            raise ValueError("Empty tag.")
        if not isinstance(data, MutableMapping):
            raise ValueError(f"Dict object expected, not '{data}'.")
        if self.io_loop is not None:
            # On a loop nothing waits: with no bus there, the event is gone, as in Salt.
            self._publisher.fire(tag, data, 0.0, self._max_event_size())
            return True
        seconds = None if timeout is None else timeout / 1000
        fired = self._publisher.fire(tag, data, seconds, self._max_event_size())
        self.cpush = fired
        return fired

    async def fire_event_async(
        self,
        data: Data,
        tag: str,
        cb: Callable[[Any], Any] | None = None,
        timeout: float | None = 1000,
    ) -> bool:
        """:meth:`fire_event` that does not block the running loop while there is no bus."""
        if self._publisher.connect(0.0):
            fired = self.fire_event(data, tag, timeout)
        else:
            import asyncio

            loop = asyncio.get_running_loop()
            fired = await loop.run_in_executor(None, self.fire_event, data, tag, timeout)
        if cb is not None:
            cb(None)
        return fired

    def fire_master(
        self, data: Mapping[str, Any], tag: str, timeout: float | None = 1000
    ) -> bool:
        """Asks the minion whose bus this is to send an event to its master."""
        load = {"tag": tag, "data": data, "events": None, "pretag": None}
        return self.fire_event(load, "fire_master", timeout)

    def fire_ret_load(self, load: Mapping[str, Any]) -> None:
        """Fires ``…/error/…`` events for the failed states of a job return."""
        for tag, data in _native.ret_load_events(load):
            self.fire_event(data, tag)

    # The wire form

    @classmethod
    def unpack(cls, raw: bytes) -> tuple[str, Any]:
        """Tag and data of an event's bytes."""
        tag, _, packed = bytes(raw).partition(b"\n\n")
        try:
            return tag.decode(), _native.loads(packed)
        except (ValueError, TypeError) as error:
            if isinstance(error, UnicodeDecodeError):
                raise
            raise SaltDeserializationError(
                "Could not deserialize msgpack message. See log for more info."
            ) from error

    @classmethod
    def pack(cls, tag: str, data: Mapping[str, Any], max_size: int | None = None) -> bytes:
        """An event's bytes."""
        return _native.pack(tag, data, max_size)

    # On an event loop

    def set_event_handler(self, event_handler: Callable[[bytes], Any]) -> None:
        """Calls ``event_handler`` with the bytes of every event; needs ``io_loop``."""
        if self.io_loop is None:
            raise SaltInvocationError("set_event_handler needs an event object with io_loop")
        self._stop_pump()
        self._pump = Pump(self.io_loop, self._subscriber, event_handler)

    def _stop_pump(self) -> None:
        if self._pump is not None:
            self._pump.stop()
            self._pump = None


class MasterEvent(SaltEvent):
    """A client of a master's bus."""

    def __init__(
        self,
        sock_dir: str | os.PathLike[str] | None,
        opts: Opts | None = None,
        listen: bool = True,
        io_loop: Any = None,
        keep_loop: bool = False,
        raise_errors: bool = False,
    ) -> None:
        super().__init__(
            "master", sock_dir, opts, listen, io_loop, keep_loop, raise_errors
        )


class LocalClientEvent(MasterEvent):
    """A client of a master's bus, under the name Salt's own client uses."""


class MinionEvent(SaltEvent):
    """A client of a minion's bus."""

    def __init__(
        self,
        opts: Opts,
        listen: bool = True,
        io_loop: Any = None,
        raise_errors: bool = False,
    ) -> None:
        super().__init__(
            "minion",
            sock_dir=opts.get("sock_dir"),
            opts=opts,
            listen=listen,
            io_loop=io_loop,
            raise_errors=raise_errors,
        )


class NamespacedEvent:
    """Fires events whose tags begin with ``base``."""

    def __init__(
        self,
        event: SaltEvent,
        base: str,
        print_func: Callable[[str, Data], Any] | None = None,
    ) -> None:
        self.event = event
        self.base = base
        self.print_func = print_func

    def fire_event(self, data: Data, tag: str) -> None:
        """Fires ``base/tag``."""
        self.event.fire_event(data, tagify(tag, base=self.base))
        if self.print_func is not None:
            self.print_func(tag, data)

    def destroy(self) -> None:
        """Closes the event object."""
        self.event.destroy()

    def __enter__(self) -> NamespacedEvent:
        return self

    def __exit__(self, *exc: object) -> None:
        self.destroy()


_EVERY = _native.Filter([], [], "startswith")


def _after_fork_in_child() -> None:
    for event in list(_live):
        event._after_fork()


os.register_at_fork(after_in_child=_after_fork_in_child)
