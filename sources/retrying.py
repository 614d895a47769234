"""What happens next with one batch of a shard: a function of its state and what came of the last invocation. Pure.

The state is a stack of pieces of the batch, in the order of positions. Only the first is worked on; the others wait
for it. A step looks at the first piece and says what to do; whoever does it hands back what came of it.

Rules
    * Success passes the piece on. What has passed is never invoked again.
    * A failure is charged. A piece that was charged more often than ``MaximumRetryAttempts`` is given up.
    * With ``BisectBatchOnFunctionError`` a failing piece of several records is halved instead, the left half first and at
      once; that is not charged: both halves have been charged as often as the piece before this failure.
    * A partial response names the lowest record that failed. Those before it pass, and from there on the count starts
      anew, this failure being the first: Lambda takes the position as a checkpoint, and its retry strategy is about what
      is behind the checkpoint. When a record is given up that was named so, it is given up alone, since the function
      said which it is. With bisection the piece is split at the named record, uncharged; when that is the piece's first
      record already, it is split off, so that the others go on without it afterwards.
    * What was not run is not charged, however long it is waited for. A crash is charged from the third in a row on.
    * A piece too large to be sent is halved; a single record that is too large is given up. So are records that are
      malformed, without being tried, in their place among the others.
    * A record older than ``MaximumRecordAge`` is given up instead of being retried, with what it fails with. Whether it
      is tried at all is decided when its batch begins, see :class:`Block`. Every piece that has been split off is tried
      once by itself, since it waited for another that was being retried.

Source: Lambda developer guide, "How Lambda processes records from stream and queue-based event sources" and "Configuring
partial batch response with Kinesis Data Streams".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import groupby

from sources.invocation import Answered, Crashed, Deferred, Failed, TooLarge
from sources.mapping import EventSourceMapping
from sources.partial import FailedFrom, FailedWhole, Passed
from sources.stream import Record

EXHAUSTED = "RetryAttemptsExhausted"
TOO_OLD = "RecordAgeExceeded"
TOO_LARGE = "InvokePayloadTooLarge"
MALFORMED = "RecordMalformed"

TOLERATED_CRASHES = 2
_LONGEST_RETRY = 60
_LONGEST_DEFERRAL = 10
"""Times the first wait. What is only waited for, such as a free worker, is asked for more often."""


@dataclass(frozen=True, slots=True)
class Policy:
    """What the mapping says of failures; None: no limit. ``first_wait`` doubles up to 60 times as much."""

    attempts: int | None = None
    age: timedelta | None = None
    bisect: bool = False
    first_wait: timedelta = timedelta(seconds=1)

    @classmethod
    def of(cls, mapping: EventSourceMapping, first_wait: timedelta) -> Policy:
        return cls(mapping.maximum_retry_attempts, mapping.maximum_record_age, mapping.bisect, first_wait)

    def too_old(self, record: Record, now: datetime) -> bool:
        return self.age is not None and now - record.arrived > self.age


@dataclass(frozen=True, slots=True)
class Block:
    """Since when, and until when (None: still), a shard could not go on because of a batch that was not done with.

    A record that came before the end and was young enough at the beginning has grown old only by waiting: it is tried. One
    that was too old before is not. A block that begins before the last one's backlog is worked off continues that one.
    """

    since: datetime
    until: datetime | None = None

    def excuses(self, record: Record, policy: Policy) -> bool:
        return (self.until is None or record.arrived < self.until) and not policy.too_old(record, self.since)


def blocked(block: Block | None, first: Record, now: datetime) -> Block:
    """The block that begins, or goes on, when a batch with that first record is not done with at ``now``."""
    if block is not None and (block.until is None or first.arrived < block.until):
        return Block(block.since)
    return Block(now)


def unblocked(block: Block | None, now: datetime) -> Block | None:
    """The batch is done with."""
    return block if block is None or block.until is not None else replace(block, until=now)


def united(blocks: Sequence[Block]) -> Block | None:
    """One that excuses whatever one of them excuses."""
    if not blocks:
        return None
    ends = [block.until for block in blocks if block.until is not None]
    return Block(min(block.since for block in blocks), max(ends) if len(ends) == len(blocks) else None)


@dataclass(frozen=True, slots=True)
class Piece:
    """Neighbouring records that are invoked together.

    ``charged``: failures that count. ``invoked``: invocations that the records have been in. ``crashes``: in a row.
    ``waits``: in a row, since there was progress. ``tried``: invoked as this piece. ``condition``: they are to be given up.
    ``pause`` comes before it is invoked. ``error``: what the last failure was; ``named``: the function said that the first
    record is the guilty one.
    """

    records: tuple[Record, ...]
    charged: int = 0
    invoked: int = 0
    crashes: int = 0
    waits: int = 0
    tried: bool = False
    pause: timedelta = timedelta(0)
    condition: str = ""
    error: FailedWhole | FailedFrom | Crashed | None = None
    named: bool = False

    @property
    def result(self) -> Answered | Failed | Crashed | None:
        return self.error.result if isinstance(self.error, FailedWhole | FailedFrom) else self.error


@dataclass(frozen=True, slots=True)
class Invoke:
    """Have the function run with the records, and hand back what came of it."""

    records: tuple[Record, ...]


@dataclass(frozen=True, slots=True)
class Wait:
    """Then ask again. ``reason`` is set when the function was not run."""

    duration: timedelta
    reason: str = ""


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Tell where the user wants to know it; ask again when that is safe. The records are settled then."""

    piece: Piece
    condition: str

    @property
    def position(self) -> int:
        return self.piece.records[-1].position


@dataclass(frozen=True, slots=True)
class Advance:
    """All records up to the position are settled. Ask again."""

    position: int


@dataclass(frozen=True, slots=True)
class Done:
    """Nothing is left of the batch."""


Action = Invoke | Wait | GiveUp | Advance | Done
Outcome = Passed | FailedFrom | FailedWhole | Crashed | Deferred | TooLarge
Stack = tuple[Piece, ...]


def begin(records: Sequence[Record], policy: Policy, block: Block | None, now: datetime) -> Stack:
    """The pieces of a new batch: malformed records, and those too old to be tried, stand by themselves."""

    def fate(record: Record) -> tuple[str, str]:
        if record.fault:
            return MALFORMED, record.fault
        late = policy.too_old(record, now) and not (block is not None and block.excuses(record, policy))
        return (TOO_OLD if late else "", "")

    return tuple(Piece(tuple(group), condition=condition) for (condition, _), group in groupby(records, fate))


def step(stack: Stack, policy: Policy, outcome: Outcome | None, now: datetime) -> tuple[Stack, Action]:
    """What to do next. ``outcome`` is of the invocation that was asked for; None at the beginning and after all else."""
    if not stack:
        return stack, Done()
    if outcome is None:
        return _next(stack[0], stack[1:], policy, now)
    return _after(stack[0], stack[1:], policy, outcome, now)


def _after(piece: Piece, rest: Stack, policy: Policy, outcome: Outcome, now: datetime) -> tuple[Stack, Action]:
    match outcome:
        case Passed():
            return rest, Advance(piece.records[-1].position)
        case Deferred(reason):
            piece = replace(piece, waits=piece.waits + 1)
            return (piece, *rest), Wait(_backoff(policy, piece.waits, _LONGEST_DEFERRAL), reason)
        case TooLarge() if len(piece.records) > 1:
            return _cut_up(replace(piece, named=False), rest, policy, now)
        case TooLarge():
            return rest, GiveUp(replace(piece, error=None), TOO_LARGE)
    return _failed(replace(piece, invoked=piece.invoked + 1, tried=True), rest, policy, outcome, now)


def _next(piece: Piece, rest: Stack, policy: Policy, now: datetime) -> tuple[Stack, Action]:
    if piece.condition:
        return rest, GiveUp(piece, piece.condition)
    if piece.pause:
        return (replace(piece, pause=timedelta(0)), *rest), Wait(piece.pause)
    if not piece.tried or not policy.too_old(piece.records[0], now):
        return (piece, *rest), Invoke(piece.records)
    if policy.bisect and len(piece.records) > 1:
        return _cut_up(piece, rest, policy, now)
    if piece.named:
        return _head_given_up(piece, rest, TOO_OLD)
    young = (n for n, record in enumerate(piece.records) if not policy.too_old(record, now))
    old = next(young, len(piece.records))
    left = replace(piece, records=piece.records[old:])
    return (*([left] if left.records else []), *rest), GiveUp(replace(piece, records=piece.records[:old]), TOO_OLD)


def _failed(
    piece: Piece, rest: Stack, policy: Policy, outcome: FailedFrom | FailedWhole | Crashed, now: datetime
) -> tuple[Stack, Action]:
    if isinstance(outcome, Crashed):
        piece = replace(piece, crashes=piece.crashes + 1, error=outcome, named=False)
        if piece.crashes <= TOLERATED_CRASHES:
            return _retried(piece, rest, policy, now)
        return _charged(piece, rest, policy, now)
    piece = replace(piece, crashes=0, error=outcome, named=isinstance(outcome, FailedFrom))
    if isinstance(outcome, FailedFrom) and outcome.position > piece.records[0].position:
        return _progressed(piece, rest, policy, outcome.position)
    return _charged(piece, rest, policy, now)


def _progressed(piece: Piece, rest: Stack, policy: Policy, position: int) -> tuple[Stack, Action]:
    """The records before the position are done; the one there has failed, for the first time as far as is known."""
    done = sum(record.position < position for record in piece.records)
    advance = Advance(piece.records[done - 1].position)
    left = replace(piece, records=piece.records[done:], waits=0)
    if policy.bisect:
        return (replace(left, charged=0, tried=False), *rest), advance
    if policy.attempts == 0:
        head = replace(left, records=left.records[:1], condition=EXHAUSTED)
        return (head, *_untried(left, 1), *rest), advance
    return (replace(left, charged=1, waits=1, pause=_backoff(policy, 1, _LONGEST_RETRY)), *rest), advance


def _charged(piece: Piece, rest: Stack, policy: Policy, now: datetime) -> tuple[Stack, Action]:
    if policy.bisect and len(piece.records) > 1:
        return _cut_up(piece, rest, policy, now)
    piece = replace(piece, charged=piece.charged + 1)
    if policy.attempts is None or piece.charged <= policy.attempts:
        return _retried(piece, rest, policy, now)
    return _head_given_up(piece, rest, EXHAUSTED) if piece.named else (rest, GiveUp(piece, EXHAUSTED))


def _retried(piece: Piece, rest: Stack, policy: Policy, now: datetime) -> tuple[Stack, Action]:
    """After a wait, which ends when the first record has grown too old to be retried."""
    piece = replace(piece, waits=piece.waits + 1)
    wait = _backoff(policy, piece.waits, _LONGEST_RETRY)
    if policy.age is not None:
        left = piece.records[0].arrived + policy.age - now
        wait = min(wait, max(left, timedelta(0)) + timedelta(milliseconds=1))
    return (piece, *rest), Wait(wait)


def _cut_up(piece: Piece, rest: Stack, policy: Policy, now: datetime) -> tuple[Stack, Action]:
    """The record that the function named by itself, otherwise in halves; both go on with what the piece was charged."""
    at = 1 if piece.named else (len(piece.records) + 1) // 2
    parts = (piece.records[:at], piece.records[at:])
    left, right = (replace(piece, records=part, tried=False, waits=0, named=False) for part in parts)
    return _next(left, (right, *rest), policy, now)


def _head_given_up(piece: Piece, rest: Stack, condition: str) -> tuple[Stack, Action]:
    return (*_untried(piece, 1), *rest), GiveUp(replace(piece, records=piece.records[:1]), condition)


def _untried(piece: Piece, at: int) -> Stack:
    """What is behind a record that is given up starts afresh; nothing when nothing is."""
    if len(piece.records) == at:
        return ()
    return (Piece(piece.records[at:], invoked=piece.invoked),)


def _backoff(policy: Policy, waits: int, longest: int) -> timedelta:
    return policy.first_wait * min(1 << min(waits - 1, 20), longest)
