"""``salt.client``: :mod:`brine.client`."""

from brine.client import Caller  # noqa: F401
