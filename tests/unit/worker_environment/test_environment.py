"""The environment over a sandbox that starts no process: what it decides, without I/O beyond pipes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from fnrunner.model.invocation import Invocation, SystemFault
from fnrunner.runtimes.python import PythonRuntime
from fnrunner.runtimes.runtime import Layout
from fnrunner.sandbox.sandbox import Command, SandboxProcess, SandboxReport, SandboxUnavailable
from fnrunner.worker.environment import Environment, EnvironmentState, InvalidTransition
from tests.unit.worker_environment.spec import SPEC

INVOCATION = Invocation("1", b"{}", 0, "arn")


class BrokenSandbox:
    """No process can be started in it."""

    def describe(self) -> SandboxReport:
        return SandboxReport("broken", 0, False, False, "", "")

    def sweep(self) -> int:
        return 0

    def layout(
        self,
        environment_id: str,
        *,
        code_directory: str,
        runtime_directory: str,
        interpreter: str,
        layers_directory: str = "",
    ) -> Layout:
        return Layout(code_directory, runtime_directory, "/t")

    async def start(self, command: Command) -> SandboxProcess:
        raise SandboxUnavailable


class AnyPython(PythonRuntime):
    def interpreter(self, name: str) -> str:
        return "/python"


def make() -> Environment:
    return Environment(
        SPEC,
        BrokenSandbox(),
        AnyPython(),
        cold_reason="first",
        clock=lambda: 100.0,
        now=lambda: datetime(2026, 1, 2, tzinfo=UTC),
    )


def test_the_log_stream_is_named_as_lambda_names_it() -> None:
    environment = make()
    assert environment.log_stream == f"2026/01/02/[7]{environment.environment_id}"
    assert len(environment.environment_id) == 32


async def test_a_sandbox_that_cannot_start_is_raised_and_the_environment_is_gone() -> None:
    environment = make()
    with pytest.raises(SandboxUnavailable, match="Run `fnrunner doctor`"):
        await environment.start()
    assert environment.state is EnvironmentState.GONE
    answer = await environment.invoke(INVOCATION)
    assert isinstance(answer.outcome, SystemFault)


async def test_an_environment_that_never_started_can_be_stopped_twice() -> None:
    environment = make()
    await environment.stop()
    await environment.stop(timedelta(seconds=1))
    assert environment.state is EnvironmentState.GONE
    with pytest.raises(InvalidTransition):
        await environment.start()


async def test_invoking_before_the_start_is_a_bug_of_the_caller() -> None:
    environment = make()
    with pytest.raises(InvalidTransition):
        await environment.invoke(INVOCATION)
    await environment.stop()


def test_the_runtime_version_is_the_runtimes_name_until_it_runs() -> None:
    environment = make()
    assert environment.runtime_version == "python3.11"
    environment._version = "3.11.7"
    assert environment.runtime_version == "python:3.11.v7"
