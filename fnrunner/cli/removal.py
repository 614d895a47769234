"""What is lost, and who is left waiting, when a queue or a stream is removed: the question before that is done.

>>> question("queue", "jobs", ["3 messages wait in it", "hello reads it"])
'Remove the queue jobs for good? 3 messages wait in it; hello reads it.'
>>> question("queue", "jobs", [])
'Remove the queue jobs for good?'
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from fnrunner.cli.client import ADMIN, Client, segment
from fnrunner.cli.error import CliError

QUEUES, STREAMS = ("sqs", "mq"), ("kinesis", "dynamodb")
"""The kinds of event source mappings that read each."""


def question(word: str, name: str, facts: Sequence[str]) -> str:
    """What is asked, with what speaks against it."""
    return f"Remove the {word} {name} for good?" + (f" {'; '.join(facts)}." if facts else "")


def of_queue(client: Client, found: Mapping[str, Any]) -> list[str]:
    """``found`` is what the server says of the queue."""
    name = found["name"]
    readers = list(_readers(client, name, QUEUES))
    return [
        *_counted(found["ready"], "message waits", "messages wait", "in it"),
        *_counted(found["unsettled"], "message is", "messages are", "in somebody's hands"),
        *readers,
        *([] if readers else _counted(found["consumers"], "consumer reads", "consumers read", "it")),
        *(f"it is the dead-letter queue of {other}" for other in _feeding(client, name)),
    ]


def of_stream(client: Client, name: str) -> list[str]:
    """Raises CliError when there is no such stream here."""
    streams = {one["name"]: one for one in client.get(f"{ADMIN}/streams")["streams"]}
    if name not in streams:
        raise CliError(f"There is no stream {name} that was created here", "`fnrunner stream ls` lists them.")
    queues = [client.find(f"{ADMIN}/queues/{segment(one)}") or {} for one in streams[name]["partitions"]]
    records = sum(one.get("ready") or 0 for one in queues)
    return [*_counted(records, "record is", "records are", "in it"), *_readers(client, name, STREAMS)]


def _readers(client: Client, name: str, kinds: Sequence[str]) -> Iterator[str]:
    for one in client.get(f"{ADMIN}/mappings")["mappings"]:
        kind, _, source = one["source"].partition(":")
        if source == name and kind in kinds:
            mapping = one["mapping"]
            function = mapping["FunctionArn"].partition(":function:")[2]
            yield f"{function} reads it by the event source mapping {mapping['UUID']}"


def _feeding(client: Client, name: str) -> Iterator[str]:
    for queue in client.get(f"{ADMIN}/queues")["queues"]:
        if queue["attributes"]["dead_letter_queue"] == name:
            yield queue["name"]


def _counted(count: int | None, one: str, more: str, rest: str) -> Iterator[str]:
    """Nothing of nothing.

    >>> list(_counted(0, "message waits", "messages wait", "in it")), list(_counted(1, "message waits", "", "in it"))
    ([], ['1 message waits in it'])
    """
    if count:
        yield f"{count} {one if count == 1 else more} {rest}"
