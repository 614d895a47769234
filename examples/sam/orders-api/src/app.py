"""Keeps each order as a file."""

import json
import os
import pathlib

GREETING = "Thank you"


def handler(event, context):
    orders = pathlib.Path(os.environ["ORDERS"])
    if event["routeKey"] == "POST /orders":
        order = json.loads(event["body"])
        (orders / f"{int(order['id'])}.json").write_text(json.dumps(order))
        return {"statusCode": 201, "body": json.dumps({"id": order["id"], "said": GREETING})}
    found = orders / f"{int(event['pathParameters']['id'])}.json"
    if not found.is_file():
        return {"statusCode": 404, "body": json.dumps({"message": "There is no such order"})}
    return json.loads(found.read_text())
