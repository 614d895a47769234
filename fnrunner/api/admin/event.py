"""The story of one event, for `fnrunner why`: accepted, each attempt, dead letters, what it wrote."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from starlette.responses import Response

from fnrunner.api.admin.cold_start import imports
from fnrunner.api.admin.dead_letter import about_records
from fnrunner.api.admin.endpoint import Ask, Endpoint, answer
from fnrunner.api.errors import ResourceNotFound
from fnrunner.delivery.errors import DeadLetterNotFound
from fnrunner.delivery.history import Story


async def story(ask: Ask) -> Response:
    """Raises ResourceNotFound for an id that nobody has heard of, or that is older than the history kept."""
    event_id = ask.path("id")
    found = await ask.services.history.story(event_id)
    if found is None:
        raise ResourceNotFound(
            f"Nothing is known of {event_id}: it is not an event's id, or older than the history kept."
        )
    return answer(
        {
            "event_id": found.event_id,
            "function": found.function,
            "state": found.state,
            "trace_id": found.trace_id,
            "accepted": asdict(found.accepted) if found.accepted else None,
            "attempts": [{**asdict(one), "imports": imports(one.imports)} for one in found.attempts],
            "dead_letters": [asdict(letter) for letter in found.letters],
            "logs": [asdict(chunk) for chunk in found.logs],
            **await _about_records(ask, found),
        }
    )


async def _about_records(ask: Ask, found: Story) -> dict[str, Any]:
    """Of its newest dead letter, what :func:`~fnrunner.api.admin.dead_letter.about_records` says."""
    if not found.letters:
        return {"batch": None, "poison": None}
    try:
        letter = await ask.services.dead_letters.get(found.letters[-1].function, found.event_id)
    except DeadLetterNotFound:  # purged in between
        return {"batch": None, "poison": None}
    return about_records(letter.envelope)


ROUTES = (Endpoint("GET", "/events/{id}", story),)
