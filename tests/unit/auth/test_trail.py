"""The log of calls: nobody waits for it, nothing is lost silently, and secrets are not in it."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from typing import Any

import pytest

from fnrunner.auth.call import MAX_PARAMETERS_CHARS, Call, shown
from fnrunner.auth.trail import STRANGERS, Trail
from fnrunner.store.errors import StoreUnavailable


def call(number: int = 1, **more: Any) -> Call:
    values = {
        "at_ms": 1_000, "request_id": f"r{number}", "principal": "arn:aws:iam::1:user/a", "access_key": "AKIA1",
        "service": "lambda", "operation": "CreateFunction", "resource": "*", "parameters": "{}", "source_ip": "127.0.0.1",
        "user_agent": "test", "status": 201, "error_code": "",
    }  # fmt: skip
    return Call(**(values | more))


class FailingStore:
    """Fails as often as it is told, then takes everything. It holds the batches that it was given."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.written = 0

    async def write(self, work: Callable[[Any], Any]) -> None:
        await asyncio.sleep(0)
        if self.errors:
            raise self.errors.pop(0)
        work(self)

    def execute(self, _: object, rows: list[dict[str, Any]]) -> None:
        self.written += len(rows)


async def test_records_wait_while_the_store_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fnrunner.auth.trail.PAUSE", type("Short", (), {"total_seconds": lambda self: 0.001})())
    store = FailingStore(StoreUnavailable(), StoreUnavailable())
    trail = Trail(store)  # type: ignore[arg-type]
    trail.start()
    for number in range(3):
        trail.add(call(number))
    async with asyncio.timeout(10):
        await trail.written()
    assert (store.written, trail.problem) == (3, "")
    await trail.close()


async def test_what_does_not_fit_is_in_the_processs_log(caplog: pytest.LogCaptureFixture) -> None:
    store = FailingStore()
    trail = Trail(store, max_waiting=2)  # type: ignore[arg-type]
    with caplog.at_level(logging.ERROR, "fnrunner.trail"):
        for number in range(3):
            trail.add(call(number))
    assert '"request_id": "r2"' in caplog.text
    assert trail.problem
    await trail.close()
    assert store.written == 2


async def test_what_no_store_takes_is_in_the_log_and_does_not_hold_up_the_rest(
    caplog: pytest.LogCaptureFixture,
) -> None:
    store = FailingStore(ValueError("no"))
    trail = Trail(store)  # type: ignore[arg-type]
    trail.start()
    trail.add(call(1))
    async with asyncio.timeout(10):
        await trail.written()
    assert '"request_id": "r1"' in caplog.text
    trail.add(call(2))
    async with asyncio.timeout(10):
        await trail.written()
    assert store.written == 1
    await trail.close()
    await trail.close()


async def test_strangers_cannot_fill_the_store(caplog: pytest.LogCaptureFixture) -> None:
    store = FailingStore()
    trail = Trail(store)  # type: ignore[arg-type]
    for number in range(STRANGERS + 5):
        trail.add(call(number, principal="", status=403))
    trail.add(call(99, at_ms=2_000, principal="", status=403))
    trail.add(call(100, status=403))
    await trail.close()
    assert store.written == STRANGERS + 2
    assert "5 refused calls" in caplog.text


def test_secrets_are_not_shown() -> None:
    params = {
        "FunctionName": "f", "Code": {"ZipFile": b"PK", "S3Bucket": "b"}, "Payload": "hunter2", "SecretAccessKey": "hunter2",
        "Environment": {"Variables": {"A": "hunter2"}}, "nested": {"password": ["hunter2"]}, "list": [{"token": "hunter2"}],
    }  # fmt: skip
    text = shown(params)
    assert "hunter2" not in text
    assert json.loads(text)["Environment"] == {"A": "***"}
    assert json.loads(text)["Code"] == {"ZipFile": "***", "S3Bucket": "b"}


@pytest.mark.parametrize("value", ["x" * 100_000, ["y" * 500] * 1000, {str(n): "z" * 500 for n in range(1000)}])
def test_what_is_long_is_cut(value: Any) -> None:
    text = shown({"a": value})
    assert len(text) <= MAX_PARAMETERS_CHARS + 200
    json.loads(text)
