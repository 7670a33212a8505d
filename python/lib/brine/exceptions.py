"""What may go wrong, under Salt's names."""


class SaltException(Exception):
    """Anything below."""


class SaltConfigurationError(SaltException):
    """A configuration file that cannot be used."""


class SaltDeserializationError(SaltException):
    """Bytes that are no event."""


class SaltInvocationError(SaltException, TypeError):
    """A call that cannot be made this way."""


class SaltClientError(SaltException):
    """A request to a minion or master that cannot be made."""


class CommandExecutionError(SaltException):
    """A function that cannot do its work."""
