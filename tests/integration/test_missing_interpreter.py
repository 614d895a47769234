"""A function whose interpreter is missing: run by another version where that is allowed, and warned of when it is deployed."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import insert

from fnrunner.cli.main import run
from fnrunner.model.invocation import Succeeded
from fnrunner.runtimes.python import MOST_MINORS_AWAY, OLDEST_MINOR, PythonRuntime
from fnrunner.runtimes.runtime import RuntimeUnavailable
from fnrunner.store.schema import process, worker
from fnrunner.worker.environment import Environment
from tests.api_server import ApiServer
from tests.integration.environment_kit import invocation, kit, make_spec

RUNNING = sys.version_info.minor
NEAR = range(max(OLDEST_MINOR, RUNNING - MOST_MINORS_AWAY), RUNNING + MOST_MINORS_AWAY + 1)
SOURCE = """\
import os, sys
def handler(event, context):
    return [sys.version.split()[0], os.environ["AWS_EXECUTION_ENV"]]
"""


def runtime_of(nowhere: Path, *, lets_stand_in: bool) -> PythonRuntime:
    """One that finds the interpreter of these tests, and hardly another."""
    return PythonRuntime(path=str(nowhere), pyenv_root=nowhere, lets_stand_in=lets_stand_in)


def missing(nowhere: Path) -> str:
    there = runtime_of(nowhere, lets_stand_in=False).available()
    if (name := next((name for name in (f"python3.{minor}" for minor in NEAR) if name not in there), None)) is None:
        pytest.skip("every near version is in /usr")
    return name


async def test_another_version_runs_the_function_and_its_start_tells_which(tmp_path: Path) -> None:
    nowhere = tmp_path / "nowhere"
    asked = missing(nowhere)
    async with kit("full", tmp_path) as made:
        made.code.mkdir()
        (made.code / "f.py").write_text(SOURCE)
        runtime = runtime_of(nowhere, lets_stand_in=True)
        spec = make_spec(made.code, runtime=asked)
        environment = Environment(spec, made.sandbox, runtime, cold_reason="first")
        made.made.append(environment)
        await environment.start()
        outcome = (await environment.invoke(invocation(b"{}"))).outcome
        assert isinstance(outcome, Succeeded), outcome
        version, execution_env = json.loads(outcome.payload)
        assert execution_env == f"AWS_Lambda_{asked}"
        assert f"python{version.rpartition('.')[0]}" == runtime.stand_ins()[asked] != asked
        major, minor, patch = version.split(".")
        assert environment.runtime_version == f"python:{major}.{minor}.v{patch}"


async def test_unasked_no_other_version_does(tmp_path: Path) -> None:
    nowhere = tmp_path / "nowhere"
    asked = missing(nowhere)
    async with kit("full", tmp_path) as made:
        made.code.mkdir()
        runtime = runtime_of(nowhere, lets_stand_in=False)
        environment = Environment(make_spec(made.code, runtime=asked), made.sandbox, runtime, cold_reason="first")
        made.made.append(environment)
        with pytest.raises(RuntimeUnavailable, match="FNRUNNER_STAND_IN=on"):
            await environment.start()


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ApiServer]:
    with ApiServer(tmp_path / "data") as found:
        monkeypatch.setenv("FNRUNNER_ENDPOINT_URL", found.url)
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        yield found


def enter(server: ApiServer, runtimes: dict[str, str]) -> None:
    """A worker that says it runs these."""
    now_ms = int(time.time() * 1000)
    usual = {"id": "w1", "host": "h1", "pid": 1, "zone": "", "capacity": 4, "started_ms": 1, "heartbeat_ms": now_ms}
    alive = {**usual, "process_start": "1", "boot_id": "b", "in_flight": "{}"}
    told = {**usual, "roles": "worker", "document": json.dumps({"runtimes": runtimes})}
    store = server.services.store
    server.run(store.write(lambda c: c.execute(insert(worker), alive) and None))
    server.run(store.write(lambda c: c.execute(insert(process), told) and None))


def of_a_folder(root: Path) -> str:
    (root / "folder").mkdir()
    (root / "folder" / "app.py").write_text(SOURCE)
    return str(root / "folder")


def of_a_template(root: Path) -> str:
    of_a_folder(root)
    (root / "template.yaml").write_text(
        "Transform: AWS::Serverless-2016-10-31\nResources:\n  Hello:\n    Type: AWS::Serverless::Function\n"
        "    Properties: {CodeUri: folder, Handler: app.handler, Runtime: python3.14}\n"
    )
    return str(root / "template.yaml")


@pytest.mark.parametrize("make", [of_a_folder, of_a_template])
@pytest.mark.parametrize(
    ("runtimes", "said"),
    [
        ({"python3.9": "python3.9"}, "python3.14 is on no worker (h1): "),
        (
            {"python3.13": "python3.13", "python3.14": "python3.13"},
            "python3.14 is not on h1: python3.13 stands in for ",
        ),
        ({"python3.14": "python3.14"}, ""),
    ],
    ids=["missing", "stood in for", "there"],
)
def test_a_deployment_says_what_the_workers_lack(
    server: ApiServer,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    make: Callable[[Path], str],
    runtimes: dict[str, str],
    said: str,
) -> None:
    enter(server, runtimes)
    path = make(tmp_path)
    more = ("--runtime", "python3.14") if make is of_a_folder else ()
    assert run(("deploy", path, *more, "--json")) == 0
    out, err = capsys.readouterr()
    warnings = json.loads(out)["warnings"]
    assert len(warnings) == bool(said)
    assert all(warning.startswith(said) for warning in warnings)
    assert [line for line in err.splitlines() if line.startswith("warning: ")] == [f"warning: {w}" for w in warnings]
