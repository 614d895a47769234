"""The story of one event, for `fnrunner why`: accepted, each attempt, dead letters, what it wrote."""

from __future__ import annotations

from dataclasses import asdict

from starlette.responses import Response

from fnrunner.api.admin.endpoint import Ask, Endpoint, answer
from fnrunner.api.errors import ResourceNotFound


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
            "attempts": [asdict(one) for one in found.attempts],
            "dead_letters": [asdict(letter) for letter in found.letters],
            "logs": [asdict(chunk) for chunk in found.logs],
        }
    )


ROUTES = (Endpoint("GET", "/events/{id}", story),)
