"""The bus for new programs: typed events, ``for`` and ``async for``, several tags at once."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from brine import _native, _place

if TYPE_CHECKING:
    import asyncio
    import datetime


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
    """A master's or minion's bus.

    ``config`` is a Salt configuration file or a dict of options; without one, ``sock_dir`` (and for
    a minion ``id``) say where the bus is, and without those the default configuration does.
    ``compat`` names the Salt release of a bus that is older than 3006.26, 3007.15 or 3008.2.
    """

    def __init__(
        self,
        node: str = "master",
        *,
        sock_dir: str | os.PathLike[str] | None = None,
        id: str | None = None,
        config: str | os.PathLike[str] | Mapping[str, Any] | None = None,
        compat: str | None = None,
    ) -> None:
        self.node = node
        self._opts = self._options(sock_dir, id, config)
        if compat is not None:
            self._opts["brine"] = {"compat": str(compat)}
        self._publisher: tuple[int, _native.Publisher] | None = None

    def _options(
        self,
        sock_dir: str | os.PathLike[str] | None,
        id: str | None,
        config: str | os.PathLike[str] | Mapping[str, Any] | None,
    ) -> dict[str, Any]:
        from brine import config as files

        if isinstance(config, Mapping):
            opts = {**files._default_opts(self._role()), **config}
        elif config is None and sock_dir is not None and (self._role() == "master" or id):
            opts = dict(files._default_opts(self._role()))
        else:
            path = os.fspath(config or f"/etc/salt/{self._role()}")
            opts = files._load(self._role(), path)
        if sock_dir is not None:
            opts["sock_dir"] = os.fspath(sock_dir)
        if id is not None:
            opts["id"] = id
        return opts

    def _role(self) -> str:
        return "master" if self.node == "master" else "minion"

    def events(
        self,
        tag: str | Iterable[str] = (),
        *,
        exclude: str | Iterable[str] = (),
        match_type: str = "fnmatch",
        timeout: float | None = None,
    ) -> EventStream:
        """A stream of events with any of the tags (none given: all) and none of the excluded ones.

        Events fired from now on are seen. ``timeout`` in seconds ends the stream when nothing came
        for so long.
        """
        patterns = _native.Filter(_texts(tag), _texts(exclude), match_type)
        subscriber = _native.Subscriber(_place.place(self.node, self._opts))
        subscriber.connect(0.0)
        return EventStream(subscriber, patterns, timeout)

    def fire(
        self, tag: str, data: Mapping[str, Any] | None = None, *, timeout: float = 1.0
    ) -> None:
        """Fires an event; ``ConnectionError`` if there is no bus within ``timeout`` seconds, and
        ``ValueError`` if ``data`` are larger than ``max_event_size`` (Salt would replace large
        values by ``VALUE_TRIMMED``).

        ``data`` are left as they are.
        """
        if not self._ensure_publisher().fire(tag, dict(data or {}), timeout):
            raise ConnectionError(f"no bus of a {self.node} in {self._opts['sock_dir']}")

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
                _place.place(self.node, self._opts),
                _place.compat(self._opts),
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
        self._seq = 0
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
        self._seq += 1
        return Event(got[0], got[1], self._seq)

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


def _texts(patterns: str | Iterable[str]) -> list[str]:
    return [patterns] if isinstance(patterns, str) else list(patterns)
