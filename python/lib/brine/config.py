"""Salt's configuration: ``salt.config`` as far as programs on the event bus need it.

Files, includes, defaults and the options that follow from others are read as Salt reads them.
"""

import logging
import os

from brine import _native
from brine.exceptions import SaltConfigurationError

log = logging.getLogger(__name__)

_NO_FILE = "/dev/null"
_defaults = {}


def client_config(path, env_var="SALT_CLIENT_CONFIG", defaults=None):
    """The master's configuration, the user's ``~/.saltrc`` over it."""
    opts = _load("client", _main_file(path, env_var, "/etc/salt/master"), defaults)
    opts.setdefault("token_file", os.path.expanduser("~/.salt_token"))
    interface = opts["interface"]
    host = f"[{interface}]" if ":" in str(interface) else interface
    opts["master_uri"] = f"tcp://{host}:{opts['ret_port']}"
    return opts


def master_config(
    path, env_var="SALT_MASTER_CONFIG", defaults=None, exit_on_config_errors=False
):
    """A master's configuration."""
    main = _main_file(path, env_var, "/etc/salt/master")
    return _load("master", main, defaults, exit_on_config_errors)


def minion_config(
    path,
    env_var="SALT_MINION_CONFIG",
    defaults=None,
    cache_minion_id=False,
    ignore_config_errors=True,
    minion_id=None,
    role="minion",
):
    """A minion's configuration. ``cache_minion_id`` is accepted; nothing is written."""
    opts = _load("minion", _main_file(path, env_var, "/etc/salt/minion"), defaults)
    if minion_id is not None:
        opts["id"] = minion_id
    opts["__role"] = role
    return opts


def _main_file(path, env_var, default):
    named = os.environ.get(env_var)
    if path == default and named and os.path.isfile(named):
        return named
    return path


def _load(role, path, defaults=None, exit_on_config_errors=False):
    try:
        opts, warnings = _native.load_config(role, os.fspath(path))
    except ValueError as error:
        if exit_on_config_errors:
            raise SystemExit(f"{path}: {error}") from error
        raise SaltConfigurationError(str(error)) from None
    for warning in warnings:
        log.warning("%s", warning)
    return opts if defaults is None else {**defaults, **opts}


def _default_opts(role):
    # Built once: every event object starts from a copy.
    if role not in _defaults:
        _defaults[role] = _native.load_config(role, _NO_FILE)[0]
    return _defaults[role]


def __getattr__(name):
    if name == "DEFAULT_MASTER_OPTS":
        return _default_opts("master")
    if name == "DEFAULT_MINION_OPTS":
        return _default_opts("minion")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
