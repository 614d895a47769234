"""What the server says of itself becomes findings, each gap with its remedy."""

from __future__ import annotations

from typing import Any

import pytest

from fnrunner import __version__
from fnrunner.cli.doctor import told
from fnrunner.cli.host import Verdict, open_files

WORKER = {"id": "w1", "host": "h", "capacity": 16, "state": "alive"}


def status(**more: Any) -> dict[str, Any]:
    return {
        "version": __version__,
        "python": "3.12.1",
        "health": {"status": "ok", "roles": ["api"], "problems": []},
        "broker": {"kind": "rabbitmq", "state": "connected", "reason": ""},
        "store": {"kind": "sqlite", "fault": ""},
        "workers": [WORKER],
        **more,
    }


def verdicts(document: dict[str, Any]) -> dict[str, str]:
    return {finding.part: finding.verdict.value for finding in told(document)}


def test_a_server_that_is_well_has_only_good_findings() -> None:
    assert set(verdicts(status()).values()) == {"ok"}


@pytest.mark.parametrize(
    ("more", "part", "verdict"),
    [
        ({"version": "0.0.0"}, "server", "gap"),
        ({"workers": []}, "workers", "fault"),
        ({"workers": [WORKER, {**WORKER, "state": "silent"}]}, "worker", "gap"),
        ({"store": {"kind": "postgresql", "fault": "no route"}}, "store", "fault"),
        (
            {"health": {"roles": [], "problems": [{"part": "broker", "message": "away", "remedy": "start it"}]}},
            "broker",
            "ok",
        ),
    ],
)
def test_each_gap_and_fault_has_a_remedy(more: dict[str, Any], part: str, verdict: str) -> None:
    findings = list(told(status(**more)))
    assert verdicts(status(**more))[part] == verdict
    assert all(finding.remedy for finding in findings if finding.verdict is not Verdict.OK)
    assert any(finding.verdict is not Verdict.OK for finding in findings)


def test_few_open_files_are_a_gap() -> None:
    assert open_files(1024).verdict is Verdict.GAP
    assert open_files(65_536).verdict is Verdict.OK
