"""Function URLs as the Lambda API configures them. How they are served is :mod:`fnrunner.api.http_door`.

>>> from datetime import UTC
>>> url_time(datetime(2022, 4, 6, 12, 34, 56, 789012, tzinfo=UTC))
'2022-04-06T12:34:56.789012Z'
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from fnrunner.api.errors import ResourceNotFound, ValidationFailed
from fnrunner.api.http_address import url_of
from fnrunner.api.reference import derive
from fnrunner.api.request import Call, Route, supporting
from fnrunner.api.response import Reply
from fnrunner.catalogue import function_url
from fnrunner.model import limits
from fnrunner.model.arn import FunctionRef
from fnrunner.model.trigger import AuthType, Cors, FunctionUrl, InvokeMode

PAGE = 50
_PATTERN = r"((?!^\d+$)^[0-9a-zA-Z-_]+$)"
_NOT_THERE = "The resource you requested does not exist."


async def create(call: Call) -> Reply:
    ref = _ref(call)
    url = FunctionUrl(
        url_id=function_url.new_id(),
        function=ref.name,
        qualifier=ref.qualifier,
        created=call.now,
        last_modified=call.now,
        **_given(call.params),
    )
    home = call.services.home
    made = await call.services.catalogue.change(lambda connection: function_url.create(connection, home, url))
    return Reply(described(call, made, "CreationTime"))


async def get(call: Call) -> Reply:
    ref = _ref(call)
    found = [url for url in await _of_function(call, ref.name) if url.qualifier == ref.qualifier]
    if not found:
        raise ResourceNotFound(_NOT_THERE)
    return Reply(described(call, found[0], "CreationTime", "LastModifiedTime", mode="BUFFERED"))


async def update(call: Call) -> Reply:
    ref = _ref(call)
    given = _given(call.params)
    url = await call.services.catalogue.change(
        lambda connection: function_url.change(connection, ref.name, ref.qualifier, given, call.now)
    )
    return Reply(described(call, url, "CreationTime", "LastModifiedTime"))


async def delete(call: Call) -> Reply:
    ref = _ref(call)
    await call.services.catalogue.change(lambda connection: function_url.remove(connection, ref.name, ref.qualifier))
    return Reply()


async def every(call: Call) -> Reply:
    """A function has one URL, and one more for each alias. ``Marker`` is the qualifier that the page before ended with."""
    ref = _ref(call)
    found = await _of_function(call, ref.name)
    if not found and call.services.catalogue.lookup(ref.name) is None:
        raise ResourceNotFound("Function does not exist")
    page, marker = _page(found, call.params.get("Marker", ""), call.params.get("MaxItems", PAGE))
    listed = [described(call, url, "CreationTime", "LastModifiedTime", mode="BUFFERED") for url in page]
    return Reply({"FunctionUrlConfigs": listed, **({"NextMarker": marker} if marker else {})})


def described(call: Call, url: FunctionUrl, *times: str, mode: str = "") -> dict[str, Any]:
    """As Lambda describes it. ``mode`` is shown where none was ever given; empty: nothing is."""
    document: dict[str, Any] = {
        "FunctionUrl": url_of(url.url_id, call.services.home.region, call.base_url),
        "FunctionArn": call.services.home.function(url.function, url.qualifier),
        "AuthType": url.auth_type.value,
    }
    if url.cors is not None:
        document["Cors"] = cors_document(url.cors)
    moments = {"CreationTime": url.created, "LastModifiedTime": url.last_modified}
    document.update({name: url_time(moments[name]) for name in times})
    if shown := url.invoke_mode.value if url.invoke_mode else mode:
        document["InvokeMode"] = shown
    return document


def cors_document(cors: Cors) -> dict[str, Any]:
    """Members that were not given are absent."""
    document: dict[str, Any] = {
        "AllowCredentials": cors.allow_credentials,
        "AllowHeaders": list(cors.allow_headers),
        "AllowMethods": list(cors.allow_methods),
        "AllowOrigins": list(cors.allow_origins),
        "ExposeHeaders": list(cors.expose_headers),
        "MaxAge": cors.max_age_s,
    }
    return {name: value for name, value in document.items() if value}


def url_time(moment: datetime) -> str:
    """Microseconds and ``Z``: other times of the Lambda API look different."""
    return f"{moment:%Y-%m-%dT%H:%M:%S.%f}Z"


async def _of_function(call: Call, name: str) -> list[FunctionUrl]:
    """By qualifier, as they are in the store now."""
    await call.services.catalogue.refresh()
    urls = call.services.catalogue.snapshot.of_type(FunctionUrl).values()
    return sorted((url for url in urls if url.function == name), key=lambda url: url.qualifier)


def _ref(call: Call) -> FunctionRef:
    """Raises ValidationFailed for ``$LATEST`` and numbers, which have no URLs, as Lambda does."""
    ref = derive(call.params, call.services.home)
    if ref.qualifier.startswith("$") or ref.qualifier.isdigit():
        raise ValidationFailed([
            f"Value '{ref.qualifier}' at 'qualifier' failed to satisfy constraint: Member must satisfy regular expression "
            f"pattern: {_PATTERN}"
        ])  # fmt: skip
    return ref


def _given(params: Mapping[str, Any]) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    if "AuthType" in params:
        fields["auth_type"] = AuthType(params["AuthType"])
    if "Cors" in params:
        fields["cors"] = _cors(params["Cors"])
    if "InvokeMode" in params:
        fields["invoke_mode"] = InvokeMode(params["InvokeMode"])
    return fields


def _cors(given: Mapping[str, Any]) -> Cors | None:
    """An empty structure takes the rules away."""
    if not given:
        return None
    return Cors(
        allow_credentials=given.get("AllowCredentials", False),
        allow_headers=tuple(given.get("AllowHeaders", ())),
        allow_methods=tuple(given.get("AllowMethods", ())),
        allow_origins=tuple(given.get("AllowOrigins", ())),
        expose_headers=tuple(given.get("ExposeHeaders", ())),
        max_age_s=given.get("MaxAge", 0),
    )


def _page(found: list[FunctionUrl], marker: str, size: int) -> tuple[list[FunctionUrl], str]:
    """Of those behind the marker, which need not be there any more."""
    behind = [url for url in found if not marker or _marker(url) > marker]
    return behind[:size], _marker(behind[size - 1]) if len(behind) > size else ""


def _marker(url: FunctionUrl) -> str:
    """In the order of the list: the function's own URL, then those of its aliases by name."""
    return url.qualifier or limits.LATEST


ROUTES = (
    Route("CreateFunctionUrlConfig", create, supporting("FunctionName", "Qualifier", "AuthType", "Cors", "InvokeMode")),
    Route("GetFunctionUrlConfig", get, supporting("FunctionName", "Qualifier")),
    Route("UpdateFunctionUrlConfig", update, supporting("FunctionName", "Qualifier", "AuthType", "Cors", "InvokeMode")),
    Route("DeleteFunctionUrlConfig", delete, supporting("FunctionName", "Qualifier")),
    Route("ListFunctionUrlConfigs", every, supporting("FunctionName", "Marker", "MaxItems")),
)
