"""A minute under most kinds of faults: everything that was accepted is accounted for, and a worker that cheats is found out.

``FNRUNNER_TEST_SOAK_SEED`` and ``FNRUNNER_TEST_SOAK_S`` choose another plan than the one that is always run;
``python -m tests.faults.soak`` runs longer ones.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.faults.soak import plan
from tests.faults.soak.fault import Fault
from tests.faults.soak.operation import Behaviour, Operation
from tests.faults.soak.plan import Plan, Terms
from tests.faults.soak.session import Session
from tests.faults.soak.system import abilities
from tests.rabbitmq_server import RabbitMQServer

pytestmark = pytest.mark.slow

SEED = int(os.environ.get("FNRUNNER_TEST_SOAK_SEED", "11"))
DURATION_S = float(os.environ.get("FNRUNNER_TEST_SOAK_S", "40"))

HASTY_WORKER = """
import asyncio, sys
from fnrunner.cli.main import main
from fnrunner.worker.executor import Executor

settle, acknowledge = Executor._settle, Executor._acknowledge

async def hasty(self, execution):
    await acknowledge(self, execution)
    await asyncio.sleep(0.3)  # the time that a busy broker takes to confirm
    return await settle(self, execution)

async def done_already(self, execution):
    pass

Executor._settle, Executor._acknowledge = hasty, done_already
sys.exit(main())
"""
"""A worker that acknowledges a delivery before what follows from it has been confirmed."""


@pytest.fixture
def directory() -> Iterator[Path]:
    # Not below /tmp: functions have a /tmp of their own and would not see where they write.
    with TemporaryDirectory(dir="/var/tmp") as found:
        yield Path(found)


def test_everything_is_accounted_for_under_most_kinds_of_faults(
    private_rabbitmq: RabbitMQServer, directory: Path
) -> None:
    terms = Terms(seed=SEED, duration_s=DURATION_S, rate=12, fault_every_s=1.6)
    made = plan.make(replace(terms, abilities=abilities(terms)))
    summary = Session(directory, made, print, rabbitmq=private_rabbitmq).run()
    print("\n".join(summary.lines()))
    # on a busy machine the broker takes its time to come back, and much is refused meanwhile
    assert summary.figures["accepted"] > 30
    assert len(summary.figures["faults_by_kind"]) >= 8
    assert not summary.figures["faults_that_failed"]
    assert summary.balanced, "\n".join(summary.lines())


def test_a_worker_that_acknowledges_before_the_confirm_is_found_out(
    private_rabbitmq: RabbitMQServer, directory: Path
) -> None:
    terms = Terms(seed=1, duration_s=12, rate=10, workers=1, abilities=("rabbitmq",))
    kills = tuple(Fault(n, "kill", "worker-0", 3.0 + 4 * n, 0.1, 0.0) for n in range(2))
    flaky = tuple(Operation(n, Behaviour.FLAKY, n / 10, 20) for n in range(100))
    program = (sys.executable, "-c", HASTY_WORKER)
    session = Session(
        directory, Plan(terms, kills, flaky), print, rabbitmq=private_rabbitmq, worker_program=program, standstill_s=8
    )
    summary = session.run()
    print("\n".join(summary.lines()))
    assert summary.missing > 0
    assert {"I1", "I2"} <= {finding.invariant for finding in summary.findings}
    assert any("neither succeeded nor became a dead letter" in line for line in summary.lines())
