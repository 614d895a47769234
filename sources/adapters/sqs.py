"""Queues at an AWS-compatible SQS endpoint, through boto3: those whose ARN is of another account than this installation's.

The endpoint is that of ``sqs`` in FNRUNNER_AWS_ENDPOINTS; credentials are found as boto3 finds them (environment, profile,
role).

As long as a message is in hand its visibility timeout is renewed, each time before a third of it is over: a batching
window, a long queue for concurrency or a function that is late do not make it come twice. A process that dies renews
nothing, and the message comes again after the rest of its timeout.

What goes back of a message group (FIFO) goes back together, when the visibility timeout of the first is over, so that its
order does not depend on how exactly the endpoint keeps it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sources.errors import SourceMissing, SourceUnavailable
from sources.inbox import InboxAdapter, Received
from sources.mapping import EventSourceMapping, Kind, account_of
from sources.source import Services
from sources.sqs_queue import A_CALL, SqsQueue
from sources.sqs_record import record
from sources.stream import records_payload

LONGEST_POLL = timedelta(seconds=20)
BUSY_POLL = timedelta(seconds=1)
"""While groups are in hand: not every endpoint tells a poll that is under way when a group becomes free."""


@dataclass(slots=True)
class _Held:
    """``visible_at`` is when it would come again, in seconds of the monotonic clock. ``resting``: it is to come again."""

    receipt: str
    group: str
    visible_at: float
    resting: bool = False


class SqsInbox:
    """See :class:`sources.inbox.Inbox`."""

    def __init__(self, mapping: EventSourceMapping, services: Services) -> None:
        self._arn = mapping.source_arn
        self._queue = SqsQueue(self._arn, services.endpoints["sqs"])
        self._fifo = self._queue.name.endswith(".fifo")
        # SQS keeps a group back while messages of it are in hand. More than a batch would only be counted as received.
        self._a_call = min(A_CALL, mapping.batch_size) if self._fifo else A_CALL
        self._held: dict[str, _Held] = {}
        self._early: list[Mapping[str, Any]] = []
        self._polling: asyncio.Future[list[Mapping[str, Any]]] | None = None
        self._resting: dict[str, asyncio.Task[None]] = {}
        self._renewing: asyncio.Task[None] | None = None
        self._closed = False
        self.trouble = ""

    @property
    def visibility(self) -> timedelta:
        return self._queue.visibility

    async def start(self) -> None:
        """Nothing to do before the first receive."""

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._queue.close()
        if tasks := [*self._resting.values(), *([] if self._renewing is None else [self._renewing])]:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
        early, self._early = self._early, []
        receipts = [*self._held, *(message["ReceiptHandle"] for message in early)]
        self._held.clear()
        try:
            await self._queue.change_visibility(receipts, timedelta(0))
        except (SourceUnavailable, SourceMissing):
            pass  # they come again when their visibility timeout is over

    def payload(self, messages: Sequence[Received]) -> bytes:
        return records_payload([message.event for message in messages], {})

    # Receiving

    async def receive(self, limit: int, wait: timedelta) -> Sequence[Received]:
        if limit <= 0:
            return []
        await self._queue.connect()
        if self._renewing is None:
            # Only now is it known how often that has to be.
            self._renewing = asyncio.create_task(self._keep_invisible(), name=f"keep messages of {self._queue.name}")
        if not self._early:
            longest = BUSY_POLL if self._fifo and self._held else LONGEST_POLL
            await self._poll(min(limit, self._a_call), min(wait, longest))
        more = -(-(limit - len(self._early)) // self._a_call)
        if len(self._early) >= self._a_call and more > 0 and not self._fifo:
            # There is more where a full answer came from. Of message groups the order would be lost.
            self._early += await self._queue.more(self._a_call, more)
        taken, self._early = self._early[:limit], self._early[limit:]
        return [self._received(message) for message in taken]

    async def _poll(self, count: int, wait: timedelta) -> None:
        """Into what came early, so that a caller that is cancelled loses nothing: the next one finds it."""
        if self._polling is None:
            self._polling = self._queue.poll(count, wait)
            self._polling.add_done_callback(self._arrived)
        await self._queue.finish(self._polling)

    def _arrived(self, polling: asyncio.Future[list[Mapping[str, Any]]]) -> None:
        self._polling = None
        if not polling.cancelled() and polling.exception() is None:
            self._early += polling.result()

    def _received(self, message: Mapping[str, Any]) -> Received:
        event = record(message, self._arn)
        until = asyncio.get_running_loop().time() + self.visibility.total_seconds()
        attributes = event["attributes"]
        group = attributes.get("MessageGroupId", "") if self._fifo else ""
        self._held[event["receiptHandle"]] = held = _Held(event["receiptHandle"], group, until)
        return Received(
            id=event["messageId"],
            event=event,
            data=event["body"].encode("utf-8", "surrogatepass"),
            receive_count=int(attributes.get("ApproximateReceiveCount", 1)),
            handle=held,
            group=group,
            traceparent=event["messageAttributes"].get("traceparent", {}).get("stringValue", ""),
        )

    # Settling

    async def delete(self, messages: Sequence[Received]) -> None:
        receipts = [message.handle.receipt for message in messages if message.handle.receipt in self._held]
        await self._queue.delete(receipts)
        self._forget(receipts)

    async def release(self, messages: Sequence[Received], *, failed: bool, reason: str = "") -> None:
        """One that failed is left alone: it is back when its timeout is over, which nobody renews any more."""
        several: list[_Held] = [message.handle for message in messages if message.handle.receipt in self._held]
        loose = [held.receipt for held in several if not held.group]
        if not failed:
            await self._queue.change_visibility(loose, timedelta(0))
        self._forget(loose)
        for group in dict.fromkeys(held.group for held in several if held.group):
            await self._release_group(group, [held for held in several if held.group == group], failed)

    async def _release_group(self, group: str, several: Sequence[_Held], failed: bool) -> None:
        """All of a group at the same moment, in order: what is behind one that failed comes with it."""
        for held in several:
            held.resting = True
        if group in self._resting:
            return
        if not failed:
            await self._let_go(group)
            return
        self._resting[group] = asyncio.create_task(
            self._rest(group), name=f"rest of group {group} of {self._queue.name}"
        )

    async def _rest(self, group: str) -> None:
        try:
            await asyncio.sleep(self.visibility.total_seconds())
            await self._let_go(group)
        except (SourceUnavailable, SourceMissing):
            # They come again when their own timeouts are over.
            self._forget(self._at_rest(group))
        finally:
            self._resting.pop(group, None)

    async def _let_go(self, group: str) -> None:
        receipts = self._at_rest(group)
        await self._queue.change_visibility(receipts, timedelta(0))
        self._forget(receipts)

    def _at_rest(self, group: str) -> list[str]:
        return [held.receipt for held in self._held.values() if held.group == group and held.resting]

    def _forget(self, receipts: Sequence[str]) -> None:
        for receipt in receipts:
            self._held.pop(receipt, None)

    async def _keep_invisible(self) -> None:
        while True:
            third = max(0.3, self.visibility.total_seconds() / 3)
            await asyncio.sleep(third / 2)
            now = asyncio.get_running_loop().time()
            due = [held for held in self._held.values() if held.visible_at - now <= 2 * third]
            if not due or not self.visibility:
                continue
            try:
                await self._queue.change_visibility([held.receipt for held in due], self.visibility)
            except (SourceUnavailable, SourceMissing):
                continue  # receiving says so; the next round is soon
            for held in due:
                held.visible_at = now + self.visibility.total_seconds()


def serves(mapping: EventSourceMapping, services: Services) -> bool:
    """Queues of other accounts, where an endpoint is known."""
    return (
        mapping.kind is Kind.SQS and account_of(mapping.source_arn) != services.account and "sqs" in services.endpoints
    )


ADAPTER = InboxAdapter(name="sqs", serves=serves, open=SqsInbox, requires=("boto3",))
