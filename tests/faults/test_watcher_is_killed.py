"""Real image files are dropped while the file watcher is killed and restarted twice: each is processed at least once.

``FNRUNNER_TEST_IMAGES`` sets how many; the default keeps the suite quick.
"""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest
from PIL import Image

from tests.installation import ROOT, RUNTIME, Installation, eventually

pytestmark = pytest.mark.slow

IMAGES = int(os.environ.get("FNRUNNER_TEST_IMAGES", "60"))


def drop(directory: Path, count: int) -> None:
    """JPEG and PNG files, each moved in when it is whole or written in place, in turns."""
    for n in range(count):
        kind, suffix = (("JPEG", ".jpg"), ("PNG", ".png"))[n % 2]
        image = Image.new("RGB", (200 + n % 50, 160), (n % 256, (n * 7) % 256, 90))
        target = directory / f"image-{n:04d}{suffix}"
        if n % 3:
            image.save(target, kind)
        else:
            partial = directory / f".image-{n:04d}.part"
            image.save(partial, kind)
            partial.rename(target)
        time.sleep(0.005)


def test_each_file_is_processed_at_least_once(rabbitmq_url: str, tmp_path: Path) -> None:
    photos, thumbnails = tmp_path / "photos", tmp_path / "thumbnails"
    buckets = f"photos={photos},thumbnails={thumbnails}"
    with Installation(tmp_path, rabbitmq_url, FNRUNNER_BUCKETS=buckets) as installation:
        for role in ("api", "worker", "sources"):
            installation.start(role)
        example = str(ROOT / "examples" / "thumbnails")
        installation.command("deploy", example, "--parameter-overrides", f"Runtime={RUNTIME}")
        dropping = threading.Thread(target=drop, args=(photos, IMAGES))
        dropping.start()
        for share in (0.25, 0.6):
            eventually(lambda share=share: len(list(photos.glob("image-*"))) >= share * IMAGES, every_s=0.02)
            installation.kill("sources")
            installation.start("sources")
        dropping.join()
        eventually(lambda: len(list(thumbnails.glob("image-*"))) == IMAGES, within_s=300)
        balance = installation.settled("thumbnail", IMAGES, within_s=120)
        for name in sorted(path.name for path in photos.glob("image-*")):
            with Image.open(thumbnails / name) as small:
                assert max(small.size) <= 128
        print(f"\n{IMAGES} files: {balance}")
        assert balance["missing"] == balance["dead_lettered"] == 0
        # an event that was accepted twice, since its checkpoint was lost with the watcher, has the same id both times
        print(f"{balance['duplicates']} were run more than once: announced again after a kill, under the same id")
        assert balance["duplicates"] <= 2 * 64
