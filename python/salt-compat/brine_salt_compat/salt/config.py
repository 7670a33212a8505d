"""``salt.config``: :mod:`brine.config`."""

from brine import config as _config
from brine.config import client_config, master_config, minion_config

__all__ = ["client_config", "master_config", "minion_config"]


def __getattr__(name):
    return getattr(_config, name)
