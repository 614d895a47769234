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
            "fault",
        ),
    ],
)
def test_each_gap_and_fault_has_a_remedy(more: dict[str, Any], part: str, verdict: str) -> None:
    findings = list(told(status(**more)))
    assert verdicts(status(**more))[part] == verdict
    assert all(finding.remedy for finding in findings if finding.verdict is not Verdict.OK)
    assert any(finding.verdict is not Verdict.OK for finding in findings)


def test_problems_carry_their_codes_and_those_of_other_processes_their_names() -> None:
    blocked = {"part": "broker", "message": "blocked", "remedy": "free memory", "code": "broker-blocked"}
    lost = {"part": "worker", "message": "nothing comes", "remedy": "restart", "code": "connected-but-not-consuming"}
    processes = [
        {"id": "w1", "roles": ["worker"], "state": "working", "problems": [lost]},
        {"id": "w2", "roles": ["worker"], "state": "silent", "problems": [lost]},
    ]
    found = list(told(status(health={"roles": [], "problems": [blocked]}, processes=processes)))
    codes = {finding.code: finding.detail for finding in found if finding.verdict is Verdict.FAULT}
    assert codes == {"broker-blocked": "blocked", "connected-but-not-consuming": "w1: nothing comes"}


def test_a_broker_that_is_not_connected_is_a_fault_and_a_draining_worker_is_none() -> None:
    away = {"kind": "rabbitmq", "state": "blocked", "reason": "low on memory"}
    assert verdicts(status(broker=away))["broker"] == "fault"
    assert verdicts(status(workers=[WORKER, {**WORKER, "state": "draining"}]))["worker"] == "gap"


def test_what_stands_in_on_a_living_worker_is_a_gap() -> None:
    runtimes = {"python3.13": "python3.13", "python3.14": "python3.13"}
    assert "runtimes" not in verdicts(status(workers=[{**WORKER, "runtimes": {"python3.13": "python3.13"}}]))
    (found,) = (one for one in told(status(workers=[{**WORKER, "runtimes": runtimes}])) if one.part == "runtimes")
    assert (found.verdict, found.detail) == (
        Verdict.GAP,
        "on the host of w1, h, others stand in: python3.13 for python3.14",
    )
    silent = {**WORKER, "state": "silent", "runtimes": runtimes}
    assert "runtimes" not in verdicts(status(workers=[WORKER, silent]))


def test_a_part_whose_problem_the_server_tells_is_not_called_well_besides() -> None:
    full = {"part": "store", "message": "it takes no records: full", "remedy": "free disk", "code": "store-unavailable"}
    found = [one for one in told(status(health={"roles": [], "problems": [full]})) if one.part == "store"]
    assert [one.verdict for one in found] == [Verdict.FAULT]


@pytest.mark.parametrize(("free", "verdict"), [(10 << 30, "ok"), (1 << 20, "gap")])
def test_the_servers_disk_is_told_as_the_servers(free: int, verdict: str) -> None:
    disk = {"path": "/srv/fnrunner", "free_bytes": free}
    (found,) = (one for one in told(status(data_dir=disk, host="far")) if one.part == "server's data")
    assert found.verdict.value == verdict
    assert found.detail.startswith("/srv/fnrunner on the server's host, far: ")
    unknown = status(data_dir={**disk, "free_bytes": None}, host="far")
    assert "server's data" not in verdicts(unknown)


def test_few_open_files_are_a_gap() -> None:
    assert open_files(1024).verdict is Verdict.GAP
    assert open_files(65_536).verdict is Verdict.OK


def test_the_runtimes_of_the_workers_are_listed_where_a_server_answers() -> None:
    here = {**WORKER, "runtimes": {"python3.13": "python3.13", "python3.9": "python3.9", "python3.14": "python3.13"}}
    found = [one for one in told(status(workers=[here, {**here, "host": "g"}])) if one.part == "workers' runtimes"]
    assert [(one.verdict, one.detail) for one in found] == [(Verdict.OK, "python3.9, python3.13 on g, h")]
