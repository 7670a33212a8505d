"""Salt's event bus for Python, without Salt.

Two doors: :mod:`brine.event` is ``salt.utils.event`` with the same names, and :class:`brine.Bus` is
the same bus for new programs. Buses of Brine and of real Salt masters and minions both work.
"""

from brine.bus import Bus, Event, EventStream, Gap

__all__ = ["Bus", "Event", "EventStream", "Gap"]
__version__ = "0.1.0"
