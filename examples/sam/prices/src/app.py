"""Says what something costs."""

import json

import money

TAX = 19


def handler(event, context):
    for record in event.get("Records", [event]):
        cents = json.loads(record["body"])["cents"] if "body" in record else record["cents"]
        price = money.written(cents + cents * TAX // 100)
        print(f"version {context.function_version} asks {price}")
    return price
