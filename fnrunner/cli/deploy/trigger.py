"""What invokes a function, as it is wanted and as it is there, and the steps in between. Pure.

Each kind of trigger has a key that names it within its function, and a body in the server's shape. What is in ``fixed``
cannot be changed once the trigger is there.

>>> wanted = TriggerSpec(Kind.MAPPING, "Q", "arn:q", {"BatchSize": 5})
>>> there = TriggerThere(Kind.MAPPING, "arn:q", "id", {"BatchSize": 10})
>>> [(step.action, [str(change) for change in step.changes]) for step in plan_triggers([wanted], [there])]
[('update', ['Events.Q.BatchSize: 10 -> 5'])]
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from fnrunner.cli.error import UsageFault


class Kind(Enum):
    """In the order in which they are applied; what a person calls them."""

    URL = "function URL"
    MAPPING = "event source mapping"
    SUBSCRIPTION = "topic subscription"
    SCHEDULE = "schedule"


@dataclass(frozen=True, slots=True)
class TriggerSpec:
    """``name`` is what the template calls it. ``qualifier`` is the version or alias that it invokes; empty: none."""

    kind: Kind
    name: str
    key: str
    body: Mapping[str, Any]
    fixed: Mapping[str, Any] = field(default_factory=dict)
    qualifier: str = ""


@dataclass(frozen=True, slots=True)
class TriggerThere:
    """One that the server has; ``id`` is the server's. Its body has the keys that a wanted one has, with their defaults."""

    kind: Kind
    key: str
    id: str
    body: Mapping[str, Any]
    fixed: Mapping[str, Any] = field(default_factory=dict)
    qualifier: str = ""


@dataclass(frozen=True, slots=True)
class Change:
    """One key, before and after, as texts to show; None: not there. Values of environment variables are never shown."""

    key: str
    old: str | None
    new: str | None

    def __str__(self) -> str:
        return f"{self.key}: {'-' if self.old is None else self.old} -> {'-' if self.new is None else self.new}"


@dataclass(frozen=True, slots=True)
class TriggerStep:
    """``action`` is create (``there`` None), update, or remove (``wanted`` None)."""

    action: str
    changes: tuple[Change, ...]
    wanted: TriggerSpec | None = None
    there: TriggerThere | None = None

    @property
    def about(self) -> str:
        """What it is about, for messages."""
        one = self.wanted or self.there
        return f"{one.kind.value} {one.key}".rstrip() if one else ""


class CannotChange(UsageFault):
    """Something is to be different that can only be made anew."""

    def __init__(self, wanted: TriggerSpec, there: TriggerThere, key: str, old: object, new: object) -> None:
        super().__init__(
            f"{wanted.name}: {key} of the {wanted.kind.value} {there.id} is {shown(old)} and cannot become {shown(new)}",
            f"Leave it as it was, or remove it with `fnrunner mapping rm {there.id}` and deploy again: it then starts anew.",
        )


def plan_triggers(wanted: Iterable[TriggerSpec], there: Iterable[TriggerThere]) -> tuple[TriggerStep, ...]:
    """What makes ``there`` into ``wanted``: removals first, so that what moves does not meet itself. Raises CannotChange."""
    known = {identity(one): one for one in there}
    specs = {identity(spec): spec for spec in wanted}
    gone = [
        TriggerStep("remove", (Change(f"Events.{one.key}", one.kind.value, None),), there=one)
        for key, one in known.items()
        if key not in specs
    ]
    order = list(Kind)
    steps = [_step(spec, known.get(key)) for key, spec in specs.items()]
    kept = [step for step in steps if step is not None]
    return (*gone, *sorted(kept, key=lambda step: order.index(step.wanted.kind) if step.wanted else 0))


def identity(one: TriggerSpec | TriggerThere) -> tuple[Kind, str, str]:
    """What names it. A function URL and a subscription are those of one version or alias; others can be led to another."""
    bound = one.kind in (Kind.URL, Kind.SUBSCRIPTION)
    return one.kind, one.key, one.qualifier if bound else ""


def _step(spec: TriggerSpec, there: TriggerThere | None) -> TriggerStep | None:
    if there is None:
        return TriggerStep("create", (Change(f"Events.{spec.name}", None, f"{spec.kind.value} {spec.key}"),), spec)
    for key in spec.fixed:
        if spec.fixed[key] != there.fixed.get(key):
            raise CannotChange(spec, there, key, there.fixed.get(key), spec.fixed[key])
    old, new = dict(flat(there.body)), dict(flat(spec.body))
    if spec.kind is Kind.MAPPING:
        for key, value in new.items():
            if value is None and old.get(key) is not None:
                raise CannotChange(spec, there, key, old[key], "its default")
    keys = [*new, *(key for key in old if key not in new)]
    moved = (Change(f"Events.{spec.name}.Qualifier", shown(there.qualifier), shown(spec.qualifier)),)
    changes = (moved if there.qualifier != spec.qualifier else ()) + tuple(
        Change(f"Events.{spec.name}.{key}", shown(old.get(key)), shown(new.get(key)))
        for key in keys
        if old.get(key) != new.get(key)
    )
    return TriggerStep("update", changes, spec, there) if changes else None


def flat(document: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every value that is no mapping, under its path.

    >>> list(flat({"a": {"b": 1}, "c": [2]}))
    [('a.b', 1), ('c', [2])]
    """
    for key, value in document.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def shown(value: object) -> str | None:
    """A value as a text; None for nothing."""
    if value is None or value == "":
        return None
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True)
