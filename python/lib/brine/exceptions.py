"""The exceptions, under Salt's names."""


class SaltException(Exception):
    """Anything below."""


class SaltConfigurationError(SaltException):
    """A configuration file that cannot be used."""


class SaltDeserializationError(SaltException):
    """Bytes that are not an event."""


class SaltInvocationError(SaltException, TypeError):
    """A call that cannot be made this way."""


class SaltClientError(SaltException):
    """A request to a minion or master that cannot be made."""


class SaltReqTimeoutError(SaltException):
    """A request that nobody answered in time."""


class AuthenticationError(SaltException):
    """A request of a user whom the master does not know."""


class EauthAuthenticationError(SaltException):
    """A request of a user whose external authentication failed."""


class AuthorizationError(SaltException):
    """A request of a user who may not make it."""


class PublishError(SaltException):
    """A job the master refused for another reason."""


class CommandExecutionError(SaltException):
    """A function that cannot do its work."""
