"""A message as ReceiveMessage of SQS gives it, in the letters of Lambda's event. Pure."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

from sources.sqs_message import digest_of


def record(message: Mapping[str, Any], arn: str) -> dict[str, Any]:
    """What ReceiveMessage gives as Lambda's record: the same in other letters."""
    attributes = {}
    for name, value in message.get("MessageAttributes", {}).items():
        made: dict[str, Any] = {"stringListValues": [], "binaryListValues": [], "dataType": value["DataType"]}
        if "BinaryValue" in value:
            made["binaryValue"] = base64.b64encode(value["BinaryValue"]).decode()
        else:
            made["stringValue"] = value.get("StringValue", "")
        attributes[name] = made
    found = {
        "messageId": message["MessageId"],
        "receiptHandle": message["ReceiptHandle"],
        "body": message["Body"],
        "attributes": dict(message.get("Attributes", {})),
        "messageAttributes": attributes,
        "md5OfBody": message["MD5OfBody"],
    }
    if attributes:
        found["md5OfMessageAttributes"] = message.get("MD5OfMessageAttributes") or digest_of(attributes)
    return {**found, "eventSource": "aws:sqs", "eventSourceARN": arn, "awsRegion": arn.split(":")[3]}
