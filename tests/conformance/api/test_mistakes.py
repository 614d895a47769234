"""Requests made wrong on purpose, from the model: each is a modelled 4xx in Lambda's words, and nothing changes.

``FNRUNNER_TEST_MISTAKES=all`` sends every one of them; otherwise a sample, another in each run.
``-s`` shows how many there were of each operation, and how many had the modelled error.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator

import pytest

from tests.api_server import ApiServer
from tests.conformance.api import mistakes, model
from tests.conformance.api.mistakes import Mistake
from tests.conformance.api.verdict import complaint_about
from tests.conformance.api.wire import send
from tests.conformance.api.world import World

ALL = os.environ.get("FNRUNNER_TEST_MISTAKES") == "all"
SAMPLE = 25
"""Of each operation."""


@pytest.fixture(scope="module", autouse=True)
def tally() -> Iterator[dict[str, tuple[int, int]]]:
    """By operation: how many were sent, and how many gave the modelled error. Printed at the end."""
    found: dict[str, tuple[int, int]] = {}
    yield found
    for name, (sent, right) in sorted(found.items()):
        print(f"{name:40} {sent:5} wrong requests, {right:5} modelled errors")
    sent, right = (sum(one[place] for one in found.values()) for place in (0, 1))
    print(f"{'together':40} {sent:5} wrong requests, {right:5} modelled errors")


def some(wrong: list[Mistake]) -> list[Mistake]:
    return wrong if ALL or len(wrong) <= SAMPLE else random.sample(wrong, SAMPLE)


@pytest.mark.parametrize("name", model.supported())
def test_a_wrong_request_is_a_modelled_4xx_and_changes_nothing(
    name: str, world: World, server: ApiServer, tally: dict[str, tuple[int, int]]
) -> None:
    good = world.good(name)
    before, asked = world.state(), len(server.front.asked)
    complaints, sent = [], 0
    for mistake in some(list(mistakes.of(name, good))):
        params = {key: value for key, value in {**good, **mistake.params}.items() if value is not None}
        sent += 1
        if complaint := complaint_about(mistake, send(world.client, name, params)):
            complaints.append(f"{mistake}: {complaint}")
    tally[name] = sent, sent - len(complaints)
    assert not complaints, f"{len(complaints)} of {sent}:\n" + "\n".join(complaints[:40])
    assert world.state() == before
    assert len(server.front.asked) == asked


def test_the_model_has_thousands_of_mistakes() -> None:
    count = sum(len(list(mistakes.of(name, {}))) for name in model.supported())
    print(f"{count} mistakes of {len(model.supported())} operations")
    assert count > 3_000
