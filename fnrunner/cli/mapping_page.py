"""The page that `fnrunner mapping show` prints. Pure: lines.

A shard's document is described in :mod:`sources.shard_place`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

_HEAD = ("UUID", "FunctionArn", "EventSourceArn", "State", "StateTransitionReason", "LastProcessingResult")
_NOT_SHOWN = {*_HEAD, "EventSourceMappingArn", "LastModified"}
_EMPTY: tuple[Any, ...] = ({}, [], {"OnFailure": {}})


def page(found: Mapping[str, Any]) -> Iterator[str]:
    """All of it."""
    mapping = found["mapping"]
    for key in _HEAD:
        if mapping.get(key):
            yield f"{key + ':':<32} {mapping[key]}"
    for key, value in sorted(mapping.items()):
        if key not in _NOT_SHOWN and value not in _EMPTY:
            yield f"{key + ':':<32} {_shown(value)}"
    if wish := found.get("rewind"):
        obeyed = sum(1 for shard in found["shards"] if shard.get("rewound") == wish["id"])
        yield f"{'Rewind:':<32} to {_shown(wish['to'])}, followed by {obeyed} of {len(found['shards'])} shards"
    if "StartingPosition" not in mapping:  # a queue keeps its messages itself: there is no position to show
        return
    for shard in found["shards"]:
        yield from _shard(shard)
    if not found["shards"]:
        yield "Nothing has been read yet."


def _shard(shard: Mapping[str, Any]) -> Iterator[str]:
    yield f"Shard {shard['shard']}"
    yield f"  settled   {_position(shard)}"
    at = f", at {shard['result_at']}" if shard.get("result_at") else ""
    yield f"  result    {shard.get('result', 'No records processed')}{at}"
    if shard.get("error"):
        yield f"  error     {' '.join(str(shard['error']).split())}"
    for block in (shard.get("blocks") or {}).values():
        until = f", until {block['until']}" if block.get("until") else ", still"
        yield f"  blocked   since {block['since']}{until}"
    for window in (shard.get("windows") or {}).values():
        yield f"  window    {window.get('start')} to {window.get('end')}"
    for gap in shard.get("gaps") or ():
        remade = ", since the stream was made anew" if gap.get("remade") else ""
        yield f"  lost      {gap['from']} to {gap['to'] or 'the end'}{remade}, found at {gap['at']}"


def _position(shard: Mapping[str, Any]) -> str:
    if "position" in shard:
        return f"up to {shard['position']}"
    if start := shard.get("start"):
        return f"nothing; begins at {start['timestamp'] or start['at']}"
    return "nothing"


def _shown(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
