"""A RabbitMQ cluster of three nodes loses one under load: nothing is lost, and the pauses are short.

``FNRUNNER_TEST_CLUSTER_RATE`` are the events a second (40), ``FNRUNNER_TEST_CLUSTER_PARTITION_S`` how long the partition lasts
(12), ``FNRUNNER_TEST_CLUSTER_AROUND_S`` how long the load goes on before and after each fault (5). Figures: ``pytest -s``.
The nodes have a ``net_ticktime`` of 10 s, as the documentation of fnrunner asks for.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from broker import names
from tests.faults.steady_load import CODE, Runs, SteadyLoad
from tests.installation import Installation, eventually
from tests.rabbitmq_cluster import ClusterNode, RabbitMQCluster
from tests.rabbitmq_server import free_port

RATE = float(os.environ.get("FNRUNNER_TEST_CLUSTER_RATE", "40"))
PARTITION_S = float(os.environ.get("FNRUNNER_TEST_CLUSTER_PARTITION_S", "12"))
AROUND_S = float(os.environ.get("FNRUNNER_TEST_CLUSTER_AROUND_S", "5"))
WORKERS = 2
START_S = 180.0
LONGEST_GAP_KILLED_S = 15.0
LONGEST_GAP_CUT_OFF_S = 30.0
"""Leaders move when the nodes notice, after about 10 s: the rest is for a busy machine."""

pytestmark = pytest.mark.slow


@dataclass(frozen=True, slots=True)
class System:
    cluster: RabbitMQCluster
    installation: Installation
    ports: tuple[int, int]
    runs: Path

    def deploy(self, name: str) -> None:
        path = self.runs / name
        self.installation.deploy(name, CODE, Timeout=20, Environment={"Variables": {"RUNS": str(path)}})

    def leader(self, function: str) -> ClusterNode:
        return self.cluster.leader(names.events(function))

    def follower(self, function: str) -> ClusterNode:
        return self.cluster.follower(names.events(function))


def wait_ready(port: int) -> None:
    """Six processes start at a time."""
    ready = f"http://127.0.0.1:{port}/readyz"
    eventually(lambda: httpx.get(ready, timeout=5).status_code == 200, within_s=START_S)


@pytest.fixture(scope="module")
def system(rabbitmq_cluster: RabbitMQCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """Two APIs, two workers and two sources processes on the three nodes."""
    directory = tmp_path_factory.mktemp("cluster")
    runs = directory / "bucket"
    runs.mkdir()
    url = rabbitmq_cluster.make_vhost()
    with Installation(directory, url, FNRUNNER_BUCKETS=f"runs={runs}") as installation:
        second = free_port()
        installation.start("api", "api-1", wait=False)
        for n in range(WORKERS):
            installation.start("worker", f"worker-{n}", wait=False)
        for n in range(2):
            installation.start("sources", f"sources-{n}", wait=False)
        installation.start("api", "api-2", wait=False, FNRUNNER_PORT=str(second))
        wait_ready(installation.port)
        wait_ready(second)
        yield System(rabbitmq_cluster, installation, (installation.port, second), runs)


def run_under(system: System, function: str, fault: Callable[[], None], longest_gap_s: float) -> None:
    """Steady load before, during and after ``fault``; then the audit."""
    # an acceptance on three disks takes some time, whatever else is accepted meanwhile
    with SteadyLoad(system.ports, function, RATE, threads=max(8, int(RATE / 8))) as load:
        time.sleep(AROUND_S)
        assert load.accepted > 0
        fault()
        time.sleep(AROUND_S)
    sent = load.sent
    balance = system.installation.settled(function, len(sent.accepted), within_s=240)
    runs = Runs.read(system.runs / function)
    accepting, running = sent.longest_gap_s, runs.longest_gap_s(sent.begin, sent.end)
    print(
        f"\n{function}: {len(sent.accepted)} accepted in {sent.end - sent.begin:.0f} s, longest gap in accepting "
        f"{accepting:.1f} s, in running {running:.1f} s; refused {len(sent.refused)}, unanswered {len(sent.unanswered)}, "
        f"{len(runs.repeated)} ran more than once; {balance}"
    )
    lost = sent.accepted.keys() - runs.of.keys()
    assert not lost, [sent.accepted[n] for n in lost][:5]
    assert balance["missing"] == 0
    assert balance["dead_lettered"] == 0, system.installation.dead_letters(function)[:3]
    assert balance["accepted"] >= len(sent.accepted)
    assert accepting < longest_gap_s
    assert running < longest_gap_s


def test_the_node_with_the_leader_of_the_events_is_killed(system: System) -> None:
    system.deploy("leader-killed")
    leader = system.leader("leader-killed")

    def fault() -> None:
        leader.kill()
        time.sleep(AROUND_S)
        assert system.leader("leader-killed") is not leader
        leader.start()

    run_under(system, "leader-killed", fault, LONGEST_GAP_KILLED_S)
    system.cluster.wait_joined()


def test_a_node_without_the_leader_of_the_events_is_killed(system: System) -> None:
    system.deploy("follower-killed")
    follower = system.follower("follower-killed")

    def fault() -> None:
        follower.kill()
        time.sleep(AROUND_S)
        follower.start()

    run_under(system, "follower-killed", fault, LONGEST_GAP_KILLED_S)
    system.cluster.wait_joined()


def test_the_node_with_the_leader_of_the_events_is_cut_off_from_the_others(system: System) -> None:
    system.deploy("cut-off")

    def fault() -> None:
        with system.cluster.partition(system.leader("cut-off")):
            time.sleep(PARTITION_S)

    run_under(system, "cut-off", fault, LONGEST_GAP_CUT_OFF_S)
    system.cluster.wait_joined()
