"""``salt.config``: :mod:`brine.config`."""

from brine import config as _config
from brine.config import client_config, master_config, minion_config  # noqa: F401


def __getattr__(name):
    return getattr(_config, name)
