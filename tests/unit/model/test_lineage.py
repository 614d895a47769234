"""Counting how often an event has been through a function."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fnrunner.model import lineage


def test_each_function_is_counted_for_itself() -> None:
    header = "Root=1;Sampled=0"
    for function in ("a", "b", "a", "c", "a"):
        header = lineage.joined(header, lineage.counted(header, function))
    found = lineage.of(header)
    assert [lineage.times(found, function) for function in "abcd"] == [3, 1, 1, 0]
    assert header.count("Lineage=") == 1


def test_who_came_up_last_is_remembered_when_there_are_too_many() -> None:
    header = ""
    for number in range(40):
        header = lineage.joined(header, lineage.counted(header, "loop"))
        header = lineage.joined(header, lineage.counted(header, f"other-{number}"))
    assert lineage.times(lineage.of(header), "loop") == 40
    assert len(header) < 400


def test_a_ring_of_any_length_comes_to_an_end() -> None:
    for length in (1, 16, 17, 40):
        header, rounds = "", 0
        while lineage.total(lineage.of(header)) <= lineage.LONGEST:
            header = lineage.joined(header, lineage.counted(header, f"f-{rounds % length}"))
            rounds += 1
        assert rounds == lineage.LONGEST + 1
        assert len(header) < 400


def test_a_count_stays_one_that_can_be_read() -> None:
    found = lineage.counted("Lineage=00000000:99999," + lineage.counted("", "f").replace(":1", ":99999"), "f")
    assert lineage.times(found, "f") == 99999


@pytest.mark.parametrize(
    "foreign", ["Lineage=", "Lineage=25:a87bd80c:1", "Lineage=x", "Lineage=252f10c8:-1", "Lineage"]
)
def test_what_others_write_counts_nothing(foreign: str) -> None:
    assert lineage.times(lineage.counted(f"Root=1;{foreign}", "f"), "f") == 1


@given(st.text(), st.text(max_size=8))
def test_no_header_is_too_strange(header: str, function: str) -> None:
    assert lineage.times(lineage.counted(header, function), function) >= 1
    assert lineage.of(lineage.joined(header, "252f10c8:2")) == "252f10c8:2"
