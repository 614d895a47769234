"""Sends each mail of a batch, and says which could not be sent."""

import json

FROM = "shop@example.org"


def handler(event, context):
    failed = []
    for record in event["Records"]:
        mail = json.loads(record["body"])
        if "@" not in mail["to"]:
            failed.append({"itemIdentifier": record["messageId"]})
            continue
        print(f"from {FROM} to {mail['to']}: {mail['subject']}")
    return {"batchItemFailures": failed}
