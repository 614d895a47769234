"""Counts the clicks of a batch by page."""

import base64
import collections
import json

NOUN = "clicks"


def handler(event, context):
    records = [json.loads(base64.b64decode(record["kinesis"]["data"])) for record in event["Records"]]
    for page, count in collections.Counter(record["page"] for record in records).items():
        print(f"{page}: {count} {NOUN}")
