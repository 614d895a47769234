"""A failed event is debugged on a developer's machine, its fix deployed, and the event redriven to success."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import uuid4

import pytest

from tests.dap_client import DapClient
from tests.installation import RUNTIME, Installation, eventually
from tests.leftover import environments_of

pytest.importorskip("debugpy")
pytestmark = pytest.mark.slow

SOURCE = """\
import os

def handler(event, context):
    number = event["n"]
    print("dividing by", number)
    answer = 10 / number
    return {"answer": answer, "id": context.aws_request_id, "left": context.get_remaining_time_in_millis()}
"""
AT = 6


@pytest.fixture(scope="module")
def dev() -> Iterator[Installation]:
    """One for all of these tests: each has a function of its own."""
    with TemporaryDirectory() as directory, Installation(Path(directory)) as found:
        found.start("dev")
        yield found


class Debugged:
    """A command under ``--debug`` that waits for its debugger. ``temporary`` is where it makes what it needs meanwhile."""

    def __init__(self, dev: Installation, *words: str) -> None:
        command = [sys.executable, "-m", "fnrunner", *words, "--debug", "--debug-port", "0"]
        self.errors = dev.directory / "debugged.err"
        self.temporary = dev.directory / f"temporary-{uuid4().hex[:8]}"
        self.temporary.mkdir()
        with self.errors.open("w") as errors:
            self.process = subprocess.Popen(
                command,
                env={**dev.environ, "TMPDIR": str(self.temporary)},
                cwd=dev.directory,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
        self.configuration = eventually(self._configuration)

    def _configuration(self) -> dict[str, Any] | None:
        """The configuration of the launch.json that is printed."""
        said = self.errors.read_text()
        assert self.process.poll() is None, said
        found = re.search(r"^\{\n.*^\}$", said, re.MULTILINE | re.DOTALL)
        return json.loads(found[0])["configurations"][0] if found else None

    def attach(self) -> DapClient:
        return DapClient(**self.configuration["connect"])

    def finished(self) -> tuple[int, str]:
        out, _ = self.process.communicate(timeout=60)
        return self.process.returncode, out


def deploy(dev: Installation, name: str, source: str = SOURCE) -> Path:
    folder = dev.directory / name
    folder.mkdir(exist_ok=True)
    (folder / "app.py").write_text(source)
    dev.command("deploy", name, "--runtime", RUNTIME, "--timeout", "1")
    return folder


def test_a_dead_letter_is_debugged_fixed_and_redriven(dev: Installation) -> None:
    folder = deploy(dev, "hello")
    event_id = dev.send("hello", {"n": 0})
    dev.settled("hello", 1)

    debugged = Debugged(dev, "replay", event_id, "--code", "hello")
    assert debugged.configuration["pathMappings"][0]["localRoot"] == str(folder.resolve())
    with debugged.attach() as editor:
        assert [one["verified"] for one in editor.attach(debugged.configuration, {str(folder / "app.py"): [AT]})] == [
            True
        ]
        thread = editor.event("stopped")["threadId"]
        frame = editor.frame(thread)
        assert (frame["line"], frame["source"]["path"]) == (AT, str(folder / "app.py"))
        assert editor.variables(frame["id"])["number"] == "0"
        # longer than the function's timeout of a second
        editor.request("evaluate", expression="__import__('time').sleep(1.5)", frameId=frame["id"])
        remaining = "context.get_remaining_time_in_millis()"
        assert int(editor.request("evaluate", expression=remaining, frameId=frame["id"])["result"]) > 3_600_000
        editor.request("continue", threadId=thread)
        status, out = debugged.finished()
    assert status == 1
    assert "    | dividing by 0\n" in out
    assert "Failed after" in out
    assert "ZeroDivisionError: division by zero" in out
    assert ": the same failure\n" in out
    assert out.splitlines()[-1] == f"Once a fix is deployed: fnrunner dlq redrive hello {event_id}"
    # nothing was settled
    assert [attempt["number"] for attempt in dev.story(event_id)["attempts"]] == [1, 2, 3]
    assert [letter["state"] for letter in dev.dead_letters("hello")] == ["held"]

    deploy(dev, "hello", SOURCE.replace("10 / number", "10 / (number or 1)"))
    assert dev.command("dlq", "redrive", "hello", event_id).stdout == "1 redriven\n"
    eventually(lambda: dev.story(event_id)["state"] == "succeeded")


def test_a_fresh_event_is_debugged_and_answered_as_by_invoke(dev: Installation) -> None:
    folder = deploy(dev, "fresh")
    debugged = Debugged(dev, "invoke", "fresh", "--event", '{"n": 5}')
    [mapping] = debugged.configuration["pathMappings"]
    assert mapping["localRoot"] == "${workspaceFolder}"
    configuration = {**debugged.configuration, "pathMappings": [{**mapping, "localRoot": str(folder)}]}
    with debugged.attach() as editor:
        editor.attach(configuration, {str(folder / "app.py"): [AT]})
        thread = editor.event("stopped")["threadId"]
        editor.request("evaluate", expression="number = 2", frameId=editor.frame(thread)["id"], context="repl")
        editor.request("continue", threadId=thread)
        status, out = debugged.finished()
    assert status == 0
    assert json.loads(out)["answer"] == 5.0
    assert "dividing by 5" in debugged.errors.read_text()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_whoever_stops_waiting_for_a_debugger_leaves_nothing_behind(dev: Installation, number: int) -> None:
    deploy(dev, "stopped")
    debugged = Debugged(dev, "invoke", "stopped")
    assert len(environments_of(debugged.process.pid)) > 1
    assert list(debugged.temporary.iterdir())
    debugged.process.send_signal(number)
    status, _ = debugged.finished()
    assert status == 130
    assert environments_of(debugged.process.pid) == []
    assert not list(debugged.temporary.iterdir())
