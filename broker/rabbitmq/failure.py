"""The border where aiormq's errors become the port's."""

from __future__ import annotations

import asyncio
from types import TracebackType

from aiormq.exceptions import (
    AMQPError,
    AuthenticationError,
    ChannelAccessRefused,
    ChannelInvalidStateError,
    ChannelLockedResource,
    ChannelNotFoundEntity,
    ChannelPreconditionFailed,
    ConnectionNotAllowed,
    ProbableAuthenticationError,
)

from broker.errors import (
    BrokerError,
    Denied,
    QueueNotFound,
    Refused,
    TopologyConflict,
    Unavailable,
)


class Lost(Unavailable):
    """The connection or the channel went away before the broker answered."""


class Nacked(Refused):
    """The broker refused the message (negative confirm): the queue is full. Consume it, or raise its limit."""


class Busy(Unavailable):
    """The exclusive queue is still held by a connection that has gone; the broker will notice soon."""


def text(error: BaseException) -> str:
    """What the broker said, or what kind of failure it was."""
    said = " ".join(str(part) for part in error.args if part)
    return said or type(error).__name__


_TRANSLATIONS: tuple[tuple[type[BaseException], type[BrokerError], str], ...] = (
    (ChannelNotFoundEntity, QueueNotFound, ". Create it with `fnrunner queue create NAME`"),
    (ChannelLockedResource, Busy, ""),
    (ChannelPreconditionFailed, TopologyConflict, ". Delete it, or choose another name"),
    (ChannelAccessRefused, Refused, ""),
    (AuthenticationError, Denied, ""),
    (ProbableAuthenticationError, Denied, ""),
    (ConnectionNotAllowed, Denied, ""),
)


def translate(error: BaseException) -> BrokerError:
    """The port's error for one of aiormq's or of the socket's."""
    if isinstance(error, BrokerError):
        return error
    for theirs, ours, remedy in _TRANSLATIONS:
        if isinstance(error, theirs):
            return ours(text(error) + remedy)
    return Lost(f"{text(error)} (connection lost)")


class Border:
    """``async with``: what aiormq raises inside leaves as an error of the port, chained."""

    async def __aenter__(self) -> None:
        return None

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        if isinstance(error, asyncio.CancelledError):
            # aiormq cancels what waits for a connection that went away; only a real cancellation may pass as one.
            task = asyncio.current_task()
            if task is None or task.cancelling():
                return
        elif not isinstance(error, AMQPError | ChannelInvalidStateError | OSError | asyncio.InvalidStateError):
            return
        raise translate(error) from error
