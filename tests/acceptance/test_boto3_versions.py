"""Versions and aliases as boto3 sees them: published, listed, pointed at, weighed, refused; and run, in one process."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from tests.api_server import CODE, HOME, ROLE, ApiServer, zipped
from tests.installation import Installation, environments_of, eventually

OTHER = zipped(app_py="def handler(event, context): return 2\n")
THIRD = zipped(app_py="def handler(event, context): return 3\n")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    with ApiServer(tmp_path_factory.mktemp("api")) as running:
        yield running


@pytest.fixture
def client(server: ApiServer) -> Iterator[Any]:
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


def create(client: Any, function: str, **more: Any) -> Any:
    return client.create_function(
        FunctionName=function, Runtime="python3.12", Role=ROLE, Handler="app.handler", Code={"ZipFile": CODE}, **more
    )


@pytest.fixture
def name(client: Any) -> Iterator[str]:
    """A function of one test, with version 1 of the same code, and version 2 of another."""
    function = f"fn-{uuid4().hex[:8]}"
    create(client, function, Publish=True, Description="first")
    client.update_function_code(FunctionName=function, ZipFile=OTHER, Publish=True)
    yield function
    try:
        client.delete_function(FunctionName=function)
    except client.exceptions.ResourceNotFoundException:
        pass  # the test did


def refusal(call: Any, **params: Any) -> tuple[int, str, str]:
    with pytest.raises(ClientError) as caught:
        call(**params)
    answer = caught.value.response
    return answer["ResponseMetadata"]["HTTPStatusCode"], answer["Error"]["Code"], answer["Error"]["Message"]


def versions(client: Any, function: str) -> list[str]:
    pages = client.get_paginator("list_versions_by_function").paginate(
        FunctionName=function, PaginationConfig={"PageSize": 2}
    )
    return [version["Version"] for page in pages for version in page["Versions"]]


def test_a_version_is_published_once_for_each_change(client: Any, name: str) -> None:
    updated = client.update_function_configuration(FunctionName=name, MemorySize=256)
    made = client.publish_version(
        FunctionName=name, Description="gold", CodeSha256=updated["CodeSha256"], RevisionId=updated["RevisionId"]
    )
    assert made["ResponseMetadata"]["HTTPStatusCode"] == 201
    assert (made["Version"], made["FunctionArn"]) == ("3", HOME.function(name, "3"))
    assert (made["Description"], made["MemorySize"], made["State"]) == ("gold", 256, "Active")
    again = client.publish_version(FunctionName=name, Description="ignored")
    assert (again["Version"], again["Description"]) == ("3", "gold")
    latest = client.get_function_configuration(FunctionName=name)
    assert latest["RevisionId"] not in (updated["RevisionId"], made["RevisionId"])
    client.get_waiter("published_version_active").wait(FunctionName=name, Qualifier="3")
    assert versions(client, name) == ["$LATEST", "1", "2", "3"]


def test_creating_and_updating_publish_with_the_arns_that_lambda_answers(client: Any) -> None:
    function = f"fn-{uuid4().hex[:8]}"
    created = create(client, function, Publish=True)
    assert (created["Version"], created["FunctionArn"]) == ("1", HOME.function(function))
    updated = client.update_function_code(FunctionName=function, ZipFile=OTHER, Publish=True)
    assert (updated["Version"], updated["FunctionArn"]) == ("2", HOME.function(function, "2"))
    plain = client.update_function_code(FunctionName=function, ZipFile=THIRD)
    assert (plain["Version"], plain["FunctionArn"]) == ("$LATEST", HOME.function(function))
    client.delete_function(FunctionName=function)


def test_what_a_version_was_made_of_stays(client: Any, name: str) -> None:
    client.update_function_configuration(FunctionName=name, Timeout=77, Environment={"Variables": {"KEY": "b"}})
    first = client.get_function(FunctionName=name, Qualifier="1")["Configuration"]
    second = client.get_function(FunctionName=f"{name}:2")["Configuration"]
    latest = client.get_function(FunctionName=name)["Configuration"]
    assert first["FunctionArn"] == HOME.function(name, "1")
    assert (first["Timeout"], second["Timeout"], latest["Timeout"]) == (3, 3, 77)
    assert first["CodeSha256"] != second["CodeSha256"] == latest["CodeSha256"]
    assert "Environment" not in first


def test_reserved_concurrency_and_tags_are_shown_with_every_version(client: Any, name: str) -> None:
    client.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=3)
    client.tag_resource(Resource=HOME.function(name), Tags={"team": "a"})
    found = client.get_function(FunctionName=name, Qualifier="1")
    assert (found["Concurrency"], found["Tags"]) == ({"ReservedConcurrentExecutions": 3}, {"team": "a"})
    assert refusal(client.put_function_concurrency, FunctionName=f"{name}:1", ReservedConcurrentExecutions=1)[:2] == (
        400, "InvalidParameterValueException",
    )  # fmt: skip
    status, _, message = refusal(client.tag_resource, Resource=HOME.function(name, "1"), Tags={"a": "b"})
    assert (status, message) == (
        400, "Tags on function aliases and versions are not supported. Please specify a function ARN.",
    )  # fmt: skip


def test_what_was_expected_must_be_there(client: Any, name: str) -> None:
    current = client.get_function_configuration(FunctionName=name)
    assert refusal(client.publish_version, FunctionName=name, CodeSha256="AAAA") == (
        400, "InvalidParameterValueException",
        f"CodeSHA256 (AAAA) is different from current CodeSHA256 in $LATEST ({current['CodeSha256']}). Please try again with "
        "the CodeSHA256 in $LATEST.",
    )  # fmt: skip
    stale = (
        412, "PreconditionFailedException",
        "The Revision Id provided does not match the latest Revision Id. Call the GetFunction/GetAlias API to retrieve the "
        "latest Revision Id",
    )  # fmt: skip
    assert (
        refusal(client.publish_version, FunctionName=name, RevisionId="00000000-0000-0000-0000-000000000000") == stale
    )
    client.create_alias(FunctionName=name, Name="live", FunctionVersion="1")
    assert refusal(client.update_alias, FunctionName=name, Name="live", RevisionId="0", Description="x") == stale


def test_a_list_of_all_versions_has_qualified_arns_and_pages(client: Any, name: str) -> None:
    pages = client.get_paginator("list_functions").paginate(FunctionVersion="ALL", PaginationConfig={"PageSize": 2})
    found = [function["FunctionArn"] for page in pages for function in page["Functions"]]
    mine = [arn for arn in found if arn.startswith(HOME.function(name))]
    assert mine == [HOME.function(name, version) for version in ("$LATEST", "1", "2")]
    plain = [one["FunctionArn"] for one in client.list_functions()["Functions"]]
    assert plain.count(HOME.function(name)) == 1
    assert not any(arn.startswith(HOME.function(name) + ":") for arn in plain)


def test_a_version_is_deleted_unless_an_alias_needs_it(client: Any, name: str) -> None:
    client.create_alias(FunctionName=name, Name="live", FunctionVersion="1")
    status, code, message = refusal(client.delete_function, FunctionName=name, Qualifier="1")
    assert (status, code) == (409, "ResourceConflictException")
    assert "the following aliases reference it: [live]" in message
    assert refusal(client.delete_function, FunctionName=name, Qualifier="live") == (
        400, "InvalidParameterValueException", "Deletion of aliases is not currently supported.",
    )  # fmt: skip
    assert refusal(client.delete_function, FunctionName=name, Qualifier="$LATEST")[2] == (
        "$LATEST version cannot be deleted without deleting the function."
    )
    for _ in range(2):
        answer = client.delete_function(FunctionName=name, Qualifier="2")
        assert answer["ResponseMetadata"]["HTTPStatusCode"] == 204
    assert versions(client, name) == ["$LATEST", "1"]
    assert client.publish_version(FunctionName=name)["Version"] == "3"
    client.delete_function(FunctionName=name)
    for qualifier in ("1", "live"):
        assert refusal(client.get_function, FunctionName=name, Qualifier=qualifier)[0] == 404


def test_an_alias_from_its_making_to_its_end(client: Any, name: str) -> None:
    made = client.create_alias(FunctionName=name, Name="live", FunctionVersion="1")
    assert made["ResponseMetadata"]["HTTPStatusCode"] == 201
    revision = made["RevisionId"]
    described = {"AliasArn": HOME.function(name, "live"), "Name": "live", "FunctionVersion": "1", "Description": ""}
    assert {key: made[key] for key in described} == described
    assert "RoutingConfig" not in made
    weights = {"AdditionalVersionWeights": {"2": 0.25}}
    shared = client.update_alias(
        FunctionName=name, Name="live", RoutingConfig=weights, Description="d", RevisionId=revision
    )
    assert (shared["RoutingConfig"], shared["FunctionVersion"], shared["Description"]) == (weights, "1", "d")
    assert shared["RevisionId"] != revision
    assert client.get_alias(FunctionName=name, Name="live")["RoutingConfig"] == weights
    cleared = client.update_alias(FunctionName=name, Name="live", FunctionVersion="2", RoutingConfig={})
    assert "RoutingConfig" not in cleared
    found = client.get_function(FunctionName=name, Qualifier="live")["Configuration"]
    assert (found["FunctionArn"], found["Version"]) == (HOME.function(name, "live"), "2")
    client.create_alias(FunctionName=name, Name="beta", FunctionVersion="$LATEST")
    client.create_alias(FunctionName=name, Name="old", FunctionVersion="1")
    pages = client.get_paginator("list_aliases").paginate(FunctionName=name, PaginationConfig={"PageSize": 2})
    assert [alias["Name"] for page in pages for alias in page["Aliases"]] == ["beta", "live", "old"]
    assert [one["Name"] for one in client.list_aliases(FunctionName=name, FunctionVersion="1")["Aliases"]] == ["old"]
    for _ in range(2):
        assert client.delete_alias(FunctionName=name, Name="live")["ResponseMetadata"]["HTTPStatusCode"] == 204
    arn = HOME.function(name, "live")
    assert refusal(client.get_alias, FunctionName=name, Name="live") == (
        404, "ResourceNotFoundException", f"Cannot find alias arn: {arn}",
    )  # fmt: skip
    assert refusal(client.update_alias, FunctionName=name, Name="live", FunctionVersion="1") == (
        404, "ResourceNotFoundException", f"Alias not found: {arn}",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("params", "status", "code", "message"),
    [
        ({"FunctionVersion": "9"}, 404, "ResourceNotFoundException", "Function not found: {arn}:9"),
        ({"FunctionName": "missing"}, 404, "ResourceNotFoundException", "function:missing:1"),
        ({"Name": "7"}, 400, "ValidationException", "(?!^[0-9]+$)([a-zA-Z0-9-_]+)"),
        ({"Name": "live"}, 409, "ResourceConflictException", "Alias already exists: {arn}:live"),
        (
            {"RoutingConfig": {"AdditionalVersionWeights": {"2": 0.1, "3": 0.1}}}, 400, "InvalidParameterValueException",
            "Number of items in AdditionalVersionWeights cannot be greater than 1",
        ),
        (
            {"RoutingConfig": {"AdditionalVersionWeights": {"1": 0.1}}}, 400, "InvalidParameterValueException",
            "Invalid function version 1. Function version 1 is already included in routing configuration.",
        ),
        (
            {"FunctionVersion": "$LATEST", "RoutingConfig": {"AdditionalVersionWeights": {"1": 0.1}}}, 400,
            "InvalidParameterValueException", "$LATEST is not supported for an alias pointing to more than 1 version",
        ),
        (
            {"RoutingConfig": {"AdditionalVersionWeights": {"2": 1.5}}}, 400, "ValidationException",
            "Member must have value less than or equal to 1",
        ),
        (
            {"RoutingConfig": {"AdditionalVersionWeights": {"9": 0.5}}}, 404, "ResourceNotFoundException",
            "Function not found: {arn}:9",
        ),
    ],
)  # fmt: skip
def test_an_alias_that_cannot_be_is_refused_in_lambdas_words(
    client: Any, name: str, params: dict[str, Any], status: int, code: str, message: str
) -> None:
    client.create_alias(FunctionName=name, Name="live", FunctionVersion="1")
    asked = {"FunctionName": name, "Name": "new", "FunctionVersion": "1", **params}
    got = refusal(client.create_alias, **asked)
    assert got[:2] == (status, code)
    assert message.format(arn=HOME.function(name)) in got[2]
    assert [alias["Name"] for alias in client.list_aliases(FunctionName=name)["Aliases"]] == ["live"]


def test_two_versions_with_different_roles_do_not_share_an_alias(client: Any, name: str) -> None:
    client.update_function_configuration(FunctionName=name, Role="arn:aws:iam::000000000000:role/other")
    client.publish_version(FunctionName=name)
    status, _, message = refusal(
        client.create_alias, FunctionName=name, Name="live", FunctionVersion="1",
        RoutingConfig={"AdditionalVersionWeights": {"3": 0.5}},
    )  # fmt: skip
    assert (status, "have different execution roles" in message) == (400, True)


@pytest.mark.parametrize("qualifier", ["1", "live"])
def test_only_the_unpublished_function_changes(client: Any, name: str, qualifier: str) -> None:
    client.create_alias(FunctionName=name, Name="live", FunctionVersion="1")
    for call, more in (
        (client.update_function_code, {"ZipFile": THIRD}),
        (client.update_function_configuration, {"Timeout": 9}),
        (client.publish_version, {}),
    ):
        status, code, message = refusal(call, FunctionName=f"{name}:{qualifier}", **more)
        assert (status, code) == (400, "InvalidParameterValueException")
        assert "permitted on the unpublished function only" in message


def test_each_qualifier_has_an_event_invoke_configuration_of_its_own(client: Any, name: str) -> None:
    client.create_alias(FunctionName=name, Name="live", FunctionVersion="1")
    for qualifier, retries in (("live", 0), ("1", 1)):
        put = client.put_function_event_invoke_config(
            FunctionName=name, Qualifier=qualifier, MaximumRetryAttempts=retries
        )
        assert put["FunctionArn"] == HOME.function(name, qualifier)
    pages = client.get_paginator("list_function_event_invoke_configs").paginate(
        FunctionName=name, PaginationConfig={"PageSize": 1}
    )
    found = {
        one["FunctionArn"]: one["MaximumRetryAttempts"] for page in pages for one in page["FunctionEventInvokeConfigs"]
    }
    assert found == {HOME.function(name, "1"): 1, HOME.function(name, "live"): 0}
    assert refusal(client.get_function_event_invoke_config, FunctionName=name)[2] == (
        f"The function {HOME.function(name, '$LATEST')} doesn't have an EventInvokeConfig"
    )
    assert refusal(
        client.put_function_event_invoke_config, FunctionName=name, Qualifier="prod", MaximumRetryAttempts=0
    ) == (404, "ResourceNotFoundException", "The function doesn't exist.")
    client.delete_alias(FunctionName=name, Name="live")
    assert refusal(client.get_function_event_invoke_config, FunctionName=name, Qualifier="live")[0] == 404


def test_an_alias_has_a_function_url_of_its_own_and_a_version_has_none(client: Any, name: str) -> None:
    client.create_alias(FunctionName=name, Name="live", FunctionVersion="1")
    made = client.create_function_url_config(FunctionName=name, Qualifier="live", AuthType="NONE")
    assert made["FunctionArn"] == HOME.function(name, "live")
    plain = client.create_function_url_config(FunctionName=name, AuthType="NONE")
    assert made["FunctionUrl"] != plain["FunctionUrl"]
    assert client.get_function_url_config(FunctionName=name, Qualifier="live")["FunctionUrl"] == made["FunctionUrl"]
    assert refusal(client.create_function_url_config, FunctionName=name, Qualifier="1", AuthType="NONE")[1] == (
        "ValidationException"
    )
    assert refusal(client.create_function_url_config, FunctionName=name, Qualifier="prod", AuthType="NONE") == (
        404, "ResourceNotFoundException", "Function does not exist",
    )  # fmt: skip
    client.delete_alias(FunctionName=name, Name="live")
    assert [
        one["FunctionUrl"] for one in client.list_function_url_configs(FunctionName=name)["FunctionUrlConfigs"]
    ] == [plain["FunctionUrl"]]


def test_invocations_carry_the_qualifier_and_a_missing_one_is_not_found(
    client: Any, server: ApiServer, name: str
) -> None:
    client.create_alias(FunctionName=name, Name="live", FunctionVersion="1")
    server.front.asked.clear()
    client.invoke(FunctionName=name, Qualifier="live")
    client.invoke(FunctionName=HOME.function(name, "2"), InvocationType="Event")
    assert client.invoke(FunctionName=name, Qualifier="1", InvocationType="DryRun")["StatusCode"] == 204
    client.invoke_with_response_stream(FunctionName=f"{name}:live")["EventStream"].close()
    assert [(one["kind"], one["ref"].qualifier) for one in server.front.asked] == [
        ("call", "live"), ("accept", "2"), ("stream", "live"),
    ]  # fmt: skip
    for kind in ("RequestResponse", "Event", "DryRun"):
        assert refusal(client.invoke, FunctionName=name, Qualifier="prod", InvocationType=kind) == (
            404, "ResourceNotFoundException", f"Function not found: {HOME.function(name, 'prod')}",
        )  # fmt: skip
    assert refusal(client.invoke, FunctionName=f"{name}:1", Qualifier="2")[2] == (
        "The derived qualifier from the function name does not match the specified qualifier."
    )


SAYS = """
import os

def handler(event, context):
    print("records", len(event.get("Records", ())), "for", context.invoked_function_arn)
    if event.get("fail"):
        raise ValueError("as you wish")
    return {
        "code": %d,
        "version": context.function_version,
        "environment": os.environ["AWS_LAMBDA_FUNCTION_VERSION"],
        "arn": context.invoked_function_arn,
        "log_stream": context.log_stream_name,
    }
"""


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """One process with versions 1 and 2 of a function that says what it is, and other code unpublished."""
    directory: Path = tmp_path_factory.mktemp("running")
    with Installation(directory) as found:
        found.start("dev")
        found.deploy("f", SAYS % 1, Publish=True)
        client = found.client()
        client.update_function_code(FunctionName="f", ZipFile=zipped(app_py=SAYS % 2), Publish=True)
        client.update_function_code(FunctionName="f", ZipFile=zipped(app_py=SAYS % 3))
        client.create_alias(FunctionName="f", Name="live", FunctionVersion="1")
        client.create_alias(
            FunctionName="f", Name="both", FunctionVersion="1", RoutingConfig={"AdditionalVersionWeights": {"2": 0.5}}
        )
        yield found


def called(running: Installation, qualifier: str) -> tuple[str, dict[str, Any]]:
    more = {"Qualifier": qualifier} if qualifier else {}
    answer = running.client().invoke(FunctionName="f", **more)
    assert "FunctionError" not in answer
    return answer["ExecutedVersion"], json.loads(answer["Payload"].read())


@pytest.mark.parametrize(
    ("qualifier", "code", "version"), [("", 3, "$LATEST"), ("$LATEST", 3, "$LATEST"), ("1", 1, "1"), ("live", 1, "1")]
)
def test_a_qualifier_runs_its_version_and_says_so(
    running: Installation, qualifier: str, code: int, version: str
) -> None:
    executed, answer = called(running, qualifier)
    assert (executed, answer["code"]) == (version, code)
    assert (answer["version"], answer["environment"]) == (version, version)
    assert answer["arn"] == HOME.function("f", qualifier)
    assert f"/[{version}]" in answer["log_stream"]


def test_versions_keep_their_environments_beside_one_another(running: Installation) -> None:
    streams = {qualifier: called(running, qualifier)[1]["log_stream"] for qualifier in ("", "1", "2")}
    again = {qualifier: called(running, qualifier)[1]["log_stream"] for qualifier in ("", "1", "2")}
    assert again == streams
    assert len(set(streams.values())) == 3
    assert called(running, "live")[1]["log_stream"] == streams["1"], "an alias runs in its version's environments"


def test_an_alias_of_two_versions_runs_both(running: Installation) -> None:
    ran = Counter(called(running, "both")[1]["code"] for _ in range(40))
    assert set(ran) == {1, 2}, "40 fair draws: one side alone happens once in 10^12 runs"


def test_an_alias_that_moves_takes_its_callers_along(running: Installation) -> None:
    client = running.client()
    client.create_alias(FunctionName="f", Name="moving", FunctionVersion="1")
    assert called(running, "moving")[0] == "1"
    client.update_alias(FunctionName="f", Name="moving", FunctionVersion="2")
    assert eventually(lambda: called(running, "moving")[0] == "2")


def test_an_event_for_an_alias_follows_the_aliass_configuration(running: Installation) -> None:
    client = running.client()
    client.put_function_event_invoke_config(FunctionName="f", Qualifier="live", MaximumRetryAttempts=0)
    client.put_function_event_invoke_config(FunctionName="f", Qualifier="1", MaximumRetryAttempts=1)
    before = len(running.dead_letters("f"))
    ids = {
        qualifier: client.invoke(
            FunctionName="f", Qualifier=qualifier, InvocationType="Event", Payload=b'{"fail": 1}'
        )["ResponseMetadata"]["RequestId"]
        for qualifier in ("live", "1", "2")
    }  # fmt: skip
    eventually(lambda: len(running.dead_letters("f")) == before + 3)
    attempts = {qualifier: running.story(event)["attempts"] for qualifier, event in ids.items()}
    assert {qualifier: len(found) for qualifier, found in attempts.items()} == {"live": 1, "1": 2, "2": 3}
    assert {qualifier: found[0]["version"] for qualifier, found in attempts.items()} == {
        "live": "1",
        "1": "1",
        "2": "2",
    }
    assert running.story(ids["live"])["accepted"]["qualifier"] == "live"


def test_an_event_whose_alias_went_is_a_dead_letter_and_names_it(running: Installation) -> None:
    client = running.client()
    client.create_alias(FunctionName="f", Name="brief", FunctionVersion="1")
    before = len(running.dead_letters("f"))
    event = client.invoke(FunctionName="f", Qualifier="brief", InvocationType="Event", Payload=b'{"fail": 1}')
    client.delete_alias(FunctionName="f", Name="brief")
    eventually(lambda: len(running.dead_letters("f")) == before + 1)
    event_id = event["ResponseMetadata"]["RequestId"]
    [letter] = [one for one in running.dead_letters("f") if one["event_id"] == event_id]
    assert letter["reason"] == "FunctionNotFound"
    assert HOME.function("f", "brief") in letter["error_message"]


def test_a_mapping_feeds_the_alias_that_it_names(running: Installation) -> None:
    client = running.client()
    running.http.put("/fnrunner/v1/queues/jobs", json={}).raise_for_status()
    assert refusal(client.create_event_source_mapping, FunctionName="f:prod", EventSourceArn=HOME.queue("jobs")) == (
        400, "InvalidParameterValueException", "Function does not exist",
    )  # fmt: skip
    made = client.create_event_source_mapping(FunctionName="f:live", EventSourceArn=HOME.queue("jobs"), BatchSize=1)
    assert made["FunctionArn"] == HOME.function("f", "live")
    running.http.post("/fnrunner/v1/queues/jobs/messages", json={"messages": [{"body": "work"}]}).raise_for_status()
    [line] = eventually(lambda: running.admin("functions/f/logs", filter="records 1")["lines"])
    assert f"records 1 for {HOME.function('f', 'live')}" in str(line)
    assert "[1]" in str(line), "the log stream is version 1's"
    client.delete_event_source_mapping(UUID=made["UUID"])


def test_the_url_of_an_alias_runs_the_alias(running: Installation) -> None:
    url = running.client().create_function_url_config(FunctionName="f", Qualifier="live", AuthType="NONE")[
        "FunctionUrl"
    ]
    url_id = url.split("//")[1].split(".")[0]
    found = eventually(lambda: (got := running.http.get(f"/function-url/{url_id}/")).status_code == 200 and got.json())
    assert (found["code"], found["arn"]) == (1, HOME.function("f", "live"))


def test_a_deleted_version_takes_its_idle_environments_along(running: Installation) -> None:
    client = running.client()
    version = client.publish_version(FunctionName="f")["Version"]
    kept = called(running, "1")[1]["log_stream"]
    before = set(environments_of(running.processes["dev"]))
    called(running, version)
    started = set(environments_of(running.processes["dev"])) - before
    assert started
    client.delete_function(FunctionName="f", Qualifier=version)
    assert eventually(lambda: not started & set(environments_of(running.processes["dev"])))
    assert called(running, "1")[1]["log_stream"] == kept


def test_a_worker_of_its_own_follows_versions_and_aliases(tmp_path: Path, rabbitmq_url: str) -> None:
    with Installation(tmp_path, rabbitmq_url) as apart:
        for role in ("api", "worker"):
            apart.start(role, wait=False)
        apart.wait_ready(apart.processes["api"], "api", f"{apart.url}/readyz")
        apart.deploy("f", SAYS % 1, Publish=True)
        client = apart.client()
        client.update_function_code(FunctionName="f", ZipFile=zipped(app_py=SAYS % 2), Publish=True)
        client.create_alias(FunctionName="f", Name="live", FunctionVersion="1")
        assert eventually(lambda: answered(apart, "live")) == ("1", 1)
        client.update_alias(FunctionName="f", Name="live", FunctionVersion="2")
        assert eventually(lambda: answered(apart, "live") == ("2", 2))
        client.update_alias(FunctionName="f", Name="live", RoutingConfig={"AdditionalVersionWeights": {"1": 1.0}})
        assert eventually(lambda: answered(apart, "live") == ("1", 1))
        assert answered(apart, "2") == ("2", 2)


def answered(installation: Installation, qualifier: str) -> tuple[str, int] | None:
    """The version and code that ran; None while no worker serves the function yet."""
    try:
        version, answer = called(installation, qualifier)
    except ClientError as error:
        if error.response["ResponseMetadata"]["HTTPStatusCode"] != 503:
            raise
        return None
    return version, answer["code"]
