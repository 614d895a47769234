"""The thumbnails example, step for step as its README says, with real files, a real failure and its redrive."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from PIL import Image

from tests.installation import ROOT, RUNTIME, Installation, eventually

EXAMPLE = ROOT / "examples" / "thumbnails"
STEPS = re.findall(r"^```console\n(.*?)^```", (EXAMPLE / "README.md").read_text(), re.DOTALL | re.MULTILINE)


@pytest.fixture
def server() -> Iterator[Installation]:
    # Not below /tmp: functions have a /tmp of their own and would not see the buckets.
    with TemporaryDirectory(dir="/var/tmp") as directory, Installation(Path(directory)) as found:
        shutil.copytree(EXAMPLE, found.directory / "thumbnails", ignore=shutil.ignore_patterns("__pycache__"))
        found.start("dev")
        yield found


def step(server: Installation, command: str) -> str:
    """Run one step of the README in the example's folder; what it printed."""
    words = shlex.split(command.replace("$PHOTOS", str(photos(server))).replace("python3.11", RUNTIME))
    programs = {"fnrunner": [sys.executable, "-m", "fnrunner"], "python": [sys.executable]}
    environ = {**server.environ, "XDG_CACHE_HOME": str(server.directory / "cache")}
    done = subprocess.run(
        [*programs[words[0]], *words[1:]],
        cwd=server.directory / "thumbnails",
        env=environ,
        capture_output=True,
        text=True,
        check=False,
        timeout=180,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def photos(server: Installation) -> Path:
    return server.directory / "data" / "buckets" / "photos"


def thumbnails(server: Installation) -> dict[str, Path]:
    folder = server.directory / "data" / "buckets" / "thumbnails"
    return {file.name: file for file in folder.iterdir() if not file.name.startswith(".")}


@pytest.mark.slow
@pytest.mark.skipif(os.environ.get("PIP_NO_INDEX") == "1", reason="Pillow cannot be installed without an index")
def test_the_readmes_steps_make_thumbnails_and_a_dead_letter_that_can_be_redriven(server: Installation) -> None:
    deploy, make, letters, repair_and_redrive, audit = STEPS
    assert f"DropPhotosInto = {photos(server)}" in step(server, deploy)
    step(server, make)
    balance = server.settled("thumbnail", 7)
    assert (balance["succeeded"], balance["dead_lettered"]) == (6, 1)
    made = thumbnails(server)
    assert len(made) == 6
    for name, file in made.items():
        with Image.open(file) as small, Image.open(photos(server) / name) as photo:
            assert small.format == photo.format
            assert max(small.size) == min(128, max(photo.size))
            small.load()
    listed = step(server, letters)
    assert "RetriesExhausted" in listed
    assert "OSError: image file is truncated" in listed
    (letter,) = server.dead_letters("thumbnail")
    story = step(server, f"fnrunner why {letter['event_id']}")
    assert "dead letter: it was given up and waits for you after 3 attempts" in story
    assert f"fnrunner dlq redrive thumbnail {letter['event_id']}" in story
    for command in repair_and_redrive.strip().splitlines():
        step(server, command)
    # The repaired file is a new event of its own, and the redriven one is the old event again.
    eventually(lambda: server.balance("thumbnail")["succeeded"] == 8)
    assert "broken.jpg" in thumbnails(server)
    assert "Every accepted event is accounted for." in step(server, audit)
    assert "in flight" not in step(server, f"fnrunner why {letter['event_id']}").splitlines()[1]
    assert "function thumbnail: unchanged" in step(server, deploy)
