"""The bus for new programs: typed events, ``for`` and ``async for``, several tags at once."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from brine import _native, _address

if TYPE_CHECKING:
    import asyncio
    import datetime

Node = Literal["master", "minion"]
MatchType = Literal["glob", "fnmatch", "startswith", "endswith", "find", "regex"]


class Event(NamedTuple):
    """One event."""

    tag: str
    data: Any
    number: int
    """Its number in the stream that it was read from, counted from 1."""

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


class Bus:
    """The event bus of the master or minion that runs on this machine.

    ``config`` is a Salt configuration file or a dict of options. Without it, ``sock_dir`` (and for a
    minion ``id``) say where the bus is; without those, Salt's default configuration file does.
    ``compat`` names the Salt release whose bus it is, if that is older than 3006.26, 3007.15 or
    3008.2.

    ``ValueError`` for an unknown ``node`` or ``compat``, ``FileNotFoundError`` for a ``config`` file
    that does not exist. A bus that does not run is no error here.
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
        timeout: float | None = None,
    ) -> EventStream:
        """A stream of the events with any of the tags (none given: all) and none of the excluded
        ones.

        It has the events fired from now on. ``timeout`` ends it after so many seconds without an
        event. If the bus does not run, a warning is logged and the stream waits for it.
        """
        patterns = _native.Filter(_texts("tag", tag), _texts("exclude", exclude), match_type)
        subscriber = _native.Subscriber(_address.address(self.node, self._opts))
        if not subscriber.connect(0.0):
            import logging  # only here: it is seldom needed, and takes time to import

            logging.getLogger("brine").warning("%s; waiting for it", self._no_bus())
        return EventStream(subscriber, patterns, timeout)

    def fire(
        self, tag: str, data: Mapping[str, Any] | None = None, *, timeout: float = 1.0
    ) -> None:
        """Fires an event. ``data`` is not changed.

        ``ConnectionError`` if there is no bus within ``timeout`` seconds; ``ValueError`` if ``data``
        is larger than ``max_event_size`` (Salt would replace large values by ``VALUE_TRIMMED``);
        ``TypeError`` if it holds what an event cannot carry.
        """
        if data is not None and not isinstance(data, Mapping):
            raise TypeError(f"data must be a mapping of names to values, not {_type(data)}")
        load = dict(data or {})
        try:
            fired = self._ensure_publisher().fire(tag, load, timeout)
        except TypeError as error:
            raise _blamed(load, error) from None
        if not fired:
            raise ConnectionError(self._no_bus())

    def _no_bus(self) -> str:
        return f"no bus of a {self.node} in {self._opts['sock_dir']}"

    async def fire_async(
        self, tag: str, data: Mapping[str, Any] | None = None, *, timeout: float = 1.0
    ) -> None:
        """:meth:`fire` that does not hold up the running loop while there is no bus."""
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

    def close(self) -> None:
        """Closes the firing side; streams have their own connections."""
        if self._publisher is not None:
            self._publisher[1].close()
            self._publisher = None

    def __enter__(self) -> Bus:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


class EventStream:
    """Events as they come, for ``for`` and ``async for``. Reconnects when the bus comes back."""

    def __init__(
        self, subscriber: _native.Subscriber, patterns: _native.Filter, timeout: float | None
    ) -> None:
        self._subscriber = subscriber
        self._patterns = patterns
        self._timeout = timeout
        self._number = 0
        self._closed = False

    def __iter__(self) -> EventStream:
        return self

    def __next__(self) -> Event:
        event = None if self._closed else self._take(self._timeout)
        if event is None:
            raise StopIteration
        return event

    def __aiter__(self) -> EventStream:
        return self

    async def __anext__(self) -> Event:
        import asyncio

        loop = asyncio.get_running_loop()
        deadline = None if self._timeout is None else loop.time() + self._timeout
        while not self._closed:
            event = self._take(0.0)
            if event is not None:
                return event
            left = None if deadline is None else deadline - loop.time()
            if left is not None and left <= 0:
                break
            await self._readable(loop, left)
        raise StopAsyncIteration

    def get(self, timeout: float | None = None) -> Event | None:
        """The next event, or ``None`` after ``timeout`` seconds."""
        return None if self._closed else self._take(timeout)

    def _take(self, wait: float | None) -> Event | None:
        got = self._subscriber.next(self._patterns, wait)
        if got is None:
            return None
        self._number += 1
        return Event(got[0], got[1], self._number)

    async def _readable(self, loop: asyncio.AbstractEventLoop, left: float | None) -> None:
        import asyncio

        number = self._subscriber.fileno()
        if number is None:
            await asyncio.sleep(0.05 if left is None else min(left, 0.05))
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
        number = self._subscriber.fileno()
        if number is None:
            raise ValueError("there is no connection to the bus now")
        return number

    def close(self) -> None:
        """Ends the stream."""
        self._closed = True
        self._subscriber.close()

    def __enter__(self) -> EventStream:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    async def __aenter__(self) -> EventStream:
        return self

    async def __aexit__(self, *exc: object) -> None:
        self.close()


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
    """The error with the key whose value caused it."""
    for key, value in data.items():
        try:
            _native.dumps({key: value})
        except TypeError as found:
            return TypeError(f"data[{key!r}]: {found}")
    return error
