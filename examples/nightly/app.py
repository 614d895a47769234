"""Packs every ``YYYY-MM-DD.log`` in LOGS_DIR that is older than the day of the tick.

The day is taken from the event, not from the clock: a run that is late, or that is repeated, does the same work. A file is
packed beside its place, moved there, and only then is the original removed.
"""

import gzip
import os
import re
import shutil
from pathlib import Path

NAME = re.compile(r"(\d{4}-\d{2}-\d{2})\.log")


def handler(event, context):
    today = event["time"][:10] if "time" in event else event["today"]
    packed = []
    for path in sorted(Path(os.environ["LOGS_DIR"]).iterdir()):
        match = NAME.fullmatch(path.name)
        if match and match[1] < today:
            pack(path)
            packed.append(path.name)
    print(f"{len(packed)} files packed for {today}")
    return {"today": today, "packed": packed}


def pack(path):
    beside = path.with_name(f".{path.name}.gz.part")
    with path.open("rb") as source, gzip.open(beside, "wb") as target:
        shutil.copyfileobj(source, target)
    beside.replace(path.with_name(path.name + ".gz"))
    path.unlink()
