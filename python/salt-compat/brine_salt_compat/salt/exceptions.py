"""``salt.exceptions``: :mod:`brine.exceptions`."""

from brine.exceptions import *  # noqa: F403
