"""HTTP and REST APIs of a template, compared with those of the server. Pure: what has to be put, and what has to go.

The server takes an API as a whole. Of an API that no template names any more, the routes to this template's functions go.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from fnrunner.cli.deploy.spec import ApiSpec, RouteSpec
from fnrunner.cli.deploy.trigger import Change, shown

_NO_CORS: Mapping[str, Any] = {
    "allow_headers": [],
    "allow_methods": [],
    "allow_origins": [],
    "expose_headers": [],
    "allow_credentials": False,
    "max_age_s": 0,
}


@dataclass(frozen=True, slots=True)
class ApiPlan:
    """``document`` is what to put; None: the API goes. ``changes`` empty: it is as wanted."""

    name: str
    action: str
    document: Mapping[str, Any] | None
    changes: tuple[Change, ...] = ()


def plan_apis(wanted: Iterable[ApiSpec], there: Iterable[Mapping[str, Any]], functions: set[str]) -> list[ApiPlan]:
    """``there`` are the server's documents; ``functions`` the names of the template's functions."""
    known = {api["name"]: api for api in there}
    specs = {spec.name: spec for spec in wanted if spec.routes}
    plans = [_wanted(spec, known.get(name)) for name, spec in specs.items()]
    left = [_left(api, functions) for name, api in known.items() if name not in specs]
    return [*plans, *(plan for plan in left if plan is not None)]


def _wanted(spec: ApiSpec, there: Mapping[str, Any] | None) -> ApiPlan:
    routes = [_route(route) for route in spec.routes]
    document: dict[str, Any] = {"type": spec.type, "stage": spec.stage, "routes": routes}
    if spec.cors is not None:
        document["cors"] = {**_NO_CORS, **spec.cors}
    new, old = _comparable(document), {} if there is None else _comparable(there)
    keys = [*new, *(key for key in old if key not in new)]
    changes = tuple(Change(key, old.get(key), new.get(key)) for key in keys if old.get(key) != new.get(key))
    action = "created" if there is None else "updated" if changes else "unchanged"
    return ApiPlan(spec.name, action, document, () if there is None else changes)


def _left(there: Mapping[str, Any], functions: set[str]) -> ApiPlan | None:
    others = [route for route in there["routes"] if route["function"] not in functions]
    if len(others) == len(there["routes"]):
        return None
    gone = [route for route in there["routes"] if route["function"] in functions]
    changes = tuple(Change(f"Routes.{route['route_key']}", route["function"], None) for route in gone)
    if not others:
        return ApiPlan(there["name"], "removed", None, changes)
    return ApiPlan(there["name"], "updated", as_put({**there, "routes": others}), changes)


def as_put(there: Mapping[str, Any]) -> dict[str, Any]:
    """What the server tells of an API, as it takes it."""
    routes = [{key: value for key, value in route.items() if key != "route_key"} for route in there["routes"]]
    cors = {} if there["cors"] is None else {"cors": there["cors"]}
    return {"type": there.get("type", "http"), "stage": there["stage"], "routes": routes, **cors}


def _route(route: RouteSpec) -> dict[str, Any]:
    document: dict[str, Any] = {"method": route.method, "path": route.path, "function": route.function}
    if route.qualifier:
        document["qualifier"] = route.qualifier
    if route.type == "http" and route.payload != "2.0":
        document["payload"] = route.payload
    return document if route.timeout_ms is None else {**document, "timeout_ms": route.timeout_ms}


def _comparable(document: Mapping[str, Any]) -> dict[str, str | None]:
    """What there is to show, by key."""
    found = {"Type": shown(document.get("type", "http")), "StageName": shown(document["stage"])}
    for name, value in sorted((document.get("cors") or {}).items()):
        if value != _NO_CORS[name]:
            found[f"CorsConfiguration.{name}"] = shown(value)
    for route in document["routes"]:
        key = f"{route['method']} {route['path']}" if route["path"] else "$default"
        timeout = f" within {route['timeout_ms']} ms" if route.get("timeout_ms") is not None else ""
        to = f"{route['function']}:{route['qualifier']}" if route.get("qualifier") else route["function"]
        payload = f" with payload {route['payload']}" if route.get("payload") else ""
        found[f"Routes.{key}"] = f"{to}{timeout}{payload}"
    return found
