"""Topics of Kafka: of a self-managed cluster, by its bootstrap servers, or of the MSK cluster that an ARN names, whose servers
are ``kafka`` among the endpoints (HOST:PORT, several separated by commas).

A partition is a shard, ``TOPIC-0``. Connections are plain: a mapping that asks for SASL or TLS is refused, naming what it
asks for. VPC_SUBNET and VPC_SECURITY_GROUP say where Lambda's pollers stand; here they stand where this process does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from sources.errors import Misconfigured, NotSupported, SourceMissing
from sources.kafka_client import KafkaClient
from sources.kafka_reader import KafkaReader
from sources.kafka_record import KafkaRecords
from sources.mapping import EventSourceMapping, Kind
from sources.source import Services
from sources.stream import Start, Stream, StreamAdapter

NETWORK = frozenset({"VPC_SUBNET", "VPC_SECURITY_GROUP"})


class KafkaStream:
    """See :class:`sources.stream.Stream`."""

    def __init__(self, mapping: EventSourceMapping, servers: Sequence[str]) -> None:
        self._topic = mapping.topic
        self._follows_group = bool(mapping.consumer_group)
        self._client = KafkaClient(servers, mapping.consumer_group or mapping.uuid, mapping.topic)
        self._records = KafkaRecords(mapping.topic, mapping.source_arn, servers)
        self._readers: set[KafkaReader] = set()

    async def start(self) -> None:
        """Nothing to do before the first question."""

    async def close(self) -> None:
        readers, self._readers = self._readers, set()
        await asyncio.gather(*(reader.close() for reader in readers))
        await self._client.close()

    async def shards(self) -> Sequence[str]:
        return [f"{self._topic}-{partition}" for partition in await self._client.partitions()]

    async def open(self, shard: str, start: Start) -> KafkaReader:
        topic, _, partition = shard.rpartition("-")
        if topic != self._topic or not partition.isdecimal():
            raise SourceMissing(f"{shard!r} is no partition of {self._topic!r}")
        reader = KafkaReader(self._client, int(partition), start, self._records, follows_group=self._follows_group)
        await reader.open()
        self._readers.add(reader)
        reader.on_close = lambda: self._readers.discard(reader)
        return reader

    def payload(self, records: Sequence[Mapping[str, Any]], more: Mapping[str, Any]) -> bytes:
        return self._records.payload(records, more)

    def failure_key(self, identifier: Any) -> int | None:
        return self._records.failure_key(identifier)


def serves(mapping: EventSourceMapping, services: Services) -> bool:
    return mapping.kind is Kind.KAFKA


def servers_of(mapping: EventSourceMapping, services: Services) -> tuple[str, ...]:
    """Raises Misconfigured."""
    if mapping.bootstrap_servers:
        return mapping.bootstrap_servers
    if known := services.endpoints.get("kafka"):
        return tuple(server.strip() for server in known.split(","))
    raise Misconfigured(
        f"{mapping.source_arn} names an MSK cluster, and its servers are not known: name them as endpoint `kafka`, or "
        "create the mapping with SelfManagedEventSource"
    )


def open_stream(mapping: EventSourceMapping, services: Services) -> Stream:
    refused = sorted({access.type for access in mapping.access} - NETWORK)
    if refused:
        raise NotSupported(
            f"SourceAccessConfigurations {', '.join(refused)}: connections to Kafka are plain here. Use a listener "
            "without authentication, in a network of your own"
        )
    return KafkaStream(mapping, servers_of(mapping, services))


ADAPTER = StreamAdapter(
    "kafka", serves, open_stream, data_key="value", batch_info="KafkaBatchInfo", requires=("confluent-kafka",)
)
