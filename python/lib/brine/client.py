"""``salt.client``: functions called on this minion, and jobs published by this master.

Neither door signs in anywhere: a :class:`Caller` speaks with the minion that runs here and a
:class:`LocalClient` with the master that runs here, over their event buses.
"""

from brine._caller import Caller
from brine._local import LocalClient

__all__ = ["Caller", "LocalClient"]
