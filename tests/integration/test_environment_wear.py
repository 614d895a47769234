"""An environment that keeps more and more memory is replaced before it has none left."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from fnrunner.model.invocation import FunctionError, Succeeded
from tests.integration.environment_kit import Kit, invocation, kit

LEAK = """
kept = []
def handler(event, context):
    kept.append(b"x" * (event["keep_mb"] << 20))
    passing = b"x" * (event.get("pass_mb", 0) << 20)
    return len(kept)
"""


@pytest.fixture(params=["namespace", "full"])
async def made(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Kit]:
    async with kit(request.param, tmp_path) as made:
        yield made


async def test_what_it_keeps_counts_after_several_invocations(made: Kit) -> None:
    environment = await made.started(LEAK, memory_mb=256, timeout=timedelta(seconds=20))
    assert isinstance((await environment.invoke(invocation(b'{"keep_mb": 215}'))).outcome, Succeeded)
    assert not environment.outgrown
    for _ in range(2):
        assert isinstance((await environment.invoke(invocation(b'{"keep_mb": 0}'))).outcome, Succeeded)
    assert environment.outgrown


async def test_what_it_gives_back_does_not_count(made: Kit) -> None:
    environment = await made.started(LEAK, memory_mb=256, timeout=timedelta(seconds=20))
    for _ in range(4):
        answer = await environment.invoke(invocation(b'{"keep_mb": 1, "pass_mb": 205}'))
        assert isinstance(answer.outcome, Succeeded)
        assert answer.report.max_memory_mb > 180
    assert not environment.outgrown


async def test_what_goes_over_the_limit_at_once_is_out_of_memory_as_ever(made: Kit) -> None:
    environment = await made.started(LEAK, memory_mb=128, timeout=timedelta(seconds=20))
    outcome = (await environment.invoke(invocation(b'{"keep_mb": 200}'))).outcome
    assert isinstance(outcome, FunctionError)
    assert environment.out_of_memory
