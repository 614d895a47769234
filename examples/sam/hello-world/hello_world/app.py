"""Greets whoever calls, by the name in the path or with none."""

import json

GREETING = "hello"


def lambda_handler(event, context):
    name = (event["pathParameters"] or {}).get("name", "world")
    said = {"message": f"{GREETING} {name}", "method": event["httpMethod"], "stage": event["requestContext"]["stage"]}
    return {"statusCode": 200, "multiValueHeaders": {"X-Greeted": [name]}, "body": json.dumps(said)}
