"""An event source mapping: which source invokes which function, and how its records are batched and retried.

Source: Lambda API, CreateEventSourceMapping.

>>> kind_of("arn:aws:kinesis:us-east-1:000000000000:stream/clicks")
<Kind.KINESIS: 'kinesis'>
>>> name_of("arn:aws:dynamodb:us-east-1:000000000000:table/orders/stream/2026-01-01T00:00:00.000")
'orders'
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import Enum

from sources.errors import Misconfigured

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Kind(Enum):
    """What a source is, by the service its ARN names."""

    KINESIS = "kinesis"
    DYNAMODB = "dynamodb"
    SQS = "sqs"
    MQ = "mq"
    KAFKA = "kafka"

    @property
    def is_stream(self) -> bool:
        """Read in order from a position; the others are queues, whose messages are settled one by one."""
        return self in (Kind.KINESIS, Kind.DYNAMODB, Kind.KAFKA)


class StartingPosition(Enum):
    """Where a stream is read from when nothing is stored yet: its oldest record, only new ones, or a time."""

    TRIM_HORIZON = "TRIM_HORIZON"
    LATEST = "LATEST"
    AT_TIMESTAMP = "AT_TIMESTAMP"


@dataclass(frozen=True, slots=True)
class SourceAccess:
    """How to get into a source: ``type`` such as BASIC_AUTH or VIRTUAL_HOST, ``uri`` what Lambda calls its URI."""

    type: str
    uri: str


@dataclass(frozen=True, slots=True)
class EventSourceMapping:
    """``source_arn`` is empty for a self-managed Kafka, which has ``bootstrap_servers``. ``topic`` is Kafka's,
    ``queue`` Amazon MQ's. ``qualifier`` is as given; empty means ``$LATEST``.

    ``maximum_record_age`` and ``maximum_retry_attempts`` None: until the source drops the record. ``tumbling_window``
    zero: none. ``filters`` are patterns as JSON texts. ``on_failure`` is an ARN. ``maximum_concurrency`` None: as many
    invocations as there is work for. ``revision`` grows with every change that a user makes; ``deleting``: its poller is
    to end, then it goes.
    """

    uuid: str
    function: str
    qualifier: str = ""
    source_arn: str = ""
    queue: str = ""
    topic: str = ""
    bootstrap_servers: tuple[str, ...] = ()
    consumer_group: str = ""
    access: tuple[SourceAccess, ...] = ()
    enabled: bool = True
    batch_size: int = 100
    batching_window: timedelta = timedelta(0)
    parallelization_factor: int = 1
    starting_position: StartingPosition | None = None
    starting_timestamp: datetime | None = None
    maximum_record_age: timedelta | None = None
    maximum_retry_attempts: int | None = None
    bisect: bool = False
    report_failures: bool = False
    tumbling_window: timedelta = timedelta(0)
    filters: tuple[str, ...] = ()
    on_failure: str = ""
    maximum_concurrency: int | None = None
    revision: int = 1
    deleting: bool = False
    created: datetime = EPOCH
    last_modified: datetime = field(default=EPOCH)

    @property
    def kind(self) -> Kind:
        return kind_of(self.source_arn) if self.source_arn else Kind.KAFKA

    @property
    def source_name(self) -> str:
        """What the source is called on its broker: a stream, a queue, a topic."""
        if self.kind is Kind.MQ:
            return self.queue
        return self.topic if self.kind is Kind.KAFKA else name_of(self.source_arn)

    @property
    def trigger(self) -> str:
        """OpenTelemetry's ``faas.trigger``."""
        return "datasource" if self.kind.is_stream else "pubsub"

    @property
    def label(self) -> str:
        """The ``source`` of its invocations in traces, metrics and the ledger: ``kinesis:clicks``."""
        return f"{self.kind.value}:{self.source_name}"


def kind_of(arn: str) -> Kind:
    """Raises Misconfigured for an ARN of no service that can be a source."""
    parts = arn.split(":", 5)
    service = parts[2] if len(parts) == 6 and parts[0] == "arn" else ""
    if service == "kafka":
        return Kind.KAFKA
    try:
        return Kind(service)
    except ValueError:
        raise Misconfigured(
            f"{arn!r} names no source: it takes an ARN of kinesis, dynamodb, sqs, mq or kafka"
        ) from None


def account_of(arn: str) -> str:
    """The account of an ARN; empty where it has none."""
    parts = arn.split(":", 5)
    return parts[4] if len(parts) == 6 else ""


def name_of(arn: str) -> str:
    """The name of the stream, table or queue that the ARN means on the broker.

    >>> name_of("arn:aws:sqs:us-east-1:000000000000:jobs"), name_of("arn:aws:mq:us-east-1:000000000000:broker:own:b-1")
    ('jobs', 'own')
    """
    resource = arn.split(":", 5)[-1]
    match kind_of(arn):
        case Kind.KINESIS:
            return resource.removeprefix("stream/")
        case Kind.DYNAMODB:
            return resource.removeprefix("table/").partition("/stream/")[0]
        case Kind.MQ:
            return resource.removeprefix("broker:").partition(":")[0]
        case Kind.KAFKA:
            return resource.removeprefix("cluster/").partition("/")[0]
        case Kind.SQS:
            return resource
