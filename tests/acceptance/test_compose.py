"""The compose stack, for real: it starts, a file is dropped, and the whole trace of the failing one is in Jaeger."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.conftest import missing
from tests.installation import ROOT, eventually
from tests.rabbitmq_server import free_port

pytestmark = pytest.mark.slow

IMAGES = ("rabbitmq:4-management", "postgres:17", "jaegertracing/jaeger:2", "python:3.13-slim")


@dataclass(frozen=True)
class Stack:
    """A running stack: the buckets' directory, and where API and Jaeger answer."""

    buckets: Path
    api: str
    jaeger: str

    def fnrunner(self, *words: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "fnrunner", *words],
            env={**os.environ, "PYTHONPATH": str(ROOT), "FNRUNNER_ENDPOINT_URL": self.api},
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


def there(image: str) -> bool:
    return subprocess.run(["docker", "image", "inspect", image], capture_output=True, check=False).returncode == 0


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    works = (
        shutil.which("docker")
        and not subprocess.run(["docker", "compose", "version"], capture_output=True, check=False).returncode
    )
    if not works or not all(map(there, IMAGES)):
        missing("docker compose with the images of compose.yaml", required=False)
    buckets = tmp_path_factory.mktemp("buckets")
    for name in ("photos", "thumbnails"):
        (buckets / name).mkdir()
    # the containers' user is not ours
    for directory in (buckets, *buckets.iterdir(), *buckets.parents):
        if directory.is_relative_to(tmp_path_factory.getbasetemp().parent.parent) and directory != Path("/tmp"):
            directory.chmod(0o777)
    api, jaeger = free_port(), free_port()
    environ = {
        **os.environ,
        "COMPOSE_PROJECT_NAME": f"fnrunner-test-{uuid.uuid4().hex[:8]}",
        "RABBITMQ_PASSWORD": uuid.uuid4().hex,
        "POSTGRES_PASSWORD": uuid.uuid4().hex,
        "FNRUNNER_PUBLISHED_PORT": str(api),
        "JAEGER_PORT": str(jaeger),
        "RABBITMQ_MANAGEMENT_PORT": str(free_port()),
        "FNRUNNER_BUCKETS_DIR": str(buckets),
        "FNRUNNER_RETRY_DELAYS_S": "1,2",
    }

    def compose(*words: str, check: bool = True) -> None:
        command = ["docker", "compose", "--file", str(ROOT / "compose.yaml"), *words]
        done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False, timeout=600)
        if check and done.returncode:
            logs = subprocess.run(
                [*command[:4], "logs", "--tail", "30"], env=environ, capture_output=True, text=True, check=False
            )
            pytest.fail(f"docker compose {' '.join(words)}: {done.stdout}{done.stderr}\n{logs.stdout[-6000:]}")

    try:
        compose("up", "--build", "--detach", "--wait", "--wait-timeout", "300")
        yield Stack(buckets, f"http://127.0.0.1:{api}", f"http://127.0.0.1:{jaeger}")
    finally:
        compose("down", "--volumes", "--timeout", "20", check=False)


def tree(spans: list[dict[str, Any]]) -> str:
    """The trace as indented names, children under their parents in the order of time, links behind an arrow."""
    parents = {
        span["spanID"]: next((r["spanID"] for r in span["references"] if r["refType"] == "CHILD_OF"), None)
        for span in spans
    }
    known = set(parents)
    lines: list[str] = []

    def show(parent: str | None, depth: int) -> None:
        for span in sorted(spans, key=lambda s: s["startTime"]):
            above = parents[span["spanID"]]
            if (above if above in known else None) == parent:
                tags = {tag["key"]: tag["value"] for tag in span["tags"]}
                told = [
                    str(tags[k])
                    for k in ("span.kind", "fnrunner.attempt", "fnrunner.outcome", "error.type")
                    if k in tags
                ]
                links = sum(r["refType"] == "FOLLOWS_FROM" for r in span["references"])
                lines.append("  " * depth + span["operationName"] + f"  [{', '.join(told)}]" + " ─► link" * links)
                show(span["spanID"], depth + 1)

    show(None, 0)
    return "\n".join(lines)


def test_a_dropped_file_runs_and_the_failing_one_is_one_trace_from_source_to_redrive(stack: Stack) -> None:
    template = str(ROOT / "examples" / "thumbnails")
    stack.fnrunner("deploy", template, "--parameter-overrides", "Runtime=python3.13")
    make = [sys.executable, str(ROOT / "examples" / "thumbnails" / "make_photos.py"), str(stack.buckets / "photos")]
    subprocess.run(make, check=True, capture_output=True)
    eventually(lambda: len(list((stack.buckets / "thumbnails").glob("photo-*"))) == 6)
    with httpx.Client(base_url=f"{stack.api}/fnrunner/v1", timeout=60) as admin:

        def held() -> list[dict[str, Any]]:
            found: list[dict[str, Any]] = admin.get("/functions/thumbnail/dead-letters").json()["dead_letters"]
            return found

        [letter] = eventually(held)
        assert letter["error_type"] == "OSError"
        stack.fnrunner("dlq", "redrive", "thumbnail", "--all")
        # the file is still broken: after three more attempts it is a dead letter again
        eventually(held, within_s=60)
    trace_id = letter["traceparent"].split("-")[1]

    def whole() -> list[dict[str, Any]] | None:
        found = httpx.get(f"{stack.jaeger}/api/traces", params={"service": "fnrunner", "limit": 100}, timeout=30).json()
        spans = [span for trace in found["data"] for span in trace["spans"] if span["traceID"] == trace_id]
        # two rounds of three attempts, each with its process span
        done = sum(span["operationName"] == "process fnrunner.v1.events.thumbnail" for span in spans)
        return spans if done >= 6 else None

    spans = eventually(whole, within_s=60, every_s=1)
    shown = tree(spans)
    print(f"\n{shown}")
    names = [span["operationName"] for span in spans]
    for name in (
        "s3:photos thumbnail",
        "publish fnrunner.v1.events.thumbnail",
        "process fnrunner.v1.events.thumbnail",
        "thumbnail",
        "publish fnrunner.v1.delay.1000ms",
        "publish fnrunner.v1.delay.2000ms",
        "publish fnrunner.v1.dead",
        "redrive thumbnail",
    ):
        assert name in names, shown
    roots = [line for line in shown.splitlines() if not line.startswith(" ")]
    assert len(roots) == 1, shown
    assert shown.count("─► link") >= 4, shown
    balance = stack.fnrunner("audit", "thumbnail", "--json")
    assert '"missing": 0' in balance
