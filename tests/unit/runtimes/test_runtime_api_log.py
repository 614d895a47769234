"""Lines of several processes in one log, and telemetry within its bounds."""

from __future__ import annotations

import doctest
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fnrunner.runtimes.runtime_api import delivery, log
from fnrunner.runtimes.runtime_api.log import LONGEST_HELD_BYTES, Log
from fnrunner.runtimes.runtime_api.reactor import Reactor, Timer
from fnrunner.runtimes.runtime_api.subscription import parse
from fnrunner.runtimes.runtime_api.telemetry import KEPT_BYTES, Telemetry


def test_the_examples_in_the_docstring_hold() -> None:
    result = doctest.testmod(log)
    assert (result.attempted > 0, result.failed) == (True, 0)


PIECES = st.lists(st.tuples(st.sampled_from("xy"), st.lists(st.sampled_from(["", "-", "\n"]), max_size=5)), max_size=20)


@given(PIECES)
def test_lines_of_two_sources_never_mix_and_nothing_is_lost(pieces: list[tuple[str, list[str]]]) -> None:
    shown: list[bytes] = []
    made = Log(shown.append)
    whole = {"x": "", "y": ""}
    for source, marks in pieces:
        # each source writes its own letter
        text = "".join(source if mark != "\n" else mark for mark in marks)
        whole[source] += text
        made.write(source, text.encode())
    made.flush()
    said = b"".join(shown).decode()
    assert all(len(set(line)) <= 1 for line in said.split("\n"))
    for source, text in whole.items():
        assert said.count(source) == text.count(source)


def test_the_beginning_of_a_line_is_shown_after_a_moment_and_ended_before_another_source_goes_on() -> None:
    shown: list[bytes] = []
    due: list[Callable[[], None]] = []
    made = Log(shown.append, lambda _, what: due.append(what))
    made.write("", b"half")
    made.write("", b" of it")
    assert (shown, len(due)) == ([], 1)
    due.pop()()
    assert (shown, len(due)) == ([], 1)
    due.pop()()
    made.write("ear", b"whole\n")
    made.write("", b" goes on\n")
    assert b"".join(shown) == b"half of it\nwhole\n goes on\n"


def test_a_line_without_end_is_not_kept_in_memory() -> None:
    shown: list[bytes] = []
    made = Log(shown.append)
    for _ in range(100):
        made.write("", b"x" * 10_000)
    assert 0 <= 1_000_000 - sum(map(len, shown)) <= LONGEST_HELD_BYTES


class Clock:
    """A reactor whose timers never come by themselves."""

    def call_later(self, seconds: float, what: Callable[[], None]) -> Timer:
        return Timer(seconds, what)


def subscribed(monkeypatch: pytest.MonkeyPatch, **buffering: int) -> tuple[Telemetry, list[list[bytes]], Any]:
    """Telemetry, the batches that leave it, and the function that subscribes."""
    batches: list[list[bytes]] = []

    def call(reactor: object, wanted: object, batch: list[bytes], done: Callable[[bool], None]) -> object:
        batches.append(batch)
        done(True)
        return None

    monkeypatch.setattr(delivery, "Call", call)
    telemetry = Telemetry(cast(Reactor, Clock()), json_lines=False)
    destination = {"protocol": "HTTP", "URI": "http://sandbox:8080"}
    wanted = parse({"types": ["platform", "function"], "buffering": buffering, "destination": destination})
    return telemetry, batches, SimpleNamespace(now=lambda: telemetry.subscribe("ear", wanted))


def test_what_is_kept_for_late_subscribers_is_bounded_in_bytes_and_the_rest_is_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    telemetry, batches, subscribe = subscribed(monkeypatch)
    for _ in range(100):
        telemetry.lines("function", "", b"x" * 100_000 + b"\n")
    subscribe.now()
    telemetry.flush()
    telemetry.flush()
    kept = [event for batch in batches for event in batch if b'"function"' in event]
    assert len(kept) == KEPT_BYTES // 100_000
    told = [event for batch in batches for event in batch if b"platform.logsDropped" in event]
    assert len(told) == 1
    assert f'"droppedRecords":{100 - len(kept)},"droppedBytes":{(100 - len(kept)) * 100_000}'.encode() in told[0]


def test_a_batch_has_no_more_bytes_than_its_subscriber_wants(monkeypatch: pytest.MonkeyPatch) -> None:
    telemetry, batches, subscribe = subscribed(monkeypatch, maxBytes=262_144, maxItems=1000, timeoutMs=1000)
    subscribe.now()
    for size in [100_000] * 5 + [300_000, 10]:
        telemetry.lines("function", "", b"x" * size + b"\n")
    telemetry.flush()
    assert [len(batch) for batch in batches] == [2, 2, 1, 1, 1]
    assert all(sum(map(len, batch)) <= 262_144 or len(batch) == 1 for batch in batches)


def test_what_was_given_up_is_told_once_the_subscriber_takes_something_and_counts_are_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    batches: list[list[bytes]] = []
    answers = [False] * 4 + [False] * 4 + [True] * 9

    def call(reactor: object, wanted: object, batch: list[bytes], done: Callable[[bool], None]) -> object:
        batches.append(batch)
        done(answers.pop(0))
        return None

    class Impatient(Clock):
        def call_later(self, seconds: float, what: Callable[[], None]) -> Timer:
            if seconds < 5:
                waiting.append(what)
            return super().call_later(seconds, what)

    waiting: list[Callable[[], None]] = []
    monkeypatch.setattr(delivery, "Call", call)
    telemetry = Telemetry(cast(Reactor, Impatient()), json_lines=False)
    telemetry.subscribe(
        "ear", parse({"types": ["platform", "function"], "destination": {"protocol": "TCP", "port": 9}})
    )
    telemetry.lines("function", "", b"one\ntwo\n")
    telemetry.flush()
    while answers[0] is False:
        if waiting:
            waiting.pop(0)()
        telemetry.flush()
    telemetry.lines("function", "", b"three\n")
    telemetry.flush()
    telemetry.flush()
    told = [event for batch in batches[8:] for event in batch if b"platform.logsDropped" in event]
    assert any(b'"droppedRecords":2' in event for event in told), batches
