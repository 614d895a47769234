"""What Lambda answers to what its model cannot describe: codes, statuses and words. Source: Lambda API, recorded answers."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.api_server import CODE, HOME, ROLE, zipped
from tests.conformance.api.verdict import of_an_error
from tests.conformance.api.wire import send

NEWER = zipped(app_py="def handler(event, context): return 2\n")
NEW = {
    "FunctionName": "new", "Role": ROLE, "Code": {"ZipFile": CODE}, "Runtime": "python3.12", "Handler": "app.handler"
}  # fmt: skip
ARN = HOME.function("words")
LAYER = f"arn:aws:lambda:{HOME.region}:{HOME.account}:layer:words"
ONLY_FUNCTIONS = (
    "This operation is permitted on Lambda functions only. Aliases and versions do not support this operation. Please specify "
    "either a function name or an unqualified function ARN."
)
MISMATCH = "The derived qualifier from the function name does not match the specified qualifier."
STALE = (
    "The Revision Id provided does not match the latest Revision Id. Call the GetFunction/GetAlias API to retrieve the latest "
    "Revision Id"
)


@pytest.fixture(scope="module")
def function(client: httpx.Client) -> Iterator[str]:
    """With the versions 1 and 2 and the alias ``live``."""
    answers = [
        send(client, "CreateFunction", {**NEW, "FunctionName": "words"}),
        send(client, "PublishVersion", {"FunctionName": "words"}),
        send(client, "UpdateFunctionCode", {"FunctionName": "words", "ZipFile": NEWER}),
        send(client, "PublishVersion", {"FunctionName": "words"}),
        send(client, "CreateAlias", {"FunctionName": "words", "Name": "live", "FunctionVersion": "1"}),
    ]
    assert [answer.status_code for answer in answers] == [201, 201, 200, 201, 201], [one.text for one in answers]
    yield "words"
    send(client, "DeleteFunction", {"FunctionName": "words"})


def no(name: str, params: dict[str, Any], status: int, code: str, message: str) -> Any:
    return pytest.param(name, params, status, code, message, id=f"{name}-{code}-{message[:40]}")


INVALID, MISSING, CONFLICT = "InvalidParameterValueException", "ResourceNotFoundException", "ResourceConflictException"
F = {"FunctionName": "words"}


@pytest.mark.parametrize(
    ("name", "params", "status", "code", "message"),
    [
        no("CreateFunction", {**NEW, "FunctionName": "words"}, 409, CONFLICT, "Function already exist: words"),
        no("CreateFunction", {**NEW, "FunctionName": "a" * 65}, 400, INVALID,
           f"1 validation error detected: Value '{'a' * 65}' at 'functionName' failed to satisfy constraint: Member must have "
           "length less than or equal to 64"),
        no("CreateFunction", {**NEW, "Timeout": 1200}, 400, "ValidationException",
           "1 validation error detected: Value '1200' at 'timeout' failed to satisfy constraint: Member must have value less "
           "than or equal to 900"),
        no("CreateFunction", {**NEW, "Architectures": ["X86_64"]}, 400, "ValidationException",
           "1 validation error detected: Value '[X86_64]' at 'architectures' failed to satisfy constraint: Member must satisfy "
           "constraint: [Member must satisfy enum value set: [x86_64, arm64], Member must not be null]"),
        no("CreateFunction", {**NEW, "Timeout": 0, "MemorySize": 1}, 400, "ValidationException",
           "2 validation errors detected: Value '0' at 'timeout' failed to satisfy constraint: Member must have value greater "
           "than or equal to 1; Value '1' at 'memorySize' failed to satisfy constraint: Member must have value greater than or "
           "equal to 128"),
        no("CreateFunction", {**NEW, "Code": {"ZipFile": b""}}, 400, INVALID, "Uploaded file must be a non-empty zip"),
        no("GetFunction", {"FunctionName": "nobody"}, 404, MISSING, f"Function not found: {HOME.function('nobody')}"),
        no("GetFunction", {**F, "Qualifier": "9"}, 404, MISSING, f"Function not found: {ARN}:9"),
        no("GetFunction", {"FunctionName": "words:1", "Qualifier": "2"}, 400, INVALID, MISMATCH),
        no("GetFunction", {"FunctionName": ARN.replace("us-east-1", "eu-west-1")}, 404, MISSING,
           "Functions from 'eu-west-1' are not reachable in this region ('us-east-1')"),
        no("Invoke", {"FunctionName": "nobody"}, 404, MISSING, f"Function not found: {HOME.function('nobody')}:$LATEST"),
        no("Invoke", {**F, "Qualifier": "gone"}, 404, MISSING, f"Function not found: {ARN}:gone"),
        no("Invoke", {**F, "InvocationType": "Sometimes"}, 400, "ValidationException",
           "1 validation error detected: Value 'Sometimes' at 'invocationType' failed to satisfy constraint: Member must "
           "satisfy enum value set: [Event, RequestResponse, DryRun]"),
        no("DeleteFunction", {**F, "Qualifier": "$LATEST"}, 400, INVALID,
           "$LATEST version cannot be deleted without deleting the function."),
        no("DeleteFunction", {**F, "Qualifier": "live"}, 400, INVALID, "Deletion of aliases is not currently supported."),
        no("UpdateFunctionCode", {**F, "ZipFile": CODE, "RevisionId": "stale"}, 412, "PreconditionFailedException", STALE),
        no("UpdateFunctionConfiguration", {**F, "RevisionId": "stale"}, 412, "PreconditionFailedException", STALE),
        no("PublishVersion", {**F, "RevisionId": "stale"}, 412, "PreconditionFailedException", STALE),
        no("UpdateAlias", {**F, "Name": "live", "RevisionId": "stale"}, 412, "PreconditionFailedException", STALE),
        no("PublishVersion", {**F, "CodeSha256": "other"}, 400, INVALID,
           f"CodeSHA256 (other) is different from current CodeSHA256 in $LATEST "
           f"({base64.b64encode(hashlib.sha256(NEWER).digest()).decode()}). "
           "Please try again with the CodeSHA256 in $LATEST."),
        no("CreateAlias", {**F, "Name": "live", "FunctionVersion": "1"}, 409, CONFLICT, f"Alias already exists: {ARN}:live"),
        no("CreateAlias", {**F, "Name": "new", "FunctionVersion": "9"}, 404, MISSING, f"Function not found: {ARN}:9"),
        no("CreateAlias", {**F, "Name": "12", "FunctionVersion": "1"}, 400, "ValidationException",
           "1 validation error detected: Value '12' at 'name' failed to satisfy constraint: Member must satisfy regular "
           "expression pattern: (?!^[0-9]+$)([a-zA-Z0-9-_]+)"),
        no("CreateAlias", {**F, "Name": "new", "FunctionVersion": "1",
                           "RoutingConfig": {"AdditionalVersionWeights": {"1": 0.1, "2": 0.2}}}, 400, INVALID,
           "Number of items in AdditionalVersionWeights cannot be greater than 1"),
        no("CreateAlias", {**F, "Name": "new", "FunctionVersion": "1",
                           "RoutingConfig": {"AdditionalVersionWeights": {"1": 0.1}}}, 400, INVALID,
           "Invalid function version 1. Function version 1 is already included in routing configuration."),
        no("CreateAlias", {**F, "Name": "new", "FunctionVersion": "$LATEST",
                           "RoutingConfig": {"AdditionalVersionWeights": {"1": 0.1}}}, 400, INVALID,
           "$LATEST is not supported for an alias pointing to more than 1 version"),
        no("GetAlias", {**F, "Name": "gone"}, 404, MISSING, f"Cannot find alias arn: {ARN}:gone"),
        no("UpdateAlias", {**F, "Name": "gone"}, 404, MISSING, f"Alias not found: {ARN}:gone"),
        no("PutFunctionConcurrency", {"FunctionName": "words:1", "ReservedConcurrentExecutions": 1}, 400, INVALID,
           ONLY_FUNCTIONS),
        no("PutFunctionConcurrency", {**F, "ReservedConcurrentExecutions": 1000}, 400, INVALID,
           "Specified ReservedConcurrentExecutions for function decreases account's UnreservedConcurrentExecution below its "
           "minimum value of [100]."),
        no("TagResource", {"Resource": f"{ARN}:1", "Tags": {"a": "b"}}, 400, INVALID,
           "Tags on function aliases and versions are not supported. Please specify a function ARN."),
        no("TagResource", {"Resource": ARN, "Tags": {}}, 400, INVALID,
           "An error occurred and the request cannot be processed."),
        no("TagResource", {"Resource": ARN, "Tags": {str(n): "" for n in range(51)}}, 400, INVALID,
           "Number of tags exceeds resource tag limit."),
        no("UpdateFunctionCode", {**F, "ImageUri": "000000000000.dkr.ecr.us-east-1.amazonaws.com/image:latest"}, 400, INVALID,
           "Please don't provide ImageUri when updating a function with packageType Zip."),
        no("GetPolicy", F, 404, MISSING, "The resource you requested does not exist."),
        no("GetPolicy", {"FunctionName": "nobody"}, 404, MISSING, f"Function not found: {HOME.function('nobody')}:$LATEST"),
        no("RemovePermission", {**F, "StatementId": "x"}, 404, MISSING,
           "No policy is associated with the given resource."),
        no("UpdateFunctionConfiguration", {**F, "Layers": [f"{LAYER}:{n}" for n in range(1, 7)]}, 400, INVALID,
           "Cannot reference more than 5 layers."),
        no("UpdateFunctionConfiguration", {**F, "Layers": [f"{LAYER}:9"]}, 400, INVALID,
           f"Layer version {LAYER}:9 does not exist."),
        no("UpdateFunctionConfiguration", {**F, "Layers": [f"{LAYER}:1".replace("us-east-1", "eu-west-1")]}, 400, INVALID,
           "Layers are not in the same region as the function. Layers are expected to be in region us-east-1."),
        no("GetLayerVersion", {"LayerName": "words", "VersionNumber": 0}, 400, INVALID,
           "Layer Version Cannot be less than 1"),
        no("GetLayerVersion", {"LayerName": "words", "VersionNumber": 9}, 404, MISSING,
           f"Layer version {LAYER}:9 does not exist."),
        no("GetFunctionUrlConfig", F, 404, MISSING, "The resource you requested does not exist."),
        no("GetFunctionEventInvokeConfig", F, 404, MISSING,
           f"The function {ARN}:$LATEST doesn't have an EventInvokeConfig"),
        no("GetProvisionedConcurrencyConfig", {**F, "Qualifier": "live"}, 404, "ProvisionedConcurrencyConfigNotFoundException",
           "No Provisioned Concurrency Config found for this function"),
        no("UpdateFunctionConfiguration", {**F, "Environment": {"Variables": {"AWS_REGION": "x"}}}, 400, INVALID,
           "Lambda was unable to configure your environment variables because the environment variables you have provided "
           "contains reserved keys that are currently not supported for modification. Reserved keys used in this request: "
           "AWS_REGION"),
        no("UpdateFunctionConfiguration", {**F, "Runtime": "python3.7"}, 400, INVALID,
           "The runtime parameter of python3.7 is no longer supported for creating or updating AWS Lambda functions. We "
           "recommend you use a supported runtime while creating or updating functions."),
    ],
)  # fmt: skip
def test_an_error_has_lambda_s_words(
    client: httpx.Client, function: str, name: str, params: dict[str, Any], status: int, code: str, message: str
) -> None:
    answer = send(client, name, params)
    found = answer.json()
    assert (answer.status_code, answer.headers["x-amzn-errortype"]) == (status, code), answer.text
    assert (found.get("message") or found.get("Message")) == message
    assert of_an_error(answer) == ""


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/2015-03-31/nothing"), ("GET", "/2015-03-30/functions"), ("PATCH", "/2015-03-31/functions"),
        ("DELETE", "/2015-03-31/functions"), ("POST", "/2015-03-31/functions/f"), ("GET", "/2015-03-31"),
        ("GET", "/2015-03-31/functions/f/aliases/a/b"), ("OPTIONS", "/2015-03-31/functions"),
        ("TRACE", "/2015-03-31/functions"),
    ],
)  # fmt: skip
def test_a_path_or_method_of_no_operation_is_unknown(client: httpx.Client, method: str, path: str) -> None:
    answer = client.request(method, path)
    assert (answer.status_code, answer.headers["x-amzn-errortype"]) == (404, "UnknownOperationException")
    assert of_an_error(answer) == ""


def test_a_method_without_a_body_in_its_answer_has_none(client: httpx.Client) -> None:
    assert client.head("/2015-03-31/functions").content == b""


def test_each_operation_answers_with_the_arn_that_lambda_answers_with(client: httpx.Client, function: str) -> None:
    def arn(name: str, **params: Any) -> tuple[str, str]:
        found = send(client, name, {**F, **params}).json()
        found = found.get("Configuration", found)
        return found["FunctionArn"], found["Version"]

    assert arn("GetFunction") == (ARN, "$LATEST")
    assert arn("GetFunction", Qualifier="$LATEST") == (f"{ARN}:$LATEST", "$LATEST")
    assert arn("GetFunction", Qualifier="live") == (f"{ARN}:live", "1")
    assert arn("GetFunctionConfiguration", Qualifier="2") == (f"{ARN}:2", "2")
    assert arn("GetFunctionConfiguration", FunctionName=f"{ARN}:live") == (f"{ARN}:live", "1")
    assert arn("PublishVersion") == (f"{ARN}:2", "2")
    assert arn("UpdateFunctionCode", ZipFile=NEWER, Publish=True) == (f"{ARN}:3", "3")
    made = send(client, "CreateFunction", {**NEW, "FunctionName": "at-once", "Publish": True}).json()
    assert (made["FunctionArn"], made["Version"]) == (HOME.function("at-once"), "1")
    send(client, "DeleteFunction", {"FunctionName": "at-once"})


def test_a_creation_is_answered_pending_and_an_update_in_progress(client: httpx.Client) -> None:
    made = send(client, "CreateFunction", {**NEW, "FunctionName": "young"}).json()
    assert (made["State"], made["StateReasonCode"], made["StateReason"]) == (
        "Pending", "Creating", "The function is being created.",
    )  # fmt: skip
    assert not [key for key in made if key.startswith("LastUpdateStatus")]
    params = {"FunctionName": "young"}
    found = send(client, "GetFunctionConfiguration", params).json()
    assert (found["State"], found["LastUpdateStatus"]) == ("Active", "Successful")
    assert not [key for key in found if "Reason" in key]
    for change in (
        send(client, "UpdateFunctionConfiguration", {**params, "Timeout": 4}).json(),
        send(client, "UpdateFunctionCode", {**params, "ZipFile": NEWER}).json(),
        send(client, "UpdateFunctionCode", {**params, "ZipFile": CODE, "Publish": True}).json(),
    ):
        assert (change["State"], change["LastUpdateStatus"], change["LastUpdateStatusReasonCode"]) == (
            "Active", "InProgress", "Creating",
        )  # fmt: skip
        assert send(client, "GetFunction", params).json()["Configuration"]["LastUpdateStatus"] == "Successful"
    dry = send(client, "UpdateFunctionCode", {**params, "ZipFile": NEWER, "DryRun": True}).json()
    assert dry["LastUpdateStatus"] == "Successful"
    send(client, "DeleteFunction", params)


def test_a_body_that_is_no_document_is_refused(client: httpx.Client) -> None:
    for body in (b"[]", b'"text"', b"7", b"null", b"{", b"\xff", b"{}{}", b"{'a': 1}", b'{"FunctionName": NaN}'):
        answer = client.post("/2015-03-31/functions", content=body)
        assert (answer.status_code, answer.headers["x-amzn-errortype"]) == (400, "InvalidRequestContentException"), body
        assert answer.json()["message"].startswith("Could not parse request body into json: ")


def test_nulls_are_as_good_as_absent(client: httpx.Client) -> None:
    document = json.dumps({"Description": None, "Environment": {"Variables": None}, "Timeout": None}).encode()
    answer = client.put("/2015-03-31/functions/nobody/configuration", content=document)
    assert (answer.status_code, answer.headers["x-amzn-errortype"]) == (404, MISSING)
    document = json.dumps({"Code": None, "FunctionName": "n", "Role": None}).encode()
    answer = client.post("/2015-03-31/functions", content=document)
    assert answer.json()["message"].startswith("2 validation errors detected: Value null at 'role'")
