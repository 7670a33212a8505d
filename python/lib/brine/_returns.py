"""The events of one published job, until nobody waits for its returns any more.

``brine-wire`` decides when that is; this module listens and asks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Optional

from brine import _native

if TYPE_CHECKING:
    from brine.event import SaltEvent

Return = dict[str, dict[str, Any]]
# Asks the named minions about the job; the id of the job that asks, if it could be published.
Inquiry = Callable[[list[str]], Optional[str]]

# Salt's clients look up this often, in seconds; without waiting for returns they hardly wait.
_STEP = 0.25
_NO_BLOCK = 0.01


class Returns:
    """The returns of a job that was just published."""

    def __init__(
        self,
        event: SaltEvent,
        jid: str,
        minions: Iterable[str],
        timeout: float,
        gather_timeout: float,
        inquire: Inquiry,
    ) -> None:
        self.jid = jid
        self.job = _native.Returns(jid, list(minions), timeout, gather_timeout)
        self._event = event
        self._inquire = inquire
        self._inquiries: list[str] = []

    def each(self, block: bool) -> Iterator[tuple[str, dict[str, Any]] | None]:
        """``"return"`` or ``"refused"`` with the event, ``{"tag", "data"}``, until all have returned
        or are given up. Without ``block`` also ``None`` whenever there is nothing yet.
        """
        while True:
            step = self.job.poll()
            if step is None:
                return
            if isinstance(step, list):
                jid = self._inquire(step)
                self.job.asked(jid)
                self._inquiries.extend([jid] if jid is not None else [])
                continue
            raw = self._next(min(step, _STEP) if block else _NO_BLOCK)
            if raw is not None:
                kind = self.job.take(raw["tag"], raw["data"])
                if kind is not None:
                    yield kind, raw
            elif not block:
                yield None

    def close(self) -> None:
        """Removes the subscriptions."""
        for jid in (self.jid, *self._inquiries):
            self._event.unsubscribe(f"salt/job/{jid}")
        self._inquiries = []

    def _next(self, wait: float) -> dict[str, Any] | None:
        jids = "|".join((self.jid, *self._inquiries))
        # Zero would wait for ever.
        got: dict[str, Any] | None = self._event.get_event(
            wait=max(wait, 0.001), tag=f"salt/job/({jids})", match_type="regex", full=True
        )
        return got
