"""What is recorded of one event so that it can be run again elsewhere, for `fnrunner replay`: payload, identity, failure.

``GET /events/ID/recording`` answers::

    {"event_id", "function", "state", "qualifier", "version", "invoked_arn", "source", "accepted_at_ms", "client_context",
     "xray", "traceparent", "tracestate",
     "payload" or "payload_base64" or neither, "original" likewise (when the payload was edited), "edited",
     "digest", "code", "failure": null or {"error_type", "error_message", "reason", "at_ms", "duration_ms"},
     "batch", "poison"}

A payload is kept with a dead letter, until that is purged or forgotten, and nowhere else: without one, what only the envelope
knows is empty. ``version`` is the one that failed last, or else ran last, empty if none did; ``digest`` names its code and
``code`` is a path where that can be downloaded for some minutes, if it is still kept.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from starlette.responses import Response

from fnrunner.api.admin.dead_letter import about_records, text_or_base64
from fnrunner.api.admin.endpoint import Ask, Endpoint, answer
from fnrunner.api.errors import ResourceNotFound
from fnrunner.delivery.dead_letters import DeadLetterDetail
from fnrunner.delivery.errors import DeadLetterNotFound
from fnrunner.delivery.history import Story
from fnrunner.delivery.record import AttemptRecord
from fnrunner.delivery.redrive import PURGED

FAILED = ("failed", "died")
"""Outcomes of attempts that ran and did not succeed."""


async def show(ask: Ask) -> Response:
    """Raises ResourceNotFound for an id that nobody has heard of, or that is older than the history kept."""
    event_id = ask.path("id")
    story = await ask.services.history.story(event_id)
    if story is None:
        raise ResourceNotFound(
            f"Nothing is known of {event_id}: it is not an event's id, or older than the history kept."
        )
    letter = await _letter(ask, story)
    digest = _digest(story)
    return answer(
        {
            **_identity(story, letter),
            **_payload(letter),
            "digest": digest,
            "code": ask.services.code_links.make("", digest) if digest else None,
            "failure": _failure(story),
            **(about_records(letter.envelope) if letter else {"batch": None, "poison": None}),
        }
    )


async def _letter(ask: Ask, story: Story) -> DeadLetterDetail | None:
    """The newest dead letter with its envelope; None where there is none (any more)."""
    if not story.letters or story.letters[-1].state == PURGED:
        return None
    try:
        found = await ask.services.dead_letters.get(story.letters[-1].function, story.event_id)
    except DeadLetterNotFound:  # forgotten in between
        return None
    return None if found.summary.state == PURGED else found


def _identity(story: Story, letter: DeadLetterDetail | None) -> dict[str, Any]:
    accepted, subject = story.accepted, _subject(story)
    known: dict[str, Any] = {
        "event_id": story.event_id,
        "function": story.function,
        "state": story.state,
        "qualifier": accepted.qualifier if accepted else "",
        "version": subject.version if subject else "",
        "invoked_arn": "",
        "source": accepted.source if accepted else "",
        "accepted_at_ms": _began_ms(story),
        "client_context": "",
        "xray": "",
        "traceparent": "",
        "tracestate": "",
    }
    if letter is None:
        return known
    envelope = letter.envelope
    return known | {
        "qualifier": envelope.qualifier,
        "invoked_arn": envelope.invoked_arn,
        "source": envelope.source,
        "accepted_at_ms": envelope.accepted_at_ms,
        "client_context": envelope.client_context,
        "xray": envelope.xray,
        "traceparent": envelope.trace.get("traceparent", ""),
        "tracestate": envelope.trace.get("tracestate", ""),
    }


def _began_ms(story: Story) -> int:
    """When it was accepted, or first heard of."""
    if story.accepted is not None:
        return story.accepted.at_ms
    first = (*(a.started_ms for a in story.attempts), *(letter.at_ms for letter in story.letters))
    return min(first, default=0)


def _payload(letter: DeadLetterDetail | None) -> dict[str, Any]:
    if letter is None:
        return {"edited": False}
    shown: dict[str, Any] = {**text_or_base64("payload", letter.envelope.payload), "edited": letter.edited}
    return shown | (text_or_base64("original", letter.original) if letter.edited else {})


def _digest(story: Story) -> str:
    """Of the code that failed, or else of what ran last."""
    subject = _subject(story)
    known = [letter.digest for letter in story.letters] + ([subject.digest] if subject else [])
    return next((digest for digest in reversed(known) if digest), "")


def _subject(story: Story) -> AttemptRecord | None:
    """The attempt to be repeated: the last that ran and failed, or else the last that ran."""
    ran = [attempt for attempt in story.attempts if attempt.digest]
    failed = [attempt for attempt in ran if attempt.outcome in FAILED]
    return next(reversed(failed or ran), None)


def _failure(story: Story) -> dict[str, Any] | None:
    """How it failed last: the attempt that ran, or else why it was given up."""
    reason = story.letters[-1].reason if story.letters else ""
    failed = [attempt for attempt in story.attempts if attempt.outcome in FAILED]
    if failed:
        return _of_attempt(failed[-1]) | {"reason": reason}
    if not story.letters:
        return None
    told = asdict(story.letters[-1])
    return {name: told[name] for name in ("error_type", "error_message", "at_ms", "reason")} | {"duration_ms": None}


def _of_attempt(attempt: AttemptRecord) -> dict[str, Any]:
    return {
        "error_type": attempt.error_type,
        "error_message": attempt.error_message,
        "at_ms": attempt.ended_ms,
        "duration_ms": attempt.duration_ms,
    }


ROUTES = (Endpoint("GET", "/events/{id}/recording", show),)
