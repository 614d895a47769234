from __future__ import annotations

import doctest
import importlib

import pytest

MODULES = (
    "message_groups", "queue_attributes", "queue_concurrency", "queue_handling", "queue_settlement", "rmq_message",
    "sqs_message",
)  # fmt: skip


@pytest.mark.parametrize("module", MODULES)
def test_the_examples_are_true(module: str) -> None:
    result = doctest.testmod(importlib.import_module(f"sources.{module}"))
    assert (result.failed, result.attempted > 0) == (0, True)
