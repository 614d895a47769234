"""The sensors example counts each reading once, whether it comes in order, twice, or late because it was set aside."""

from __future__ import annotations

import base64
import json
import runpy
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
Give = Callable[..., None]


@pytest.fixture
def give(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Give:
    monkeypatch.setenv("DATA_DIR", str(tmp_path))
    handler = runpy.run_path(str(ROOT / "examples" / "sensors" / "app.py"))["handler"]

    def call(*sequences: int, celsius: object = 20.0) -> None:
        handler({"Records": [record(one, celsius) for one in sequences]}, None)

    return call


def record(sequence: int, celsius: object) -> dict[str, Any]:
    data = json.dumps({"sensor": "s", "at": sequence, "celsius": celsius}).encode()
    return {
        "eventID": f"shardId-0:{sequence}",
        "kinesis": {"sequenceNumber": str(sequence), "data": base64.b64encode(data).decode()},
    }


def kept(tmp_path: Path) -> tuple[int, float, float, float, int]:
    with closing(sqlite3.connect(tmp_path / ".sensors.sqlite")) as connection:
        found: tuple[int, float, float, float, int] = connection.execute(
            "SELECT at, celsius, low, high, readings FROM sensor"
        ).fetchone()
        return found


def test_what_comes_twice_counts_once(give: Give, tmp_path: Path) -> None:
    give(0, 1, 2)
    give(0, 1, 2, 3)
    assert kept(tmp_path) == (3, 20.0, 20.0, 20.0, 4)


def test_a_reading_that_was_set_aside_counts_once_when_it_is_redriven(give: Give, tmp_path: Path) -> None:
    give(0, 1)
    with pytest.raises(ValueError, match="out of order"):
        give(2, celsius="out of order")
    give(5, 6)
    give(3, celsius=25.0)
    give(3, celsius=25.0)
    assert kept(tmp_path) == (6, 20.0, 20.0, 25.0, 5)
    give(2, celsius=15.0)
    give(4)
    give(2, 3, 4, 5, 6)
    assert kept(tmp_path) == (6, 20.0, 15.0, 25.0, 7)


def test_a_reading_that_is_older_than_the_one_before_is_refused(give: Give, tmp_path: Path) -> None:
    give(0, 7)
    data = base64.b64encode(json.dumps({"sensor": "s", "at": 3, "celsius": 1}).encode()).decode()
    late = {"eventID": "shardId-0:8", "kinesis": {"sequenceNumber": "8", "data": data}}
    handler = runpy.run_path(str(ROOT / "examples" / "sensors" / "app.py"))["handler"]
    with pytest.raises(ValueError, match="a reading of 3 came after one of 7"):
        handler({"Records": [late]}, None)
