"""Who may call what, and the log of it. With ``FNRUNNER_AUTH=iam`` every request but health and metrics passes here.

::

    request ─► door (Lambda, administration, IAM and STS, open) ─► signature ─► caller ─► what it needs ─► decide ─► the API
                                                    └── 403 ──┘              └────── 403 ───────┘
    what came of it ─► trail ─► the store

A request is refused until something allows it: a path that no table knows needs a permission that only ``*`` covers. What the
store cannot tell is refused too (503), unless it is known already. The trail holds no call back: records wait in memory for
the store, and go to the process's log when they cannot wait any longer.
"""

from __future__ import annotations

from collections.abc import Sequence

from starlette.middleware import Middleware

from fnrunner.api.access.authenticator import Authenticator
from fnrunner.api.access.authoriser import Authoriser
from fnrunner.api.access.gate import Access, Gate
from fnrunner.api.access.subject import AdminSubjects, LambdaSubjects
from fnrunner.api.admin.endpoint import Endpoint
from fnrunner.api.iam.door import IamApi
from fnrunner.api.services import Services


def middleware(services: Services, endpoints: Sequence[Endpoint]) -> list[Middleware]:
    """The gate, where there is something for it to do."""
    iam, now = services.iam, services.now
    if iam is None and services.trail is None:
        return []
    access = None
    if iam is not None:
        authoriser = Authoriser(iam, services.catalogue, now)
        access = Access(Authenticator(iam, now), authoriser, IamApi(iam, now))
    gate = Middleware(
        Gate,
        lambda_subjects=LambdaSubjects(services.home),
        admin_subjects=AdminSubjects(services.home, endpoints),
        access=access,
        trail=services.trail,
        now=now,
    )
    return [gate]
