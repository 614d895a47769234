"""`fnrunner dev PATH`: what is saved runs at the next invocation.

With FNRUNNER_TEST_RELOAD_FILES=20000 the time from a save to the new answer is also measured in a tree of so many files.
"""

from __future__ import annotations

import os
import statistics
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.installation import Installation, eventually

SAVES = 30
WITHIN_S = 0.3
FILES = int(os.environ.get("FNRUNNER_TEST_RELOAD_FILES", "0"))
MEASURED = FILES > 0
"""Then the machine has nothing else to do."""

ASIDE = Path(os.environ.get("FNRUNNER_TEST_ASIDE", "/var/tmp"))  # functions see it; see Installation

SOURCE = """
import os
VERSION = %r
def handler(event, context):
    return VERSION
"""

SLOW = """
import pathlib, time
def handler(event, context):
    pathlib.Path(event["began"]).touch()
    while not pathlib.Path(event["go"]).exists():
        time.sleep(0.01)
    import late
    return ["old", late.NAME, open("/var/task/data.txt").read() if pathlib.Path("/var/task").exists() else "old data"]
"""

TEMPLATE = """
Transform: AWS::Serverless-2016-10-31
Resources:
  Greet:
    Type: AWS::Serverless::Function
    Properties:
      FunctionName: greet
      Runtime: %s
      Handler: app.handler
      CodeUri: src/
      Environment:
        Variables:
          GREETING: %s
"""


class Developer:
    """Somebody with an editor, and `fnrunner dev` beside it."""

    def __init__(self, directory: Path, broker_url: str) -> None:
        self.folder = directory / "app"
        self.folder.mkdir()
        self.installation = Installation(directory, broker_url)

    def begin(self, path: Path | None = None) -> None:
        self.installation.start("dev", arguments=[str(path or self.folder)])

    def save(self, path: str, text: str, *, by_rename: bool = False) -> None:
        place = self.folder / path
        place.parent.mkdir(parents=True, exist_ok=True)
        if by_rename:
            aside = place.with_name(f".{place.name}.swp")
            aside.write_text(text)
            aside.rename(place)
        else:
            place.write_text(text)

    def answer(self, name: str = "app", event: Any = None) -> Any:
        status, error, body = self.installation.call(name, event)
        return body if status == 200 and not error else (status, error, body)

    def eventually_answers(self, wanted: Any, name: str = "app") -> float:
        """Seconds until it does."""
        began = time.perf_counter()
        eventually(lambda: self.answer(name) == wanted, every_s=0.002)
        return time.perf_counter() - began

    def said(self, text: str) -> int:
        return self.installation.log("dev").count(text)

    def eventually_said(self, text: str, times: int) -> None:
        eventually(lambda: self.said(text) >= times)


@pytest.fixture(params=["embedded", "rabbitmq"])
def developer(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Developer]:
    url = "embedded:" if request.param == "embedded" else request.getfixturevalue("rabbitmq_url")
    found = Developer(tmp_path, url)
    with found.installation:
        yield found


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[Developer]:
    found = Developer(tmp_path, "embedded:")
    with found.installation:
        yield found


def measured(developer: Developer) -> list[float]:
    times = []
    for number in range(SAVES):
        developer.save("app.py", SOURCE % number, by_rename=number % 2 == 0)
        times.append(developer.eventually_answers(number))
    return sorted(times)


def test_saved_code_runs_within_three_tenths_of_a_second(developer: Developer) -> None:
    developer.save("app.py", SOURCE % "first")
    for number in range(FILES):
        developer.save(f"lib{number // 100}/m{number}.py", f"x = {number}\n")
    developer.begin()
    developer.eventually_answers("first")
    developer.eventually_said("following app", 1)
    developer.save("app.py", SOURCE % "warm")
    developer.eventually_answers("warm")
    times = measured(developer)
    print(f"\nsave to new answer: p50 {times[SAVES // 2] * 1000:.0f} ms, p99 {times[-1] * 1000:.0f} ms")
    # beside other tests it may take longer, but not as long as to deploy anew by hand
    bound_s = WITHIN_S if MEASURED else 10 * WITHIN_S
    assert statistics.median(times) < bound_s, times
    assert times[int(SAVES * 0.9)] < 2 * bound_s, times


def test_it_is_the_next_invocation_and_the_cold_start_says_reload(alone: Developer) -> None:
    alone.save("app.py", SOURCE % "one")
    alone.begin()
    alone.eventually_answers("one")
    alone.save("app.py", SOURCE % "two")
    alone.eventually_answers("two")
    event_id = alone.installation.send("app", None)
    alone.save("app.py", SOURCE % "three")
    eventually(lambda: alone.said("reloaded app") == 2)
    event_id = alone.installation.send("app", None)
    alone.installation.settled("app", 2)
    attempt = alone.installation.story(event_id)["attempts"][0]
    assert attempt["cold_reason"] == "reload"


def test_a_half_written_file_fails_as_on_lambda_and_the_next_save_mends_it(alone: Developer) -> None:
    alone.save("app.py", SOURCE % "one")
    alone.begin()
    alone.eventually_answers("one")
    alone.save("app.py", "def handler(event, context:\n")
    eventually(lambda: alone.said("reloaded app") == 1)
    status, error, body = alone.installation.call("app", None)
    assert (status, error, body["errorType"]) == (200, "Unhandled", "Runtime.UserCodeSyntaxError")
    alone.save("app.py", SOURCE % "mended")
    alone.eventually_answers("mended")
    copies = alone.installation.directory / "data/live"
    assert list(copies.iterdir())
    assert alone.installation.stop("dev") == 0
    assert not list(copies.iterdir()), "nothing is left of the copies when it ends"


def test_an_event_in_flight_ends_under_the_code_it_began_with(alone: Developer, tmp_path: Path) -> None:
    began, go = ASIDE / f"{tmp_path.name}-{os.getpid()}-began", ASIDE / f"{tmp_path.name}-{os.getpid()}-go"
    alone.save("app.py", SLOW)
    alone.save("late.py", "NAME = 'old'\n")
    alone.save("data.txt", "old data")
    alone.begin()
    eventually(lambda: alone.installation.http.get("/2015-03-31/functions/app").status_code == 200)
    alone.installation.client().update_function_configuration(FunctionName="app", Timeout=60)
    answers: list[Any] = []
    running = threading.Thread(target=lambda: answers.append(alone.answer(event={"began": str(began), "go": str(go)})))
    try:
        running.start()
        eventually(began.exists)
        alone.save("late.py", "NAME = 'new'\n")
        alone.save("data.txt", "new data")
        alone.save("app.py", SOURCE % "new")
        alone.eventually_answers("new")
        for number in range(4):
            reloads = alone.said("reloaded app")
            alone.save("late.py", f"NAME = 'newer {number}'\n")
            alone.eventually_said("reloaded app", reloads + 1)
        go.touch()
        running.join(60)
    finally:
        go.touch()
        running.join(60)
        for path in (began, go):
            path.unlink(missing_ok=True)
    assert answers == [["old", "old", "old data"]]


def test_new_files_deleted_files_and_ignored_ones(alone: Developer) -> None:
    alone.save("app.py", "import pathlib\ndef handler(e, c):\n    import extra\n    return extra.NAME\n")
    alone.begin()
    eventually(lambda: alone.answer()[2].get("errorType") == "ModuleNotFoundError")
    alone.save("extra/__init__.py", "NAME = 'package'\n")
    alone.eventually_answers("package")
    (alone.folder / "extra" / "__init__.py").unlink()
    (alone.folder / "extra").rmdir()
    alone.save("extra.py", "NAME = 'module'\n")
    alone.eventually_answers("module")
    before = alone.said("reloaded app")
    for ignored in (".git/index", ".venv/lib/x.py", "__pycache__/app.cpython-311.pyc"):
        alone.save(ignored, "x")
    (alone.folder / "extra.py").touch()
    alone.save("extra.py", "NAME = 'last'\n")
    alone.eventually_answers("last")
    assert alone.said("reloaded app") == before + 1


def test_a_template_that_is_saved_is_deployed_again_and_a_broken_one_is_told(
    alone: Developer, runtime: str, tmp_path: Path
) -> None:
    code = "import os\nTEXT = %r\ndef handler(event, context):\n    return [TEXT, os.environ['GREETING']]\n"
    alone.save("src/app.py", code % "one")
    alone.save("template.yaml", TEMPLATE % (runtime, "hello"))
    alone.begin()
    alone.eventually_answers(["one", "hello"], "greet")
    alone.save("src/app.py", code % "two")
    alone.eventually_answers(["two", "hello"], "greet")
    alone.save("template.yaml", TEMPLATE % (runtime, "good morning"))
    alone.eventually_answers(["two", "good morning"], "greet")
    alone.save("template.yaml", "Resources: [")
    eventually(lambda: alone.said("could not be deployed"))
    assert alone.answer("greet") == ["two", "good morning"]
    alone.save("src/app.py", code % "three")
    alone.eventually_answers(["three", "good morning"], "greet")
    alone.save("template.yaml", TEMPLATE % (runtime, "good evening"))
    alone.eventually_answers(["three", "good evening"], "greet")


def test_what_somebody_else_deploys_is_what_runs_until_the_next_deployment(alone: Developer) -> None:
    from tests.installation import zipped

    alone.save("app.py", SOURCE % "one")
    alone.begin()
    alone.eventually_answers("one")
    alone.save("app.py", SOURCE % "two")
    alone.eventually_answers("two")
    alone.installation.client().update_function_code(FunctionName="app", ZipFile=zipped({"app.py": SOURCE % "theirs"}))
    alone.eventually_answers("theirs")


def test_a_path_that_cannot_be_deployed_is_tried_again_when_something_is_saved(alone: Developer) -> None:
    alone.save("notes.txt", "nothing to run yet")
    alone.begin()
    eventually(lambda: alone.said("could not be deployed"))
    alone.save("app.py", SOURCE % "at last")
    alone.eventually_answers("at last")


def test_a_path_that_is_not_there_is_refused(tmp_path: Path) -> None:
    installation = Installation(tmp_path)
    with installation:
        done = installation.command("dev", str(tmp_path / "nowhere"), check=False)
    assert done.returncode == 2
    assert "is not there" in done.stderr


@pytest.fixture
def runtime() -> str:
    from tests.installation import RUNTIME

    return RUNTIME
