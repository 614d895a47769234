"""Greets whoever comes."""

import os

MARK = "!"


def handler(event, context):
    return {"statusCode": 200, "body": os.environ["GREETING"] + os.environ["SUFFIX"] + MARK}
