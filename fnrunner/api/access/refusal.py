"""What a caller is told who may not: in the words and the form of the API that was called."""

from __future__ import annotations

import json

from starlette.types import Send

from fnrunner.api.errors import ApiError, Failure, describe
from fnrunner.api.iam.protocol import render_error
from fnrunner.api.response import RawHeaders, send, send_failure
from fnrunner.auth.claims import SignatureRefused
from fnrunner.auth.iam_error import IamError

_QUERY_NAMES = {
    "InvalidSignatureException": ("SignatureDoesNotMatch", 403),
    "IncompleteSignatureException": ("IncompleteSignature", 400),
    "UnrecognizedClientException": ("InvalidClientTokenId", 403),
    "ExpiredTokenException": ("ExpiredToken", 403),
    "MissingAuthenticationTokenException": ("MissingAuthenticationToken", 403),
    "AccessDeniedException": ("AccessDenied", 403),
    "RequestEntityTooLargeException": ("RequestEntityTooLarge", 413),
    "ServiceException": ("ServiceFailure", 500),
}
"""Source: IAM, common errors."""


class Unsigned(SignatureRefused):
    """Missing Authentication Token"""

    code = "MissingAuthenticationTokenException"


class Denied(ApiError):
    """The caller is known, and not allowed to do this."""

    code, status, message_key, type = "AccessDeniedException", 403, "Message", ""


async def refuse(send_: Send, error: Exception, request_id: str, *, admin: bool) -> Failure:
    """To a caller of the Lambda API, or of the administration, which has its own form. What was sent."""
    failure = describe(error, request_id)
    if not admin:
        await send_failure(send_, failure, request_id)
        return failure
    told = {"code": failure.code, "message": failure.message, "request_id": request_id}
    content = json.dumps({"error": told}, separators=(",", ":")).encode()
    headers = _headers(b"application/json", content, request_id)
    await send(send_, failure.status, [*headers, (b"x-amzn-errortype", failure.code.encode())], content)
    return failure


async def refuse_query(send_: Send, error: Exception, request_id: str, namespace: str) -> Failure:
    """To a caller of IAM or STS."""
    if isinstance(error, IamError):
        failure = Failure(error.status, error.code, str(error))
    else:
        found = describe(error, request_id)
        code, status = _QUERY_NAMES.get(found.code, (found.code.removesuffix("Exception"), found.status))
        failure = Failure(found.status if found.status >= 500 else status, code, found.message)
    content = render_error(failure.code, failure.message, failure.status, request_id, namespace)
    await send(send_, failure.status, _headers(b"text/xml", content, request_id), content)
    return failure


def _headers(kind: bytes, content: bytes, request_id: str) -> RawHeaders:
    return [
        (b"content-type", kind),
        (b"content-length", b"%d" % len(content)),
        (b"x-amzn-requestid", request_id.encode()),
    ]
