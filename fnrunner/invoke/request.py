"""A request on a function's queue and what comes back: replies as values, refusals as the errors that callers know."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from datetime import timedelta

from broker import names, reply
from broker.broker import Broker
from broker.errors import BrokerError, EnvelopeError, NoReply, RequestReturned, Unavailable
from broker.message import Message
from broker.reply import Reply, ReplyKind
from broker.topology import function_queues
from fnrunner.invoke import errors
from fnrunner.model import limits
from fnrunner.model.function import Function
from fnrunner.model.invocation import ThrottleReason

REPLY_MARGIN = timedelta(seconds=30)
"""On top of the function's timeout and its init: what the broker and the worker may take."""


class Requests:
    """``sync_wait`` is how long a request for an uncapped function may wait for a worker with room."""

    def __init__(self, broker: Broker, sync_wait: timedelta) -> None:
        self._broker = broker
        self._sync_wait = sync_wait

    async def ask(self, function: Function, message: Message) -> Reply:
        """The one answer. Raises Throttled, NoWorker, WorkerLost, ServiceUnavailable, ServiceFault."""
        answer, rest = await self.ask_for_stream(function, message, window=0)
        await rest.aclose()
        return answer

    async def ask_for_stream(
        self, function: Function, message: Message, *, window: int = limits.STREAMED_WINDOW
    ) -> tuple[Reply, AsyncGenerator[Message]]:
        """The first answer, and whatever follows it: close it, read or not. Raises as ``ask``.

        Nothing has run when it raises, but for WorkerLost and ServiceFault.
        """
        for first in (True, False):
            replies = self._request(function, message, window)
            try:
                return await first_of(replies), replies
            except RequestReturned as returned:
                # the first try may find that somebody deleted the queue: the function exists, so its queue must
                if returned.reason == "unroutable" and first:
                    await self._declare(function.name)
                    continue
                raise await self._refusal(function, returned) from returned
            except NoReply as error:
                raise errors.WorkerLost from error
            except Unavailable as error:
                raise errors.ServiceUnavailable(str(error)) from error
            except BaseException:
                await replies.aclose()
                raise
        raise AssertionError("unreachable")

    def _request(self, function: Function, message: Message, window: int) -> AsyncGenerator[Message]:
        return self._broker.request(
            message,
            queue=names.requests(function.name),
            # for a capped function a worker says whether there is a slot; others may wait for room
            room=self._sync_wait if function.reserved_concurrency is None else limits.CAP_PATIENCE,
            timeout=self._sync_wait + function.timeout + limits.INIT_TIMEOUT + REPLY_MARGIN,
            window=window,
        )

    async def _declare(self, function: str) -> None:
        try:
            await self._broker.declare(function_queues(function))
        except BrokerError as error:
            raise errors.ServiceUnavailable(str(error)) from error

    async def _refusal(self, function: Function, returned: RequestReturned) -> errors.InvokeError:
        try:
            depth = await self._broker.depth(names.requests(function.name))
        except BrokerError:
            return errors.ServiceUnavailable(str(returned))
        if depth.consumers == 0:
            return errors.NoWorker(f"No worker serves {function.name}. Start one with `fnrunner worker`.")
        capped = function.reserved_concurrency is not None
        return errors.Throttled(ThrottleReason.RESERVED if capped else ThrottleReason.CAPACITY)


async def first_of(replies: AsyncGenerator[Message]) -> Reply:
    """The next reply, read. Raises NoReply when there is none, and as ``read``."""
    async for message in replies:
        return read(message)
    raise NoReply


def read(message: Message) -> Reply:
    """An ANSWER, a CHUNK or an ERROR. Raises Throttled and ServiceFault for the others."""
    try:
        answer = reply.decode(message.body)
    except EnvelopeError as error:
        raise errors.ServiceFault(f"The worker's answer cannot be read: {error}") from error
    if answer.kind is ReplyKind.THROTTLED:
        raise errors.Throttled(ThrottleReason(answer.code))
    if answer.kind is ReplyKind.FAULT:
        raise errors.ServiceFault(answer.message)
    return answer
