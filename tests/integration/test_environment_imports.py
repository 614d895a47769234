"""What an initialisation imported is measured, told, and seen by nobody inside."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from fnrunner.model.invocation import FunctionError, Succeeded
from tests.integration.environment_kit import Kit, invocation, kit


@pytest.fixture(params=["namespace", "bare"])
async def made(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Kit]:
    async with kit(request.param, tmp_path) as made:
        yield made


def write(made: Kit, path: str, text: str) -> None:
    place = made.code / path
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(text)


async def test_each_package_is_charged_with_its_own_time(made: Kit) -> None:
    write(made, "slow/__init__.py", "from . import part\n")
    write(made, "slow/part.py", "import time\ntime.sleep(0.05)\nimport slower\n")
    write(made, "slower.py", "import time\ntime.sleep(0.1)\n")
    environment = await made.started("import slow\ndef handler(event, context): return None")
    first, second = [(await environment.invoke(invocation())).report for _ in range(2)]
    found = json.loads(first.imports)
    times = dict(found["imports"])
    assert [name for name, _ in found["imports"]][:2] == ["slower", "slow"]
    assert 100 <= times["slower"] < 10_000
    assert 50 <= times["slow"] < times["slower"] + 50
    assert found["modules"] >= 3 or found["copied"]
    assert second.imports == ""


async def test_the_import_statement_is_the_interpreters_own_again(made: Kit) -> None:
    environment = await made.started("import builtins\ndef handler(event, context): return repr(builtins.__import__)")
    answer = await environment.invoke(invocation())
    assert answer.outcome == Succeeded(b'"<built-in function __import__>"')


async def test_a_function_may_put_its_own_import_in_place(made: Kit) -> None:
    environment = await made.started(
        """
        import builtins
        found = builtins.__import__
        def mine(*arguments, **named):
            return found(*arguments, **named)
        builtins.__import__ = mine
        import colorsys
        def handler(event, context):
            import string
            return [builtins.__import__ is mine, string.digits]
        """
    )
    assert (await environment.invoke(invocation())).outcome == Succeeded(b'[true, "0123456789"]')


async def test_a_stack_trace_of_an_import_has_no_frame_of_the_measurement(made: Kit) -> None:
    write(made, "broken.py", "raise ValueError('no')\n")
    environment = await made.started("import broken\ndef handler(event, context): return None")
    outcome = (await environment.invoke(invocation())).outcome
    assert isinstance(outcome, FunctionError)
    trace = json.loads(outcome.payload)["stackTrace"]
    assert "python_imports" not in "".join(trace)
    assert [line.strip().split(",")[0] for line in trace][-1] == 'File "/var/task/broken.py"'
