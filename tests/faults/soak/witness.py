"""Ask the system what became of everything, with the command line that people have and the API behind it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from tests.faults.soak.evidence import Letter
from tests.installation import Installation

MOST_LOOKED_AT = 200
"""Dead letters that are opened, and stories that are read: one request each."""

Balances = Mapping[str, Mapping[str, Any]]


class Witness:
    """``installation`` has an API that answers."""

    def __init__(self, installation: Installation) -> None:
        self._installation = installation

    def balances(self) -> Balances:
        """``fnrunner audit --json`` by function; its exit status says no more than its figures."""
        found = json.loads(self._installation.command("audit", "--json", check=False).stdout)
        return {one["function"]: one for one in found["functions"]}

    def held(self, function: str) -> list[dict[str, Any]]:
        """``fnrunner dlq ls --json``."""
        found = json.loads(self._installation.command("dlq", "ls", function, "--json").stdout)
        letters: list[dict[str, Any]] = found["dead_letters"]
        return letters

    @staticmethod
    def with_letters(balances: Balances) -> list[str]:
        """The functions that have dead letters."""
        return [name for name, one in balances.items() if one["dead_lettered"] or one["expired"]]

    def letters(self, balances: Balances) -> list[Letter]:
        """Every dead letter that is held; of the first, how many attempts they had."""
        listed = [letter for function in self.with_letters(balances) for letter in self.held(function)]
        return [
            Letter(
                one["event_id"], one["function"], one["reason"], one["error_type"],
                self._attempts(one) if place < MOST_LOOKED_AT else None,
            )
            for place, one in enumerate(listed)
        ]  # fmt: skip

    def redrive(self, balances: Balances) -> None:
        """``fnrunner dlq redrive --all`` of every function that has some."""
        for function in self.with_letters(balances):
            self._installation.command("dlq", "redrive", function, "--all", "--json")

    def stories(self, ids: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
        """The attempts of these events, oldest first; what the books do not know is left out."""
        found = {}
        for event_id in ids[:MOST_LOOKED_AT]:
            answer = self._installation.http.get(f"/fnrunner/v1/events/{event_id}")
            if answer.status_code == 200:
                found[event_id] = [attempt for attempt in answer.json()["attempts"] if attempt["kind"] == "event"]
        return found

    def _attempts(self, letter: Mapping[str, Any]) -> int:
        path = f"functions/{letter['function']}/dead-letters/{letter['event_id']}"
        return len(self._installation.admin(path)["attempts"])
