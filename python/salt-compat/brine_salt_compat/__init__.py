"""Salt's names over ``brine``, offered only where no real Salt can be imported.

It must not import anything at start-up: every run of the interpreter passes here.
"""

import sys


class _Finder:
    """Asked first, and answers with ours only when everybody else knows no package ``salt``.

    Standing last would not do: a mere directory named ``salt``, such as a master's file roots beside
    the program, counts as a package without code and would be found before.
    """

    def find_spec(self, name, path=None, target=None):
        """The import system's question; ``None`` for every name but ``salt``."""
        if name != "salt":
            return None
        real = self.real(path, target)
        return real if real is not None else _spec()

    def real(self, path=None, target=None):
        """Where real Salt is; ``None`` if nowhere."""
        for finder in sys.meta_path:
            find = getattr(finder, "find_spec", None)
            if isinstance(finder, _Finder) or find is None:
                continue
            spec = find("salt", path, target)
            if spec is not None and spec.loader is not None and spec.origin is not None:
                return spec
        return None


def offer():
    """Makes the names known; the ``.pth`` file of the distribution calls it."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


def _spec():
    import importlib.util
    import os

    directory = os.path.join(os.path.dirname(__file__), "salt")
    return importlib.util.spec_from_file_location(
        "salt",
        os.path.join(directory, "__init__.py"),
        submodule_search_locations=[directory],
    )
