"""The event a function gets about an object, as S3 sends it. Source: Lambda developer guide, "Process S3 notifications"."""

from __future__ import annotations

import hashlib
import json
import uuid
from dataclasses import dataclass
from datetime import datetime

from sources import object_key
from sources.notification_filter import Notification
from sources.snapshot import Identity, Kind
from sources.source import SourceEvent


@dataclass(frozen=True, slots=True)
class Happening:
    """Something that happened to an object. ``identity`` is what is there now, or what was there when it was removed.
    ``occasion`` tells apart two arrivals of the same file, moved out and in again; ``sequencer_ns`` grows with each.
    """

    kind: Kind
    key: str
    identity: Identity
    etag: str
    at: datetime
    sequencer_ns: int
    occasion: str = ""


@dataclass(frozen=True, slots=True)
class Place:
    """Where it happened."""

    bucket: str
    region: str
    account: str


def event_id(place: Place, happening: Happening, notification: Notification) -> str:
    """The same for a repeat, different for everything else: a UUID made from what the event is about, not from when."""
    what = happening.identity
    parts = (
        place.bucket,
        happening.key,
        notification.id,
        notification.function,
        happening.kind.value,
        f"{what.size_bytes}:{what.mtime_ns}:{what.inode}",
        happening.occasion,
    )
    digest = hashlib.sha256(b"\0".join(object_key.to_bytes(p) for p in parts)).digest()
    return str(uuid.UUID(bytes=digest[:16], version=5))


def iso_millis(at: datetime) -> str:
    """ISO 8601 in UTC with milliseconds and ``Z``."""
    return f"{at:%Y-%m-%dT%H:%M:%S}.{at.microsecond // 1000:03d}Z"


def event(place: Place, happening: Happening, notification: Notification) -> SourceEvent:
    """One event with one record. A removal has neither size nor eTag. ``eTag`` is the MD5 of the content in hex, or, for
    a large file, a digest with ``-n`` at the end, as S3 has it for multipart uploads.
    """
    identifier = event_id(place, happening, notification)
    about: dict[str, object] = {"key": object_key.wire(happening.key)}
    if happening.kind is Kind.CREATED:
        about |= {"size": happening.identity.size_bytes, "eTag": happening.etag}
    about["sequencer"] = f"{happening.sequencer_ns:018X}"
    record = {
        "eventVersion": "2.1",
        "eventSource": "aws:s3",
        "awsRegion": place.region,
        "eventTime": iso_millis(happening.at),
        "eventName": happening.kind.value,
        "userIdentity": {"principalId": f"AWS:{place.account}"},
        "requestParameters": {"sourceIPAddress": "127.0.0.1"},
        "responseElements": {"x-amz-request-id": identifier[:16].replace("-", "").upper(), "x-amz-id-2": identifier},
        "s3": {
            "s3SchemaVersion": "1.0",
            "configurationId": notification.id,
            "bucket": {
                "name": place.bucket,
                "ownerIdentity": {"principalId": place.account},
                "arn": f"arn:aws:s3:::{place.bucket}",
            },
            "object": about,
        },
    }
    return SourceEvent(
        function=notification.function,
        qualifier=notification.qualifier,
        payload=json.dumps({"Records": [record]}, separators=(",", ":")).encode(),
        source=f"s3:{place.bucket}",
        trigger="datasource",
        event_id=identifier,
    )
