"""``salt.version``: the release whose interfaces these are."""

__version_info__ = (3008, 3)
__version__ = ".".join(str(part) for part in __version_info__)


class SaltStackVersion:
    """A release, compared by its numbers, as programs ask that want another call for an older Salt."""

    def __init__(self, major, minor=None, *_more):
        self.major, self.minor = major, minor

    @classmethod
    def parse(cls, version_string):
        """From ``3008.3`` or ``v3008.3``."""
        return cls(*(int(part) for part in version_string.lstrip("v").split(".")[:2]))

    @property
    def info(self):
        """The numbers."""
        return (self.major,) if self.minor is None else (self.major, self.minor)

    @property
    def string(self):
        """As text."""
        return ".".join(str(part) for part in self.info)

    formatted_version = string

    def __eq__(self, other):
        return self.info == _info(other)

    def __lt__(self, other):
        return self.info < _info(other)

    def __le__(self, other):
        return self.info <= _info(other)

    def __gt__(self, other):
        return self.info > _info(other)

    def __ge__(self, other):
        return self.info >= _info(other)

    def __hash__(self):
        return hash(self.info)

    def __str__(self):
        return self.string

    def __repr__(self):
        return f"<SaltStackVersion major={self.major} minor={self.minor}>"


def _info(version):
    if isinstance(version, str):
        version = SaltStackVersion.parse(version)
    return version.info if isinstance(version, SaltStackVersion) else tuple(version)


__saltstack_version__ = SaltStackVersion(*__version_info__)
