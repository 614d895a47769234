"""What the API uses, as one value that :mod:`fnrunner.app` makes, and the small ports it needs of each part."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from prometheus_client import CollectorRegistry

from broker.broker import Broker
from fnrunner.api.code_link import CodeLinks
from fnrunner.api.updates import Updates
from fnrunner.auth.iam import Iam
from fnrunner.auth.keyring import Keyring
from fnrunner.auth.trail import Trail
from fnrunner.catalogue import Catalogue
from fnrunner.delivery.audit import Audit
from fnrunner.delivery.dead_letters import DeadLetters
from fnrunner.delivery.history import History
from fnrunner.model.arn import FunctionRef, Home
from fnrunner.model.function import Function
from fnrunner.model.load import Load
from fnrunner.model.problem import Problem
from fnrunner.settings import Settings
from fnrunner.store.engine import Store


@dataclass(frozen=True, slots=True)
class Health:
    """``alive``: restarting would not help. ``ready``: it does its work. ``roles``: what this process is."""

    alive: bool
    ready: bool
    roles: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()


@dataclass(frozen=True, slots=True)
class HealthServices:
    """What /healthz, /readyz and /metrics need: a process without the API has only these."""

    health: Callable[[], Awaitable[Health]]
    registry: CollectorRegistry


class CallResult(Protocol):
    """``function_error`` is ``Unhandled`` or empty; ``log_tail`` is raw, at most 4 KB."""

    @property
    def request_id(self) -> str: ...
    @property
    def payload(self) -> bytes: ...
    @property
    def function_error(self) -> str: ...
    @property
    def executed_version(self) -> str: ...
    @property
    def log_tail(self) -> bytes: ...
    @property
    def xray(self) -> str: ...


class StreamedCall(Protocol):
    """An answer that arrives in pieces. Iterating gives its chunks and ends when the function has ended.

    ``content_type`` is what the runtime said, empty where it said nothing. ``error_code`` (``Unhandled``,
    ``Sandbox.Timedout``, ``Runtime.TruncatedResponse`` …), ``error_details`` (JSON) and ``log_tail`` are known after the
    last chunk; the code is empty when all went well.
    """

    @property
    def request_id(self) -> str: ...
    @property
    def content_type(self) -> str: ...
    @property
    def executed_version(self) -> str: ...
    @property
    def xray(self) -> str: ...
    @property
    def error_code(self) -> str: ...
    @property
    def error_details(self) -> bytes: ...
    @property
    def log_tail(self) -> bytes: ...

    def __aiter__(self) -> AsyncIterator[bytes]: ...


class Front(Protocol):
    """See :class:`fnrunner.invoke.front.Front`. Its errors carry code, status and message key."""

    def stream(
        self,
        ref: FunctionRef,
        payload: bytes,
        *,
        client_context: str = ...,
        log_tail: bool = ...,
        xray: str = ...,
        trace: Mapping[str, str] = ...,
        source: str = ...,
        trigger: str = ...,
    ) -> AbstractAsyncContextManager[StreamedCall]:
        """Entered when the first chunk, or the end, is there. Leaving early makes the function's work stop.

        While nobody iterates the function is held back: memory is bounded everywhere. Raises as ``call`` does.
        """

    async def call(
        self,
        ref: FunctionRef,
        payload: bytes,
        *,
        client_context: str = ...,
        log_tail: bool = ...,
        xray: str = ...,
        trace: Mapping[str, str] = ...,
        source: str = ...,
        trigger: str = ...,
    ) -> CallResult: ...

    async def accept(
        self,
        ref: FunctionRef,
        payload: bytes,
        *,
        event_id: str | None = ...,
        source: str = ...,
        trigger: str = ...,
        xray: str = ...,
        trace: Mapping[str, str] = ...,
    ) -> str: ...

    async def check(self, ref: FunctionRef) -> Function: ...


@dataclass(frozen=True, slots=True)
class Services:
    """``now`` gives aware UTC. ``health`` looks at every part, quickly. Set ``stopping`` when the
    process begins to stop: long polls end then. ``load`` is the last sample; None when there is none that is fresh.
    ``iam`` None: nobody has to sign. ``keyring`` None: nothing is encrypted. ``trail`` None: calls are not logged.
    ``saved`` says whether a function runs code that is newer than what is deployed.
    """

    settings: Settings
    home: Home
    version: str
    catalogue: Catalogue
    front: Front
    dead_letters: DeadLetters
    audit: Audit
    history: History
    broker: Broker
    store: Store
    registry: CollectorRegistry
    code_links: CodeLinks
    health: Callable[[], Awaitable[Health]]
    now: Callable[[], datetime]
    updates: Updates
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    load: Callable[[], Load | None] = lambda: None
    iam: Iam | None = None
    keyring: Keyring | None = None
    trail: Trail | None = None
    saved: Callable[[Function], bool] = lambda function: False
