"""The function under test: it writes each beginning, sign of life and end to one log before anything else happens.

A line is ``number|event id|begin|now|state|pid`` with both times of the machine's monotonic clock in nanoseconds. It is
written at once and whole, because the file is opened for appending. With ``FSYNC`` set it is on the disk before the run
goes on; without, it is in the page cache, which a killed process leaves whole.
"""

from __future__ import annotations

CODE = """
import json, os, time

HOME = os.environ["HOME_OF_RUNS"]
FSYNC = os.environ.get("FSYNC") == "1"
LOG = os.open(f"{HOME}/runs", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
PID = os.getpid()
FLAKY = (20, 7)


class Hopeless(Exception):
    pass


class Flaky(Exception):
    pass


class Run:
    def __init__(self, number, event_id):
        self.key, self.begin = f"{number}|{event_id}", time.monotonic_ns()
        self.note("begin")

    def note(self, state):
        os.write(LOG, f"{self.key}|{self.begin}|{time.monotonic_ns()}|{state}|{PID}\\n".encode())
        if FSYNC:
            os.fsync(LOG)

    def pause(self, seconds):
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            time.sleep(min(left, 0.05))
            self.note("alive")


def first_time(number):
    try:
        os.close(os.open(f"{HOME}/marks/{number}", os.O_CREAT | os.O_EXCL))
        return True
    except FileExistsError:
        return False


def handler(event, context):
    if "Records" in event:
        return of_queue(event["Records"])
    run = Run(event["n"], context.aws_request_id)
    try:
        done = act(run, event)
    except Exception:
        run.note("failed")
        raise
    run.note("ok")
    return done


def act(run, event):
    run.pause(event.get("ms", 0) / 1000)
    behaviour = event["b"]
    if behaviour in ("hopeless", "crash", "hang") and os.path.exists(f"{HOME}/mended"):
        return "mended"
    if behaviour == "hopeless":
        raise Hopeless("always")
    if behaviour == "sync-error":
        raise Hopeless("as asked")
    if behaviour == "crash":
        run.note("failed")
        os._exit(3)
    if behaviour == "hang":
        run.pause(30)
    if behaviour == "flaky" and first_time(event["n"]):
        raise Flaky("the first time")
    return "fine"


def of_queue(records):
    failures = []
    for record in records:
        event = json.loads(record["body"])
        run = Run(event["n"], record["messageId"])
        if event["n"] % FLAKY[0] == FLAKY[1] and first_time(event["n"]):
            run.note("failed")
            failures.append({"itemIdentifier": record["messageId"]})
        else:
            run.note("ok")
    return {"batchItemFailures": failures}
"""
MODULE = "app.py"
LOG, MARKS, MENDED = "runs", "marks", "mended"
"""Names in the directory of runs."""

QUEUE = "soak-batches"
