"""How event sources and destinations are typed: ARNs, and short forms that stand for one of this installation.

>>> source_of("queue:jobs", Home())
{'EventSourceArn': 'arn:aws:sqs:us-east-1:000000000000:jobs'}
>>> source_of("kafka:localhost:9092/orders", Home())["Topics"]
['orders']
>>> target_of("topic:alarms", Home())
'arn:aws:sns:us-east-1:000000000000:alarms'
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from fnrunner.cli.client import ADMIN, Client
from fnrunner.cli.error import UsageFault
from fnrunner.model.arn import Home

FORMS = "An ARN, stream:NAME, queue:NAME, dynamodb:TABLE, mq:BROKER/QUEUE or kafka:HOST:PORT/TOPIC."
STREAM_LABEL = "latest"
"""The label in ARNs of tables' streams, which means nothing here."""


def home_of(client: Client) -> Home:
    """The region and account that the server answers for."""
    status = client.get(f"{ADMIN}/status")
    return Home(status["region"], status["account"])


def source_of(text: str, home: Home, *, queue: str | None = None, topic: str | None = None) -> dict[str, Any]:
    """The parameters that say where to read. Raises UsageFault."""
    kind, colon, rest = text.partition(":")
    named: dict[str, Any] = {**({"Queues": [queue]} if queue else {}), **({"Topics": [topic]} if topic else {})}
    if not colon or not rest:
        raise UsageFault(f"SOURCE: {text!r} is no event source", FORMS)
    if kind != "arn":
        return _short_form(text, home, named)
    return {"EventSourceArn": text, **named}


def _short_form(text: str, home: Home, named: dict[str, Any]) -> dict[str, Any]:
    kind, _, rest = text.partition(":")
    if named:
        option = "--queue" if "Queues" in named else "--topic"
        raise UsageFault(f"{option}: {text} says itself what there is to read", f"Leave out {option}, or give an ARN.")
    where = f"{home.region}:{home.account}"
    match kind:
        case "stream":
            return {"EventSourceArn": f"arn:aws:kinesis:{where}:stream/{rest}"}
        case "queue":
            return {"EventSourceArn": home.queue(rest)}
        case "dynamodb":
            return {"EventSourceArn": f"arn:aws:dynamodb:{where}:table/{rest}/stream/{STREAM_LABEL}"}
        case "mq":
            broker, slash, name = rest.partition("/")
            if slash and broker and name:
                return {"EventSourceArn": f"arn:aws:mq:{where}:broker:{broker}:b-{broker}", "Queues": [name]}
        case "kafka":
            servers, slash, name = rest.partition("/")
            if slash and servers and name:
                endpoints = {"KAFKA_BOOTSTRAP_SERVERS": servers.split(",")}
                return {"SelfManagedEventSource": {"Endpoints": endpoints}, "Topics": [name]}
    raise UsageFault(f"SOURCE: {text!r} is no event source", FORMS)


def target_of(text: str, home: Home) -> str:
    """The ARN of an on-failure destination. Raises UsageFault."""
    kind, _, rest = text.partition(":")
    where = f"{home.region}:{home.account}"
    forms = {
        "arn": text,
        "queue": home.queue(rest),
        "topic": f"arn:aws:sns:{where}:{rest}",
        "stream": f"arn:aws:kinesis:{where}:stream/{rest}",
    }
    if kind not in forms or not rest:
        raise UsageFault(f"--on-failure: {text!r} is no destination", "An ARN, queue:NAME, topic:NAME or stream:NAME.")
    return forms[kind]


def start_of(text: str) -> dict[str, Any]:
    """StartingPosition from ``start``, ``end`` or a time. Raises UsageFault.

    >>> start_of("start"), start_of("2026-01-01T00:00:00Z")["StartingPositionTimestamp"]
    ({'StartingPosition': 'TRIM_HORIZON'}, 1767225600.0)
    """
    match text:
        case "start":
            return {"StartingPosition": "TRIM_HORIZON"}
        case "end":
            return {"StartingPosition": "LATEST"}
    return {"StartingPosition": "AT_TIMESTAMP", "StartingPositionTimestamp": moment(text, "--from").timestamp()}


def rewind_to(text: str) -> dict[str, Any]:
    """Where to go on from: a position, a time, ``start`` or ``end``. Raises UsageFault.

    >>> rewind_to("17"), rewind_to("end")
    ({'position': '17'}, {'at': 'LATEST'})
    """
    if text.isascii() and text.isdecimal():
        return {"position": text}
    if text in ("start", "end"):
        return {"at": "TRIM_HORIZON" if text == "start" else "LATEST"}
    return {"timestamp": moment(text, "--to").isoformat()}


def moment(text: str, name: str) -> datetime:
    """A time as people write it; without an offset it is UTC. Raises UsageFault."""
    try:
        read = datetime.fromisoformat(text)
    except ValueError as error:
        raise UsageFault(
            f"{name}: {text!r} is neither start nor end nor a time", "A time looks like 2026-01-31T12:00:00Z."
        ) from error
    return read if read.tzinfo else read.replace(tzinfo=UTC)
