"""``salt.minion``: of the minion itself, only its defaults."""

from brine.config import DEFAULT_MINION_OPTS

__all__ = ["DEFAULT_MINION_OPTS"]
