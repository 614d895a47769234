"""What was there before a stack that uses it: as it was, so that a deployment that fails can put it back.

Functions and HTTP APIs become the stack's, which describes them completely; queues are used, and stay when it goes.
"""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict
from typing import Any

from fnrunner.cli.deploy.api import ApiPlan, as_put
from fnrunner.cli.deploy.apply import QUEUE_DEFAULTS, Journal
from fnrunner.cli.deploy.plan import Current
from fnrunner.cli.deploy.release import plan_aliases
from fnrunner.cli.deploy.server import Server
from fnrunner.cli.deploy.spec import CodeSource, FunctionSpec, NotificationSpec, QueueSpec, RoutedAliasSpec
from fnrunner.cli.deploy.stack_record import Owned
from fnrunner.cli.deploy.trigger import Kind, TriggerSpec

_CONFIGURATION = (
    "Runtime", "Handler", "Role", "Description", "Timeout", "MemorySize", "EphemeralStorage", "Environment",
    "DeadLetterConfig", "LoggingConfig", "Layers", "TracingConfig",
)  # fmt: skip
_EMPTY: Mapping[str, Any] = {
    "Description": "",
    "Layers": [],
    "Environment": {"Variables": {}},
    "DeadLetterConfig": {"TargetArn": ""},
}


def remembered(server: Server, strangers: Collection[Owned]) -> dict[str, Any]:
    """A document of them for a stack's record, which keeps the code that is named in it. Empty for none."""
    kinds = ("function", "http_api", "queue", "alias")
    names = {kind: [one.name for one in strangers if one.kind == kind] for kind in kinds}
    functions = {name: server.current(name, triggers=True) for name in names["function"]}
    queues, apis = server.queues(), {api["name"]: api for api in server.apis()}
    document = {
        "code": {name: {"digest": digest_of(there.configuration["CodeSha256"])} for name, there in functions.items()},
        "functions": {name: _document(there) for name, there in functions.items()},
        "http_apis": {name: apis[name] for name in names["http_api"]},
        "queues": {name: queues[name] for name in names["queue"]},
        "aliases": {name: found for name in names["alias"] if (found := _alias(server, name))},
    }
    return document if any(document.values()) else {}


def digest_of(code_sha256: str) -> str:
    """The SHA-256 in hex of what Lambda has in base64.

    >>> digest_of("q83v")
    'abcdef'
    """
    return b64decode(code_sha256).hex()


def taken_over(document: Mapping[str, Any]) -> Iterator[Owned]:
    """What belongs to the stack from now on."""
    for kind, key in (("function", "functions"), ("http_api", "http_apis"), ("alias", "aliases")):
        yield from (Owned(kind, name) for name in document.get(key, {}))


def put_back_resources(document: Mapping[str, Any], server: Server, journal: Journal) -> None:
    """Queues, HTTP APIs and aliases as they were. Raises BrokeOff."""
    for name, attributes in document.get("queues", {}).items():
        with journal.step(f"queue {name}"):
            server.put_queue(QueueSpec(name, {**QUEUE_DEFAULTS, **attributes}))
    for name, api in document.get("http_apis", {}).items():
        with journal.step(f"HTTP API {name}"):
            server.put_api(ApiPlan(name, "updated", as_put(api)))
    for name, alias in document.get("aliases", {}).items():
        function, _, own = name.partition(":")
        spec = RoutedAliasSpec(own, **alias)
        for step in plan_aliases((spec,), server.releases.states(function, (own,))):
            with journal.step(f"alias {own} of {function}"):
                server.releases.apply(function, step)


def _alias(server: Server, name: str) -> dict[str, Any]:
    """What makes it again; empty where it has gone meanwhile."""
    function, _, alias = name.partition(":")
    found = server.releases.state(function, alias)
    return asdict(found) if found else {}


def _document(there: Current) -> dict[str, Any]:
    triggers = [
        {
            "kind": one.kind.value, "key": one.key, "body": dict(one.body), "fixed": dict(one.fixed),
            "qualifier": one.qualifier,
        }
        for one in there.triggers
    ]  # fmt: skip
    told = ("FunctionArn", "LastModified")
    invoke = {key: value for key, value in (there.event_invoke or {}).items() if key not in told}
    return {
        "configuration": {
            **_EMPTY,
            **{key: there.configuration[key] for key in _CONFIGURATION if key in there.configuration},
        },
        "architecture": (there.configuration.get("Architectures") or [""])[0],
        "tags": dict(there.tags),
        "reserved_concurrency": there.reserved_concurrency,
        "event_invoke": invoke if there.event_invoke is not None else None,
        "notifications": [dict(one) for one in there.notifications],
        "triggers": triggers,
    }


def specs(document: Mapping[str, Any]) -> Iterator[tuple[FunctionSpec, str]]:
    """Each function as it was, and the digest of its code in hex."""
    for name, one in document.get("functions", {}).items():
        yield _spec(name, one), document["code"][name]["digest"]


def _spec(name: str, document: Mapping[str, Any]) -> FunctionSpec:
    return FunctionSpec(
        name=name,
        code=CodeSource(),
        configuration=document["configuration"],
        architecture=document["architecture"],
        reserved_concurrency=document["reserved_concurrency"],
        event_invoke=document["event_invoke"],
        tags=document["tags"],
        notifications=tuple(_notification(one) for one in document["notifications"]),
        triggers=tuple(
            TriggerSpec(Kind(one["kind"]), one["key"], one["key"], one["body"], one["fixed"], one["qualifier"])
            for one in document["triggers"]
        ),
        whole=True,
    )


def _notification(one: Mapping[str, Any]) -> NotificationSpec:
    return NotificationSpec(
        id=one["id"], bucket=one["bucket"], events=tuple(one["events"]), prefix=one.get("prefix") or "",
        suffix=one.get("suffix") or "", qualifier=one.get("qualifier") or "", full_id=one["id"],
    )  # fmt: skip
