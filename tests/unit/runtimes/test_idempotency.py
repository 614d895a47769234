"""What the idempotency helper decides, over a store in memory and in virtual time."""

from __future__ import annotations

import asyncio
import functools
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fnrunner.runtimes.python_library import fnrunner_idempotency as idempotency
from fnrunner.runtimes.python_library.fnrunner_idempotency import decorator, errors, key, place, record, statements
from fnrunner.runtimes.python_library.fnrunner_idempotency.batch import idempotent_batch, record_key, records_of
from fnrunner.runtimes.python_library.fnrunner_idempotency.decorator import idempotent, idempotent_function
from fnrunner.runtimes.python_library.fnrunner_idempotency.procedure import Ask, Pause, Time, procedure
from fnrunner.runtimes.python_library.fnrunner_idempotency.record import COMPLETED, IN_PROGRESS, Claim, Decision, Record


@dataclass
class Clock:
    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class MemoryStore:
    """Implements Store. ``faults`` are raised by the methods they name, one each time."""

    clock: Clock = field(default_factory=Clock)
    records: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    faults: dict[str, list[Exception]] = field(default_factory=dict)

    def _fault(self, method: str) -> None:
        if self.faults.get(method):
            raise self.faults[method].pop(0)

    def claim(self, claim: Claim, patience_s: float) -> bool:
        self._fault("claim")
        if record.decide(self.find(claim, patience_s), claim) is not Decision.CLAIM:
            return False
        lease = self.clock.now + claim.lease_ms / 1000
        kept = lease + claim.expires_ms / 1000
        values = {"owner": claim.owner, "lease": lease, "kept": kept, "hash": claim.payload_hash, "result": None}
        self.records[claim.scope, claim.key] = {"status": IN_PROGRESS, **values}
        return True

    def find(self, claim: Claim, patience_s: float) -> Record | None:
        self._fault("find")
        found = self.records.get((claim.scope, claim.key))
        if found is None:
            return None
        lease, kept = (int((found[name] - self.clock.now) * 1000) for name in ("lease", "kept"))
        return Record(found["status"], found["owner"], lease, kept, found["hash"], found["result"])

    def complete(self, claim: Claim, result: str | None, patience_s: float) -> bool:
        self._fault("complete")
        found = self.records.get((claim.scope, claim.key))
        if found is None or found["owner"] != claim.owner:
            return False
        found.update(status=COMPLETED, result=result, kept=self.clock.now + claim.expires_ms / 1000)
        return True

    def forget(self, claim: Claim, patience_s: float) -> None:
        self._fault("forget")
        if self.records.get((claim.scope, claim.key), {}).get("owner") == claim.owner:
            del self.records[claim.scope, claim.key]


def a_claim(owner: str = "me", **changes: Any) -> Claim:
    values: dict[str, Any] = {"scope": "f", "key": "k", "owner": owner, "lease_ms": 3000, "expires_ms": 60_000}
    return Claim(**(values | changes))


def run(
    store: MemoryStore,
    claim: Claim,
    function: Callable[[], Any] = lambda: "done",
    *,
    allowed_s: float = 2.5,
    meanwhile: Callable[[], Any] = lambda: None,
) -> Any:
    """The procedure, carried out; time passes in pauses only, and ``meanwhile`` happens in each."""
    steps = procedure(store, claim, Time(allowed_s, store.clock))
    answer: Any = None
    error: BaseException | None = None
    while True:
        try:
            step = steps.throw(error) if error else steps.send(answer)
        except StopIteration as end:
            return end.value
        answer = error = None
        try:
            if isinstance(step, Ask):
                answer = step.question()
            elif isinstance(step, Pause):
                store.clock.now += step.seconds
                meanwhile()
            else:
                answer = function()
        except BaseException as raised:
            error = raised


def never() -> Any:
    raise AssertionError("it ran")


class TestProcedure:
    def test_the_first_runs_and_a_duplicate_gets_its_result(self) -> None:
        store = MemoryStore()
        assert run(store, a_claim("a"), lambda: {"n": (1, 2)}) == {"n": [1, 2]}
        assert run(store, a_claim("b"), never) == {"n": [1, 2]}

    @pytest.mark.parametrize("result", [None, 0, "", [], {}, False])
    def test_an_empty_result_is_a_result(self, result: object) -> None:
        store = MemoryStore()
        run(store, a_claim("a"), lambda: result)
        assert run(store, a_claim("b"), never) == result

    def test_a_duplicate_waits_for_the_one_that_runs(self) -> None:
        store = MemoryStore()
        store.claim(a_claim("a"), 1)

        def ends_later() -> None:
            if store.clock.now > 1001:
                store.complete(a_claim("a"), '"late"', 1)

        assert run(store, a_claim("b"), never, meanwhile=ends_later) == "late"
        assert 1001 < store.clock.now < 1002

    def test_a_duplicate_whose_time_is_up_says_so_and_runs_nothing(self) -> None:
        store = MemoryStore()
        store.claim(a_claim("a", lease_ms=60_000), 1)
        with pytest.raises(errors.IdempotencyAlreadyInProgressError, match=r"Nothing was run.*'k'"):
            run(store, a_claim("b"), never, allowed_s=0.7)
        assert store.clock.now == pytest.approx(1000.7, abs=0.01)

    def test_the_record_of_a_killed_one_is_taken_over_when_its_lease_ends(self) -> None:
        store = MemoryStore()
        store.claim(a_claim("killed", lease_ms=1500), 1)
        assert run(store, a_claim("b"), lambda: "again") == "again"
        assert 1001.5 <= store.clock.now < 1001.6

    def test_one_with_no_time_left_takes_nothing_over(self) -> None:
        store = MemoryStore()
        store.claim(a_claim("killed", lease_ms=60_000), 1)

        def free_at_last() -> None:
            if store.clock.now >= 1000.5:
                store.records.clear()

        with pytest.raises(errors.IdempotencyAlreadyInProgressError):
            run(store, a_claim("b"), never, allowed_s=0.5, meanwhile=free_at_last)
        assert store.records == {}

    def test_a_function_error_removes_the_record_so_that_a_retry_runs(self) -> None:
        store = MemoryStore()

        def fails() -> None:
            raise ValueError("as asked")

        with pytest.raises(ValueError, match="as asked"):
            run(store, a_claim("a"), fails)
        assert store.records == {}
        assert run(store, a_claim("b")) == "done"

    def test_the_functions_own_error_is_the_one_that_is_raised(self) -> None:
        store = MemoryStore(faults={"forget": [errors.IdempotencyStoreUnreachableError()]})

        def fails() -> None:
            raise SystemExit(3)

        with pytest.raises(SystemExit):
            run(store, a_claim("a"), fails)
        store.clock.now += 3.0
        assert run(store, a_claim("b")) == "done"

    @pytest.mark.parametrize("method", ["claim", "find"])
    def test_a_store_that_fails_runs_nothing(self, method: str) -> None:
        store = MemoryStore()
        store.claim(a_claim("a"), 1)
        store.faults[method] = [errors.IdempotencyStoreUnreachableError("gone")]
        with pytest.raises(errors.IdempotencyStoreUnreachableError, match="gone"):
            run(store, a_claim("b"), never)

    def test_a_completion_is_tried_again(self) -> None:
        store = MemoryStore(faults={"complete": [errors.IdempotencyStoreUnreachableError()] * 3})
        assert run(store, a_claim("a")) == "done"
        assert run(store, a_claim("b"), never) == "done"

    def test_a_completion_that_never_succeeds_says_that_the_function_has_run(self) -> None:
        store = MemoryStore(faults={"complete": [errors.IdempotencyStoreFullError("full")] * 100})
        with pytest.raises(errors.IdempotencyStoreFullError, match=r"has run.*runs it again: full"):
            run(store, a_claim("a"))
        assert store.clock.now < 1002.6

    @pytest.mark.parametrize("result", [object(), float("nan"), b"{}", {1, 2}, {"a": iter(())}])
    def test_what_is_no_json_runs_once_all_the_same(self, result: object) -> None:
        store = MemoryStore()
        with pytest.raises(errors.IdempotencyResultError, match=f"has run.*{type(result).__name__}"):
            run(store, a_claim("a"), lambda: result)
        with pytest.raises(errors.IdempotencyResultError):
            run(store, a_claim("b"), never)

    def test_whoever_lost_its_lease_does_not_overwrite_the_other(self) -> None:
        store = MemoryStore()

        def too_slow() -> str:
            store.clock.now += 10
            assert run(store, a_claim("b"), lambda: "other") == "other"
            return "slow"

        with pytest.raises(errors.IdempotencyLeaseLostError):
            run(store, a_claim("a"), too_slow)
        assert run(store, a_claim("c"), never) == "other"

    def test_the_same_key_with_another_payload_is_refused(self) -> None:
        store = MemoryStore()
        run(store, a_claim("a", payload_hash="1"))
        with pytest.raises(errors.IdempotencyValidationError, match="'k'"):
            run(store, a_claim("b", payload_hash="2"), never)
        assert run(store, a_claim("c", payload_hash="1"), never) == "done"

    def test_an_expired_record_guards_nothing(self) -> None:
        store = MemoryStore()
        run(store, a_claim("a"))
        store.clock.now += 60.0
        assert run(store, a_claim("b"), lambda: "again") == "again"


class TestDecision:
    RUNNING = Record(IN_PROGRESS, "other", 1000, 61_000, "h", None)
    DONE = Record(COMPLETED, "other", -5000, 60_000, "h", "1")

    @pytest.mark.parametrize(
        ("found", "payload", "expected"),
        [
            (None, "h", Decision.CLAIM),
            (RUNNING, "h", Decision.WAIT),
            (RUNNING, None, Decision.WAIT),
            (RUNNING, "x", Decision.MISMATCH),
            (RUNNING._replace(lease_left_ms=0), "x", Decision.CLAIM),
            (RUNNING._replace(owner="me"), "h", Decision.CLAIM),
            (DONE, "h", Decision.REPLAY),
            (DONE, None, Decision.REPLAY),
            (DONE._replace(payload_hash=None), "h", Decision.REPLAY),
            (DONE, "x", Decision.MISMATCH),
            (DONE._replace(owner="me"), "h", Decision.REPLAY),
            (DONE._replace(expires_in_ms=0), "x", Decision.CLAIM),
        ],
    )
    def test_what_follows_from_a_record(self, found: Record | None, payload: str | None, expected: Decision) -> None:
        assert record.decide(found, a_claim(payload_hash=payload)) is expected

    @settings(max_examples=50, deadline=None)
    @given(st.integers(0, 10**6), st.integers(-(10**6), 10**9), st.floats(-10, 10**4))
    def test_a_pause_ends_within_the_time_that_is_left(self, attempt: int, lease_ms: int, left_s: float) -> None:
        found = record.pause_s(attempt, max(0, lease_ms), left_s)
        assert (found is None) == (left_s <= 0)
        if found is not None:
            assert 0 < found <= min(left_s, record.LONGEST_PAUSE_S)
        assert 0.5 <= record.any_spread() <= 1


class TestKeys:
    @settings(max_examples=50, deadline=None)
    @given(st.text() | st.integers() | st.lists(st.text() | st.none() | st.booleans(), max_size=3))
    def test_every_key_is_written_short_and_printable(self, value: Any) -> None:
        try:
            text = key.written(value)
        except errors.IdempotencyKeyError:
            assert value in ("", []) or (isinstance(value, list) and None in value)
            return
        assert text.isprintable()
        assert 0 < len(text) <= key.LONGEST_KEY

    @pytest.mark.parametrize(
        ("one", "other"),
        [
            (1, "1"),
            (1, True),
            ([1], 1),
            (["a", "b"], "ab"),
            ({"a": 1}, [["a", 1]]),
            (key.written([1]), [1]),
            ("a\0", "a"),
        ],
    )
    def test_different_keys_are_written_differently(self, one: Any, other: Any) -> None:
        assert key.written(one) != key.written(other)

    @pytest.mark.parametrize("value", [None, "", [], {}, [1, None], object(), {1, 2}, float("inf")])
    def test_what_is_no_key_is_refused(self, value: Any) -> None:
        with pytest.raises(errors.IdempotencyKeyError):
            key.written(value)

    @pytest.mark.parametrize("path", ["order.nothing", "order.id.more", "list.7", "list.x", "order.0", "none.x"])
    def test_a_path_that_leads_nowhere_is_named(self, path: str) -> None:
        event = {"order": {"id": "1"}, "list": [1], "none": None}
        with pytest.raises(errors.IdempotencyKeyError, match=f"{path!r}"):
            key.at_path(event, path)

    @pytest.mark.parametrize("selector", ["", "a..b", "$.", [], [1], 7, ["a", ""]])
    def test_what_is_no_path_is_refused_when_decorating(self, selector: Any) -> None:
        with pytest.raises(errors.IdempotencyConfigurationError):
            idempotent(store=MemoryStore(), key=selector)(a_handler)


class Context:
    def __init__(self, request_id: str = "r-1", left_ms: int = 10_000) -> None:
        self.aws_request_id, self.left_ms = request_id, left_ms

    def get_remaining_time_in_millis(self) -> int:
        return self.left_ms


def a_handler(event: Any, context: Any) -> Any:
    return event


class TestDecorators:
    def test_a_handler_runs_once_for_each_request_id(self) -> None:
        store, seen = MemoryStore(), []

        @idempotent(store=store)
        def handler(event: Any, context: Any) -> Any:
            seen.append(event)
            return len(seen)

        assert [handler({}, Context("a")), handler({}, Context("b")), handler(event={}, context=Context("a"))] == [
            1,
            2,
            1,
        ]
        assert handler.__name__ == "handler"

    def test_a_handlers_key_can_be_a_part_of_the_event(self) -> None:
        for selector in ("order.id", lambda event: event["order"]["id"], ["order.id"], "$"):
            handler = idempotent(store=MemoryStore(), key=selector)(a_handler)
            assert handler({"order": {"id": 1}}, Context("a")) == handler({"order": {"id": 1}}, Context("b"))
            assert handler({"order": {"id": 2}}, Context("a")) == {"order": {"id": 2}}

    def test_the_lease_is_the_time_that_is_left_and_a_grace(self) -> None:
        store = MemoryStore()

        @idempotent(store=store, scope="s")
        def handler(event: Any, context: Any) -> Any:
            return store.find(Claim("s", "r-1", "", 0, 0), 1)

        found = handler({}, Context(left_ms=1200))
        assert found[2] == 1700

    def test_a_payload_is_what_must_not_differ(self) -> None:
        handler = idempotent(store=MemoryStore(), key="id", payload="amount")(a_handler)
        handler({"id": 1, "amount": 5, "at": 1}, Context())
        assert handler({"amount": 5, "id": 1, "at": 2}, Context())["at"] == 1
        with pytest.raises(errors.IdempotencyValidationError):
            handler({"id": 1, "amount": 6, "at": 1}, Context())

    def test_keys_of_two_functions_in_one_store_are_apart(self, monkeypatch: pytest.MonkeyPatch) -> None:
        store = MemoryStore()

        def other(event: Any, context: Any) -> str:
            return "other"

        idempotent(store=store)(a_handler)({}, Context())
        assert idempotent(store=store)(other)({}, Context()) == "other"
        monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", "billing")
        idempotent(store=store)(other)({}, Context())
        scopes = {scope for scope, _ in store.records}
        assert len(scopes) == 3
        assert any(scope.startswith("billing.") for scope in scopes)

    def test_an_inner_function_knows_the_deadline_of_its_handler(self) -> None:
        store = MemoryStore()

        @idempotent_function(store=store, key="order.id", payload="amount", scope="charge")
        def charge(order: Mapping[str, Any], amount: int = 5) -> Any:
            found = store.find(Claim("charge", key.written(order["id"]), "", 0, 0), 1)
            assert found is not None
            return found.lease_left_ms

        @idempotent(store=store)
        def handler(event: Any, context: Any) -> Any:
            return charge(event)

        assert handler({"id": 7}, Context(left_ms=2000)) == 2500
        with idempotency.invocation(Context(left_ms=4000)):
            assert charge({"id": 8}) == 4500
            with pytest.raises(errors.IdempotencyValidationError):
                charge({"id": 8}, amount=6)

    def test_without_a_deadline_nothing_is_run_and_the_remedy_is_named(self) -> None:
        charge = idempotent_function(store=MemoryStore(), key="event.id", scope="c")(lambda event: never())
        with pytest.raises(errors.IdempotencyContextError, match=r"with invocation\(context\)"):
            charge({"id": 1})
        with pytest.raises(errors.IdempotencyContextError, match="get_remaining_time_in_millis"):
            idempotent(store=MemoryStore())(a_handler)({}, None)

    def test_a_context_among_the_arguments_or_a_lease_will_do(self) -> None:
        store = MemoryStore()
        by_argument = idempotent_function(store=store, key="event.id")(a_handler)
        assert by_argument({"id": 1}, Context()) == {"id": 1}
        by_lease = idempotent_function(store=store, key="$", lease=timedelta(minutes=1), scope="l")(lambda n: n)
        assert [by_lease(1), by_lease(1), by_lease(2)] == [1, 1, 2]

    def test_async_functions_are_awaited_once(self) -> None:
        store, seen = MemoryStore(), []

        @idempotent_function(store=store, key="n")
        async def effect(n: int) -> int:
            await asyncio.sleep(0)
            seen.append(n)
            if n < 0:
                raise ValueError(n)
            return n + 1

        async def main() -> list[Any]:
            with idempotency.invocation(Context()):
                return [
                    await effect(1),
                    await effect(1),
                    await asyncio.gather(effect(2), effect(-1), return_exceptions=True),
                ]

        first, second, (third, failed) = asyncio.run(main())
        assert (first, second, third, repr(failed)) == (2, 2, 3, "ValueError(-1)")
        assert sorted(seen) == [-1, 1, 2]
        assert len(store.records) == 2

    def test_what_streams_cannot_be_idempotent(self) -> None:
        def yields(event: Any, context: Any) -> Any:
            yield 1

        async def yields_later(event: Any, context: Any) -> Any:
            yield 1

        def writes(event: Any, stream: Any, context: Any) -> None: ...

        writes.streams_response = True  # type: ignore[attr-defined]
        for handler in (yields, yields_later, writes, functools.partial(yields)):
            with pytest.raises(errors.IdempotencyConfigurationError, match="streams"):
                idempotent(store=MemoryStore(), scope="s")(handler)

    @pytest.mark.parametrize(
        "wrong",
        [
            {"store": "sqlite:///x"},
            {"expires": 60},
            {"expires": timedelta(0)},
            {"margin": timedelta(seconds=-1)},
            {"lease": 5},
            {"scope": "a\nb"},
            {"payload": "a..b"},
            {"key": None},
        ],
    )
    def test_a_wrong_option_is_refused_when_decorating(self, wrong: dict[str, Any]) -> None:
        options = {"store": MemoryStore(), "key": "event", **wrong}
        with pytest.raises(errors.IdempotencyConfigurationError):
            idempotent_function(**options)(a_handler)

    def test_a_function_without_a_name_needs_a_scope(self) -> None:
        for nameless in (functools.partial(a_handler, 1), lambda event, context: 1):
            with pytest.raises(errors.IdempotencyConfigurationError, match="scope"):
                idempotent(store=MemoryStore())(nameless)

    def test_flags_are_those_of_the_module_inspect(self) -> None:
        import inspect

        assert decorator.COROUTINE == inspect.CO_COROUTINE
        assert decorator.STREAMING == inspect.CO_GENERATOR | inspect.CO_ASYNC_GENERATOR


SQS = {"eventSource": "aws:sqs", "eventSourceARN": "arn:aws:sqs:r:a:q", "attributes": {}}
KINESIS = {"eventSource": "aws:kinesis", "eventSourceARN": "arn:stream", "eventID": "shardId-0:5"}
OBJECT = {"bucket": {"name": "b"}, "object": {"key": "k", "sequencer": "01"}}


def message(number: int, **more: Any) -> dict[str, Any]:
    return {**SQS, "messageId": f"m{number}", "body": str(number), **more}


def stream_record(number: int) -> dict[str, Any]:
    return {
        **KINESIS,
        "eventID": f"s:{number}",
        "body": str(number),
        "kinesis": {"sequenceNumber": str(number), "data": "eA=="},
    }


class TestBatches:
    @pytest.mark.parametrize(
        ("one", "again", "other"),
        [
            (message(1), message(1, receiptHandle="x"), message(2)),
            (
                message(1),
                message(1, attributes={"ApproximateReceiveCount": "2"}),
                message(1, eventSourceARN="arn:other"),
            ),
            (stream_record(1), stream_record(1), stream_record(2)),
            (stream_record(1), stream_record(1), {**stream_record(1), "kinesis": {"data": "eQ=="}}),
            (
                {"eventSource": "aws:dynamodb", "eventSourceARN": "t", "eventID": "1"},
                {"eventSource": "aws:dynamodb", "eventSourceARN": "t", "eventID": "1", "eventName": "INSERT"},
                {"eventSource": "aws:dynamodb", "eventSourceARN": "u", "eventID": "1"},
            ),
            (
                {"EventSource": "aws:sns", "EventSubscriptionArn": "s", "Sns": {"MessageId": "1"}},
                {"EventSource": "aws:sns", "EventSubscriptionArn": "s", "Sns": {"MessageId": "1", "Message": "m"}},
                {"EventSource": "aws:sns", "EventSubscriptionArn": "s", "Sns": {"MessageId": "2"}},
            ),
            (
                {"eventSource": "aws:s3", "eventName": "ObjectCreated:Put", "s3": OBJECT},
                {"eventSource": "aws:s3", "eventName": "ObjectCreated:Put", "s3": OBJECT, "eventTime": "later"},
                {"eventSource": "aws:s3", "eventName": "ObjectRemoved:Delete", "s3": OBJECT},
            ),
            (
                {"basicProperties": {"messageId": "1"}, "redelivered": False},
                {"basicProperties": {"messageId": "1"}, "redelivered": True},
                {"basicProperties": {"messageId": "2"}},
            ),
            (
                {"topic": "t", "partition": 0, "offset": 0, "value": "eA=="},
                {"topic": "t", "partition": 0, "offset": 0, "value": "eA==", "timestamp": 5},
                {"topic": "t", "partition": 1, "offset": 0, "value": "eA=="},
            ),
        ],
    )
    def test_a_record_has_the_same_key_whenever_it_comes(self, one: Any, again: Any, other: Any) -> None:
        assert record_key(one) == record_key(again)
        assert record_key(one) != record_key(other)

    @pytest.mark.parametrize(
        "nameless",
        [{}, {"eventSource": "aws:sqs"}, {"basicProperties": {"messageId": None}}, message(1, messageId=""), 5],
    )
    def test_a_record_without_identity_is_refused(self, nameless: Any) -> None:
        with pytest.raises(errors.IdempotencyKeyError, match="message_id"):
            record_key(nameless)

    def test_records_are_found_in_the_event_of_every_source(self) -> None:
        one, two = {"n": 1}, {"n": 2}
        assert records_of({"Records": [one, two]}) == [one, two]
        assert records_of({"rmqMessagesByQueue": {"q::/": [one], "r::/": [two]}}) == [one, two]
        assert records_of({"records": {"t-0": [one, two]}}) == [one, two]
        with pytest.raises(errors.IdempotencyKeyError, match="no records"):
            records_of({"order": 1})

    def handler(self, store: MemoryStore, seen: list[str], **options: Any) -> Callable[..., Any]:
        @idempotent_batch(store=store, **options)
        def process(record: Any) -> None:
            seen.append(record["body"])
            if record["body"] == "2" and seen.count("2") == 1:
                raise ValueError("two")

        return process

    def test_a_queues_other_messages_run_and_only_the_failed_one_runs_again(self) -> None:
        seen: list[str] = []
        handler = self.handler(MemoryStore(), seen)
        batch = {"Records": [message(n) for n in (1, 2, 3)]}
        with pytest.raises(ValueError, match="two"):
            handler(batch, Context())
        assert handler(batch, Context("another request")) == {"records": 3}
        assert seen == ["1", "2", "3", "2"]

    @pytest.mark.parametrize("make", [stream_record, lambda n: message(n, eventSourceARN="arn:q.fifo")])
    def test_what_is_in_order_stops_at_the_failed_one(self, make: Callable[[int], Any]) -> None:
        seen: list[str] = []
        handler = self.handler(MemoryStore(), seen)
        batch = {"Records": [make(n) for n in (1, 2, 3)]}
        with pytest.raises(ValueError, match="two"):
            handler(batch, Context())
        handler(batch, Context())
        assert seen == ["1", "2", "2", "3"]

    def test_failed_ones_are_returned_where_partial_responses_are_wanted(self) -> None:
        handler = self.handler(MemoryStore(), [], partial_responses=True)
        assert handler({"Records": [message(2), message(3)]}, Context()) == {
            "batchItemFailures": [{"itemIdentifier": "m2"}]
        }
        handler = self.handler(MemoryStore(), [], partial_responses=True)
        failed = handler({"Records": [stream_record(2), stream_record(3)]}, Context())
        assert failed == {"batchItemFailures": [{"itemIdentifier": "2"}]}

    def test_a_source_without_partial_responses_runs_nothing(self) -> None:
        seen: list[str] = []
        handler = self.handler(MemoryStore(), seen, partial_responses=True)
        event = {"rmqMessagesByQueue": {"q::/": [{"basicProperties": {"messageId": "1"}, "body": "1"}]}}
        with pytest.raises(errors.IdempotencyConfigurationError, match="partial"):
            handler(event, Context())
        assert seen == []

    def test_coroutines_and_paths_are_refused(self) -> None:
        async def process(record: Any) -> None: ...

        with pytest.raises(errors.IdempotencyConfigurationError, match="plain"):
            idempotent_batch(store=MemoryStore())(process)
        with pytest.raises(errors.IdempotencyConfigurationError, match="callable"):
            idempotent_batch(store=MemoryStore(), key="messageId")


MOUNTS = """\
1 0 8:1 / / rw,relatime shared:1 - ext4 /dev/a rw
2 1 8:1 /srv/sandbox/e1/tmp /tmp rw - ext4 /dev/a rw
3 2 8:1 /srv/photos /tmp/my\\040photos rw - ext4 /dev/a rw
4 1 0:50 / /mnt/share rw - nfs4 server:/ rw
5 1 0:51 / /mnt/ssh rw - fuse.sshfs host:/ rw
"""
SHARED_TMP = "1 0 8:1 / / rw - ext4 /dev/a rw\n2 1 0:30 / /tmp rw - tmpfs tmpfs rw\n"
INSIDE = {"AWS_LAMBDA_FUNCTION_NAME": "f", "_HANDLER": "app.handler", "LAMBDA_TASK_ROOT": "/var/task"}


class TestPlace:
    @pytest.mark.parametrize(
        ("path", "mounts", "variables", "expected"),
        [
            ("/srv/data/.x", MOUNTS, INSIDE, None),
            ("/tmp/.x", MOUNTS, INSIDE, "private /tmp"),
            ("/tmp/my photos/.x", MOUNTS, INSIDE, None),
            ("/tmp/my photos2/.x", MOUNTS, INSIDE, "private /tmp"),
            ("/tmp/.x", MOUNTS, {}, None),
            ("/tmp/.x", SHARED_TMP, INSIDE, None),
            ("/srv/e1/tmp/.x", SHARED_TMP, {**INSIDE, "TMPDIR": "/srv/e1/tmp"}, "private /tmp"),
            ("/tmp/.x", SHARED_TMP, {**INSIDE, "TMPDIR": "/srv/e1/tmp"}, None),
            ("/var/task/.x", MOUNTS, INSIDE, "code directory"),
            ("/mnt/share/.x", MOUNTS, {}, "nfs4.*PostgresStore"),
            ("/mnt/ssh/.x", MOUNTS, INSIDE, "fuse.sshfs"),
            ("/srv/.x", "", INSIDE, None),
        ],
    )
    def test_where_the_file_may_be(
        self, path: str, mounts: str, variables: dict[str, str], expected: str | None
    ) -> None:
        fault = place.fault_of(path, mounts, variables)
        if expected is None:
            assert fault is None
        else:
            assert re.search(expected, fault or "")


@pytest.mark.parametrize("table", ["", "a b", 'a"; DROP TABLE x', "1a", "x" * 49, "a.b.c", "é", None, "a."])
def test_a_name_that_is_none_for_a_table_is_refused(table: Any) -> None:
    for postgres in (True, False):
        with pytest.raises(errors.IdempotencyConfigurationError):
            statements.Statements(table, postgres=postgres)


def test_a_schema_is_for_postgresql_only() -> None:
    assert statements.Statements("a.b", postgres=True).table == '"a"."b"'
    with pytest.raises(errors.IdempotencyConfigurationError):
        statements.Statements("a.b", postgres=False)


def test_a_missing_driver_is_named_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(errors.IdempotencyDriverMissingError, match=r"psycopg\[binary\].*requirements.txt"):
        idempotency.PostgresStore("postgresql://nowhere/")


def test_every_public_name_is_there_and_no_other() -> None:
    assert all(getattr(idempotency, name).__name__ == name for name in idempotency.__all__)
    with pytest.raises(AttributeError, match="nothing_like_it"):
        getattr(idempotency, "nothing_like_it")  # noqa: B009
