"""Reserved and provisioned concurrency as boto3 sees them, with every error of Lambda's."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import uuid4

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from tests.api_server import CODE, HOME, ROLE, ApiServer
from tests.installation import Installation, eventually
from tests.rabbitmq_server import RabbitMQServer

LIMIT = 300
WAIT_S = 60


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    with ApiServer(tmp_path_factory.mktemp("api"), account_concurrency=LIMIT) as running:
        yield running


@pytest.fixture
def client(server: ApiServer) -> Iterator[Any]:
    made = boto3.client(
        "lambda",
        endpoint_url=server.url,
        region_name="us-east-1",
        aws_access_key_id="any",
        aws_secret_access_key="any",
        config=Config(retries={"total_max_attempts": 1}, read_timeout=60, parameter_validation=False),
    )
    yield made
    made.close()


@pytest.fixture
def name(client: Any) -> Iterator[str]:
    """A function of one test, with version 1 and the alias ``live`` of it."""
    function = f"fn-{uuid4().hex[:8]}"
    client.create_function(
        FunctionName=function, Runtime="python3.12", Role=ROLE, Handler="app.handler", Code={"ZipFile": CODE}
    )
    client.publish_version(FunctionName=function)
    client.create_alias(FunctionName=function, Name="live", FunctionVersion="1")
    yield function
    client.delete_function(FunctionName=function)


def put(client: Any, name: str, qualifier: str, number: int) -> Any:
    return client.put_provisioned_concurrency_config(
        FunctionName=name, Qualifier=qualifier, ProvisionedConcurrentExecutions=number
    )


def refused(call: Any, *arguments: Any) -> tuple[int, str, str]:
    with pytest.raises(ClientError) as caught:
        call(*arguments)
    answer: Any = caught.value.response
    return answer["ResponseMetadata"]["HTTPStatusCode"], answer["Error"]["Code"], answer["Error"]["Message"]


def test_a_configuration_is_put_shown_listed_and_deleted(client: Any, name: str) -> None:
    made = put(client, name, "1", 5)
    assert made["ResponseMetadata"]["HTTPStatusCode"] == 202
    document = {
        "RequestedProvisionedConcurrentExecutions": 5,
        "AvailableProvisionedConcurrentExecutions": 0,
        "AllocatedProvisionedConcurrentExecutions": 0,
        "Status": "IN_PROGRESS",
        "LastModified": made["LastModified"],
    }
    assert {key: made[key] for key in made if key != "ResponseMetadata"} == document
    assert made["LastModified"].endswith("+0000")
    assert "." not in made["LastModified"]
    found = client.get_provisioned_concurrency_config(FunctionName=name, Qualifier="1")
    assert {key: found[key] for key in found if key != "ResponseMetadata"} == document
    listed = client.list_provisioned_concurrency_configs(FunctionName=name)["ProvisionedConcurrencyConfigs"]
    assert listed == [{"FunctionArn": HOME.function(name, "1"), **document}]
    assert client.get_account_settings()["AccountLimit"]["UnreservedConcurrentExecutions"] == LIMIT - 5
    for _ in range(2):
        gone = client.delete_provisioned_concurrency_config(FunctionName=name, Qualifier="1")
        assert gone["ResponseMetadata"]["HTTPStatusCode"] == 204
    with pytest.raises(client.exceptions.ProvisionedConcurrencyConfigNotFoundException) as caught:
        client.get_provisioned_concurrency_config(FunctionName=name, Qualifier="1")
    assert caught.value.response["Error"]["Message"] == "No Provisioned Concurrency Config found for this function"
    assert client.get_account_settings()["AccountLimit"]["UnreservedConcurrentExecutions"] == LIMIT


def test_a_second_put_changes_the_number(client: Any, name: str) -> None:
    put(client, name, "live", 5)
    assert put(client, name, "live", 7)["RequestedProvisionedConcurrentExecutions"] == 7
    assert len(client.list_provisioned_concurrency_configs(FunctionName=name)["ProvisionedConcurrencyConfigs"]) == 1


def test_lists_come_in_pages(client: Any, name: str) -> None:
    for number in range(2, 5):
        client.update_function_configuration(FunctionName=name, Description=str(number))
        client.publish_version(FunctionName=name)
        put(client, name, str(number), 1)
    pages = client.get_paginator("list_provisioned_concurrency_configs").paginate(
        FunctionName=name, PaginationConfig={"PageSize": 2}
    )
    listed = [one["FunctionArn"] for page in pages for one in page["ProvisionedConcurrencyConfigs"]]
    assert listed == [HOME.function(name, str(number)) for number in range(2, 5)]


def test_only_versions_and_aliases_that_exist_can_have_one(client: Any, name: str) -> None:
    assert refused(put, client, name, "$LATEST", 1) == (
        400,
        "InvalidParameterValueException",
        "Provisioned Concurrency Configs cannot be applied to unpublished function versions.",
    )
    client.create_alias(FunctionName=name, Name="head", FunctionVersion="$LATEST")
    assert refused(put, client, name, "head", 1)[:2] == (400, "InvalidParameterValueException")
    for read in (client.get_provisioned_concurrency_config, client.delete_provisioned_concurrency_config):
        assert refused(lambda read=read: read(FunctionName=name, Qualifier="$LATEST")) == (
            400,
            "InvalidParameterValueException",
            "The function resource provided must be an alias or a published version.",
        )
        for missing in ("9", "nobody"):
            status, code, message = refused(lambda read=read, q=missing: read(FunctionName=name, Qualifier=q))
            assert (status, code) == (404, "ResourceNotFoundException")
            assert message.endswith(HOME.function(name, missing))
    assert refused(put, client, name, "9", 1) == (
        404,
        "ResourceNotFoundException",
        f"Function not found: {HOME.function(name, '9')}",
    )
    assert refused(put, client, name, "nobody", 1)[2] == f"Cannot find alias arn: {HOME.function(name, 'nobody')}"
    assert refused(put, client, "nothing", "1", 1)[:2] == (404, "ResourceNotFoundException")
    assert refused(lambda: client.list_provisioned_concurrency_configs(FunctionName="nothing"))[0] == 404


def test_a_version_and_its_alias_cannot_both_have_one(client: Any, name: str) -> None:
    put(client, name, "1", 1)
    assert refused(put, client, name, "live", 1) == (
        409,
        "ResourceConflictException",
        "Alias can't be used for Provisioned Concurrency configuration on an already Provisioned version",
    )
    client.delete_provisioned_concurrency_config(FunctionName=name, Qualifier="1")
    put(client, name, "live", 1)
    assert refused(put, client, name, "1", 1) == (
        409,
        "ResourceConflictException",
        "Version is pointed by a Provisioned Concurrency alias",
    )


def test_not_more_than_the_account_has_and_a_hundred_are_left_to_the_others(client: Any, name: str) -> None:
    assert refused(put, client, name, "1", LIMIT + 1) == (
        400,
        "InvalidParameterValueException",
        f"Specified ConcurrentExecutions for function is greater than account's unreserved concurrency [{LIMIT}].",
    )
    assert refused(put, client, name, "1", LIMIT - 99) == (
        400,
        "InvalidParameterValueException",
        "Specified ConcurrentExecutions for function decreases account's UnreservedConcurrentExecution below its minimum "
        "value of [100].",
    )
    put(client, name, "1", LIMIT - 100)
    # what it has already is no hindrance to a change of its own number
    put(client, name, "1", LIMIT - 101)
    other = f"{name}-other"
    client.create_function(
        FunctionName=other, Runtime="python3.12", Role=ROLE, Handler="app.handler", Code={"ZipFile": CODE}
    )
    with pytest.raises(client.exceptions.InvalidParameterValueException, match="minimum value of"):
        client.put_function_concurrency(FunctionName=other, ReservedConcurrentExecutions=2)
    client.delete_function(FunctionName=other)


@pytest.mark.parametrize("number", [0, -1])
def test_less_than_one_is_refused(client: Any, name: str, number: int) -> None:
    status, code, message = refused(put, client, name, "1", number)
    assert (status, code) == (400, "ValidationException")
    assert "at 'provisionedConcurrentExecutions' failed to satisfy constraint" in message
    assert message.endswith("greater than or equal to 1")


def test_the_reservation_bounds_it_and_it_bounds_the_reservation(client: Any, name: str) -> None:
    client.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=5)
    greater = (
        "Requested Provisioned Concurrency should not be greater than the reservedConcurrentExecution for function"
    )
    assert refused(put, client, name, "1", 6) == (400, "InvalidParameterValueException", greater)
    put(client, name, "1", 3)
    client.update_function_configuration(FunctionName=name, Description="2")
    client.publish_version(FunctionName=name)
    assert refused(put, client, name, "2", 3) == (400, "InvalidParameterValueException", greater)
    put(client, name, "2", 2)
    lower = refused(lambda: client.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=4))
    assert lower == (
        400,
        "InvalidParameterValueException",
        " ReservedConcurrentExecutions  4 should not be lower than function's total provisioned concurrency [5].",
    )
    # it is a part of the reservation, so it costs the account nothing more
    assert client.get_account_settings()["AccountLimit"]["UnreservedConcurrentExecutions"] == LIMIT - 5
    client.delete_function_concurrency(FunctionName=name)
    assert client.get_account_settings()["AccountLimit"]["UnreservedConcurrentExecutions"] == LIMIT - 5


def test_the_accounts_limit_is_the_one_that_was_set(client: Any, name: str) -> None:
    limits = client.get_account_settings()["AccountLimit"]
    assert (limits["ConcurrentExecutions"], limits["UnreservedConcurrentExecutions"]) == (LIMIT, LIMIT)
    client.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=LIMIT - 100)
    message = refused(lambda: client.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=201))[2]
    assert message == (
        "Specified ReservedConcurrentExecutions for function decreases account's UnreservedConcurrentExecution below its "
        "minimum value of [100]."
    )


def test_it_goes_with_its_alias_and_its_function(client: Any, name: str) -> None:
    put(client, name, "live", 5)
    client.delete_alias(FunctionName=name, Name="live")
    assert client.list_provisioned_concurrency_configs(FunctionName=name)["ProvisionedConcurrencyConfigs"] == []
    put(client, name, "1", 5)
    client.delete_function(FunctionName=name)
    assert client.get_account_settings()["AccountLimit"]["UnreservedConcurrentExecutions"] == LIMIT
    client.create_function(
        FunctionName=name, Runtime="python3.12", Role=ROLE, Handler="app.handler", Code={"ZipFile": CODE}
    )


SOURCE = """
    import os, time, uuid
    IDENTITY = uuid.uuid4().hex
    if os.environ.get("BROKEN"):
        raise RuntimeError("no")

    def handler(event, context):
        time.sleep(event.get("sleep_s", 0))
        started = os.environ["AWS_LAMBDA_INITIALIZATION_TYPE"]
        return {"type": started, "identity": IDENTITY, "version": context.function_version}
"""
FLOOD = """
    import time
    def handler(event, context):
        time.sleep(0.05)
"""


@pytest.fixture(scope="module")
def installation(rabbitmq: RabbitMQServer) -> Iterator[Installation]:
    """An API and two workers of four environments each."""
    with (
        TemporaryDirectory() as directory,
        Installation(
            Path(directory), rabbitmq.make_vhost(), FNRUNNER_WORKER_CAPACITY="4", FNRUNNER_IDLE_TIMEOUT_S="1"
        ) as found,
    ):
        for role, name in (("api", "api"), ("worker", "worker-1"), ("worker", "worker-2")):
            found.start(role, name, wait=False)
        for name, process in found.processes.items():
            assert process.poll() is None, found.log(name)
        eventually(lambda: len(workers(found)) == 2)
        yield found


def workers(installation: Installation) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = installation.admin("concurrency")["workers"]
    return found


def state(client: Any, name: str, qualifier: str) -> tuple[str, str, int, int]:
    found = client.get_provisioned_concurrency_config(FunctionName=name, Qualifier=qualifier)
    numbers = (found["AllocatedProvisionedConcurrentExecutions"], found["AvailableProvisionedConcurrentExecutions"])
    return found["Status"], found.get("StatusReason", ""), *numbers


def is_ready(client: Any, name: str, qualifier: str, number: int) -> bool:
    return state(client, name, qualifier) == ("READY", "", number, number)


def called(client: Any, name: str, qualifier: str, **event: Any) -> dict[str, Any]:
    """What the function says, and as ``log`` what Lambda does."""
    answer = client.invoke(FunctionName=name, Qualifier=qualifier, Payload=json.dumps(event).encode(), LogType="Tail")
    found: dict[str, Any] = json.loads(answer["Payload"].read())
    return found | {"log": base64.b64decode(answer["LogResult"]).decode()}


def test_provisioned_environments_are_there_before_the_first_call_and_survive_a_flood(
    installation: Installation,
) -> None:
    client = installation.client()
    installation.deploy("calm", SOURCE, Timeout=30)
    installation.deploy("flood", FLOOD, Timeout=30)
    client.publish_version(FunctionName="calm")
    client.create_alias(FunctionName="calm", Name="live", FunctionVersion="1")
    put(client, "calm", "live", 4)
    eventually(lambda: is_ready(client, "calm", "live", 4), within_s=WAIT_S)
    first = called(client, "calm", "live")
    assert (first["type"], first["version"]) == ("provisioned-concurrency", "1")
    assert "Init Duration" not in first["log"]
    for number in range(100):
        installation.send("flood", number)
    met = {first["identity"]}
    for _ in range(10):
        found = called(client, "calm", "live")
        assert (found["type"], "Init Duration" in found["log"]) == ("provisioned-concurrency", False)
        met.add(found["identity"])
    installation.settled("flood", 100)
    met |= {called(client, "calm", "live")["identity"] for _ in range(5)}
    assert len(met) <= 4, "none was lost and made anew"
    assert is_ready(client, "calm", "live", 4)
    client.delete_provisioned_concurrency_config(FunctionName="calm", Qualifier="live")
    eventually(lambda: called(client, "calm", "live")["type"] == "on-demand", within_s=WAIT_S)
    client.delete_function(FunctionName="calm")
    client.delete_function(FunctionName="flood")


def test_a_failing_initialisation_is_told_and_the_version_an_alias_moves_to_is_prepared(
    installation: Installation,
) -> None:
    client = installation.client()
    installation.deploy("broken", SOURCE, Environment={"Variables": {"BROKEN": "1"}})
    client.publish_version(FunctionName="broken")
    client.create_alias(FunctionName="broken", Name="live", FunctionVersion="1")
    put(client, "broken", "live", 2)
    failed = ("FAILED", "FUNCTION_ERROR_INIT_FAILURE", 2, 0)
    eventually(lambda: state(client, "broken", "live") == failed, within_s=WAIT_S)
    client.update_function_configuration(FunctionName="broken", Environment={"Variables": {}})
    client.publish_version(FunctionName="broken")
    client.update_alias(FunctionName="broken", Name="live", FunctionVersion="2")
    eventually(lambda: is_ready(client, "broken", "live", 2), within_s=WAIT_S)
    found = called(client, "broken", "live")
    assert (found["type"], found["version"]) == ("provisioned-concurrency", "2")
    client.delete_function(FunctionName="broken")


def test_where_all_of_a_reservation_is_provisioned_other_versions_are_throttled(installation: Installation) -> None:
    client = installation.client()
    installation.deploy("whole", SOURCE, Timeout=30)
    client.publish_version(FunctionName="whole")
    client.put_function_concurrency(FunctionName="whole", ReservedConcurrentExecutions=2)
    assert called(client, "whole", "$LATEST")["type"] == "on-demand"
    put(client, "whole", "1", 2)
    eventually(lambda: is_ready(client, "whole", "1", 2), within_s=WAIT_S)
    with pytest.raises(client.exceptions.TooManyRequestsException) as caught:
        client.invoke(FunctionName="whole", Payload=b"{}")
    assert caught.value.response["Reason"] == "ReservedFunctionConcurrentInvocationLimitExceeded"
    assert called(client, "whole", "1")["version"] == "1"
    client.delete_function(FunctionName="whole")


def test_the_command_line_shows_puts_and_takes_away(installation: Installation) -> None:
    client = installation.client()
    installation.deploy("typed", SOURCE)
    client.publish_version(FunctionName="typed")
    assert "At most 3 of typed" in installation.command("concurrency", "put", "typed", "3").stdout
    installation.command("concurrency", "put", "typed", "1", "--qualifier", "1")
    eventually(lambda: is_ready(client, "typed", "1", 1), within_s=WAIT_S)
    found = json.loads(installation.command("concurrency", "show", "typed", "--json").stdout)
    assert found["account"] == {"limit": 1000, "reserved": 3, "provisioned": 0, "unreserved": 997}
    ready = {"qualifier": "1", "requested": 1, "allocated": 1, "available": 1, "status": "READY", "reason": ""}
    assert found["functions"] == [{"function": "typed", "reserved": 3, "running": 0, "provisioned": [ready]}]
    assert [(one["capacity"], one["running"]) for one in found["workers"]] == [(4, 0), (4, 0)]
    assert sorted((one["share"], one["provisioned"]) for one in found["workers"]) == [(3, 1), (4, 0)]
    shown = installation.command("concurrency", "show").stdout
    assert "typed:1" in shown
    assert "READY" in shown
    none = installation.command("concurrency", "put", "typed", "0", "-q", "1", check=False)
    assert (none.returncode, "at least 1" in none.stderr) == (2, True)
    unknown = installation.command("concurrency", "show", "nobody", check=False)
    assert (unknown.returncode, "Function not found" in unknown.stderr) == (4, True)
    assert json.loads(installation.command("concurrency", "rm", "typed", "-q", "1", "--json").stdout) == {
        "removed": "typed:1"
    }
    installation.command("concurrency", "rm", "typed")
    assert "typed has" not in installation.command("concurrency", "show", "typed").stdout
    client.delete_function(FunctionName="typed")
