"""The state of an event source mapping, from what the user asked for and what the pollers have told. Pure.

The mapping says what is wanted (enabled, deleting) and counts its revisions; pollers tell which revision they follow.
In between is a transition. One that nobody takes up says so, since then no sources process runs.

Source: Lambda API, EventSourceMappingConfiguration: State, StateTransitionReason, LastProcessingResult.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sources.mapping import EventSourceMapping, Kind
from sources.shard_place import NONE_YET, OK

PATIENCE = timedelta(seconds=15)
"""How long a transition takes at most where a sources process runs."""


@dataclass(frozen=True, slots=True)
class MappingState:
    """``state`` and ``reason`` as Lambda names them. ``transition``: a change is on its way; ``stalled``: nobody takes it
    up. ``seen``: a poller has had the mapping."""

    state: str
    reason: str
    transition: bool
    stalled: bool
    seen: bool

    @property
    def busy(self) -> bool:
        """Changing it must wait. A transition that nobody takes up keeps nobody waiting."""
        return self.state == "Deleting" or (self.transition and not self.stalled)


def state_of(mapping: EventSourceMapping, told: Mapping[str, Any] | None, now: datetime) -> MappingState:
    """``told`` is the pollers' document; None before the first.

    >>> from datetime import UTC
    >>> at = datetime(2026, 1, 1, tzinfo=UTC)
    >>> mapping = EventSourceMapping("u", "f", source_arn="arn:aws:sqs:us-east-1:000000000000:q", last_modified=at)
    >>> state_of(mapping, None, at).state, state_of(mapping, {"revision": 1, "state": "Enabled"}, at).state
    ('Creating', 'Enabled')
    """
    settled = told is not None and told["revision"] >= mapping.revision and not mapping.deleting
    waited = now - mapping.last_modified
    stalled = not settled and waited > PATIENCE
    if settled and told is not None:
        return MappingState(str(told["state"]), told.get("reason") or user_action(mapping.kind), False, False, True)
    reason = _nobody(waited) if stalled else user_action(mapping.kind)
    return MappingState(_moving(mapping, told), reason, True, stalled, told is not None)


def user_action(kind: Kind) -> str:
    """Why a state changed when a user asked for it, in the words of each service."""
    return "User action" if kind in (Kind.KINESIS, Kind.DYNAMODB) else "USER_INITIATED"


def processing_result(positions: Iterable[Mapping[str, Any]]) -> str:
    """Of all shards together: a problem of one is the mapping's.

    >>> processing_result([{"result": "OK"}, {"result": "PROBLEM: Function call failed"}])
    'PROBLEM: Function call failed'
    >>> processing_result([{}, {"result": "OK"}]), processing_result([])
    ('OK', 'No records processed')
    """
    results = {str(position.get("result") or NONE_YET) for position in positions}
    if problems := sorted(results - {OK, NONE_YET}):
        return problems[0]
    return OK if OK in results else NONE_YET


def _moving(mapping: EventSourceMapping, told: Mapping[str, Any] | None) -> str:
    if mapping.deleting:
        return "Deleting"
    if told is None:
        return "Creating"
    if mapping.enabled == (told["state"] == "Enabled"):
        return "Updating"
    return "Enabling" if mapping.enabled else "Disabling"


def _nobody(waited: timedelta) -> str:
    return (
        f"No sources process has taken this up for {int(waited.total_seconds())} s: start one with `fnrunner sources` "
        "or `fnrunner dev`, or look at its log"
    )
