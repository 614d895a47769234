"""Greets, and says which version does."""

WORD = "hello"


def handler(event, context):
    return f"{WORD} from {context.function_version}"
