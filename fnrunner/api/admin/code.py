"""The zip behind a signed link that GetFunction gave out."""

from __future__ import annotations

from starlette.responses import Response

from fnrunner.api.admin.endpoint import Ask, Endpoint


async def download(ask: Ask) -> Response:
    """Needs nothing but the link. Raises LinkExpired."""
    digest = ask.path("digest")
    ask.services.code_links.check(digest, ask.text("expires"), ask.text("signature"))
    return Response(
        await ask.services.catalogue.artifacts.read(digest),
        media_type="application/zip",
        headers={"content-disposition": f'attachment; filename="{digest[:12]}.zip"', "cache-control": "no-store"},
    )


ROUTES = (Endpoint("GET", "/code/{digest}", download),)
