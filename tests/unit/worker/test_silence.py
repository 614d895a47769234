from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

import pytest

from fnrunner.worker.silence import Silences

BLIND = timedelta(seconds=6)


@dataclass
class Clock:
    at: float = 100.0

    def __call__(self) -> float:
        return self.at


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def silences(clock: Clock) -> Silences:
    found = Silences(clock, BLIND)
    found.wrote()
    return found


def pass_time(clock: Clock, silences: Silences, seconds: int, beats: dict[str, int]) -> None:
    """Look and write each second."""
    for _ in range(seconds):
        clock.at += 1
        silences.wrote()
        silences.look(beats, clock())


def test_silence_grows_while_a_beat_stays_the_same(clock: Clock, silences: Silences) -> None:
    silences.look({"a": 5}, clock())
    pass_time(clock, silences, 20, {"a": 5})
    assert silences.of("a") == timedelta(seconds=20)
    pass_time(clock, silences, 1, {"a": 6})
    assert silences.of("a") == timedelta(0)


def test_only_a_difference_counts_so_a_clock_that_is_set_back_is_no_silence(clock: Clock, silences: Silences) -> None:
    silences.look({"a": 5}, clock())
    for beat in (9_000, 1, 8):
        pass_time(clock, silences, 5, {"a": beat})
        assert silences.of("a") <= timedelta(seconds=4)


def test_after_a_time_without_looking_every_silence_starts_again(clock: Clock, silences: Silences) -> None:
    silences.look({"a": 5}, clock())
    pass_time(clock, silences, 10, {"a": 5})
    clock.at += 60
    silences.wrote()
    silences.look({"a": 5}, clock())
    assert silences.of("a") == timedelta(0)
    pass_time(clock, silences, 3, {"a": 5})
    assert silences.of("a") == timedelta(seconds=3)


def test_after_a_time_without_writing_every_silence_starts_again(clock: Clock, silences: Silences) -> None:
    silences.look({"a": 5}, clock())
    for _ in range(30):
        clock.at += 1
        silences.look({"a": 5}, clock())
    assert silences.of("a") <= timedelta(seconds=1)
    pass_time(clock, silences, 4, {"a": 5})
    assert silences.of("a") <= timedelta(seconds=5)


def test_what_an_answer_took_to_come_is_no_silence(clock: Clock, silences: Silences) -> None:
    silences.look({"a": 5}, clock())
    asked_at = clock()
    clock.at += 5
    silences.look({"a": 5}, asked_at)
    assert silences.of("a") == timedelta(0)


def test_who_was_there_before_us_is_doubtful_until_heard_of(clock: Clock, silences: Silences) -> None:
    silences.look({"a": 5}, clock())
    assert silences.is_doubtful("a")
    pass_time(clock, silences, 1, {"a": 5, "later": 1})
    assert (silences.is_doubtful("a"), silences.is_doubtful("later")) == (True, False)
    pass_time(clock, silences, 1, {"a": 6, "later": 1})
    assert not silences.is_doubtful("a")


def test_who_is_gone_is_forgotten(clock: Clock, silences: Silences) -> None:
    silences.look({"a": 5}, clock())
    pass_time(clock, silences, 5, {})
    assert (silences.of("a"), silences.is_doubtful("a")) == (timedelta(0), False)
