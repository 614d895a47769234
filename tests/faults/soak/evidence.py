"""What the system says of itself once all is quiet: its audit, its dead letters, the stories of some events."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.faults.soak.fault import Struck


@dataclass(frozen=True, slots=True)
class Letter:
    """A dead letter before anything was redriven. ``attempts`` as its envelope tells them; None: not looked at."""

    event_id: str
    function: str
    reason: str
    error_type: str
    attempts: int | None = None


@dataclass(frozen=True, slots=True)
class Evidence:
    """``before`` and ``after`` are the audit's balances by function, before and after the redrive.

    ``stories`` are the attempts, in order, of the events that were looked up. ``left`` are dead letters that are still held
    after the redrive.
    """

    faults: Sequence[Struck] = ()
    letters: Sequence[Letter] = ()
    before: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    after: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    stories: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)
    left: Sequence[str] = ()
