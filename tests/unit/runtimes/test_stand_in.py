"""What runs functions whose own version is missing: nothing, or the nearest one, where that is allowed."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import pytest

from fnrunner.runtimes.choice import Runtimes
from fnrunner.runtimes.node import NodeRuntime
from fnrunner.runtimes.python import PythonRuntime
from fnrunner.runtimes.runtime import Layout, RuntimeUnavailable
from tests.unit.worker_environment.spec import SPEC

LAYOUT = Layout("/var/task", "/var/runtime", "/tmp")


def pythons(root: Path, *minors: int) -> Path:
    """A directory of interpreters with these minor versions; far from those that a host may have."""
    for minor in minors:
        (root / f"python3.{minor}").write_bytes(b"\x7fELF")
        (root / f"python3.{minor}").chmod(0o755)
    return root


def python(root: Path, *minors: int, lets_stand_in: bool = True) -> PythonRuntime:
    return PythonRuntime(path=str(pythons(root, *minors)), pyenv_root=root, lets_stand_in=lets_stand_in)


def node(home: Path, *majors: int, lets_stand_in: bool = True) -> NodeRuntime:
    for major in majors:
        program = home / f".nvm/versions/node/v{major}.1.0/bin/node"
        program.parent.mkdir(parents=True)
        program.write_text(f"#!/bin/sh\necho v{major}.1.0\n")
        program.chmod(0o755)
    return NodeRuntime(path=str(home), home=home, lets_stand_in=lets_stand_in)


_ELSEWHERE = [Path(f"{root}/node{major}/bin/node") for root in ("/usr/local", "/opt") for major in (20, 22, 24)]
of_the_home_alone = pytest.mark.skipif(
    any(path.exists() for path in _ELSEWHERE), reason="this host has Node.js where it is looked for in any case"
)


@pytest.mark.parametrize(
    ("there", "taken"),
    [((90, 91), 90), ((91, 92), 91), ((87, 92), 92), ((88, 92), 92), ((88, 89, 91), 91), ((88, 89), 89), ((88,), 88)],
)
def test_of_python_the_nearest_minor_version_stands_in_and_the_newer_of_two(
    tmp_path: Path, there: tuple[int, ...], taken: int
) -> None:
    assert python(tmp_path, *there).interpreter("python3.90") == str(tmp_path / f"python3.{taken}")


def test_a_version_that_is_too_far_away_does_not_stand_in_and_the_error_says_so(tmp_path: Path) -> None:
    with pytest.raises(RuntimeUnavailable, match=r"apt-get install python3\.90.* near enough to stand in") as caught:
        python(tmp_path, 87, 93).interpreter("python3.90")
    assert "FNRUNNER_STAND_IN" not in str(caught.value)


@pytest.mark.parametrize(
    ("there", "asked", "taken"), [((20, 24), 22, 24), ((20,), 24, 20), ((22, 24), 20, 22), ((20, 22), 22, 22)]
)
@of_the_home_alone
def test_of_node_the_nearest_major_version_stands_in_and_the_newer_of_two(
    tmp_path: Path, there: tuple[int, ...], asked: int, taken: int
) -> None:
    assert f"/v{taken}." in node(tmp_path, *there).interpreter(f"nodejs{asked}.x")


@of_the_home_alone
def test_nothing_stands_in_unasked_and_the_remedy_names_the_setting(tmp_path: Path) -> None:
    several = python(tmp_path, 91, lets_stand_in=False), node(tmp_path, 20, lets_stand_in=False)
    runtimes = Runtimes(several)
    for name in ("python3.90", "nodejs22.x"):
        with pytest.raises(RuntimeUnavailable, match="FNRUNNER_STAND_IN=on"):
            runtimes.interpreter(name)
    assert runtimes.stand_ins() == {}
    assert all(name == other for name, other in runtimes.run_by().items())


def test_it_is_said_once_for_each_runtime_and_only_when_something_runs_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    runtime = python(tmp_path, 91, 93)
    runtime.stand_ins()
    assert runtime.interpreter("python3.91")
    assert caplog.records == []
    for name in ("python3.90", "python3.90", "python3.92", "python3.90"):
        runtime.interpreter(name)
    said = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert [line.partition(". Install")[0] for line in said] == [
        "python3.90 is not on this host: python3.91 stands in",
        "python3.92 is not on this host: python3.93 stands in",
    ]


@of_the_home_alone
def test_what_is_there_and_what_stands_in_are_told_apart(tmp_path: Path) -> None:
    runtimes = Runtimes((node(tmp_path, 20),))
    assert list(runtimes.available()) == ["nodejs20.x"]
    assert runtimes.stand_ins() == {"nodejs22.x": "nodejs20.x", "nodejs24.x": "nodejs20.x"}
    assert runtimes.run_by() == {"nodejs20.x": "nodejs20.x", **runtimes.stand_ins()}


def test_pythons_that_are_missing_are_listed_with_what_stands_in() -> None:
    runtime = PythonRuntime(lets_stand_in=True)
    there, instead = runtime.available(), runtime.stand_ins()
    assert not set(there) & set(instead)
    assert set(instead.values()) <= set(there)


def test_the_function_is_told_the_name_that_it_asked_for(tmp_path: Path) -> None:
    spec = replace(SPEC, runtime="python3.90")
    runtime = python(tmp_path, 91)
    found = runtime.interpreter(spec.runtime)
    launch = runtime.launch(spec, LAYOUT, interpreter=found, control_fd=5, log_stream="s")
    assert launch.argv[0] == str(tmp_path / "python3.91")
    assert launch.variables["AWS_EXECUTION_ENV"] == "AWS_Lambda_python3.90"
