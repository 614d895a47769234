"""Errors of the broker port: the class says whose fault it is, its docstring is the message.

No implementation lets an error of its client library through: each is translated at one border and chained.
"""

from __future__ import annotations

import inspect


class BrokerError(Exception):
    """The broker could not do what was asked."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or inspect.cleandoc(type(self).__doc__ or "").split("\n\n", 1)[0].replace("\n", " "))


class Unavailable(BrokerError):
    """The broker cannot be reached now. Publish again with the same message id: it may have been accepted."""


class Blocked(Unavailable):
    """The broker takes no messages because of a memory or disk alarm. Free memory or disk on it, then publish again."""


class Denied(Unavailable):
    """The broker refuses this user, password or virtual host. Correct the broker URL."""


class Refused(BrokerError):
    """The broker refused the message (negative confirm): the queue is full. Consume it, or raise its limit."""


class Unroutable(BrokerError):
    """No queue takes messages with this routing key. Declare the queue, or correct the name."""


class QueueNotFound(BrokerError):
    """The queue does not exist. Create it with `fnrunner queue create NAME`."""


class TopologyConflict(BrokerError):
    """A queue or exchange of this name exists with other arguments. Delete it, or choose another name."""


class MessageTooLarge(BrokerError):
    """The message is larger than the broker takes. Send a reference to the data instead of the data."""


class AlreadySettled(BrokerError):
    """The delivery has been settled before: a delivery is settled exactly once. This is a bug in the caller."""


class DeliveryLost(BrokerError):
    """The channel of this delivery is gone, so it cannot be settled: it will be delivered again."""


class Closed(BrokerError):
    """The broker client has been closed. Make a new one."""


class Locked(BrokerError):
    """Another process has this data directory open. Stop it, or choose another --data-dir."""


class NoReply(BrokerError):
    """No reply came in time. The request may have been carried out."""


class RequestReturned(BrokerError):
    """No consumer could take the request in time: everyone who serves it is busy. Try again later.

    ``reason`` is ``expired`` (nobody had room), ``rejected`` (a consumer sent it back) or ``unroutable`` (no queue).
    """

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(f"the request came back: {reason}")


class DelayUnknown(BrokerError):
    """No delay queue is that long. Each fixed delay is a queue: declare it with `delay_queue` before it is used."""


class EnvelopeError(BrokerError):
    """The message body is not an envelope that this version reads. It was put there by something else."""


class EnvelopeMalformed(EnvelopeError):
    """The message body is not a well-formed envelope."""


class EnvelopeTooNew(EnvelopeError):
    """The envelope has a version that this release does not read. Upgrade this process first."""


class ForeignBroker(BrokerError):
    """This broker is somebody else's: fnrunner consumes from it and publishes to it, and makes nothing there."""


class AskerGone(BrokerError):
    """Whoever sent the request wants no more replies: its client went away, or its process died. Stop the work."""
