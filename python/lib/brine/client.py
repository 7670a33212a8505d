"""``salt.client`` as far as a program on a minion needs it: events sent up through the minion."""

from brine import config
from brine.event import MinionEvent
from brine.exceptions import CommandExecutionError


class Caller:
    """Calls functions on this minion. ``event.send`` and ``event.fire_master`` so far."""

    def __init__(self, c_path="/etc/salt/minion", mopts=None):
        self.opts = mopts if mopts is not None else config.minion_config(c_path)

    def cmd(self, fun, *args, **kwargs):
        """Calls a function. ``event.send`` answers whether the minion has taken the event."""
        if fun == "event.send":
            return self._send(*args, **kwargs)
        if fun == "event.fire_master":
            data, tag = args
            return self._send(tag, data)
        raise CommandExecutionError(f"'{fun}' is not available.")

    def _send(self, tag, data=None, **more):
        load = {**(data or {}), **{k: v for k, v in more.items() if not k.startswith("__")}}
        with MinionEvent(self.opts, listen=False) as event:
            return event.fire_master(load, tag)
