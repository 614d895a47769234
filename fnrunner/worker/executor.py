"""The whole life of an event in a worker: decode → admit → resolve → reserve → run → classify → settle → report.

Each step takes and returns an :class:`Execution`. Only ``settle`` publishes or acknowledges.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Self

from broker import names, reply
from broker.broker import Delivery
from broker.envelope import Envelope, decode
from broker.errors import BrokerError, DeliveryLost, EnvelopeError, EnvelopeMalformed, EnvelopeTooNew
from fnrunner.catalogue import Catalogue
from fnrunner.concurrency.permits import ConcurrencyGate, Lease, Patience
from fnrunner.delivery import retry
from fnrunner.delivery.ledger import Ledger
from fnrunner.model import limits
from fnrunner.model.alias import ticket
from fnrunner.model.invocation import (
    Answer,
    Expired,
    SystemFault,
    Throttled,
    ThrottleReason,
    WorkerDied,
)
from fnrunner.store.errors import StoreClosed, StoreError, StoreUnavailable
from fnrunner.telemetry.tracing import Tracing
from fnrunner.worker.alone import AloneGate, NotAlone
from fnrunner.worker.execution import Admission, Execution, InFlight, Kind
from fnrunner.worker.invoker import Invoker
from fnrunner.worker.report import Reporter
from fnrunner.worker.settlement import Settlement
from fnrunner.worker.starting import ScalingLimited
from fnrunner.worker.suspects import Suspects, Verdict

log = logging.getLogger(__name__)

UPGRADE_WAIT = timedelta(seconds=32)
"""How long an envelope of a newer release is put aside for a worker that reads it."""

MAX_ID_CHARS = 64


@dataclass(frozen=True, slots=True)
class Waits:
    """How long a delivery that is here may wait before it counts as throttled: for room, and for its turn under a cap."""

    event: Patience
    request: Patience

    @classmethod
    def usual(cls, sync_wait: timedelta = timedelta(seconds=10)) -> Self:
        """A request waits for its turn only as long as it takes until the slots of a worker that died are free again."""
        return cls(
            event=Patience(room=timedelta(seconds=30), turn=timedelta(seconds=20)),
            request=Patience(room=sync_wait, turn=limits.CAP_PATIENCE, urgent=True),
        )


class PermitLost(Exception):
    """The broker has taken back the right to run this, so it was stopped. It is put back, uncharged."""


class Executor:
    """Runs deliveries. One for each worker process; ``execute`` is called once for each delivery, many at a time."""

    def __init__(
        self,
        *,
        catalogue: Catalogue,
        gate: ConcurrencyGate,
        invoker: Invoker,
        ledger: Ledger,
        settlement: Settlement,
        suspects: Suspects,
        tracing: Tracing,
        reporter: Reporter,
        waits: Waits,
        now_ms: Callable[[], int],
    ) -> None:
        self._catalogue = catalogue
        self._gate = gate
        self._invoker = invoker
        self._ledger = ledger
        self._settlement = settlement
        self._suspects = suspects
        self._tracing = tracing
        self._reporter = reporter
        self._waits = waits
        self._now_ms = now_ms
        self._turn = AloneGate()
        self._in_flight = InFlight()
        self._releasing: set[asyncio.Task[None]] = set()

    async def execute(self, delivery: Delivery, kind: Kind) -> None:
        """Take one delivery from arrival to settlement. Raises nothing but cancellation, which leaves it unsettled."""
        execution = await self._decode(delivery, kind)
        if execution is None:
            return
        try:
            if not await self._admit(execution):
                return
            try:
                await (self._answer(execution) if kind is Kind.REQUEST else self._carry_out(execution))
            except PermitLost as lost:
                await self._put_back(execution, lost)
            except BaseException:
                await self._give_back_joined(execution)
                raise
            finally:
                self._in_flight.leave(execution.envelope)
        finally:
            execution.span.end()

    async def _carry_out(self, execution: Execution) -> None:
        verdict = await self._suspects.judge(execution.envelope, execution.delivery)
        if verdict is Verdict.GUILTY:
            execution = replace(await self._resolve(execution), answer=Answer(WorkerDied()))
        elif verdict is Verdict.ALONE:
            execution = await self._perform_alone(execution)
        else:
            execution = await self._perform(execution, alone=False)
        execution = await self._settle(self._classify(execution))
        if verdict is Verdict.GUILTY:
            await self._suspects.end(execution.envelope)
        await self._acknowledge(execution)
        self._reporter.ended(execution)

    async def _answer(self, execution: Execution) -> None:
        """A request: its caller waits, so it is answered whatever happens and never retried."""
        if execution.delivery.redelivered:
            fault = SystemFault(
                "WorkerDied", "The worker that had this request died or left. The function may have run."
            )
            execution = replace(await self._resolve(execution), answer=Answer(fault))
        elif self._turn.closed:
            # a suspect runs alone: the caller hears at once that there is no room here
            execution = replace(await self._resolve(execution), answer=Answer(Throttled(ThrottleReason.CAPACITY)))
        else:
            try:
                execution = await self._perform(execution, alone=False)
            except PermitLost as lost:
                execution = replace(execution, answer=Answer(SystemFault("PermitLost", str(lost))))
        await self._settlement.reply(execution, self._now_ms(), self._reporter.log_tail(execution))
        self._reporter.ended(execution)

    async def _perform_alone(self, execution: Execution) -> Execution:
        """With nothing else in this process; put off, uncharged, when what runs does not end soon."""
        try:
            performed = await self._perform(execution, alone=True)
        except NotAlone:
            performed = replace(await self._resolve(execution), answer=Answer(Throttled(ThrottleReason.CAPACITY)))
        if performed.answer is not None and isinstance(performed.answer.outcome, Throttled):
            # the copy is a first delivery again, so it has to say itself that it is a suspect
            return replace(performed, envelope=replace(performed.envelope, suspect=True))
        return performed

    async def _perform(self, execution: Execution, *, alone: bool) -> Execution:
        async with self._turn.pass_through(alone=alone):
            execution = await self._resolve(execution)
            if execution.answer is None:
                execution = await self._reserve_and_run(execution, alone=alone)
        return execution

    async def _put_back(self, execution: Execution, reason: Exception) -> None:
        """It comes again, here or elsewhere, and charges nothing; where its channel has gone, by itself."""
        log.warning("%s is put back: %s", execution.envelope.id, reason)
        await self._give_back_joined(execution)
        with contextlib.suppress(BrokerError):
            await execution.delivery.requeue()

    async def _give_back_joined(self, execution: Execution) -> None:
        """Deliveries that waited for this one to be settled; its own is given back by whoever called."""
        for delivery in self._in_flight.deliveries(execution.envelope):
            if delivery is not execution.delivery and not delivery.settled:
                with contextlib.suppress(BrokerError):
                    await delivery.requeue()

    async def _decode(self, delivery: Delivery, kind: Kind) -> Execution | None:
        """An execution, or None when the message has been put aside because it cannot be read."""
        message = delivery.message
        try:
            envelope = self._read(message.body, names.function_of(delivery.queue))
        except EnvelopeError as error:
            await self._put_aside(delivery, kind, error)
            return None
        last = (envelope.attempts[-1].traceparent,) if envelope.attempts else ()
        span = self._tracing.process(
            delivery.queue,
            envelope.trace,
            message_id=envelope.id,
            attempt=envelope.attempt + 1,
            links=last,
        )
        return Execution(delivery, kind, envelope, span, self._now_ms())

    @staticmethod
    def _read(body: bytes, function: str | None) -> Envelope:
        """An envelope that belongs on this queue. Raises EnvelopeError."""
        envelope = decode(body)
        if envelope.function != function:
            raise EnvelopeMalformed(f"the envelope is for {envelope.function!r}, not for {function!r}")
        if not 0 < len(envelope.id) <= MAX_ID_CHARS or not envelope.id.isprintable():
            raise EnvelopeMalformed(f"the event id is empty, unprintable, or longer than {MAX_ID_CHARS} characters")
        return envelope

    async def _put_aside(self, delivery: Delivery, kind: Kind, error: EnvelopeError) -> None:
        """What cannot be read: a newer release's waits for a newer worker, anything else is a dead letter."""
        log.warning("a message on %s cannot be read: %s", delivery.queue, error)
        self._reporter.unreadable(delivery.queue)
        try:
            if kind is Kind.REQUEST:
                fault = reply.Reply(kind=reply.ReplyKind.FAULT, code="Undecodable", message=str(error))
                await self._settlement.refuse(delivery, fault)
            elif isinstance(error, EnvelopeTooNew):
                await delivery.retry_later(delivery.message, UPGRADE_WAIT)
            else:
                await delivery.dead_letter(delivery.message, names.function_of(delivery.queue) or "")
        except DeliveryLost:
            log.info("a delivery of %s was lost with its channel; it comes again", delivery.queue)

    async def _admit(self, execution: Execution) -> bool:
        """Whether this delivery is to be run, rather than settled together with another of the same work."""
        match self._in_flight.admit(execution.envelope, execution.delivery):
            case Admission.NEW:
                return True
            case Admission.JOINED:
                log.info("%s came again while it runs here; it is not run twice", execution.envelope.id)
                if execution.kind is Kind.REQUEST:
                    # the first one answers, by the same address
                    await self._settlement.acknowledge(execution.delivery)
                return False
            case Admission.SETTLED:
                # settled before, but the acknowledgement was lost with its channel
                await self._settlement.acknowledge(execution.delivery)
                return False

    async def _resolve(self, execution: Execution) -> Execution:
        """What is to be run. A function that is gone leaves ``function`` None, and the event is given up."""
        envelope = execution.envelope
        sought = envelope.function, envelope.qualifier, ticket(envelope.id, envelope.attempt)
        function = self._catalogue.resolve(*sought)
        if function is None:
            # it may have been created a moment ago, and the news of it may be behind its first event
            await self._catalogue.refresh()
            function = self._catalogue.resolve(*sought)
        if function is None:
            missing = SystemFault(
                "FunctionNotFound", f"Function not found: {envelope.invoked_arn or envelope.function}"
            )
            return replace(execution, answer=Answer(missing))
        execution = replace(execution, function=function)
        if execution.kind is Kind.EVENT:
            config = self._catalogue.snapshot.event_invoke_config(function.name, envelope.qualifier)
            if retry.is_expired(envelope, config, execution.started_ms):
                return replace(execution, answer=Answer(Expired()))
        return execution

    async def _reserve_and_run(self, execution: Execution, *, alone: bool) -> Execution:
        """While the function's scaling rate lets it have no new environment, it waits without a slot.

        Who is alone waits for nothing: everything else in this process would wait with it.
        """
        assert execution.function is not None
        patience = Patience() if alone else self._patience(execution)
        ends = time.monotonic() + patience.room.total_seconds()
        while True:
            reserved = await self._reserve(execution, patience)
            if reserved.answer is not None:
                return reserved
            try:
                return await (self._run_on_trial(reserved) if alone else self._run(reserved))
            except ScalingLimited:
                left = timedelta(seconds=ends - time.monotonic())
                if not await self._invoker.start_allowed(execution.function.name, left):
                    return replace(execution, answer=Answer(Throttled(ThrottleReason.CAPACITY)))

    def _patience(self, execution: Execution) -> Patience:
        return self._waits.request if execution.kind is Kind.REQUEST else self._waits.event

    async def _run_on_trial(self, execution: Execution) -> Execution:
        """Inside the gate from beginning to end: what kills this worker before or afterwards is somebody else."""
        assert execution.lease is not None
        try:
            await self._suspects.begin(execution.envelope)
        except BaseException:
            await execution.lease.release()
            raise
        try:
            return await self._run(execution)
        finally:
            await self._suspects.end(execution.envelope)

    async def _reserve(self, execution: Execution, patience: Patience) -> Execution:
        """A slot under the function's cap and this worker's capacity, or the throttle that there is none."""
        function = execution.function
        assert function is not None
        try:
            lease = await self._gate.acquire(function.name, patience, function.version)
        except BrokerError as error:
            raise PermitLost(f"the broker cannot be asked for a permit: {error}") from error
        if isinstance(lease, Throttled):
            return replace(execution, answer=Answer(lease))
        return replace(execution, lease=lease)

    async def _run(self, execution: Execution) -> Execution:
        lease = execution.lease
        assert lease is not None
        running = self._invoker.run(execution, self._settlement.stream(execution))
        rest = None
        try:
            ran = await (running if lease.lost is None else _unless(lease.lost, running))
            rest = ran.rest
            return ran
        finally:
            if rest is None or rest.done():
                await lease.release()
            else:
                # extensions at work occupy the environment, and delay no answer
                self._releasing.add(task := asyncio.create_task(_release_after(rest, lease)))
                task.add_done_callback(self._releasing.discard)

    def _classify(self, execution: Execution) -> Execution:
        """What follows, decided purely."""
        assert execution.answer is not None
        return replace(execution, decision=self._settlement.decide(execution, self._now_ms()))

    async def _settle(self, execution: Execution) -> Execution:
        """Publish what follows, until the broker has it; then write the attempt down."""
        started = time.monotonic()
        while True:
            try:
                await self._settlement.publish(execution)
                break
            except BrokerError as error:
                # the event is still ours or comes again; either way its outcome is known and must not be lost
                log.warning("%s waits to be settled: %s", execution.envelope.id, error)
                self._reporter.settle_waits(time.monotonic() - started)
                await asyncio.sleep(0.5)
        self._reporter.settle_waits(0.0)
        try:
            await self._ledger.attempted(self._settlement.record(execution, self._now_ms()))
        except (StoreUnavailable, StoreClosed):
            raise
        except StoreError:
            # what the store will never take must not make the function run again
            log.exception("the attempt of %s could not be written down", execution.envelope.id)
        return execution

    async def _acknowledge(self, execution: Execution) -> None:
        """Every delivery of this work. It may come again all the same, and is remembered first."""
        self._in_flight.remember(execution.envelope)
        for delivery in self._in_flight.deliveries(execution.envelope):
            await self._settlement.acknowledge(delivery)


async def _release_after(rest: asyncio.Task[None], lease: Lease) -> None:
    await asyncio.wait((rest,))
    with contextlib.suppress(BrokerError):
        await lease.release()


async def _unless(lost: asyncio.Event, running: Coroutine[None, None, Execution]) -> Execution:
    """What ``running`` returns. Raises PermitLost, with everything stopped, when that is set first."""
    run, losing = asyncio.ensure_future(running), asyncio.ensure_future(lost.wait())
    try:
        await asyncio.wait((run, losing), return_when=asyncio.FIRST_COMPLETED)
        if run.done():
            return run.result()
        raise PermitLost("the permit that it ran under was lost with its connection")
    finally:
        losing.cancel()
        if not run.done():
            run.cancel()
            await asyncio.wait((run,))
