"""Commands for a running Brine node, over its local socket, where the kernel says who asks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from brine import _address, _native

# How long a node that is just starting may take to have its socket.
_FIND_SECONDS = 1.0


class NoNodeError(Exception):
    """Nobody serves the socket: no node runs, or it is real Salt's."""


def run(
    node: str, opts: Mapping[str, Any], command: dict[str, Any], wait: float | None
) -> dict[str, Any]:
    """``{"return": …}``, or ``{"error": {"name", "message"}}`` with the name of Salt's exception.

    Waits ``wait`` seconds for the answer, or for ever if ``None``.
    """
    # A connection of its own: threads ask at the same time, and forked children too.
    client = _native.LocalClient(_address.address(node, opts), _address.compat(opts), 1 << 62)
    try:
        return client.run(command, _FIND_SECONDS, wait)
    except ConnectionError as error:
        raise NoNodeError(str(error)) from None
    except PermissionError as error:
        return {"error": {"name": "AuthorizationError", "message": str(error)}}
    finally:
        client.close()
