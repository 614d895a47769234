"""Errors of the sources: the class says whose fault it is, its docstring is the message and names the remedy."""

from __future__ import annotations

import inspect


class SourcesError(Exception):
    """A source could not do what was asked."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or inspect.cleandoc(type(self).__doc__ or "").split("\n\n", 1)[0].replace("\n", " "))


class NotAccepted(SourcesError):
    """The event could not be accepted now: the broker is away, blocked or full. Offer it again with the same id."""


class Refused(SourcesError):
    """The event will never be accepted: nothing of that name takes it. Correct the notification, or deploy the function."""


class CheckpointsUnavailable(SourcesError):
    """The checkpoint store does not answer. Nothing is lost: what was not recorded is announced again with the same id."""


class AdapterInvalid(SourcesError):
    """A module in sources/adapters declares no ADAPTER, or its name is taken. Give it one with a name of its own."""


class Misconfigured(SourcesError, ValueError):
    """The configuration of a source contradicts itself. Correct it; the message says where."""


class InvalidPattern(SourcesError, ValueError):
    """The filter pattern is not one. Correct it where the message points; the event pattern language says what it may be."""


class InvalidSchedule(Misconfigured):
    """The schedule is not one. Write rate(5 minutes), cron(0 12 * * ? *) or at(2030-01-31T12:00:00)."""


class RootLost(SourcesError):
    """The bucket's directory is gone, or another is in its place. Mount or create it again; nothing is removed meanwhile."""


class WatchesExhausted(SourcesError):
    """The kernel has no inotify watch left. Raise the limit: `sysctl -w fs.inotify.max_user_watches=1048576`; the tree is
    scanned until then.
    """


class SourceUnavailable(SourcesError):
    """The source cannot be reached now. Nothing is lost: reading goes on where it stopped. Start it, or correct its URL."""


class SourceSilent(SourceUnavailable):
    """Connected but not consuming: messages are there and do not come. It is consumed anew by itself."""


class SourceMissing(SourcesError):
    """The source does not exist. Create it, or delete the event source mapping."""


class PositionLost(SourcesError):
    """Records between the stored position and the first one there is are gone.

    ``expected`` is the position that should have come, ``found`` the first there is (None: the stream is empty);
    ``remade``: the stream was deleted and created again, and is read from its start.
    """

    def __init__(self, expected: int, found: int | None, *, remade: bool = False) -> None:
        self.expected = expected
        self.found = found
        self.remade = remade
        if remade:
            super().__init__(
                f"the stream was created anew: position {expected} was expected, and it is read from its start"
            )
        else:
            super().__init__(
                f"positions {expected} to {'the end' if found is None else found - 1} are gone: the source's retention "
                "dropped them before they were read. Raise the retention, or add capacity"
            )


class ClaimLost(SourcesError):
    """Another process owns this now. Stop working on it; what was not stored is done again by the other."""


class NotSupported(SourcesError, ValueError):
    """This cannot be done with this source. The message names what."""
