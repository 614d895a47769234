"""A stream of moto, behind a proxy that can be cut."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import uuid4

import boto3

from sources.mapping import EventSourceMapping
from sources.source import Services
from tests.conformance.sources.streams.rig import Fixture
from tests.faults.proxy import Proxy

REGION = "eu-west-1"
CREDENTIALS = {"aws_access_key_id": "key", "aws_secret_access_key": "secret", "region_name": REGION}


class StoredPlaces:
    """What pollers have stored, by the names of claims."""

    def __init__(self) -> None:
        self.documents: dict[str, Any] = {}

    async def load(self, name: str) -> Any:
        return self.documents.get(name, {})


class MotoWorld:
    forgets = False
    goes_away = True
    remakes = False
    knows_times = False
    vanishes = True
    most_shards = 3
    kept_bytes = 1 << 20

    def __init__(self, service: str, fixture: Fixture) -> None:
        port: int = fixture("moto_port")
        fixture("monkeypatch").setenv("AWS_ACCESS_KEY_ID", "key")
        fixture("monkeypatch").setenv("AWS_SECRET_ACCESS_KEY", "secret")
        self.name = f"clicks-{uuid4().hex[:8]}"
        self.places = StoredPlaces()
        self._service = service
        self._proxy = Proxy(port)
        self._target = f"http://127.0.0.1:{port}"

    def client(self, service: str) -> Any:
        return boto3.session.Session().client(service, endpoint_url=self._target, **CREDENTIALS)  # type: ignore[call-overload]

    def services(self) -> Services:
        absent: Any = None
        places: Any = self.places
        endpoint = f"http://127.0.0.1:{self._proxy.port}"
        return Services(absent, absent, absent, claims=places, endpoints={self._service: endpoint})

    def arn(self) -> str:
        raise NotImplementedError

    def mapping(self) -> EventSourceMapping:
        return EventSourceMapping("uuid-1", "f", source_arn=self.arn())

    async def start(self) -> None:
        self.writer = await asyncio.to_thread(self.client, self._service)

    async def close(self) -> None:
        self._proxy.close()
        self.writer.close()

    async def forget(self) -> None:
        raise NotImplementedError

    async def lose(self) -> None:
        self._proxy.deaf(True)
        self._proxy.cut()

    async def restore(self) -> None:
        self._proxy.deaf(False)
