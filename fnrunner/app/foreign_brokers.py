"""Clients of other RabbitMQ brokers by the names that FNRUNNER_BROKERS gives them, one each, made when first wanted."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Mapping
from datetime import timedelta

from broker.broker import Broker
from fnrunner.settings import OWN_BROKER
from sources.errors import Misconfigured


class ForeignBrokers:
    """``urls`` by name. The clients declare nothing on their brokers."""

    def __init__(self, own: Broker, urls: Mapping[str, str], name: str, connect_timeout: timedelta) -> None:
        self._own = own
        self._urls = urls
        self._name = name
        self._connect_timeout = connect_timeout
        self._clients: dict[str, Broker] = {}
        self._making: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def get(self, name: str) -> Broker:
        """Started. Raises Misconfigured for a name that is not in the settings, Unavailable."""
        if name == OWN_BROKER:
            return self._own
        if name not in self._urls:
            known = ", ".join((OWN_BROKER, *self._urls))
            raise Misconfigured(f"there is no broker {name!r}. Name it in FNRUNNER_BROKERS ({known} are known)")
        async with self._making[name]:  # one that does not answer holds up no other
            if name not in self._clients:
                from broker.rabbitmq import RabbitMQBroker

                client = RabbitMQBroker(
                    self._urls[name], delays=(), name=self._name, connect_timeout=self._connect_timeout, guest=True
                )
                await client.start()
                self._clients[name] = client
            return self._clients[name]

    async def close(self) -> None:
        """Idempotent."""
        clients, self._clients = self._clients, {}
        await asyncio.gather(*(client.close() for client in clients.values()))
