"""``arn:aws:kinesis:R:A:stream/NAME`` of the own account: the stream NAME of the own broker."""

from __future__ import annotations

from sources.broker_stream import BrokerStream
from sources.kinesis_record import KinesisRecords
from sources.mapping import EventSourceMapping, Kind, account_of
from sources.source import Services
from sources.stream import Stream, StreamAdapter


def serves(mapping: EventSourceMapping, services: Services) -> bool:
    return mapping.kind is Kind.KINESIS and account_of(mapping.source_arn) == services.account


def open_stream(mapping: EventSourceMapping, services: Services) -> Stream:
    records = KinesisRecords(mapping.source_arn, services.account)
    return BrokerStream(mapping.source_name, services.broker, services.clock, records)


ADAPTER = StreamAdapter("kinesis-stream", serves, open_stream)
