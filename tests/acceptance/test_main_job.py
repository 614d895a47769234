"""The main job from outside, on both brokers: run, fail, retry, dead-letter, explain, redrive, account."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from tests.installation import Installation, eventually, zipped

CODE = """
    import ctypes, json, os, sys, time

    def handler(event, context):
        print("ran", context.aws_request_id)
        match event.get("do"):
            case "raise":
                raise ValueError("as you wish")
            case "exit":
                os._exit(3)
            case "crash":
                ctypes.string_at(0)
            case "hang":
                time.sleep(60)
            case "wait":
                time.sleep(event["s"])
            case "mark":
                with open(event["path"], "a") as marks:
                    marks.write(context.aws_request_id + "\\n")
        return {"id": context.aws_request_id, "event": event}
"""


def test_a_call_is_answered_with_what_the_function_returned_and_its_log(installation: Installation, name: str) -> None:
    installation.deploy(name, CODE)
    answer = eventually(lambda: _called(installation, name))
    assert answer["StatusCode"] == 200
    assert json.loads(answer["Payload"].read())["event"] == {"a": "é"}
    request_id = answer["ResponseMetadata"]["RequestId"]
    tail = base64.b64decode(answer["LogResult"]).decode()
    assert tail.startswith(
        f"START RequestId: {request_id} Version: $LATEST\nran {request_id}\nEND RequestId: {request_id}\nREPORT "
    )
    status, error, body = installation.call(name, {"do": "raise"})
    assert (status, error) == (200, "Unhandled")
    assert body["errorType"] == "ValueError"
    assert body["stackTrace"][0].lstrip().startswith('File "')


def _called(installation: Installation, name: str) -> dict:  # type: ignore[type-arg]
    return installation.client().invoke(FunctionName=name, Payload='{"a":"é"}'.encode(), LogType="Tail")


@pytest.mark.parametrize(
    ("what", "error_type", "message"),
    [
        ("raise", "ValueError", "as you wish"),
        ("exit", "Runtime.ExitError", "exit status 3"),
        ("crash", "Runtime.ExitError", "segmentation fault"),
        ("hang", "Sandbox.Timedout", "Task timed out after 1.00 seconds"),
    ],
)
def test_an_event_that_fails_is_attempted_three_times_and_then_a_dead_letter(
    dev: Installation, name: str, what: str, error_type: str, message: str
) -> None:
    dev.deploy(name, CODE, Timeout=1)
    event_id = dev.send(name, {"do": what})
    balance = dev.settled(name, 1)
    assert (balance["accepted"], balance["dead_lettered"], balance["missing"]) == (1, 1, 0)
    [letter] = dev.dead_letters(name)
    assert (letter["event_id"], letter["reason"], letter["error_type"]) == (event_id, "RetriesExhausted", error_type)
    assert message in letter["error_message"]
    attempts = dev.story(event_id)["attempts"]
    assert [attempt["number"] for attempt in attempts] == [1, 2, 3]
    assert [attempt["outcome"] for attempt in attempts] == ["failed"] * 3
    # the worker survived, and so did the next invocation's environment
    assert dev.call(name, {"fine": 1})[0] == 200


def test_a_dead_letter_can_be_edited_and_redriven_to_success(installation: Installation, name: str) -> None:
    installation.deploy(name, CODE)
    event_id = installation.send(name, {"do": "raise"})
    installation.settled(name, 1)
    edited = installation.http.put(
        f"/fnrunner/v1/functions/{name}/dead-letters/{event_id}", content=b'{"do": "nothing"}'
    )
    assert edited.status_code == 200, edited.text
    answer = installation.http.post(f"/fnrunner/v1/functions/{name}/dead-letters/redrive", json={"ids": [event_id]})
    assert answer.status_code == 200, answer.text
    balance = eventually(lambda: (found := installation.balance(name))["succeeded"] and found)
    assert (balance["accepted"], balance["succeeded"], balance["dead_lettered"], balance["missing"]) == (1, 1, 0, 0)
    assert installation.dead_letters(name) == []
    numbers = [(a["number"], a["outcome"]) for a in installation.story(event_id)["attempts"]]
    assert numbers == [(1, "failed"), (2, "failed"), (3, "failed"), (1, "succeeded")]


def test_reserved_concurrency_throttles_calls_and_delays_events_without_charging_them(
    installation: Installation, name: str
) -> None:
    installation.deploy(name, CODE, Timeout=30)
    client = installation.client()
    client.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=1)
    eventually(lambda: installation.call(name, {})[0] == 200)
    slow = installation.send(name, {"do": "wait", "s": 4})
    eventually(lambda: installation.call(name, {})[0] == 429)
    answer = installation.http.post(f"/2015-03-31/functions/{name}/invocations", content=b"{}")
    assert answer.json()["Reason"] == "ReservedFunctionConcurrentInvocationLimitExceeded"
    quick = installation.send(name, {})
    assert installation.settled(name, 2)["succeeded"] == 2
    for event_id in (slow, quick):
        [success] = [a for a in installation.story(event_id)["attempts"] if a["outcome"] == "succeeded"]
        assert success["number"] == 1


def test_an_event_of_a_stopped_function_goes_straight_to_the_dead_letters(dev: Installation, name: str) -> None:
    dev.deploy(name, CODE)
    dev.client().put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=0)
    assert dev.call(name, {})[0] == 429
    dev.send(name, {})
    dev.settled(name, 1)
    assert [letter["reason"] for letter in dev.dead_letters(name)] == ["ZeroReservedConcurrency"]


def test_destinations_and_the_dead_letter_queue_get_lambdas_records(installation: Installation, name: str) -> None:
    for queue in (f"{name}-won", f"{name}-lost", f"{name}-dlq"):
        assert installation.http.put(f"/fnrunner/v1/queues/{queue}").status_code in (200, 201)
    arn = f"arn:aws:sqs:us-east-1:000000000000:{name}-"
    installation.deploy(name, CODE, DeadLetterConfig={"TargetArn": f"{arn}dlq"})
    installation.client().put_function_event_invoke_config(
        FunctionName=name,
        MaximumRetryAttempts=0,
        DestinationConfig={"OnSuccess": {"Destination": f"{arn}won"}, "OnFailure": {"Destination": f"{arn}lost"}},
    )
    good, bad = installation.send(name, {"a": 1}), installation.send(name, {"do": "raise"})
    installation.settled(name, 2)

    def received(queue: str) -> list[dict]:  # type: ignore[type-arg]
        answer = installation.http.post(f"/fnrunner/v1/queues/{queue}/receive", json={"max": 10})
        assert answer.status_code == 200, answer.text
        return answer.json()["messages"]

    [won] = eventually(lambda: received(f"{name}-won"))
    [lost] = eventually(lambda: received(f"{name}-lost"))
    [dlq] = eventually(lambda: received(f"{name}-dlq"))
    record = json.loads(won["body"])
    assert record["requestContext"]["condition"] == "Success"
    assert record["requestContext"]["requestId"] == good
    assert record["responsePayload"]["event"] == {"a": 1}
    record = json.loads(lost["body"])
    assert record["requestContext"] == {
        "requestId": bad,
        "functionArn": f"arn:aws:lambda:us-east-1:000000000000:function:{name}:$LATEST",
        "condition": "RetriesExhausted",
        "approximateInvokeCount": 1,
    }
    assert record["responseContext"] == {"statusCode": 200, "executedVersion": "$LATEST", "functionError": "Unhandled"}
    assert json.loads(dlq["body"]) == {"do": "raise"}
    assert dlq["headers"]["RequestID"] == bad
    assert dlq["headers"]["ErrorMessage"] == "as you wish"


def test_saved_code_runs_at_the_next_invocation(installation: Installation, name: str) -> None:
    client = installation.client()
    installation.deploy(name, "def handler(event, context): return 'old'")
    eventually(lambda: installation.call(name, {})[2] == "old")
    client.update_function_code(
        FunctionName=name, ZipFile=zipped({"app.py": "def handler(event, context): return 'new'"})
    )
    eventually(lambda: installation.call(name, {})[2] == "new", within_s=10)


def test_events_of_a_deleted_function_are_dead_letters_and_still_accounted_for(
    installation: Installation, name: str
) -> None:
    installation.deploy(name, CODE, Timeout=30)
    installation.client().put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=1)
    ids = [installation.send(name, {"do": "wait", "s": 2}) for _ in range(8)]
    installation.client().delete_function(FunctionName=name)
    balance = installation.settled(name, 8)
    assert balance["missing"] == 0
    assert balance["dead_lettered"] >= 1
    assert {letter["reason"] for letter in installation.dead_letters(name)} <= {"FunctionNotFound", "RetriesExhausted"}
    assert {letter["event_id"] for letter in installation.dead_letters(name)} <= set(ids)


def test_a_file_that_is_dropped_into_a_bucket_runs_the_function(
    installation: Installation, name: str, tmp_path: Path
) -> None:
    bucket = tmp_path / "photos"
    marks = bucket / ".marks"  # a function sees the directories of buckets, and its own /tmp instead of ours
    assert installation.http.put("/fnrunner/v1/buckets/photos", json={"directory": str(bucket)}).status_code in (
        200,
        201,
    )
    installation.deploy(
        name,
        f"""
        def handler(event, context):
            [record] = event["Records"]
            with open({str(marks)!r}, "a") as found:
                found.write(record["eventName"] + " " + record["s3"]["object"]["key"] + "\\n")
        """,
    )
    answer = installation.http.put(
        f"/fnrunner/v1/functions/{name}/notifications",
        json={"notifications": [{"bucket": "photos", "events": ["s3:ObjectCreated:*"], "suffix": ".jpg"}]},
    )
    assert answer.status_code == 200, answer.text
    eventually(bucket.is_dir)
    (bucket / "a b.jpg").write_bytes(b"1")
    (bucket / "notes.txt").write_bytes(b"2")
    eventually(marks.exists)
    assert installation.settled(name, 1)["accepted"] == 1
    assert marks.read_text() == "ObjectCreated:Put a+b.jpg\n"
