"""Serves function URLs and HTTP APIs, which anybody may call, in front of everything that is fnrunner's own.

::

    Host or path ─► address ─┬─► function URL ─► preflight │ signature ─► body ─► event ─► function ─► response
                             ├─► HTTP API ─► preflight │ stage, route ─► body ─► event ─► function ─► response
                             └─► neither: the guard, and behind it the API

A URL or an API decides by its own cross-origin rules which pages may read it; the guard's do not apply, nor do its headers.
Ids of URLs cannot be guessed, so any Host may lead to one. Names of APIs can: where Hosts are checked, only names of this
machine lead to them. Under a path, both share their origin with the administration: such answers are sandboxed, so that a
page among them has no origin of its own and the guard keeps its scripts out.
"""

from __future__ import annotations

import logging
import uuid
from dataclasses import replace

from starlette.types import ASGIApp, Receive, Scope, Send

from fnrunner.api.errors import ClientGone
from fnrunner.api.guard import local_host
from fnrunner.api.http_address import Address, ApiAddress, UrlAddress, address_of
from fnrunner.api.http_answer import API, URL, Dialect
from fnrunner.api.http_route import HttpApis
from fnrunner.api.http_url import FunctionUrls
from fnrunner.api.http_visit import Visit, request_of
from fnrunner.api.lambda_api import path_of
from fnrunner.api.services import Services
from fnrunner.auth.keyring import KeyringError
from fnrunner.store.errors import StoreError
from sources.http.response import Response

log = logging.getLogger(__name__)

SANDBOX = ("content-security-policy", "sandbox allow-downloads allow-forms allow-modals allow-popups allow-scripts")


class HttpDoor:
    """Wraps the application. ``check_host`` as for the guard: off where the network is trusted."""

    def __init__(self, app: ASGIApp, *, services: Services, check_host: bool) -> None:
        self._app = app
        self._check_host = check_host
        self._urls = FunctionUrls(services)
        self._apis = HttpApis(services)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        hosts = [value.decode("latin-1") for name, value in scope.get("headers", ()) if name == b"host"]
        address = self._address(scope, hosts) if scope["type"] == "http" else None
        if address is None:
            await self._app(scope, receive, send)
            return
        finish = _unchanged if address.domain_name else _sandboxed
        visit = Visit(scope, receive, send, request_of(scope), str(uuid.uuid4()), finish)
        dialect = URL if isinstance(address, UrlAddress) else API
        try:
            await self._serve(visit, address, dialect, hosts)
        except ClientGone:
            return
        except (StoreError, KeyringError) as error:
            # the catalogue could not be asked about a name that is not known here, or a caller's secret cannot be opened
            log.warning("%s is not served: %s", visit.request.raw_path, error)
            await visit.answer(dialect.refuse(503, dialect.unavailable, "ServiceException"))

    def _address(self, scope: Scope, hosts: list[str]) -> Address | None:
        raw_path = path_of(scope)
        for host in hosts or [""]:
            address = address_of(host, raw_path)
            if address is None:
                continue
            open_to_all = isinstance(address, UrlAddress) and address.domain_name
            if open_to_all or not self._check_host or local_host(host):
                return address
        return None

    async def _serve(self, visit: Visit, address: Address, dialect: Dialect, hosts: list[str]) -> None:
        if len(hosts) > 1:
            await visit.answer(dialect.refuse(400, "Bad Request: there is more than one Host header"))
        elif isinstance(address, ApiAddress):
            await self._apis.serve(visit, address)
        else:
            await self._urls.serve(visit, address)


def _unchanged(head: Response) -> Response:
    return head


def _sandboxed(head: Response) -> Response:
    """Besides what the function says: of two policies a browser keeps both."""
    return replace(head, headers=(*head.headers, SANDBOX))
