"""What `fnrunner status` shows of a server's answer."""

from __future__ import annotations

import io
import json
from typing import Any

from fnrunner.cli.output import Output
from fnrunner.cli.status import problems, show, summary

WORKER = {"id": "w1", "host": "h", "zone": "a", "capacity": 4, "running": 3, "state": "alive"}
FUNCTION = {
    "function": "f",
    "backlog": 7,
    "ready": 4,
    "unsettled": 3,
    "running": 3,
    "limit": 4,
    "busy_share": 0.75,
    "oldest_event_age_s": 61.0,
}
BLOCKED = {"code": "broker-blocked", "part": "broker", "message": "blocked", "remedy": "free memory"}


def found(**more: Any) -> dict[str, Any]:
    return {
        "health": {"problems": []},
        "workers": [WORKER, {**WORKER, "id": "w2", "state": "draining"}, {**WORKER, "id": "w3", "zone": ""}],
        "processes": [],
        "load": {"taken_ms": 1, "capacity": 8, "running": 6, "busy_share": 0.75, "functions": [FUNCTION]},
        **more,
    }


def shown(document: dict[str, Any], *, as_json: bool = False) -> str:
    out = io.StringIO()
    show(document, Output(as_json, out))
    return out.getvalue()


def test_workers_zones_and_functions_are_shown() -> None:
    text = shown(found())
    assert "6 of 8 environments run (75 % busy)" in text
    assert list(summary(found()))[1:] == ["zone -: 1 worker with room for 4", "zone a: 1 worker with room for 4"]
    assert "w2      a     draining  3        4" in text
    assert "f         7        4      3        3        4   75 %  1 min 1 s" in text


def test_what_nobody_knows_yet_is_said() -> None:
    assert "The load is not known yet." in shown(found(load=None))
    unknown = {**FUNCTION, "oldest_event_age_s": None}
    assert shown(found(load={**found()["load"], "functions": [unknown]})).rstrip().endswith("?")
    assert "No workers." in shown(found(workers=[]))


def test_problems_of_all_processes_are_told_with_their_codes() -> None:
    others = [
        {"id": "p1", "roles": ["worker"], "state": "working", "problems": [BLOCKED]},
        {"id": "p2", "roles": ["worker"], "state": "silent", "problems": [BLOCKED]},
        {"id": "p3", "roles": ["api"], "state": "working", "problems": [BLOCKED]},
    ]
    document = found(health={"problems": [BLOCKED]}, processes=others)
    assert problems(document) == ["broker: blocked [broker-blocked]", "p1: broker: blocked [broker-blocked]"]
    assert "p1: broker: blocked [broker-blocked]" in shown(document)


def test_as_json_the_answer_is_printed_as_it_is() -> None:
    assert json.loads(shown(found(), as_json=True)) == found()
