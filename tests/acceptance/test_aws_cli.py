"""The AWS CLI against a real installation: the sequences of Lambda's getting-started guides, with ``--endpoint-url`` added.

Each command costs a second of a core: ``FNRUNNER_TEST_AWS_CLI=all`` runs those that are not in `make test` too.
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.conftest import missing
from tests.installation import RUNTIME, Installation, eventually, zipped

AWS = Path(sys.executable).with_name("aws")
ROLE = "arn:aws:iam::000000000000:role/service-role/my-function-role"
ONE = "import json\n\ndef handler(event, context):\n    return {'version': 1, 'event': event}\n"
TWO = "def handler(event, context):\n    print('hello log')\n    return {'version': 2, 'event': event}\n"
WITH_LAYER = "import shared\n\ndef handler(event, context):\n    return shared.NAME\n"

LONG = os.environ.get("FNRUNNER_TEST_AWS_CLI") == "all"

pytestmark = pytest.mark.slow
long = pytest.mark.skipif(not LONG, reason="FNRUNNER_TEST_AWS_CLI=all runs it")


class Shell:
    """Runs ``aws lambda …`` in a directory of its own; its JSON, its text, or the text of its error."""

    def __init__(self, directory: Path, url: str) -> None:
        self.directory, self.url = directory, url
        self.environ = {
            "PATH": os.environ["PATH"],
            "HOME": str(directory),
            "AWS_ACCESS_KEY_ID": "any",
            "AWS_SECRET_ACCESS_KEY": "any",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_MAX_ATTEMPTS": "1",
        }

    def __call__(self, command: str, *more: str, fails: bool = False) -> Any:
        """``command`` is split at blanks; ``more`` are words as they are."""
        words = [str(AWS), "lambda", *command.split(), *more, "--endpoint-url", self.url]
        done = subprocess.run(
            words, cwd=self.directory, env=self.environ, capture_output=True, text=True, timeout=120, check=False
        )
        assert (done.returncode != 0) == fails, f"{' '.join(words)}: {done.stderr}{done.stdout}"
        if fails:
            return done.stderr
        try:
            return json.loads(done.stdout or "null")
        except ValueError:
            return done.stdout.strip()

    def out(self) -> Any:
        """What the last invocation wrote."""
        return json.loads((self.directory / "out.json").read_bytes())


@pytest.fixture
def aws(dev: Installation, tmp_path: Path) -> Shell:
    if not AWS.exists():
        missing("the AWS CLI (pip install awscli)")
    for name, source in (("one", ONE), ("two", TWO), ("with-layer", WITH_LAYER)):
        (tmp_path / f"{name}.zip").write_bytes(zipped({"app.py": source}))
    (tmp_path / "layer.zip").write_bytes(zipped({"python/shared.py": "NAME = 'from the layer'\n"}))
    return Shell(tmp_path, dev.url)


def create(aws: Shell, zip_file: str = "one") -> Any:
    made = aws(
        f"create-function --function-name my-function --runtime {RUNTIME} --zip-file fileb://{zip_file}.zip "
        f"--handler app.handler --role {ROLE} --environment Variables={{KEY=value}} --tags Department=Sales"
    )
    aws("wait function-active-v2 --function-name my-function")
    return made


def test_create_invoke_update_publish_and_shift_an_alias(aws: Shell) -> None:
    made = create(aws)
    assert (made["State"], made["Version"]) == ("Pending", "$LATEST")
    assert aws("invoke --function-name my-function out.json", "--payload", '{"key": "value"}') == {
        "StatusCode": 200, "ExecutedVersion": "$LATEST"
    }  # fmt: skip
    assert aws.out() == {"version": 1, "event": {"key": "value"}}
    assert aws("publish-version --function-name my-function --description v1")["Version"] == "1"
    changed = aws("update-function-code --function-name my-function --zip-file fileb://two.zip")
    assert changed["LastUpdateStatus"] == "InProgress"
    aws("wait function-updated-v2 --function-name my-function")
    assert aws("update-function-configuration --function-name my-function --memory-size 256")["MemorySize"] == 256
    aws("wait function-updated --function-name my-function")
    assert aws("publish-version --function-name my-function")["FunctionArn"].endswith(":my-function:2")
    aws("wait published-version-active --function-name my-function --qualifier 2")
    aws("create-alias --function-name my-function --name prod --function-version 1")
    shifted = aws(
        "update-alias --function-name my-function --name prod --routing-config AdditionalVersionWeights={2=1.0}"
    )
    assert shifted["RoutingConfig"] == {"AdditionalVersionWeights": {"2": 1.0}}
    invoked = aws("invoke --function-name my-function:prod --log-type Tail out.json --payload {}")
    assert (invoked["ExecutedVersion"], aws.out()["version"]) == ("2", 2)
    tail = aws(
        "invoke --function-name my-function --qualifier 2 --log-type Tail out.json --query LogResult --output text"
    )
    assert b"hello log" in base64.b64decode(tail)
    assert aws(
        "list-versions-by-function --function-name my-function", "--query", "Versions[].Version"
    ) == ["$LATEST", "1", "2"]  # fmt: skip
    assert "aliases reference it" in aws("delete-function --function-name my-function --qualifier 1", fails=True)
    aws("delete-alias --function-name my-function --name prod")
    aws("delete-function --function-name my-function --qualifier 1")
    event = aws("invoke --function-name my-function --invocation-type Event out.json --payload {}")
    assert event == {"StatusCode": 202}
    found = aws("get-function --function-name my-function")
    assert found["Tags"] == {"Department": "Sales"}
    assert httpx.get(found["Code"]["Location"]).content == (aws.directory / "two.zip").read_bytes()
    assert aws("list-functions --max-items 10")["Functions"][0]["FunctionName"] == "my-function"
    aws("delete-function --function-name my-function")
    assert "(ResourceNotFoundException)" in aws("get-function --function-name my-function", fails=True)


@long
def test_a_layer_a_url_a_permission_concurrency_and_tags(aws: Shell) -> None:
    layer = aws(
        f"publish-layer-version --layer-name my-layer --license-info MIT --zip-file fileb://layer.zip "
        f"--compatible-runtimes {RUNTIME}",
        "--description", "My Python layer",
    )  # fmt: skip
    assert (layer["Version"], layer["LicenseInfo"]) == (1, "MIT")
    arn = create(aws, "with-layer")["FunctionArn"]
    aws(f"update-function-configuration --function-name my-function --layers {layer['LayerVersionArn']}")
    aws("wait function-updated-v2 --function-name my-function")
    aws("invoke --function-name my-function out.json --payload {}")
    assert aws.out() == "from the layer"
    url = aws("create-function-url-config --function-name my-function --auth-type NONE")
    aws(
        "add-permission --function-name my-function --action lambda:InvokeFunctionUrl --principal * "
        "--function-url-auth-type NONE --statement-id url"
    )
    # since October 2025 a public URL needs both
    aws(
        "add-permission --function-name my-function --action lambda:InvokeFunction --principal * --statement-id call "
        "--invoked-via-function-url"
    )
    policy = json.loads(aws("get-policy --function-name my-function")["Policy"])
    assert {statement["Sid"] for statement in policy["Statement"]} == {"url", "call"}
    identifier = url["FunctionUrl"].split("//")[1].split(".")[0]
    assert httpx.get(f"{aws.url}/function-url/{identifier}/").text == "from the layer"
    aws("put-function-concurrency --function-name my-function --reserved-concurrent-executions 100")
    found = aws("get-function-concurrency --function-name my-function")
    assert found == {"ReservedConcurrentExecutions": 100}
    aws("delete-function-concurrency --function-name my-function")
    aws(f"tag-resource --resource {arn} --tags Cost=low")
    aws(f"untag-resource --resource {arn} --tag-keys Department")
    assert aws(f"list-tags --resource {arn}") == {"Tags": {"Cost": "low"}}
    aws("remove-permission --function-name my-function --statement-id url")
    aws("delete-function-url-config --function-name my-function")
    aws("delete-function --function-name my-function")
    aws("delete-layer-version --layer-name my-layer --version-number 1")
    assert aws("list-layers") == {"Layers": []}


@long
def test_a_queue_is_mapped_to_a_function(aws: Shell, dev: Installation) -> None:
    dev.command("queue", "create", "my-queue")
    create(aws, "two")
    made = aws(
        "create-event-source-mapping --function-name my-function --batch-size 5 "
        "--event-source-arn arn:aws:sqs:us-east-1:000000000000:my-queue"
    )
    assert (made["State"], made["BatchSize"]) == ("Creating", 5)
    uuid = made["UUID"]
    eventually(lambda: aws(f"get-event-source-mapping --uuid {uuid}")["State"] == "Enabled")
    dev.command("queue", "send", "my-queue", "hello")
    eventually(lambda: "hello log" in dev.command("logs", "my-function").stdout)
    assert [one["UUID"] for one in aws("list-event-source-mappings")["EventSourceMappings"]] == [uuid]
    assert aws(f"delete-event-source-mapping --uuid {uuid}")["State"] == "Deleting"
    aws("delete-function --function-name my-function")


def test_errors_are_told_by_their_name(aws: Shell) -> None:
    error = aws("invoke --function-name missing out.json", fails=True)
    assert "(ResourceNotFoundException)" in error
    assert "Function not found: arn:aws:lambda:us-east-1:000000000000:function:missing:$LATEST" in error
    error = aws("list-capacity-providers", fails=True)
    assert "(InvalidParameterValueException)" in error
    assert "does not support ListCapacityProviders yet" in error
