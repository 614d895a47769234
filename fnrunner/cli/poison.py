"""What a dead letter of a stream or queue says besides its error: which records it stands for, and what is wrong with them.

Pure: lines. Keys and texts come from records, so whoever prints them cleans them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from fnrunner.cli.output import size

MAX_RECORDS = 20
_CONDITIONS = {
    "RetryAttemptsExhausted": "every attempt failed",
    "RecordAgeExceeded": "older than the mapping's maximum record age",
    "InvokePayloadTooLarge": "larger than a function can be given",
    "RecordMalformed": "no event can be made of it",
    "RecordsLost": "dropped by the source before it was read",
}


def lines(letter: Mapping[str, Any]) -> Iterator[str]:
    """``letter`` has ``batch`` and ``poison``, each None where there is nothing to say."""
    if batch := letter.get("batch"):
        yield from _batch(batch)
    if poison := letter.get("poison"):
        yield from _poison(poison)


def _batch(batch: Mapping[str, Any]) -> Iterator[str]:
    first, last = batch.get("first", ""), batch.get("last", "")
    where = f"record {first}" if first == last else f"records {first} to {last or 'the end'}"
    count = f", {batch['size']} in all" if batch.get("size", 0) > 1 else ""
    shard = f" of {batch['shard']}" if batch.get("shard") else ""
    condition = batch.get("condition", "")
    meaning = _CONDITIONS.get(condition)
    yield f"  records   {where}{shard}{count}"
    if batch.get("source_arn"):
        yield f"  source    {batch['source_arn']}"
    yield f"  because   {condition}{f': {meaning}' if meaning else ''}"
    if batch.get("mapping"):
        yield f"  mapping   {batch['mapping']}"


def _poison(poison: Mapping[str, Any]) -> Iterator[str]:
    if reason := poison.get("reason"):
        yield f"  report    {' '.join(str(reason).split())}"
    records = poison.get("records") or ()
    for record in records[:MAX_RECORDS]:
        key = f", key {record['key']}" if record.get("key") else ""
        yield f"  guilty    record {record.get('position', '?')}{key}, {size(int(record.get('size_bytes', 0)))}"
        error = " ".join(f"{record.get('error_type', '')}: {record.get('error_message', '')}".split())
        yield f"            {error.strip(': ') or 'no error was told'}"
        if record.get("attempts"):
            yield f"            invoked {record['attempts']} times with it"
        if record.get("first_difference"):
            yield f"            {record['first_difference']}"
    if len(records) > MAX_RECORDS:
        yield f"            and {len(records) - MAX_RECORDS} more"
