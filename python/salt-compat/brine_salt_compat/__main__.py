"""Says what ``import salt`` gives here."""

from brine_salt_compat import _Finder

real = _Finder().real()
if real is None:
    print("import salt: brine-salt-compat, over brine-events")
else:
    print(f"import salt: the Salt in {real.origin}; brine-salt-compat stands back")
