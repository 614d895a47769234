"""The page that `fnrunner why` prints, from the story that the server tells. Pure: lines and their colours.

The page has a verdict, what was accepted, one paragraph an attempt with the log it wrote, what comes next, and what to
type. Everything a function wrote is cleaned of control characters.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from fnrunner.cli import poison
from fnrunner.cli.cold import described
from fnrunner.cli.output import clean, moment, size, span

Line = tuple[str, tuple[str, ...]]
MAX_LOG_LINES = 20
_VERDICTS = {
    "succeeded": ("succeeded", "green"),
    "held": ("dead letter: it was given up and waits for you", "red"),
    "redriving": ("is being redriven", "yellow"),
    "purged": ("dead letter: given up for good", "red"),
    "in flight": ("in flight, not finished", "yellow"),
    "failed": ("failed", "red"),
    "throttled": ("was refused: there was no slot", "red"),
    "faulted": ("could not be run", "red"),
    "died": ("failed: its worker died", "red"),
    "expired": ("expired", "red"),
}
_OUTCOMES = {
    "succeeded": "succeeded",
    "failed": "failed",
    "throttled": "throttled, which charges no attempt",
    "faulted": "could not be run, which charges no attempt",
    "died": "its worker died",
    "expired": "expired",
}


def page(story: Mapping[str, Any]) -> Iterator[Line]:
    """The whole page."""
    verdict, colour = _VERDICTS.get(story["state"], (story["state"], "yellow"))
    yield f"Event {story['event_id']} of {story['function']}", ("bold",)
    yield f"  {_summary(story, verdict)}", (colour,)
    yield "", ()
    yield from _accepted(story)
    for attempt in story["attempts"]:
        yield "", ()
        yield from _attempt(attempt, story)
    yield "", ()
    yield from _ending(story)
    if story.get("trace_id"):
        yield f"Trace      {story['trace_id']}", ("dim",)
    yield "", ()
    yield "What to type next", ("bold",)
    for command, meaning in suggestions(story):
        yield f"  {command:<{_width(story)}}  {meaning}", ()


def _summary(story: Mapping[str, Any], verdict: str) -> str:
    charged = sum(1 for attempt in story["attempts"] if attempt["outcome"] in ("succeeded", "failed", "died"))
    counted = f" after {charged} attempt{'s' if charged != 1 else ''}" if charged else ""
    last = next((a for a in reversed(story["attempts"]) if a["error_type"]), None)
    because = f": {_flat(last)}" if last and story["state"] not in ("succeeded", "in flight") else ""
    return f"{verdict}{counted}{because}"


def _accepted(story: Mapping[str, Any]) -> Iterator[Line]:
    accepted = story.get("accepted")
    if accepted:
        qualifier = f", qualifier {accepted['qualifier']}" if accepted.get("qualifier") else ""
        yield (
            f"Accepted   {moment(accepted['at_ms'])} from {clean(accepted['source'])}, "
            f"{size(accepted['size_bytes'])}{qualifier}",
            (),
        )
    elif story["attempts"] and story["attempts"][0]["kind"] == "request":
        yield "Requested  by a caller that waited for the answer: no retry follows a failure", ()
    else:
        yield "Accepted   at a time that was not recorded", ()


def _attempt(attempt: Mapping[str, Any], story: Mapping[str, Any]) -> Iterator[Line]:
    good = attempt["outcome"] == "succeeded"
    outcome = _OUTCOMES.get(attempt["outcome"], attempt["outcome"])
    yield (
        f"Attempt {attempt['number']}  {moment(attempt['started_ms'])}  {outcome} after {span(attempt['duration_ms'])}",
        ("green" if good else "red",),
    )
    if attempt["error_type"]:
        yield f"  error    {_flat(attempt)}", ()
    yield f"  ran on   {_place(attempt)}", ()
    if figures := _figures(attempt):
        yield f"  used     {figures}", ()
    if (imports := attempt.get("imports")) and (imported := described(imports)):
        yield f"  imported {imported}", ()
    yield from _log(attempt, story)
    if attempt["retry_in_ms"] is not None:
        due = attempt["ended_ms"] + attempt["retry_in_ms"]
        yield f"  then     retry in {span(attempt['retry_in_ms'])}, due {moment(due)}", ("yellow",)


def _place(attempt: Mapping[str, Any]) -> str:
    start = f"a new environment ({attempt['cold_reason']})" if attempt["cold_reason"] else "a warm environment"
    worker = f"worker {attempt['worker']}" if attempt["worker"] else "no worker"
    return f"{worker}, version {attempt['version']}" + (f", {start}" if attempt["log_stream"] else "")


def _figures(attempt: Mapping[str, Any]) -> str:
    if not attempt["memory_mb"]:
        return ""
    init = f", init {span(attempt['init_ms'])}" if attempt["init_ms"] is not None else ""
    return f"{attempt['max_memory_mb']} of {attempt['memory_mb']} MB, billed {attempt['billed_ms']} ms{init}"


def _log(attempt: Mapping[str, Any], story: Mapping[str, Any]) -> Iterator[Line]:
    lines = log_of(attempt, story)
    if not lines:
        return
    shown = lines[-MAX_LOG_LINES:]
    left_out = f" (the last {MAX_LOG_LINES} of {len(lines)} lines)" if len(shown) < len(lines) else ""
    yield f"  log{left_out}", ()
    for line in shown:
        yield f"    | {clean(line)}", ("dim",)


def log_of(attempt: Mapping[str, Any], story: Mapping[str, Any]) -> list[str]:
    """The lines that an attempt wrote: those of its environment, read before the next attempt of it began."""
    later = [
        other["started_ms"]
        for other in story["attempts"]
        if other["log_stream"] == attempt["log_stream"] and other["started_ms"] > attempt["started_ms"]
    ]
    until = min(later, default=None)
    chunks = [
        chunk["text"]
        for chunk in story["logs"]
        if chunk["log_stream"] == attempt["log_stream"]
        and chunk["at_ms"] >= attempt["started_ms"]
        and (until is None or chunk["at_ms"] < until)
    ]
    return "".join(chunks).splitlines()


def _ending(story: Mapping[str, Any]) -> Iterator[Line]:
    state, letters, attempts = story["state"], story["dead_letters"], story["attempts"]
    for letter in letters:
        kept = {"held": "it waits", "redriving": "it is being redriven", "redriven": "it was redriven"}
        became = kept.get(letter["state"], "it was given up for good")
        yield f"Dead       {moment(letter['at_ms'])}, {letter['reason']}: {became}", ("red",)
    for line in poison.lines(story):
        yield clean(line), ()
    if state == "in flight":
        waiting = attempts[-1]["retry_in_ms"] if attempts else None
        if attempts and waiting is not None:
            yield f"Next       attempt {_next(attempts)}, due {moment(attempts[-1]['ended_ms'] + waiting)}", ("yellow",)
        else:
            yield "Next       it waits for a worker, or runs now", ("yellow",)
    elif not letters:
        yield "Next       nothing: it is finished", ()


def _next(attempts: list[Mapping[str, Any]]) -> int:
    last = attempts[-1]
    return int(last["number"]) + (0 if last["outcome"] in ("throttled", "faulted") else 1)


def suggestions(story: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Commands and what they do, the most useful first."""
    name, event_id, state = story["function"], story["event_id"], story["state"]
    logs = _logs(story)
    if state == "held":
        return [
            (f"fnrunner dlq show {name} {event_id}", "the payload"),
            (f"fnrunner replay {event_id}", "run it again on this machine; --debug: under a debugger"),
            (f"fnrunner dlq edit {name} {event_id}", "correct the payload"),
            (f"fnrunner dlq redrive {name} {event_id}", "run it again, after you deployed a fix"),
            *_about_mapping(story),
            logs,
        ]
    if state in ("in flight", "redriving"):
        return [(f"fnrunner why {event_id}", "look again"), (f"fnrunner logs {name} --follow", "watch the function")]
    return [logs, (f"fnrunner functions show {name}", "the function")]


def _logs(story: Mapping[str, Any]) -> tuple[str, str]:
    """Records of a source were given to invocations with ids of their own; what is redriven has the event's."""
    name = story["function"]
    if not story.get("batch") or story["attempts"]:
        return f"fnrunner logs {name} --request-id {story['event_id']}", "its whole log"
    records = (story.get("poison") or {}).get("records") or ()
    if invoked := [one for record in records for one in record.get("request_ids") or ()]:
        return f"fnrunner logs {name} --request-id {invoked[-1]}", "what it wrote when it was last invoked with this"
    return f"fnrunner logs {name} --since 1d", "what it wrote: each batch is an invocation with an id of its own"


def _about_mapping(story: Mapping[str, Any]) -> list[tuple[str, str]]:
    mapping = (story.get("batch") or {}).get("mapping")
    return [(f"fnrunner mapping show {mapping}", "where its source is, and how that ends")] if mapping else []


def _width(story: Mapping[str, Any]) -> int:
    return max(len(command) for command, _ in suggestions(story))


def _flat(item: Mapping[str, Any]) -> str:
    return clean(" ".join(f"{item['error_type']}: {item['error_message']}".split()))
