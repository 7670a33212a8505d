"""Salt's names over ``brine``. Refuses to stand in for a Salt that is installed."""

import importlib.metadata as _metadata


def _refuse_beside_salt():
    try:
        version = _metadata.version("salt")
    except _metadata.PackageNotFoundError:
        return
    raise ImportError(
        f"brine-salt-compat stands where the installed Salt {version} should: "
        "uninstall brine-salt-compat and reinstall salt, or uninstall salt"
    )


_refuse_beside_salt()
