"""The runtimes that speak the Runtime API: which names they serve, what they start, and what they say is missing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from fnrunner.runtimes.choice import Runtimes
from fnrunner.runtimes.node import NodeRuntime
from fnrunner.runtimes.provided import ProvidedRuntime
from fnrunner.runtimes.python import PythonRuntime
from fnrunner.runtimes.runtime import Layout, RuntimeUnavailable, RuntimeUnknown
from fnrunner.runtimes.runtime_api.runtime_routes import next_headers
from fnrunner.runtimes.runtime_api_launch import host_python
from tests.unit.worker_environment.spec import SPEC

LAYOUT = Layout("/var/task", "/var/runtime", "/tmp")


def node(path: Path, version: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\necho {version}\n")
    path.chmod(0o755)
    return path


def test_node_is_taken_from_the_path_only_in_the_right_version(tmp_path: Path) -> None:
    found = node(tmp_path / "bin" / "node", "v22.1.0")
    runtime = NodeRuntime(path=str(tmp_path / "bin"), home=tmp_path)
    assert runtime.interpreter("nodejs22.x") == str(found)
    with pytest.raises(
        RuntimeUnavailable, match=r"nodejs20\.x is not on this host: it needs Node\.js 20.*nvm install 20"
    ):
        runtime.interpreter("nodejs20.x")
    assert "nodejs22.x" in runtime.available()


def test_version_managers_are_searched_for_the_newest_patch(tmp_path: Path) -> None:
    node(tmp_path / ".nvm/versions/node/v20.9.0/bin/node", "v20.9.0")
    newest = node(tmp_path / ".nvm/versions/node/v20.10.0/bin/node", "v20.10.0")
    assert NodeRuntime(path="", home=tmp_path).interpreter("nodejs20.x") == str(newest)


def test_a_node_that_does_not_run_is_passed_over(tmp_path: Path) -> None:
    broken = tmp_path / "node"
    broken.write_text("no program")
    broken.chmod(0o755)
    with pytest.raises(RuntimeUnavailable):
        NodeRuntime(path=str(tmp_path), home=tmp_path).interpreter("nodejs24.x")


@pytest.mark.parametrize("name", ["nodejs18.x", "nodejs20", "nodejs", "java21", "provided", "provided.al2023"])
def test_other_names_are_no_node(name: str) -> None:
    assert not NodeRuntime().serves(name)
    with pytest.raises(RuntimeUnknown):
        NodeRuntime().interpreter(name)


@pytest.mark.parametrize("name", ["provided", "provided.al", "nodejs20.x"])
def test_other_names_are_no_runtime_of_ones_own(name: str) -> None:
    assert not ProvidedRuntime().serves(name)
    with pytest.raises(RuntimeUnknown):
        ProvidedRuntime().interpreter(name)


def test_a_runtime_of_ones_own_is_served_by_isolated_python_and_has_no_execution_environment() -> None:
    spec = replace(SPEC, runtime="provided.al2023")
    launch = ProvidedRuntime().launch(spec, LAYOUT, interpreter=host_python(), control_fd=5, log_stream="s")
    assert launch.argv[0] == host_python()
    assert "-I" in launch.argv
    assert launch.argv[-5:] == ("/var/runtime/runtime_api/main.py", "5", "/var/task", "/opt", SPEC.account)
    assert launch.argv[launch.script] == "/var/runtime/runtime_api/main.py"
    assert "AWS_EXECUTION_ENV" not in launch.variables


def test_node_is_started_with_the_client_and_nine_tenths_of_the_memory() -> None:
    spec = replace(SPEC, runtime="nodejs20.x", variables={"A": "b"})
    launch = NodeRuntime().launch(spec, LAYOUT, interpreter="/n/node", control_fd=5, log_stream="s")
    assert launch.argv[-3:] == ("/n/node", "--max-old-space-size=115", "/var/runtime/node_runtime/index.mjs")
    assert launch.variables["NODE_PATH"].startswith("/opt/nodejs/node20/node_modules:/opt/nodejs/node_modules:")
    assert launch.variables["AWS_EXECUTION_ENV"] == "AWS_Lambda_nodejs20.x"
    assert launch.programs == ("/n/node",)


def test_a_wrapper_comes_before_the_runtimes_command_and_node_path_may_be_set() -> None:
    variables = {"AWS_LAMBDA_EXEC_WRAPPER": "/opt/wrap", "NODE_PATH": "/mine"}
    spec = replace(SPEC, runtime="nodejs20.x", variables=variables)
    launch = NodeRuntime().launch(spec, LAYOUT, interpreter="/n/node", control_fd=5, log_stream="s")
    assert launch.argv[-4:-2] == ("/opt/wrap", "/n/node")
    assert launch.variables["NODE_PATH"] == "/mine"


def test_each_name_goes_to_the_runtime_that_serves_it(tmp_path: Path) -> None:
    runtimes = Runtimes((PythonRuntime(), NodeRuntime(path=str(tmp_path), home=tmp_path), ProvidedRuntime()))
    assert all(map(runtimes.serves, ("python3.11", "nodejs24.x", "provided.al2")))
    assert not any(map(runtimes.serves, ("java21", "", "nodejs18.x")))
    assert {"provided.al2", "provided.al2023"} <= runtimes.available().keys()
    with pytest.raises(RuntimeUnavailable, match="nvm install 24"):
        runtimes.interpreter("nodejs24.x")
    with pytest.raises(RuntimeUnknown, match=r"'java21' is no runtime of this release"):
        runtimes.interpreter("java21")


def test_all_runtimes_share_the_directory_that_environments_see() -> None:
    several = (PythonRuntime(), NodeRuntime(), ProvidedRuntime())
    assert {runtime.runtime_directory for runtime in several} == {Runtimes(several).runtime_directory}


def test_values_of_headers_cannot_break_the_answer() -> None:
    from fnrunner.runtimes.runtime_api.control import Invocation

    fields = "\0".join(("id", "7", "arn", "Root=1", "", "", '{"a":\r\n"b"}')).encode()
    assert dict(next_headers(Invocation(1, fields, b""))) == {
        "Lambda-Runtime-Aws-Request-Id": "id",
        "Lambda-Runtime-Deadline-Ms": "7",
        "Lambda-Runtime-Invoked-Function-Arn": "arn",
        "Lambda-Runtime-Trace-Id": "Root=1",
        "Lambda-Runtime-Client-Context": '{"a":  "b"}',
    }
