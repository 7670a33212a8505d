"""``salt.client``: :mod:`brine.client`."""

from brine.client import Caller, LocalClient

__all__ = ["Caller", "LocalClient"]
