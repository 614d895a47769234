"""What the API answers when it will not do something, and the one place that turns an exception into a response.

Any exception with the attributes ``code``, ``status`` and ``message_key`` is rendered, whichever package it comes from;
``kind`` or ``type`` is the body's ``Type``, ``reason`` its ``Reason``, ``retry_after_s`` the header ``Retry-After``.
Everything else is a 500 whose traceback is logged under the request id and never shown.
"""

from __future__ import annotations

import inspect
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fnrunner.store.errors import StoreError, StoreFull

log = logging.getLogger(__name__)


class ApiError(Exception):
    """The request cannot be served."""

    code = "ServiceException"
    status = 500
    message_key = "Message"
    type = "User"

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or inspect.cleandoc(type(self).__doc__ or "").split("\n\n", 1)[0].replace("\n", " "))


class InvalidParameter(ApiError):
    """A parameter has a value that is not possible here."""

    code, status, message_key = "InvalidParameterValueException", 400, "message"


class NotSupported(InvalidParameter):
    """fnrunner does not support this yet. A 4xx: SDKs would retry a 501."""


class ValidationFailed(ApiError):
    """Parameters do not satisfy the API model. Source: Lambda's validation message template."""

    code, status, message_key, type = "ValidationException", 400, "message", ""

    def __init__(self, problems: list[str]) -> None:
        count = f"{len(problems)} validation error{'s' if len(problems) > 1 else ''} detected: "
        super().__init__(count + "; ".join(problems))


class InvalidRequestContent(ApiError):
    """The request body is not what the operation takes."""

    code, status, message_key = "InvalidRequestContentException", 400, "message"


class BodyTooLarge(ApiError):
    """The request body is too large."""

    code, status, message_key = "RequestEntityTooLargeException", 413, "message"


class ResourceNotFound(ApiError):
    """It does not exist."""

    code, status = "ResourceNotFoundException", 404


class UnknownOperation(ApiError):
    """No operation has this method and path."""

    code, status, message_key, type = "UnknownOperationException", 404, "message", ""


class Forbidden(ApiError):
    """The request comes from where it must not."""

    code, status, message_key, type = "AccessDeniedException", 403, "message", ""


class LinkExpired(Forbidden):
    """This link is not valid, or no longer: call GetFunction again for a new one."""


class ClientGone(Exception):
    """The client closed the connection before its request was complete."""


@dataclass(frozen=True, slots=True)
class Failure:
    """An error as clients see it, before it is bytes."""

    status: int
    code: str
    message: str
    message_key: str = "Message"
    type: str = ""
    extra: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)

    def lambda_body(self) -> bytes:
        """The body as the Lambda API has it: keys of the exception's shape in the model."""
        body: dict[str, Any] = {**self.extra}
        if self.type:
            body["Type"] = self.type
        body[self.message_key] = self.message
        return json.dumps(body, separators=(",", ":")).encode()


def describe(error: BaseException, request_id: str) -> Failure:
    """What to tell the client about an exception; logs the traceback of what is not the client's to know."""
    code, status = getattr(error, "code", None), getattr(error, "status", None)
    if isinstance(code, str) and isinstance(status, int):
        return _expected(error, code, status)
    if isinstance(error, StoreError):
        return _store(error, request_id)
    log.error("request %s failed", request_id, exc_info=error)
    return Failure(
        500, "ServiceException", f"The request failed inside fnrunner. Its log has the reason under {request_id}.",
        type="Service",
    )  # fmt: skip


def _expected(error: BaseException, code: str, status: int) -> Failure:
    reason, retry_after = getattr(error, "reason", ""), getattr(error, "retry_after_s", None)
    kind = getattr(error, "type", None)
    if not isinstance(kind, str):
        kind = "Service" if status >= 500 else "User"
    return Failure(
        status,
        code,
        str(error) or inspect.cleandoc(type(error).__doc__ or "").split("\n\n", 1)[0],
        getattr(error, "message_key", "Message"),
        kind,
        {"Reason": reason} if reason else {},
        {"Retry-After": str(retry_after)} if retry_after is not None else {},
    )


def _store(error: StoreError, request_id: str) -> Failure:
    """The store is down or full: nothing was done, so clients may try again (SDKs retry a 5xx)."""
    log.warning("request %s: the store failed: %s", request_id, error)
    message = (
        "The store has no space left." if isinstance(error, StoreFull) else "The store cannot be used now. Try again."
    )
    return Failure(503, "ServiceException", message, type="Service", headers={"Retry-After": "1"})
