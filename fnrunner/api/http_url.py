"""Function URLs: preflights, signatures, and the call.

With ``AWS_IAM`` every user of the credentials file may invoke, since all of them belong to this account; with ``NONE``
everybody may. Resource policies come later and are not evaluated.
"""

from __future__ import annotations

import base64
from dataclasses import replace
from hashlib import sha256
from typing import Any

from fnrunner.api import http_call
from fnrunner.api.http_address import URL_LABEL, UrlAddress
from fnrunner.api.http_answer import URL
from fnrunner.api.http_call import HttpCall
from fnrunner.api.http_visit import Visit
from fnrunner.api.services import Services
from fnrunner.auth.credentials import Credential, CredentialsFile
from fnrunner.auth.sigv4 import Claims, SignatureRefused, Verifier, claims_of
from fnrunner.model.arn import FunctionRef
from fnrunner.model.trigger import AuthType, FunctionUrl, InvokeMode
from sources.http import cors
from sources.http.event import ANONYMOUS, Endpoint
from sources.http.response import Response

SERVICE = "lambda"
"""What the requests of function URLs are signed for."""

DENIED = "AccessDeniedException"


class FunctionUrls:
    """Serves every function URL of the catalogue."""

    def __init__(self, services: Services) -> None:
        self._services = services
        file = CredentialsFile(services.settings.credentials)
        self._verifier = Verifier(services.home.region, SERVICE, file.find, services.now)

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
            signed = self._screened(url, visit)
            if (whole := await visit.with_body(URL)) is None:
                return
            if signed is not None:
                self._verifier.verify(whole.request, *signed)
        except SignatureRefused as error:
            await visit.answer(_refused(error))
            return
        await self._call(url, whole, address, signed[1] if signed else None)

    async def _find(self, url_id: str) -> FunctionUrl | None:
        catalogue = self._services.catalogue
        if (url := catalogue.snapshot.of_type(FunctionUrl).get(url_id)) is None:
            # another process may have made it a moment ago
            await catalogue.refresh()
            url = catalogue.snapshot.of_type(FunctionUrl).get(url_id)
        return url

    def _screened(self, url: FunctionUrl, visit: Visit) -> tuple[Claims, Credential] | None:
        """Who signed it, as far as that can be known before the body is there; None where nobody has to sign."""
        if url.auth_type is AuthType.NONE:
            return None
        if (claims := claims_of(visit.request)) is None:
            raise _Unsigned
        return claims, self._verifier.screen(visit.request, claims)

    async def _call(self, url: FunctionUrl, visit: Visit, address: UrlAddress, caller: Credential | None) -> None:
        home = self._services.home
        account = home.account if caller else ANONYMOUS
        call = HttpCall(
            request=replace(visit.request, raw_path=address.raw_path),
            endpoint=Endpoint(
                api_id=url.url_id,
                domain_name=address.domain_name or f"{url.url_id}.{URL_LABEL}.{home.region}.localhost",
                account=account,
                authorizer={"iam": identity(caller, account)} if caller else None,
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
