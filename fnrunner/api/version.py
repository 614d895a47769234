"""Published versions of functions: make one, list them. DeleteFunction with a number deletes one."""

from __future__ import annotations

from fnrunner.api.document import configuration, listed
from fnrunner.api.errors import InvalidParameter
from fnrunner.api.reference import unpublished
from fnrunner.api.request import Call, Route, supporting
from fnrunner.api.response import Reply
from fnrunner.catalogue import functions, versions
from fnrunner.model import limits


async def publish(call: Call) -> Reply:
    """The last version again when nothing has changed since it was made."""
    ref = unpublished(call.params, call.services.home)
    await call.services.updates.check(ref.name, call.services.home.function(ref.name))
    version = await call.services.catalogue.publish_version(
        ref.name,
        description=call.params.get("Description"),
        code_sha256=call.params.get("CodeSha256", ""),
        expected_revision=call.params.get("RevisionId"),
    )
    return Reply(configuration(version, call.services.home, qualifier=version.version))


async def every(call: Call) -> Reply:
    """``$LATEST`` first, then by number; ``Marker`` is the version that the page before ended with."""
    home, marker = call.services.home, call.params.get("Marker", "")
    if marker and marker != limits.LATEST and not functions.is_number(marker):
        raise InvalidParameter("The marker is not one that a listing returned.")
    name, size = unpublished(call.params, home).name, call.params.get("MaxItems", functions.PAGE)
    page = await call.services.catalogue.read(lambda c: versions.page(c, home, name, marker=marker, max_items=size))
    documents = [listed(version, home, qualifier=version.version) for version in page.functions]
    return Reply({"Versions": documents, **({"NextMarker": page.next_marker} if page.next_marker else {})})


ROUTES = (
    Route("PublishVersion", publish, supporting("FunctionName", "Description", "CodeSha256", "RevisionId")),
    Route("ListVersionsByFunction", every, supporting("FunctionName", "Marker", "MaxItems")),
)
