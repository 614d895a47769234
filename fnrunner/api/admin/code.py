"""The zip behind a signed link that GetFunction gave out."""

from __future__ import annotations

from starlette.responses import Response

from fnrunner.api.admin.endpoint import Ask, Endpoint
from fnrunner.api.errors import ResourceNotFound
from fnrunner.catalogue.errors import ArtifactMissing


async def download(ask: Ask) -> Response:
    """Needs nothing but the link. Raises LinkExpired, and ResourceNotFound for code that no function has any more."""
    digest = ask.path("digest")
    ask.services.code_links.check(digest, ask.text("expires"), ask.text("signature"))
    try:
        zipped = await ask.services.catalogue.artifacts.read(digest)
    except ArtifactMissing as error:
        raise ResourceNotFound(f"The code {digest} is not kept any more") from error
    return Response(
        zipped,
        media_type="application/zip",
        headers={"content-disposition": f'attachment; filename="{digest[:12]}.zip"', "cache-control": "no-store"},
    )


ROUTES = (Endpoint("GET", "/code/{digest}", download),)
