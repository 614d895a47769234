"""Schedules: make, list, show with the next firings, pause, remove."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from starlette.responses import Response

from fnrunner.api.admin.endpoint import Ask, Endpoint, answer, field, only
from fnrunner.api.errors import InvalidParameter, InvalidRequestContent
from fnrunner.api.reference import derive
from fnrunner.catalogue import schedule as rules
from fnrunner.catalogue import triggers
from fnrunner.catalogue.errors import NotFound
from fnrunner.model.trigger import Schedule
from sources.schedule import CatchUp

FIRINGS = 5
_MEMBERS = (
    "function", "qualifier", "expression", "timezone", "input", "description", "enabled", "start", "end",
    "flexible_window_s", "catch_up",
)  # fmt: skip


class ScheduleNotFound(NotFound):
    """There is no such schedule. `fnrunner schedule ls` lists them."""

    def __init__(self, name: str) -> None:
        super().__init__(f"There is no schedule {name}. `fnrunner schedule ls` lists them")


async def every(ask: Ask) -> Response:
    """By name; those of one function with ``function=NAME``."""
    wanted = ask.text("function")
    found = await ask.services.catalogue.list_triggers(Schedule)
    return answer({"schedules": [_described(ask, one) for one in found if wanted in ("", one.function)]})


async def show(ask: Ask) -> Response:
    return answer(_described(ask, await _existing(ask)))


async def create(ask: Ask) -> Response:
    """409 when there is one of that name."""
    document = await ask.document()
    only(document, "name", *_MEMBERS)
    return await _put(ask, field(document, "name", str, "a name"), document, new=True)


async def put(ask: Ask) -> Response:
    """Made, or replaced as a whole."""
    document = await ask.document()
    only(document, *_MEMBERS)
    return await _put(ask, ask.path("name"), document, new=False)


async def _put(ask: Ask, name: str, document: dict[str, Any], *, new: bool) -> Response:
    schedule = _read(ask, name, document)
    rules.check(schedule)
    home = ask.services.home
    saved = await ask.services.catalogue.change(lambda c: rules.put(c, schedule, home, new=new))
    return answer(_described(ask, saved))


async def enable(ask: Ask) -> Response:
    document = await ask.document()
    only(document, "enabled")
    enabled, name = field(document, "enabled", bool, "true or false"), (await _existing(ask)).name
    saved = await ask.services.catalogue.change(lambda c: rules.enable(c, name, enabled))
    return answer(_described(ask, saved))


async def remove(ask: Ask) -> Response:
    name = (await _existing(ask)).name
    await ask.services.catalogue.change(lambda c: triggers.remove(c, Schedule, name))
    return Response(status_code=204)


async def _existing(ask: Ask) -> Schedule:
    name = ask.path("name")
    try:
        return await ask.services.catalogue.get_trigger(Schedule, name)
    except NotFound as error:
        raise ScheduleNotFound(name) from error


def _read(ask: Ask, name: str, document: Mapping[str, Any]) -> Schedule:
    document = dict(document)
    home = ask.services.home
    given = field(document, "function", str, "a function's name or ARN")
    qualifier = field(document, "qualifier", str, "a string", "")
    ref = derive({"FunctionName": given, "Qualifier": qualifier}, home)
    window = field(document, "flexible_window_s", (int, float), "a number of seconds", 0)
    if not 0 <= window <= 86_400:
        raise InvalidRequestContent("flexible_window_s takes a number of seconds from 0 to 86400")
    input_ = document.get("input")
    if input_ is not None and not isinstance(input_, str):
        raise InvalidRequestContent("input takes JSON as a text")
    catch_up = field(document, "catch_up", str, "none, last or all", CatchUp.LAST.value)
    if catch_up not in [one.value for one in CatchUp]:
        raise InvalidParameter("catch_up takes none, last or all")
    return Schedule(
        name=name,
        function=ref.name,
        qualifier=ref.qualifier,
        expression=field(document, "expression", str, "rate(…), cron(…) or at(…)"),
        timezone=field(document, "timezone", str, "a time zone", "UTC"),
        input=input_,
        description=field(document, "description", str, "a string", ""),
        enabled=field(document, "enabled", bool, "true or false", True),
        start=_time(document, "start"),
        end=_time(document, "end"),
        flexible_window=timedelta(seconds=window),
        catch_up=CatchUp(catch_up),
        created=ask.services.now(),
    )


def _time(document: Mapping[str, Any], name: str) -> datetime | None:
    """ISO 8601; without an offset it is UTC."""
    if (text := document.get(name)) is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (TypeError, ValueError, OverflowError) as error:
        raise InvalidRequestContent(f"{name} takes a time such as 2030-01-31T12:00:00Z") from error


def _described(ask: Ask, schedule: Schedule) -> dict[str, Any]:
    home = ask.services.home
    return {
        "name": schedule.name,
        "arn": f"arn:aws:scheduler:{home.region}:{home.account}:schedule/default/{schedule.name}",
        "function": schedule.function,
        "qualifier": schedule.qualifier,
        "expression": schedule.expression,
        "timezone": schedule.timezone,
        "input": schedule.input,
        "description": schedule.description,
        "enabled": schedule.enabled,
        "start": schedule.start.isoformat() if schedule.start else None,
        "end": schedule.end.isoformat() if schedule.end else None,
        "flexible_window_s": schedule.flexible_window.total_seconds(),
        "catch_up": schedule.catch_up.value,
        "created": schedule.created.isoformat(),
        "next": [moment.isoformat() for moment in rules.firings(schedule, ask.services.now(), FIRINGS)],
    }


ROUTES = (
    Endpoint("GET", "/schedules", every),
    Endpoint("POST", "/schedules", create),
    Endpoint("GET", "/schedules/{name}", show),
    Endpoint("PUT", "/schedules/{name}", put),
    Endpoint("PUT", "/schedules/{name}/enabled", enable),
    Endpoint("DELETE", "/schedules/{name}", remove),
)
