"""Dead letters: list, show, edit the payload, redrive, purge."""

from __future__ import annotations

import base64
import json
from dataclasses import asdict
from typing import Any

from starlette.responses import Response

from broker.envelope import Attempt, Envelope
from fnrunner.api.admin import known
from fnrunner.api.admin.endpoint import Ask, Endpoint, answer, only
from fnrunner.api.errors import InvalidParameter, InvalidRequestContent
from fnrunner.delivery.dead_letters import DeadLetterDetail, DeadLetterSummary
from fnrunner.delivery.given_up import BATCH, POISON
from fnrunner.delivery.redrive import HELD, PURGED, REDRIVEN, REDRIVING

MAX_PAGE = 1000
MAX_IDS = 10_000
_STATES = (HELD, REDRIVING, REDRIVEN, PURGED)


async def every(ask: Ask) -> Response:
    """``state=all`` for those that were redriven or purged, too."""
    state = ask.text("state", HELD)
    if state not in (*_STATES, "all"):
        raise InvalidParameter(f"state takes one of {', '.join(_STATES)} and all")
    name, limit = ask.path("name"), ask.number("limit", 50, 1, MAX_PAGE)
    await known.check(ask, name)
    page = await ask.services.dead_letters.list(name, "" if state == "all" else state, ask.text("cursor"), limit)
    letters = [_summary(letter) for letter in page.letters]
    return answer({"dead_letters": letters, **({"cursor": page.marker} if page.marker else {})})


async def show(ask: Ask) -> Response:
    return answer(_detail(await ask.services.dead_letters.get(ask.path("name"), ask.path("id"))))


async def edit(ask: Ask) -> Response:
    """The body is the new payload, as it is."""
    payload = await ask.content()
    return answer(_detail(await ask.services.dead_letters.edit(ask.path("name"), ask.path("id"), payload)))


async def redrive(ask: Ask) -> Response:
    """``pending`` may have been published, and are again under the same id until that is certain."""
    done = await ask.services.dead_letters.redrive(ask.path("name"), await _chosen(ask))
    refused, pending = (
        [{"event_id": event_id, "reason": reason} for event_id, reason in some] for some in (done.refused, done.pending)
    )
    return answer({"redriven": list(done.event_ids), "refused": refused, "pending": pending})


async def purge(ask: Ask) -> Response:
    return answer({"purged": await ask.services.dead_letters.purge(ask.path("name"), await _chosen(ask))})


async def _chosen(ask: Ask) -> list[str] | None:
    """The event ids, or None for all: said in so many words, so that nobody purges all by leaving something out."""
    document = await ask.document()
    only(document, "ids", "all")
    ids = document.get("ids")
    if (document.get("all") is True) == (ids is not None):
        raise InvalidRequestContent('say which: {"ids": […]} or {"all": true}')
    if ids is None:
        return None
    if not isinstance(ids, list) or not all(isinstance(one, str) for one in ids) or not 1 <= len(ids) <= MAX_IDS:
        raise InvalidRequestContent(f"ids takes an array of 1 to {MAX_IDS} event ids")
    return ids


def _summary(letter: DeadLetterSummary) -> dict[str, Any]:
    return asdict(letter)


def _detail(detail: DeadLetterDetail) -> dict[str, Any]:
    envelope = detail.envelope
    shown = {
        **_summary(detail.summary),
        **text_or_base64("payload", envelope.payload),
        "edited": detail.edited,
        "source": envelope.source,
        "accepted_at_ms": envelope.accepted_at_ms,
        "attempts": [_attempt(attempt) for attempt in envelope.attempts],
        "destination_errors": list(detail.destination_errors),
        **about_records(envelope),
    }
    if detail.edited:
        shown.update(text_or_base64("original", detail.original))
    return shown


def about_records(envelope: Envelope) -> dict[str, Any]:
    """``batch``: which records of a stream or queue the letter stands for; ``poison``: what is wrong with them. None for
    what is not known."""
    poison = envelope.extra.get(POISON)
    return {"batch": envelope.extra.get(BATCH), "poison": json.loads(poison) if isinstance(poison, str) else None}


def _attempt(attempt: Attempt) -> dict[str, Any]:
    return asdict(attempt)


def text_or_base64(name: str, content: bytes) -> dict[str, str]:
    """Text as text; what is not UTF-8 as base64 under ``NAME_base64``."""
    try:
        return {name: content.decode("utf-8")}
    except UnicodeDecodeError:
        return {f"{name}_base64": base64.b64encode(content).decode()}


_LETTERS = "/functions/{name}/dead-letters"
ROUTES = (
    Endpoint("GET", _LETTERS, every),
    Endpoint("POST", _LETTERS + "/redrive", redrive),
    Endpoint("POST", _LETTERS + "/purge", purge),
    Endpoint("GET", _LETTERS + "/{id}", show),
    Endpoint("PUT", _LETTERS + "/{id}", edit),
)
