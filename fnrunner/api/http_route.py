"""HTTP APIs: the stage, the route, and the call."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from fnrunner.api import http_call
from fnrunner.api.http_address import API_LABEL, ApiAddress, within
from fnrunner.api.http_answer import API
from fnrunner.api.http_call import HttpCall
from fnrunner.api.http_visit import Visit
from fnrunner.api.services import Services
from fnrunner.model.arn import FunctionRef
from fnrunner.model.trigger import Cors, HttpRoute
from sources.http import cors
from sources.http.event import Endpoint
from sources.http.route import Matched, RouteTable

DEFAULT_STAGE = "$default"


@dataclass(frozen=True, slots=True)
class _Api:
    """Stage and cross-origin rules are the same in all routes of an API."""

    stage: str
    rules: Cors | None
    table: RouteTable[HttpRoute]


class HttpApis:
    """Serves every HTTP API of the catalogue."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._known: Mapping[str, HttpRoute] = {}
        self._apis: Mapping[str, _Api] = {}

    async def serve(self, visit: Visit, address: ApiAddress) -> None:
        """Raises ClientGone."""
        api = await self._find(address.api)
        path = within(api.stage, address) if api is not None else None
        if api is None or path is None:
            await visit.answer(API.refuse(404, "Not Found"))
            return
        if api.rules is not None and cors.is_preflight(visit.request):
            await visit.answer(cors.preflight(api.rules, visit.request, 204))
            return
        inner, rules = visit.finish, api.rules
        visit = replace(visit, finish=lambda head: inner(cors.applied(rules, visit.request, head)))
        if (matched := api.table.match(visit.request.method, path)) is None:
            await visit.answer(API.refuse(404, "Not Found"))
            return
        if (whole := await visit.with_body(API)) is not None:
            await http_call.buffered(self._services.front, self._call(whole, address, api, matched, path), visit.send)

    async def _find(self, name: str) -> _Api | None:
        self._read()
        if (api := self._apis.get(name)) is None:
            # another process may have made it a moment ago
            await self._services.catalogue.refresh()
            self._read()
            api = self._apis.get(name)
        return api

    def _read(self) -> None:
        """Compile the routes anew when the catalogue has changed."""
        routes = self._services.catalogue.snapshot.of_type(HttpRoute)
        if routes is self._known:
            return
        by_api: dict[str, list[HttpRoute]] = {}
        for route in routes.values():
            by_api.setdefault(route.api, []).append(route)
        self._known = routes
        self._apis = MappingProxyType({
            name: _Api(found[0].stage, found[0].cors, RouteTable(found)) for name, found in by_api.items()
        })  # fmt: skip

    def _call(self, visit: Visit, address: ApiAddress, api: _Api, matched: Matched[HttpRoute], path: str) -> HttpCall:
        route, home = matched.route, self._services.home
        return HttpCall(
            request=replace(visit.request, raw_path=path if api.stage == DEFAULT_STAGE else f"/{api.stage}{path}"),
            endpoint=Endpoint(
                api_id=address.api,
                domain_name=address.domain_name or f"{address.api}.{API_LABEL}.{home.region}.localhost",
                account=home.account,
                route_key=route.route_key,
                stage=api.stage,
                path_parameters=matched.parameters,
                trace_id=http_call.trace_id(visit.request),
            ),
            ref=FunctionRef(route.function, route.qualifier),
            source=f"http-api:{route.api}",
            request_id=visit.request_id,
            now=self._services.now(),
            dialect=API,
            finish=visit.finish,
            timeout=route.timeout,
        )
