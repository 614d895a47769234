"""A function that fills its /tmp: it is told, it goes on once it has deleted something, and nobody else notices."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from fnrunner.model.invocation import FunctionError, Succeeded
from fnrunner.sandbox import temporary
from fnrunner.worker.environment import Environment, EnvironmentState
from tests.integration.environment_kit import Kit, invocation, kit

SIZE_MB = 24
FILL = """
import errno, os, resource, subprocess, tempfile, time
HERE = tempfile.gettempdir()
open_files = []
def block():
    return os.urandom(1 << 20)
def write(count, many, hide):
    written, data = 0, block()
    for number in range(count):
        path = f"{HERE}/f{number if many else 0}-{len(open_files)}"
        file = open(path, "ab", buffering=0)
        if hide:
            open_files.append(file)
            os.unlink(path)
        try:
            if file.write(data) < len(data):
                file.write(data)
            written += 1
        except OSError as error:
            return [written, errno.errorcode[error.errno]]
        time.sleep(0.02)
    return [written, ""]
def handler(event, context):
    if event.get("delete"):
        for file in open_files:
            file.close()
        open_files.clear()
        for name in os.listdir(HERE):
            os.unlink(f"{HERE}/{name}")
        time.sleep(1)
    if event.get("raise_limit"):
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.getrlimit(resource.RLIMIT_FSIZE)[1],) * 2)
        data = block()
        while True:
            resource.setrlimit(resource.RLIMIT_FSIZE, (resource.getrlimit(resource.RLIMIT_FSIZE)[1],) * 2)
            try:
                open(f"{HERE}/g{time.time_ns()}", "wb").write(data)
            except OSError:
                pass
    return write(event.get("count", 0), event.get("many", True), event.get("hide", False))
"""


@pytest.fixture(params=["namespace", "full", "bare"])
async def made(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Kit]:
    async with kit(request.param, tmp_path) as made:
        yield made


@pytest.fixture
async def full(tmp_path: Path) -> AsyncIterator[Kit]:
    """For what does not depend on the sandbox."""
    async with kit("full", tmp_path) as made:
        yield made


async def filling(made: Kit) -> Environment:
    return await made.started(FILL, ephemeral_storage_mb=SIZE_MB, memory_mb=256, timeout=timedelta(seconds=60))


async def said(environment: Environment, **event: Any) -> Any:
    outcome = (await environment.invoke(invocation(json.dumps(event).encode()))).outcome
    assert isinstance(outcome, Succeeded), outcome
    return json.loads(outcome.payload)


@pytest.mark.parametrize("hide", [False, True], ids=["files", "deleted files"])
async def test_many_files_together_are_bounded_and_deleting_helps(made: Kit, hide: bool) -> None:
    environment = await filling(made)
    written, error = await said(environment, count=400, hide=hide)
    assert error == "EFBIG"
    assert SIZE_MB <= written < 350
    again, error = await said(environment, count=1)
    assert (again, error) == (0, "EFBIG"), "it stays so in the next invocation"
    assert await said(environment, delete=True, count=5) == [5, ""]
    assert environment.state is EnvironmentState.IDLE


async def test_a_single_file_is_bounded_exactly(full: Kit) -> None:
    environment = await filling(full)
    written, error = await said(environment, count=SIZE_MB + 5, many=False)
    assert error == "EFBIG"
    assert written <= SIZE_MB


async def test_others_write_on_meanwhile(full: Kit) -> None:
    filled, other = await filling(full), await filling(full)
    assert (await said(filled, count=400))[1] == "EFBIG"
    assert await said(other, count=5) == [5, ""]


async def test_one_that_raises_the_limit_itself_is_ended(full: Kit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(temporary, "FAR_OVER_MB", 16)
    environment = await filling(full)
    answer = await environment.invoke(invocation(b'{"raise_limit": true}'))
    assert isinstance(answer.outcome, FunctionError)
    assert answer.outcome.error_type == "Runtime.ExitError"
    assert environment.state is EnvironmentState.GONE
