"""HTTP APIs and REST APIs: the stage, the route, and the call.

A REST API answers preflights by its cross-origin rules and leaves the headers of all other answers to the function; a path
with a slash at its end is that without. Source: API Gateway, REST APIs; SAM, CorsConfiguration of AWS::Serverless::Api.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from types import MappingProxyType

from fnrunner.api import http_call
from fnrunner.api.http_address import API_LABEL, ApiAddress, within
from fnrunner.api.http_answer import API, REST, Dialect
from fnrunner.api.http_call import HttpCall, Payload
from fnrunner.api.http_visit import Visit
from fnrunner.api.services import Services
from fnrunner.model.arn import FunctionRef
from fnrunner.model.trigger import ApiType, Cors, HttpRoute
from sources.http import cors
from sources.http.event import Endpoint
from sources.http.response import Response
from sources.http.route import Matched, RouteTable

DEFAULT_STAGE = "$default"
REST_TIMEOUT = timedelta(seconds=29)
"""How long a REST API waits for a function, where its route does not say. Source: API Gateway's quotas."""


@dataclass(frozen=True, slots=True)
class _Api:
    """Type, stage and cross-origin rules are the same in all routes of an API."""

    type: ApiType
    stage: str
    rules: Cors | None
    table: RouteTable[HttpRoute]

    @property
    def rest(self) -> bool:
        return self.type is ApiType.REST

    @property
    def dialect(self) -> Dialect:
        return REST if self.rest else API

    def match(self, method: str, path: str) -> Matched[HttpRoute] | None:
        return self.table.match(method, path.removesuffix("/") or "/" if self.rest else path)

    def no_stage(self) -> Response:
        return REST.refuse(403, "Forbidden", "ForbiddenException") if self.rest else API.refuse(404, "Not Found")

    def no_route(self) -> Response:
        if self.rest:
            return REST.refuse(403, "Missing Authentication Token", "MissingAuthenticationTokenException")
        return API.refuse(404, "Not Found")


class HttpApis:
    """Serves every HTTP API and REST API of the catalogue."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._known: Mapping[str, HttpRoute] = {}
        self._apis: Mapping[str, _Api] = {}

    async def serve(self, visit: Visit, address: ApiAddress) -> None:
        """Raises ClientGone."""
        api = await self._find(address.api)
        if api is None:
            await visit.answer(API.refuse(404, "Not Found"))
            return
        if (path := within(api.stage, address)) is None:
            await visit.answer(api.no_stage())
            return
        if api.rules is not None and cors.is_preflight(visit.request):
            await visit.answer(cors.preflight(api.rules, visit.request, 200 if api.rest else 204))
            return
        inner, rules = visit.finish, None if api.rest else api.rules
        visit = replace(visit, finish=lambda head: inner(cors.applied(rules, visit.request, head)))
        if (matched := api.match(visit.request.method, path)) is None:
            await visit.answer(api.no_route())
            return
        if (whole := await visit.with_body(api.dialect)) is not None:
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
            name: _Api(found[0].type, found[0].stage, found[0].cors, RouteTable(found))
            for name, found in by_api.items()
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
            source=f"{'rest' if api.rest else 'http'}-api:{route.api}",
            request_id=visit.request_id,
            now=self._services.now(),
            dialect=api.dialect,
            finish=visit.finish,
            timeout=route.timeout or (REST_TIMEOUT if api.rest else None),
            form=Payload.REST if api.rest else Payload(route.payload),
        )
