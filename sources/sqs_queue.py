"""One queue at an AWS-compatible SQS endpoint: the calls that are made to it, each on a thread, and their errors.

The long poll, which may take 20 seconds, runs on a daemon thread of its own, which no exit waits for.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from itertools import islice
from typing import Any, TypeVar

from sources.errors import SourceMissing, SourceUnavailable
from sources.mapping import account_of, name_of

A_CALL = 10
"""So many messages a call can be about."""
CALLS_AT_ONCE = 10
TRIES = 3
MISSING = ("AWS.SimpleQueueService.NonExistentQueue", "QueueDoesNotExist")
T = TypeVar("T")


class SqsQueue:
    """The queue of an ARN; boto3 finds the credentials. Every method raises SourceUnavailable, SourceMissing."""

    def __init__(self, arn: str, endpoint: str) -> None:
        self.name = name_of(arn)
        self.visibility = timedelta(seconds=30)
        self._arn = arn
        self._endpoint = endpoint
        self._client: Any = None
        self._url = ""
        self._closed = False

    async def connect(self) -> None:
        """Find the queue and its visibility timeout, once, and again after it was missing."""
        if self._url:
            return
        async with self._border():
            if self._client is None:
                self._client = await asyncio.to_thread(self._make_client)
            owner = account_of(self._arn)
            found = await asyncio.to_thread(
                self._client.get_queue_url, QueueName=self.name, QueueOwnerAWSAccountId=owner
            )
            answer = await asyncio.to_thread(
                self._client.get_queue_attributes, QueueUrl=found["QueueUrl"], AttributeNames=["VisibilityTimeout"]
            )
            self.visibility = timedelta(seconds=int(answer["Attributes"]["VisibilityTimeout"]))
            self._url = found["QueueUrl"]

    def _make_client(self) -> Any:
        import boto3
        from botocore.config import Config

        config = Config(
            connect_timeout=5,
            read_timeout=30,
            retries={"total_max_attempts": 2},
            max_pool_connections=2 * CALLS_AT_ONCE,
        )
        session = boto3.session.Session()  # the default one is not for threads
        return session.client("sqs", endpoint_url=self._endpoint, region_name=self._arn.split(":")[3], config=config)

    def close(self) -> None:
        """What a poll that is under way receives from now on is let go at once."""
        self._closed = True

    def poll(self, count: int, wait: timedelta) -> asyncio.Future[list[Mapping[str, Any]]]:
        """Begin to receive; the future can be left alone. It has the errors of boto3: see :meth:`finish`."""
        return _on_a_thread(lambda: self._ask(count, int(wait.total_seconds())))

    async def finish(self, polling: asyncio.Future[list[Mapping[str, Any]]]) -> None:
        """Wait for a poll, which goes on when this is cancelled."""
        async with self._border():
            await asyncio.shield(polling)

    async def more(self, count: int, calls: int) -> list[Mapping[str, Any]]:
        """What there is now, by several calls; a call that fails gives nothing."""
        asked = [asyncio.to_thread(self._ask, count, 0) for _ in range(min(calls, CALLS_AT_ONCE))]
        answers = await asyncio.gather(*asked, return_exceptions=True)
        return [message for answer in answers if isinstance(answer, list) for message in answer]

    def _ask(self, count: int, wait_s: int) -> list[Mapping[str, Any]]:
        answer = self._client.receive_message(
            QueueUrl=self._url,
            MaxNumberOfMessages=count,
            WaitTimeSeconds=wait_s,
            AttributeNames=["All"],
            MessageAttributeNames=["All"],
        )
        messages: list[Mapping[str, Any]] = answer.get("Messages", [])
        if self._closed and messages:
            self._change([message["ReceiptHandle"] for message in messages], 0)
            return []
        return messages

    async def delete(self, receipts: Sequence[str]) -> None:
        """What the queue does not know any more is passed over."""
        await self._insist(receipts, self._delete)

    async def change_visibility(self, receipts: Sequence[str], timeout: timedelta) -> None:
        """What the queue does not know any more is passed over."""
        await self._insist(receipts, lambda several: self._change(several, int(timeout.total_seconds())))

    async def _insist(self, receipts: Iterable[str], act: Callable[[Sequence[str]], list[str]]) -> None:
        """Ten at a time; what the queue did not do is asked for again, a few times."""
        left = list(receipts)
        for attempt in range(TRIES):
            if not left:
                return
            if attempt:
                await asyncio.sleep(0.2 * attempt)
            async with self._border():
                calls = [asyncio.to_thread(act, several) for several in _tens(left)]
                left = [receipt for failed in await asyncio.gather(*calls) for receipt in failed]
        if left:
            raise SourceUnavailable(f"the queue {self.name} did not settle {len(left)} messages; they come again")

    def _delete(self, receipts: Sequence[str]) -> list[str]:
        entries = [{"Id": str(index), "ReceiptHandle": receipt} for index, receipt in enumerate(receipts)]
        return _undone(self._client.delete_message_batch(QueueUrl=self._url, Entries=entries), receipts)

    def _change(self, receipts: Sequence[str], timeout_s: int) -> list[str]:
        entries = [
            {"Id": str(index), "ReceiptHandle": receipt, "VisibilityTimeout": timeout_s}
            for index, receipt in enumerate(receipts)
        ]
        return _undone(self._client.change_message_visibility_batch(QueueUrl=self._url, Entries=entries), receipts)

    @contextlib.asynccontextmanager
    async def _border(self) -> AsyncIterator[None]:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            yield
        except ClientError as error:
            code = error.response.get("Error", {}).get("Code", "")
            if code in MISSING:
                self._url = ""
                raise SourceMissing(
                    f"there is no queue {self.name} at {self._endpoint}. Create it, or delete the event source mapping"
                ) from error
            raise SourceUnavailable(f"SQS at {self._endpoint} refuses: {error}") from error
        except BotoCoreError as error:
            raise SourceUnavailable(f"SQS at {self._endpoint} cannot be used: {error}") from error


def _undone(answer: Mapping[str, Any], receipts: Sequence[str]) -> list[str]:
    """Those that can be asked for again: a receipt that the queue does not know any more is of a message that comes again."""
    failed = answer.get("Failed", [])
    return [receipts[int(each["Id"])] for each in failed if not each.get("SenderFault", False)]


def _tens(receipts: Sequence[str]) -> Iterable[list[str]]:
    left = iter(receipts)
    while several := list(islice(left, A_CALL)):
        yield several


def _on_a_thread(work: Callable[[], T]) -> asyncio.Future[T]:
    """On a daemon thread of its own: neither closing the loop nor the interpreter waits for a long poll."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def finish(result: T | None, error: BaseException | None) -> None:
        if future.done():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)  # type: ignore[arg-type]

    def run() -> None:
        try:
            outcome: tuple[T | None, BaseException | None] = (work(), None)
        except Exception as error:
            outcome = (None, error)
        with contextlib.suppress(RuntimeError):  # the loop has been closed
            loop.call_soon_threadsafe(finish, *outcome)

    threading.Thread(target=run, name="sqs long poll", daemon=True).start()
    return future
