"""Triggers as the server has them, and what it takes to change them: one class for each kind."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Mapping
from datetime import timedelta
from typing import Any, Protocol

from fnrunner.cli.client import ADMIN, MAPPINGS, Client, segment
from fnrunner.cli.deploy import conversion
from fnrunner.cli.deploy.trigger import Kind, TriggerSpec, TriggerStep, TriggerThere
from fnrunner.cli.error import CliError, ServerRefused
from fnrunner.cli.url import url_path
from fnrunner.model.arn import FunctionRef

PATIENCE = timedelta(seconds=60)
_IN_USE = "ResourceInUseException"
_CONFLICT = "ResourceConflictException"


class StillInUse(CliError):
    """An event source mapping stayed in a transition for too long."""


class TriggerKind(Protocol):
    def there(self, function: str) -> Iterator[TriggerThere]: ...
    def create(self, function: str, wanted: TriggerSpec) -> None: ...
    def update(self, function: str, wanted: TriggerSpec, there: TriggerThere) -> None: ...
    def remove(self, function: str, there: TriggerThere) -> None: ...


class TriggerServer:
    """``waited`` bounds how long a mapping may be in a transition before it is changed. ``own`` are functions whose
    schedules may be led to another one."""

    def __init__(self, client: Client, waited: timedelta = PATIENCE, own: Collection[str] = ()) -> None:
        self._kinds: Mapping[Kind, TriggerKind] = {
            Kind.URL: FunctionUrls(client),
            Kind.MAPPING: Mappings(client, waited),
            Kind.SUBSCRIPTION: Subscriptions(client),
            Kind.SCHEDULE: Schedules(client, own),
        }

    def there(self, function: str) -> tuple[TriggerThere, ...]:
        """All that invoke the function, besides buckets."""
        return tuple(trigger for kind in self._kinds.values() for trigger in kind.there(function))

    def remove_mappings(self, function: str) -> None:
        """Every event source mapping of a function, which goes when its poller has let go."""
        for there in self._kinds[Kind.MAPPING].there(function):
            self._kinds[Kind.MAPPING].remove(function, there)

    def apply(self, function: str, step: TriggerStep) -> None:
        match step:
            case TriggerStep(wanted=TriggerSpec() as wanted, there=None):
                self._kinds[wanted.kind].create(function, wanted)
            case TriggerStep(wanted=TriggerSpec() as wanted, there=TriggerThere() as there):
                self._kinds[wanted.kind].update(function, wanted, there)
            case TriggerStep(wanted=None, there=TriggerThere() as there):
                self._kinds[there.kind].remove(function, there)


class Mappings:
    """Event source mappings. One that is being deleted counts as gone; whoever makes it anew waits until it is."""

    def __init__(self, client: Client, waited: timedelta) -> None:
        self._client = client
        self._waited = waited

    def there(self, function: str) -> Iterator[TriggerThere]:
        for found in self._client.get(f"{ADMIN}/mappings", function=function)["mappings"]:
            answer = found["mapping"]
            if answer["State"] != "Deleting":
                yield _mapping(answer, found["enabled"])

    def create(self, function: str, wanted: TriggerSpec) -> None:
        body = {key: value for key, value in wanted.body.items() if value is not None}
        document = {
            "FunctionName": _qualified(function, wanted.qualifier), **conversion.mapping_parameters(wanted.key),
            **body, **wanted.fixed,
        }  # fmt: skip
        self._patiently(lambda: self._client.send("POST", MAPPINGS, document), _CONFLICT, deleting=wanted.key)

    def update(self, function: str, wanted: TriggerSpec, there: TriggerThere) -> None:
        old = there.body
        changed = {key: value for key, value in wanted.body.items() if value != old.get(key) and value is not None}
        if wanted.qualifier != there.qualifier:
            changed["FunctionName"] = _qualified(function, wanted.qualifier)
        path = MAPPINGS + segment(there.id)
        self._patiently(lambda: self._client.send("PUT", path, changed), _IN_USE)

    def remove(self, function: str, there: TriggerThere) -> None:
        path = MAPPINGS + segment(there.id)
        self._patiently(lambda: self._client.call("DELETE", path), _IN_USE)

    def _patiently(self, call: Any, code: str, *, deleting: str = "") -> None:
        """Try again while the server says that the mapping is changing. Raises ServerRefused, StillInUse."""
        deadline, pause = time.monotonic() + self._waited.total_seconds(), 0.1
        while True:
            try:
                call()
                return
            except ServerRefused as error:
                if error.code != code or (deleting and not self._is_going(deleting)):
                    raise
                if time.monotonic() > deadline:
                    raise StillInUse(
                        f"An event source mapping has been changing for {self._waited.total_seconds():g} s: {error}",
                        "Is there a sources process? `fnrunner mapping ls` shows states, `fnrunner doctor` what runs.",
                    ) from error
            time.sleep(pause)
            pause = min(2 * pause, 1.0)

    def _is_going(self, key: str) -> bool:
        found = self._client.get(f"{ADMIN}/mappings")["mappings"]
        return any(
            one["mapping"]["State"] == "Deleting" and conversion.mapping_key(one["mapping"]) == key for one in found
        )


def _mapping(answer: Mapping[str, Any], enabled: bool) -> TriggerThere:
    defaults = conversion.DEFAULTS[conversion.service_of(answer)]
    body = {key: answer.get(key, default) for key, default in defaults.items()} | {"Enabled": enabled}
    fixed = {key: answer[key] for key in ("StartingPosition", "StartingPositionTimestamp") if key in answer}
    if conversion.GROUP in answer:
        fixed[conversion.GROUP] = answer[conversion.GROUP]
    qualifier = FunctionRef.parse(answer["FunctionArn"]).qualifier
    return TriggerThere(Kind.MAPPING, conversion.mapping_key(answer), answer["UUID"], body, fixed, qualifier)


def _qualified(function: str, qualifier: str) -> str:
    return f"{function}:{qualifier}" if qualifier else function


class Schedules:
    """By name. One of that name that invokes another function stays as it is, and is refused."""

    _TOLD = ("expression", "timezone", "input", "description", "enabled", "start", "end", "flexible_window_s")

    def __init__(self, client: Client, own: Collection[str]) -> None:
        self._client = client
        self._own = own

    def there(self, function: str) -> Iterator[TriggerThere]:
        for found in self._client.get(f"{ADMIN}/schedules", function=function)["schedules"]:
            body = {key: found[key] for key in self._TOLD}
            qualifier = found["qualifier"]
            yield TriggerThere(Kind.SCHEDULE, found["name"], found["name"], body, qualifier=qualifier)

    def create(self, function: str, wanted: TriggerSpec) -> None:
        path = f"{ADMIN}/schedules/{segment(wanted.key)}"
        known = self._client.find(path)
        if known and known["function"] != function and known["function"] not in self._own:
            raise CliError(
                f"The schedule {wanted.key} is there and invokes {known['function']}",
                "Give this one another Name, or remove that one with `fnrunner schedule rm`.",
            )
        self._client.send("PUT", path, {"function": function, "qualifier": wanted.qualifier, **wanted.body})

    def update(self, function: str, wanted: TriggerSpec, there: TriggerThere) -> None:
        path = f"{ADMIN}/schedules/{segment(wanted.key)}"
        # a template cannot say it, and putting replaces the whole
        kept = {"catch_up": self._client.get(path)["catch_up"]}
        self._client.send("PUT", path, {"function": function, "qualifier": wanted.qualifier, **kept, **wanted.body})

    def remove(self, function: str, there: TriggerThere) -> None:
        self._client.call("DELETE", f"{ADMIN}/schedules/{segment(there.id)}")


class Subscriptions:
    """By topic."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def there(self, function: str) -> Iterator[TriggerThere]:
        for found in self._client.get(f"{ADMIN}/subscriptions", function=function)["subscriptions"]:
            body = {"filter_policy": _canonical(found["filter_policy"]), "filter_scope": found["filter_scope"]}
            qualifier = found["qualifier"]
            yield TriggerThere(Kind.SUBSCRIPTION, found["topic"], found["id"], body, qualifier=qualifier)

    def create(self, function: str, wanted: TriggerSpec) -> None:
        path = f"{ADMIN}/topics/{segment(wanted.key)}/subscriptions"
        self._client.send("PUT", path, {"function": function, "qualifier": wanted.qualifier, **wanted.body})

    def update(self, function: str, wanted: TriggerSpec, there: TriggerThere) -> None:
        self.create(function, wanted)

    def remove(self, function: str, there: TriggerThere) -> None:
        self._client.call("DELETE", f"{ADMIN}/subscriptions/{segment(there.id)}")


def _canonical(policy: str | None) -> str | None:
    import json

    return None if policy is None else conversion.canonical(json.loads(policy))


class FunctionUrls:
    """A function has one URL, or none; each of its aliases may have one too."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def there(self, function: str) -> Iterator[TriggerThere]:
        for found in self._every(function):
            body = {
                "AuthType": found["AuthType"],
                "InvokeMode": found.get("InvokeMode", "BUFFERED"),
                "Cors": found.get("Cors") or {},
            }
            qualifier = FunctionRef.parse(found["FunctionArn"]).qualifier
            yield TriggerThere(Kind.URL, "", found["FunctionUrl"], body, qualifier=qualifier)

    def _every(self, function: str) -> Iterator[dict[str, Any]]:
        """None of a function that is not there."""
        marker: str | None = None
        while page := self._client.find(url_path(function) + "s", Marker=marker):
            yield from page["FunctionUrlConfigs"]
            if not (marker := page.get("NextMarker")):
                return

    def create(self, function: str, wanted: TriggerSpec) -> None:
        body = {key: value for key, value in wanted.body.items() if value}
        self._client.send("POST", url_path(function), body, query=_qualifier(wanted.qualifier))

    def update(self, function: str, wanted: TriggerSpec, there: TriggerThere) -> None:
        self._client.send("PUT", url_path(function), dict(wanted.body), query=_qualifier(wanted.qualifier))

    def remove(self, function: str, there: TriggerThere) -> None:
        self._client.call("DELETE", url_path(function), query=_qualifier(there.qualifier))


def _qualifier(qualifier: str) -> dict[str, str | int | None]:
    return {"Qualifier": qualifier or None}
