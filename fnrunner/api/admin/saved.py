"""Whether a function runs code that was saved, where `fnrunner dev PATH` follows it, and never deployed."""

from __future__ import annotations

from starlette.responses import Response

from fnrunner.api.admin.endpoint import Ask, Endpoint, answer


async def read(ask: Ask) -> Response:
    """``{"function", "saved"}``: true, and a version that is published now has other code than $LATEST runs here."""
    name = ask.path("name")
    function = await ask.services.catalogue.get_function(name)
    return answer({"function": name, "saved": ask.services.saved(function)})


ROUTES = (Endpoint("GET", "/functions/{name}/saved", read),)
