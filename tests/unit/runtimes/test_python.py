"""Finding interpreters, and the command and variables for them."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from fnrunner.runtimes.python import PythonRuntime
from fnrunner.runtimes.runtime import Layout, RuntimeUnavailable, RuntimeUnknown
from tests.unit.worker_environment.spec import SPEC

RUNNING = f"python{sys.version_info.major}.{sys.version_info.minor}"
LAYOUT = Layout("/var/task", "/var/runtime", "/tmp")


def executable(path: Path, content: bytes = b"\x7fELF") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    path.chmod(0o755)
    return path


def test_the_interpreter_on_the_path_is_taken(tmp_path: Path) -> None:
    found = executable(tmp_path / "bin" / "python3.98")
    runtime = PythonRuntime(path=str(tmp_path / "bin"), pyenv_root=tmp_path)
    assert runtime.interpreter("python3.98") == str(found)


def test_a_version_managers_script_is_passed_over_for_the_newest_version_it_has(tmp_path: Path) -> None:
    executable(tmp_path / "shims" / "python3.98", b"#!/bin/sh\n")
    executable(tmp_path / "versions" / "3.98.9" / "bin" / "python3.98")
    newest = executable(tmp_path / "versions" / "3.98.10" / "bin" / "python3.98")
    runtime = PythonRuntime(path=str(tmp_path / "shims"), pyenv_root=tmp_path)
    assert runtime.interpreter("python3.98") == str(newest)


def test_the_running_version_is_served_by_the_interpreter_below_the_virtual_environment() -> None:
    found = PythonRuntime(path="", pyenv_root=Path("/nowhere")).interpreter(RUNNING)
    assert Path(found) == Path(sys._base_executable).resolve()  # type: ignore[attr-defined]


def test_a_missing_version_names_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(RuntimeUnavailable, match=r"apt-get install python3\.97, pyenv install 3\.97"):
        PythonRuntime(path=str(tmp_path), pyenv_root=tmp_path).interpreter("python3.97")


@pytest.mark.parametrize("name", ["nodejs20.x", "python3.8", "python2.7", "python", "python3.", "python3.11x"])
def test_names_of_other_runtimes_are_unknown(name: str) -> None:
    assert not PythonRuntime().serves(name)
    with pytest.raises(RuntimeUnknown):
        PythonRuntime().interpreter(name)


def test_available_lists_what_is_found_with_its_path() -> None:
    available = PythonRuntime().available()
    assert available[RUNNING].startswith("/")


def test_the_command_starts_the_bootstrap_isolated() -> None:
    launch = PythonRuntime().launch(SPEC, LAYOUT, interpreter="/p", control_fd=5, log_stream="s")
    assert launch.argv[0] == "/p"
    assert "-I" in launch.argv
    assert launch.argv[-4:] == ("/var/runtime/python_bootstrap.py", "5", "/var/task", "/opt")


def test_the_platforms_variables_win_and_the_defaults_lose() -> None:
    spec = replace(
        SPEC, variables={"AWS_REGION": "x", "PATH": "/mine", "A": "b"}, log_format="JSON", application_log_level="INFO"
    )
    variables = PythonRuntime().launch(spec, LAYOUT, interpreter="/p", control_fd=5, log_stream="s").variables
    assert variables["AWS_REGION"] == variables["AWS_DEFAULT_REGION"] == "us-east-1"
    assert (variables["PATH"], variables["A"]) == ("/mine", "b")
    assert variables["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"] == "128"
    assert variables["AWS_EXECUTION_ENV"] == "AWS_Lambda_python3.11"
    assert (variables["AWS_LAMBDA_LOG_FORMAT"], variables["AWS_LAMBDA_LOG_LEVEL"]) == ("JSON", "INFO")
    assert variables["LAMBDA_TASK_ROOT"] == "/var/task"


def test_launches_do_not_show_variables_in_their_repr() -> None:
    spec = replace(SPEC, variables={"SECRET": "hunter2"})
    assert "hunter2" not in repr(PythonRuntime().launch(spec, LAYOUT, interpreter="/p", control_fd=5, log_stream="s"))
