"""A Kafka cluster through librdkafka: what is asked of it, on threads, with its errors translated at this border.

There is no group management: which partition is whose is decided by claims, and offsets are stored with them.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, TypeVar

from sources.errors import SourceMissing, SourcesError, SourceUnavailable

T = TypeVar("T")
log = logging.getLogger(__name__)

ANSWER_S = 5.0
"""How long the cluster may take to answer."""

HELD_KB = 16_384
"""So much is fetched ahead for a partition."""

FETCH_BYTES = 8 << 20


def configuration(servers: Sequence[str], group: str) -> dict[str, Any]:
    """Of a consumer that reads one partition: it commits nothing, and says so when its offset is gone."""
    return {
        "bootstrap.servers": ",".join(servers),
        "group.id": group,
        "client.id": "fnrunner",
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "auto.offset.reset": "error",
        "allow.auto.create.topics": False,
        "queued.max.messages.kbytes": HELD_KB,
        "queued.min.messages": 10_000,
        "fetch.max.bytes": FETCH_BYTES,
        "fetch.wait.max.ms": 100,
        "reconnect.backoff.max.ms": 2_000,
        "topic.metadata.refresh.interval.ms": 30_000,
        "log_level": 2,
        "logger": log,
    }


class KafkaClient:
    """``servers`` are HOST:PORT. Made without any I/O."""

    def __init__(self, servers: Sequence[str], group: str, topic: str) -> None:
        self.topic = topic
        self.servers = tuple(servers)
        self._configuration = configuration(servers, group)
        self._asking: Any = None
        self._lock = asyncio.Lock()

    def consumer(self, on_error: Callable[[Any], None]) -> Any:
        """One more consumer, for one partition; ``on_error`` hears of the cluster's state while it is polled."""
        from confluent_kafka import Consumer

        return Consumer({**self._configuration, "error_cb": on_error})

    async def partitions(self) -> list[int]:
        """Raises SourceUnavailable, SourceMissing."""
        metadata = await self._ask(lambda consumer: consumer.list_topics(self.topic, timeout=ANSWER_S))
        topic = metadata.topics[self.topic]
        if topic.error is not None:
            raise self.translated(topic.error)
        return sorted(topic.partitions)

    async def watermarks(self, partition: int) -> tuple[int, int]:
        """The oldest offset there is, and the one the next record gets. Raises SourceUnavailable, SourceMissing."""
        # Without metadata librdkafka calls every partition unknown, even when the cluster is only away.
        if partition not in await self.partitions():
            raise SourceMissing(f"the topic {self.topic!r} has no partition {partition}")
        place = self.place(partition)
        found = await self._ask(lambda consumer: consumer.get_watermark_offsets(place, timeout=ANSWER_S, cached=False))
        if found is None:
            raise SourceUnavailable(f"Kafka at {','.join(self.servers)} does not answer")
        low, high = found
        return int(low), int(high)

    async def offset_at(self, partition: int, moment: datetime) -> int | None:
        """Of the first record of that time or later; None where there is none."""
        place = self.place(partition, int(moment.timestamp() * 1000))
        (found,) = await self._ask(lambda consumer: consumer.offsets_for_times([place], timeout=ANSWER_S))
        if found.error is not None:
            raise self.translated(found.error)
        return int(found.offset) if found.offset >= 0 else None

    async def committed(self, partition: int) -> int | None:
        """What the consumer group has committed; None: nothing."""
        place = self.place(partition)
        (found,) = await self._ask(lambda consumer: consumer.committed([place], timeout=ANSWER_S))
        if found.error is not None:
            raise self.translated(found.error)
        return int(found.offset) if found.offset >= 0 else None

    def place(self, partition: int, offset: int = 0) -> Any:
        from confluent_kafka import TopicPartition

        return TopicPartition(self.topic, partition, offset)

    async def close(self) -> None:
        async with self._lock:
            asking, self._asking = self._asking, None
            if asking is not None:
                await asyncio.to_thread(asking.close)

    async def _ask(self, question: Callable[[Any], T]) -> T:
        """One question at a time."""
        from confluent_kafka import KafkaException

        async with self._lock:
            if self._asking is None:
                self._asking = self.consumer(lambda error: log.debug("Kafka: %s", error))
            try:
                return await asyncio.to_thread(question, self._asking)
            except KafkaException as error:
                raise self.translated(error.args[0]) from error

    def translated(self, error: Any) -> SourcesError:
        """Of a KafkaError."""
        from confluent_kafka import KafkaError

        where = f"Kafka at {','.join(self.servers)}"
        if error.code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
            return SourceMissing(
                f"{where} has no topic {self.topic!r}: {error.str()}. Create it, or delete the event source mapping"
            )
        return SourceUnavailable(f"{where} cannot be read now: {error.str()}")
