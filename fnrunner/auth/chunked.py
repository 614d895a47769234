"""A payload in chunks, each signed with a signature that continues the one before (``aws-chunked``).

::

    SIZE;chunk-signature=SIGNATURE CRLF bytes CRLF … 0;chunk-signature=SIGNATURE CRLF CRLF

Source: AWS Signature Version 4, signature calculations for the Authorization header: transferring payload in multiple
chunks.
"""

from __future__ import annotations

import hashlib
import hmac
import re

from fnrunner.auth.claims import Claims, Incomplete, Mismatch
from sources.http.request import Request

ALGORITHM = "AWS4-HMAC-SHA256-PAYLOAD"
MAX_CHUNKS = 100_000
"""More than 64 KB chunks of the largest request need: each costs a signature."""

_HEAD = re.compile(rb"([0-9a-fA-F]{1,8});chunk-signature=([0-9a-f]{64})\r\n")
_EMPTY = hashlib.sha256(b"").hexdigest()


def decode(request: Request, claims: Claims, secret: str) -> bytes:
    """What the chunks hold together. The signature of the request itself must have been verified.

    Raises Mismatch for a chunk that is not as it was signed, left out, moved or added; Incomplete for what has no form.
    """
    key = _signing_key(secret, claims)
    scope = f"{claims.timestamp}\n{claims.date}/{claims.region}/{claims.service}/aws4_request"
    body, position, previous, parts = request.body, 0, claims.signature, []
    for _ in range(MAX_CHUNKS):
        if (head := _HEAD.match(body, position)) is None:
            raise Incomplete("The payload is not in signed chunks, as X-Amz-Content-SHA256 says.")
        end = head.end() + int(head[1], 16)
        chunk = body[head.end() : end]
        if body[end : end + 2] != b"\r\n":
            raise Incomplete("A chunk of the payload is not as long as it says.")
        text = f"{ALGORITHM}\n{scope}\n{previous}\n{_EMPTY}\n{hashlib.sha256(chunk).hexdigest()}"
        signature = hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
        if not hmac.compare_digest(signature.encode(), head[2]):
            raise Mismatch
        if not chunk:
            break
        parts.append(chunk)
        position, previous = end + 2, signature
    else:
        raise Incomplete(f"The payload has more than {MAX_CHUNKS} chunks.")
    if end + 2 != len(body):
        raise Incomplete("There is something behind the last chunk of the payload.")
    whole = b"".join(parts)
    _check_length(request, whole)
    return whole


def _check_length(request: Request, whole: bytes) -> None:
    declared = request.values("x-amz-decoded-content-length")
    if len(declared) != 1 or not re.fullmatch(r"[0-9]{1,12}", declared[0]):
        raise Incomplete("A payload in chunks needs one X-Amz-Decoded-Content-Length header.")
    if int(declared[0]) != len(whole):
        raise Incomplete("X-Amz-Decoded-Content-Length is not the length of the payload.")


def _signing_key(secret: str, claims: Claims) -> bytes:
    key = f"AWS4{secret}".encode()
    for part in (claims.date, claims.region, claims.service, "aws4_request"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    return key
