"""The AWS CLI against the API: the commands of Lambda's getting-started guide."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.api_server import CODE, ROLE, ApiServer, Result

AWS = Path(sys.executable).with_name("aws")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    if not AWS.exists():
        from tests.conftest import missing

        missing("the AWS CLI (pip install awscli)")
    with ApiServer(tmp_path_factory.mktemp("api")) as running:
        yield running


@pytest.fixture
def aws(server: ApiServer, tmp_path: Path) -> Any:
    """Runs ``aws lambda …`` in a directory of its own; its JSON, or its error text."""
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "AWS_ACCESS_KEY_ID": "any",
        "AWS_SECRET_ACCESS_KEY": "any",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_MAX_ATTEMPTS": "1",
    }

    def run(*arguments: str, fails: bool = False) -> Any:
        done = subprocess.run(
            [str(AWS), "lambda", *arguments, "--endpoint-url", server.url],
            cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        assert (done.returncode != 0) == fails, done.stderr + done.stdout
        return done.stderr if fails else json.loads(done.stdout or "null")

    (tmp_path / "code.zip").write_bytes(CODE)
    return run


@pytest.mark.slow
def test_getting_started(aws: Any, server: ApiServer, tmp_path: Path) -> None:
    created = aws(
        "create-function", "--function-name", "hello", "--runtime", "python3.12", "--role", ROLE,
        "--handler", "app.handler", "--zip-file", "fileb://code.zip", "--environment", "Variables={KEY=value}",
    )  # fmt: skip
    assert created["State"] == "Active"
    aws("wait", "function-active-v2", "--function-name", "hello")
    invoked = aws("invoke", "--function-name", "hello", "--payload", '{"a": 1}', "out.json")
    assert invoked == {"StatusCode": 200, "ExecutedVersion": "$LATEST"}
    assert (tmp_path / "out.json").read_bytes() == b'{"a": 1}'
    event = aws("invoke", "--function-name", "hello", "--invocation-type", "Event", "--payload", "{}", "out.json")
    assert event == {"StatusCode": 202}
    server.front.result = lambda _: Result(payload=b'{"errorType": "E"}', function_error="Unhandled")
    failed = aws("invoke", "--function-name", created["FunctionArn"], "out.json")
    assert failed["FunctionError"] == "Unhandled"
    updated = aws("update-function-configuration", "--function-name", "hello", "--timeout", "7", "--description", "d")
    assert (updated["Timeout"], updated["Description"]) == (7, "d")
    aws("update-function-code", "--function-name", "hello", "--zip-file", "fileb://code.zip")
    aws("wait", "function-updated-v2", "--function-name", "hello")
    aws("tag-resource", "--resource", created["FunctionArn"], "--tags", "a=1")
    assert aws("list-tags", "--resource", created["FunctionArn"]) == {"Tags": {"a": "1"}}
    assert [one["FunctionName"] for one in aws("list-functions", "--max-items", "10")["Functions"]] == ["hello"]
    assert aws("get-function", "--function-name", "hello")["Code"]["Location"].startswith(server.url)
    aws("delete-function", "--function-name", "hello")
    assert "Function not found" in aws("get-function", "--function-name", "hello", fails=True)


def test_errors_are_told_by_their_name(aws: Any) -> None:
    error = aws("invoke", "--function-name", "missing", "out.json", fails=True)
    assert "(ResourceNotFoundException)" in error
    assert "Function not found: arn:aws:lambda:us-east-1:000000000000:function:missing:$LATEST" in error
    error = aws("list-layers", fails=True)
    assert "(InvalidParameterValueException)" in error
    assert "fnrunner 9.9.9 does not support ListLayers yet." in error
