"""``salt.utils.event``: :mod:`brine.event`."""

from brine.event import *  # noqa: F403
from brine.event import (  # noqa: F401
    SALT,
    SUB_EVENT,
    TAGEND,
    TAGPARTER,
    TAGS,
)
