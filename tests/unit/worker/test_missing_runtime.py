"""A runtime that is missing is a line in the log: only what nobody foresaw has a traceback."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from typing import Any, cast

import pytest

from fnrunner.model.arn import Home
from fnrunner.model.invocation import SystemFault
from fnrunner.runtimes.runtime import RuntimeUnavailable
from fnrunner.worker.execution import Execution, Kind
from fnrunner.worker.invoker import Invoker


class Named:
    """Stands for the function: nothing but its name is looked at."""

    name = "hello"


class Specs:
    async def of(self, function: object) -> object:
        return function


class Pool:
    def __init__(self, error: Exception) -> None:
        self.error = error

    async def take(self, spec: object, *, kept: bool) -> object:
        raise self.error


async def run(error: Exception) -> Execution:
    nothing: Any = None
    invoker = Invoker(
        pool=cast(Any, Pool(error)), specs=cast(Any, Specs()), ledger=nothing, tracing=nothing, home=Home(),
        now=lambda: datetime(2026, 1, 1, tzinfo=UTC),
    )  # fmt: skip
    return await invoker.run(Execution(nothing, Kind.EVENT, nothing, nothing, 0, function=cast(Any, Named())))


async def test_a_runtime_that_is_missing_is_one_line(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        done = await run(RuntimeUnavailable("python3.14 is not on this host"))
    assert done.answer is not None
    assert done.answer.outcome == SystemFault("RuntimeUnavailable", "python3.14 is not on this host")
    assert caplog.messages == ["no environment for hello: python3.14 is not on this host"]
    assert caplog.records[0].exc_info is None


async def test_what_nobody_foresaw_has_its_traceback(caplog: pytest.LogCaptureFixture) -> None:
    done = await run(ValueError("odd"))
    assert done.answer is not None
    assert done.answer.outcome == SystemFault("ValueError", "odd")
    assert caplog.records[0].exc_info is not None
