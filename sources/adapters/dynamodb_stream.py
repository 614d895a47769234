"""``arn:aws:dynamodb:R:A:table/T/stream/L`` of the own account: the stream T of the own broker, of JSON documents."""

from __future__ import annotations

from sources.broker_stream import BrokerStream
from sources.dynamodb_record import DynamoDBRecords
from sources.mapping import EventSourceMapping, Kind, account_of
from sources.source import Services
from sources.stream import Stream, StreamAdapter


def serves(mapping: EventSourceMapping, services: Services) -> bool:
    return mapping.kind is Kind.DYNAMODB and account_of(mapping.source_arn) == services.account


def open_stream(mapping: EventSourceMapping, services: Services) -> Stream:
    records = DynamoDBRecords(mapping.source_arn)
    return BrokerStream(mapping.source_name, services.broker, services.clock, records)


ADAPTER = StreamAdapter("dynamodb-stream", serves, open_stream, data_key="dynamodb", batch_info="DDBStreamBatchInfo")
