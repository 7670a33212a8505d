"""A question put to a running Brine node over its own bus, and the answer.

Asked as ``brine/<what>/<number>``, answered as ``brine/<what>/<number>/ret``.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from brine.event import SaltEvent


class Question:
    """One question; the event object must already listen, or the answer may come too early."""

    def __init__(self, event: SaltEvent, what: str) -> None:
        self._event = event
        self._tag = f"brine/{what}/{os.urandom(16).hex()}"
        # Kept when other calls on the same object pass it over.
        event.subscribe(f"{self._tag}/ret")

    def ask(self, load: dict[str, Any], timeout: float) -> bool:
        """Asks; whether the bus took it within ``timeout`` seconds."""
        return self._event.fire_event(load, self._tag, int(timeout * 1000))

    def answer(self, wait: float) -> dict[str, Any] | None:
        """The answer, or ``None`` when ``wait`` seconds are over."""
        got: dict[str, Any] | None = self._event.get_event(
            wait=max(wait, 0.001), tag=f"{self._tag}/ret"
        )
        return got

    def close(self) -> None:
        """Stops waiting."""
        self._event.unsubscribe(f"{self._tag}/ret")
