"""Every operation of this release with real boto3 against a real installation; each answer is held against the model.

``-s`` prints how many operations are complete, how many lack parameters, and how many are refused by name.
"""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import boto3
import pytest
from botocore import xform_name
from botocore.config import Config
from botocore.exceptions import ClientError

from fnrunner.api import operations, shape
from fnrunner.api.operations import Extent
from tests.conformance.api import model
from tests.conformance.api.answer import complaints_about
from tests.installation import ROLE, RUNTIME, Installation, eventually, zipped

CODE = zipped({"app.py": "def handler(event, context):\n    return event\n"})
NEWER = zipped({"app.py": "def handler(event, context):\n    return 'newer'\n"})
ACCOUNT, REGION = "000000000000", "us-east-1"
ARN = f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:every"
F = {"FunctionName": "every"}


class Caller:
    """boto3, with the bytes of each answer held against the model."""

    def __init__(self, url: str) -> None:
        self.client = client_of(url)
        self.client.meta.events.register("before-parse.lambda", self._look)
        self.called: Counter[str] = Counter()
        self.complaints: list[str] = []

    def __call__(self, name: str, **params: Any) -> Any:
        if name not in model.supported():
            return {}
        found = getattr(self.client, xform_name(name))(**params)
        self.called[name] += 1
        self._parsed(name, found)
        return found

    def _look(self, operation_model: Any, response_dict: dict[str, Any], **_: Any) -> None:
        name, status = operation_model.name, response_dict["status_code"]
        if status < 300:
            body = response_dict["body"] if isinstance(response_dict["body"], bytes) else b""
            self.complaints += [
                f"{name}: {one}" for one in complaints_about(name, status, response_dict["headers"], body)
            ]

    def _parsed(self, name: str, found: dict[str, Any]) -> None:
        """What botocore's parser made of it has nothing that the model has not."""
        output = model.operation(name).output_shape
        known = set(output.members) if output is not None else set()
        if more := set(found) - known - {"ResponseMetadata"}:
            self.complaints.append(f"{name}: {more} are not in the model")


def client_of(url: str, **config: Any) -> Any:
    return boto3.client(
        "lambda",
        endpoint_url=url,
        region_name=REGION,
        aws_access_key_id="test",
        aws_secret_access_key="test",
        config=Config(retries={"total_max_attempts": 1}, read_timeout=120, **config),
    )


@pytest.mark.slow
def test_every_operation_answers_as_its_model_says(dev: Installation) -> None:
    call = Caller(dev.url)
    layers(call)
    functions(call)
    versions_and_aliases(call)
    invocations(call)
    policies(call)
    concurrency(call)
    event_invoke_configs(call)
    urls(call)
    dev.command("queue", "create", "work")
    mappings(call)
    settings_of_functions(call)
    code_signing(call)
    tags_and_account(call)
    deletions(call)
    assert not call.complaints, "\n".join(call.complaints)
    assert set(model.supported()) - set(call.called) == set()
    found = operations.entries(shape.load(), operations.supports())
    told = Counter(one.extent for one in found)
    print(f"\n{sum(call.called.values())} calls of {len(call.called)} operations, of {len(found)} in the model:")
    for extent in Extent:
        print(f"  {told[extent]:3} {extent.value}")


def layers(call: Caller) -> None:
    for _ in range(2):
        made = call(
            "PublishLayerVersion",
            LayerName="shared",
            Description="a layer",
            Content={"ZipFile": zipped({"python/shared.py": "NAME = 'shared'\n"})},
            CompatibleRuntimes=[RUNTIME],
            CompatibleArchitectures=["x86_64"],
        )
    call("ListLayers")
    call("ListLayers", CompatibleRuntime=RUNTIME, MaxItems=1)
    call("ListLayerVersions", LayerName="shared")
    call("GetLayerVersion", LayerName="shared", VersionNumber=1)
    call("GetLayerVersionByArn", Arn=made.get("LayerVersionArn", ""))
    call(
        "AddLayerVersionPermission",
        LayerName="shared",
        VersionNumber=1,
        StatementId="all",
        Action="lambda:GetLayerVersion",
        Principal="*",
    )
    call("GetLayerVersionPolicy", LayerName="shared", VersionNumber=1)
    call("RemoveLayerVersionPermission", LayerName="shared", VersionNumber=1, StatementId="all")
    call("DeleteLayerVersion", LayerName="shared", VersionNumber=2)


def functions(call: Caller) -> None:
    made = call(
        "CreateFunction",
        **F,
        Runtime=RUNTIME,
        Role=ROLE,
        Handler="app.handler",
        Code={"ZipFile": CODE},
        Description="of every kind",
        Timeout=5,
        MemorySize=256,
        Environment={"Variables": {"KEY": "value"}},
        Tags={"team": "a"},
        DeadLetterConfig={"TargetArn": f"arn:aws:sqs:{REGION}:{ACCOUNT}:dead"},
        EphemeralStorage={"Size": 1024},
        LoggingConfig={"LogFormat": "JSON"},
    )
    assert (made["State"], made["StateReasonCode"]) == ("Pending", "Creating")
    assert "LastUpdateStatus" not in made
    for waiter in ("function_exists", "function_active", "function_active_v2"):
        call.client.get_waiter(waiter).wait(**F)
    found = call("GetFunction", **F)
    assert found["Configuration"]["State"] == "Active"
    assert found["Tags"] == {"team": "a"}
    call("GetFunctionConfiguration", **F)
    call("ListFunctions")
    call("ListFunctions", FunctionVersion="ALL", MaxItems=1)
    changed = call("UpdateFunctionConfiguration", **F, Timeout=6, DeadLetterConfig={"TargetArn": ""})
    assert changed["LastUpdateStatus"] == "InProgress"
    for waiter in ("function_updated", "function_updated_v2"):
        call.client.get_waiter(waiter).wait(**F)
    call("UpdateFunctionCode", **F, ZipFile=CODE, DryRun=True)


def versions_and_aliases(call: Caller) -> None:
    call("PublishVersion", **F, Description="one")
    call.client.get_waiter("published_version_active").wait(**F, Qualifier="1")
    assert call("UpdateFunctionCode", **F, ZipFile=NEWER, Publish=True)["Version"] == "2"
    call("ListVersionsByFunction", **F)
    call("CreateAlias", **F, Name="live", FunctionVersion="1", Description="what is live")
    call("UpdateAlias", **F, Name="live", RoutingConfig={"AdditionalVersionWeights": {"2": 0.5}})
    call("GetAlias", **F, Name="live")
    call("ListAliases", **F)
    call("ListAliases", **F, FunctionVersion="2")
    call("CreateAlias", **F, Name="spare", FunctionVersion="2")


def invocations(call: Caller) -> None:
    answer = call("Invoke", **F, Payload=b'{"a": 1}', LogType="Tail", Qualifier="1")
    assert (answer["StatusCode"], json.load(answer["Payload"])) == (200, {"a": 1})
    assert (answer["ExecutedVersion"], "LogResult" in answer, "FunctionError" in answer) == ("1", True, False)
    event = call("Invoke", **F, InvocationType="Event")
    assert (event["StatusCode"], "ExecutedVersion" in event) == (202, False)
    assert call("Invoke", **F, InvocationType="DryRun")["StatusCode"] == 204
    assert call("InvokeAsync", **F, InvokeArgs=b"{}")["Status"] == 202
    streamed = call("InvokeWithResponseStream", **F, Payload=b'{"b": 2}', Qualifier="1")
    events = list(streamed["EventStream"])
    assert b"".join(one["PayloadChunk"]["Payload"] for one in events if "PayloadChunk" in one) == b'{"b": 2}'
    assert "InvokeComplete" in events[-1]


def policies(call: Caller) -> None:
    call(
        "AddPermission",
        **F,
        StatementId="bucket",
        Action="lambda:InvokeFunction",
        Principal="s3.amazonaws.com",
        SourceArn="arn:aws:s3:::pictures",
        SourceAccount=ACCOUNT,
    )
    call("AddPermission", **F, StatementId="all", Action="lambda:InvokeFunction", Principal="*", Qualifier="live")
    call("GetPolicy", **F)
    call("GetPolicy", **F, Qualifier="live")
    call("RemovePermission", **F, StatementId="bucket")
    call(
        "PutResourcePolicy",
        ResourceArn=ARN,
        Policy=json.dumps({
            "Version": "2012-10-17",
            "Statement": [{
                "Sid": "s", "Effect": "Allow", "Principal": "*", "Action": "lambda:InvokeFunction", "Resource": ARN
            }],
        }),
    )  # fmt: skip
    call("GetResourcePolicy", ResourceArn=ARN)
    call("DeleteResourcePolicy", ResourceArn=ARN)


def concurrency(call: Caller) -> None:
    call("GetFunctionConcurrency", **F)
    call("PutFunctionConcurrency", **F, ReservedConcurrentExecutions=10)
    call("GetFunctionConcurrency", **F)
    put = call("PutProvisionedConcurrencyConfig", **F, Qualifier="2", ProvisionedConcurrentExecutions=1)
    assert put["Status"] == "IN_PROGRESS"
    eventually(lambda: call("GetProvisionedConcurrencyConfig", **F, Qualifier="2")["Status"] == "READY")
    call("ListProvisionedConcurrencyConfigs", **F)
    call("DeleteProvisionedConcurrencyConfig", **F, Qualifier="2")
    call("DeleteFunctionConcurrency", **F)


def event_invoke_configs(call: Caller) -> None:
    destinations = {"OnFailure": {"Destination": f"arn:aws:sqs:{REGION}:{ACCOUNT}:dead"}}
    call("PutFunctionEventInvokeConfig", **F, MaximumRetryAttempts=1, DestinationConfig=destinations)
    call("UpdateFunctionEventInvokeConfig", **F, MaximumEventAgeInSeconds=60)
    call("PutFunctionEventInvokeConfig", **F, Qualifier="live", MaximumRetryAttempts=0)
    call("GetFunctionEventInvokeConfig", **F)
    call("ListFunctionEventInvokeConfigs", **F)
    call("DeleteFunctionEventInvokeConfig", **F)


def urls(call: Caller) -> None:
    call(
        "CreateFunctionUrlConfig",
        **F,
        AuthType="NONE",
        Cors={"AllowOrigins": ["*"], "AllowMethods": ["GET"], "MaxAge": 60},
        InvokeMode="BUFFERED",
    )
    call("CreateFunctionUrlConfig", **F, Qualifier="live", AuthType="AWS_IAM")
    call("GetFunctionUrlConfig", **F)
    call("UpdateFunctionUrlConfig", **F, InvokeMode="RESPONSE_STREAM")
    call("ListFunctionUrlConfigs", **F)
    call("DeleteFunctionUrlConfig", **F)


def mappings(call: Caller) -> None:
    made = call(
        "CreateEventSourceMapping",
        **F,
        EventSourceArn=f"arn:aws:sqs:{REGION}:{ACCOUNT}:work",
        BatchSize=5,
        FilterCriteria={"Filters": [{"Pattern": '{"body": {"a": [1]}}'}]},
        FunctionResponseTypes=["ReportBatchItemFailures"],
    )
    uuid = made["UUID"]

    def state() -> Any:
        return call("GetEventSourceMapping", UUID=uuid)["State"]

    eventually(lambda: state() == "Enabled")
    call("ListEventSourceMappings")
    call("ListEventSourceMappings", **F, MaxItems=1)
    call("UpdateEventSourceMapping", UUID=uuid, BatchSize=6, Enabled=False)
    eventually(lambda: state() == "Disabled")
    assert call("DeleteEventSourceMapping", UUID=uuid)["State"] == "Deleting"


def settings_of_functions(call: Caller) -> None:
    call("GetFunctionRecursionConfig", **F)
    call("PutFunctionRecursionConfig", **F, RecursiveLoop="Allow")
    call("GetRuntimeManagementConfig", **F)
    call("PutRuntimeManagementConfig", **F, UpdateRuntimeOn="Auto")


def code_signing(call: Caller) -> None:
    call("GetFunctionCodeSigningConfig", **F)
    made = call(
        "CreateCodeSigningConfig",
        Description="signed",
        AllowedPublishers={
            "SigningProfileVersionArns": [f"arn:aws:signer:{REGION}:{ACCOUNT}:/signing-profiles/profile/0123456789"]
        },
        CodeSigningPolicies={"UntrustedArtifactOnDeployment": "Warn"},
    )
    if not made:
        return
    named = {"CodeSigningConfigArn": made["CodeSigningConfig"]["CodeSigningConfigArn"]}
    call("GetCodeSigningConfig", **named)
    call("UpdateCodeSigningConfig", **named, Description="signed well")
    call("ListCodeSigningConfigs")
    call("PutFunctionCodeSigningConfig", **F, **named)
    call("GetFunctionCodeSigningConfig", **F)
    call("ListFunctionsByCodeSigningConfig", **named)
    call("DeleteFunctionCodeSigningConfig", **F)
    call("DeleteCodeSigningConfig", **named)


def tags_and_account(call: Caller) -> None:
    call("TagResource", Resource=ARN, Tags={"a": "1"})
    assert call("ListTags", Resource=ARN)["Tags"] == {"team": "a", "a": "1"}
    call("UntagResource", Resource=ARN, TagKeys=["a", "team"])
    call("GetAccountSettings")


def deletions(call: Caller) -> None:
    call("DeleteAlias", **F, Name="spare")
    call("DeleteAlias", **F, Name="live")
    call("DeleteFunction", **F, Qualifier="1")
    call("DeleteFunction", **F)


@pytest.mark.parametrize("name", [name for name in model.service().operation_names if name not in model.supported()])
def test_an_operation_that_this_release_has_not_is_refused_by_name(refusing: Any, name: str) -> None:
    method = getattr(refusing, xform_name(name))
    with pytest.raises(ClientError) as caught:
        method(**model.dummy(name))
    error = caught.value.response
    assert (error["Error"]["Code"], error["ResponseMetadata"]["HTTPStatusCode"]) == (
        "InvalidParameterValueException", 400,
    )  # fmt: skip
    assert f"does not support {name} yet" in error["Error"]["Message"]
    assert error["ResponseMetadata"]["RetryAttempts"] == 0


@pytest.fixture(scope="module")
def refusing(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A client that lets any parameters through."""
    from tests.api_server import ApiServer

    with ApiServer(tmp_path_factory.mktemp("api")) as server:
        yield client_of(server.url, parameter_validation=False)
