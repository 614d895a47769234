"""The thumbnails example, step for step as its README says, with real files, a real failure and its redrive."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from PIL import Image

from tests.example import Example, buckets
from tests.installation import Installation, eventually


@pytest.fixture
def server() -> Iterator[Installation]:
    # Not below /tmp: functions have a /tmp of their own and would not see the buckets.
    with TemporaryDirectory(dir="/var/tmp") as directory, Installation(Path(directory)) as found:
        found.start("dev")
        yield found


def thumbnails(server: Installation) -> dict[str, Path]:
    return {file.name: file for file in (buckets(server) / "thumbnails").iterdir() if not file.name.startswith(".")}


@pytest.mark.slow
@pytest.mark.skipif(os.environ.get("PIP_NO_INDEX") == "1", reason="Pillow cannot be installed without an index")
def test_the_readmes_steps_make_thumbnails_and_a_dead_letter_that_can_be_redriven(server: Installation) -> None:
    photos = buckets(server) / "photos"
    example = Example("thumbnails", server, {"$PHOTOS": str(photos)})
    deploy, make, letters, repair_and_redrive, audit = example.steps
    assert f"DropPhotosInto = {photos}" in example.run(deploy)
    example.run(make)
    balance = server.settled("thumbnail", 7)
    assert (balance["succeeded"], balance["dead_lettered"]) == (6, 1)
    made = thumbnails(server)
    assert len(made) == 6
    for name, file in made.items():
        with Image.open(file) as small, Image.open(photos / name) as photo:
            assert small.format == photo.format
            assert max(small.size) == min(128, max(photo.size))
            small.load()
    listed = example.run(letters)
    assert "RetriesExhausted" in listed
    assert "OSError: image file is truncated" in listed
    (letter,) = server.dead_letters("thumbnail")
    story = example.run(f"fnrunner why {letter['event_id']}")
    assert "dead letter: it was given up and waits for you after 3 attempts" in story
    assert f"fnrunner dlq redrive thumbnail {letter['event_id']}" in story
    example.run(repair_and_redrive)
    # The repaired file is a new event of its own, and the redriven one is the old event again.
    eventually(lambda: server.balance("thumbnail")["succeeded"] == 8)
    assert "broken.jpg" in thumbnails(server)
    assert "Every accepted event is accounted for." in example.run(audit)
    assert "in flight" not in example.run(f"fnrunner why {letter['event_id']}").splitlines()[1]
    assert "function thumbnail: unchanged" in example.run(deploy)
