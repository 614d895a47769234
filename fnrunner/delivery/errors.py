"""Errors of working with dead letters and history: the docstring is the message and names the remedy."""

from __future__ import annotations

import inspect


class DeliveryError(Exception):
    """What was asked of an event or a dead letter cannot be done."""

    code = "ServiceException"
    status = 500

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or inspect.cleandoc(type(self).__doc__ or "").split("\n\n", 1)[0].replace("\n", " "))


class DeadLetterNotFound(DeliveryError):
    """There is no such dead letter. List what there is with `fnrunner dlq ls NAME`."""

    code = "ResourceNotFoundException"
    status = 404


class DeadLetterNotHeld(DeliveryError):
    """The dead letter has been redriven or purged: it cannot be changed. List held ones with `fnrunner dlq ls NAME`."""

    code = "ResourceConflictException"
    status = 409


class PayloadNotJson(DeliveryError):
    """The payload is not JSON. Correct it with `fnrunner dlq edit NAME ID`."""

    code = "InvalidRequestContentException"
    status = 400


class PayloadTooLarge(DeliveryError):
    """The payload is larger than an asynchronous event may be. Put the data elsewhere and send a reference to it."""

    code = "RequestEntityTooLargeException"
    status = 413


class MarkerInvalid(DeliveryError):
    """The marker is not one that a listing returned. Start again without a marker."""

    code = "InvalidParameterValueException"
    status = 400
