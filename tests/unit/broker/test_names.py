"""Names of queues and exchanges."""

from __future__ import annotations

from itertools import combinations

from hypothesis import given
from hypothesis import strategies as st

from broker import names

FUNCTIONS = st.from_regex(r"[A-Za-z0-9_-]{1,64}", fullmatch=True)
OF_A_FUNCTION = (names.events, names.requests, names.dead)
OF_A_NAME = (*OF_A_FUNCTION, names.replies, names.permits, names.control)


@given(FUNCTIONS)
def test_the_function_of_each_of_its_queues_is_found(function: str) -> None:
    assert [names.function_of(queue(function)) for queue in OF_A_FUNCTION] == [function] * 3


@given(FUNCTIONS)
def test_queues_of_no_function_belong_to_none(name: str) -> None:
    for other in (names.replies(name), names.permits(name), names.control(name), names.delay(1), names.ORPHANS, name):
        assert names.function_of(other) is None


@given(FUNCTIONS, FUNCTIONS)
def test_no_two_kinds_of_queue_share_a_name(one: str, two: str) -> None:
    for first, second in combinations(OF_A_NAME, 2):
        assert first(one) != second(two)


@given(FUNCTIONS)
def test_every_name_fits_in_amqp(name: str) -> None:
    assert all(len(queue(name).encode()) <= 255 for queue in OF_A_NAME)
