"""Passes events to a function as they arrive, on an asyncio loop."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from brine import _native

if TYPE_CHECKING:
    import asyncio

# A burst must not keep the loop from its other work.
_AT_ONCE = 256


class Pump:
    """Calls ``handler`` with the bytes of every event, until stopped."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        subscriber: _native.Subscriber,
        handler: Callable[[bytes], Any],
    ) -> None:
        self._loop = loop
        self._subscriber = subscriber
        self._handler: Callable[[bytes], Any] | None = handler
        self._watched: int | None = None
        loop.call_soon(self._run)

    def stop(self) -> None:
        """Stops the calls."""
        self._handler = None
        self._unwatch()

    def _run(self) -> None:
        for _ in range(_AT_ONCE):
            if self._handler is None:
                return
            raw = self._subscriber.next_raw(0.0)
            if raw is None:
                break
            result = self._handler(raw)
            if isinstance(result, Awaitable):
                self._loop.create_task(_completed(result))
        else:
            self._loop.call_soon(self._run)
            return
        self._watch()

    def _watch(self) -> None:
        number = self._subscriber.fileno()
        if number is not None and number == self._watched:
            return
        self._unwatch()
        if number is None:
            self._loop.call_later(0.05, self._run)
        else:
            self._loop.add_reader(number, self._run)
            self._watched = number

    def _unwatch(self) -> None:
        if self._watched is not None:
            self._loop.remove_reader(self._watched)
            self._watched = None


async def _completed(awaitable: Awaitable[Any]) -> Any:
    return await awaitable
