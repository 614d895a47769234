"""What the outside is told of records that are given up: batch info, payload, and the poison report. Pure.

Source: Lambda developer guide, "Retain discarded batch records for a Kinesis Data Streams event source".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from sources.errors import PositionLost
from sources.invocation import Crashed, GivenUp
from sources.mapping import EventSourceMapping, Kind
from sources.partial import REPORTED, FailedFrom, FailedWhole
from sources.poison import report
from sources.retrying import MALFORMED, Piece
from sources.stream import Record

RECORDS_LOST = "RecordsLost"
"""The condition of records that the source dropped before they were read. There is no payload."""

_COUNTABLE = 1 << 40


def given_up(
    mapping: EventSourceMapping,
    shard: str,
    piece: Piece,
    condition: str,
    *,
    payload: bytes,
    info_key: str,
    batch: Sequence[Record],
    guilty: frozenset[int],
    request_ids: Sequence[str],
    now: datetime,
) -> GivenUp:
    """``batch`` is the whole batch they were in, ``guilty`` the positions in it that were given up before."""
    first, last = piece.records[0], piece.records[-1]
    return GivenUp(
        mapping=mapping,
        shard=shard,
        condition=condition,
        payload=payload,
        first=str(first.position),
        last=str(last.position),
        size=len(piece.records),
        attempts=piece.invoked,
        at=now,
        result=piece.result,
        info_key=info_key,
        info=batch_info(mapping, shard, piece.records),
        report=_report(piece, condition, batch, guilty, request_ids),
    )


def batch_info(mapping: EventSourceMapping, shard: str, records: Sequence[Record]) -> Mapping[str, Any]:
    first, last = records[0], records[-1]
    return {
        "shardId": shard,
        "startSequenceNumber": str(first.position),
        "endSequenceNumber": str(last.position),
        "approximateArrivalOfFirstRecord": _stamp(first.arrived, mapping.kind),
        "approximateArrivalOfLastRecord": _stamp(last.arrived, mapping.kind),
        "batchSize": len(records),
        "streamArn": mapping.source_arn,
    }


def lost(mapping: EventSourceMapping, shard: str, error: PositionLost, info_key: str, now: datetime) -> GivenUp:
    """Records that are gone. Their number is known where positions are counted one by one."""
    last = "" if error.found is None or error.remade else str(error.found - 1)
    size = error.found - error.expected if last and error.found is not None else 0
    return GivenUp(
        mapping=mapping,
        shard=shard,
        condition=RECORDS_LOST,
        payload=b"",
        first=str(error.expected),
        last=last,
        size=size if 0 < size < _COUNTABLE else 0,
        attempts=0,
        at=now,
        info_key=info_key,
        info={
            "shardId": shard,
            "startSequenceNumber": str(error.expected),
            "endSequenceNumber": last or None,
            "streamArn": mapping.source_arn,
            "streamRemade": error.remade,
        },
        report={"reason": str(error)},
    )


def _report(
    piece: Piece, condition: str, batch: Sequence[Record], guilty: frozenset[int], request_ids: Sequence[str]
) -> Mapping[str, Any]:
    """Only where it is known which records are guilty: a single one, or those that are malformed."""
    malformed = condition == MALFORMED
    if not malformed and len(piece.records) > 1:
        return {}
    error_type, message = _error(piece, condition)
    own = {record.position for record in piece.records} | guilty
    found = report(
        piece.records,
        [record for record in batch if record.position not in own and not record.fault],
        error_type=error_type,
        error_message=message,
        attempts=piece.invoked,
        request_ids=request_ids,
    )
    return {"reason": message, **found} if malformed else found


def _error(piece: Piece, condition: str) -> tuple[str, str]:
    if condition == MALFORMED:
        return MALFORMED, piece.records[0].fault
    match piece.error:
        case FailedWhole(_, error_type, message):
            return error_type, message
        case FailedFrom():
            return REPORTED, "The function named it in batchItemFailures"
        case Crashed(reason):
            return "Runtime.WorkerDied", reason
        case None:
            return condition, ""


def _stamp(moment: datetime, kind: Kind) -> str:
    """DynamoDB's have no milliseconds."""
    written = moment.astimezone(UTC)
    if kind is Kind.DYNAMODB:
        return written.strftime("%Y-%m-%dT%H:%M:%SZ")
    return f"{written:%Y-%m-%dT%H:%M:%S}.{written.microsecond // 1000:03d}Z"
