"""``salt.client``: functions called on this minion, and jobs published by this master.

Neither class signs in: a :class:`Caller` talks to the minion, a :class:`LocalClient` to the master
that runs on this machine, over its local socket.
"""

from brine._caller import Caller
from brine._local import LocalClient

__all__ = ["Caller", "LocalClient"]
