from dataclasses import dataclass, replace
from typing import cast

from broker.broker import Delivery
from broker.envelope import Envelope
from fnrunner.worker.execution import Admission, InFlight

EVENT = Envelope(id="1", function="f", payload=b"{}", accepted_at_ms=0)


@dataclass(frozen=True, eq=False)
class Arrived:
    redelivered: bool


def delivery(redelivered: bool = False) -> Delivery:
    return cast(Delivery, Arrived(redelivered))


def test_the_same_work_that_comes_again_joins_the_first() -> None:
    here, first, again = InFlight(), delivery(), delivery()
    assert here.admit(EVENT, first) is Admission.NEW
    assert here.admit(EVENT, again) is Admission.JOINED
    assert here.deliveries(EVENT) == [first, again]


def test_a_retry_or_a_redrive_is_other_work() -> None:
    here = InFlight()
    assert here.admit(EVENT, delivery()) is Admission.NEW
    for other in (replace(EVENT, attempt=1), replace(EVENT, redrives=1), replace(EVENT, throttles=1)):
        assert here.admit(other, delivery()) is Admission.NEW


def test_work_that_has_left_is_new_again_unless_it_was_remembered_as_settled() -> None:
    here = InFlight()
    here.admit(EVENT, delivery())
    here.leave(EVENT)
    assert here.admit(EVENT, delivery()) is Admission.NEW
    here.leave(EVENT)
    here.remember(EVENT)
    assert here.admit(EVENT, delivery(redelivered=True)) is Admission.SETTLED


def test_a_first_delivery_is_run_even_when_the_same_id_was_settled_before() -> None:
    here = InFlight()
    here.remember(EVENT)
    assert here.admit(EVENT, delivery()) is Admission.NEW


def test_what_is_remembered_is_bounded() -> None:
    here = InFlight(remembered=2)
    events = [replace(EVENT, id=str(i)) for i in range(3)]
    for event in events:
        here.remember(event)
    assert [here.admit(event, delivery(redelivered=True)) for event in events] == [
        Admission.NEW,
        Admission.SETTLED,
        Admission.SETTLED,
    ]
