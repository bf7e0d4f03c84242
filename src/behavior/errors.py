"""The error tree: every error that a person can meet, and what it means for the exit status.

    OpportuneError          something failed that was asked for                   exit status 1
    ├── BadInput            what was given is wrong; the message says what, where and what to do   exit status 2
    │   ├── BadDefinition   a feature definition that cannot be compiled into a plan
    │   ├── BundleRefused   a bundle whose bytes, features or golden rows are not what its manifest says
    │   └── NotFound        what was named is not there
    ├── Altered             what was stored is not what was written
    ├── Gone                what is needed was there once and is not any more; the message says what brings it back
    ├── Unavailable         something that is needed does not answer (Redis, a server); trying again may help
    ├── Unauthenticated     the server does not know who asks
    ├── Forbidden           who asks is known, and may not do this
    ├── Exhausted           who asks is above a limit; the same call may succeed after a pause
    ├── Fenced              another process has taken the partition over; this one must stop writing
    └── NotExact            a verification found a difference where there must be none

Messages are one sentence: what was wrong, where (file, field, row), and what to do about it.
"""


class OpportuneError(Exception):
    """Something failed that was asked for."""


class BadInput(OpportuneError):
    """What was given is wrong; nothing has been written."""


class BadDefinition(BadInput):
    """A feature definition that cannot be compiled into a plan."""


class BundleRefused(BadInput):
    """A bundle whose bytes, features or golden rows are not what its manifest says."""


class NotFound(BadInput):
    """What was named is not there."""


class Altered(OpportuneError):
    """What was stored is not what was written."""


class Gone(OpportuneError):
    """What is needed was there once and is not any more; the message says what brings it back."""


class Unavailable(OpportuneError):
    """Something that is needed does not answer; trying again may help."""


class Unauthenticated(OpportuneError):
    """The server does not know who asks."""


class Forbidden(OpportuneError):
    """Who asks is known, and may not do this."""


class Exhausted(OpportuneError):
    """Who asks is above the limit of this name; the same call may succeed after `retry_after_ms`."""

    def __init__(self, message: str, limit: str, retry_after_ms: int) -> None:
        super().__init__(message)
        self.limit = limit
        self.retry_after_ms = retry_after_ms


class Fenced(OpportuneError):
    """Another process has taken the partition over; this one must stop writing."""


class NotExact(OpportuneError):
    """A verification found a difference where there must be none."""
