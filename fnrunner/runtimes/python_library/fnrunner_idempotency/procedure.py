"""The life of one guarded call, as steps that somebody else carries out: the same for blocking and for async functions.

::

    claim ─► ours ─► run ─► complete ─► result
      │               └─ failed ─► forget, raise
      └─► another's ─► complete: its result · in progress: wait, look again · other payload: refused

Nothing here waits or runs anything: the procedure yields what is to be done, and is sent what came of it.
"""

from __future__ import annotations

import json
import logging
import os
import time
from typing import NamedTuple

from .errors import (
    IdempotencyAlreadyInProgressError,
    IdempotencyError,
    IdempotencyLeaseLostError,
    IdempotencyPersistenceLayerError,
    IdempotencyResultError,
    IdempotencyValidationError,
)
from .record import Claim, Decision, Record, any_spread, decide, pause_s

TYPE_CHECKING = False  # what type checkers take for True
if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from typing import Any

    from .store import Store

log = logging.getLogger(__name__)

SHORTEST_PATIENCE_S = 0.1
RETRY_S = 0.2


class Ask(NamedTuple):
    """Call ``question``, which blocks, and send its answer, or throw what it raises."""

    question: Callable[[], Any]


class Pause(NamedTuple):
    """Wait."""

    seconds: float


class Run(NamedTuple):
    """Run the function; send its result, or throw what it raises."""


class Time:
    """How much is left: for waiting, which ends at a margin before the deadline, and for the store."""

    __slots__ = ("_clock", "_end")

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        """``seconds`` from now on may be waited."""
        self._clock, self._end = clock, clock() + seconds

    def left_s(self) -> float:
        return self._end - self._clock()

    def patience_s(self) -> float:
        return max(SHORTEST_PATIENCE_S, self.left_s())


def new_owner() -> str:
    return os.urandom(12).hex()


def procedure(store: Store, claim: Claim, allowed: Time) -> Generator[Ask | Pause | Run, Any, Any]:
    """Returns the result, as JSON gives it back: what was stored, or what the function has returned just now.

    Raises what the function raises, and every IdempotencyError but those of configuration.
    """
    record = yield from _until_claimed(store, claim, allowed)
    if record is not None:
        return replayed(record, claim)
    try:
        result = yield Run()
    except BaseException:
        try:
            yield Ask(lambda: store.forget(claim, allowed.patience_s()))
        except IdempotencyError as error:
            # the function's own error is the one to report; its lease runs out by itself
            log.warning("the idempotency record of %s stays in progress until its lease ends: %s", claim.key, error)
        raise
    text = as_json(result)
    if not (yield from _completed(store, claim, text, allowed)):
        raise IdempotencyLeaseLostError
    if text is None:
        raise IdempotencyResultError(f"{IdempotencyResultError()} It was a {type(result).__name__}.")
    return json.loads(text)


def _until_claimed(store: Store, claim: Claim, allowed: Time) -> Generator[Ask | Pause | Run, Any, Record | None]:
    """None when the claim is ours; otherwise the complete record of another."""
    attempt = 0
    while not (yield Ask(lambda: store.claim(claim, allowed.patience_s()))):
        while True:
            record: Record | None = yield Ask(lambda: store.find(claim, allowed.patience_s()))
            decision = decide(record, claim)
            if decision is Decision.CLAIM:
                break
            assert record is not None
            if decision is Decision.REPLAY:
                return record
            if decision is Decision.MISMATCH:
                raise IdempotencyValidationError(f"{IdempotencyValidationError()} The key is {claim.key!r}.")
            seconds = pause_s(attempt, record.lease_left_ms, allowed.left_s(), any_spread())
            if seconds is None:
                raise in_progress(claim, record.lease_left_ms)
            yield Pause(seconds)
            attempt += 1
        if allowed.left_s() <= 0 and attempt:
            # free at last, but with no time to run in
            raise in_progress(claim, 0)
    return None


def _completed(store: Store, claim: Claim, text: str | None, allowed: Time) -> Generator[Ask | Pause | Run, Any, bool]:
    """Whether the record was still ours. Tried until the time is over: what is lost here is done again by a retry."""
    while True:
        try:
            done: bool = yield Ask(lambda: store.complete(claim, text, allowed.patience_s()))
            return done
        except IdempotencyPersistenceLayerError as error:
            if allowed.left_s() <= RETRY_S:
                raise type(error)(
                    f"The function has run, but that could not be kept, so a retry runs it again: {error}"
                ) from error
        yield Pause(RETRY_S)


def in_progress(claim: Claim, lease_left_ms: int) -> IdempotencyAlreadyInProgressError:
    left = f" Key {claim.key!r}, at most {max(0, lease_left_ms)} ms more."
    return IdempotencyAlreadyInProgressError(f"{IdempotencyAlreadyInProgressError()}{left}")


def replayed(record: Record, claim: Claim) -> Any:
    """The stored result. Raises IdempotencyResultError where none could be stored."""
    if record.result is None:
        raise IdempotencyResultError(f"{IdempotencyResultError()} Key {claim.key!r}.")
    return json.loads(record.result)


def as_json(result: Any) -> str | None:
    """The result's JSON, or None when it has none. Bytes and decimals inside are written as the platform answers them.

    >>> from decimal import Decimal
    >>> as_json({"a": (1, Decimal("2.50")), 3: b"x"}), as_json(float("nan")), as_json(object()), as_json(b"1")
    ('{"a":[1,2.5],"3":"x"}', None, None, None)
    """
    if isinstance(result, (bytes, bytearray)):
        return None  # a handler's bytes are its whole answer, not a text in it
    try:
        text = json.dumps(result, separators=(",", ":"), allow_nan=False, default=_plain)
    except (TypeError, ValueError, RecursionError):
        return None
    return text


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode()
    from decimal import Decimal

    if isinstance(value, Decimal) and value.is_finite():
        return int(value) if value == value.to_integral_value() else float(value)
    raise TypeError(type(value).__name__)
