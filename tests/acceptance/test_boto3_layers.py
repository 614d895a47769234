"""From outside: layers published by boto3, seen by functions in Python, Node.js and a runtime of one's own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx

from fnrunner.runtimes import runtime_api_launch
from fnrunner.runtimes.node import NodeRuntime
from tests.installation import ROLE, Installation, eventually
from tests.integration.runtime_api_kit import CLIENT, ECHO
from tests.layer_zip import zip_of

PYTHON = """
import os, where
def handler(event, context):
    return [where.at, sorted(os.listdir("/opt")) if os.path.isdir("/opt") else []]
"""


def publish(client: Any, name: str, files: Any) -> str:
    arn: str = client.publish_layer_version(LayerName=name, Content={"ZipFile": zip_of(files)})["LayerVersionArn"]
    return arn


def create(client: Any, name: str, runtime: str, files: Any, *layers: str, **more: Any) -> None:
    client.create_function(
        FunctionName=name, Runtime=runtime, Role=ROLE, Handler="f.handler", Code={"ZipFile": zip_of(files)}, Timeout=20,
        Layers=list(layers), **more,
    )  # fmt: skip


def answer_of(client: Any, name: str, event: object = None) -> Any:
    answer = client.invoke(FunctionName=name, Payload=json.dumps(event))
    body = json.loads(answer["Payload"].read())
    assert "FunctionError" not in answer, body
    return body


def test_functions_see_their_layers_and_what_changes_of_them(tmp_path: Path) -> None:
    with Installation(tmp_path) as installation:
        installation.start("dev")
        client = installation.client()
        first = publish(client, "where", {"python/where.py": "at = 1", "python/other.py": ""})
        second = publish(client, "where", {"python/where.py": "at = 2"})
        over = publish(client, "over", {"python/where.py": "at = 'over'", "data/x": "x"})

        create(client, "f", "python3.11", {"f.py": PYTHON}, first)
        assert answer_of(client, "f")[0] == 1
        client.publish_version(FunctionName="f")
        client.update_function_configuration(FunctionName="f", Layers=[second])
        assert answer_of(client, "f")[0] == 2
        client.update_function_configuration(FunctionName="f", Layers=[second, over])
        assert answer_of(client, "f")[0] == "over"
        client.update_function_configuration(FunctionName="f", Layers=[over, second])
        assert answer_of(client, "f")[0] == 2
        event_id = installation.send("f", {})
        installation.settled("f", 1)
        said = installation.command("replay", event_id, "--event", "{}", "--json")
        assert json.loads(said.stdout)["payload"][0] == 2
        # what the version was published with, though the layer is gone
        client.delete_layer_version(LayerName="where", VersionNumber=1)
        assert answer_of(client, "f:1")[0] == 1
        found = client.get_layer_version(LayerName="over", VersionNumber=1)
        assert httpx.get(found["Content"]["Location"], timeout=60).content == zip_of(
            {"python/where.py": "at = 'over'", "data/x": "x"}
        )

        bootstrap = f"#!{runtime_api_launch.host_python()} -S\n{CLIENT}\n{ECHO}"
        create(
            client, "own", "provided.al2023", {"f": ""}, publish(client, "runtime", {"bootstrap": (bootstrap, 0o755)})
        )
        assert answer_of(client, "own", [1]) == [1]

        if available := NodeRuntime().available():
            runtime = next(iter(available))
            module = {"nodejs/node_modules/where/index.js": "module.exports = 'node'"}
            source = {"f.js": "const at = require('where'); exports.handler = async () => at"}
            create(client, "node", runtime, source, publish(client, "modules", module))
            assert answer_of(client, "node") == "node"


def test_an_extension_of_a_layer_runs_beside_a_python_function(tmp_path: Path) -> None:
    program = f"#!{runtime_api_launch.host_python()} -S\n{CLIENT}\n"
    program += "api = extension('INVOKE')\nwhile True:\n    print('heard', api.event()['requestId'], flush=True)\n"
    with Installation(tmp_path) as installation:
        installation.start("dev")
        client = installation.client()
        ear = publish(client, "ear", {"extensions/ear": (program, 0o755)})
        create(client, "f", "python3.11", {"f.py": "def handler(event, context): return event"}, ear)
        assert answer_of(client, "f", [1]) == [1]
        assert answer_of(client, "f", [2]) == [2]
        eventually(lambda: [line for line in _log(installation) if line.startswith("heard")])


def _log(installation: Installation) -> list[str]:
    return [str(line["text"]).strip() for line in installation.admin("functions/f/logs", limit=100)["lines"]]
