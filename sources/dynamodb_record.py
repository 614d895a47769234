"""A record of a DynamoDB stream as a function sees it, made of a JSON document or of what the service's API gives.

Source: Lambda developer guide, "Using Lambda with DynamoDB"; DynamoDB Streams API, Record.
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Mapping
from datetime import UTC, datetime
from hashlib import blake2b
from typing import Any

from sources.stream import Record

EVENT_SOURCE = "aws:dynamodb"
EVENT_VERSION = "1.1"
EVENT_NAMES = ("INSERT", "MODIFY", "REMOVE")
_IMAGES = ("Keys", "NewImage", "OldImage")


class Malformed(ValueError):
    """The document is no record of a DynamoDB stream; the message says why."""


class DynamoDBRecords:
    """Makes the records of one stream from documents such as ``{"eventName": "INSERT", "dynamodb": {"Keys": {…}, …}}``.

    What a document leaves out is filled in; what it says stays, except ``SequenceNumber``, which is the position here: a
    function names a failed record by it.
    """

    def __init__(self, arn: str) -> None:
        self._arn = arn
        self._region = arn.split(":")[3]

    def record(
        self,
        shard: str,
        position: int,
        data: bytes,
        /,
        *,
        key: str,
        arrived: datetime,
        identity: str,
        traceparent: str = "",
    ) -> Record:
        """The record at ``position``; ``fault`` says why no event can be made of ``data``."""
        common = {"eventVersion": EVENT_VERSION, "eventSource": EVENT_SOURCE, "awsRegion": self._region}
        own = {"eventID": _id(f"{self._arn}\0{shard}\0{position}\0{identity}"), "eventSourceARN": self._arn}
        try:
            document = parse(data)
        except Malformed as error:
            raw = {"data": b64encode(data).decode(), "dynamodb": {"SequenceNumber": str(position)}}
            event = {**own, **common, **raw}
            return Record(position, key, arrived, event, data, identity, traceparent, f"no DynamoDB record: {error}")
        change = document["dynamodb"]
        arrived = _created(change, arrived)
        whole = {
            "ApproximateCreationDateTime": int(arrived.timestamp()),
            "SizeBytes": size_of(change),
            "StreamViewType": view_of(change),
            **change,
            "SequenceNumber": str(position),
        }
        event = {**own, **common, **document, "dynamodb": whole}
        return Record(position, key or key_of(change), arrived, event, compact(whole).encode(), identity, traceparent)

    def of_service(self, raw: Mapping[str, Any]) -> Record:
        """The record that GetRecords gives, as botocore has it: times are datetimes, binary values are bytes."""
        change = _jsonable(raw["dynamodb"])
        arrived = raw["dynamodb"]["ApproximateCreationDateTime"].astimezone(UTC)
        event = {
            "eventID": raw["eventID"],
            "eventName": raw["eventName"],
            "eventVersion": raw.get("eventVersion", EVENT_VERSION),
            "eventSource": EVENT_SOURCE,
            "awsRegion": raw.get("awsRegion", self._region),
            "dynamodb": change,
            "eventSourceARN": self._arn,
        }
        if user := raw.get("userIdentity"):
            event["userIdentity"] = {"type": user.get("Type"), "principalId": user.get("PrincipalId")}
        position = int(raw["dynamodb"]["SequenceNumber"])
        data = compact(change).encode()
        return Record(position, key_of(change), arrived, event, data, str(raw["eventID"]))


def parse(body: bytes) -> dict[str, Any]:
    """The document, with an ``eventName`` and an object ``dynamodb``. Raises Malformed.

    >>> parse(b'{"eventName": "CREATE", "dynamodb": {}}')
    Traceback (most recent call last):
    sources.dynamodb_record.Malformed: eventName is "CREATE"; it takes INSERT, MODIFY or REMOVE
    """
    try:
        document = json.loads(body.decode("utf-8"), parse_constant=_refuse, parse_float=_finite)
    except RecursionError:
        raise Malformed("the JSON is nested too deeply") from None
    except ValueError as error:
        raise Malformed(f"the body is not JSON ({error})") from error
    if not isinstance(document, dict):
        raise Malformed('the body is no JSON object; it takes {"eventName": …, "dynamodb": {…}}')
    if not isinstance(document.get("dynamodb"), dict):
        raise Malformed("the member dynamodb is missing, or is no object")
    if (name := document.get("eventName")) not in EVENT_NAMES:
        raise Malformed(f"eventName is {json.dumps(name)[:100]}; it takes INSERT, MODIFY or REMOVE")
    for image in _IMAGES:
        if image in document["dynamodb"] and not isinstance(document["dynamodb"][image], dict):
            raise Malformed(f"dynamodb.{image} is no object")
    return document


def compact(value: Any) -> str:
    """The shortest JSON text.

    >>> compact({"Id": {"N": "101"}})
    '{"Id":{"N":"101"}}'
    """
    return json.dumps(value, separators=(",", ":"))


def key_of(change: Mapping[str, Any]) -> str:
    """What keeps the changes of one item in order: its keys, as text.

    >>> key_of({"Keys": {"b": {"S": "x"}, "a": {"N": "1"}}}), key_of({})
    ('{"a":{"N":"1"},"b":{"S":"x"}}', '')
    """
    keys = change.get("Keys")
    return json.dumps(keys, separators=(",", ":"), sort_keys=True) if keys else ""


def size_of(change: Mapping[str, Any]) -> int:
    """About the size in bytes of its keys and images."""
    return sum(len(compact(change[image])) for image in _IMAGES if image in change)


def view_of(change: Mapping[str, Any]) -> str:
    """The view type that would have given these images.

    >>> view_of({"NewImage": {}, "OldImage": {}}), view_of({"OldImage": {}}), view_of({"Keys": {}})
    ('NEW_AND_OLD_IMAGES', 'OLD_IMAGE', 'KEYS_ONLY')
    """
    match "NewImage" in change, "OldImage" in change:
        case True, True:
            return "NEW_AND_OLD_IMAGES"
        case True, False:
            return "NEW_IMAGE"
        case False, True:
            return "OLD_IMAGE"
    return "KEYS_ONLY"


def _created(change: Mapping[str, Any], arrived: datetime) -> datetime:
    """When the change was made, where it says so; never later than it arrived."""
    stated = change.get("ApproximateCreationDateTime")
    if isinstance(stated, int | float) and not isinstance(stated, bool) and 0 <= stated < 2**38:
        return min(datetime.fromtimestamp(stated, UTC), arrived)
    return arrived


def _jsonable(value: Any) -> Any:
    """Binary values in base64, times in whole seconds since 1970."""
    match value:
        case bytes():
            return b64encode(value).decode()
        case datetime():
            return int(value.timestamp())
        case Mapping():
            return {name: _jsonable(inner) for name, inner in value.items()}
        case list():
            return [_jsonable(inner) for inner in value]
    return value


def _id(text: str) -> str:
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is no JSON")


def _finite(text: str) -> float:
    if (value := float(text)) in (float("inf"), float("-inf")):
        raise ValueError(f"{text[:40]} is out of range")
    return value
