"""Carry out a plan's operations: each at its time, or all as fast as they are accepted. Every answer goes to the history."""

from __future__ import annotations

import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

from tests.faults.soak.caller import Caller, NotSent, Unanswered
from tests.faults.soak.function import QUEUE
from tests.faults.soak.history import ACKNOWLEDGED, REFUSED, UNKNOWN, Answered
from tests.faults.soak.operation import Behaviour, Operation

AWAY_S = 0.2
"""A pause after an answer that was none, or that said no: the system is not there, and may be told nothing."""
RECENT = 200
MOST_SAID = 300

Told = Callable[[Answered], None]


class Generator:
    """``told`` hears every answer, from several threads. ``recent`` are the last events that succeed at once: id,
    function and number."""

    def __init__(self, port: int, told: Told) -> None:
        self.recent: deque[tuple[str, str, int]] = deque(maxlen=RECENT)
        self.sent = 0
        self._port = port
        self._told = told
        self._here = threading.local()
        self._callers: list[Caller] = []
        self._stop = threading.Event()

    def stop(self) -> None:
        """Send nothing more."""
        self._stop.set()

    def close(self) -> None:
        """Close its connections, once nothing is sent any more."""
        for caller in self._callers:
            caller.close()

    def at_their_times(self, operations: Iterator[Operation], start: float, threads: int) -> None:
        """Each operation when it is due after ``start`` (monotonic), or when a thread is free for it. Blocks."""
        with ThreadPoolExecutor(threads, thread_name_prefix="sender") as pool:
            for each in operations:
                if self._stop.wait(max(0.0, start + each.at_s - time.monotonic())):
                    return
                pool.submit(self._carry_out, each)

    def flood(self, operations: Iterator[Operation], accepted: int, threads: int) -> None:
        """As fast as they are taken, until so many were accepted. Blocks."""
        lock = threading.Lock()
        counted = 0

        def next_one() -> Operation | None:
            with lock:
                if counted >= accepted or self._stop.is_set():
                    return None
                return next(operations)

        def send() -> None:
            nonlocal counted
            while (each := next_one()) is not None:
                if self._carry_out(each) == ACKNOWLEDGED:
                    with lock:
                        counted += 1
                elif self._stop.wait(AWAY_S):
                    return

        with ThreadPoolExecutor(threads, thread_name_prefix="sender") as pool:
            for done in [pool.submit(send) for _ in range(threads)]:
                done.result()

    def _carry_out(self, each: Operation) -> str:
        self.sent += 1
        if each.behaviour is Behaviour.BATCH:
            return self._send_batch(each)
        expected = each.expected
        event = {"n": each.number, "b": each.behaviour.value, "ms": each.pause_ms}
        sent = time.monotonic()
        outcome, event_id, status, why = UNKNOWN, "", 0, ""
        try:
            answer = self._caller().invoke(expected.function, event, wait=expected.synchronous)
            outcome, event_id, status = answer.outcome, answer.event_id, answer.status
        except NotSent as error:
            outcome, why = REFUSED, str(error)
        except Unanswered as error:
            why = str(error)
        if outcome != ACKNOWLEDGED:
            event_id = ""  # the id of an error is the request's, not an event's
            why = why or answer.body[:MOST_SAID].decode(errors="replace")
        elif each.behaviour is Behaviour.OK:
            self.recent.append((event_id, expected.function, each.number))
        self._told(Answered(each.number, each.behaviour, sent, time.monotonic(), outcome, event_id, status, why))
        return outcome

    def _send_batch(self, each: Operation) -> str:
        """Messages are published one after the other: without an answer, some may be in the queue."""
        numbers = range(each.number, each.number + each.size)
        ids = {n: str(uuid.uuid4()) for n in numbers}
        messages = [{"body": f'{{"n":{n}}}', "message_id": ids[n]} for n in numbers]
        sent = time.monotonic()
        outcome, status = UNKNOWN, 0
        try:
            answer = self._caller().post(f"/fnrunner/v1/queues/{QUEUE}/messages", {"messages": messages})
            outcome, status = answer.outcome, answer.status
        except NotSent:
            outcome = REFUSED
        except Unanswered:
            pass
        now = time.monotonic()
        for n in numbers:
            self._told(Answered(n, Behaviour.BATCH, sent, now, outcome, ids[n], status))
        return outcome

    def _caller(self) -> Caller:
        caller: Caller | None = getattr(self._here, "caller", None)
        if caller is None:
            caller = self._here.caller = Caller(self._port)
            self._callers.append(caller)
        return caller
