from __future__ import annotations

from datetime import UTC, datetime, timedelta

from sources.errors import PositionLost
from sources.giving_up import batch_info, lost
from sources.mapping import EventSourceMapping
from sources.stream import Record

AT = datetime(2022, 7, 13, 13, 48, 1, 42_999, tzinfo=UTC)
KINESIS = EventSourceMapping("u", "f", source_arn="arn:aws:kinesis:us-east-1:000000000000:stream/s")
DYNAMODB = EventSourceMapping("u", "f", source_arn="arn:aws:dynamodb:us-east-1:000000000000:table/t/stream/l")
RECORDS = [Record(n, "k", AT + timedelta(seconds=n), {}, b"") for n in (5, 9)]


def test_the_info_of_a_kinesis_batch() -> None:
    assert batch_info(KINESIS, "shardId-000000000000", RECORDS) == {
        "shardId": "shardId-000000000000",
        "startSequenceNumber": "5",
        "endSequenceNumber": "9",
        "approximateArrivalOfFirstRecord": "2022-07-13T13:48:06.042Z",
        "approximateArrivalOfLastRecord": "2022-07-13T13:48:10.042Z",
        "batchSize": 2,
        "streamArn": KINESIS.source_arn,
    }


def test_the_times_of_a_dynamodb_batch_have_no_milliseconds() -> None:
    assert batch_info(DYNAMODB, "s", RECORDS)["approximateArrivalOfFirstRecord"] == "2022-07-13T13:48:06Z"


def test_what_is_lost_has_positions_and_no_payload() -> None:
    told = lost(KINESIS, "s", PositionLost(5, 12), "KinesisBatchInfo", AT)
    assert (told.first, told.last, told.size, told.payload, told.result) == ("5", "11", 7, b"", None)
    assert told.info["endSequenceNumber"] == "11"
    assert "5 to 11" in told.report["reason"]
    assert lost(KINESIS, "s", PositionLost(5, None), "", AT).last == ""
    assert lost(KINESIS, "s", PositionLost(5, 10**56), "", AT).size == 0  # positions that count nothing
    remade = lost(KINESIS, "s", PositionLost(5, 0, remade=True), "", AT)
    assert (remade.last, remade.size, remade.info["streamRemade"]) == ("", 0, True)
