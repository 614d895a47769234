"""Says what it was asked to remind of."""

SIGN = "reminder"


def handler(event, context):
    print(f"{SIGN}: {event.get('about', 'a new day')}")
