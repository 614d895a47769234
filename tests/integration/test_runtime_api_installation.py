"""From outside: functions in shell and in Node.js, created through the API and invoked by a worker process."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from fnrunner.runtimes import runtime_api_launch
from fnrunner.runtimes.node import NAMES, NodeRuntime
from tests.installation import ROLE, Installation
from tests.integration.runtime_api_kit import CLIENT, ECHO


def package(name: str, text: str, mode: int = 0o755) -> bytes:
    """A zip of one file with its permissions, as ``zip`` makes it."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        info = zipfile.ZipInfo(name)
        info.create_system, info.external_attr = 3, (0o100000 | mode) << 16
        archive.writestr(info, text)
    return buffer.getvalue()


def create(client: Any, name: str, runtime: str, code: bytes) -> None:
    client.create_function(
        FunctionName=name, Runtime=runtime, Role=ROLE, Handler="f.handler", Code={"ZipFile": code}, Timeout=20
    )


def invoked(client: Any, name: str, event: object) -> tuple[str, Any]:
    """The function error, and what was answered."""
    answer = client.invoke(FunctionName=name, Payload=json.dumps(event))
    return answer.get("FunctionError", ""), json.loads(answer["Payload"].read())


def test_functions_of_every_runtime_of_this_host_run_and_others_say_what_is_missing(tmp_path: Path) -> None:
    with Installation(tmp_path) as installation:
        installation.start("dev")
        client = installation.client()
        bootstrap = f"#!{runtime_api_launch.host_python()} -S\n{CLIENT}\n{ECHO}"
        create(client, "own", "provided.al2023", package("bootstrap", bootstrap))
        assert invoked(client, "own", {"a": 1}) == ("", {"a": 1})
        create(client, "broken", "provided.al2", package("bootstrap", bootstrap, 0o644))
        kind, answer = invoked(client, "broken", {})
        assert (kind, answer["errorType"]) == ("Unhandled", "Runtime.InvalidEntrypoint")
        available = NodeRuntime().available()
        for runtime in NAMES:
            name = runtime.replace(".", "-")
            create(client, name, runtime, package("f.mjs", "export const handler = async (event) => [event]"))
            if runtime in available:
                assert invoked(client, name, 7) == ("", [7])
            else:
                with pytest.raises(ClientError) as refused:
                    invoked(client, name, 7)
                assert "is not on this host: it needs Node.js" in str(refused.value)
        with pytest.raises(ClientError, match="java21 is not supported"):
            create(client, "java", "java21", package("f", ""))
