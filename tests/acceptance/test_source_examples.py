"""The examples of event sources, step for step as their READMEs say."""

from __future__ import annotations

import gzip
import json
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from tests import postgres_server
from tests.example import Example, Readme, buckets
from tests.installation import ROOT, Installation, eventually
from tests.postgres_server import PostgresServer

pytestmark = pytest.mark.slow


@pytest.fixture
def server() -> Iterator[Installation]:
    # Not below /tmp: functions have a /tmp of their own and would not see the buckets.
    with TemporaryDirectory(dir="/var/tmp") as directory, Installation(Path(directory)) as found:
        found.start("dev")
        yield found


def output(printed: str, name: str) -> str:
    """The value of one output of a deployment."""
    (line,) = [line for line in printed.splitlines() if line.strip().startswith(f"{name} = ")]
    return line.partition(" = ")[2].strip()


@pytest.mark.skipif(os.environ.get("PIP_NO_INDEX") == "1", reason="the driver cannot be installed without an index")
def test_the_web_api_keeps_items_in_its_table(server: Installation) -> None:
    example = Example("items-api", server, {"http://127.0.0.1:9000": server.url})
    deploy, create_and_list, by_route, wrong = example.steps
    url = output(example.run(deploy), "Url").rstrip("/")
    # names below localhost lead here in curl and browsers, not in every resolver: the path form needs none
    url_id = url.split("//")[1].split(".")[0]
    example.words["$URL"] = f"{server.url}/function-url/{url_id}"
    example.run(create_and_list)
    (item,) = httpx.get(f"{example.words['$URL']}/items").json()["items"]
    assert (item["name"], item["quantity"]) == ("bolt", 12)
    assert json.loads(example.run(by_route))["items"] == [item]
    assert "takes" in example.run(wrong)
    api = f"{server.url}/http-api/ItemsApi"
    changed = httpx.put(f"{api}/items/{item['id']}", json={"name": "nut", "quantity": 3})
    assert (changed.status_code, changed.json()["name"]) == (200, "nut")
    assert httpx.delete(f"{api}/items/{item['id']}").status_code == 204
    assert httpx.get(f"{api}/items/{item['id']}").status_code == 404
    assert httpx.patch(f"{api}/items/{item['id']}").status_code == 405
    preflight = httpx.options(
        f"{api}/items", headers={"origin": "http://page.test", "access-control-request-method": "POST"}
    )
    assert preflight.headers["access-control-allow-origin"] in ("*", "http://page.test")
    assert "unchanged" in example.run(deploy)


@pytest.mark.skipif(os.environ.get("PIP_NO_INDEX") == "1", reason="the driver cannot be installed without an index")
def test_the_web_api_keeps_items_in_postgresql() -> None:
    if not postgres_server.available():
        pytest.skip("PostgreSQL (apt-get install postgresql)")
    with (
        PostgresServer() as postgres,
        TemporaryDirectory(dir="/var/tmp") as directory,
        Installation(Path(directory)) as server,
    ):
        database = postgres.create_database().replace("postgresql+psycopg://", "postgresql://")
        address = urlsplit(database)
        # the database is on this host, which functions do not reach unasked
        server.start("dev", FNRUNNER_NETWORK_ALLOW=f"{address.hostname}:{address.port}")
        example = Example("items-api", server)
        runtime = example.words["python3.11"]
        example.run(f'fnrunner deploy --parameter-overrides "Runtime={runtime} DatabaseUrl={database}"')
        api = f"{server.url}/http-api/ItemsApi/items"
        made = httpx.post(api, json={"name": "bolt", "quantity": 1}, timeout=30)
        assert made.status_code == 201, made.text
        assert httpx.get(api).json()["items"] == [made.json()]


def test_the_readme_connects_a_function_in_one_line_each(server: Installation) -> None:
    readme = Readme(ROOT / "README.md", server.directory, server, {})
    (connect,) = [step for step in readme.steps if step.startswith("fnrunner stream create")]
    (rewind,) = [step for step in readme.steps if "streams rewind" in step]
    server.deploy("hello", "def handler(event, context):\n    print('got', event)\n    return {}\n", Timeout=20)
    readme.run(connect)
    eventually(lambda: "sensor-1" in server.command("logs", "hello").stdout)
    listed = readme.run(rewind.replace("rewind readings", "rewind --yes readings"))
    assert "readings" in listed
    assert "jobs" in listed
    assert "every-night" in server.command("schedule", "ls").stdout
    assert "hello" in server.command("url", "ls").stdout
    assert "hello" in server.command("topic", "ls").stdout


def table(server: Installation) -> dict[str, tuple[int, int]]:
    """Newest time and number of readings of each sensor."""
    path = buckets(server) / "sensors-data" / ".sensors.sqlite"
    if not path.exists():
        return {}
    with closing(sqlite3.connect(path)) as connection:
        return {name: (at, count) for name, at, count in connection.execute("SELECT name, at, readings FROM sensor")}


def test_the_readings_of_each_sensor_are_followed_in_order_and_a_broken_one_is_set_aside(server: Installation) -> None:
    example = Example("sensors", server)
    deploy, first, listed, second, letters, _ = example.steps
    assert "stream/readings" in example.run(deploy)
    example.run(first)
    eventually(lambda: sum(count for _, count in table(server).values()) == 500)
    assert "readings" in example.run(listed)
    example.run(second)
    eventually(lambda: sum(count for _, count in table(server).values()) == 999, within_s=120)
    assert sorted(at for at, _ in table(server).values()) == list(range(990, 1000))
    eventually(lambda: server.dead_letters("sensors"))
    shown = example.run(letters)
    assert "RetryAttemptsExhausted" in shown
    assert "KinesisBatchInfo" in shown
    (letter,) = server.dead_letters("sensors")
    story = example.run(f"fnrunner why {letter['event_id']}")
    assert "$.celsius is a string" in story
    balance: dict[str, Any] = server.balance("sensors")
    assert (balance["dead_lettered"], balance["missing"]) == (1, 0)


def test_the_nightly_job_packs_finished_days_by_hand_and_at_its_time(server: Installation) -> None:
    soon = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=15)
    example = Example("nightly", server, {"$SOON": f"{soon:%Y-%m-%dT%H:%M:%S}"})
    deploy, show, invoke, deploy_soon = example.steps
    logs = Path(output(example.run(deploy), "PutLogsInto"))
    logs.mkdir(parents=True, exist_ok=True)
    assert "cron(30 2 * * ? *)" in example.run(show)
    for day in ("2030-01-01", "2030-01-02"):
        (logs / f"{day}.log").write_text(day)
    assert "2030-01-01.log" in example.run(invoke)
    assert sorted(path.name for path in logs.iterdir()) == ["2030-01-01.log.gz", "2030-01-02.log"]
    assert gzip.decompress((logs / "2030-01-01.log.gz").read_bytes()) == b"2030-01-01"
    (logs / "2020-01-01.log").write_text("old")
    soon = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=30)
    example.words["$SOON"] = f"{soon:%Y-%m-%dT%H:%M:%S}"
    example.run(deploy_soon)
    eventually((logs / "2020-01-01.log.gz").exists)
    assert (logs / "2030-01-02.log").exists()
    balance = server.settled("nightly", 1)
    assert (balance["succeeded"], balance["missing"]) == (1, 0)
