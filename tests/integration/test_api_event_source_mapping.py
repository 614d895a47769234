"""Event source mappings through boto3: members of each kind's answers, defaults, states, and every message of a refusal.

The pollers are played by the test: it writes the documents that they write.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import boto3
import httpx
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from sqlalchemy import update

from fnrunner.catalogue import positions, triggers
from fnrunner.store.schema import broker_queue
from sources.mapping import EventSourceMapping
from tests.api_server import CODE, HOME, ROLE, ApiServer

QUEUE, FIFO = HOME.queue("jobs"), HOME.queue("jobs.fifo")
STREAM = "arn:aws:kinesis:us-east-1:000000000000:stream/clicks"
WIDE = "arn:aws:kinesis:us-east-1:000000000000:stream/wide"
TABLE = "arn:aws:dynamodb:us-east-1:000000000000:table/clicks/stream/2026-01-01T00:00:00.000"
OWN = "arn:aws:mq:us-east-1:000000000000:broker:fnrunner:b-1"
OTHER = "arn:aws:mq:us-east-1:000000000000:broker:orders:b-2"
FOREIGN = "arn:aws:sqs:us-east-1:111111111111:jobs"
KAFKA = {"Endpoints": {"KAFKA_BOOTSTRAP_SERVERS": ["kafka:1000"]}}
SECRET = "arn:aws:secretsmanager:us-east-1:000000000000:secret:kafka"
ACCESS = [{"Type": "BASIC_AUTH", "URI": SECRET}]
MADE = {"UUID", "FunctionArn", "EventSourceMappingArn", "LastModified", "State", "StateTransitionReason", "BatchSize"}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    brokers = {"orders": "amqp://orders.test/"}
    endpoints = {"sqs": "http://127.0.0.1:4566"}
    with ApiServer(tmp_path_factory.mktemp("api"), brokers=brokers, aws_endpoints=endpoints) as server:
        client = lambda_client(server)
        for name, timeout in (("f", 3), ("g", 3), ("slow", 120)):
            client.create_function(
                FunctionName=name, Role=ROLE, Runtime="python3.12", Handler="app.handler", Timeout=timeout,
                Code={"ZipFile": CODE},
            )  # fmt: skip
        with httpx.Client(base_url=f"{server.url}/fnrunner/v1", timeout=60) as admin:
            for path, document in (
                ("queues/jobs", {}), ("queues/jobs.fifo", {}), ("streams/clicks", {}), ("streams/wide", {"partitions": 3})
            ):  # fmt: skip
                answer = admin.put(path, json=document)
                assert answer.is_success, answer.text
        yield server


@pytest.fixture
def server(running: ApiServer) -> Iterator[ApiServer]:
    yield running
    catalogue = running.services.catalogue
    for mapping in running.run(catalogue.list_triggers(EventSourceMapping)):
        running.run(catalogue.change(lambda c, u=mapping.uuid: triggers.remove(c, EventSourceMapping, u)))


@pytest.fixture
def client(server: ApiServer) -> Any:
    return lambda_client(server)


def lambda_client(server: ApiServer) -> Any:
    return boto3.client(
        "lambda", endpoint_url=server.url, region_name="us-east-1", aws_access_key_id="a", aws_secret_access_key="b",
        config=Config(retries={"max_attempts": 0}, parameter_validation=False),
    )  # fmt: skip


def members(answer: dict[str, Any]) -> dict[str, Any]:
    """Without what every answer has, and what boto3 adds."""
    return {name: value for name, value in answer.items() if name not in MADE | {"ResponseMetadata"}}


def tell(server: ApiServer, uuid: str, revision: int, state: str, reason: str = "") -> None:
    """What pollers say of a mapping."""
    document = {"revision": revision, "state": state, "reason": reason}
    server.run(positions.put(server.services.store, positions.state_name(uuid), document, server.services.now()))


def age(server: ApiServer, uuid: str, by: timedelta = timedelta(seconds=20)) -> None:
    """Make the mapping's last change lie further back."""

    def work(connection: Any) -> None:
        from dataclasses import replace

        mapping = triggers.fetch(connection, EventSourceMapping, uuid)
        triggers.save(connection, replace(mapping, last_modified=mapping.last_modified - by))

    server.run(server.services.catalogue.change(work))


def refused(call: Any, **params: Any) -> tuple[int, str, str]:
    with pytest.raises(ClientError) as caught:
        call(**params)
    response = caught.value.response
    return response["ResponseMetadata"]["HTTPStatusCode"], response["Error"]["Code"], response["Error"]["Message"]


def test_a_queue_s_mapping_is_answered_with_its_members_and_no_others(client: Any) -> None:
    made = client.create_event_source_mapping(EventSourceArn=QUEUE, FunctionName="f")
    assert made["ResponseMetadata"]["HTTPStatusCode"] == 202
    assert (made["State"], made["StateTransitionReason"], made["BatchSize"]) == ("Creating", "USER_INITIATED", 10)
    assert made["FunctionArn"] == HOME.function("f")
    assert (
        made["EventSourceMappingArn"]
        == f"arn:aws:lambda:us-east-1:000000000000:event-source-mapping:{UUID(made['UUID'])}"
    )
    assert members(made) == {
        "EventSourceArn": QUEUE, "MaximumBatchingWindowInSeconds": 0, "FunctionResponseTypes": []
    }  # fmt: skip


@pytest.mark.parametrize("arn", [STREAM, TABLE, WIDE])
def test_a_stream_s_mapping_is_answered_with_its_members_and_no_others(client: Any, arn: str) -> None:
    made = client.create_event_source_mapping(EventSourceArn=arn, FunctionName="f", StartingPosition="TRIM_HORIZON")
    assert (made["State"], made["StateTransitionReason"], made["BatchSize"]) == ("Creating", "User action", 100)
    assert members(made) == {
        "EventSourceArn": arn, "MaximumBatchingWindowInSeconds": 0, "FunctionResponseTypes": [],
        "StartingPosition": "TRIM_HORIZON", "ParallelizationFactor": 1, "DestinationConfig": {"OnFailure": {}},
        "MaximumRecordAgeInSeconds": -1, "MaximumRetryAttempts": -1, "BisectBatchOnFunctionError": False,
        "TumblingWindowInSeconds": 0, "LastProcessingResult": "No records processed",
    }  # fmt: skip


def test_a_broker_s_mapping_shows_its_queue_and_no_window_that_was_not_given(client: Any) -> None:
    access = [
        {"Type": "BASIC_AUTH", "URI": SECRET.replace("kafka", "orders-AbCdEf")},
        {"Type": "VIRTUAL_HOST", "URI": "/"},
    ]
    made = client.create_event_source_mapping(
        EventSourceArn=OTHER, FunctionName="f", Queues=["todo"], SourceAccessConfigurations=access
    )
    assert (made["StateTransitionReason"], made["BatchSize"]) == ("USER_INITIATED", 100)
    assert members(made) == {
        "EventSourceArn": OTHER, "Queues": ["todo"], "SourceAccessConfigurations": access,
        "LastProcessingResult": "No records processed",
    }  # fmt: skip
    own = client.create_event_source_mapping(EventSourceArn=OWN, FunctionName="f", Queues=["jobs"], BatchSize=5)
    assert own["BatchSize"] == 5


def test_kafka_s_mapping_has_servers_and_a_consumer_group(client: Any) -> None:
    given = {
        "FunctionName": "f", "Topics": ["orders"], "SelfManagedEventSource": KAFKA, "StartingPosition": "LATEST",
        "SourceAccessConfigurations": ACCESS,
    }  # fmt: skip
    made = client.create_event_source_mapping(**given)
    assert members(made) == {
        "Topics": ["orders"], "SelfManagedEventSource": KAFKA, "SourceAccessConfigurations": ACCESS,
        "SelfManagedKafkaEventSourceConfig": {"ConsumerGroupId": made["UUID"]}, "StartingPosition": "LATEST",
        "DestinationConfig": {"OnFailure": {}}, "MaximumRecordAgeInSeconds": -1, "MaximumRetryAttempts": -1,
        "BisectBatchOnFunctionError": False, "FunctionResponseTypes": [], "LastProcessingResult": "No records processed",
    }  # fmt: skip
    status, code, message = refused(client.create_event_source_mapping, **given)
    assert (status, code) == (409, "ResourceConflictException")
    assert message == (
        f'An event source mapping with event source ("kafka:1000"), function ("{HOME.function("f")}"), topics ("orders") '
        f"already exists. Please update or delete the existing mapping with UUID {made['UUID']}"
    )
    named = client.create_event_source_mapping(
        **{**given, "Topics": ["other"], "SelfManagedKafkaEventSourceConfig": {"ConsumerGroupId": "mine"}}
    )
    assert named["SelfManagedKafkaEventSourceConfig"] == {"ConsumerGroupId": "mine"}


def test_everything_that_was_given_comes_back(client: Any) -> None:
    at = datetime(2025, 1, 2, 3, 4, 5, tzinfo=UTC)
    pattern = json.dumps({"data": {"n": [{"numeric": [">", 5]}]}})
    given = {
        "EventSourceArn": STREAM, "FunctionName": "f:$LATEST", "StartingPosition": "AT_TIMESTAMP",
        "StartingPositionTimestamp": at, "Enabled": False, "BatchSize": 7, "MaximumBatchingWindowInSeconds": 9,
        "ParallelizationFactor": 2, "MaximumRecordAgeInSeconds": 60, "MaximumRetryAttempts": 0,
        "BisectBatchOnFunctionError": True, "TumblingWindowInSeconds": 30,
        "FunctionResponseTypes": ["ReportBatchItemFailures"], "FilterCriteria": {"Filters": [{"Pattern": pattern}]},
        "DestinationConfig": {"OnFailure": {"Destination": QUEUE}},
    }  # fmt: skip
    made = client.create_event_source_mapping(**given)
    found = client.get_event_source_mapping(UUID=made["UUID"])
    for answer in (made, found):
        assert answer["FunctionArn"] == HOME.function("f", "$LATEST")
        left = {name: value for name, value in given.items() if name not in ("FunctionName", "Enabled")}
        assert {name: answer[name] for name in left} == left
    queue = client.create_event_source_mapping(
        EventSourceArn=QUEUE, FunctionName="f", ScalingConfig={"MaximumConcurrency": 3},
        FilterCriteria={"Filters": [{"Pattern": '{"body": ["x"]}'}]},
    )  # fmt: skip
    assert queue["ScalingConfig"] == {"MaximumConcurrency": 3}


def test_times_are_epoch_numbers_on_the_wire(server: ApiServer) -> None:
    document = {
        "EventSourceArn": STREAM, "FunctionName": "f", "StartingPosition": "AT_TIMESTAMP",
        "StartingPositionTimestamp": 1700000000.5,
    }  # fmt: skip
    answer = httpx.post(f"{server.url}/2015-03-31/event-source-mappings/", json=document, timeout=60)
    assert answer.status_code == 202, answer.text
    made = answer.json()
    assert made["StartingPositionTimestamp"] == 1700000000.5
    assert abs(made["LastModified"] - datetime.now(UTC).timestamp()) < 300


FROM_CLICKS: dict[str, Any] = {"EventSourceArn": STREAM, "StartingPosition": "LATEST"}
UNSUPPORTED = "Unsupported {} parameter for given event source mapping type."
NO_QUEUE = (
    "Error occurred while ReceiveMessage. SQS Error Code: AWS.SimpleQueueService.NonExistentQueue. SQS Error Message: The "
    "specified queue does not exist."
)
REFUSALS: list[tuple[dict[str, Any], str]] = [
    ({}, "Unrecognized event source."),
    ({"EventSourceArn": "arn:aws:rds:us-east-1:000000000000:cluster:docs"}, "Unrecognized event source."),
    ({"EventSourceArn": "arn:aws:kinesis:us-east-1:000000000000:clicks"}, "Unrecognized event source."),
    ({"EventSourceArn": QUEUE, "FunctionName": "missing"}, "Function does not exist"),
    ({"EventSourceArn": QUEUE, "FunctionName": "f:prod"}, "Function does not exist"),
    ({"EventSourceArn": STREAM + "x", "StartingPosition": "LATEST"}, f"Stream not found: {STREAM}x"),
    ({"EventSourceArn": QUEUE + "x"}, NO_QUEUE),
    ({"EventSourceArn": HOME.queue("clicks")}, f"clicks is a stream, not a queue: its ARN is {STREAM}"),
    (
        {"EventSourceArn": STREAM.replace("clicks", "jobs"), "StartingPosition": "LATEST"},
        f"jobs is a queue, not a stream: its ARN is {QUEUE}",
    ),
    ({"EventSourceArn": HOME.queue("fnrunner.v1.orphans")}, "cannot be an event source"),
    (
        {**FROM_CLICKS, "EventSourceArn": STREAM.replace("000000000000", "111111111111")},
        "FNRUNNER_AWS_ENDPOINTS names no endpoint of kinesis",
    ),
    ({"EventSourceArn": QUEUE.replace("us-east-1", "eu-west-1")}, "region eu-west-1 cannot be read in us-east-1"),
    (
        {"EventSourceArn": QUEUE, "BatchSize": 11},
        "Maximum batch window in seconds must be greater than 0 if maximum batch size is greater than 10",
    ),
    ({"EventSourceArn": FIFO, "BatchSize": 11, "MaximumBatchingWindowInSeconds": 1}, "FIFO queue are 10"),
    ({"EventSourceArn": FIFO, "MaximumBatchingWindowInSeconds": 1}, "Batching window is not supported for FIFO"),
    (
        {"EventSourceArn": STREAM},
        "1 validation error detected: Value null at 'startingPosition' failed to satisfy constraint: Member must not be null.",
    ),
    (
        {"EventSourceArn": TABLE, "StartingPosition": "AT_TIMESTAMP", "StartingPositionTimestamp": 1},
        f"Unsupported starting position for arn type: {TABLE}",
    ),
    ({"EventSourceArn": STREAM, "StartingPosition": "AT_TIMESTAMP"}, "StartingPositionTimestamp is required"),
    ({**FROM_CLICKS, "StartingPositionTimestamp": 1}, "AT_TIMESTAMP only"),
    (
        {"EventSourceArn": STREAM, "StartingPosition": "AT_TIMESTAMP", "StartingPositionTimestamp": 1e10},
        "cannot be in the future",
    ),
    (
        {"EventSourceArn": QUEUE, "FilterCriteria": {"Filters": [{"Pattern": "{"}]}},
        "Invalid filter pattern definition.",
    ),
    (
        {**FROM_CLICKS, "FilterCriteria": {"Filters": [{"Pattern": '{"data":["x"]}'}]}},
        "Invalid filter pattern definition.",
    ),
    ({"EventSourceArn": QUEUE, "FilterCriteria": {"Filters": [{"Pattern": '{"a":["b"]}'}] * 6}}, "there are 6 filters"),
    (
        {**FROM_CLICKS, "MaximumRecordAgeInSeconds": 59},
        "Value '59' at 'maximumRecordAgeInSeconds'",
    ),
    (
        {**FROM_CLICKS, "MaximumRecordAgeInSeconds": 0},
        "Value '0' at 'maximumRecordAgeInSeconds'",
    ),
    *(
        ({"EventSourceArn": QUEUE, name: value}, UNSUPPORTED.format(name))
        for name, value in (
            ("StartingPosition", "LATEST"), ("ParallelizationFactor", 2), ("BisectBatchOnFunctionError", True),
            ("MaximumRetryAttempts", 1), ("MaximumRecordAgeInSeconds", 60), ("TumblingWindowInSeconds", 1),
            ("DestinationConfig", {"OnFailure": {"Destination": QUEUE}}), ("Topics", ["topic"]), ("Queues", ["q"]),
            ("SourceAccessConfigurations", ACCESS),
        )
    ),
    (
        {**FROM_CLICKS, "ScalingConfig": {"MaximumConcurrency": 2}},
        UNSUPPORTED.format("ScalingConfig"),
    ),
    (
        {**FROM_CLICKS, "DestinationConfig": {"OnSuccess": {"Destination": QUEUE}}},
        UNSUPPORTED.format("DestinationConfig"),
    ),
    *(
        ({**FROM_CLICKS, "DestinationConfig": {"OnFailure": {"Destination": where}}}, said)
        for where, said in (
            ("arn:aws:s3:::failures", "s3 cannot be one here"), ("kafka://failures", "a topic of Kafka cannot be one here"),
            (QUEUE.replace("000000000000", "111111111111"), "of another region or account"),
            (HOME.function("f"), "can't specify the function as a destination for itself"),
        )
    ),
    *(
        ({**FROM_CLICKS, name: value}, f"does not support the parameter {shown} of")
        for name, value, shown in (
            ("KMSKeyArn", "arn:aws:kms:us-east-1:000000000000:key/k", "KMSKeyArn"),
            ("ProvisionedPollerConfig", {"MinimumPollers": 2}, "ProvisionedPollerConfig"),
            ("MetricsConfig", {"Metrics": ["EventCount"]}, "MetricsConfig"),
            ("LoggingConfig", {"SystemLogLevel": "INFO"}, "LoggingConfig"),
            ("DocumentDBEventSourceConfig", {"DatabaseName": "d"}, "DocumentDBEventSourceConfig"),
        )
    ),
    ({"EventSourceArn": OWN}, "Queues takes exactly one name"),
    ({"EventSourceArn": OWN, "Queues": ["missing"]}, "The queue missing does not exist on the broker fnrunner"),
    (
        {"EventSourceArn": OTHER.replace("orders", "bills"), "Queues": ["q"]},
        "Name it in FNRUNNER_BROKERS (fnrunner, orders are known)",
    ),
    (
        {"EventSourceArn": OWN, "Queues": ["jobs"], "FunctionResponseTypes": ["ReportBatchItemFailures"]},
        UNSUPPORTED.format("FunctionResponseTypes"),
    ),
    (
        {"EventSourceArn": OTHER, "Queues": ["q"], "SourceAccessConfigurations": [{"Type": "VPC_SUBNET", "URI": "subnet-1"}]},
        "of the type VPC_SUBNET are not supported",
    ),
    (
        {"EventSourceArn": OTHER, "Queues": ["q"], "SourceAccessConfigurations": ACCESS},
        "BASIC_AUTH names other credentials than those of broker orders",
    ),
    (
        {"EventSourceArn": OTHER, "Queues": ["q"], "SourceAccessConfigurations": [{"Type": "VIRTUAL_HOST", "URI": "/x"}]},
        "VIRTUAL_HOST '/x' is not that of broker orders",
    ),
    (
        {"SelfManagedEventSource": KAFKA, "Topics": ["orders"], "StartingPosition": "LATEST"},
        "Required 'sourceAccessConfigurations' parameter is missing.",
    ),
    ({"SelfManagedEventSource": KAFKA, "SourceAccessConfigurations": ACCESS}, "Topics takes exactly one name"),
    (
        {"SelfManagedEventSource": KAFKA, "Topics": ["orders"], "SourceAccessConfigurations": ACCESS},
        "Value null at 'startingPosition'",
    ),
    (
        {
            "EventSourceArn": "arn:aws:kafka:us-east-1:000000000000:cluster/c/1", "Topics": ["orders"],
            "StartingPosition": "LATEST", "SourceAccessConfigurations": [],
        },
        "Clusters of Amazon MSK are not supported",
    ),
]  # fmt: skip


@pytest.mark.parametrize(
    ("params", "said"), REFUSALS, ids=[f"{i}: {said[:50]}" for i, (_, said) in enumerate(REFUSALS)]
)
def test_what_cannot_be_is_refused_in_words_and_nothing_is_made(client: Any, params: dict[str, Any], said: str) -> None:
    status, code, message = refused(client.create_event_source_mapping, **{"FunctionName": "f", **params})
    assert (status, code) == (400, "InvalidParameterValueException"), message
    assert said in message
    assert client.list_event_source_mappings()["EventSourceMappings"] == []


def test_values_outside_the_model_are_validation_errors(client: Any) -> None:
    status, code, message = refused(
        client.create_event_source_mapping,
        EventSourceArn=STREAM,
        FunctionName="f",
        StartingPosition="FIRST",
        BatchSize=10001,
    )
    assert (status, code) == (400, "ValidationException")
    assert "2 validation errors detected" in message
    assert "enum value set: [TRIM_HORIZON, LATEST, AT_TIMESTAMP]" in message


def test_a_second_mapping_of_a_source_and_a_function_names_the_first(client: Any) -> None:
    queue = client.create_event_source_mapping(EventSourceArn=QUEUE, FunctionName="f")["UUID"]
    stream = client.create_event_source_mapping(EventSourceArn=STREAM, FunctionName="f", StartingPosition="LATEST")[
        "UUID"
    ]
    assert refused(client.create_event_source_mapping, EventSourceArn=QUEUE, FunctionName="f") == (
        409, "ResourceConflictException",
        f'An event source mapping with SQS arn (" {QUEUE} ") and function (" f ") already exists. Please update or delete '
        f"the existing mapping with UUID {queue}",
    )  # fmt: skip
    assert refused(
        client.create_event_source_mapping, EventSourceArn=STREAM, FunctionName="f", StartingPosition="TRIM_HORIZON"
    ) == (
        409, "ResourceConflictException",
        f'The event source arn (" {STREAM} ") and function (" f ") provided mapping already exists. Please update or delete '
        f"the existing mapping with UUID {stream}",
    )  # fmt: skip
    assert client.create_event_source_mapping(EventSourceArn=QUEUE, FunctionName="g")["UUID"] != queue


def test_a_foreign_queue_is_taken_where_an_endpoint_leads_to_it(client: Any) -> None:
    made = client.create_event_source_mapping(EventSourceArn=FOREIGN, FunctionName="f")
    assert made["EventSourceArn"] == FOREIGN


def test_a_queue_must_keep_a_message_away_for_as_long_as_the_function_may_run(server: ApiServer, client: Any) -> None:
    async def set_visibility() -> None:
        changed = update(broker_queue).where(broker_queue.c.name == "jobs")
        text = json.dumps({"visibility_timeout_s": 60})
        await server.services.store.write(lambda c: c.execute(changed.values(document=text)) and None)

    server.run(set_visibility())
    assert refused(client.create_event_source_mapping, EventSourceArn=QUEUE, FunctionName="slow") == (
        400, "InvalidParameterValueException",
        "Queue visibility timeout: 60 seconds is less than Function timeout: 120 seconds",
    )  # fmt: skip
    assert client.create_event_source_mapping(EventSourceArn=QUEUE, FunctionName="f")["UUID"]


def test_the_state_follows_what_the_pollers_tell(server: ApiServer, client: Any) -> None:
    uuid = client.create_event_source_mapping(EventSourceArn=QUEUE, FunctionName="f")["UUID"]
    state = lambda: client.get_event_source_mapping(UUID=uuid)["State"]  # noqa: E731
    assert state() == "Creating"
    tell(server, uuid, 1, "Enabled")
    assert state() == "Enabled"
    assert client.update_event_source_mapping(UUID=uuid, BatchSize=5)["State"] == "Updating"
    tell(server, uuid, 2, "Enabled")
    assert state() == "Enabled"
    paused = client.update_event_source_mapping(UUID=uuid, Enabled=False)
    assert (paused["State"], paused["BatchSize"]) == ("Disabling", 5)
    assert paused["ResponseMetadata"]["HTTPStatusCode"] == 202
    tell(server, uuid, 3, "Disabled")
    assert state() == "Disabled"
    assert client.update_event_source_mapping(UUID=uuid, Enabled=True)["State"] == "Enabling"
    tell(server, uuid, 4, "Disabled", "There is no queue jobs any more")
    found = client.get_event_source_mapping(UUID=uuid)
    assert (found["State"], found["StateTransitionReason"]) == ("Disabled", "There is no queue jobs any more")


def test_a_transition_keeps_changes_out_until_nobody_takes_it_up(server: ApiServer, client: Any) -> None:
    uuid = client.create_event_source_mapping(EventSourceArn=QUEUE, FunctionName="f")["UUID"]
    assert refused(client.update_event_source_mapping, UUID=uuid, BatchSize=5) == (
        400, "ResourceInUseException", "Cannot update the event source mapping because it is in use.",
    )  # fmt: skip
    age(server, uuid)
    found = client.get_event_source_mapping(UUID=uuid)
    assert found["State"] == "Creating"
    assert "fnrunner sources" in found["StateTransitionReason"]
    assert client.update_event_source_mapping(UUID=uuid, BatchSize=5)["BatchSize"] == 5
    tell(server, uuid, 2, "Enabled")
    client.update_event_source_mapping(UUID=uuid, BatchSize=6)
    assert refused(client.delete_event_source_mapping, UUID=uuid)[1] == "ResourceInUseException"


def test_a_mapping_that_was_polled_is_marked_and_one_that_was_not_goes_at_once(server: ApiServer, client: Any) -> None:
    fresh = client.create_event_source_mapping(EventSourceArn=QUEUE, FunctionName="f")["UUID"]
    gone = client.delete_event_source_mapping(UUID=fresh)
    assert (gone["ResponseMetadata"]["HTTPStatusCode"], gone["State"], gone["EventSourceArn"]) == (
        202,
        "Deleting",
        QUEUE,
    )
    assert refused(client.get_event_source_mapping, UUID=fresh) == (
        404, "ResourceNotFoundException", "The resource you requested does not exist.",
    )  # fmt: skip
    polled = client.create_event_source_mapping(EventSourceArn=QUEUE, FunctionName="f")["UUID"]
    tell(server, polled, 1, "Enabled")
    assert client.delete_event_source_mapping(UUID=polled)["State"] == "Deleting"
    tell(server, polled, 2, "Enabled")
    assert client.get_event_source_mapping(UUID=polled)["State"] == "Deleting"
    assert server.run(server.services.catalogue.get_trigger(EventSourceMapping, polled)).deleting
    assert refused(client.delete_event_source_mapping, UUID=polled)[1] == "ResourceInUseException"


@pytest.mark.parametrize(
    "operation", ["get_event_source_mapping", "update_event_source_mapping", "delete_event_source_mapping"]
)
def test_a_mapping_that_is_not_there_is_not_found(client: Any, operation: str) -> None:
    status, code, message = refused(getattr(client, operation), UUID="00000000-0000-4000-8000-000000000000")
    assert (status, code, message) == (404, "ResourceNotFoundException", "The resource you requested does not exist.")


def test_an_update_changes_what_it_names_and_keeps_the_rest(server: ApiServer, client: Any) -> None:
    made = client.create_event_source_mapping(
        EventSourceArn=STREAM, FunctionName="f", StartingPosition="LATEST", BatchSize=7,
        FilterCriteria={"Filters": [{"Pattern": '{"partitionKey": ["a"]}'}]},
        DestinationConfig={"OnFailure": {"Destination": QUEUE}},
    )  # fmt: skip
    uuid = made["UUID"]
    tell(server, uuid, 1, "Enabled")
    changed = client.update_event_source_mapping(
        UUID=uuid,
        FunctionName="g",
        MaximumRetryAttempts=3,
        FilterCriteria={"Filters": []},
        MaximumRecordAgeInSeconds=-1,
    )
    assert (changed["FunctionArn"], changed["BatchSize"], changed["MaximumRetryAttempts"]) == (HOME.function("g"), 7, 3)
    assert "FilterCriteria" not in changed
    assert changed["DestinationConfig"] == {"OnFailure": {"Destination": QUEUE}}
    assert changed["LastModified"] > made["LastModified"]
    tell(server, uuid, 2, "Enabled")
    emptied = client.update_event_source_mapping(UUID=uuid, DestinationConfig={"OnFailure": {"Destination": ""}})
    assert emptied["DestinationConfig"] == {"OnFailure": {}}
    tell(server, uuid, 3, "Enabled")
    changed = httpx.put(
        f"{server.url}/2015-03-31/event-source-mappings/{uuid}", json={"StartingPosition": "LATEST"}, timeout=60
    )
    assert changed.status_code == 400
    assert "UpdateEventSourceMapping has no parameter StartingPosition" in changed.text
    assert (
        refused(client.update_event_source_mapping, UUID=uuid, FunctionName="missing")[2] == "Function does not exist"
    )
    assert (
        refused(client.update_event_source_mapping, UUID=uuid, MaximumRecordAgeInSeconds=5)[1]
        == "InvalidParameterValueException"
    )
    assert client.get_event_source_mapping(UUID=uuid)["FunctionArn"] == HOME.function("g")


def test_an_update_onto_another_mapping_s_function_is_a_conflict(server: ApiServer, client: Any) -> None:
    first = client.create_event_source_mapping(EventSourceArn=QUEUE, FunctionName="f")["UUID"]
    second = client.create_event_source_mapping(EventSourceArn=QUEUE, FunctionName="g")["UUID"]
    tell(server, second, 1, "Enabled")
    status, _, message = refused(client.update_event_source_mapping, UUID=second, FunctionName="f")
    assert status == 409
    assert first in message


def test_the_list_is_filtered_by_source_and_by_function_and_comes_in_pages(client: Any) -> None:
    made = [
        client.create_event_source_mapping(EventSourceArn=QUEUE, FunctionName=name)["UUID"] for name in ("f", "g")
    ] + [client.create_event_source_mapping(EventSourceArn=STREAM, FunctionName="f", StartingPosition="LATEST")["UUID"]]

    def listed(**params: Any) -> list[str]:
        pages = client.get_paginator("list_event_source_mappings").paginate(**params)
        return [one["UUID"] for page in pages for one in page["EventSourceMappings"]]

    assert listed() == sorted(made)
    assert listed(PaginationConfig={"PageSize": 1}) == sorted(made)
    assert listed(EventSourceArn=QUEUE) == sorted(made[:2])
    assert listed(FunctionName="f") == sorted([made[0], made[2]])
    assert listed(FunctionName=HOME.function("f"), EventSourceArn=QUEUE) == [made[0]]
    assert listed(FunctionName="f:$LATEST") == []
    page = client.list_event_source_mappings(MaxItems=2)
    assert len(page["EventSourceMappings"]) == 2
    assert page["NextMarker"]


def test_the_last_result_is_the_shards(server: ApiServer, client: Any) -> None:
    uuid = client.create_event_source_mapping(EventSourceArn=WIDE, FunctionName="f", StartingPosition="LATEST")["UUID"]

    def say(shard: int, result: str) -> None:
        name = f"{positions.shard_prefix(uuid)}shardId-{shard:012d}"
        server.run(positions.put(server.services.store, name, {"result": result}, server.services.now()))

    say(0, "OK")
    assert client.get_event_source_mapping(UUID=uuid)["LastProcessingResult"] == "OK"
    say(1, "PROBLEM: Function call failed")
    assert client.get_event_source_mapping(UUID=uuid)["LastProcessingResult"] == "PROBLEM: Function call failed"


def test_a_mapping_stays_when_its_function_goes(server: ApiServer, client: Any, tmp_path: Path) -> None:
    client.create_function(
        FunctionName="brief", Role=ROLE, Runtime="python3.12", Handler="app.handler", Code={"ZipFile": CODE}
    )
    uuid = client.create_event_source_mapping(EventSourceArn=QUEUE, FunctionName="brief")["UUID"]
    client.delete_function(FunctionName="brief")
    assert client.get_event_source_mapping(UUID=uuid)["FunctionArn"] == HOME.function("brief")
    assert [one["UUID"] for one in client.list_event_source_mappings(FunctionName="brief")["EventSourceMappings"]] == [
        uuid
    ]
