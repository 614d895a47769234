from __future__ import annotations

import pytest

from sources.adapters.file import BucketWatch
from sources.errors import Misconfigured, NotAccepted, RootLost, WatchesExhausted
from sources.notification_filter import Notification
from sources.source import Condition, Health


def test_what_needs_a_person_is_not_ok() -> None:
    wrong = {c for c in Condition if not Health(c).ok}
    assert wrong == {Condition.DEGRADED, Condition.LAGGING, Condition.SILENT, Condition.OUTAGE, Condition.CLOSED}


def test_an_error_without_a_message_says_what_to_do() -> None:
    assert "same id" in str(NotAccepted())
    assert "fs.inotify.max_user_watches" in str(WatchesExhausted())
    assert str(RootLost("here")) == "here"


def test_contradictions_of_a_configuration_are_refused() -> None:
    with pytest.raises(Misconfigured, match="absolute"):
        BucketWatch("b", "relative")
    with pytest.raises(Misconfigured, match="same id"):
        BucketWatch("b", "/b", (Notification("n", "f"), Notification("n", "f", suffix=".jpg")))
    with pytest.raises(Misconfigured, match="existing"):
        BucketWatch("b", "/b", existing="maybe")  # type: ignore[arg-type]


def test_two_functions_may_call_their_notifications_alike() -> None:
    alike = (Notification("n", "f"), Notification("n", "g"))
    assert BucketWatch("b", "/b", alike).notifications == alike
