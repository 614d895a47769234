"""How the interpreter of a local environment is started."""

from __future__ import annotations

import json
from dataclasses import replace

from fnrunner.runtimes.local import VARIABLE, Debugger, LocalPythonRuntime, Repeatable
from fnrunner.runtimes.python import PythonRuntime
from fnrunner.runtimes.runtime import Launch, Layout
from tests.unit.worker_environment.spec import SPEC

LAYOUT = Layout("/var/task", "/var/runtime", "/tmp")
DEBUGGER = Debugger("/site/debugpy", 5678, "/tmp/listening")


def launched(runtime: PythonRuntime, **changes: object) -> Launch:
    spec = replace(SPEC, **changes)  # type: ignore[arg-type]
    return runtime.launch(spec, LAYOUT, interpreter="/bin/python3", control_fd=9, log_stream="stream")


def options_of(launch: Launch) -> dict[str, object]:
    found: dict[str, object] = json.loads(launch.variables[VARIABLE])
    return found


def test_with_nothing_to_prepare_it_is_started_as_anywhere() -> None:
    assert launched(LocalPythonRuntime()) == launched(PythonRuntime())


def test_the_program_gets_the_bootstrap_and_its_arguments() -> None:
    usual, local = launched(PythonRuntime()), launched(LocalPythonRuntime(debugger=DEBUGGER))
    at = local.argv.index("/var/runtime/python_local.py")
    assert local.argv[at + 1 :] == ("/var/runtime/python_bootstrap.py", "9", "/var/task", "/opt")
    assert local.argv[1:at] == (
        *usual.argv[1 : usual.argv.index("/var/runtime/python_bootstrap.py")],
        "-X",
        "frozen_modules=off",
    )
    assert local.script == 0
    assert {**usual.variables, VARIABLE: local.variables[VARIABLE]} == dict(local.variables)
    assert options_of(local) == {
        "debug": {"package": "/site/debugpy", "port": 5678, "listening": "/tmp/listening", "host": "127.0.0.1"},
        "repeatable": None,
        "variables": {},
    }


def test_a_repeatable_interpreter_has_a_hash_seed_and_obeys_nothing_of_the_functions() -> None:
    runtime = LocalPythonRuntime(repeatable=Repeatable(2**32 + 6, 1))
    local = launched(runtime, variables={"PYTHONPATH": "lib", "PYTHONHASHSEED": "random", "A": "1"})
    assert "-I" not in local.argv
    assert "-s" in local.argv
    assert (local.variables["PYTHONHASHSEED"], local.variables["A"]) == ("7", "1")
    assert "PYTHONPATH" not in local.variables
    assert options_of(local)["variables"] == {"PYTHONPATH": "lib", "PYTHONHASHSEED": "random"}
    assert options_of(local)["repeatable"] == {"seed": str(2**32 + 6), "start_us": 1}


def test_the_function_is_told_of_its_own_memory_and_not_of_its_debuggers() -> None:
    local = launched(LocalPythonRuntime(debugger=DEBUGGER, memory_mb=128), memory_mb=640)
    assert local.variables["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"] == "128"
