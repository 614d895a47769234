"""Whether Lambda may assume the role that a function is to have. Where nobody has to sign, roles are names and nothing more."""

from __future__ import annotations

from fnrunner.api.errors import InvalidParameter
from fnrunner.api.services import Services
from fnrunner.auth.iam import LAMBDA


class NotAssumable(InvalidParameter):
    """The role defined for the function cannot be assumed by Lambda."""


async def check(services: Services, arn: str | None) -> None:
    """Raises NotAssumable for a role that does not exist, or does not trust Lambda. None is no role."""
    if arn is None or (iam := services.iam) is None:
        return
    if await iam.assumable(arn, LAMBDA) is None:
        raise NotAssumable
