from hypothesis import given
from hypothesis import strategies as st

from fnrunner.worker.assignment import Seat, Start, decide, expired

LATEST = ("f", "$LATEST")

seats = st.lists(
    st.builds(
        Seat,
        st.uuids().map(str),
        st.tuples(st.sampled_from("fgh"), st.sampled_from(["$LATEST", "1"])),
        st.sampled_from(["k1", "k2", "k3"]),
        st.floats(0, 1000, allow_nan=False),
    ),
    max_size=8,
    unique_by=lambda seat: seat.environment_id,
)


@given(seats, st.integers(0, 4), st.integers(1, 12))
def test_a_start_evicts_exactly_when_there_is_no_room(idle: list[Seat], busy: int, capacity: int) -> None:
    decision = decide("none-has-this", LATEST, idle, alive=len(idle) + busy, capacity=capacity)
    assert isinstance(decision, Start)
    full = len(idle) + busy >= capacity
    assert bool(decision.evict) == (full and bool(idle))


def test_a_cold_start_says_why() -> None:
    def why(**given: object) -> str:
        decision = decide("k2", LATEST, given.pop("idle", []), alive=0, capacity=9, **given)  # type: ignore[arg-type]
        assert isinstance(decision, Start)
        return decision.cold_reason

    assert why() == "first"
    assert why(busy=1) == "scaled"
    assert why(lost="crashed") == "crashed"
    assert why(lost="recycled") == "recycled"
    assert why(idle=[Seat("e", LATEST, "k1", 0.0)]) == "reload"


def test_outdated_code_is_evicted_before_anything_that_may_run_again() -> None:
    idle = [Seat("other", ("g", "$LATEST"), "k9", 1.0), Seat("outdated", LATEST, "k1", 5.0)]
    assert decide("k2", LATEST, idle, alive=2, capacity=2) == Start("outdated", "reload")


def test_another_version_of_the_function_is_not_outdated_code() -> None:
    idle = [Seat("other", ("g", "$LATEST"), "k9", 1.0), Seat("published", ("f", "1"), "k1", 5.0)]
    assert decide("k2", LATEST, idle, alive=2, capacity=2) == Start("other", "first")


def test_only_what_was_unused_for_longer_than_the_timeout_expires() -> None:
    idle = [Seat("a", LATEST, "k", 0.0), Seat("b", LATEST, "k", 95.0)]
    assert expired(idle, now=100.0, idle_timeout_s=10.0) == ["a"]
