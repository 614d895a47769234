"""Hand what a source found to the front, as anybody else's event."""

from __future__ import annotations

from fnrunner.invoke import errors
from fnrunner.invoke.front import Front
from fnrunner.model.arn import FunctionRef
from sources.errors import NotAccepted, Refused
from sources.source import SourceEvent


class FrontAcceptor:
    """See :class:`sources.source.Acceptor`."""

    def __init__(self, front: Front) -> None:
        self._front = front

    async def accept(self, event: SourceEvent) -> str:
        try:
            return await self._front.accept(
                FunctionRef(event.function, event.qualifier),
                event.payload,
                event_id=event.event_id,
                source=event.source,
                trigger=event.trigger,
            )
        except errors.ServiceUnavailable as error:
            raise NotAccepted(str(error)) from error
        except errors.InvokeError as error:
            raise Refused(str(error)) from error
