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


class RootLost(SourcesError):
    """The bucket's directory is gone, or another is in its place. Mount or create it again; nothing is removed meanwhile."""


class WatchesExhausted(SourcesError):
    """The kernel has no inotify watch left. Raise the limit: `sysctl -w fs.inotify.max_user_watches=1048576`; the tree is
    scanned until then.
    """
