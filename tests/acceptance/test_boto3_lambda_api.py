"""The Lambda API as boto3 sees it: the getting-started sequence, waiters, pages, names, and every error by its class."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import boto3
import httpx
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from fnrunner.invoke import errors
from fnrunner.model import limits
from fnrunner.model.invocation import ThrottleReason
from tests.api_server import CODE, HOME, ROLE, ApiServer, Result, zipped

RUNTIME = "python3.12"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    with ApiServer(tmp_path_factory.mktemp("api")) as running:
        yield running


@pytest.fixture
def client(server: ApiServer) -> Iterator[Any]:
    """A client with credentials that mean nothing, as with other local emulators."""
    made = boto3.client(
        "lambda",
        endpoint_url=server.url,
        region_name="us-east-1",
        aws_access_key_id="any",
        aws_secret_access_key="any",
        config=Config(retries={"total_max_attempts": 1}, read_timeout=60),
    )
    yield made
    made.close()


@pytest.fixture(autouse=True)
def calm(server: ApiServer) -> Iterator[None]:
    yield
    server.front.error = None
    server.front.result = lambda payload: Result(payload=payload)
    server.front.asked.clear()


@pytest.fixture
def name(client: Any) -> Iterator[str]:
    """A function of one test."""
    function = f"fn-{uuid4().hex[:8]}"
    create(client, function)
    yield function
    client.delete_function(FunctionName=function)


def create(client: Any, function: str, **more: Any) -> Any:
    return client.create_function(
        **{
            "FunctionName": function, "Runtime": RUNTIME, "Role": ROLE, "Handler": "app.handler",
            "Code": {"ZipFile": CODE}, **more,
        }
    )  # fmt: skip


def test_getting_started(client: Any, server: ApiServer) -> None:
    created = create(client, "hello", Environment={"Variables": {"GREETING": "hi"}}, Tags={"team": "a"}, Timeout=10)
    assert created["ResponseMetadata"]["HTTPStatusCode"] == 201
    assert (created["State"], created["Version"], created["Timeout"]) == ("Pending", "$LATEST", 10)
    client.get_waiter("function_exists").wait(FunctionName="hello")
    client.get_waiter("function_active_v2").wait(FunctionName="hello")
    answer = client.invoke(FunctionName="hello", Payload=b'{"name": "you"}')
    assert (answer["StatusCode"], answer["Payload"].read()) == (200, b'{"name": "you"}')
    found = client.get_function(FunctionName="hello")
    assert found["Tags"] == {"team": "a"}
    assert httpx.get(found["Code"]["Location"]).content == CODE
    newer = zipped(app_py="def handler(event, context): return 2\n")
    updated = client.update_function_code(FunctionName="hello", ZipFile=newer)
    assert updated["CodeSha256"] != created["CodeSha256"]
    client.get_waiter("function_updated_v2").wait(FunctionName="hello")
    assert httpx.get(client.get_function(FunctionName="hello")["Code"]["Location"]).content == newer
    changed = client.update_function_configuration(FunctionName="hello", MemorySize=256, Environment={"Variables": {}})
    assert (changed["MemorySize"], changed["Environment"]) == (256, {"Variables": {}})
    client.get_waiter("function_updated").wait(FunctionName="hello")
    client.get_waiter("function_active").wait(FunctionName="hello")
    assert client.get_function_configuration(FunctionName="hello")["RevisionId"] == changed["RevisionId"]
    assert client.delete_function(FunctionName="hello")["ResponseMetadata"]["HTTPStatusCode"] == 204
    with pytest.raises(client.exceptions.ResourceNotFoundException):
        client.get_function(FunctionName="hello")


def test_lists_come_in_pages(client: Any) -> None:
    names = sorted(f"page-{number:02}" for number in range(7))
    for one in names:
        create(client, one)
    pages = list(client.get_paginator("list_functions").paginate(PaginationConfig={"PageSize": 3}))
    listed = [function["FunctionName"] for page in pages for function in page["Functions"]]
    assert [one for one in listed if one.startswith("page-")] == names
    assert listed == sorted(set(listed))
    assert [len(page["Functions"]) for page in pages[:-1]] == [3] * (len(pages) - 1)
    assert all("State" not in function for page in pages for function in page["Functions"])
    qualified = client.list_functions(FunctionVersion="ALL")["Functions"]
    assert all(function["FunctionArn"].endswith(":$LATEST") for function in qualified)
    for one in names:
        client.delete_function(FunctionName=one)


@pytest.mark.parametrize(
    "form", ["{}", "{}:$LATEST", "function:{}", "000000000000:function:{}", "arn", "qualified arn"]
)
def test_a_function_answers_to_every_form_of_its_name(client: Any, name: str, form: str) -> None:
    arns = {"arn": HOME.function(name), "qualified arn": HOME.function(name, "$LATEST")}
    function = arns.get(form) or form.format(name)
    assert client.get_function(FunctionName=function)["Configuration"]["FunctionName"] == name
    assert client.invoke(FunctionName=function)["StatusCode"] == 200


def test_the_arn_ends_in_the_qualifier_that_was_given(client: Any, name: str) -> None:
    plain = client.get_function_configuration(FunctionName=name)
    qualified = client.get_function_configuration(FunctionName=name, Qualifier="$LATEST")
    assert plain["FunctionArn"] == HOME.function(name)
    assert qualified["FunctionArn"] == HOME.function(name, "$LATEST")
    [version] = client.list_versions_by_function(FunctionName=name)["Versions"]
    assert (version["Version"], version["FunctionArn"]) == ("$LATEST", HOME.function(name, "$LATEST"))


def test_an_event_is_taken_and_a_dry_run_runs_nothing(client: Any, server: ApiServer, name: str) -> None:
    event = client.invoke(FunctionName=name, InvocationType="Event", Payload=b'{"a": 1}')
    assert (event["StatusCode"], event["Payload"].read()) == (202, b"")
    assert "ExecutedVersion" not in event
    assert event["ResponseMetadata"]["RequestId"] == "event-1"
    assert server.front.asked[-1]["payload"] == b'{"a": 1}'
    count = len(server.front.asked)
    assert client.invoke(FunctionName=name, InvocationType="DryRun")["StatusCode"] == 204
    assert len(server.front.asked) == count
    assert client.invoke_async(FunctionName=name, InvokeArgs=b"[1]")["Status"] == 202
    assert server.front.asked[-1]["payload"] == b"[1]"


def test_bytes_go_through_as_they_are(client: Any, name: str) -> None:
    payload = '{"b": 1.0, "a":  1e400, "\u00fc": "\\u00fc\\ud83d"}'.encode()
    assert client.invoke(FunctionName=name, Payload=payload)["Payload"].read() == payload
    assert client.invoke(FunctionName=name)["Payload"].read() == b"{}"


def test_a_function_error_the_log_and_the_context(client: Any, server: ApiServer, name: str) -> None:
    failed = b'{"errorMessage": "no", "errorType": "ValueError"}'
    server.front.result = lambda _: Result(payload=failed, function_error="Unhandled", log_tail=b"START\nREPORT\n")
    context = base64.b64encode(json.dumps({"custom": {"k": "v"}}).encode()).decode()
    answer = client.invoke(FunctionName=name, LogType="Tail", ClientContext=context)
    assert (answer["StatusCode"], answer["FunctionError"], answer["ExecutedVersion"]) == (200, "Unhandled", "$LATEST")
    assert base64.b64decode(answer["LogResult"]) == b"START\nREPORT\n"
    assert json.loads(server.front.asked[-1]["client_context"]) == {"custom": {"k": "v"}}


def test_what_follows_events_is_put_changed_listed_and_deleted(client: Any, name: str) -> None:
    put = client.put_function_event_invoke_config(
        FunctionName=name, MaximumRetryAttempts=0, DestinationConfig={"OnFailure": {"Destination": HOME.queue("q")}}
    )
    assert put["FunctionArn"] == HOME.function(name, "$LATEST")
    assert put["LastModified"].year >= 2025
    assert "MaximumEventAgeInSeconds" not in put
    updated = client.update_function_event_invoke_config(FunctionName=name, MaximumEventAgeInSeconds=60)
    assert (updated["MaximumRetryAttempts"], updated["MaximumEventAgeInSeconds"]) == (0, 60)
    assert updated["DestinationConfig"] == {"OnSuccess": {}, "OnFailure": {"Destination": HOME.queue("q")}}
    assert client.get_function_event_invoke_config(FunctionName=name)["MaximumRetryAttempts"] == 0
    paginator = client.get_paginator("list_function_event_invoke_configs")
    assert (
        len([one for page in paginator.paginate(FunctionName=name) for one in page["FunctionEventInvokeConfigs"]]) == 1
    )
    client.delete_function_event_invoke_config(FunctionName=name)
    with pytest.raises(client.exceptions.ResourceNotFoundException, match="doesn't have an EventInvokeConfig"):
        client.get_function_event_invoke_config(FunctionName=name)


def test_concurrency_is_reserved_and_given_back(client: Any, name: str) -> None:
    assert "ReservedConcurrentExecutions" not in client.get_function_concurrency(FunctionName=name)
    client.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=900)
    assert client.get_function(FunctionName=name)["Concurrency"] == {"ReservedConcurrentExecutions": 900}
    assert client.get_account_settings()["AccountLimit"]["UnreservedConcurrentExecutions"] == 100
    with pytest.raises(client.exceptions.InvalidParameterValueException, match=r"minimum value of \[100\]"):
        client.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=901)
    client.delete_function_concurrency(FunctionName=name)
    assert "Concurrency" not in client.get_function(FunctionName=name)
    with pytest.raises(client.exceptions.InvalidParameterValueException, match="Aliases and versions do not support"):
        client.get_function_concurrency(FunctionName=f"{name}:1")


def test_tags_are_added_and_removed(client: Any, name: str) -> None:
    arn = HOME.function(name)
    client.tag_resource(Resource=arn, Tags={"a": "1", "schl\u00fcssel": "wert \u00e9"})
    client.untag_resource(Resource=arn, TagKeys=["a", "nothing"])
    assert client.list_tags(Resource=arn)["Tags"] == {"schl\u00fcssel": "wert \u00e9"}
    for change in ({"Resource": f"{arn}:1", "Tags": {"a": "1"}}, {"Resource": arn, "Tags": {}}):
        with pytest.raises(client.exceptions.InvalidParameterValueException):
            client.tag_resource(**change)


def test_terraform_finds_no_code_signing(client: Any, name: str) -> None:
    answer = client.get_function_code_signing_config(FunctionName=name)
    assert "CodeSigningConfigArn" not in answer


def test_a_revision_that_is_not_the_latest_changes_nothing(client: Any, name: str) -> None:
    stale = client.get_function_configuration(FunctionName=name)["RevisionId"]
    client.update_function_configuration(FunctionName=name, Description="newer", RevisionId=stale)
    for change in (
        lambda: client.update_function_configuration(FunctionName=name, Description="lost", RevisionId=stale),
        lambda: client.update_function_code(FunctionName=name, ZipFile=CODE, RevisionId=stale),
    ):
        with pytest.raises(
            client.exceptions.PreconditionFailedException, match="does not match the latest Revision Id"
        ):
            change()
    assert client.get_function_configuration(FunctionName=name)["Description"] == "newer"


def test_a_dry_run_of_new_code_changes_nothing(client: Any, name: str) -> None:
    before = client.get_function_configuration(FunctionName=name)
    answer = client.update_function_code(FunctionName=name, ZipFile=zipped(app_py="x = 1\n"), DryRun=True)
    assert answer["RevisionId"] == before["RevisionId"]
    assert client.get_function_configuration(FunctionName=name)["CodeSha256"] == before["CodeSha256"]


@pytest.mark.parametrize(
    "operation",
    ["get_function", "get_function_configuration", "invoke", "delete_function", "get_function_concurrency",
     "list_versions_by_function", "get_function_code_signing_config", "list_function_event_invoke_configs"],
)  # fmt: skip
def test_what_does_not_exist_is_not_found(client: Any, operation: str) -> None:
    with pytest.raises(client.exceptions.ResourceNotFoundException) as caught:
        getattr(client, operation)(FunctionName="missing")
    assert caught.value.response["Error"]["Message"].startswith(
        "Function not found: arn:aws:lambda:us-east-1:000000000000"
    )
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 404


@pytest.mark.parametrize("qualifier", ["1", "prod"])
def test_a_version_or_alias_that_nobody_made_is_not_found(client: Any, name: str, qualifier: str) -> None:
    for operation in (client.get_function, client.invoke, client.get_function_event_invoke_config):
        with pytest.raises(client.exceptions.ResourceNotFoundException):
            operation(FunctionName=name, Qualifier=qualifier)


def test_a_second_function_of_the_name_is_a_conflict(client: Any, name: str) -> None:
    with pytest.raises(client.exceptions.ResourceConflictException, match=f"Function already exist: {name}"):
        create(client, name)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"Runtime": "python3.7"}, "The runtime parameter of python3.7 is no longer supported"),
        ({"Runtime": "cobol"}, "Value cobol at 'runtime' failed to satisfy constraint"),
        ({"Runtime": "nodejs18.x"}, "nodejs18.x is not supported"),
        (
            {"FunctionName": "a" * 65},
            "'functionName' failed to satisfy constraint: Member must have length less than or equal",
        ),
        ({"Environment": {"Variables": {"AWS_REGION": "x"}}}, "Reserved keys used in this request: AWS_REGION"),
        ({"Environment": {"Variables": {"BIG": "x" * 4096}}}, "exceeded the 4KB limit"),
        ({"Code": {"ZipFile": b"no zip"}}, "Could not unzip uploaded file"),
        ({"Code": {"ZipFile": b""}}, "non-empty zip"),
        ({"Architectures": ["arm64"]}, "fnrunner runs functions on x86_64 here"),
        (
            {"DeadLetterConfig": {"TargetArn": "arn:aws:kinesis:us-east-1:000000000000:stream/s"}},
            "neither an SQS queue",
        ),
        ({"Layers": ["arn:aws:lambda:us-east-1:000000000000:layer:l:1"]}, "does not exist"),
        ({"LoggingConfig": {"LogFormat": "Text", "ApplicationLogLevel": "INFO"}}, "LogLevel is not supported"),
    ],
)
def test_what_a_function_cannot_be(client: Any, changes: dict[str, Any], message: str) -> None:
    import platform

    if "Architectures" in changes and platform.machine() != "x86_64":
        pytest.skip("the host is not x86_64")
    with pytest.raises(client.exceptions.InvalidParameterValueException) as caught:
        create(
            client, **{"function": "wrong", **changes} if "FunctionName" not in changes else {"function": "", **changes}
        )
    assert message in caught.value.response["Error"]["Message"]
    with pytest.raises(client.exceptions.ResourceNotFoundException):
        client.get_function(FunctionName="wrong")


@pytest.mark.parametrize(
    ("error", "code", "status"),
    [
        (errors.Throttled(ThrottleReason.RESERVED), "TooManyRequestsException", 429),
        (errors.Throttled(ThrottleReason.CAPACITY), "TooManyRequestsException", 429),
        (errors.ServiceUnavailable("the broker is away"), "ServiceException", 503),
        (errors.NoWorker("no worker"), "ServiceException", 503),
        (errors.ServiceFault("the worker died"), "ServiceException", 500),
        (errors.WrongAccount("not here"), "AccessDeniedException", 403),
        (RuntimeError("a bug"), "ServiceException", 500),
    ],
    ids=str,
)
@pytest.mark.parametrize("kind", ["RequestResponse", "Event"])
def test_what_invoking_may_answer(
    client: Any, server: ApiServer, name: str, error: Exception, code: str, status: int, kind: str
) -> None:
    server.front.error = error
    with pytest.raises(ClientError) as caught:
        client.invoke(FunctionName=name, InvocationType=kind, Payload=b"{}")
    assert caught.value.response["Error"]["Code"] == code
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == status
    if isinstance(error, errors.Throttled):
        assert caught.value.response["Reason"] == error.reason
        assert caught.value.response["ResponseMetadata"]["HTTPHeaders"]["retry-after"] == "1"


def test_payloads_have_lambdas_limits(client: Any, name: str) -> None:
    for kind, size, text in (
        (
            "RequestResponse",
            limits.SYNC_PAYLOAD_BYTES,
            "Request must be smaller than 6291456 bytes for the InvokeFunction",
        ),
        ("Event", limits.ASYNC_PAYLOAD_BYTES, "1048577 byte payload is too large for the Event invocation type"),
    ):
        assert client.invoke(FunctionName=name, InvocationType=kind, Payload=b"1" * size)["StatusCode"] in (200, 202)
        with pytest.raises(ClientError, match=text) as caught:
            client.invoke(FunctionName=name, InvocationType=kind, Payload=b"1" * (size + 1))
        assert caught.value.response["Error"]["Code"] == "RequestEntityTooLargeException"
        assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 413


@pytest.mark.parametrize("payload", [b"{", b"not json", b"\xff", b"NaN", b"[" * 5000])
@pytest.mark.parametrize("kind", ["RequestResponse", "Event"])
def test_a_payload_that_is_not_json_is_refused(client: Any, name: str, payload: bytes, kind: str) -> None:
    with pytest.raises(
        client.exceptions.InvalidRequestContentException, match=r"Could not parse request body into json"
    ):
        client.invoke(FunctionName=name, InvocationType=kind, Payload=payload)


def test_other_regions_and_accounts_are_not_here(client: Any) -> None:
    with pytest.raises(client.exceptions.ResourceNotFoundException, match="are not reachable in this region"):
        client.get_function(FunctionName="arn:aws:lambda:eu-west-1:000000000000:function:f")
    with pytest.raises(ClientError) as caught:
        client.get_function(FunctionName="arn:aws:lambda:us-east-1:999999999999:function:f")
    assert caught.value.response["Error"]["Code"] == "AccessDeniedException"


def test_operations_of_later_releases_say_so_once(client: Any, name: str) -> None:
    retrying = Config(retries={"total_max_attempts": 3})
    other = boto3.client(
        "lambda", endpoint_url=client.meta.endpoint_url, region_name="us-east-1", aws_access_key_id="a",
        aws_secret_access_key="b", config=retrying,
    )  # fmt: skip
    for operation, params in (
        ("get_function_scaling_config", {"FunctionName": name, "Qualifier": "1"}),
        ("list_capacity_providers", {}),
    ):
        with pytest.raises(
            other.exceptions.InvalidParameterValueException, match=r"fnrunner 9\.9\.9 does not support"
        ) as caught:
            getattr(other, operation)(**params)
        assert caught.value.response["ResponseMetadata"]["RetryAttempts"] == 0
    other.close()
