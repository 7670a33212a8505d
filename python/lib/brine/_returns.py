"""The returns of one published job as they come in, and when to stop waiting for more.

After ``timeout`` seconds the minions that are missing are asked whether the job still runs; who
says so is waited for ``timeout`` seconds more, as in Salt.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Optional

if TYPE_CHECKING:
    from brine.event import SaltEvent

log = logging.getLogger("brine.client")

Return = dict[str, dict[str, Any]]
# Asks the named minions about the job; the id of the job that asks, if it could be published.
Inquiry = Callable[[list[str]], Optional[str]]

_STEP_SECONDS = 0.25


class Returns:
    """Who of a job's minions has answered, and who is still waited for."""

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
        self.minions = set(minions)
        self.found: set[str] = set()
        self.missing: set[str] = set()
        self._event = event
        self._timeout = timeout
        self._gather_timeout = gather_timeout
        self._inquire = inquire
        self._inquiries: list[str] = []
        self._asked_until = 0.0
        self._some_run = True
        begin = time.monotonic()
        self._ask_at = begin + timeout
        self._waited_for_until = dict.fromkeys(self.minions, begin + timeout)

    def each(self, block: bool) -> Iterator[dict[str, Any] | None]:
        """The job's events, ``{"tag", "data"}``, until all have answered or are given up. Without
        ``block`` also ``None`` whenever there is nothing yet.
        """
        while not self.found >= self.minions:
            raw = self._next(_STEP_SECONDS if block else 0.01)
            if raw is None:
                if self._is_over():
                    return
                if not block:
                    yield None
            elif raw["tag"].startswith(f"salt/job/{self.jid}"):
                yield raw
            else:
                self._heard_of(raw["data"])

    def close(self) -> None:
        """Takes the subscriptions back."""
        for jid in (self.jid, *self._inquiries):
            self._event.unsubscribe(f"salt/job/{jid}")
        self._inquiries = []

    def _next(self, wait: float) -> dict[str, Any] | None:
        jids = "|".join((self.jid, *self._inquiries))
        got: dict[str, Any] | None = self._event.get_event(
            wait=wait, tag=f"salt/job/({jids})", match_type="regex", full=True
        )
        return got

    def _is_over(self) -> bool:
        now = time.monotonic()
        for minion in self.minions - self.found:
            self._waited_for_until.setdefault(minion, now + self._timeout)
        if now < self._ask_at:
            return False
        if self._some_run:
            self._some_run = False
            self._ask_at = now + self._gather_timeout
            jid = self._inquire(sorted(self.minions - self.found))
            if jid is not None:
                self._inquiries.append(jid)
                return False
        late = self.minions - self.found
        return all(now >= self._waited_for_until[minion] for minion in late)

    def _heard_of(self, answer: dict[str, Any]) -> None:
        """An answer to the question whether the job still runs."""
        minion, running = answer.get("id"), answer.get("return")
        if minion is None:
            return
        if (answer.get("retcode") or 0) > 0:
            log.error("%s cannot say whether job %s runs", minion, self.jid)
            self.minions.discard(minion)
        elif isinstance(running, dict) and running:
            self.minions.add(minion)
            self._waited_for_until[minion] = time.monotonic() + self._timeout
            self._some_run = True
