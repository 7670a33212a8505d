"""A question put to a running Brine node over its own bus, and the answer.

Asked as ``brine/<what>/<number>``, answered as ``brine/<what>/<number>/ret``.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from brine.event import SaltEvent


def hear(event: SaltEvent, timeout: float) -> bool:
    """Makes sure that an object hears its bus; whether it does within ``timeout`` seconds.

    A bus knows of a listener some time after the listener has connected, and an answer that is
    quicker than that would be missed.
    """
    tag = f"brine/here/{os.urandom(16).hex()}"
    until = time.monotonic() + timeout
    event.subscribe(tag)
    try:
        while (left := until - time.monotonic()) > 0:
            fired = event.fire_event({}, tag, int(min(left, 1) * 1000) + 1)
            if fired and event.get_event(wait=min(left, 0.2), tag=tag) is not None:
                return True
        return False
    finally:
        event.unsubscribe(tag)


class Question:
    """One question on a bus that :func:`hear` has made sure to be heard."""

    def __init__(self, event: SaltEvent, what: str) -> None:
        self._event = event
        self._tag = f"brine/{what}/{os.urandom(16).hex()}"
        # Kept when other calls on the same object pass it over.
        event.subscribe(f"{self._tag}/ret")

    def ask(self, load: dict[str, Any], timeout: float) -> None:
        """Asks, waiting for the bus ``timeout`` seconds at most."""
        self._event.fire_event(load, self._tag, int(timeout * 1000))

    def answer(self, wait: float) -> dict[str, Any] | None:
        """The answer, or ``None`` when ``wait`` seconds are over."""
        got: dict[str, Any] | None = self._event.get_event(
            wait=max(wait, 0.001), tag=f"{self._tag}/ret"
        )
        return got

    def close(self) -> None:
        """Stops waiting."""
        self._event.unsubscribe(f"{self._tag}/ret")
