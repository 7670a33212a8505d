"""``salt.utils.event``: :mod:`brine.event`.

Salt's own imports much of Salt, and programs use what it happens to bring: ``salt.config`` and
``salt.minion``.
"""

import salt.config  # noqa: F401
import salt.exceptions  # noqa: F401
import salt.minion  # noqa: F401
from brine.event import *  # noqa: F403
