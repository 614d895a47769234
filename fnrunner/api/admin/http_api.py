"""HTTP APIs and REST APIs: which function answers which method and path.

::

    PUT /http-apis/NAME  {"type"?: "http" or "rest",
                          "stage"?: "$default" or a name,
                          "cors"?: {"allow_origins", "allow_methods", "allow_headers", "expose_headers": [text],
                                    "allow_credentials": bool, "max_age_s": number},
                          "routes": [{"method"?: "GET" … or "ANY", "path"?: "/items/{id}", "function": NAME,
                                      "timeout_ms"?: number, "payload"?: "2.0" or "1.0"}]}

All of an API is said at once, and replaces what was there. A route without method and path, or with the path ``$default``,
takes what no other does. Names are case-insensitive: they are labels of host names. The events of REST APIs are in format 1.0;
their stage has a name, and every route a path.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import groupby
from typing import Any

from starlette.responses import Response

from fnrunner.api.admin.endpoint import Ask, Endpoint, answer, field, only
from fnrunner.api.errors import InvalidRequestContent
from fnrunner.api.http_address import api_of, base_url_of
from fnrunner.catalogue import http_route
from fnrunner.model.trigger import ApiType, Cors, HttpRoute

_LISTS = ("allow_headers", "allow_methods", "allow_origins", "expose_headers")
_TEXTS = "an array of texts"


@dataclass(frozen=True, slots=True)
class _Common:
    """What all routes of an API have in common."""

    api: str
    type: ApiType
    stage: str
    rules: Cors | None


async def every(ask: Ask) -> Response:
    """By name."""
    routes = await ask.services.catalogue.list_triggers(HttpRoute)
    grouped = groupby(sorted(routes, key=lambda route: route.api), key=lambda route: route.api)
    return answer({"http_apis": [_described(ask, list(found)) for _, found in grouped]})


async def get(ask: Ask) -> Response:
    name = _name(ask)
    await ask.services.catalogue.refresh()
    found = [one for one in ask.services.catalogue.snapshot.of_type(HttpRoute).values() if one.api == name]
    if not found:
        raise http_route.HttpApiNotFound(name)
    return answer(_described(ask, found))


async def put(ask: Ask) -> Response:
    """Made, or replaced as a whole."""
    document = await ask.document()
    only(document, "type", "stage", "cors", "routes")
    routes = _routes(_name(ask), document)
    home = ask.services.home
    await ask.services.catalogue.change(lambda connection: http_route.replace_api(connection, home, _name(ask), routes))
    return answer(_described(ask, routes))


async def remove(ask: Ask) -> Response:
    name = _name(ask)
    await ask.services.catalogue.change(lambda connection: http_route.remove_api(connection, name))
    return Response(status_code=204)


def _name(ask: Ask) -> str:
    return ask.path("name").lower()


def _routes(api: str, document: dict[str, Any]) -> list[HttpRoute]:
    """Raises InvalidRequestContent for what has the wrong type; the catalogue judges the rest."""
    stage = field(document, "stage", str, "a text", http_route.DEFAULT_STAGE)
    rules = None if document.get("cors") is None else _cors(field(document, "cors", dict, "an object"))
    given = field(document, "routes", list, "an array of routes")
    common = _Common(api, _type(document), stage, rules)
    return [_route(common, item, index) for index, item in enumerate(given)]


def _type(document: dict[str, Any]) -> ApiType:
    given = field(document, "type", str, "a text", ApiType.HTTP.value)
    try:
        return ApiType(given)
    except ValueError as error:
        raise InvalidRequestContent(f"type takes {' or '.join(one.value for one in ApiType)}") from error


def _route(common: _Common, item: Any, index: int) -> HttpRoute:
    if not isinstance(item, dict):
        raise InvalidRequestContent(f"routes[{index}] takes an object")
    only(item, "method", "path", "function", "qualifier", "timeout_ms", "payload")
    method = field(item, "method", str, "a text", "").upper()
    path = field(item, "path", str, "a text", "")
    if path in ("", "$default"):
        method, path = "" if method in ("ANY", "$DEFAULT") else method, ""
    timeout = None
    if item.get("timeout_ms") is not None:
        timeout = timedelta(milliseconds=min(field(item, "timeout_ms", int, "a whole number"), 10**9))
    usual = "1.0" if common.type is ApiType.REST else "2.0"
    return HttpRoute(
        api=common.api, function=field(item, "function", str, "a function's name"), method=method or ("ANY" if path else ""),
        path=path, qualifier=field(item, "qualifier", str, "a version or alias", ""), stage=common.stage,
        cors=common.rules, timeout=timeout, type=common.type, payload=field(item, "payload", str, "a text", usual),
    )  # fmt: skip


def _cors(given: dict[str, Any]) -> Cors | None:
    """An empty object is no rules."""
    only(given, *_LISTS, "allow_credentials", "max_age_s")
    if not given:
        return None
    return Cors(
        allow_credentials=field(given, "allow_credentials", bool, "true or false", False),
        max_age_s=field(given, "max_age_s", int, "a whole number", 0),
        **{name: _texts(given, name) for name in _LISTS},
    )


def _texts(given: dict[str, Any], name: str) -> tuple[str, ...]:
    items = field(given, name, list, _TEXTS, [])
    if not all(isinstance(item, str) for item in items):
        raise InvalidRequestContent(f"cors.{name} takes {_TEXTS}")
    return tuple(items)


def _described(ask: Ask, routes: Sequence[HttpRoute]) -> dict[str, Any]:
    api, stage, rules = routes[0].api, routes[0].stage, routes[0].cors
    endpoint = api_of(api, ask.services.home.region, base_url_of(ask.request.scope))
    return {
        "name": api,
        "type": routes[0].type.value,
        "stage": stage,
        "endpoint": endpoint if stage == http_route.DEFAULT_STAGE else f"{endpoint}{stage}/",
        "cors": None if rules is None else _rules(rules),
        "routes": [_route_document(route) for route in sorted(routes, key=lambda route: route.id)],
    }


def _rules(rules: Cors) -> dict[str, Any]:
    document: dict[str, Any] = {name: list(getattr(rules, name)) for name in _LISTS}
    return {**document, "allow_credentials": rules.allow_credentials, "max_age_s": rules.max_age_s}


def _route_document(route: HttpRoute) -> dict[str, Any]:
    document: dict[str, Any] = {
        "route_key": route.route_key, "method": route.method, "path": route.path, "function": route.function,
    }  # fmt: skip
    if route.qualifier:
        document["qualifier"] = route.qualifier
    if route.type is ApiType.HTTP and route.payload != "2.0":
        document["payload"] = route.payload
    if route.timeout is not None:
        document["timeout_ms"] = round(route.timeout.total_seconds() * 1000)
    return document


ROUTES = (
    Endpoint("GET", "/http-apis", every),
    Endpoint("GET", "/http-apis/{name}", get),
    Endpoint("PUT", "/http-apis/{name}", put),
    Endpoint("DELETE", "/http-apis/{name}", remove),
)
