"""What requests are about, by their method and path.

A request that cannot be read as its operation wants it is judged by what its path says, and refused by the operation later.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from starlette.routing import Match, Route
from starlette.types import Scope

from fnrunner.api import body, shape
from fnrunner.api.admin.endpoint import PREFIX, Endpoint
from fnrunner.api.errors import ApiError
from fnrunner.api.request import headers_of, parameters, query_of
from fnrunner.api.router import Router
from fnrunner.auth.action import ANYTHING, Need, invocation, needed
from fnrunner.auth.subject import Subject
from fnrunner.model.arn import Home

INVOCATIONS = frozenset(("Invoke", "InvokeAsync", "InvokeWithResponseStream"))
_VERBS = {"GET": "Get", "HEAD": "Get", "PUT": "Put", "POST": "Post", "DELETE": "Delete", "PATCH": "Patch"}


class LambdaSubjects:
    """Those of the dated paths, by the same model and the same reading as the operations themselves."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._router = Router(shape.load())

    def named(self, scope: Scope, raw_path: str) -> str:
        """The operation's name. Raises UnknownOperation, and InvalidParameter for a query that is no query."""
        return self._router.match(scope["method"], raw_path, query_of(scope))[0].name

    def of(self, scope: Scope, raw_path: str, content: bytes) -> Subject:
        """Raises as ``named`` does."""
        query = query_of(scope)
        operation, labels = self._router.match(scope["method"], raw_path, query)
        try:
            params = parameters(operation, labels, query, headers_of(scope), content)
        except ApiError:
            params = dict(labels)
        changes = scope["method"] != "GET" and operation.name not in INVOCATIONS
        return Subject("lambda", operation.name, needed(operation.name, params, self._home), changes, params)


class AdminSubjects:
    """Those of fnrunner's own paths: ``fnrunner:`` with the method and the path's words, on the function or the thing named.

    >>> action("GET", "/functions/{name}/logs"), action("POST", "/queues/{name}/messages")
    ('fnrunner:GetFunctionsLogs', 'fnrunner:PostQueuesMessages')
    """

    def __init__(self, home: Home, endpoints: Iterable[Endpoint]) -> None:
        self._home = home
        self._routes = [
            (Route(PREFIX + one.path, _nothing, methods=[one.method]), action(one.method, one.path))
            for one in endpoints
        ]

    def of(self, scope: Scope, content: bytes) -> Subject:
        """A path that is none of them needs what only ``fnrunner:*`` allows. Whoever sets off a function by a trigger must
        be allowed to invoke it.
        """
        changes = scope["method"] not in ("GET", "HEAD")
        for route, name in self._routes:
            match, found = route.matches(scope)
            if match is Match.FULL:
                labels = {key: str(value) for key, value in found["path_params"].items()}
                need = Need(name, self._resource(route.path, labels))
                targets = _targets(name, labels, content) if name in _TRIGGERS else ()
                needs = (need, *(invocation(function, qualifier, self._home) for function, qualifier in targets))
                return Subject("fnrunner", name.partition(":")[2], needs, changes, labels)
        name = f"{_VERBS.get(scope['method'], 'Other')}Other"
        return Subject("fnrunner", name, (Need(f"fnrunner:{name}", ANYTHING),), changes)

    def _resource(self, path: str, labels: Mapping[str, str]) -> str:
        for literal, label in re.findall(r"/([^/{}]+)/\{(\w+)[^}]*\}", path):
            value = labels[label]
            if literal == "functions":
                return self._home.function(value)
            if literal == "http-apis":
                # the names of APIs are labels of host names: in any case
                value = value.lower()
            return f"arn:aws:fnrunner:{self._home.region}:{self._home.account}:{literal}/{value}"
        return ANYTHING


_TRIGGERS: Mapping[str, str] = {
    "fnrunner:PutHttpApis": "routes",
    "fnrunner:PutFunctionsNotifications": "notifications",
    "fnrunner:PostSchedules": "",
    "fnrunner:PutSchedules": "",
    "fnrunner:PutTopicsSubscriptions": "",
}
"""Endpoints whose bodies name functions, and the member with the list of those that do; empty: the body itself does."""


def _targets(name: str, labels: Mapping[str, str], content: bytes) -> list[tuple[str, str]]:
    """Function and qualifier of each trigger in the body, each once."""
    try:
        document = body.parse_object(content)
    except ApiError:
        return []
    listed = document.get(_TRIGGERS[name]) if _TRIGGERS[name] else [document]
    items = [item for item in listed if isinstance(item, dict)] if isinstance(listed, list) else []
    own = labels["name"] if name == "fnrunner:PutFunctionsNotifications" else ""
    found = ((own or item.get("function"), item.get("qualifier", "")) for item in items)
    return list(dict.fromkeys((one, other) for one, other in found if isinstance(one, str) and isinstance(other, str)))


def action(method: str, path: str) -> str:
    """The permission that an endpoint needs."""
    words = re.findall(r"[A-Za-z0-9]+", re.sub(r"\{[^}]*\}", "", path))
    return f"fnrunner:{_VERBS.get(method, method.title())}" + "".join(word.title() for word in words)


def actions(endpoints: Sequence[Endpoint]) -> list[str]:
    """All of them, for documentation."""
    return sorted({action(one.method, one.path) for one in endpoints})


async def _nothing(_: object) -> None:
    """Routes match here, and serve nothing."""
    raise AssertionError
