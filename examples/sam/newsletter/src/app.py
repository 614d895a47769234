"""Reads the news."""

READER = "read"


def handler(event, context):
    for record in event["Records"]:
        print(f"{READER}: {record['Sns']['Message']}")
    return len(event["Records"])
