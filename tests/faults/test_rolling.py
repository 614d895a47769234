"""Processes are replaced one after another under load, by the same release and by the next one.

``FNRUNNER_TEST_ROLLING_RATE`` are the events a second (40). Figures: ``pytest -s``.
"""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from broker import envelope
from tests.faults.steady_load import CODE, Runs, SteadyLoad
from tests.installation import ROOT, Installation, eventually
from tests.rabbitmq_server import free_port

RATE = float(os.environ.get("FNRUNNER_TEST_ROLLING_RATE", "40"))
PACKAGES = ("broker", "sources", "fnrunner")
AROUND_S = 1.0
START_S = 180.0

pytestmark = pytest.mark.slow


@dataclass(frozen=True, slots=True)
class Fleet:
    """Two APIs, two workers, two sources processes."""

    installation: Installation
    ports: tuple[int, int]
    runs: Path

    def start(self, role: str, n: int, **settings: str) -> None:
        """The ``n``-th of its role, and ready."""
        name = f"{role}-{n}"
        before = self._starts(name)
        if role == "api":
            settings["FNRUNNER_PORT"] = str(self.ports[n])
        self.installation.start(role, name, wait=False, **settings)
        eventually(lambda: self._starts(name) > before, within_s=START_S)
        if role == "api":
            ready = f"http://127.0.0.1:{self.ports[n]}/readyz"
            eventually(lambda: httpx.get(ready, timeout=5).status_code == 200, within_s=START_S)

    def _starts(self, name: str) -> int:
        """How often a process of this name has said that it works."""
        if not (self.installation.directory / f"{name}.log").exists():
            return 0
        return len(re.findall(r"^fnrunner .* (?:answers on|works for) ", self.installation.log(name), re.MULTILINE))

    def replace(self, role: str, n: int, **settings: str) -> None:
        """SIGTERM, and a new one when it has ended."""
        assert self.installation.stop(f"{role}-{n}") == 0, self.installation.log(f"{role}-{n}")[-3000:]
        self.start(role, n, **settings)

    def gave_up_waiting(self) -> bool:
        """A worker's time to end ran out, which a very busy machine may do: it says so, and gives back what it had."""
        return any("did not end in time" in self.installation.log(f"worker-{n}") for n in range(2))

    def deploy(self, name: str) -> Path:
        path = self.runs / name
        self.installation.deploy(name, CODE, Timeout=20, Environment={"Variables": {"RUNS": str(path)}})
        return path


@pytest.fixture
def fleet(rabbitmq_url: str, tmp_path: Path) -> Iterator[Fleet]:
    runs = tmp_path / "bucket"
    runs.mkdir()
    with Installation(tmp_path, rabbitmq_url, FNRUNNER_BUCKETS=f"runs={runs}") as installation:
        found = Fleet(installation, (installation.port, free_port()), runs)
        for role in ("api", "worker", "sources"):
            for n in range(2):
                found.start(role, n)
        yield found


def test_every_process_is_restarted_in_turn_and_no_caller_and_no_event_notices(fleet: Fleet) -> None:
    path = fleet.deploy("f")
    with SteadyLoad(fleet.ports, "f", RATE, threads=4, pause_ms=20) as load:
        time.sleep(AROUND_S)
        for n in range(2):
            for role in ("worker", "api", "sources"):
                fleet.replace(role, n)
        time.sleep(AROUND_S)
    sent = load.sent
    balance = fleet.installation.settled("f", len(sent.accepted))
    runs = Runs.read(path)
    print(
        f"\n{len(sent.accepted)} accepted in {sent.end - sent.begin:.0f} s, longest gap in accepting "
        f"{sent.longest_gap_s:.2f} s, in running {runs.longest_gap_s(sent.begin, sent.end):.2f} s; {balance}"
    )
    assert sent.refused == []
    assert sent.unanswered == []
    assert sent.accepted.keys() == runs.of.keys()
    assert not runs.repeated or fleet.gave_up_waiting(), runs.repeated
    assert balance["accepted"] == balance["succeeded"] == len(sent.accepted)
    assert balance["missing"] == 0


@pytest.fixture
def next_release(tmp_path: Path) -> Path:
    """A copy of the tree that writes the next version of the envelope, and reads that one too."""
    tree = tmp_path / "next"
    for package in PACKAGES:
        shutil.copytree(ROOT / package, tree / package, ignore=shutil.ignore_patterns("__pycache__"))
    module = tree / "broker" / "envelope.py"
    before = module.read_text()
    after = before.replace(f"\nVERSION = {envelope.VERSION}\n", f"\nVERSION = {envelope.VERSION + 1}\n")
    assert after != before
    module.write_text(after)
    return tree


def test_two_releases_side_by_side_lose_nothing_and_charge_nothing(fleet: Fleet, next_release: Path) -> None:
    path = fleet.deploy("f")
    newer = {"PYTHONPATH": str(next_release)}
    with SteadyLoad(fleet.ports, "f", RATE, threads=4) as load:
        time.sleep(AROUND_S)
        # Half of each role: old workers get envelopes that they do not read, and new ones get old ones.
        for role in ("worker", "api", "sources"):
            fleet.replace(role, 0, **newer)
        eventually(lambda: "cannot be read" in fleet.installation.log("worker-1"))
        time.sleep(AROUND_S)
        for role in ("worker", "api", "sources"):
            fleet.replace(role, 1, **newer)
        time.sleep(AROUND_S)
    sent = load.sent
    balance = fleet.installation.settled("f", len(sent.accepted), within_s=120)
    runs = Runs.read(path)
    aside = fleet.installation.log("worker-1").count("cannot be read")
    print(f"\n{len(sent.accepted)} accepted, {aside} put aside by an old worker; {balance}")
    assert sent.refused == []
    assert sent.unanswered == []
    assert sent.accepted.keys() == runs.of.keys()
    assert not runs.repeated or fleet.gave_up_waiting(), runs.repeated
    assert balance["accepted"] == balance["succeeded"] == len(sent.accepted)
    assert balance["missing"] == 0
    story = fleet.installation.story(next(iter(sent.accepted.values()))[0])
    assert len(story["attempts"]) == 1
