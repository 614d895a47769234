"""Whether an answer is the error that the model and Lambda's documents have for it."""

from __future__ import annotations

from uuid import UUID

import httpx

from tests.conformance.api import model
from tests.conformance.api.mistakes import Mistake

UNMODELLED = {"ValidationException": 400, "RequestEntityTooLargeException": 413, "UnknownOperationException": 404,
              "AccessDeniedException": 403}  # fmt: skip
"""What Lambda answers without having a shape for it: ``message``, and no ``Type``."""
DENIED = "is not authorized to perform: "
"""IAM's own words, under IAM's own key."""
TYPELESS = ("UnreservedConcurrentExecution", "The Lambda code signing configuration arn:")
"""What Lambda says without a ``Type`` although the shape has one."""
OF_A_MISTAKE = {
    "ValidationException", "InvalidParameterValueException", "InvalidRequestContentException", "ResourceNotFoundException",
    "UnknownOperationException",
}  # fmt: skip


def complaint_about(mistake: Mistake, answer: httpx.Response) -> str:
    """Empty when the answer is right."""
    if not 400 <= answer.status_code < 500:
        return f"the status is {answer.status_code}: {answer.text[:300]}"
    if wrong := of_an_error(answer):
        return wrong
    code, document = answer.headers["x-amzn-errortype"], answer.json()
    message = document.get("message") or document.get("Message")
    if code not in OF_A_MISTAKE:
        return f"the code is {code}: {message}"
    for sentence in mistake.sentences:
        if sentence not in message:
            return f"{sentence!r} is not in {message!r} ({code})"
    return ""


def complaint_of_a_stranger(answer: httpx.Response) -> str:
    """Empty when somebody who may do nothing is told that, and nothing else."""
    if wrong := of_an_error(answer):
        return wrong
    code, document = answer.headers["x-amzn-errortype"], answer.json()
    if code != "AccessDeniedException":
        return f"the code is {code}: {document}"
    if DENIED not in document.get("Message", ""):
        return f"it says {document}"
    return ""


def of_an_error(answer: httpx.Response) -> str:
    """What is wrong with the form of an error: header, status, keys and their casing, request id, content type."""
    code = answer.headers.get("x-amzn-errortype", "")
    if not code:
        return f"no x-amzn-ErrorType: {answer.text[:200]}"
    try:
        UUID(answer.headers.get("x-amzn-requestid", ""))
        document = answer.json()
    except ValueError as error:
        return f"{error}: {answer.text[:200]}"
    if answer.headers["content-type"] != "application/json":
        return f"the content type is {answer.headers['content-type']}"
    shape = model.error_shapes().get(code)
    if shape is None:
        status, keys = UNMODELLED.get(code, 0), {"Message" if DENIED in str(document) else "message"}
    else:
        status = shape.metadata["error"]["httpStatusCode"]
        keys = {name for name in shape.members if name.lower() in ("message", "type")}
        if any(text in str(document) for text in TYPELESS):
            keys -= {"Type"}
    if answer.status_code != status:
        return f"{code} has the status {answer.status_code}, not {status}"
    if set(document) - {"Reason"} != keys:
        return f"{code} has the keys {sorted(document)}, not {sorted(keys)}"
    return ""
