"""HTTP APIs in the store: an API is the set of its routes, which are replaced all at once.

Names of APIs are labels of host names, so they are lower-case. Each function that takes a connection runs inside
:meth:`~fnrunner.catalogue.catalogue.Catalogue.change`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import timedelta

from sqlalchemy import ColumnElement, Connection, delete, select

from fnrunner.catalogue import cors, trigger_document, triggers, versions
from fnrunner.catalogue.errors import InvalidParameterValue, NotFound
from fnrunner.model import limits
from fnrunner.model.arn import Home
from fnrunner.model.trigger import ApiType, HttpRoute
from fnrunner.store.schema import trigger as table
from sources.http import route as routing

MAX_ROUTES = 300
DEFAULT_STAGE = "$default"
PAYLOADS = ("1.0", "2.0")
TIMEOUT = (timedelta(milliseconds=50), timedelta(seconds=limits.TIMEOUT_S[1]))
CORS_METHODS = (*(method for method in routing.METHODS if method != "ANY"), "*")
_NAME = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
_STAGE = r"\$default|[A-Za-z0-9_-]{1,128}"


class HttpApiNotFound(NotFound):
    """There is no such HTTP API. `fnrunner deploy` makes those of a template."""

    def __init__(self, name: str) -> None:
        super().__init__(f"There is no HTTP API {name}. `fnrunner deploy` makes those of a template.")


def replace_api(connection: Connection, home: Home, api: str, routes: Sequence[HttpRoute]) -> None:
    """These and no others are the API's routes from now on. Raises InvalidParameterValue, FunctionNotFound."""
    check(api, routes)
    for function, qualifier in sorted({(route.function, route.qualifier) for route in routes}):
        versions.fetch(connection, home, function, qualifier)
    _remove(connection, api)
    for route in routes:
        triggers.save(connection, route)


def remove_api(connection: Connection, api: str) -> None:
    """Raises HttpApiNotFound."""
    if _remove(connection, api) == 0:
        raise HttpApiNotFound(api)


def routes_of(connection: Connection, api: str) -> list[HttpRoute]:
    """By their ids. Raises HttpApiNotFound."""
    query = select(table.c.document).where(*_of(api)).order_by(table.c.id)
    found = [trigger_document.load(HttpRoute, text) for text in connection.execute(query).scalars()]
    if not found:
        raise HttpApiNotFound(api)
    return found


def check(api: str, routes: Sequence[HttpRoute]) -> None:
    """Raises InvalidParameterValue for the first thing that is wrong."""
    if problem := next(_problems(api, routes), None):
        raise InvalidParameterValue(f"HTTP API {api[:64]}: {problem}")


def _problems(api: str, routes: Sequence[HttpRoute]) -> Iterator[str]:
    if not re.fullmatch(_NAME, api):
        yield "its name is no label of a host name: 1 to 63 of a-z 0-9 and, inside, -"
    if not 1 <= len(routes) <= MAX_ROUTES:
        yield f"it takes 1 to {MAX_ROUTES} routes, not {len(routes)}"
    seen: set[tuple[str, str]] = set()
    for route in routes:
        yield from _route_problems(route)
        key = (route.method, routing.shape(route.path))
        if key in seen:
            yield f"route {route.route_key} takes the same requests as another route"
        seen.add(key)
    if routes and routes[0].cors is not None:
        for field, value, rule in cors.broken(routes[0].cors, CORS_METHODS):
            yield f"cors.{field} has {value!r}: {rule}"


def _route_problems(route: HttpRoute) -> Iterator[str]:
    if (problem := routing.problem(route.method, route.path)) is not None:
        yield problem
    if route.timeout is not None and not TIMEOUT[0] <= route.timeout <= TIMEOUT[1]:
        yield f"route {route.route_key}: its timeout is not between 50 ms and {limits.TIMEOUT_S[1]} s"
    if route.payload not in PAYLOADS:
        yield f"route {route.route_key}: its payload {route.payload[:16]!r} is none of {', '.join(PAYLOADS)}"
    if route.type is ApiType.REST:
        yield from _rest_problems(route)
    if not re.fullmatch(_STAGE, route.stage):
        yield f"stage {route.stage[:64]!r} is neither $default nor 1 to 128 of A-Z a-z 0-9 _ -"


def _rest_problems(route: HttpRoute) -> Iterator[str]:
    """A REST API has no default route, no default stage, and one format of events."""
    if not route.path:
        yield "a REST API has no route $default: give the route a path, such as /{proxy+}"
    if route.payload != "1.0":
        yield f"route {route.route_key}: the payload of a REST API is 1.0"
    if route.stage == DEFAULT_STAGE:
        yield "a REST API needs a stage with a name, such as Prod"


def _remove(connection: Connection, api: str) -> int:
    return connection.execute(delete(table).where(*_of(api))).rowcount


def _of(api: str) -> tuple[ColumnElement[bool], ...]:
    """The API's rows: their ids begin with its name and a space, which no name holds."""
    return table.c.kind == triggers.KINDS[HttpRoute], table.c.id.startswith(f"{api} ", autoescape=True)
