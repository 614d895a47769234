"""Requests made wrong on purpose, from the model: each is a modelled 4xx in Lambda's words, and nothing changes.

Where callers have to sign, whoever may do everything is answered the same, and whoever may do nothing is told only that.

``FNRUNNER_TEST_MISTAKES=all`` sends every one of them, to both; otherwise a sample, another in each run.
``-s`` shows how many there were of each operation, and how many had the modelled error.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator

import httpx
import pytest

from tests.api_server import ApiServer
from tests.conformance.api import mistakes, model
from tests.conformance.api.mistakes import Mistake
from tests.conformance.api.verdict import complaint_about, complaint_of_a_stranger
from tests.conformance.api.wire import send
from tests.conformance.api.world import World
from tests.iam_kit import Site

ALL = os.environ.get("FNRUNNER_TEST_MISTAKES") == "all"
SAMPLE = 25
"""Of each operation."""
SIGNED_SAMPLE = 2
"""Of each operation, where requests are signed."""

OPEN = ("GetLayerVersion", "GetLayerVersionByArn")
"""What the layer's own policy lets everybody do."""

Tally = dict[str, tuple[int, int]]


def tallied(who: str) -> Iterator[Tally]:
    """By operation: how many were sent, and how many gave the modelled error. Printed at the end."""
    found: Tally = {}
    yield found
    for name, (sent, right) in sorted(found.items()):
        print(f"{who}{name:40} {sent:5} wrong requests, {right:5} modelled errors")
    sent, right = (sum(one[place] for one in found.values()) for place in (0, 1))
    print(f"{who}{'together':40} {sent:5} wrong requests, {right:5} modelled errors")


@pytest.fixture(scope="module")
def tally() -> Iterator[Tally]:
    yield from tallied("")


@pytest.fixture(scope="module")
def signed_tally() -> Iterator[Tally]:
    yield from tallied("signed, permitted: ")


@pytest.fixture(scope="module")
def strange_tally() -> Iterator[Tally]:
    yield from tallied("signed, not permitted: ")


def some(wrong: list[Mistake], count: int = SAMPLE) -> list[Mistake]:
    return wrong if ALL or len(wrong) <= count else random.sample(wrong, count)


def complaints_of(name: str, world: World, tally: Tally, count: int) -> list[str]:
    """Of the requests that were made wrong: those that were not answered as they should be."""
    good = world.good(name)
    complaints, sent = [], 0
    for mistake in some(list(mistakes.of(name, good)), count):
        params = {key: value for key, value in {**good, **mistake.params}.items() if value is not None}
        sent += 1
        if complaint := complaint_about(mistake, send(world.client, name, params)):
            complaints.append(f"{mistake}: {complaint}")
    tally[name] = sent, sent - len(complaints)
    return complaints


@pytest.mark.parametrize("name", model.supported())
def test_a_wrong_request_is_a_modelled_4xx_and_changes_nothing(
    name: str, world: World, server: ApiServer, tally: Tally
) -> None:
    before, asked = world.state(), len(server.front.asked)
    complaints = complaints_of(name, world, tally, SAMPLE)
    assert not complaints, f"{len(complaints)} of {tally[name][0]}:\n" + "\n".join(complaints[:40])
    assert world.state() == before
    assert len(server.front.asked) == asked


def test_who_signs_and_may_do_everything_is_answered_the_same(
    guarded: Site, guarded_world: World, signed_tally: Tally
) -> None:
    before, asked = guarded_world.state(), len(guarded.server.front.asked)
    for name in model.supported():
        complaints = complaints_of(name, guarded_world, signed_tally, SIGNED_SAMPLE)
        assert not complaints, f"{len(complaints)} of {signed_tally[name][0]}:\n" + "\n".join(complaints[:40])
    assert guarded_world.state() == before
    assert len(guarded.server.front.asked) == asked


def test_who_signs_and_may_do_nothing_is_told_only_that(
    guarded: Site, guarded_world: World, stranger: httpx.Client, strange_tally: Tally
) -> None:
    before, asked = guarded_world.state(), len(guarded.server.front.asked)
    complaints = []
    for name in model.supported():
        good, sent, wrong = guarded_world.good(name), 0, 0
        for mistake in some(list(mistakes.of(name, good)), SIGNED_SAMPLE):
            params = {key: value for key, value in {**good, **mistake.params}.items() if value is not None}
            complaint = complaint_of_a_stranger(send(stranger, name, params))
            sent, wrong = sent + 1, wrong + bool(complaint)
            complaints += [f"{mistake}: {complaint}"] if complaint else []
        strange_tally[name] = sent, sent - wrong
    assert not complaints, f"{len(complaints)}:\n" + "\n".join(complaints[:40])
    assert guarded_world.state() == before
    assert len(guarded.server.front.asked) == asked


def test_who_may_do_nothing_does_not_learn_what_there_is(guarded_world: World, stranger: httpx.Client) -> None:
    for name in OPEN:
        assert send(stranger, name, guarded_world.good(name)).status_code == 200
    for name in (name for name in model.supported() if name not in OPEN):
        good = guarded_world.good(name)
        there = send(stranger, name, good)
        missing = {
            key: value.replace(":f", ":q").replace("layer", "absent") if isinstance(value, str) else value
            for key, value in good.items()
        } | {key: "q" for key in ("FunctionName", "LayerName", "Name") if key in good}
        absent = send(stranger, name, missing)
        assert complaint_of_a_stranger(there) == complaint_of_a_stranger(absent) == "", name
        told = [answer.json()["Message"].partition(" on resource: ") for answer in (there, absent)]
        assert told[0][0] == told[1][0]
        reasons = [rest.partition(" because ")[2] for _, _, rest in told]
        assert reasons[0] == reasons[1] != "", name


def test_the_model_has_thousands_of_mistakes() -> None:
    count = sum(len(list(mistakes.of(name, {}))) for name in model.supported())
    print(f"{count} mistakes of {len(model.supported())} operations")
    assert count > 3_000
