"""Something that must be set up on every new connection, and again whenever its channel goes."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Coroutine
from typing import Any

from broker.errors import BrokerError
from broker.rabbitmq.connection import FIRST_PAUSE_S, LONGEST_PAUSE_S, Link, Session, end, whole

log = logging.getLogger(__name__)


class Attachment:
    """``attach`` sets it up and returns the event that tells of its loss. ``trouble`` says why it is not set up now."""

    def __init__(self, link: Link, attach: Callable[[Session], Coroutine[Any, Any, asyncio.Event]], what: str) -> None:
        self.trouble = ""
        self._link = link
        self._attach = attach
        self._what = what
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Set it up once, letting its errors through; then keep it in the background."""
        lost = await whole(self._attach(await self._link.connected_soon()))
        self._task = asyncio.create_task(self._keep(lost), name=f"rabbitmq keep {self._what}")

    async def _keep(self, lost: asyncio.Event) -> None:
        while True:
            await lost.wait()
            self.trouble = f"{self._what} is being set up again"
            lost = await self._again()
            self.trouble = ""

    async def _again(self) -> asyncio.Event:
        pause = FIRST_PAUSE_S
        while True:
            session = await self._link.connected()
            try:
                return await whole(self._attach(session))
            except BrokerError as error:
                self.trouble = f"{self._what}: {error}"
                log.warning("%s; trying again", self.trouble)
            except Exception:
                self.trouble = f"{self._what} fails in an unexpected way"
                log.exception(self.trouble)
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311
            pause = min(pause * 2, LONGEST_PAUSE_S)

    async def stop(self) -> None:
        self.trouble = ""
        await end(self._task)
        self._task = None
