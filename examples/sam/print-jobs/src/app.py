"""Prints what it is sent."""

import base64

PRINTER = "printed"


def handler(event, context):
    for messages in event["rmqMessagesByQueue"].values():
        for message in messages:
            print(f"{PRINTER}: {base64.b64decode(message['data']).decode()}")
