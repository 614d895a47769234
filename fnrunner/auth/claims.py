"""What a signed request claims, and the ways in which it can be refused.

The codes are those of Lambda's API; whoever speaks another protocol has other names for them.
"""

from __future__ import annotations

import inspect
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

_TIMESTAMP = re.compile(r"([0-9]{4})([0-9]{2})([0-9]{2})T([0-9]{2})([0-9]{2})([0-9]{2})Z")


def moment(timestamp: str) -> datetime:
    """Raises ValueError. A fraction of what strptime takes, which counts where every request has one.

    >>> moment("20150830T123600Z")
    datetime.datetime(2015, 8, 30, 12, 36, tzinfo=datetime.timezone.utc)
    """
    if (match := _TIMESTAMP.fullmatch(timestamp)) is None:
        raise ValueError(timestamp)
    year, month, day, hour, minute, second = map(int, match.groups())
    return datetime(year, month, day, hour, minute, second, tzinfo=UTC)


class SignatureRefused(Exception):
    """The request's signature does not say who calls."""

    code = "InvalidSignatureException"
    status = 403
    message_key = "message"
    type = ""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or inspect.cleandoc(type(self).__doc__ or "").split("\n\n", 1)[0].replace("\n", " "))


class Mismatch(SignatureRefused):
    """The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and
    signing method. Consult the service documentation for details."""


class Incomplete(SignatureRefused):
    """The request's signature lacks something."""

    code = "IncompleteSignatureException"


class UnknownKey(SignatureRefused):
    """The security token included in the request is invalid."""

    code = "UnrecognizedClientException"


class Expired(SignatureRefused):
    """The security token included in the request is expired"""

    code = "ExpiredTokenException"


@dataclass(frozen=True, slots=True)
class Claims:
    """What a signed request says of itself. ``timestamp`` is such as ``20150830T123600Z``; ``expires`` is set for
    presigned URLs; ``query`` is the query that was signed.
    """

    access_key: str
    date: str
    region: str
    service: str
    timestamp: str
    signed_headers: tuple[str, ...]
    signature: str
    query: str
    token: str = ""
    expires: timedelta | None = None

    @property
    def at(self) -> datetime:
        return moment(self.timestamp)
