"""Temporary credentials for execution environments: of the function's role, renewed when half their time is over.

All environments of a function in this process share them until then. Renewed ones are for new environments: old ones have at
least half of :data:`LIFETIME` left, and are not used for longer than that.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from fnrunner.auth.iam import LAMBDA, Iam
from fnrunner.auth.keyring import KeyringError
from fnrunner.store.errors import StoreError

log = logging.getLogger(__name__)

LIFETIME = timedelta(hours=12)
AGAIN = timedelta(seconds=30)
"""When a role that had no credentials is asked about again."""

Variables = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class _Held:
    """``until``: when they are renewed. ``role_id`` tells a role from its namesake that was made later."""

    variables: Variables
    role_id: str
    until: datetime


class RoleSessions:
    """``now`` gives aware UTC."""

    def __init__(self, iam: Iam, now: Callable[[], datetime]) -> None:
        self._iam = iam
        self._now = now
        self._held: dict[tuple[str, str], _Held] = {}

    async def of(self, function: str, role_arn: str) -> Variables:
        """AWS's variables for an environment; the same object until they are renewed.

        Empty for a role that is not there or does not trust Lambda, which the log says: the function runs, and may nothing.
        """
        await self._iam.refresh()
        role = self._iam.role(role_arn)
        role_id = role.id if role is not None else ""
        held = self._held.get((function, role_arn))
        now = self._now()
        if held is not None and held.role_id == role_id and now < held.until:
            return held.variables
        try:
            made = await self._make(function, role_arn, role_id)
        except (StoreError, KeyringError) as error:
            log.warning("no new credentials of %s for %s: %s", role_arn, function, error)
            # what there is stays good for a while, if it is the same role's
            kept = held.variables if held is not None and held.role_id == role_id else {}
            made = _Held(kept, role_id, now + AGAIN)
        self._held[function, role_arn] = made
        return made.variables

    async def _make(self, function: str, role_arn: str, role_id: str) -> _Held:
        role = await self._iam.assumable(role_arn, LAMBDA)
        if role is None:
            log.warning("%s has no credentials: the role %s cannot be assumed by Lambda", function, role_arn)
            return _Held({}, role_id, self._now() + AGAIN)
        role_id = role.id
        issued = await self._iam.issue(role, function, LIFETIME)
        variables = {
            "AWS_ACCESS_KEY_ID": issued.access_key,
            "AWS_SECRET_ACCESS_KEY": issued.secret,
            "AWS_SESSION_TOKEN": issued.token,
        }
        return _Held(variables, role_id, self._now() + LIFETIME / 2)
