"""All function URLs at once, which the Lambda API lists only function by function."""

from __future__ import annotations

from starlette.responses import Response

from fnrunner.api.admin.endpoint import Ask, Endpoint, answer
from fnrunner.api.http_address import base_url_of, url_of
from fnrunner.model.trigger import FunctionUrl, InvokeMode


async def every(ask: Ask) -> Response:
    """By function."""
    urls = await ask.services.catalogue.list_triggers(FunctionUrl)
    base_url, region = base_url_of(ask.request.scope), ask.services.home.region
    return answer({
        "urls": [
            {
                "function": url.function,
                "url": url_of(url.url_id, region, base_url),
                "auth_type": url.auth_type.value,
                "invoke_mode": (url.invoke_mode or InvokeMode.BUFFERED).value,
            }
            for url in sorted(urls, key=lambda url: (url.function, url.qualifier))
        ]
    })  # fmt: skip


ROUTES = (Endpoint("GET", "/urls", every),)
