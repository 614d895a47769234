"""A function whose interpreter is missing: run by another version where that is allowed, and warned of when it is deployed."""

from __future__ import annotations

import json
import sys
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from zipfile import ZipFile

import pytest
from sqlalchemy import insert

from fnrunner.cli.deploy import local
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


THERE = {"python3.9": "python3.9", "python3.13": "python3.13", "nodejs22.x": "nodejs22.x"}


def runtime_now(capsys: pytest.CaptureFixture[str]) -> str:
    capsys.readouterr()
    assert run(("functions", "show", "folder", "--json")) == 0
    return str(json.loads(capsys.readouterr().out)["Configuration"]["Runtime"])


def test_a_function_that_names_no_runtime_gets_one_that_the_workers_have(
    server: ApiServer, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "this_runtime", lambda: "python3.11")
    enter(server, THERE)
    path = of_a_folder(tmp_path)
    assert run(("deploy", path)) == 0
    err = capsys.readouterr().err
    assert err == "folder gets python3.13: the workers do not have python3.11, which this is\n"
    assert runtime_now(capsys) == "python3.13"


def test_a_function_that_works_does_not_get_a_runtime_that_no_worker_has_unless_somebody_insists(
    server: ApiServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    enter(server, THERE)
    path = of_a_folder(tmp_path)
    assert run(("deploy", path, "--runtime", "python3.9")) == 0
    capsys.readouterr()
    assert run(("deploy", path, "--runtime", "python3.14")) == 2
    err = capsys.readouterr().err
    assert "folder runs on python3.9, and python3.14 is on no worker (h1): it would run no more" in err
    assert "Choose one of python3.9, python3.13, install python3.14 there" in err
    assert runtime_now(capsys) == "python3.9"
    assert run(("deploy", path, "--runtime", "python3.14", "--yes")) == 0
    assert runtime_now(capsys) == "python3.14"
    assert run(("deploy", path, "--runtime", "python3.15")) == 0, "it does not work now either"


def test_so_does_one_of_a_template(server: ApiServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    enter(server, THERE)
    template = Path(of_a_template(tmp_path))
    template.write_text(template.read_text().replace("python3.14", "python3.13"))
    assert run(("deploy", str(template), "--json")) == 0
    template.write_text(template.read_text().replace("python3.13", "python3.14"))
    capsys.readouterr()
    assert run(("deploy", str(template), "--json")) == 2
    assert "python3.14 is on no worker (h1): it would run no more" in capsys.readouterr().err
    assert run(("deploy", str(template), "--json", "--yes")) == 0


def test_a_runtime_that_nobody_knows_is_refused(
    server: ApiServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    enter(server, THERE)
    assert run(("deploy", of_a_folder(tmp_path), "--runtime", "cobol")) == 2
    assert capsys.readouterr().err == (
        "fnrunner: folder: 'cobol' is no runtime that fnrunner knows\nChoose one of nodejs22.x, python3.9, python3.13.\n"
    )


def zipped(root: Path, **files: str) -> str:
    with ZipFile(root / "folder.zip", "w") as archive:
        for name, text in files.items():
            archive.writestr(name.replace("_", "."), text)
    return str(root / "folder.zip")


def test_a_zip_that_is_packaged_already_is_deployed_as_it_is(
    server: ApiServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    enter(server, THERE)
    path = zipped(tmp_path, app_py=SOURCE)
    assert run(("deploy", path, "--json")) == 0
    [made] = json.loads(capsys.readouterr().out)["functions"]
    assert made["name"] == "folder"
    assert made["code_sha256"] == b64encode(sha256(Path(path).read_bytes()).digest()).decode()
    assert run(("functions", "show", "folder")) == 0
    assert "app.handler" in capsys.readouterr().out


def test_a_zip_in_which_no_language_can_be_seen_wants_its_runtime_and_handler(
    server: ApiServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    enter(server, THERE)
    path = zipped(tmp_path, index_mjs="export const handler = async () => 1")
    assert run(("deploy", path)) == 2
    assert "Say --runtime and --handler" in capsys.readouterr().err
    assert run(("deploy", path, "--runtime", "nodejs22.x")) == 2
    assert "--handler" in capsys.readouterr().err
    assert run(("deploy", path, "--runtime", "nodejs22.x", "--handler", "index.handler")) == 0
    assert run(("deploy", path, "--memory", "256")) == 0, "what it has stays as it is"
    (tmp_path / "folder.zip").write_bytes(b"no zip")
    assert run(("deploy", path, "--name", "other")) == 2
