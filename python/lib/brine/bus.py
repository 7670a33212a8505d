"""The bus for new programs: typed events, ``for`` and ``async for``, several tags at once."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Union, overload

from brine import _native, _address

if TYPE_CHECKING:
    import asyncio
    import datetime

    Time = Union[str, datetime.datetime, datetime.timedelta]
    """``10m`` (ago), a date, a job id and so on, or Python's own kinds of time."""

# How often a stream looks for a bus that is not there, in seconds.
_LOOK_EVERY = 0.05

Node = Literal["master", "minion"]
MatchType = Literal["glob", "fnmatch", "startswith", "endswith", "find", "regex"]


class Event(NamedTuple):
    """One event."""

    tag: str
    data: Any
    seq: int | None = None
    """Its number in the bus's log; ``None`` from a bus of real Salt, which keeps no log."""
    position: str | None = None
    """Its place: ``events(after=position)`` goes on with the next one, after a restart too."""

    @property
    def stamp(self) -> datetime.datetime | None:
        """When it was fired, with time zone; ``None`` if it does not say."""
        import datetime

        text: Any = self.data.get("_stamp") if isinstance(self.data, dict) else None
        try:
            stamp = datetime.datetime.fromisoformat(text)
        except (TypeError, ValueError):
            return None
        return stamp if stamp.tzinfo else stamp.replace(tzinfo=datetime.timezone.utc)


class Gap(NamedTuple):
    """Events that a stream has missed: they are gone, or belong to another log.

    It has the attributes of an event, so that a loop that does not check for gaps keeps working.
    """

    from_: str
    """The position of the last event before it."""
    to: str
    """The position of the last event that is missing."""
    missed: int | None
    """How many are missing; ``None`` where nobody can know."""
    reason: str | None
    """Why, in a few words, if that is known."""

    @property
    def tag(self) -> str:
        """``brine/gap``."""
        return "brine/gap"

    @property
    def data(self) -> dict[str, Any]:
        """``from``, ``to``, ``missed`` and ``reason``."""
        return {"from": self.from_, "to": self.to, "missed": self.missed, "reason": self.reason}

    @property
    def seq(self) -> None:
        """None: it is not an event of the log."""
        return None

    @property
    def position(self) -> str:
        """Where the stream continues: ``to``."""
        return self.to

    @property
    def stamp(self) -> None:
        """None: nobody fired it."""
        return None


class Bus:
    """The event bus of the master or minion that runs on this machine.

    ``config`` is a Salt configuration file or a dict of options. Without it, ``sock_dir`` (and for a
    minion ``id``) say where the bus is; without those, Salt's default configuration file does.
    ``compat`` names the Salt release of the bus, if that is older than 3006.26, 3007.15 or
    3008.2.

    ``ValueError`` for an unknown ``node`` or ``compat``, ``FileNotFoundError`` for a ``config`` file
    that does not exist. A bus that is not running is not an error here.
    """

    def __init__(
        self,
        node: Node = "master",
        *,
        sock_dir: str | os.PathLike[str] | None = None,
        id: str | None = None,
        config: str | os.PathLike[str] | Mapping[str, Any] | None = None,
        compat: str | None = None,
    ) -> None:
        if node not in ("master", "minion"):
            raise ValueError(f'node must be "master" or "minion", not {node!r}')
        self.node = node
        self._opts = self._options(sock_dir, id, config)
        if compat is not None:
            self._opts["brine"] = {"compat": str(compat)}
        self._publisher: tuple[int, _native.Publisher] | None = None
        self._client: tuple[int, _native.LocalClient] | None = None
        # Connects nothing; an option that is wrong is an error now and not at the first event.
        self._ensure_publisher()

    def _options(
        self,
        sock_dir: str | os.PathLike[str] | None,
        id: str | None,
        config: str | os.PathLike[str] | Mapping[str, Any] | None,
    ) -> dict[str, Any]:
        from brine import config as files

        if isinstance(config, Mapping):
            opts = {**files._default_opts(self.node), **config}
        elif config is None and sock_dir is not None and (self.node == "master" or id):
            opts = dict(files._default_opts(self.node))
        else:
            path = os.fspath(config or f"/etc/salt/{self.node}")
            if config is not None and not os.path.exists(path):
                raise FileNotFoundError(errno.ENOENT, "no such configuration file", path)
            opts = files._load(self.node, path)
        if sock_dir is not None:
            opts["sock_dir"] = os.fspath(sock_dir)
        if id is not None:
            opts["id"] = id
        return opts

    def events(
        self,
        tag: str | Iterable[str] = (),
        *,
        exclude: str | Iterable[str] = (),
        match_type: MatchType = "glob",
        filter: str | None = None,
        from_: str | int | None = None,
        since: Time | None = None,
        until: Time | None = None,
        last: int | None = None,
        after: str | None = None,
        limit: int | None = None,
        timeout: float | None = None,
    ) -> EventStream:
        """A stream of the events with any of the tags (none given: all) and none of the excluded
        ones.

        It begins with the events fired from now on; ``from_``, ``since``, ``last`` or ``after`` (a
        position) begin it earlier, as ``brine watch`` does. ``timeout`` ends it after that many seconds
        without an event. If the bus does not run, a warning is logged and the stream waits for it.

        From Brine's bus, events have a position, and a stream that is cut continues where it was; what
        is missing then is a :class:`Gap` in the stream. From a bus of real Salt, events fired while
        the connection is down are lost, and the arguments from ``filter`` to ``limit`` are a
        ``ConnectionError``.
        """
        source = _Source(
            self, _query(tag, exclude, match_type, filter, from_, since, until, last, after, limit)
        )
        source.open()
        return EventStream(source, timeout)

    def history(
        self,
        tag: str | Iterable[str] = (),
        *,
        exclude: str | Iterable[str] = (),
        match_type: MatchType = "glob",
        filter: str | None = None,
        from_: str | int | None = None,
        since: Time | None = None,
        until: Time | None = None,
        last: int | None = None,
        after: str | None = None,
        limit: int | None = None,
        timeout: float = 1.0,
    ) -> EventStream:
        """The events that the bus keeps now, oldest first; the stream ends with the newest.

        ``ConnectionError`` if no bus of Brine runs within ``timeout`` seconds.
        """
        query = _query(tag, exclude, match_type, filter, from_, since, until, last, after, limit)
        source = _Source(self, query._replace(ends=True))
        source.open(timeout)
        return EventStream(source, None)

    def status(self, *, timeout: float = 1.0) -> dict[str, Any]:
        """What runs, what its log holds and who reads: the answer of ``brine.sock`` to ``GET
        /status``."""
        status: dict[str, Any] = self._ensure_client().get("/status", timeout)
        return status

    def consumers(self, *, timeout: float = 1.0) -> list[dict[str, Any]]:
        """The named readers whose positions the bus keeps."""
        answer: dict[str, Any] = self._ensure_client().get("/consumers", timeout)
        consumers: list[dict[str, Any]] = answer["consumers"]
        return consumers

    @overload
    def fire(
        self,
        tag: str,
        data: Mapping[str, Any] | None = None,
        *,
        ack: Literal[False] = False,
        timeout: float = 1.0,
    ) -> None: ...

    @overload
    def fire(
        self,
        tag: str,
        data: Mapping[str, Any] | None = None,
        *,
        ack: Literal[True, "appended"],
        timeout: float = 1.0,
    ) -> str: ...

    def fire(
        self,
        tag: str,
        data: Mapping[str, Any] | None = None,
        *,
        ack: bool | Literal["appended"] = False,
        timeout: float = 1.0,
    ) -> str | None:
        """Fires an event. ``data`` is not changed.

        With ``ack=True`` it returns the event's position once the event is on disk, which a bus
        without history refuses (``RuntimeError``); with ``ack="appended"``, once listeners can read
        it. Both need a bus of Brine.

        ``ConnectionError`` if there is no bus within ``timeout`` seconds; ``ValueError`` if ``data``
        is larger than ``max_event_size`` (Salt would replace large values by ``VALUE_TRIMMED``);
        ``TypeError`` if it holds what an event cannot carry; ``PermissionError`` if this user may not
        fire it.
        """
        if ack not in (False, True, "appended"):
            raise ValueError(f'ack must be True, False or "appended", not {ack!r}')
        if data is not None and not isinstance(data, Mapping):
            raise TypeError(f"data must be a mapping of names to values, not {_type(data)}")
        load = dict(data or {})
        try:
            if ack:
                return self._ensure_client().fire(tag, load, ack is True, timeout)
            fired = self._fire_unanswered(tag, load, timeout)
        except TypeError as error:
            raise _blamed(load, error) from None
        if not fired:
            raise ConnectionError(self._no_bus())
        return None

    def _fire_unanswered(self, tag: str, load: dict[str, Any], timeout: float) -> bool:
        try:
            return self._ensure_publisher().fire(tag, load, timeout)
        except PermissionError:
            # Brine's own socket may admit whom Salt's does not.
            if not os.path.exists(_address.local_path(self.node, self._opts)):
                raise
            self._ensure_client().fire(tag, load, False, timeout)
            return True

    def _no_bus(self) -> str:
        return f"no bus of a {self.node} in {self._opts['sock_dir']}"

    async def fire_async(
        self, tag: str, data: Mapping[str, Any] | None = None, *, timeout: float = 1.0
    ) -> None:
        """:meth:`fire` that does not block the running loop while there is no bus."""
        import asyncio  # only here: importing it takes longer than all the rest

        if self._ensure_publisher().connect(0.0):
            self.fire(tag, data, timeout=timeout)
            return
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(None, lambda: self.fire(tag, data, timeout=timeout))

    def _ensure_publisher(self) -> _native.Publisher:
        if self._publisher is None or self._publisher[0] != os.getpid():
            publisher = _native.Publisher(
                _address.address(self.node, self._opts),
                _address.compat(self._opts),
                int(self._opts["max_event_size"]),
                trims=False,
            )
            self._publisher = (os.getpid(), publisher)
        return self._publisher[1]

    def _ensure_client(self) -> _native.LocalClient:
        if self._client is None or self._client[0] != os.getpid():
            client = _native.LocalClient(
                _address.address(self.node, self._opts),
                _address.compat(self._opts),
                int(self._opts["max_event_size"]),
            )
            self._client = (os.getpid(), client)
        return self._client[1]

    def close(self) -> None:
        """Closes the firing side; streams have their own connections."""
        if self._publisher is not None:
            self._publisher[1].close()
            self._publisher = None
        if self._client is not None:
            self._client[1].close()
            self._client = None

    def __enter__(self) -> Bus:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


class _Query(NamedTuple):
    """Which events a stream contains, as the native half takes it."""

    tags: list[str]
    excludes: list[str]
    match_type: str
    filter: str
    start: str
    since: str
    until: str
    last: int | None
    limit: int | None
    ends: bool = False

    def needs_log(self) -> bool:
        """Whether only a bus with a log can answer this."""
        return self.ends or any(
            (self.filter, self.start, self.since, self.until, self.last, self.limit)
        )


class _Source:
    """Where a stream's events come from: Brine's own socket, or Salt's where there is none."""

    def __init__(self, bus: Bus, query: _Query) -> None:
        self._bus = bus
        self._query = query
        # What cannot be a filter is an error now.
        self._filter = _native.Filter(query.tags, query.excludes, query.match_type)
        address = _address.address(bus.node, bus._opts)
        self._local = _native.LocalStream(address, query._asdict())
        self._subscriber = _native.Subscriber(address)
        self._chosen: _native.LocalStream | _native.Subscriber | None = None

    def open(self, timeout: float | None = None) -> None:
        """Connects. Without a bus: waits ``timeout`` seconds and fails, or leaves it to ``next``."""
        if self._choose(timeout or 0.0):
            return
        if timeout is not None:
            raise ConnectionError(self._bus._no_bus())
        import logging  # only here: it is seldom needed, and takes time to import

        logging.getLogger("brine").warning("%s; waiting for it", self._bus._no_bus())

    def _choose(self, timeout: float) -> bool:
        """Takes the first socket that answers, Brine's own before Salt's."""
        denied: PermissionError | None = None
        try:
            if self._local.connect(timeout):
                self._chosen = self._local
                return True
        except PermissionError as error:
            if self._query.needs_log():
                raise
            denied = error
        if not self._subscriber.connect(0.0):
            if denied is not None:
                raise denied
            return False
        if self._query.needs_log():
            self._subscriber.close()
            path = _address.local_path(self._bus.node, self._bus._opts)
            raise ConnectionError(
                f"the bus of this {self._bus.node} keeps no log that can be asked: {path} is "
                "not there; run Brine, or leave out filter, from_, since, until, last, after and limit"
            )
        self._chosen = self._subscriber
        return True

    def next(self, wait: float | None) -> Event | Gap | None | Literal["end"]:
        """The next event or gap; ``None`` when the time is over."""
        if self._chosen is None:
            deadline = None if wait is None else time.monotonic() + wait
            while not self._choose(0.0):
                left = None if deadline is None else deadline - time.monotonic()
                if left is not None and left <= 0:
                    return None
                time.sleep(_LOOK_EVERY if left is None else min(left, _LOOK_EVERY))
            wait = None if deadline is None else max(0.0, deadline - time.monotonic())
        if isinstance(self._chosen, _native.Subscriber):
            got = self._chosen.next(self._filter, wait)
            return None if got is None else Event(*got)
        given = None if self._chosen is None else self._chosen.next(wait)
        if given is None:
            return None
        if given[0] == "event":
            return Event(*given[1:])
        return Gap(*given[1:]) if given[0] == "gap" else "end"

    def fileno(self) -> int | None:
        return None if self._chosen is None else self._chosen.fileno()

    def position(self) -> str | None:
        return self._local.position() if self._chosen is self._local else None

    def close(self) -> None:
        self._local.close()
        self._subscriber.close()


class EventStream:
    """Events as they arrive, for ``for`` and ``async for``. Reconnects when the bus comes back."""

    def __init__(self, source: _Source, timeout: float | None) -> None:
        self._source = source
        self._timeout = timeout
        self._closed = False

    def __iter__(self) -> EventStream:
        return self

    def __next__(self) -> Event | Gap:
        event = self._take(self._timeout)
        if event is None:
            raise StopIteration
        return event

    def __aiter__(self) -> EventStream:
        return self

    async def __anext__(self) -> Event | Gap:
        import asyncio

        loop = asyncio.get_running_loop()
        deadline = None if self._timeout is None else loop.time() + self._timeout
        while not self._closed:
            event = self._take(0.0)
            if event is not None:
                return event
            left = None if deadline is None else deadline - loop.time()
            if self._closed or (left is not None and left <= 0):
                break
            await self._readable(loop, left)
        raise StopAsyncIteration

    def get(self, timeout: float | None = None) -> Event | Gap | None:
        """The next event, or ``None`` after ``timeout`` seconds or at the end."""
        return self._take(timeout)

    @property
    def position(self) -> str | None:
        """How far the stream has read: every event up to here was returned or did not match. ``None`` where
        there is no log, or nothing is known yet."""
        return self._source.position()

    def _take(self, wait: float | None) -> Event | Gap | None:
        if self._closed:
            return None
        got = self._source.next(wait)
        if got == "end":
            self.close()
            return None
        return got

    async def _readable(self, loop: asyncio.AbstractEventLoop, left: float | None) -> None:
        import asyncio

        number = self._source.fileno()
        if number is None:
            await asyncio.sleep(_LOOK_EVERY if left is None else min(left, _LOOK_EVERY))
            return
        ready: asyncio.Future[None] = loop.create_future()
        loop.add_reader(number, _tell, ready)
        try:
            await asyncio.wait_for(ready, left)
        except asyncio.TimeoutError:
            pass
        finally:
            loop.remove_reader(number)

    def fileno(self) -> int:
        """The socket's number, for ``select``; it changes with a reconnect."""
        number = self._source.fileno()
        if number is None:
            raise ValueError("there is no connection to the bus now")
        return number

    def close(self) -> None:
        """Ends the stream."""
        self._closed = True
        self._source.close()

    def __enter__(self) -> EventStream:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    async def __aenter__(self) -> EventStream:
        return self

    async def __aexit__(self, *exc: object) -> None:
        self.close()


def _query(
    tag: str | Iterable[str],
    exclude: str | Iterable[str],
    match_type: str,
    filter: str | None,
    from_: str | int | None,
    since: Time | None,
    until: Time | None,
    last: int | None,
    after: str | None,
    limit: int | None,
) -> _Query:
    starts = {"from_": from_, "since": since, "last": last, "after": after}
    given = [name for name, value in starts.items() if value is not None]
    if len(given) > 1:
        raise ValueError(f"only one of {' and '.join(given)} can say where to begin")
    for name, count in (("last", last), ("limit", limit)):
        if count is not None and count < 1:
            raise ValueError(f"{name} must be at least 1, not {count}")
    if after is not None and "-" not in after:
        raise ValueError(f'after must be a position such as "7f3a-42", not {after!r}')
    start = from_ if after is None else after
    return _Query(
        _texts("tag", tag),
        _texts("exclude", exclude),
        match_type,
        filter or "",
        "" if start is None else str(start),
        _time("since", since),
        _time("until", until),
        last,
        limit,
    )


def _time(name: str, when: Time | None) -> str:
    """A time as the bus reads it."""
    if when is None or isinstance(when, str):
        return when or ""
    import datetime

    if isinstance(when, datetime.timedelta):
        when = datetime.datetime.now(datetime.timezone.utc) - when
    if isinstance(when, datetime.datetime):
        # A datetime without a zone is local, as for Python.
        return when.astimezone(datetime.timezone.utc).isoformat()
    raise TypeError(f"{name} must be a string, a datetime or a timedelta, not {_type(when)}")


def _tell(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)


def _texts(name: str, patterns: str | Iterable[str]) -> list[str]:
    texts = [patterns] if isinstance(patterns, str) else patterns
    if not isinstance(texts, Iterable):
        raise TypeError(f"{name} must be a string or several, not {_type(patterns)}")
    texts = list(texts)
    for text in texts:
        if not isinstance(text, str):
            raise TypeError(f"{name} must hold strings, not {_type(text)}")
    return texts


def _type(value: object) -> str:
    return type(value).__name__


def _blamed(data: Mapping[Any, Any], error: TypeError) -> TypeError:
    """The error, with the key whose value caused it."""
    for key, value in data.items():
        try:
            _native.dumps({key: value})
        except TypeError as found:
            return TypeError(f"data[{key!r}]: {found}")
    return error
