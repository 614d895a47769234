"""What IAM and STS answer where nobody has to sign: that there are no users, in the form that their clients can read."""

from __future__ import annotations

import uuid
from urllib.parse import parse_qs

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from fnrunner.api import body
from fnrunner.api.errors import ClientGone
from fnrunner.api.iam.protocol import render_error

CODE = "InvalidAction"
MESSAGE = (
    "This server has no users and roles: it was started without FNRUNNER_AUTH=iam, and does not check who calls. Start it with "
    "FNRUNNER_AUTH=iam."
)
_STATUS = 400
_MOST_BYTES = 1024 * 1024
_SERVICES = {"2010-05-08": "iam", "2011-06-15": "sts"}
"""By the version of their API."""


async def _refuse(request: Request) -> Response:
    try:
        content = await body.read(request.receive, _MOST_BYTES)
    except (body.TooLong, ClientGone) as error:
        raise HTTPException(404) from error
    form = parse_qs(content.decode("utf-8", "replace"))
    if (service := _SERVICES.get(form.get("Version", [""])[0])) is None:
        raise HTTPException(404)
    request_id, (version,) = str(uuid.uuid4()), form["Version"][:1]
    namespace = f"https://{service}.amazonaws.com/doc/{version}/"
    return Response(
        render_error(CODE, MESSAGE, _STATUS, request_id, namespace),
        _STATUS,
        headers={"content-type": "text/xml", "x-amzn-requestid": request_id},
    )


ROUTE = Route("/", _refuse, methods=["GET", "POST"])
