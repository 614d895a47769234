"""What belongs to functions and is said elsewhere in a template: mappings that are resources, and APIs of routes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from fnrunner.cli.deploy import conversion, resource
from fnrunner.cli.deploy.event import IMPLICIT_API
from fnrunner.cli.deploy.fault import Faults
from fnrunner.cli.deploy.naming import Resource
from fnrunner.cli.deploy.resource import FUNCTION, HTTP_API, MAPPING
from fnrunner.cli.deploy.spec import ApiSpec, FunctionSpec

Values = Mapping[str, dict[str, Any]]
"""What was read of each resource, by logical id."""


def with_mappings(
    functions: list[FunctionSpec], resources: list[Resource], read: Values, faults: Faults
) -> list[FunctionSpec]:
    """The functions with the event source mappings that are resources of their own."""
    known = {spec.name: spec for spec in functions}
    for found in (r for r in resources if r.type == MAPPING):
        values, where = read[found.logical], f"Resources.{found.logical}"
        name = str(values.get("FunctionName") or "").rpartition(":")[2]
        if name not in known:
            what = f"names {name or 'nothing'}, which is no function of this template"
            faults.add(found.line, f"{where}.Properties.FunctionName", what)
        elif not values.get("EventSourceArn") and not values.get("SelfManagedEventSource"):
            faults.add(found.line, where, "has neither EventSourceArn nor SelfManagedEventSource")
        else:
            spec = conversion.mapping(found.logical, resource.mapping(values))
            known[name] = replace(known[name], triggers=(*(known[name].triggers or ()), spec))
    for function in (r for r in resources if r.type == FUNCTION):
        _check_doubles(known[function.name], function, faults)
    return list(known.values())


def _check_doubles(spec: FunctionSpec, function: Resource, faults: Faults) -> None:
    counted = Counter((trigger.kind, trigger.key) for trigger in spec.triggers or ())
    for (kind, key), count in counted.items():
        if count > 1:
            faults.add(function.line, f"Resources.{function.logical}", f"has more than one {kind.value} of {key}")


def http_apis(
    functions: list[FunctionSpec], resources: list[Resource], read: Values, faults: Faults
) -> tuple[ApiSpec, ...]:
    """The APIs with the routes that functions' events ask for."""
    apis = {
        r.name: ApiSpec(
            r.name, read[r.logical].get("StageName") or "$default", read[r.logical].get("CorsConfiguration")
        )
        for r in resources
        if r.type == HTTP_API
    }
    known = {*apis, IMPLICIT_API.lower()}
    lines = {r.name: (r.line, f"Resources.{r.logical}.Properties.Events") for r in resources if r.type == FUNCTION}
    taken: dict[tuple[str, str], str] = {}
    for route in (route for spec in functions for route in spec.routes):
        line, where = lines[route.function]
        if route.api not in known:
            what = f"names the API {route.api}, which is no AWS::Serverless::HttpApi of this template"
            faults.add(line, f"{where}.{route.name}", what)
        event = f"{route.function}.{route.name}"
        if (first := taken.setdefault((route.api, route.key), event)) != event:
            faults.add(line, f"{where}.{route.name}", f"has the route {route.key}, as {first} has")
        api = apis.get(route.api) or ApiSpec(route.api)
        apis[route.api] = replace(api, routes=(*api.routes, route))
    for r in resources:
        if r.type == HTTP_API and not apis[r.name].routes:
            what = "has no routes: an event of the type HttpApi with its ApiId makes one"
            faults.add(r.line, f"Resources.{r.logical}", what)
    return tuple(apis.values())
