"""A lease for who is certainly alone."""

from __future__ import annotations

from datetime import timedelta


class Unshared:
    """It is always granted."""

    ttl = timedelta(days=1)

    async def acquire(self) -> bool:
        return True

    async def renew(self) -> bool:
        return True

    async def release(self) -> None:
        return None
