"""Salt's configuration: ``salt.config`` as far as programs on the event bus need it.

Files, includes, defaults and the options that follow from others are read as Salt reads them, by
the native half.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from typing import Any, Union

from brine import _native
from brine.exceptions import SaltConfigurationError

log = logging.getLogger(__name__)

Opts = dict[str, Any]
Path = Union[str, "os.PathLike[str]"]

_NO_FILE = "/dev/null"
_defaults: dict[str, Opts] = {}


def client_config(
    path: Path, env_var: str = "SALT_CLIENT_CONFIG", defaults: Mapping[str, Any] | None = None
) -> Opts:
    """The master's configuration, the user's ``~/.saltrc`` over it, which ``SALT_CLIENT_CONFIG`` may
    name. ``env_var`` is accepted and has no effect.
    """
    main = _main_file(path, "SALT_MASTER_CONFIG", "/etc/salt/master")
    opts = _load("client", main, defaults)
    token_file = opts.get("token_file") or "~/.salt_token"
    opts["token_file"] = os.path.abspath(os.path.expanduser(token_file))
    interface = opts["interface"]
    host = f"[{interface}]" if ":" in str(interface) else interface
    if not opts.get("master_uri"):
        opts["master_uri"] = f"tcp://{host}:{opts['ret_port']}"
    return opts


def master_config(
    path: Path,
    env_var: str = "SALT_MASTER_CONFIG",
    defaults: Mapping[str, Any] | None = None,
    exit_on_config_errors: bool = False,
) -> Opts:
    """A master's configuration."""
    main = _main_file(path, env_var, "/etc/salt/master")
    return _load("master", main, defaults, exit_on_config_errors)


def minion_config(
    path: Path | Mapping[str, Any],
    env_var: str = "SALT_MINION_CONFIG",
    defaults: Mapping[str, Any] | None = None,
    cache_minion_id: bool = False,
    ignore_config_errors: bool = True,
    minion_id: str | None = None,
    role: str = "minion",
) -> Opts:
    """A minion's configuration. ``cache_minion_id`` is accepted; nothing is written.

    Salt's documentation also passes a dict of defaults instead of a path; that works too.
    """
    if isinstance(path, Mapping):
        defaults = path
        path = "/etc/salt/minion"
    opts = _load("minion", _main_file(path, env_var, "/etc/salt/minion"), defaults)
    if minion_id is not None:
        opts["id"] = minion_id
    opts["__role"] = role
    return opts


def _main_file(path: Path, env_var: str, default: str) -> str:
    path = os.fspath(path)
    named = os.environ.get(env_var)
    if path == default and named and os.path.isfile(named):
        return named
    return path


def _load(
    role: str,
    path: Path,
    defaults: Mapping[str, Any] | None = None,
    exit_on_config_errors: bool = False,
) -> Opts:
    try:
        opts, warnings = _native.load_config(role, os.fspath(path))
    except ValueError as error:
        if exit_on_config_errors:
            raise SystemExit(f"{path}: {error}") from error
        raise SaltConfigurationError(str(error)) from None
    for warning in warnings:
        log.warning("%s", warning)
    if defaults:
        builtin = _default_opts(role)
        opts.update(
            (name, value)
            for name, value in defaults.items()
            if name not in opts or opts[name] == builtin.get(name)
        )
    return opts


def _default_opts(role: str) -> Opts:
    # Built once: every event object starts from a copy.
    if role not in _defaults:
        _defaults[role] = _native.load_config(role, _NO_FILE)[0]
    return _defaults[role]


def __getattr__(name: str) -> Opts:
    if name in ("DEFAULT_MASTER_OPTS", "DEFAULT_MINION_OPTS"):
        return dict(_default_opts("master" if "MASTER" in name else "minion"))
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
