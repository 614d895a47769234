"""What belongs to functions and is said elsewhere in a template: mappings that are resources, and APIs of routes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from fnrunner.cli.deploy import attachment, conversion, resource
from fnrunner.cli.deploy.fault import Faults
from fnrunner.cli.deploy.function import notification
from fnrunner.cli.deploy.naming import Resource
from fnrunner.cli.deploy.resource import BUCKET, FUNCTION, HTTP_API, MAPPING, REST_API, TOPIC
from fnrunner.cli.deploy.spec import ApiSpec, FunctionSpec
from fnrunner.model.arn import FunctionRef, InvalidArn

Values = Mapping[str, dict[str, Any]]
"""What was read of each resource, by logical id."""


def with_mappings(
    functions: list[FunctionSpec], resources: list[Resource], read: Values, faults: Faults
) -> list[FunctionSpec]:
    """The functions with what belongs to them and is a resource of its own: event source mappings, and what is attached."""
    known = {spec.name: spec for spec in functions}
    for found in (r for r in resources if r.type == MAPPING):
        values, where = read[found.logical], f"Resources.{found.logical}"
        name = _function_name(str(values.get("FunctionName") or ""))
        if name not in known:
            what = f"names {name or 'nothing'}, which is no function of this template"
            faults.add(found.line, f"{where}.Properties.FunctionName", what)
        elif not values.get("EventSourceArn") and not values.get("SelfManagedEventSource"):
            faults.add(found.line, where, "has neither EventSourceArn nor SelfManagedEventSource")
        else:
            qualifier = attachment.qualifier_of(str(values["FunctionName"]), {})
            spec = replace(conversion.mapping(found.logical, resource.mapping(values)), qualifier=qualifier)
            known[name] = replace(known[name], triggers=(*(known[name].triggers or ()), spec))
    for found in (r for r in resources if r.type in attachment.READERS):
        values = read[found.logical]
        name = _function_name(attachment.function_of(found, values))
        if name in known:
            attachment.check(known[name], found, values, faults)
            known[name] = attachment.attach(known[name], found, values)
        elif name:
            what = f"names {name}, which is no function of this template"
            faults.add(found.line, f"Resources.{found.logical}", what)
    _listening(known, resources, read, faults)
    for function in (r for r in resources if r.type == FUNCTION):
        _check_doubles(known[function.name], function, faults)
    return list(known.values())


def _listening(known: dict[str, FunctionSpec], resources: list[Resource], read: Values, faults: Faults) -> None:
    """What topics and buckets say themselves of who is told."""
    for found in resources:
        if found.type == TOPIC:
            for index, one in enumerate(filter(None, read[found.logical].get("Subscription") or ())):
                values = {"TopicArn": f":{found.name}", "Endpoint": one.get("Endpoint")}
                if (name := _listener(known, found, one.get("Endpoint"), "Subscription", faults)) is not None:
                    known[name] = attachment.subscribe(known[name], f"{found.logical}-{index}", values)
        if found.type == BUCKET:
            configuration = read[found.logical].get("NotificationConfiguration") or {}
            for index, one in enumerate(filter(None, configuration.get("LambdaConfigurations") or ())):
                target = one.get("Function")
                if (name := _listener(known, found, target, "NotificationConfiguration", faults)) is not None:
                    properties = {"Bucket": found.name, "Events": [one.get("Event")], "Filter": one.get("Filter")}
                    qualifier = attachment.qualifier_of(str(target), {})
                    made = notification(f"{found.logical}-{index}", properties, qualifier)
                    known[name] = replace(known[name], notifications=(*(known[name].notifications or ()), made))


def _listener(
    known: Mapping[str, FunctionSpec], found: Resource, target: object, key: str, faults: Faults
) -> str | None:
    name = _function_name(str(target or ""))
    if name in known:
        return name
    what = f"names {name or 'nothing'}, which is no function of this template"
    faults.add(found.line, f"Resources.{found.logical}.Properties.{key}", what)
    return None


def _function_name(text: str) -> str:
    try:
        return FunctionRef.parse(text).name
    except InvalidArn:
        return text


def _check_doubles(spec: FunctionSpec, function: Resource, faults: Faults) -> None:
    counted = Counter((trigger.kind, trigger.key) for trigger in spec.triggers or ())
    for (kind, key), count in counted.items():
        if count > 1:
            faults.add(function.line, f"Resources.{function.logical}", f"has more than one {kind.value} of {key}")


_EVENTS = {HTTP_API: ("http", "HttpApi", "ApiId"), REST_API: ("rest", "Api", "RestApiId")}


def apis_of(
    functions: list[FunctionSpec],
    resources: list[Resource],
    read: Values,
    implicit: tuple[ApiSpec, ...],
    faults: Faults,
) -> tuple[ApiSpec, ...]:
    """The APIs with the routes that functions' events ask for. ``implicit`` are those of routes that name none."""
    apis = {r.name: _api(r, read[r.logical]) for r in resources if r.type in _EVENTS}
    known = {**{api.name: api for api in implicit}, **apis}
    lines = {r.name: (r.line, f"Resources.{r.logical}.Properties.Events") for r in resources if r.type == FUNCTION}
    taken: dict[tuple[str, str], str] = {}
    for route in (route for spec in functions for route in spec.routes):
        line, where = lines[route.function]
        if (api := known.get(route.api, ApiSpec(""))).type != route.type or not api.name:
            kind = next(kind for kind, (one, _, _) in _EVENTS.items() if one == route.type)
            faults.add(line, f"{where}.{route.name}", f"names the API {route.api}, which is no {kind} of this template")
        event = f"{route.function}.{route.name}"
        if (first := taken.setdefault((route.api, route.key), event)) != event:
            faults.add(line, f"{where}.{route.name}", f"has the route {route.key}, as {first} has")
        apis[route.api] = known[route.api] = replace(api, routes=(*api.routes, route))
    for r in resources:
        if r.type in _EVENTS and not apis[r.name].routes:
            _, event, key = _EVENTS[r.type]
            what = f"has no routes: an event of the type {event} with its {key} makes one"
            faults.add(r.line, f"Resources.{r.logical}", what)
    return tuple(apis.values())


def _api(found: Resource, values: Mapping[str, Any]) -> ApiSpec:
    if found.type == REST_API:
        return ApiSpec(found.name, values.get("StageName") or "", values.get("Cors"), type="rest")
    return ApiSpec(found.name, values.get("StageName") or "$default", values.get("CorsConfiguration"))
