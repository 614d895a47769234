"""A record of a Kafka topic, and a batch of them, as a function sees them. Source: Lambda developer guide, "Using Lambda with
Kafka"; header values are signed bytes, as Java has them (aws-lambda-go, pull request 506).
"""

from __future__ import annotations

import json
import re
from base64 import b64encode
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from typing import Any, Protocol

from sources.stream import Record

TIMESTAMP_TYPES = {1: "CREATE_TIME", 2: "LOG_APPEND_TIME"}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LATEST_MS = 253402300799000
_TRACE = re.compile(rb"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")


class KafkaMessage(Protocol):
    """What a client gives: the message of confluent-kafka."""

    def offset(self) -> int: ...
    def key(self) -> bytes | None: ...
    def value(self) -> bytes | None: ...
    def timestamp(self) -> tuple[int, int]: ...
    def headers(self) -> Sequence[tuple[str, bytes | None]] | None: ...


class KafkaRecords:
    """Those of one topic. ``arn`` is the cluster's, empty for a self-managed one."""

    def __init__(self, topic: str, arn: str, servers: Sequence[str]) -> None:
        self._topic = topic
        self._head: dict[str, Any] = {"eventSource": "aws:kafka" if arn else "SelfManagedKafka"}
        if arn:
            self._head["eventSourceArn"] = arn
        self._head["bootstrapServers"] = ",".join(servers)

    def record(self, partition: int, message: KafkaMessage, now: datetime) -> Record:
        """``now`` is its time where the message has none, and the latest it can have."""
        key, value, headers = message.key(), message.value(), message.headers() or ()
        kind, stamp_ms = message.timestamp()
        known = kind in TIMESTAMP_TYPES and 0 <= stamp_ms <= _LATEST_MS
        arrived = min(_EPOCH + timedelta(milliseconds=stamp_ms), now) if known else now
        event = {
            "topic": self._topic,
            "partition": partition,
            "offset": message.offset(),
            "timestamp": stamp_ms if known else (now - _EPOCH) // timedelta(milliseconds=1),
            "timestampType": TIMESTAMP_TYPES.get(kind, "NO_TIMESTAMP_TYPE"),
            "key": None if key is None else b64encode(key).decode(),
            "value": None if value is None else b64encode(value).decode(),
            "headers": [{name: signed(content or b"")} for name, content in headers],
        }
        text = "" if key is None else key.decode("utf-8", "replace")
        return Record(message.offset(), text, arrived, event, value, identity(message), _traceparent(headers))

    def payload(self, records: Sequence[Mapping[str, Any]], more: Mapping[str, Any]) -> bytes:
        """The event of one batch, whose records are of one partition."""
        batch = {f"{self._topic}-{records[0]['partition']}": list(records)} if records else {}
        return json.dumps({**self._head, "records": batch, **more}, separators=(",", ":")).encode()

    def failure_key(self, identifier: Any) -> int | None:
        """The offset in ``{"partition": "topic-0", "offset": 15}``; None for anything else."""
        if not isinstance(identifier, Mapping):
            return None
        partition, offset = identifier.get("partition"), identifier.get("offset")
        if not isinstance(partition, str) or not re.fullmatch(rf"{re.escape(self._topic)}-\d+", partition):
            return None
        return offset if isinstance(offset, int) and not isinstance(offset, bool) and offset >= 0 else None


def signed(content: bytes) -> list[int]:
    """
    >>> signed(b"h\\xeb")
    [104, -21]
    """
    return [byte - 256 if byte > 127 else byte for byte in content]


def identity(message: KafkaMessage) -> str:
    """A digest of key, value and time: 16 hexadecimal digits."""
    digest = blake2b(message.value() or b"", digest_size=8)
    digest.update(b"%r %d" % (message.key(), message.timestamp()[1]))
    return digest.hexdigest()


def _traceparent(headers: Sequence[tuple[str, bytes | None]]) -> str:
    found = next((content for name, content in headers if name == "traceparent"), None)
    return found.decode() if isinstance(found, bytes) and _TRACE.fullmatch(found) else ""
