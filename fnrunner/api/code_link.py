"""Links to a function's zip, signed and short-lived, as GetFunction's ``Code.Location`` gives them.

Whoever has a link may download that zip for ten minutes, without other rights: as Lambda's presigned links to S3. The key is
random and lives with the process, so a link is good only where it was made.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Callable
from datetime import datetime, timedelta

from fnrunner.api.errors import LinkExpired

LIFETIME = timedelta(minutes=10)
PREFIX = "/fnrunner/v1/code/"


class CodeLinks:
    """``now`` gives aware UTC."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        self._key = secrets.token_bytes(32)
        self._now = now

    def make(self, base_url: str, digest: str) -> str:
        """The link, valid for :data:`LIFETIME`. ``base_url`` is how the client reaches this server."""
        expires = int((self._now() + LIFETIME).timestamp())
        return f"{base_url}{PREFIX}{digest}?expires={expires}&signature={self._sign(digest, expires)}"

    def check(self, digest: str, expires: str, signature: str) -> None:
        """Raises LinkExpired, for a forged link as for an old one."""
        if not (expires.isascii() and expires.isdigit() and len(expires) <= 12):
            raise LinkExpired
        genuine = hmac.compare_digest(signature.encode(), self._sign(digest, int(expires)).encode())
        if not genuine or int(expires) < self._now().timestamp():
            raise LinkExpired

    def _sign(self, digest: str, expires: int) -> str:
        return hmac.new(self._key, f"{digest}\n{expires}".encode(), hashlib.sha256).hexdigest()
