"""The state machine: every transition that is not listed is refused."""

from __future__ import annotations

import itertools

import pytest

from fnrunner.worker.environment import EnvironmentState, InvalidTransition, transition

S = EnvironmentState
LISTED = {
    (S.STARTING, S.INITIALISING),
    (S.INITIALISING, S.IDLE),
    (S.IDLE, S.BUSY),
    (S.BUSY, S.IDLE),
    (S.STARTING, S.STOPPING),
    (S.INITIALISING, S.STOPPING),
    (S.IDLE, S.STOPPING),
    (S.BUSY, S.STOPPING),
    (S.STOPPING, S.GONE),
}


@pytest.mark.parametrize(("current", "following"), list(itertools.product(S, S)))
def test_only_listed_transitions_are_allowed(current: S, following: S) -> None:
    if (current, following) in LISTED:
        assert transition(current, following) is following
    else:
        with pytest.raises(InvalidTransition, match=f"{current.value} cannot become {following.value}"):
            transition(current, following)
