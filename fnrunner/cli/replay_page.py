"""What `fnrunner replay` prints: what is run, what came of it, and how that compares with the recorded failure. Pure.

Everything a function wrote is cleaned of control characters.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fnrunner.cli.output import clean, moment, size, span

if TYPE_CHECKING:
    from fnrunner.model.invocation import Answer, FunctionError, Succeeded

Line = tuple[str, tuple[str, ...]]
SAME, OTHER_MESSAGE, OTHER_ERROR = "same", "other message", "other error"
SUCCEEDED, NOTHING = "succeeded", "nothing recorded"
_MEANINGS = {
    SAME: "the same failure",
    OTHER_MESSAGE: "the same type of error, with another message",
    OTHER_ERROR: "another failure here",
    SUCCEEDED: "it succeeds here",
}
CUT_CHARS = 1024
"""Recorded messages are cut to so much, or more; what begins like one of them is the same."""


@dataclass(frozen=True, slots=True)
class Code:
    """``kind``: recorded (what ran), current (what the function has now), local (``path``). ``digest`` is the zip's, in hex."""

    kind: str
    digest: str
    path: str = ""


@dataclass(frozen=True, slots=True)
class Setting:
    """How it is run. ``given``: the payload is from the command line; ``original``: not the edited one. ``seed`` None:
    time and randomness are real."""

    payload: bytes
    given: bool = False
    original: bool = False
    debug: bool = False
    seed: int | None = None


@dataclass(frozen=True, slots=True)
class Replayed:
    """What came of it. ``error_type`` is None when it succeeded; ``payload`` is the response or the error JSON."""

    payload: bytes
    error_type: str | None
    error_message: str
    duration_ms: float
    init_ms: float | None
    max_memory_mb: int
    log: str

    @classmethod
    def of(cls, answer: Answer, outcome: Succeeded | FunctionError) -> Replayed:
        report = answer.report
        return cls(
            payload=outcome.payload,
            error_type=getattr(outcome, "error_type", None),
            error_message=getattr(outcome, "message", ""),
            duration_ms=report.duration_ms,
            init_ms=report.init_ms,
            max_memory_mb=report.max_memory_mb,
            log=answer.logs.decode(errors="replace"),
        )

    @property
    def stack_trace(self) -> list[str]:
        """The lines of the trace, where the error has one."""
        found = _json(self.payload) if self.error_type is not None else None
        trace = found.get("stackTrace") if isinstance(found, dict) else None
        return [line for part in trace for line in str(part).splitlines()] if isinstance(trace, list) else []


def compare(failure: Mapping[str, Any] | None, replayed: Replayed) -> str:
    """How the outcome stands to the recorded failure.

    >>> compare({"error_type": "E", "error_message": "m"}, Replayed(b"", "E", "m", 0, None, 0, ""))
    'same'
    >>> compare({"error_type": "E", "error_message": "m"}, Replayed(b"", "E", "n", 0, None, 0, ""))
    'other message'
    """
    if failure is None:
        return NOTHING
    if replayed.error_type is None:
        return SUCCEEDED
    if failure["error_type"] != replayed.error_type:
        return OTHER_ERROR
    then, now = str(failure["error_message"]), replayed.error_message
    same = now.startswith(then) if len(then) >= CUT_CHARS else now == then
    return SAME if same else OTHER_MESSAGE


def heading(
    recording: Mapping[str, Any], configuration: Mapping[str, Any], code: Code, setting: Setting
) -> Iterator[str]:
    """What is about to be run."""
    yield f"Event {recording['event_id']} of {recording['function']}, run again on this machine"
    yield f"  code      {_code(configuration, code)}"
    yield f"  payload   {_payload(recording, setting)}"
    limits = f"{configuration['Runtime']}, {configuration['Handler']}, {configuration['MemorySize']} MB"
    if setting.debug:
        yield f"  limits    {limits}; with a debugger no timeout is applied, and the remaining time counts from 24 h"
    else:
        yield f"  limits    {limits}, timeout {configuration['Timeout']} s"
    if setting.seed is not None:
        yield f"  clock     starts at {moment(recording['accepted_at_ms'])}; --repeatable {setting.seed} runs the same again"
    yield "  log"


def _code(configuration: Mapping[str, Any], code: Code) -> str:
    version = f"version {configuration['Version']}"
    match code.kind:
        case "recorded":
            return f"{version} as it ran ({code.digest[:12]})"
        case "local":
            return f"{clean(code.path)}, with the configuration of {version}"
        case _:
            return f"{version} as it is now ({code.digest[:12]})"


def _payload(recording: Mapping[str, Any], setting: Setting) -> str:
    count = size(len(setting.payload))
    if setting.given:
        return f"{count}, from --event"
    origin = f"{count} from {clean(recording['source'] or 'api')}, accepted {moment(recording['accepted_at_ms'])}"
    if recording["edited"] and not setting.original:
        return f"{origin}; edited since it failed (--original takes what failed)"
    return origin


def closing(recording: Mapping[str, Any], code: Code, setting: Setting, replayed: Replayed) -> Iterator[Line]:
    """What came of it, the comparison, and at last what to type."""
    yield "", ()
    figures = f"{span(replayed.duration_ms)}{_init(replayed)}, {replayed.max_memory_mb} MB"
    if replayed.error_type is None:
        yield f"Succeeded after {figures}", ("green",)
        yield f"  response  {clean(replayed.payload.decode(errors='replace'))}", ()
    else:
        yield f"Failed after {figures}: {_error(replayed.error_type, replayed.error_message)}", ("red",)
        yield from ((f"  {clean(line)}", ("dim",)) for line in replayed.stack_trace)
    yield from _compared(recording["failure"], replayed)
    yield "", ()
    yield "Nothing was settled: no attempt is written down, and a dead letter stays as it was.", ()
    yield _next(recording, code, setting, replayed), ()


def _compared(failure: Mapping[str, Any] | None, replayed: Replayed) -> Iterator[Line]:
    verdict = compare(failure, replayed)
    if failure is None:
        yield "Recorded  no failure", ()
        return
    after = f" after {span(failure['duration_ms'])}" if failure["duration_ms"] is not None else ""
    colour = "green" if verdict == SUCCEEDED else "yellow"
    yield f"Recorded  {_error(failure['error_type'], failure['error_message'])}{after}: {_MEANINGS[verdict]}", (colour,)


def _next(recording: Mapping[str, Any], code: Code, setting: Setting, replayed: Replayed) -> str:
    """How to redrive, behind what is to be done first."""
    command = redrive(recording)
    if command is None:
        return f"There is no dead letter to redrive: `fnrunner why {recording['event_id']}` tells what became of it."
    if replayed.error_type is not None:
        return f"Once a fix is deployed: {command}"
    if code.kind == "local":
        return f"Deploy this code, then: {command}"
    if setting.given:
        return f"It has another payload, until `fnrunner dlq edit` corrects that: {command}"
    return f"To run it there: {command}"


def redrive(recording: Mapping[str, Any]) -> str | None:
    """The command that sends the event back to its function, where a dead letter waits for that."""
    if recording["state"] != "held":
        return None
    return f"fnrunner dlq redrive {recording['function']} {recording['event_id']}"


def document(
    recording: Mapping[str, Any],
    configuration: Mapping[str, Any],
    code: Code,
    setting: Setting,
    replayed: Replayed,
) -> dict[str, Any]:
    """What --json prints."""
    failed = replayed.error_type is not None
    answered = _json(replayed.payload)
    return {
        "event_id": recording["event_id"],
        "function": recording["function"],
        "version": configuration["Version"],
        "code": {"kind": code.kind, "digest": code.digest, "path": code.path or None},
        "request_id": recording["event_id"],
        "outcome": "failed" if failed else "succeeded",
        "error_type": replayed.error_type,
        "error_message": replayed.error_message if failed else None,
        "stack_trace": replayed.stack_trace,
        "payload": replayed.payload.decode(errors="replace") if answered is None else answered,
        "log": replayed.log,
        "duration_ms": replayed.duration_ms,
        "init_ms": replayed.init_ms,
        "max_memory_mb": replayed.max_memory_mb,
        "recorded": recording["failure"],
        "comparison": compare(recording["failure"], replayed),
        "seed": setting.seed,
        "redrive": redrive(recording),
    }


def _error(kind: str, message: str) -> str:
    return clean(" ".join(f"{kind}: {message}".split()))


def _init(replayed: Replayed) -> str:
    return f" (initialised in {span(replayed.init_ms)})" if replayed.init_ms is not None else ""


def _json(data: bytes) -> Any:
    try:
        return json.loads(data)
    except ValueError:
        return None
