from hypothesis import given
from hypothesis import strategies as st

from fnrunner.model.alias import Additional, Alias, ticket

TICKETS = [ticket(f"event-{number}", 0) for number in range(4000)]
SHARED = Alias("f", "live", "1", additional=Additional("2", 0.1))


def test_the_second_version_has_its_share_of_the_invocations() -> None:
    for weight in (0.1, 0.5, 0.9):
        alias = Alias("f", "live", "1", additional=Additional("2", weight))
        share = sum(alias.version_for(one) == "2" for one in TICKETS) / len(TICKETS)
        assert abs(share - weight) < 0.03, f"{weight} became {share}"


@given(st.text(), st.integers(0, 5))
def test_a_weight_of_nothing_or_all_leaves_nothing_to_chance(event_id: str, attempt: int) -> None:
    drawn = ticket(event_id, attempt)
    assert Alias("f", "live", "1", additional=Additional("2", 0.0)).version_for(drawn) == "1"
    assert Alias("f", "live", "1", additional=Additional("2", 1.0)).version_for(drawn) == "2"
    assert Alias("f", "live", "1").version_for(drawn) == "1"


@given(st.text(), st.integers(0, 5), st.floats(0, 1))
def test_the_same_attempt_always_draws_the_same_version(event_id: str, attempt: int, weight: float) -> None:
    alias = Alias("f", "live", "1", additional=Additional("2", weight))
    assert alias.version_for(ticket(event_id, attempt)) == alias.version_for(ticket(event_id, attempt))


def test_another_attempt_of_an_event_draws_anew() -> None:
    moved = [
        one for one in range(1000) if SHARED.version_for(ticket(str(one), 0)) != SHARED.version_for(ticket(str(one), 1))
    ]
    assert 100 < len(moved) < 260, "about 2 · 0.1 · 0.9 of them"


def test_more_weight_moves_invocations_only_towards_the_second_version() -> None:
    more = Alias("f", "live", "1", additional=Additional("2", 0.3))
    assert all(more.version_for(one) == "2" for one in TICKETS if SHARED.version_for(one) == "2")


def test_without_a_ticket_an_alias_is_its_first_version() -> None:
    assert Alias("f", "live", "1", additional=Additional("2", 1.0)).version_for("") == "1"
    assert SHARED.versions == ("1", "2")
    assert Alias("f", "live", "$LATEST").versions == ("$LATEST",)
