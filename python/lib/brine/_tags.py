"""How Salt composes tags."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

SUB_EVENT = ("state.highstate", "state.sls")
TAGEND = "\n\n"
TAGPARTER = "/"
SALT = "salt"
TAGS = {
    name: name
    for name in (
        "auth",
        "job",
        "key",
        "minion",
        "syndic",
        "run",
        "wheel",
        "cloud",
        "fileserver",
        "queue",
    )
}


def tagify(suffix: Any = "", prefix: str = "", base: str = SALT) -> str:
    """A tag of base, prefix and suffix (one text or several), without empty parts."""
    parts = [base, TAGS.get(prefix, prefix)]
    if isinstance(suffix, Iterable) and not isinstance(suffix, str):
        parts.extend(suffix)
    else:
        parts.append(suffix)
    texts = (
        part.decode() if isinstance(part, (bytes, bytearray)) else str(part) for part in parts
    )
    return TAGPARTER.join(text for text in texts if text)
