"""A worker or a sources process that cannot work for too long ends with status 75 and says why: it does not linger."""

from __future__ import annotations

import time
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.faults.gate import CODE, Gate
from tests.faults.proxy import Proxy
from tests.installation import Installation, eventually

pytestmark = pytest.mark.slow

GIVE_UP_S = 3.0


def test_without_a_broker_workers_and_sources_give_up_after_their_patience_and_the_api_stays(
    rabbitmq_url: str, tmp_path: Path
) -> None:
    parts = urlsplit(rabbitmq_url)
    proxy = Proxy(parts.port or 5672)
    url = parts._replace(netloc=f"{parts.username}:{parts.password}@127.0.0.1:{proxy.port}").geturl()
    settings = {"FNRUNNER_GIVE_UP_S": str(GIVE_UP_S), "FNRUNNER_DRAIN_TIMEOUT_S": "4"}
    try:
        with Installation(tmp_path, url, FNRUNNER_NETWORK="host", **settings) as installation, Gate() as gate:
            processes = {role: installation.start(role) for role in ("worker", "sources")}
            api = installation.start("api")
            installation.deploy("f", CODE, Timeout=120)
            assert eventually(lambda: installation.call("f", {})[0] == 200)
            # what runs keeps the worker for the time of draining, in which it can be asked
            installation.send("f", gate.event)
            gate.until_waiting(1)
            proxy.deaf(True)
            began = time.monotonic()
            proxy.cut()
            eventually(lambda: "broker-disconnected" in installation.codes("worker"), every_s=0.05)
            _, told = eventually(lambda: (found := installation.health("worker", "healthz"))[0] == 503 and found)
            assert time.monotonic() - began >= GIVE_UP_S
            assert (told["status"], told["alive"]) == ("failing", False)
            assert "giving-up" in {problem["code"] for problem in told["problems"]}
            for role, process in processes.items():
                assert process.wait(timeout=60) == 75, installation.log(role)
                fault, remedy = installation.log(role).rstrip().splitlines()[-2:]
                assert fault.startswith("fnrunner: unable to work for"), fault
                assert "broker: disconnected" in fault
                assert "Start it again" in remedy
            assert api.poll() is None
            assert installation.health("api")[0] == 503
            assert installation.health("api", "healthz")[0] == 200
    finally:
        proxy.close()
