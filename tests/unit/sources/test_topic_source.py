"""A subscription to a topic whose broker does not answer."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from sources.adapters.topic import TopicSource
from sources.source import Condition, Services
from sources.topic import TopicWatch
from tests.unit.sources.virtual_time import in_virtual_time


class SilentBroker:
    """``silent``: which of its orders is never carried out."""

    def __init__(self, silent: str) -> None:
        self._silent = silent
        self.queue = "q"

    async def _answer(self, order: str) -> None:
        if order == self._silent:
            await asyncio.Event().wait()

    async def declare(self, topology: Any) -> None:
        await self._answer("declare")

    async def subscribe(self, queue: str, hear: Any, **more: Any) -> SilentBroker:
        return self

    async def cancel(self) -> None:
        await self._answer("cancel")


@pytest.mark.parametrize("silent", ["declare", "cancel"])
@in_virtual_time
async def test_closing_does_not_wait_for_ever_for_a_broker(silent: str) -> None:
    absent: Any = None
    broker: Any = SilentBroker(silent)
    source = TopicSource(TopicWatch("id", "news", "f"), Services(absent, absent, absent, broker=broker))
    await source.start()
    began = asyncio.get_running_loop().time()
    await source.close()
    assert asyncio.get_running_loop().time() - began < 60
    assert source.health().condition is Condition.CLOSED
