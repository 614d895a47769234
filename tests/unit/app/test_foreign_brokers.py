"""Clients of other brokers: one each, and one that does not answer is waited for by nobody else."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any, cast

import pytest

from broker.broker import Broker
from fnrunner.app.foreign_brokers import ForeignBrokers
from sources.errors import Misconfigured


class FakeClient:
    made: list[str] = []

    def __init__(self, url: str, **more: Any) -> None:
        self.url = url
        self.made.append(url)

    async def start(self) -> None:
        if self.url == "silent":
            await asyncio.Event().wait()

    async def close(self) -> None: ...


@pytest.fixture
def foreign(monkeypatch: pytest.MonkeyPatch) -> ForeignBrokers:
    FakeClient.made.clear()
    monkeypatch.setattr("broker.rabbitmq.RabbitMQBroker", FakeClient)
    own = cast(Broker, FakeClient("own"))
    return ForeignBrokers(own, {"a": "silent", "b": "url-b"}, "test", timedelta(seconds=5))


async def test_a_broker_that_does_not_answer_holds_up_no_other(foreign: ForeignBrokers) -> None:
    waiting = asyncio.create_task(foreign.get("a"))
    await asyncio.sleep(0)
    async with asyncio.timeout(20):
        first, second = await asyncio.gather(foreign.get("b"), foreign.get("b"))
    assert first is second
    assert FakeClient.made == ["own", "silent", "url-b"]
    waiting.cancel()
    await asyncio.wait([waiting])
    await foreign.close()


async def test_a_name_that_is_not_in_the_settings_says_which_are(foreign: ForeignBrokers) -> None:
    with pytest.raises(Misconfigured, match=r"fnrunner, a, b are known"):
        await foreign.get("c")
