"""Who sent a request: its signature, verified with the key that it names."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from fnrunner.api.access.refusal import Unsigned
from fnrunner.auth.claims import Claims
from fnrunner.auth.iam import Iam, Known
from fnrunner.auth.sigv4 import Verifier, claims_of
from sources.http.request import Request

GLOBAL_REGION = "us-east-1"
"""What clients sign requests to IAM for, wherever they are."""

LAMBDA = frozenset(("lambda",))
QUERY = frozenset(("iam", "sts"))


class Authenticator:
    """``now`` gives aware UTC."""

    def __init__(self, iam: Iam, now: Callable[[], datetime]) -> None:
        self._iam = iam
        region = iam.home.region
        self._lambda = Verifier((region,), LAMBDA, now)
        self._query = Verifier({region, GLOBAL_REGION}, QUERY, now)

    async def screen(self, request: Request, *, query: bool = False) -> tuple[Claims, Known]:
        """Who it says it is, as far as that can be known without the body. ``query``: it is for IAM or STS.

        Raises SignatureRefused, StoreError, KeyringError.
        """
        if (claims := claims_of(request)) is None:
            raise Unsigned
        verifier = self._query if query else self._lambda
        verifier.check(request, claims)
        known = await self._iam.known(claims.access_key)
        verifier.admit(claims, known.credential if known else None)
        assert known is not None
        return claims, known

    def verify(self, request: Request, claims: Claims, known: Known) -> Request:
        """The request with its payload, which is as it was signed. Raises SignatureRefused."""
        verifier = self._query if claims.service in QUERY else self._lambda
        return replace(request, body=verifier.verify(request, claims, known.credential, chunks=True))
