"""Errors of invoking, each with its AWS code and HTTP status; the API renders them in one place.

Source: Lambda API, Invoke.
"""

from __future__ import annotations

import inspect

from fnrunner.model.invocation import ThrottleReason


class InvokeError(Exception):
    """``code`` is the AWS error code, ``status`` the HTTP status, ``message_key`` the casing of the body's key,
    ``type`` its Type member (empty: none).
    """

    code = "ServiceException"
    status = 500
    message_key = "Message"
    type = "Service"
    reason = ""
    retry_after_s: int | None = None

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or inspect.cleandoc(type(self).__doc__ or "").split("\n\n", 1)[0].replace("\n", " "))


class FunctionNotFound(InvokeError):
    """Function not found. Deploy it with `fnrunner deploy`, or list what there is with `fnrunner functions ls`."""

    code, status, type = "ResourceNotFoundException", 404, "User"


class WrongAccount(InvokeError):
    """The function belongs to another account."""

    code, status, type = "AccessDeniedException", 403, ""


class InvalidPayload(InvokeError):
    """The payload is not JSON in UTF-8."""

    code, status, type, message_key = "InvalidRequestContentException", 400, "User", "message"


class PayloadTooLarge(InvokeError):
    """The payload is larger than the invocation type takes. Send a reference to the data instead of the data."""

    code, status, type, message_key = "RequestEntityTooLargeException", 413, "User", "message"


class RecursiveInvocation(InvokeError):
    """Lambda has detected your function being invoked in a recursive loop and stopped your function's invocation. Break the
    loop, or allow it with PutFunctionRecursionConfig."""

    code, status, type = "RecursiveInvocationException", 400, "User"


class Throttled(InvokeError):
    """Rate Exceeded."""

    code, status, type, message_key = "TooManyRequestsException", 429, "User", "message"
    retry_after_s = 1

    def __init__(self, reason: ThrottleReason) -> None:
        self.reason = reason.value
        super().__init__("Rate Exceeded.")


class ServiceUnavailable(InvokeError):
    """The broker or the store cannot be reached now. Nothing is lost: call again with the same id."""

    status = 503


class NoWorker(InvokeError):
    """No worker serves this function. Start one with `fnrunner worker`, and see `fnrunner doctor`."""

    status = 503


class ServiceFault(InvokeError):
    """fnrunner could not run the function."""

    status = 500


class KeyFailure(ServiceFault):
    """The function's environment variables cannot be decrypted."""

    status = 502

    def __init__(self, why: str) -> None:
        """``why`` is AWS's code, a colon, and what is wrong with the key."""
        self.code, _, message = why.partition(": ")
        super().__init__(
            "Lambda was unable to decrypt the environment variables. Please check the function's AWS KMS key settings. KMS "
            f"Exception: {self.code} KMS Message: {message}"
        )


class WorkerLost(ServiceFault):
    """The worker that took this request did not answer. It may have died; see `fnrunner doctor`."""
