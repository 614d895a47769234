"""Whatever clients do and whatever fails: every confirmed message is in exactly one place, and only there."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from broker.embedded import backlog, dispatch
from broker.embedded.codec import decode_all
from broker.embedded.values import Consumer, Held, HeldState, Session
from broker.errors import Blocked, Refused
from broker.message import Message
from broker.topology import Binding, Exchange, ExchangeKind, Queue, QueueKind
from tests.unit.broker_embedded.driver import Driver

QUEUES = ("q", "bounded", "short", "dead")


class Conservation(RuleBasedStateMachine):
    """``confirmed`` are messages whose publisher was told yes, ``gone`` those that were acknowledged."""

    def __init__(self) -> None:
        super().__init__()
        self.driver = Driver()
        self.driver.declare(
            Exchange("dlx", ExchangeKind.FANOUT),
            Queue("dead"),
            Queue("q", dead_letter_exchange="dlx", delivery_limit=3),
            Queue("bounded", max_length=3, dead_letter_exchange="dlx"),
            Queue("short", QueueKind.CLASSIC, ttl=timedelta(seconds=2), dead_letter_exchange="dlx"),
            Binding("dlx", "dead"),
        )
        self.session = Session("client")
        self.consumers: list[Consumer] = []
        self.out: list[Held] = []
        self.confirmed: set[bytes] = set()
        self.gone: set[bytes] = set()
        self.numbers = 0

    def _next_body(self) -> bytes:
        self.numbers += 1
        return b"%d" % self.numbers

    @rule(queue=st.sampled_from(QUEUES), wait=st.sampled_from([None, 0, 1, 3]))
    def publish(self, queue: str, wait: int | None) -> None:
        body = self._next_body()
        keeps = queue == "dead" or wait is None  # where the dead go nowhere, expiry would be the end
        message = Message(body, expiration=None if keeps else timedelta(seconds=wait or 0))

        def told(error: BaseException | None) -> None:
            if error is None:
                self.confirmed.add(body)

        try:
            self.driver.engine.publish(message, "", queue, told)
        except (Refused, Blocked):
            return

    @rule()
    def commit(self) -> None:
        self.driver.run()

    @rule()
    def fail_to_commit(self) -> None:
        self.driver.fail()

    @rule(seconds=st.integers(1, 4))
    def pass_time(self, seconds: int) -> None:
        self.driver.advance(timedelta(seconds=seconds))

    @rule(queue=st.sampled_from(QUEUES), prefetch=st.integers(0, 3))
    def subscribe(self, queue: str, prefetch: int) -> None:
        self.consumers.append(
            self.driver.subscribe(queue, prefetch=prefetch, session=self.session, deliver=self.out.append)
        )

    @precondition(lambda self: self.consumers)
    @rule(data=st.data(), prefetch=st.integers(0, 3))
    def change_prefetch(self, data: st.DataObject, prefetch: int) -> None:
        self.driver.engine.set_prefetch(data.draw(st.sampled_from(self.consumers)), prefetch)

    @precondition(lambda self: self.consumers)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        consumer = data.draw(st.sampled_from(self.consumers))
        self.consumers.remove(consumer)
        self.driver.engine.cancel(consumer)

    def _draw(self, data: st.DataObject) -> Held | None:
        self.out = [h for h in self.out if h.state is HeldState.OUT]
        return data.draw(st.sampled_from(self.out)) if self.out else None

    @rule(data=st.data())
    def ack(self, data: st.DataObject) -> None:
        if held := self._draw(data):
            self.driver.engine.ack(held)
            self.gone.add(held.item.message.body)

    @rule(data=st.data())
    def requeue(self, data: st.DataObject) -> None:
        if held := self._draw(data):
            self.driver.engine.requeue(held)

    @rule(data=st.data())
    def reject(self, data: st.DataObject) -> None:
        if (held := self._draw(data)) and held.source.spec.dead_letter_exchange:
            self.driver.engine.reject(held)

    @rule(data=st.data(), queue=st.sampled_from(QUEUES))
    def forward(self, data: st.DataObject, queue: str) -> None:
        if held := self._draw(data):
            try:
                self.driver.engine.replace(held, Message(held.item.message.body), "", queue, lambda _: None)
            except (Refused, Blocked):
                return

    @rule()
    def lose_the_client(self) -> None:
        self.driver.engine.close_session(self.session)
        self.session, self.consumers, self.out = Session("client"), [], []

    @invariant()
    def every_confirmed_message_has_one_row(self) -> None:
        rows = Counter(m.body for row, _ in self.driver.journal.rows.values() for *_, m in decode_all(row))
        assert max(rows.values(), default=1) == 1
        assert self.confirmed - self.gone <= set(rows)

    @invariant()
    def no_consumer_holds_more_than_it_ever_asked_for(self) -> None:
        assert all(0 <= c.out <= 3 for c in self.consumers)

    def teardown(self) -> None:
        """Let everything settle, then take all there is: each message comes once."""
        self.driver.engine.close_session(self.session)
        self.driver.run()
        self.driver.advance(timedelta(milliseconds=dispatch.STUCK_RETRY_MS) * 5)
        found = Counter(body for queue in QUEUES for body in self.driver.drain(queue))
        assert max(found.values(), default=1) == 1
        assert set(found) == self.confirmed - self.gone
        assert self.driver.journal.rows == {}


TestConservation = Conservation.TestCase
TestConservation.settings = settings(
    max_examples=25, stateful_step_count=30, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)


class ConservationWithPaging(Conservation):
    """The same with hardly anything kept in memory."""

    def __init__(self) -> None:
        self._saved = backlog.MEMORY_ENTRIES, backlog.PAGE, backlog.PEEK
        backlog.MEMORY_ENTRIES, backlog.PAGE, backlog.PEEK = 2, 2, 1
        super().__init__()

    def teardown(self) -> None:
        try:
            super().teardown()
        finally:
            backlog.MEMORY_ENTRIES, backlog.PAGE, backlog.PEEK = self._saved


TestConservationWithPaging = ConservationWithPaging.TestCase
TestConservationWithPaging.settings = TestConservation.settings
