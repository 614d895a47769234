"""`make demo`: drop real files into a bucket, watch one fail, be retried and dead-lettered, ask why, and redrive it.

Everything happens in a directory of its own and on the embedded broker; nothing is left running.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).resolve().parent.parent
EXAMPLE = ROOT / "examples" / "thumbnails"
DATA = ROOT / ".fnrunner" / "demo"
RETRY_DELAYS_S = "2,4"
PATIENCE_S = 90
RUNTIME = f"python{sys.version_info.major}.{sys.version_info.minor}"


def main() -> None:
    shutil.rmtree(DATA, ignore_errors=True)
    DATA.mkdir(parents=True)
    port = free_port()
    os.environ.update(
        FNRUNNER_DATA_DIR=str(DATA / "data"),
        FNRUNNER_ENDPOINT_URL=f"http://127.0.0.1:{port}",
        FNRUNNER_RETRY_DELAYS_S=RETRY_DELAYS_S,
    )
    photos, thumbnails = DATA / "photos", DATA / "thumbnails"
    say("fnrunner dev: broker, api, worker and file watcher in one process, on this machine only")
    with (DATA / "server.log").open("wb") as log:
        command = ["dev", "--port", str(port), "--bucket", f"photos={photos}", "--bucket", f"thumbnails={thumbnails}"]
        server = subprocess.Popen(fnrunner(*command), stdout=log, stderr=log)
    try:
        eventually("the server answers", partial(answers, port))
        tell_the_story(photos, thumbnails)
    finally:
        server.terminate()
        server.wait(timeout=60)
    say("what to type next")
    print(
        "  source .venv/bin/activate\n"
        "  fnrunner dev                                # the same, with the real delays of one and two minutes\n"
        "  fnrunner deploy examples/thumbnails         # in another terminal; then drop files of your own\n"
        "  fnrunner doctor                             # what this machine can run\n"
        "  docker compose up                           # on RabbitMQ, with traces in Jaeger: see README.md"
    )


def tell_the_story(photos: Path, thumbnails: Path) -> None:
    say("deploy the example: a function with Pillow, and which files invoke it")
    run("deploy", str(EXAMPLE), "--parameter-overrides", f"Runtime={RUNTIME}")

    say("drop six photos and a broken one into the bucket")
    make_photos(photos)
    eventually("six thumbnails are there", lambda: len(list(thumbnails.glob("photo-*"))) == 6)
    for file in sorted(thumbnails.iterdir()):
        print(f"  {file.name:<16} {file.stat().st_size:>7} bytes")

    say(f"the broken one is retried after {RETRY_DELAYS_S.replace(',', ' s and then ')} s, and is then a dead letter")
    eventually("the dead letter is there", lambda: "OSError" in output("dlq", "ls", "thumbnail"))
    run("dlq", "ls", "thumbnail")
    letter = output("dlq", "ls", "thumbnail", "--json")

    say("why?")
    run("why", first_id(letter))

    say("put a whole photo in its place and send the event again")
    make_photos(photos, "--repair")
    run("dlq", "redrive", "thumbnail", "--all")
    eventually("the seventh thumbnail is there", (thumbnails / "broken.jpg").exists)
    eventually("every event has ended", lambda: '"in_flight": 0' in output("audit", "thumbnail", "--json"))

    say("nothing was lost")
    run("audit", "thumbnail")


def fnrunner(*words: str) -> list[str]:
    return [sys.executable, "-m", "fnrunner", *words]


def run(*words: str) -> None:
    """Type a command, as a person would."""
    print(f"\033[2m$ fnrunner {' '.join(words)}\033[0m" if sys.stdout.isatty() else f"$ fnrunner {' '.join(words)}")
    sys.stdout.flush()
    if subprocess.run(fnrunner(*words), check=False).returncode:
        fail(f"`fnrunner {' '.join(words)}` failed")


def output(*words: str) -> str:
    return subprocess.run(fnrunner(*words), check=False, capture_output=True, text=True).stdout


def make_photos(photos: Path, *options: str) -> None:
    # with the Pillow that the function's package has
    packaged = str(DATA / "pillow")
    if not Path(packaged).exists():
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--target", packaged]
        subprocess.run([*pip, "-r", str(EXAMPLE / "requirements.txt")], check=True, stderr=subprocess.DEVNULL)
    program = [sys.executable, str(EXAMPLE / "make_photos.py"), str(photos), *options]
    subprocess.run(program, check=True, env={**os.environ, "PYTHONPATH": packaged})


def first_id(text: str) -> str:
    import json

    letters = json.loads(text)
    found = letters["dead_letters"] if isinstance(letters, dict) else letters
    return str(found[0]["event_id"])


def eventually(what: str, happened: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE_S
    while not happened():
        if time.monotonic() > end:
            fail(f"{what}: not within {PATIENCE_S} s")
        time.sleep(0.3)


def answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5) as answer:
            return bool(answer.status == 200)
    except urllib.error.URLError:
        return False


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def say(text: str) -> None:
    print(f"\n\033[1m── {text}\033[0m" if sys.stdout.isatty() else f"\n── {text}", flush=True)


def fail(text: str) -> NoReturn:
    log = DATA / "server.log"
    print(f"\n{text}\nthe server's log ends:\n{log.read_text(errors='replace')[-2000:]}", file=sys.stderr)
    sys.exit(1)


if __name__ == "__main__":
    main()
