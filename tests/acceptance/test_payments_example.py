"""The payments example, step for step as its README says."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.example import Example, buckets
from tests.installation import Installation, eventually

pytestmark = pytest.mark.slow


@pytest.fixture
def server() -> Iterator[Installation]:
    # Not below /tmp: functions have a /tmp of their own and would not see the bucket.
    with TemporaryDirectory(dir="/var/tmp") as directory, Installation(Path(directory)) as found:
        found.start("dev")
        yield found


def is_empty(server: Installation, queue: str) -> bool:
    (found,) = [
        each for each in json.loads(server.command("queue", "ls", "--json").stdout)["queues"] if each["name"] == queue
    ]
    return found["ready"] == 0 and not found["unsettled"]


def test_an_order_is_paid_once_however_often_it_comes_and_whatever_is_killed(server: Installation) -> None:
    example = Example("payments", server)
    deploy, same_order, accounts, stalled_order, accounts_again, wrong_amount = example.steps
    receipts = buckets(server) / "payments-data"
    assert f"Receipts = {receipts}" in example.run(deploy)
    example.run(same_order)
    eventually((receipts / "o-1.txt").exists)
    eventually(lambda: is_empty(server, "orders"))
    assert json.loads(example.run(accounts)) == {"customer": -500, "shop": 500}
    example.run(stalled_order)
    eventually((receipts / "o-2.txt").exists)
    assert json.loads(example.run(accounts_again)) == {"customer": -1200, "shop": 1200}
    example.run(wrong_amount)
    eventually(lambda: not is_empty(server, "refused-orders"))
    assert "900" in server.command("queue", "receive", "refused-orders").stdout
    logs = server.command("logs", "payments").stdout
    assert "Task timed out" in logs
    assert "IdempotencyValidationError" in logs
    assert json.loads(example.run(accounts_again)) == {"customer": -1200, "shop": 1200}
    assert {file.name: len(file.read_text().splitlines()) for file in receipts.glob("o-*")} == {
        "o-1.txt": 1,
        "o-2.txt": 1,
    }
