"""What a function receives from each source, field by field, as AWS documents it.

Each expected event is written out; a type or a pattern stands where a value differs from run to run. Keys that are missing
or too many fail, as values and types do.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
import pytest

from tests.installation import Installation, eventually

pytestmark = pytest.mark.slow

RECORDER = """
    import json, os, uuid

    def handler(event, context):
        name = os.path.join(os.environ["EVENTS"], f"{uuid.uuid4()}.part")
        with open(name, "w") as file:
            json.dump(event, file)
        os.rename(name, name[:-5])
"""
ACCOUNT = "000000000000"
REGION = "us-east-1"
UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
DIGITS = re.compile(r"\d+")
MD5 = re.compile(r"[0-9a-f]{32}")
ISO_MS = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
ISO_S = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
XRAY = re.compile(r"Root=1-[0-9a-f]{8}-[0-9a-f]{24}.*")


def differences(expected: Any, real: Any, path: str = "$") -> list[str]:
    """Where ``real`` is not what is expected, as sentences."""
    if isinstance(expected, dict) and isinstance(real, dict):
        found = [f"{path}.{key} is missing" for key in expected.keys() - real.keys()]
        found += [f"{path}.{key} is too much" for key in real.keys() - expected.keys()]
        return found + [
            d for key in expected.keys() & real.keys() for d in differences(expected[key], real[key], f"{path}.{key}")
        ]
    if isinstance(expected, list) and isinstance(real, list):
        if len(expected) != len(real):
            return [f"{path} has {len(real)} elements, not {len(expected)}"]
        return [
            d for n, pair in enumerate(zip(expected, real, strict=True)) for d in differences(*pair, f"{path}[{n}]")
        ]
    if isinstance(expected, re.Pattern):
        fits = isinstance(real, str) and expected.fullmatch(real) is not None
    elif isinstance(expected, type):
        fits = type(real) is expected
    else:
        fits = type(real) is type(expected) and real == expected
    return [] if fits else [f"{path} is {real!r}, not {expected!r}"]


@pytest.fixture(scope="module")
def server(request: pytest.FixtureRequest) -> Iterator[Installation]:
    # Not below /tmp: functions have a /tmp of their own and would not see where they write.
    with TemporaryDirectory(dir="/var/tmp") as directory, Installation(Path(directory)) as found:
        found.start("dev")
        yield found


@pytest.fixture
def recorder(server: Installation, request: pytest.FixtureRequest) -> tuple[str, Path]:
    """A function that keeps the events it gets, and where."""
    name = re.sub(r"\W+", "-", request.node.name)[:60]
    events = server.directory / "events" / name
    events.mkdir(parents=True)
    server.deploy(name, RECORDER, Environment={"Variables": {"EVENTS": str(events)}}, Timeout=10)
    return name, events


def only_event(events: Path) -> Any:
    def one() -> Any:
        found = [path for path in events.iterdir() if not path.name.endswith(".part")]
        return found if len(found) == 1 else None

    (path,) = eventually(one)
    return json.loads(path.read_text())


def map_source(server: Installation, name: str, arn: str, **more: Any) -> None:
    client = server.client()
    uuid = client.create_event_source_mapping(FunctionName=name, EventSourceArn=arn, **more)["UUID"]
    eventually(lambda: client.get_event_source_mapping(UUID=uuid)["State"] == "Enabled")


def test_kinesis(server: Installation, recorder: tuple[str, Path]) -> None:
    name, events = recorder
    server.http.put("/fnrunner/v1/streams/clicks", json={"partitions": 2}).raise_for_status()
    arn = f"arn:aws:kinesis:{REGION}:{ACCOUNT}:stream/clicks"
    map_source(server, name, arn, StartingPosition="TRIM_HORIZON")
    server.command("stream", "put", "clicks", "--key", "k1", "Hello, this is a test.")
    event = only_event(events)
    expected = {
        "Records": [
            {
                "kinesis": {
                    "kinesisSchemaVersion": "1.0",
                    "partitionKey": "k1",
                    "sequenceNumber": DIGITS,
                    "data": base64.b64encode(b"Hello, this is a test.").decode(),
                    "approximateArrivalTimestamp": float,
                },
                "eventSource": "aws:kinesis",
                "eventVersion": "1.0",
                "eventID": re.compile(r"shardId-00000000000[01]:\d+"),
                "eventName": "aws:kinesis:record",
                "invokeIdentityArn": re.compile(rf"arn:aws:iam::{ACCOUNT}:role/.+"),
                "awsRegion": REGION,
                "eventSourceARN": arn,
            }
        ]
    }
    assert differences(expected, event) == []
    record = event["Records"][0]
    assert record["eventID"].endswith(f":{record['kinesis']['sequenceNumber']}")
    assert abs(record["kinesis"]["approximateArrivalTimestamp"] - datetime.now(UTC).timestamp()) < 60


def test_dynamodb(server: Installation, recorder: tuple[str, Path]) -> None:
    name, events = recorder
    server.http.put("/fnrunner/v1/streams/orders", json={}).raise_for_status()
    arn = f"arn:aws:dynamodb:{REGION}:{ACCOUNT}:table/orders/stream/2026-01-01T00:00:00.000"
    map_source(server, name, arn, StartingPosition="TRIM_HORIZON")
    change = {
        "eventName": "INSERT",
        "dynamodb": {"Keys": {"Id": {"N": "101"}}, "NewImage": {"Id": {"N": "101"}, "M": {"S": "new"}}},
    }
    server.http.post("/fnrunner/v1/streams/orders/records", json={"records": [{"data": change}]}).raise_for_status()
    expected = {
        "Records": [
            {
                "eventID": str,
                "eventName": "INSERT",
                "eventVersion": "1.1",
                "eventSource": "aws:dynamodb",
                "awsRegion": REGION,
                "dynamodb": {
                    "ApproximateCreationDateTime": int,
                    "Keys": {"Id": {"N": "101"}},
                    "NewImage": {"Id": {"N": "101"}, "M": {"S": "new"}},
                    "SequenceNumber": DIGITS,
                    "SizeBytes": int,
                    "StreamViewType": re.compile("NEW_IMAGE|NEW_AND_OLD_IMAGES"),
                },
                "eventSourceARN": arn,
            }
        ]
    }
    assert differences(expected, only_event(events)) == []


def test_sqs(server: Installation, recorder: tuple[str, Path]) -> None:
    name, events = recorder
    server.http.put("/fnrunner/v1/queues/jobs", json={}).raise_for_status()
    arn = f"arn:aws:sqs:{REGION}:{ACCOUNT}:jobs"
    map_source(server, name, arn)
    message = {"body": "Test message.", "headers": {"k": "v"}}
    server.http.post("/fnrunner/v1/queues/jobs/messages", json={"messages": [message]}).raise_for_status()
    expected = {
        "Records": [
            {
                "messageId": UUID,
                "receiptHandle": re.compile(".+"),
                "body": "Test message.",
                "attributes": {
                    "ApproximateReceiveCount": "1",
                    "SentTimestamp": re.compile(r"\d{13}"),
                    "SenderId": re.compile(".+"),
                    "ApproximateFirstReceiveTimestamp": re.compile(r"\d{13}"),
                },
                "messageAttributes": {
                    "k": {"stringValue": "v", "stringListValues": [], "binaryListValues": [], "dataType": "String"}
                },
                "md5OfBody": "e4e68fb7bd0e697a0ae8f1bb342846b3",
                "md5OfMessageAttributes": MD5,
                "eventSource": "aws:sqs",
                "eventSourceARN": arn,
                "awsRegion": REGION,
            }
        ]
    }
    assert differences(expected, only_event(events)) == []


def test_mq(server: Installation, recorder: tuple[str, Path]) -> None:
    name, events = recorder
    server.http.put("/fnrunner/v1/queues/pizza", json={}).raise_for_status()
    arn = f"arn:aws:mq:{REGION}:{ACCOUNT}:broker:fnrunner:b-9bcfa592-423a-4942-879d-eb284b418fc8"
    map_source(server, name, arn, Queues=["pizza"])
    message = {"body": '{"timeout":0}', "headers": {"header1": "value1"}, "content_type": "text/plain"}
    server.http.post("/fnrunner/v1/queues/pizza/messages", json={"messages": [message]}).raise_for_status()
    expected = {
        "eventSource": "aws:rmq",
        "eventSourceArn": arn,
        "rmqMessagesByQueue": {
            "pizza::/": [
                {
                    "basicProperties": {
                        "contentType": "text/plain",
                        "contentEncoding": None,
                        "headers": {"header1": {"bytes": [118, 97, 108, 117, 101, 49]}, "timestamp_in_ms": int},
                        "deliveryMode": 2,
                        "priority": None,
                        "correlationId": None,
                        "replyTo": None,
                        "expiration": None,
                        "messageId": UUID,
                        "timestamp": re.compile(r"[A-Z][a-z]{2} \d{1,2}, \d{4}, \d{1,2}:\d\d:\d\d [AP]M"),
                        "type": None,
                        "userId": None,
                        "appId": None,
                        "clusterId": None,
                        "bodySize": 13,
                    },
                    "redelivered": False,
                    "data": base64.b64encode(b'{"timeout":0}').decode(),
                }
            ]
        },
    }
    assert differences(expected, only_event(events)) == []


def test_sns(server: Installation, recorder: tuple[str, Path]) -> None:
    name, events = recorder
    server.command("topic", "create", "news")
    server.command("topic", "subscribe", "news", name)
    topic = f"arn:aws:sns:{REGION}:{ACCOUNT}:news"
    found = eventually(lambda: publish_until(server, events))
    expected = {
        "Records": [
            {
                "EventVersion": "1.0",
                "EventSubscriptionArn": re.compile(re.escape(topic) + ":.+"),
                "EventSource": "aws:sns",
                "Sns": {
                    "Type": "Notification",
                    "MessageId": UUID,
                    "TopicArn": topic,
                    "Subject": "TestInvoke",
                    "Message": "Hello from SNS!",
                    "Timestamp": ISO_MS,
                    "SignatureVersion": "1",
                    "Signature": str,
                    "SigningCertUrl": str,
                    "UnsubscribeUrl": str,
                    "MessageAttributes": {"Test": {"Type": "String", "Value": "TestString"}},
                },
            }
        ]
    }
    assert differences(expected, found) == []


def publish_until(server: Installation, events: Path) -> Any:
    """The event, once the subscription's queue is there: what was published before it is nobody's."""
    if not (found := list(events.iterdir())):
        server.command(
            "topic", "publish", "news", "Hello from SNS!", "--subject", "TestInvoke", "--attribute", "Test=TestString"
        )
        return None
    return json.loads(found[0].read_text())


def test_schedule(server: Installation, recorder: tuple[str, Path]) -> None:
    name, events = recorder
    tick = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=4)
    server.command("schedule", "create", "soon", name, f"at({tick:%Y-%m-%dT%H:%M:%S})")
    expected = {
        "version": "0",
        "id": UUID,
        "detail-type": "Scheduled Event",
        "source": "aws.events",
        "account": ACCOUNT,
        "time": f"{tick:%Y-%m-%dT%H:%M:%SZ}",
        "region": REGION,
        "resources": [
            re.compile(
                rf"arn:aws:events:{REGION}:{ACCOUNT}:rule/soon|arn:aws:scheduler:{REGION}:{ACCOUNT}:schedule/default/soon"
            )
        ],
        "detail": {},
    }
    assert differences(expected, only_event(events)) == []


def test_s3(server: Installation, recorder: tuple[str, Path]) -> None:
    name, events = recorder
    bucket = server.http.put("/fnrunner/v1/buckets/photos", json={}).json()
    notification = {"id": "828aa6fc", "bucket": "photos", "events": ["s3:ObjectCreated:*"]}
    server.http.put(
        f"/fnrunner/v1/functions/{name}/notifications", json={"notifications": [notification]}
    ).raise_for_status()
    path = Path(bucket["directory"]) / "my key+1.txt"
    path.write_text("x" * 42)
    expected = {
        "Records": [
            {
                "eventVersion": "2.1",
                "eventSource": "aws:s3",
                "awsRegion": REGION,
                "eventTime": ISO_MS,
                "eventName": "ObjectCreated:Put",
                "userIdentity": {"principalId": str},
                "requestParameters": {"sourceIPAddress": str},
                "responseElements": {"x-amz-request-id": str, "x-amz-id-2": str},
                "s3": {
                    "s3SchemaVersion": "1.0",
                    "configurationId": "828aa6fc",
                    "bucket": {"name": "photos", "ownerIdentity": {"principalId": str}, "arn": "arn:aws:s3:::photos"},
                    "object": {"key": "my+key%2B1.txt", "size": 42, "eTag": re.compile("[0-9a-f]+"), "sequencer": str},
                },
            }
        ]
    }
    assert differences(expected, only_event(events)) == []


REQUEST_HEADERS = {
    "cookie": "c1=a; c2=b", "x-two": "1", "content-type": "text/plain", "user-agent": "tests/1", "accept": "*/*",
    "accept-encoding": "identity",
}  # fmt: skip


def http_event(server: Installation, domain: str, prefix: str, route: str, path: str) -> dict[str, Any]:
    """Payload 2.0 of the request that is sent to both."""
    return {
        "version": "2.0",
        "routeKey": route,
        "rawPath": path,
        "rawQueryString": "p1=v1&p1=v2&p2=v",
        "cookies": ["c1=a", "c2=b"],
        "headers": {
            "x-amzn-trace-id": XRAY,
            "x-forwarded-proto": "http",
            "x-forwarded-port": str(server.port),
            "x-forwarded-for": "127.0.0.1",
            "host": domain,
            "x-two": "1",
            "content-type": "text/plain",
            "content-length": "5",
            "user-agent": "tests/1",
            "accept": "*/*",
            "accept-encoding": "identity",
            "connection": "keep-alive",
        },
        "queryStringParameters": {"p1": "v1,v2", "p2": "v"},
        "requestContext": {
            "accountId": str,
            "apiId": prefix,
            "domainName": domain,
            "domainPrefix": prefix,
            "http": {
                "method": "POST",
                "path": path,
                "protocol": "HTTP/1.1",
                "sourceIp": "127.0.0.1",
                "userAgent": "tests/1",
            },
            "requestId": re.compile(".+"),
            "routeKey": route,
            "stage": "$default",
            "time": re.compile(r"\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d \+0000"),
            "timeEpoch": int,
        },
        "body": "Hello",
        "isBase64Encoded": False,
    }


def post(server: Installation, host: str, path: str) -> None:
    answer = httpx.post(
        f"{server.url}{path}?p1=v1&p1=v2&p2=v", content=b"Hello", headers={**REQUEST_HEADERS, "host": host}, timeout=30
    )
    assert answer.status_code == 200, answer.text


def without(expected: dict[str, Any], real: dict[str, Any], *names: str) -> dict[str, Any]:
    """The expectation without headers that may be there or not."""
    kept = {key: value for key, value in expected["headers"].items() if key not in names or key in real["headers"]}
    return {**expected, "headers": kept}


def test_function_url(server: Installation, recorder: tuple[str, Path]) -> None:
    name, events = recorder
    url = server.client().create_function_url_config(FunctionName=name, AuthType="NONE")["FunctionUrl"]
    domain = url.split("/")[2]
    prefix = domain.split(".")[0]
    post(server, domain, "/my/path")
    event = only_event(events)
    expected = http_event(server, event["requestContext"]["domainName"], prefix, "$default", "/my/path")
    assert event["requestContext"]["domainName"].split(":")[0] == domain.split(":")[0]
    expected["headers"]["host"] = domain
    assert differences(without(expected, event, "connection", "content-length"), event) == []
    assert event["requestContext"]["accountId"] == "anonymous"


def test_http_api(server: Installation, recorder: tuple[str, Path]) -> None:
    name, events = recorder
    routes = {"routes": [{"method": "POST", "path": "/my/{what}", "function": name}]}
    server.http.put("/fnrunner/v1/http-apis/shop", json=routes).raise_for_status()
    domain = f"shop.execute-api.{REGION}.localhost:{server.port}"
    post(server, domain, "/my/path")
    event = only_event(events)
    expected = http_event(server, event["requestContext"]["domainName"], "shop", "POST /my/{what}", "/my/path")
    expected["headers"]["host"] = domain
    expected["pathParameters"] = {"what": "path"}
    assert differences(without(expected, event, "connection", "content-length"), event) == []
