"""Says what changed."""

WORD = "changed"


def handler(event, context):
    for record in event["Records"]:
        keys = record["dynamodb"]["Keys"]
        print(f"{record['eventName']} {WORD} {sorted(keys)}")
