"""The event bus with the names of ``salt.utils.event``.

Signatures, defaults, return values and side effects are Salt 3008's; where they differ on purpose,
``docs/python/event.md`` says so. Objects may be shared by threads and used after a fork.
"""

import atexit
import logging
import os
import weakref
from collections.abc import Awaitable, Iterable, MutableMapping

from brine import _native, _place
from brine.exceptions import SaltDeserializationError, SaltInvocationError

log = logging.getLogger(__name__)

SUB_EVENT = ("state.highstate", "state.sls")
TAGEND = "\n\n"
TAGPARTER = "/"
SALT = "salt"
TAGS = {
    name: name
    for name in (
        "auth",
        "job",
        "key",
        "minion",
        "syndic",
        "run",
        "wheel",
        "cloud",
        "fileserver",
        "queue",
    )
}

_MATCH_TYPES = frozenset(("startswith", "endswith", "find", "regex", "fnmatch"))
_EXIT = {"tag": "salt/event/exit", "data": {}}
_live = weakref.WeakSet()

atexit.register(_native.leave)


def get_event(
    node,
    sock_dir=None,
    opts=None,
    listen=True,
    io_loop=None,
    keep_loop=False,
    raise_errors=False,
    *,
    transport=None,
):
    """The event object of a node's bus. ``transport`` is accepted and ignored, as in 3006."""
    sock_dir = sock_dir or opts["sock_dir"]
    arguments = {
        "listen": listen,
        "io_loop": io_loop,
        "keep_loop": keep_loop,
        "raise_errors": raise_errors,
    }
    if node == "master":
        return MasterEvent(sock_dir, opts, **arguments)
    return SaltEvent(node, sock_dir, opts, **arguments)


def get_master_event(opts, sock_dir, listen=True, io_loop=None, raise_errors=False):
    """The event object of a master's bus."""
    return MasterEvent(
        sock_dir, opts, listen=listen, io_loop=io_loop, raise_errors=raise_errors
    )


def fire_args(opts, jid, tag_data, prefix=""):
    """Fires the arguments of an orchestration job; failures are only logged."""
    tag = tagify([jid, "args"], prefix)
    try:
        with get_master_event(opts, opts["sock_dir"], listen=False) as event:
            event.fire_event(tag_data, tag=tag)
    except Exception as error:  # noqa: BLE001
        log.warning("cannot fire %s: %s", tag, error)


def tagify(suffix="", prefix="", base=SALT):
    """A tag of base, prefix and suffix (text, or several), empty parts left out."""
    parts = [base, TAGS.get(prefix, prefix)]
    if isinstance(suffix, Iterable) and not isinstance(suffix, str):
        parts.extend(suffix)
    else:
        parts.append(suffix)
    texts = (
        part.decode() if isinstance(part, (bytes, bytearray)) else str(part) for part in parts
    )
    return TAGPARTER.join(text for text in texts if text)


class SaltEvent:
    """A client of a node's bus."""

    def __init__(
        self,
        node,
        sock_dir=None,
        opts=None,
        listen=True,
        io_loop=None,
        keep_loop=False,
        raise_errors=False,
    ):
        from brine import config

        self.node = node
        self.keep_loop = keep_loop
        self.io_loop = None if io_loop is None else getattr(io_loop, "asyncio_loop", io_loop)
        self.raise_errors = raise_errors
        self.opts = dict(config._default_opts("master" if node == "master" else "minion"))
        self.opts.update(opts or {})
        if sock_dir is not None:
            self.opts["sock_dir"] = sock_dir
        self.pending_tags = []
        self.cpub = self.cpush = False
        self._handler = None
        self._watched = None
        self._subscriber = self._new_subscriber()
        self._publisher = self._new_publisher()
        _live.add(self)
        if listen:
            self.connect_pub()

    def __enter__(self):
        return self

    def __exit__(self, exc_type, exc_val, exc_tb):
        self.destroy()

    def _new_subscriber(self):
        return _native.Subscriber(_place.place(self.node, self.opts))

    def _new_publisher(self):
        return _native.Publisher(
            _place.place(self.node, self.opts),
            _place.compat(self.opts),
            int(self.opts.get("max_event_size") or 0) or (1 << 62),
        )

    def _after_fork(self):
        # What another of the parent's threads was at work in stays locked for ever.
        if not self._subscriber.is_free():
            self._subscriber = self._new_subscriber()
            for tag, match_type in self.pending_tags:
                self._subscriber.subscribe(tag, match_type)
        if not self._publisher.is_free():
            self._publisher = self._new_publisher()

    # Connections

    def connect_pub(self, timeout=None):
        """Connects the listening side; whether there is a bus."""
        if not self.cpub:
            if self.io_loop is not None:
                self.cpub = True
                return True
            self.cpub = self._subscriber.connect(1.0 if timeout is None else float(timeout))
        return self.cpub

    def close_pub(self):
        """Closes the listening side and forgets pending events."""
        self._unwatch()
        self._subscriber.close()
        self.cpub = False

    def connect_pull(self, timeout=1):
        """Connects the firing side within ``timeout`` seconds; whether there is a bus."""
        self.cpush = self._publisher.connect(timeout)
        return self.cpush

    def close_pull(self):
        """Closes the firing side."""
        self._publisher.close()
        self.cpush = False

    def destroy(self):
        """Closes both sides. The next call connects again."""
        self.close_pub()
        self.close_pull()

    def fileno(self):
        """The listening socket's number, for ``select``; it changes with a reconnect."""
        number = self._subscriber.fileno()
        if number is None:
            raise ValueError("not connected: call connect_pub() first")
        return number

    # Listening

    def _match_type(self, match_type):
        if match_type is None:
            match_type = self.opts.get("event_match_type")
        return match_type if match_type in _MATCH_TYPES else "startswith"

    def subscribe(self, tag=None, match_type=None):
        """Keeps matching events that other calls pass over, for later calls."""
        if tag is None:
            return
        match_type = self._match_type(match_type)
        self._subscriber.subscribe(tag, match_type)
        self.pending_tags.append([tag, match_type])

    def unsubscribe(self, tag, match_type=None):
        """Takes one such subscription back."""
        if tag is None:
            return
        match_type = self._match_type(match_type)
        self._subscriber.unsubscribe(tag, match_type)
        if [tag, match_type] in self.pending_tags:
            self.pending_tags.remove([tag, match_type])

    def get_event(
        self,
        wait=5,
        tag="",
        full=False,
        match_type=None,
        no_block=False,
        auto_reconnect=False,
    ):
        """The next matching event's data, or with ``full`` a dict of data and tag; ``None`` when
        ``wait`` seconds are over. ``wait=0`` waits for ever, ``no_block=True`` not at all.

        Events that do not match are lost unless they are subscribed to.
        """
        if self.io_loop is not None:
            raise SaltInvocationError("get_event needs an event object without io_loop")
        try:
            got = self._subscriber.get(
                tag, self._match_type(match_type), wait or None, no_block is True
            )
            while got is not None and not self._is_ours(got[1]):
                got = self._subscriber.get(
                    tag, self._match_type(match_type), wait or None, no_block is True
                )
        except KeyboardInterrupt:
            return {"tag": _EXIT["tag"], "data": {}} if full else {}
        if got is None:
            return None
        return {"data": got[1], "tag": got[0]} if full else got[1]

    def _is_ours(self, data):
        if not self.opts.get("subproxy"):
            return True
        return data.get("proxy_target") == self.opts["id"]

    def get_event_noblock(self):
        """The next event whatever its tag, if one is there."""
        return self._next(0.0)

    def get_event_block(self):
        """The next event whatever its tag, however long it takes."""
        return self._next(None)

    def _next(self, wait):
        if self.io_loop is not None:
            raise SaltInvocationError("this needs an event object without io_loop")
        got = self._subscriber.next(_EVERY, wait)
        return None if got is None else {"data": got[1], "tag": got[0]}

    def iter_events(self, tag="", full=False, match_type=None, auto_reconnect=False):
        """Matching events for ever."""
        while True:
            event = self.get_event(
                tag=tag, full=full, match_type=match_type, auto_reconnect=auto_reconnect
            )
            if event is not None:
                yield event

    # Firing

    def fire_event(self, data, tag, timeout=1000):
        """Fires an event, setting ``_stamp`` in ``data``. ``True``: written to the bus's socket;
        ``False``: no bus within ``timeout`` milliseconds (``None``: waits for ever).
        """
        if self.opts.get("subproxy"):
            data["proxy_target"] = self.opts["id"]
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
            self._publisher.fire(tag, data, 0.0)
            return True
        fired = self._publisher.fire(tag, data, None if timeout is None else timeout / 1000)
        self.cpush = fired
        return fired

    async def fire_event_async(self, data, tag, cb=None, timeout=1000):
        """:meth:`fire_event` that does not hold up the running loop while there is no bus."""
        if self._publisher.connect(0.0):
            fired = self.fire_event(data, tag, timeout)
        else:
            import asyncio

            loop = asyncio.get_running_loop()
            fired = await loop.run_in_executor(None, self.fire_event, data, tag, timeout)
        if cb is not None:
            cb(None)
        return fired

    def fire_master(self, data, tag, timeout=1000):
        """Asks the minion whose bus this is to send an event to its master."""
        load = {"tag": tag, "data": data, "events": None, "pretag": None}
        return self.fire_event(load, "fire_master", timeout)

    def fire_ret_load(self, load):
        """Fires ``…/error/…`` events for the failed states of a job return."""
        for tag, data in _native.ret_load_events(load):
            self.fire_event(data, tag)

    # The wire form

    @classmethod
    def unpack(cls, raw):
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
    def pack(cls, tag, data, max_size=None):
        """An event's bytes."""
        return _native.pack(tag, data, max_size)

    # On an event loop

    def set_event_handler(self, event_handler):
        """Calls ``event_handler`` with the bytes of every event; needs ``io_loop``."""
        if self.io_loop is None:
            raise SaltInvocationError("set_event_handler needs an event object with io_loop")
        self._handler = event_handler
        self.io_loop.call_soon(self._pump)

    def _pump(self):
        if self._handler is None:
            return
        # A burst must not keep the loop from its other work.
        for _ in range(256):
            raw = self._subscriber.next_raw(0.0)
            if raw is None:
                break
            result = self._handler(raw)
            if isinstance(result, Awaitable):
                self.io_loop.create_task(_completed(result))
        else:
            self.io_loop.call_soon(self._pump)
            return
        self._watch()

    def _watch(self):
        number = self._subscriber.fileno()
        if number == self._watched and number is not None:
            return
        self._unwatch(keep_handler=True)
        if number is None:
            self.io_loop.call_later(0.05, self._pump)
        else:
            self.io_loop.add_reader(number, self._pump)
            self._watched = number

    def _unwatch(self, keep_handler=False):
        if not keep_handler:
            self._handler = None
        if self._watched is not None:
            self.io_loop.remove_reader(self._watched)
            self._watched = None


async def _completed(awaitable):
    return await awaitable


class MasterEvent(SaltEvent):
    """A client of a master's bus."""

    def __init__(
        self,
        sock_dir,
        opts=None,
        listen=True,
        io_loop=None,
        keep_loop=False,
        raise_errors=False,
    ):
        super().__init__(
            "master", sock_dir, opts, listen, io_loop, keep_loop, raise_errors
        )


class LocalClientEvent(MasterEvent):
    """A client of a master's bus, under the name Salt's own client uses."""


class MinionEvent(SaltEvent):
    """A client of a minion's bus."""

    def __init__(self, opts, listen=True, io_loop=None, raise_errors=False):
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

    def __init__(self, event, base, print_func=None):
        self.event = event
        self.base = base
        self.print_func = print_func

    def fire_event(self, data, tag):
        """Fires ``base/tag``."""
        self.event.fire_event(data, tagify(tag, base=self.base))
        if self.print_func is not None:
            self.print_func(tag, data)

    def destroy(self):
        """Closes the event object."""
        self.event.destroy()

    def __enter__(self):
        return self

    def __exit__(self, *args):
        self.destroy()


_EVERY = _native.Filter([], [], "startswith")


def _after_fork_in_child():
    for event in list(_live):
        event._after_fork()


os.register_at_fork(after_in_child=_after_fork_in_child)
