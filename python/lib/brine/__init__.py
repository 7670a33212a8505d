"""Salt's event bus for Python, without Salt.

Two interfaces: :mod:`brine.event` has the names of ``salt.utils.event``; :class:`brine.Bus` is for new
programs. Both work with buses of Brine and of real Salt masters and minions.
"""

from brine.bus import Bus, Event, EventStream, Gap

__all__ = ["Bus", "Event", "EventStream", "Gap"]
__version__ = "0.1.0"
