"""Function URLs: preflights, signatures, and the call.

While nobody has to sign for the API, with ``AWS_IAM`` every user of the credentials file may invoke, since all of them
belong to this account, and with ``NONE`` everybody may. With ``FNRUNNER_AUTH=iam`` callers are the users and roles of the
store, and ``lambda:InvokeFunctionUrl`` must be allowed: to a caller by its own policies or the function's, to everybody by the
function's.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import replace
from hashlib import sha256
from typing import Any, Protocol

from fnrunner.api import http_call
from fnrunner.api.access.authenticator import Authenticator
from fnrunner.api.access.authoriser import Authoriser
from fnrunner.api.access.refusal import Denied
from fnrunner.api.http_address import URL_LABEL, UrlAddress
from fnrunner.api.http_answer import URL
from fnrunner.api.http_call import HttpCall
from fnrunner.api.http_visit import Visit
from fnrunner.api.services import Services
from fnrunner.auth.action import Need
from fnrunner.auth.claims import Claims, SignatureRefused
from fnrunner.auth.credentials import Credential, CredentialsFile
from fnrunner.auth.iam import Iam, Known
from fnrunner.auth.principal import Anonymous
from fnrunner.auth.sigv4 import Verifier, claims_of
from fnrunner.model.arn import FunctionRef
from fnrunner.model.trigger import AuthType, FunctionUrl, InvokeMode
from sources.http import cors
from sources.http.event import ANONYMOUS, Endpoint
from sources.http.request import Request
from sources.http.response import Response

INVOKE = "lambda:InvokeFunctionUrl"
SERVICE = "lambda"
"""What the requests of function URLs are signed for."""

DENIED = "AccessDeniedException"


class FunctionUrls:
    """Serves every function URL of the catalogue."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._door: _Door = _FileDoor(services) if services.iam is None else _IamDoor(services, services.iam)

    async def serve(self, visit: Visit, address: UrlAddress) -> None:
        """Raises ClientGone."""
        if (url := await self._find(address.url_id)) is None:
            await visit.answer(URL.refuse(403, None, DENIED))
            return
        if url.cors is not None and cors.is_preflight(visit.request):
            await visit.answer(cors.preflight(url.cors, visit.request, 200))
            return
        inner = visit.finish
        visit = replace(visit, finish=lambda head: inner(cors.applied(url.cors, visit.request, head)))
        try:
            signed = await self._screened(url, visit)
            if (whole := await visit.with_body(URL)) is None:
                return
            caller = await self._door.admit(url, whole.request, signed)
        except SignatureRefused as error:
            await visit.answer(_refused(error))
            return
        await self._call(url, whole, address, caller)

    async def _find(self, url_id: str) -> FunctionUrl | None:
        catalogue = self._services.catalogue
        if (url := catalogue.snapshot.of_type(FunctionUrl).get(url_id)) is None:
            # another process may have made it a moment ago
            await catalogue.refresh()
            url = catalogue.snapshot.of_type(FunctionUrl).get(url_id)
        return url

    async def _screened(self, url: FunctionUrl, visit: Visit) -> Signed | None:
        """Who signed it, as far as that can be known before the body is there; None where nobody has to sign."""
        if url.auth_type is AuthType.NONE:
            return None
        if (claims := claims_of(visit.request)) is None:
            raise _Unsigned
        return await self._door.screen(visit.request, claims)

    async def _call(
        self, url: FunctionUrl, visit: Visit, address: UrlAddress, caller: Mapping[str, Any] | None
    ) -> None:
        home = self._services.home
        account = caller["accountId"] if caller else ANONYMOUS
        call = HttpCall(
            request=replace(visit.request, raw_path=address.raw_path),
            endpoint=Endpoint(
                api_id=url.url_id,
                domain_name=address.domain_name or f"{url.url_id}.{URL_LABEL}.{home.region}.localhost",
                account=account,
                authorizer={"iam": dict(caller)} if caller else None,
                trace_id=http_call.trace_id(visit.request),
            ),
            ref=FunctionRef(url.function, url.qualifier),
            source=f"url:{url.function}",
            request_id=visit.request_id,
            now=self._services.now(),
            dialect=URL,
            finish=visit.finish,
        )
        if url.invoke_mode is InvokeMode.RESPONSE_STREAM:
            await http_call.streamed(self._services.front, call, visit.receive, visit.send)
        else:
            await http_call.buffered(self._services.front, call, visit.send)


Signed = tuple[Claims, Credential, Known | None]


class _Door(Protocol):
    """Who may call. ``admit`` answers the caller as the event has it. Both raise SignatureRefused."""

    async def screen(self, request: Request, claims: Claims) -> Signed: ...

    async def admit(self, url: FunctionUrl, request: Request, signed: Signed | None) -> Mapping[str, Any] | None: ...


class _FileDoor:
    """Every user of the credentials file."""

    def __init__(self, services: Services) -> None:
        self._account = services.home.account
        self._file = CredentialsFile(services.settings.credentials)
        self._verifier = Verifier((services.home.region,), (SERVICE,), services.now)

    async def screen(self, request: Request, claims: Claims) -> Signed:
        self._verifier.check(request, claims)
        return claims, self._verifier.admit(claims, self._file.find(claims.access_key)), None

    async def admit(self, _: FunctionUrl, request: Request, signed: Signed | None) -> Mapping[str, Any] | None:
        if signed is None:
            return None
        self._verifier.verify(request, signed[0], signed[1])
        return identity(signed[1], self._account)


class _IamDoor:
    """Whoever the policies let."""

    def __init__(self, services: Services, iam: Iam) -> None:
        self._home = services.home
        self._authenticator = Authenticator(iam, services.now)
        self._authoriser = Authoriser(iam, services.catalogue, services.now)

    async def screen(self, request: Request, claims: Claims) -> Signed:
        _, known = await self._authenticator.screen(request)
        return claims, known.credential, known

    async def admit(self, url: FunctionUrl, request: Request, signed: Signed | None) -> Mapping[str, Any] | None:
        arn = self._home.function(url.function, url.qualifier)
        need = Need(INVOKE, arn, {"lambda:functionurlauthtype": (url.auth_type.value,)})
        known = signed[2] if signed else None
        try:
            if signed is None or known is None:
                await self._authoriser.check_without_identity(request, Anonymous(), [need])
                return None
            self._authenticator.verify(request, signed[0], known)
            await self._authoriser.check(request, known, [need])
        except Denied as error:
            raise _Unsigned from error
        return _described(known)


class _Unsigned(SignatureRefused):
    """Forbidden"""

    code, message_key = DENIED, "Message"


def _refused(error: SignatureRefused) -> Response:
    return replace(URL, key=error.message_key).refuse(error.status, str(error), error.code)


def identity(caller: Credential, account: str) -> dict[str, Any]:
    """The caller as the event has it. The user's id is made from the name: the same for ever.

    >>> identity(Credential("alice", "AKIA1", "s"), "000000000000")["userArn"]
    'arn:aws:iam::000000000000:user/alice'
    """
    digest = sha256(f"{account}/{caller.user}".encode()).digest()
    user_id = "AIDA" + base64.b32encode(digest).decode()[:17]
    return {
        "accessKey": caller.access_key,
        "accountId": account,
        "callerId": user_id,
        "cognitoIdentity": None,
        "principalOrgId": None,
        "userArn": f"arn:aws:iam::{account}:user/{caller.user}",
        "userId": user_id,
    }


def _described(known: Known) -> dict[str, Any]:
    """A user or a session of the store as the event has it."""
    principal = known.principal
    return {
        "accessKey": known.credential.access_key,
        "accountId": principal.account,
        "callerId": principal.unique_id,
        "cognitoIdentity": None,
        "principalOrgId": None,
        "userArn": principal.arn,
        "userId": principal.unique_id,
    }
