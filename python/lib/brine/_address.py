"""From Salt's options to the arguments of the native clients."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from brine import _native


def address(node: str | None, opts: Mapping[str, Any]) -> dict[str, Any]:
    """Where the bus of a node is."""
    is_master = node == "master"
    ports = None
    if opts.get("ipc_mode") == "tcp":
        prefix = "tcp_master" if is_master else "tcp"
        ports = (int(opts[f"{prefix}_pub_port"]), int(opts[f"{prefix}_pull_port"]))
    node_id = None if is_master else str(opts.get("hash_id") or opts.get("id") or "")
    return {
        "sock_dir": str(opts["sock_dir"]),
        "node_id": node_id,
        "hash_type": str(opts.get("hash_type") or "sha256"),
        "ports": ports,
        "ipv6": bool(opts.get("ipv6")),
    }


def local_path(node: str | None, opts: Mapping[str, Any]) -> str:
    """Brine's own socket of that bus, or under ``ipc_mode: tcp`` the file of its token."""
    return _native.local_path(address(node, opts))


def compat(opts: Mapping[str, Any]) -> str | None:
    """The release of the bus: ``brine: {compat: …}``, by default the newest."""
    release = (opts.get("brine") or {}).get("compat")
    return None if release is None else str(release)
